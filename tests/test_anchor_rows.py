"""`AnchorDetect` as a row of model YAMLs, and in the models that ultralytics makes of them."""

from copy import deepcopy

import pytest
import torch
from anchor_models import P3_TO_P5, tiny_anchor_yaml, with_random_norms
from ultralytics.nn.modules import Detect
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.torch_utils import ModelEMA

from swin_yolo.errors import InputError
from swin_yolo.nn import AnchorDetect, AnchorLoss, with_anchor_head
from swin_yolo.nn.anchor import ANCHORS
from swin_yolo.paths import shipped_dir

OUR_YAMLS = sorted(file.name for file in shipped_dir("models").glob("*.yaml"))


def model_of(yaml: dict | str, **kwargs) -> DetectionModel:
    torch.manual_seed(0)
    return DetectionModel(yaml, verbose=False, **kwargs)


def test_yolov5_n_has_its_published_number_of_parameters_and_names():
    model = model_of("yolov5n-anchor.yaml")
    assert sum(p.numel() for p in model.parameters()) == 1_872_157
    assert model.stride.tolist() == [8, 16, 32] and isinstance(model.model[-1], Detect)
    names = {f"model.24.m.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")}
    assert {name for name in model.state_dict() if name.startswith("model.24.")} == names | {"model.24.anchors"}


def test_weights_of_v6_0_with_their_second_copy_of_the_anchors_load_strictly():
    model = model_of(tiny_anchor_yaml())
    state = {**model.state_dict(), "model.5.anchor_grid": torch.zeros(3, 1, 3, 1, 1, 2)}
    state["model.5.anchors"] = state["model.5.anchors"] * 2
    model.load_state_dict(state)
    assert model.model[-1].anchors[0, 0].tolist() == [2.5, 3.25] and "model.5.anchor_grid" in state


def test_nc_is_overridden_as_for_detect():
    model = model_of(tiny_anchor_yaml(), nc=7)
    assert model.model[-1].nc == 7 and model.model[-1].m[0].out_channels == 36
    assert model.eval()(torch.rand(1, 3, 64, 64))[0].shape == (1, 11, 3 * 84)


def test_a_copy_a_saved_and_a_loaded_model_give_the_same(tmp_path):
    model = with_random_norms(model_of(tiny_anchor_yaml())).eval()
    x = torch.rand(1, 3, 64, 96)
    torch.save(model, tmp_path / "model.pt")
    loaded = model_of(tiny_anchor_yaml()).eval()
    loaded.load(model, verbose=False)
    fresh = model_of(tiny_anchor_yaml()).eval()
    fresh.load_state_dict(model.state_dict())
    with torch.inference_mode():
        expected = model(x)[0]
        for other in (deepcopy(model), torch.load(tmp_path / "model.pt", weights_only=False), loaded, fresh):
            assert torch.equal(other(x)[0], expected)
        torch.testing.assert_close(deepcopy(model).fuse(verbose=False)(x)[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace")
def test_an_exported_graph_takes_other_sizes():
    model = model_of(tiny_anchor_yaml()).eval()
    y = torch.rand(2, 3, 96, 32)
    with torch.inference_mode():
        expected = model(y)[0]
        model.model[-1].export = True
        traced = torch.jit.trace(model, torch.rand(1, 3, 64, 96))
        torch.testing.assert_close(traced(y), expected)


def test_weights_of_another_head_leave_it_as_it_is():
    rows = [*tiny_anchor_yaml()["backbone"]]
    other = model_of({"nc": 2, "backbone": rows, "head": [[[2, 3, 4], 1, "Detect", ["nc"]]]})
    ours = model_of(tiny_anchor_yaml())
    head = deepcopy(ours.model[-1].state_dict())
    ours.load(other, verbose=False)
    other.load(ours, verbose=False)
    assert all(torch.equal(v, head[k]) for k, v in ours.model[-1].state_dict().items())


def test_anchors_follow_the_model_into_half_precision_and_the_ema():
    model = model_of(tiny_anchor_yaml())
    ema = ModelEMA(model)
    ema.update(model)
    assert torch.equal(ema.ema.model[-1].anchors, model.model[-1].anchors)
    half = deepcopy(model).half().eval()
    assert half.model[-1].anchors.dtype == half.model[-1].stride.dtype == torch.float16
    y, expected = half(torch.rand(1, 3, 64, 64).half())[0], model.eval()(torch.rand(1, 3, 64, 64))[0]
    assert y.dtype == torch.float16 and y.shape == expected.shape and y.isfinite().all()


def test_a_model_with_the_head_has_yolov5_s_loss_and_others_keep_theirs():
    model = model_of(tiny_anchor_yaml())
    for args in (IterableSimpleNamespace(imgsz=320), {"imgsz": 320}):
        model.args = args
        loss = model.init_criterion()
        assert isinstance(loss, AnchorLoss) and loss.obj_gain == 0.25 and loss.class_weights is None
    model.args = {"imgsz": 640, "anchor_box": 0.1, "anchor_obj": 2.0, "anchor_cls": 0.25, "anchor_t": 3.0, "box": 7.5}
    loss = model.init_criterion()
    assert (loss.box_gain, loss.obj_gain, loss.cls_gain, loss.anchor_t) == pytest.approx((0.1, 2.0, 0.25 * 2 / 80, 3.0))
    model.class_weights = torch.ones(2)
    assert model.init_criterion().class_weights is model.class_weights
    rows = [*tiny_anchor_yaml()["backbone"]]
    other = model_of({"nc": 2, "backbone": rows, "head": [[[2, 3, 4], 1, "Detect", ["nc"]]]})
    other.args = IterableSimpleNamespace(imgsz=320)
    assert type(other.init_criterion()) is v8DetectionLoss


# In the place of Detect


@pytest.mark.parametrize("name", [*OUR_YAMLS, "yolov5-p6.yaml"])
def test_every_yaml_takes_the_head_with_anchors_of_its_strides(name):
    yaml = yaml_model_load(name.replace("yolov5", "yolov5n"))
    before = deepcopy(yaml)
    ours = with_anchor_head(yaml)
    assert yaml == before and with_anchor_head(ours) == ours
    model = model_of(ours, nc=3)
    head = model.model[-1]
    assert type(head) is AnchorDetect and head.nc == 3
    anchors = head.anchors * model.stride.view(-1, 1, 1)
    torch.testing.assert_close(anchors.flatten(1), torch.tensor(ANCHORS[tuple(model.stride.int().tolist())]).float())
    assert model.eval()(torch.rand(1, 3, 64, 64))[0].shape[1] == 7


def test_yolov5_s_own_yamls_keep_their_anchors():
    yaml = {k: v for k, v in yaml_model_load("yolov5n-anchor.yaml").items() if k not in ("scales", "scale")}
    yaml |= {"depth_multiple": 0.33, "width_multiple": 0.25, "anchors": [[8, 8], [16, 16], [32, 32]]}
    yaml["head"][-1][2] = "Detect"
    model = model_of(with_anchor_head(yaml))
    assert type(model.model[-1]) is AnchorDetect and (model.model[-1].anchors == 1).all()
    assert sum(p.numel() for p in model.model[:-1].parameters()) == 1_872_157 - 115_005
    yaml["anchors"] = 3  # left to AutoAnchor
    assert with_anchor_head(yaml)["anchors"] == ANCHORS[P3_TO_P5]
    yaml["head"][-1][3][1] = [[8, 8], [16, 16], [32, 32]]
    assert (model_of(with_anchor_head(yaml)).model[-1].anchors == 1).all()


def test_named_and_left_out_arguments_count_in_strides():
    rows = [[-1, 1, "PatchEmbed", [16]], [-1, 1, "PatchMerging", [32]], *([-1, 1, "PatchMerging", [32]],) * 2]
    yaml = {"nc": 2, "backbone": rows, "head": [[[1, 2, 3], 1, "Detect", ["nc"]]]}
    assert with_anchor_head(yaml)["anchors"] == ANCHORS[P3_TO_P5]
    rows[0][3] = [16, {"patch_size": 2}]
    with pytest.raises(InputError, match=r"no anchors for levels of strides \(4, 8, 16\)"):
        with_anchor_head(yaml)


def test_a_head_that_is_not_detect_is_not_replaced():
    with pytest.raises(InputError, match=r"own\.yaml: .*last row Detect only, got Segment"):
        with_anchor_head({**tiny_anchor_yaml(), "head": [[[2, 3, 4], 1, "Segment", ["nc"]]]})


def test_a_wrong_row_is_left_to_the_parser_to_name():
    yaml = {**tiny_anchor_yaml(), "head": [[[2, 3, 4], 1, "Detect"]]}
    with pytest.raises(InputError, match="row 5: expected"):
        model_of(with_anchor_head(yaml))


# What is refused


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([4, 1, "AnchorDetect", ["nc", "anchors"]], "expected a list of row numbers as 'from', got 4"),
        ([[2, 3, 4], 2, "AnchorDetect", ["nc", "anchors"]], "expected 1 repeat, got 2"),
        ([[2, 3, 4], 1, "AnchorDetect", ["nc"]], r"expected \[nc, anchors\], got \['nc'\]"),
        ([[2, 3], 1, "AnchorDetect", ["nc", "anchors"]], "anchors must be 2 lists of width, height"),
        ([[2, 3, 4], 1, "AnchorDetect", ["nc", 3]], "anchors must be 3 lists of .*got 3"),
        ([[2, 3, 4], 1, "AnchorDetect", ["nc", [[1, 2], [1, 2], [1, 2, 3]]]], "anchors must be 3 lists"),
        ([[2, 3, 4], 1, "AnchorDetect", ["nc", [[1, 2, 3]] * 3]], "anchors must be 3 lists"),
        ([[2, 3, 4], 1, "AnchorDetect", ["nc", [[1, -2]] * 3]], "anchors must be 3 lists"),
        ([[2, 3, 4], 1, "AnchorDetect", ["nc", [[40, 40], [20, 20], [10, 10]]]], "in the order of its 'from' rows"),
    ],
)
def test_a_wrong_head_row_is_refused(row, message):
    with pytest.raises(InputError, match=message):
        model_of({**tiny_anchor_yaml(), "head": [row]})


def test_a_yaml_without_the_key_anchors_is_refused():
    yaml = tiny_anchor_yaml()
    del yaml["anchors"]
    with pytest.raises(InputError, match=r"own\.yaml: row 5 \(AnchorDetect\): expected a key 'anchors'"):
        model_of(yaml)


def test_anchors_may_stand_in_the_row():
    model = model_of({**tiny_anchor_yaml(), "head": [[[2, 3, 4], 1, "AnchorDetect", [2, [[8, 8, 9, 9]] * 3]]]})
    assert model.model[-1].na == 2 and model.model[-1].anchors.shape == (3, 2, 2)

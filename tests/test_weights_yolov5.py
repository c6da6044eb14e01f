from copy import deepcopy
from functools import lru_cache

import cv2
import numpy as np
import pytest
import torch
from anchor_models import DATA, with_random_norms
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel, yaml_model_load
from ultralytics.utils.nms import non_max_suppression

from swin_yolo.errors import InputError
from swin_yolo.nn import with_anchor_head
from swin_yolo.weights.yolov5 import LEFT_OVER, LOADED, MISSING, RESIZED, Taken, load_yolov5, match_rows, rows_of

COCO = DATA / "yolov5n_coco" / "yolov5n_state_dict_fp16.pt"
VIDEO = DATA / "video" / "vtest_first200.mp4"
needs_coco = pytest.mark.skipif(not COCO.is_file(), reason="the COCO-trained yolov5n is not there")
needs_video = pytest.mark.skipif(not VIDEO.is_file(), reason="the video of people is not there")


@lru_cache
def original() -> dict[str, Tensor]:
    """Weights as the original repository names them at scale n, random."""
    return with_random_norms(build("yolov5n-anchor.yaml")).state_dict()


@lru_cache
def ultralytics_u() -> DetectionModel:
    """YOLOv5u at scale n, random."""
    return with_random_norms(build("yolov5n.yaml")).eval()


def build(name: str, *, nc: int = 80, anchor: bool = False, ch: int = 3) -> DetectionModel:
    torch.manual_seed(len(name))
    yaml = yaml_model_load(name)
    return DetectionModel(with_anchor_head(yaml) if anchor else yaml, nc=nc, ch=ch, verbose=False)


def rows_with(taken: list[Taken], status: str) -> set[int]:
    """Numbers of the rows that have a tensor of a status: the model's, or the checkpoint's of what was left over."""
    names = (t.source if status == LEFT_OVER else t.target for t in taken if t.status == status)
    return {int(name.split(".")[1]) for name in names}


def test_an_original_checkpoint_is_taken_whole():
    state = {**original(), "model.24.anchor_grid": (anchors := original()["model.24.anchors"])[:, None, :, None, None]}
    state["model.24.anchor_grid"] = state["model.24.anchor_grid"] * torch.tensor([8, 16, 32]).view(3, 1, 1, 1, 1, 1)
    model = build("yolov5n-anchor.yaml")
    taken = load_yolov5({name: v.half() if v.is_floating_point() else v for name, v in state.items()}, model)
    assert {t.source for t in taken} == set(state) and {t.target for t in taken} == set(original())
    assert all(t.status == LOADED for t in taken)
    for name, value in model.state_dict().items():
        assert value.dtype == original()[name].dtype
        torch.testing.assert_close(value, original()[name], rtol=1e-3, atol=1e-4)
    wrong = {**state, "model.24.anchor_grid": anchors.flip(2)[:, None, :, None, None]}
    assert [t for t in load_yolov5(wrong, model) if t.status == LEFT_OVER] == [
        Taken(None, "model.24.anchor_grid", LEFT_OVER)
    ]


# Rows that load nothing from YOLOv5: those that are ours, or that read another number of channels; and what of the
# checkpoint's rows has no place.
EXPECTED = {
    "anchor": (set(), set()),
    "swin-insert": ({7, 10}, set()),
    "swin": ({6, 8}, {6, 8}),
    "c3str": ({8}, {8}),
    "c3str-neck": ({17, 20, 23}, {17, 20, 23}),
    "c3str-p2": ({18, 21, 22, 24, 27, 30, 31}, {20, 23}),
    "swint": ({*range(9), 9, 10, 11, 15, 19}, {*range(10), 13, 17}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_only_what_differs_from_yolov5_stays_as_it_was(name):
    model = build(f"yolov5n-{name}.yaml", anchor=True)
    before = deepcopy(model.state_dict())
    taken = load_yolov5(original(), model)
    missing, left_over = EXPECTED[name]
    assert (rows_with(taken, MISSING), rows_with(taken, LEFT_OVER)) == (missing, left_over)
    after = model.state_dict()
    for target, source, status in taken:
        if status == LOADED:
            assert torch.equal(after[target], original()[source]), target
        elif status == MISSING:
            assert torch.equal(after[target], before[target]), target
    assert sorted(t.target for t in taken if t.target) == sorted(
        k for k in after if k in {t.target for t in taken} or not k.endswith("num_batches_tracked")
    )
    assert {t.source for t in taken if t.source} == set(original())


@pytest.mark.parametrize("head", ["anchor", "u"])
def test_inserted_stages_keep_the_function(head):
    vanilla = build("yolov5n-anchor.yaml").eval() if head == "anchor" else ultralytics_u()
    if head == "anchor":
        vanilla.load_state_dict(original())
    model = build("yolov5n-swin-insert.yaml", anchor=head == "anchor").eval()
    taken = load_yolov5(vanilla.state_dict(), model)
    assert rows_with(taken, MISSING) == {7, 10} and not rows_with(taken, LEFT_OVER)
    x = torch.rand(2, 3, 96, 160)
    with torch.inference_mode():
        assert torch.equal(model(x)[0], vanilla(x)[0])


def test_c3_gives_its_outer_convolutions_to_c3str():
    model = build("yolov5n-c3str.yaml", anchor=True)
    inner = deepcopy(model.model[8].m.state_dict())
    taken = load_yolov5(original(), model)
    outer = {t.target for t in taken if t.status == LOADED and t.target.startswith("model.8.")}
    assert {name.split(".")[2] for name in outer} == {"cv1", "cv2", "cv3"}
    assert all(torch.equal(v, inner[k]) for k, v in model.model[8].m.state_dict().items())


def test_a_head_of_another_kind_is_left_over():
    taken = load_yolov5(original(), build("yolov5n-swin-insert.yaml"))
    assert rows_with(taken, LEFT_OVER) == {24} and rows_with(taken, MISSING) == {7, 10, 26}


def test_other_classes_keep_boxes_and_objectness_of_an_anchor_head():
    model = build("yolov5n-anchor.yaml", nc=3)
    fresh = deepcopy(model.model[-1])
    taken = load_yolov5(original(), model)
    assert {t.target for t in taken if t.status == RESIZED} == {
        f"model.24.m.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")
    }
    assert not rows_with(taken, MISSING) and not rows_with(taken, LEFT_OVER)
    for i, conv in enumerate(model.model[-1].m):
        for kind in ("weight", "bias"):
            ours, before = (getattr(m, kind).unflatten(0, (3, 8)) for m in (conv, fresh.m[i]))
            source = original()[f"model.24.m.{i}.{kind}"].unflatten(0, (3, 85))
            assert torch.equal(ours[:, :5], source[:, :5]) and torch.equal(ours[:, 5:], before[:, 5:])


def test_other_classes_keep_all_but_the_class_branch_of_ultralytics_head():
    taken = load_yolov5(ultralytics_u().state_dict(), build("yolov5n-swin-insert.yaml", nc=3))
    missing = {t.target for t in taken if t.status == MISSING and t.target.startswith("model.26.")}
    assert missing and all(name.startswith("model.26.cv3.") for name in missing)
    assert not any(name.endswith("2.bias") != name.endswith("2.weight") and "cv2" in name for name in missing)


def test_levels_of_a_head_are_matched_by_what_they_read():
    model = build("yolov5n-c3str-p2.yaml", anchor=True)
    model.model[-1].anchors += 1
    taken = load_yolov5(original(), model)
    source_of = {t.target: t.source for t in taken if t.status == LOADED}
    for i in range(3):
        assert source_of[f"model.31.m.{i + 1}.weight"] == f"model.24.m.{i}.weight"
    anchors = model.model[-1].anchors
    assert torch.equal(anchors[1:], original()["model.24.anchors"])
    assert anchors[0].tolist() == [[2.25, 2.5], [3, 4.5], [4.75, 3.75]]
    back = build("yolov5n-anchor.yaml")
    left = {t.source for t in load_yolov5(model.state_dict(), back) if t.status == LEFT_OVER}
    assert {"model.31.m.0.weight", "model.31.m.0.bias"} <= left
    assert torch.equal(back.model[-1].m[2].weight, original()["model.24.m.2.weight"])


def test_a_convolution_never_gets_the_norm_of_another():
    taken = load_yolov5(original(), build("yolov5n-swint.yaml", anchor=True))
    loaded = {t.target for t in taken if t.status == LOADED}
    norms = {name for name in loaded if ".bn." in name}
    assert norms and {name.split(".bn.")[0] + ".conv.weight" for name in norms} <= loaded
    assert not any(name.startswith("model.11.") for name in loaded)  # its input is Swin's: same norms, other filters


def test_grey_images_get_the_sum_over_colours():
    model = build("yolov5n-anchor.yaml", ch=1)
    taken = load_yolov5(original(), model)
    assert [t.target for t in taken if t.status == RESIZED] == ["model.0.conv.weight"]
    torch.testing.assert_close(model.model[0].conv.weight[:, 0], original()["model.0.conv.weight"].sum(1))


@pytest.mark.parametrize("prefix", ["module.", "model.", "model.model."])
def test_wrapped_names_and_shifted_rows_are_understood(prefix):
    shifted = {}
    for name, value in original().items():
        _, row, rest = name.split(".", 2)
        shifted[f"{prefix}model.{int(row) + 3}.{rest}"] = value
    model = build("yolov5n-anchor.yaml")
    taken = load_yolov5(shifted, model)
    assert all(t.status == LOADED for t in taken) and all(
        torch.equal(v, original()[k]) for k, v in model.state_dict().items()
    )


def test_counts_that_are_missing_or_lists_of_one_do_not_matter():
    model = build("yolov5n-anchor.yaml")
    counted = {k: v.view(1) + 5 if k.endswith("tracked") else v for k, v in original().items()}
    assert all(t.status == LOADED for t in load_yolov5(counted, model))
    assert model.model[0].bn.num_batches_tracked == 5 and model.model[0].bn.num_batches_tracked.ndim == 0
    plain = {k: v for k, v in original().items() if not k.endswith("tracked")}
    assert all(t.status == LOADED for t in load_yolov5(plain, model))


def test_rows_are_paired_without_crossing_and_alike_rows_in_their_order():
    a, b = {"conv.weight": torch.zeros(4, 3, 1, 1)}, {"conv.weight": torch.zeros(4, 4, 1, 1)}
    assert match_rows({0: a, 1: b, 2: a}, {5: a, 6: a}) == {5: 0, 6: 2}
    assert match_rows({0: a, 1: b}, {0: b, 1: a}) in ({0: 1}, {1: 0})
    assert match_rows({0: a}, {0: {"other": torch.zeros(1)}}) == {}
    other = {"conv.weight": torch.zeros(9, 9, 1, 1)}
    assert match_rows({0: other, 1: b}, {3: a, 4: b}) == {3: 0, 4: 1}  # of one kind, though nothing fits
    assert list(rows_of({"model.10.a": torch.ones(1), "model.2.a": torch.ones(1), "epoch": torch.ones(1)})) == [2, 10]


def test_tensors_that_are_no_rows_are_left_over():
    taken = load_yolov5({**original(), "extra": torch.ones(1)}, build("yolov5n-anchor.yaml"))
    assert [t for t in taken if t.status != LOADED] == [Taken(None, "extra", LEFT_OVER)]


def test_weights_of_something_else_are_refused():
    model = build("yolov5n-anchor.yaml")
    with pytest.raises(InputError, match="expected the weights of a YOLO model"):
        load_yolov5({"backbone.weight": torch.ones(1)}, model)
    with pytest.raises(InputError, match="none of the weights fit the model"):
        load_yolov5({"model.1.conv.weight": torch.ones(7, 7, 7, 7)}, model)


def test_weights_of_another_scale_are_refused_before_rows_as_wide_are_taken_for_each_other():
    with pytest.raises(InputError, match=r"scale .* first convolution gives 32 channels; these give 16, take --cfg"):
        load_yolov5(original(), build("yolov5s-swin.yaml"))


# Trained weights, where they are


@lru_cache
def coco() -> dict[str, Tensor]:
    return torch.load(COCO, weights_only=True)


@lru_cache
def trained(name: str) -> DetectionModel:
    model = build(name, anchor=True).eval()
    load_yolov5(coco(), model)
    return model


@lru_cache
def frames() -> tuple[Tensor, ...]:
    """The first and the last frame, 576 x 768, RGB in 0..1."""
    video = cv2.VideoCapture(str(VIDEO))
    found = []
    while True:
        ok, frame = video.read()
        if not ok:
            break
        found.append(frame)
    assert len(found) == 200
    ends = (np.ascontiguousarray(found[i][..., ::-1]) for i in (0, -1))
    return tuple(torch.from_numpy(frame).permute(2, 0, 1)[None] / 255 for frame in ends)


def people(y: Tensor) -> Tensor:
    detections = non_max_suppression(y, 0.5, 0.45)[0]
    return detections[detections[:, 5] == 0]


@needs_coco
def test_every_tensor_of_the_trained_yolov5n_is_taken():
    assert len(coco()) == 350
    taken = load_yolov5(coco(), model := build("yolov5n-anchor.yaml"))
    assert len(taken) == 350 and {t.source for t in taken} == set(coco()) and all(t.status == LOADED for t in taken)
    assert sum(p.numel() for p in model.parameters()) == 1_872_157
    for name, value in model.state_dict().items():
        assert torch.equal(value.flatten(), coco()[name].to(value.dtype).flatten()), name


# Where I see someone in the last frame: x, y of a point on the body.
SEEN = [(101, 185), (238, 230), (508, 182), (627, 315), (720, 300), (688, 127), (711, 128)]


@needs_coco
@needs_video
def test_the_trained_yolov5n_finds_the_people():
    with torch.inference_mode():
        first, last = (people(trained("yolov5n-anchor.yaml")(frame)[0]) for frame in frames())
    assert 3 <= len(first) <= 5 and 7 <= len(last) <= 9
    for x, y in SEEN:
        around = (last[:, 0] < x) & (x < last[:, 2]) & (last[:, 1] < y) & (y < last[:, 3])
        assert around.sum() == 1, (x, y)
    width, height = (last[:, 2:4] - last[:, :2]).T
    assert (height > 1.3 * width).all() and (height > 25).all() and (height < 120).all()


@needs_coco
@needs_video
def test_with_stages_inserted_it_finds_the_same_people_with_the_same_scores():
    vanilla, inserted = trained("yolov5n-anchor.yaml"), trained("yolov5n-swin-insert.yaml")
    assert any(isinstance(m, nn.LayerNorm) for m in inserted.modules())
    with torch.inference_mode():
        expected, y = (model(frames()[1])[0] for model in (vanilla, inserted))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    assert torch.equal(people(y), people(expected)) and len(people(y)) >= 7

import re
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from small_detectors import CONV_AND_SWIN, CONV_ONLY, detector, outputs
from torch import nn

from swin_yolo.errors import InputError
from swin_yolo.nn import SwinTransformer
from swin_yolo.weights import format_report, load_model, load_weights

ANCHORS = {
    **CONV_ONLY,
    "anchors": [[4, 4, 8, 8, 16, 16], [8, 8, 16, 16, 32, 32]],
    "head": [[[1, 2], 1, "AnchorDetect", ["nc", "anchors"]]],
}
HEADS = pytest.mark.parametrize("yaml", [CONV_AND_SWIN, ANCHORS], ids=["Detect", "AnchorDetect"])


def saved(model: nn.Module, folder: Path) -> Path:
    file = folder / "best.pt"
    torch.save({"model": model}, file)
    return file


def named(model: nn.Module, *names: str) -> nn.Module:
    model.names = dict(enumerate(names))
    return model


def class_rows(model: nn.Module) -> list[torch.Tensor]:
    """For each level, one row of weights and bias for each class; of an anchor head, those of its first anchor."""
    head = model.model[-1]
    convs, first = (head.m, 5) if hasattr(head, "m") else ([branch[-1] for branch in head.cv3], 0)
    rows = slice(first, first + head.nc)
    return [torch.cat((conv.weight[rows].flatten(1), conv.bias[rows, None]), 1).detach() for conv in convs]


@HEADS
def test_the_same_model_is_loaded_whole(tmp_path, yaml):
    source, model = detector(yaml), detector(yaml, seed=5)
    report = load_weights(model, saved(source, tmp_path))
    assert {entry.status for entry in report.entries} == {"loaded"}
    assert torch.equal(outputs(model), outputs(source))


@HEADS
def test_classes_of_the_same_name_keep_their_rows_and_others_start_fresh(tmp_path, yaml):
    source = named(detector(yaml, nc=3), "car", "person", "bus")
    model = named(detector(yaml, seed=5, nc=4), "tree", "Bus ", "car", "dog")
    fresh = deepcopy(model)
    report = load_weights(model, saved(source, tmp_path))
    for found, given, before in zip(class_rows(model), class_rows(source), class_rows(fresh), strict=True):
        assert torch.equal(found, torch.stack([before[0], given[2], given[0], before[3]]))
    notes = {entry.name for entry in report.entries if entry.note == "classes of the same name kept"}
    assert len(notes) == 4 and all(entry.status == "resized" for entry in report.entries if entry.note)
    assert not report.count("left over") and not report.count("missing")


@HEADS
def test_classes_in_another_order_are_brought_into_the_model_s(tmp_path, yaml):
    source, model = named(detector(yaml), "car", "bus"), named(detector(yaml, seed=5), "bus", "car")
    report = load_weights(model, saved(source, tmp_path))
    for found, given in zip(class_rows(model), class_rows(source), strict=True):
        assert torch.equal(found, given[[1, 0]])
    assert {entry.status for entry in report.entries} == {"loaded"}


@HEADS
def test_everything_but_other_classes_is_kept(tmp_path, yaml):
    source, model = named(detector(yaml, nc=3), "a", "b", "c"), named(detector(yaml, seed=5, nc=2), "x", "y")
    fresh = class_rows(deepcopy(model))
    load_weights(model, saved(source, tmp_path))
    for found, before in zip(class_rows(model), fresh, strict=True):
        assert torch.equal(found, before)
    given = source.state_dict()
    for name, tensor in model.state_dict().items():
        if tensor.shape == given[name].shape:
            assert torch.equal(tensor, given[name]), name
    if yaml is ANCHORS:
        boxes = [m.model[-1].m[1].weight.unflatten(0, (3, -1))[:, :5] for m in (model, source)]
        assert torch.equal(*boxes)


def test_the_pretrained_hidden_layers_of_the_class_branch_are_kept(tmp_path):
    source = named(detector(CONV_ONLY, nc=30), *(f"class {i}" for i in range(30)))
    model = named(detector(CONV_ONLY, seed=5), "class 7", "another")
    file = saved(source, tmp_path)
    load_weights(model, file)
    for ours, theirs in zip(model.model[-1].cv3, source.model[-1].cv3, strict=True):
        assert torch.equal(ours[1].conv.weight, theirs[1].conv.weight) and ours[-1].weight.shape == (2, 30, 1, 1)
        assert torch.equal(ours[-1].weight[0], theirs[-1].weight[7])
    with torch.no_grad():
        assert torch.equal(outputs(load_model(saved(model.eval(), tmp_path))), outputs(model))


def test_what_ultralytics_takes_is_taken(tmp_path):
    source = named(detector(nc=30), *(f"class {i}" for i in range(30)))
    ours, theirs = (named(detector(seed=5, nc=3), "class 7", "class 2", "another") for _ in range(2))
    load_weights(ours, saved(source, tmp_path))
    theirs.load(source, verbose=False)
    expected = theirs.state_dict()
    for name, tensor in ours.state_dict().items():
        if re.fullmatch(r"model\.4\.cv3\.\d\.2\..+", name):  # the third class is another draw of a fresh layer
            assert torch.equal(tensor[:2], expected[name][:2]), name
        else:
            assert torch.equal(tensor, expected[name]), name


def test_rows_inserted_before_the_head_do_not_hide_its_classes(tmp_path):
    source = named(detector(CONV_ONLY), "car", "bus")
    rows = [*CONV_ONLY["backbone"], [-1, 2, "SwinStage", [16, {"zero_init": True}]]]
    inserted = {**CONV_ONLY, "backbone": rows, "head": [[[1, 3], 1, "Detect", ["nc"]]]}
    model = named(detector(inserted, seed=5, nc=3), "dog", "bus", "car")
    load_weights(model, saved(source, tmp_path))
    for found, given in zip(class_rows(model), class_rows(source), strict=True):
        assert torch.equal(found[1:], given[[1, 0]])


def test_weights_of_another_scale_are_refused(tmp_path):
    wide = {**CONV_ONLY, "width_multiple": 4.0}
    with pytest.raises(InputError, match=r"best\.pt.*scale"):
        load_weights(detector(CONV_ONLY), saved(detector(wide), tmp_path))


def test_a_classifier_takes_swin_weights_only(tmp_path):
    file = saved(detector(), tmp_path)
    with pytest.raises(InputError, match="Swin weights"):
        load_weights(SwinTransformer(embed_dim=8, num_heads=(1, 1, 1, 1)), file)


def test_the_report_counts_by_row(tmp_path):
    source, model = named(detector(nc=3), "a", "b", "c"), named(detector(seed=5), "x", "y")
    text = format_report(load_weights(model, saved(source, tmp_path)))
    lines = text.splitlines()
    assert [line.split()[:2] for line in lines[1:6]] == [
        ["0", "Conv"],
        ["1", "C3"],
        ["2", "Conv"],
        ["3", "SwinStage"],
        ["4", "Detect"],
    ]
    assert lines[1].split()[2:] == ["6", "6"]
    assert lines[-2] == "left over in the file: model.4 (4)"
    assert " 4 missing, 0 unfit, 4 left over; " in lines[-1]

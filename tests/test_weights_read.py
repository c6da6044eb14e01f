import pickle
import struct
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_detectors import CONV_ONLY, detector, outputs, write_training_checkpoint
from torch import nn
from ultralytics.nn.tasks import ClassificationModel, load_checkpoint
from weight_files import assert_same_tensors, refusal

from swin_yolo.weights import load_model, read_checkpoint, rebuild

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "yolov5n_coco"


# Detectors


@pytest.fixture(scope="module")
def training_checkpoint(tmp_path_factory):
    return write_training_checkpoint(tmp_path_factory.mktemp("run") / "last.pt", detector())


def test_a_training_checkpoint_is_read_as_torch_unpickles_it(training_checkpoint):
    expected = torch.load(training_checkpoint, weights_only=False)
    found = read_checkpoint(training_checkpoint)
    assert_same_tensors(found.state_dict, expected["ema"].state_dict())
    assert found.kind == "swin_yolo" and found.model_class == "ultralytics.nn.tasks.DetectionModel"
    assert found.yaml == expected["ema"].yaml
    assert found.names == {0: "class 0", 1: "class 1"}
    assert found.stride == (2.0, 4.0)
    assert found.has_optimizer
    assert found.train_args == {"imgsz": 64, "data": "demo.yaml", "save_dir": "runs/exp"}
    assert (found.metadata["epoch"], found.metadata["updates"], found.metadata["version"]) == (3, 12, "8.4.190")


def test_the_optimiser_s_state_loads_again(training_checkpoint):
    expected = torch.load(training_checkpoint, weights_only=False)["optimizer"]
    found = read_checkpoint(training_checkpoint).metadata["optimizer"]
    assert found["param_groups"] == expected["param_groups"] and found["state"].keys() == expected["state"].keys()
    for number, state in expected["state"].items():
        assert_same_tensors(found["state"][number], state)
    torch.optim.AdamW(detector().parameters()).load_state_dict(found)


def test_a_rebuilt_detector_is_the_one_that_was_saved(training_checkpoint):
    theirs, _ = load_checkpoint(training_checkpoint)
    ours = load_model(training_checkpoint)
    assert torch.equal(outputs(ours), outputs(theirs))
    assert (ours.names, ours.task, ours.nc, ours.args) == (
        theirs.names,
        theirs.task,
        2,
        {**theirs.args, "save_dir": "runs/exp"},
    )
    assert torch.equal(ours.stride, theirs.stride)
    assert not ours.training and next(ours.parameters()).dtype == torch.float32


def test_a_rebuilt_detector_keeps_the_types_stored(training_checkpoint):
    model = rebuild(read_checkpoint(training_checkpoint))
    assert {p.dtype for p in model.parameters()} == {torch.float16}


def test_rebuilding_leaves_the_random_numbers_alone(training_checkpoint):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_model(training_checkpoint)
    assert torch.equal(torch.rand(2), expected)


def test_a_detector_without_our_layers_is_ultralytics(tmp_path):
    torch.save({"model": detector(CONV_ONLY)}, tmp_path / "best.pt")
    found = read_checkpoint(tmp_path / "best.pt")
    assert found.kind == "ultralytics" and not found.has_optimizer and found.train_args == {}


def test_a_model_saved_bare_is_read(tmp_path):
    model = detector()
    torch.save(model, tmp_path / "model.pt")
    assert torch.equal(outputs(load_model(tmp_path / "model.pt")), outputs(model))


def test_a_class_branch_as_wide_as_its_pretraining_s_is_kept(tmp_path):
    pretrained = detector(CONV_ONLY, nc=30)  # 30 classes make the hidden layers of the branch 30 wide
    model = detector(CONV_ONLY, seed=1)
    model.load(pretrained, verbose=False)
    assert model.model[-1].cv3[0][0].conv.out_channels == 30
    torch.save({"model": model}, tmp_path / "best.pt")
    assert torch.equal(outputs(load_model(tmp_path / "best.pt")), outputs(model))


def test_weights_that_are_not_the_yaml_s_are_refused_and_trusted(tmp_path):
    model = detector(CONV_ONLY)
    model.yaml = {**CONV_ONLY, "backbone": [*CONV_ONLY["backbone"][:2], [-1, 1, "Conv", [24, 3, 2]]]}
    torch.save({"model": model}, tmp_path / "pruned.pt")
    message = refusal(tmp_path / "pruned.pt", read=load_model)
    assert "not those of its model YAML" in message and "--trust" in message
    assert torch.equal(outputs(load_model(tmp_path / "pruned.pt", trust=True)), outputs(model))


def test_a_model_yaml_that_cannot_be_built_is_refused(tmp_path):
    model = detector(CONV_ONLY)
    model.yaml = {**CONV_ONLY, "backbone": [[-1, 1, "Conv", ["wide"]], *CONV_ONLY["backbone"][1:]]}
    torch.save({"model": model}, tmp_path / "best.pt")
    assert "cannot be built" in refusal(tmp_path / "best.pt", read=load_model)


def test_a_model_of_another_task_is_refused_as_a_detector(tmp_path):
    rows = {"nc": 2, "backbone": [[-1, 1, "Conv", [8, 3, 2]]], "head": [[-1, 1, "Classify", ["nc"]]]}
    torch.save({"model": ClassificationModel(rows, verbose=False)}, tmp_path / "cls.pt")
    assert "ClassificationModel" in refusal(tmp_path / "cls.pt", read=load_model)


def test_numpy_numbers_are_read_as_numbers(tmp_path):
    content = {"best_fitness": np.float64(0.125), "epoch": np.int64(7), "flag": np.bool_(True)}
    write_training_checkpoint(tmp_path / "last.pt", detector(CONV_ONLY), **content)
    metadata = read_checkpoint(tmp_path / "last.pt").metadata
    assert (metadata["best_fitness"], metadata["epoch"], metadata["flag"]) == (0.125, 7, True)
    assert isinstance(metadata["best_fitness"], float)


# Plain weights

TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "half": torch.ones(3, dtype=torch.float16),
    "bf16": torch.full((2,), 0.5, dtype=torch.bfloat16),
    "count": torch.tensor(5),
    "mask": torch.tensor([True, False]),
    "none": torch.empty(0, 4),
    "nhwc": torch.arange(48.0).reshape(2, 3, 2, 4).to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"model": w}, lambda w: {"state_dict": w, "epoch": 3}])
def test_plain_weights_are_read_from_both_formats_of_torch(tmp_path, wrap, zipped):
    shared = TENSORS["a"][1]  # a part of another's storage
    weights = OrderedDict(TENSORS, row=shared, again=shared)
    torch.save(wrap(weights), tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "weights.pth")
    assert found.kind == "state_dict" and found.yaml is None
    assert_same_tensors(found.state_dict, weights)


def test_a_state_dict_of_a_module_is_read(tmp_path):
    state = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()  # an OrderedDict with attributes
    torch.save(state, tmp_path / "weights.pth")
    assert_same_tensors(read_checkpoint(tmp_path / "weights.pth").state_dict, state)


def test_a_whole_module_of_torch_gives_its_weights(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4))
    module.register_buffer("scratch", torch.ones(2), persistent=False)
    torch.save(module, tmp_path / "module.pt")
    assert_same_tensors(read_checkpoint(tmp_path / "module.pt").state_dict, module.state_dict())


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_safetensors_of_others_are_plain_weights_by_any_name(tmp_path, name):
    weights = {k: v.contiguous() for k, v in TENSORS.items()}
    save_file(weights, tmp_path / name, metadata={"format": "pt"})
    found = read_checkpoint(tmp_path / name)
    assert found.kind == "state_dict"
    assert_same_tensors(dict(sorted(found.state_dict.items())), dict(sorted(weights.items())))


def test_plain_weights_are_refused_as_a_detector(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt")
    assert "--cfg" in refusal(tmp_path / "weights.pt", read=load_model)


# YOLOv5 of the original repository


@contextmanager
def yolov5_classes():
    """Modules models.yolo and models.common with classes of YOLOv5's names, there only while a file is written."""
    yolo, common = types.ModuleType("models.yolo"), types.ModuleType("models.common")
    for module, name in ((yolo, "Model"), (common, "Conv")):
        cls = type(name, (nn.Module,), {"__module__": module.__name__})
        setattr(module, name, cls)
    modules = {"models": types.ModuleType("models"), "models.yolo": yolo, "models.common": common}
    sys.modules.update(modules)
    try:
        yield yolo, common
    finally:
        for name in modules:
            del sys.modules[name]


def write_yolov5(file: Path, *, zipped: bool = True) -> dict[str, torch.Tensor]:
    """A pickle of YOLOv5's form; gives the weights in it."""
    with yolov5_classes() as (yolo, common):
        conv = common.Conv()
        conv.conv, conv.bn, conv.i, conv.f = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), 0, -1
        conv.register_buffer("grid", torch.zeros(1, 1).expand(20, 20), persistent=False)
        model = yolo.Model()
        model.model = nn.Sequential(conv)
        model.yaml = {"nc": 2, "anchors": [[1, 2]], "backbone": [[-1, 1, "Conv", [4, 3]]], "head": []}
        model.names, model.stride = ["a", "b"], torch.tensor([8.0])
        content = {"model": model.half(), "ema": None, "epoch": -1, "best_fitness": np.array([0.5])}
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        return model.state_dict()


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_yolov5_is_read_without_its_classes(tmp_path, zipped):
    weights = write_yolov5(tmp_path / "yolov5.pt", zipped=zipped)
    found = read_checkpoint(tmp_path / "yolov5.pt")
    assert (found.kind, found.model_class, found.stride) == ("yolov5", "models.yolo.Model", (8.0,))
    assert found.names == {0: "a", 1: "b"} and found.yaml["anchors"] == [[1, 2]]
    assert_same_tensors(found.state_dict, weights)
    assert next(iter(weights)) == "model.0.conv.weight"
    assert not {"models", "models.yolo"} & sys.modules.keys()


def test_trust_reads_yolov5_too(tmp_path):
    weights = write_yolov5(tmp_path / "yolov5.pt")
    assert_same_tensors(read_checkpoint(tmp_path / "yolov5.pt", trust=True).state_dict, weights)


@pytest.mark.skipif(not DATA.is_dir(), reason="the COCO weights of YOLOv5n are not there")
def test_the_released_yolov5n_is_read():
    found = read_checkpoint(DATA / "yolov5n.pt")
    assert (found.kind, len(found.names), len(found.state_dict)) == ("yolov5", 80, 350)
    plain = read_checkpoint(DATA / "yolov5n_state_dict_fp16.pt").state_dict
    flat = [{k: v.flatten() for k, v in weights.items()} for weights in (found.state_dict, plain)]
    assert_same_tensors(*flat)  # flat: the pickle counts batches in numbers, the other file in lists of one
    model = load_model(DATA / "yolov5n.pt")
    assert sum(p.numel() for p in model.parameters()) == 1_872_157
    assert type(model.model[-1]).__name__ == "AnchorDetect" and model.names[0] == "person"


@pytest.mark.skipif(not DATA.is_dir(), reason="the COCO weights of YOLOv5n are not there")
def test_anchors_that_a_yolov5_yaml_left_to_autoanchor_are_those_of_the_weights():
    found = read_checkpoint(DATA / "yolov5n.pt")
    chosen = {name: 1.5 * tensor if name.endswith(".anchors") else tensor for name, tensor in found.state_dict.items()}
    model = rebuild(replace(found, yaml={**found.yaml, "anchors": 3}, state_dict=chosen))
    assert torch.equal(model.model[-1].anchors, chosen["model.24.anchors"])
    assert model.model[-1].na == 3


# Files that are broken


BROKEN = {
    "empty": b"",
    "text": b"backbone:\n  - [-1, 1, Conv, [64]]\n",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "pickle": pickle.dumps({"a": 1}),
    "zeros": bytes(1000),
    "safetensors": struct.pack("<Q", 1 << 40) + b"{" + bytes(50),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    file = tmp_path / "best.pt"
    file.write_bytes(content)
    assert "not a checkpoint" in refusal(file)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(tmp_path, part, zipped):
    file = tmp_path / "best.pt"
    torch.save(TENSORS, file, _use_new_zipfile_serialization=zipped)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * part)])
    assert "not a checkpoint" in refusal(file)


def test_a_zip_of_other_files_is_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.pt", "w") as archive:
        archive.writestr("photos/1.jpg", b"jpeg")
    assert "not a checkpoint" in refusal(tmp_path / "photos.pt")


def test_torchscript_is_named_as_such(tmp_path):
    torch.jit.trace(nn.Linear(1, 1), torch.ones(1)).save(tmp_path / "script.pt")
    assert "TorchScript" in refusal(tmp_path / "script.pt")


def test_a_checkpoint_without_weights_is_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "best.pt")
    assert "no weights" in refusal(tmp_path / "best.pt")


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refusal(tmp_path / "missing.pt")
    assert "no such file" in refusal(tmp_path)


def test_a_checkpoint_loads_in_a_fresh_process_elsewhere(training_checkpoint, tmp_path):
    expected = outputs(load_model(training_checkpoint))
    code = (
        "import sys, torch\n"
        "from swin_yolo.weights import load_model\n"
        "image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(7))\n"
        "with torch.inference_mode(): torch.save(load_model(sys.argv[1])(image)[0], sys.argv[2])\n"
    )
    subprocess.run([sys.executable, "-c", code, training_checkpoint, tmp_path / "y.pt"], cwd=tmp_path, check=True)
    # Another process may have another number of threads, which add in another order.
    torch.testing.assert_close(torch.load(tmp_path / "y.pt"), expected, rtol=1e-4, atol=1e-4)

import inspect
import pathlib
import pickle
import struct
import subprocess
import sys
import types
import zipfile
from collections import OrderedDict
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_detectors import CONV_ONLY, detector, outputs, write_training_checkpoint
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.tasks import ClassificationModel, DetectionModel, load_checkpoint

from swin_yolo.engine.model import build_model, read_model_yaml
from swin_yolo.errors import InputError
from swin_yolo.weights import load_model, read_checkpoint, rebuild
from swin_yolo.weights.header import encode_header, weights_sha256

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "yolov5n_coco"


def refusal(file: Path, *, read=read_checkpoint) -> str:
    """The message of the InputError that reading gives, checked to be one line that names the file."""
    with pytest.raises(InputError) as caught:
        read(file)
    message = str(caught.value)
    assert str(file) in message and "\n" not in message
    return message


def assert_same_tensors(found, expected) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


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


# Files that would run code


class Attack:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def touch(canary: Path) -> Attack:
    """What makes the canary when it is unpickled."""
    import os

    return Attack(os.system, f"touch {canary}")


@contextmanager
def ultralytics_alone():
    """ultralytics' parser as it is without this package, which evaluates an `activation`."""
    wrapper = tasks.parse_model
    tasks.parse_model = inspect.getclosurevars(wrapper).nonlocals["parse_model"]
    try:
        yield
    finally:
        tasks.parse_model = wrapper


def write_detector(file: Path, yaml_dict: dict, **fields) -> Path:
    """A detector of CONV_ONLY's weights that says it has this model YAML; other fields of a .safetensors header."""
    model = detector(CONV_ONLY)
    model.yaml = yaml_dict
    if file.suffix == ".pt":
        torch.save({"model": model}, file)
        return file
    weights = {k: v.contiguous() for k, v in model.state_dict().items()}
    header = {
        "kind": "ultralytics",
        "model_class": "ultralytics.nn.tasks.DetectionModel",
        "yaml": yaml_dict,
        "names": ["a", "b"],
        "stride": [2.0, 4.0],
        "train_args": {},
        "about": {},
        "sha256": {"weights": weights_sha256(weights)},
        **fields,
    }
    save_file(weights, file, metadata=encode_header(header))
    return file


def evaluated_yaml(canary: Path) -> dict:
    """A model YAML whose `activation` makes the canary where it is evaluated."""
    made = f"__import__('pathlib').Path({str(canary)!r}).touch()"
    return {**deepcopy(CONV_ONLY), "activation": f"{made} or nn.SiLU()"}


def in_optimizer(file: Path, canary: Path) -> None:
    write_training_checkpoint(file, detector(CONV_ONLY), optimizer={"state": {0: {"step": touch(canary)}}})


def behind_partial(file: Path, canary: Path) -> None:
    import os

    torch.save({"model": Attack(partial(os.system, f"touch {canary}"))}, file)


def in_a_module(file: Path, canary: Path) -> None:
    module = nn.Conv2d(1, 1, 1)
    module.hidden = touch(canary)
    torch.save(module, file)


def in_a_pickle_without_torch(file: Path, canary: Path) -> None:
    file.write_bytes(pickle.dumps({"model": touch(canary)}))


def in_the_legacy_format(file: Path, canary: Path) -> None:
    torch.save({"a": torch.ones(1), "b": touch(canary)}, file, _use_new_zipfile_serialization=False)


def as_protocol_5(file: Path, canary: Path) -> None:
    torch.save({"a": torch.ones(1), "b": touch(canary)}, file, pickle_protocol=5)


def by_a_call_of_an_allowed_class(file: Path, canary: Path) -> None:
    torch.save({"model": Attack(DetectionModel, evaluated_yaml(canary), 3, None, False)}, file)


def by_eval(file: Path, canary: Path) -> None:
    torch.save({"model": Attack(eval, f"open({str(canary)!r}, 'w')")}, file)


def by_a_method(file: Path, canary: Path) -> None:
    torch.save({"model": Attack(getattr(pathlib.Path(canary), "touch"))}, file)  # noqa: B009


def by_loading_another_pickle(file: Path, canary: Path) -> None:
    torch.save(torch.ones(1), file)
    inner = pickle.dumps(touch(canary))
    torch.save({"a": Attack(pickle.loads, inner)}, file)


RUNS = [
    lambda file, canary: torch.save({"model": touch(canary)}, file),
    in_optimizer,
    behind_partial,
    in_a_module,
    in_a_pickle_without_torch,
    in_the_legacy_format,
    as_protocol_5,
    by_a_call_of_an_allowed_class,
    by_eval,
    by_a_method,
    by_loading_another_pickle,
]


@pytest.mark.parametrize("write", RUNS, ids=lambda f: f.__name__.replace("<lambda>", "os_system"))
def test_nothing_in_a_file_is_run(tmp_path, write):
    file, canary = tmp_path / "evil.pt", tmp_path / "canary"
    write(file, canary)
    canary.unlink(missing_ok=True)
    message = refusal(file)
    assert not canary.exists() and "--trust" in message
    # The attack is one: unpickling as usual does run it, with the parser that we have not wrapped.
    with open(file, "rb") as f, ultralytics_alone():
        (pickle.load if write is in_a_pickle_without_torch else partial(torch.load, weights_only=False))(f)
    assert canary.exists()


def test_trust_runs_what_a_file_holds(tmp_path):
    file, canary = tmp_path / "mine.pt", tmp_path / "canary"
    torch.save({"weights": touch(canary), "state_dict": {"a": torch.ones(1)}}, file)
    assert list(read_checkpoint(file, trust=True).state_dict) == ["a"]
    assert canary.exists()


@pytest.mark.parametrize("entry", ["archive/more.pkl", "data.pkl", "other/data.pkl", "archive/data/data.pkl"])
def test_a_pickle_by_another_name_in_the_zip_is_refused(tmp_path, entry):
    file, canary = tmp_path / "archive.pt", tmp_path / "canary"
    torch.save({"a": torch.ones(1)}, file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(entry, pickle.dumps(touch(canary)))
    message = refusal(file)
    assert entry in message and "--trust" in message and not canary.exists()


def test_two_entries_of_one_name_are_refused(tmp_path):
    file, canary = tmp_path / "archive.pt", tmp_path / "canary"
    torch.save({"a": torch.ones(1)}, file)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data.pkl", pickle.dumps(touch(canary)))
    assert "two entries" in refusal(file) and not canary.exists()


@pytest.mark.parametrize(
    "row",
    [
        [-1, 1, "torch_safe_load", ["best.pt"]],
        [-1, 1, "nn.modules.module.torch.load", ["best.pt"]],
        [-1, 1, "DetectionModel", ["best.pt"]],
        [-1, 1, "TorchVision", [8, "alexnet", "DEFAULT"]],
        [-1, 1, ["os"], []],
        "Conv",
    ],
    ids=["function", "attribute", "model", "download", "list", "text"],
)
def test_a_model_yaml_is_not_built_of_anything_but_layers(tmp_path, row):
    model = detector(CONV_ONLY)
    model.yaml = {**CONV_ONLY, "backbone": [row, *CONV_ONLY["backbone"][1:]]}
    torch.save({"model": model}, tmp_path / "best.pt")
    assert "row 0" in refusal(tmp_path / "best.pt", read=load_model)


ACTIVATIONS = [
    "nn.SiLU({})",
    "{}",
    "({} or nn.SiLU)()",
    "nn.SiLU() if {} else nn.SiLU()",
    "nn.SiLU({}).eval()",
    "nn.SiLU(*[{}]).x()",
    "nn.SiLU(**{{'inplace': {}}})",
    "nn.SiLU().to({})",
    "nn.SiLU(inplace={})",
    "nn.modules.module.torch.nn.SiLU({})",
]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("form", ACTIVATIONS)
def test_the_activation_of_a_model_yaml_is_not_run(tmp_path, form, suffix):
    file, canary = tmp_path / f"best{suffix}", tmp_path / "canary"
    activation = form.format(f"__import__('os').system('touch {canary}')")
    write_detector(file, {**CONV_ONLY, "activation": activation})
    message = refusal(file, read=load_model)
    assert "activation expected" in message and not canary.exists()
    assert ("--trust" in message) == (suffix == ".pt")
    with suppress(Exception), ultralytics_alone():  # the parser may not like what it evaluated
        DetectionModel({**deepcopy(CONV_ONLY), "activation": activation}, verbose=False)
    assert canary.exists()


@pytest.mark.parametrize("form", ACTIVATIONS)
def test_the_parser_itself_runs_no_activation(tmp_path, form):
    activation = form.format(f"__import__('os').system('touch {tmp_path / 'canary'}')")
    with pytest.raises(InputError, match="activation expected"):
        DetectionModel({**deepcopy(CONV_ONLY), "activation": activation}, verbose=False)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("form", [*ACTIVATIONS, "nn.Linear(9, 9)", "nn.PReLU(10000000000)", "os.system", "", "(" * 150])
def test_the_activation_of_a_yaml_of_cfg_is_not_run(tmp_path, form):
    file, canary = tmp_path / "own.yaml", tmp_path / "canary"
    activation = form.format(f"__import__('os').system('touch {canary}')")
    file.write_text(yaml.safe_dump({**CONV_ONLY, "activation": activation}))
    for read in (build_model, read_model_yaml):
        assert "--cfg" in refusal(file, read=read) and not canary.exists()


def test_a_failed_activation_leaves_the_default_one():
    before = tasks.Conv.default_act
    with pytest.raises(InputError):
        DetectionModel({**deepcopy(CONV_ONLY), "activation": "nn.ReLU()", "head": [[0, 1, "No", []]]}, verbose=False)
    assert tasks.Conv.default_act is before


@pytest.mark.parametrize(
    "activation",
    [
        "nn.ReLU()",
        "nn.SiLU()",
        "torch.nn.LeakyReLU(0.1)",
        "torch.nn.Hardswish(inplace=True)",
        "nn.Hardtanh(min_val=-1.0)",
    ],
)
def test_an_activation_that_is_a_layer_is_kept(tmp_path, activation):
    model = detector(CONV_ONLY, activation=activation)
    torch.save({"model": model}, tmp_path / "best.pt")
    with ultralytics_alone():
        assert str(detector(CONV_ONLY, activation=activation)) == str(model)
    found = load_model(tmp_path / "best.pt")
    assert torch.equal(outputs(found), outputs(model)) and found.yaml["activation"] == activation


def test_a_file_cannot_change_what_reads_it(tmp_path):
    """BUILD sets attributes: of a function that the file may call, and of a class."""
    for number, target in enumerate((b"ctorch._utils\n_rebuild_tensor_v2\n", b"cmodels.yolo\nModel\n")):
        file = tmp_path / f"build{number}.pt"
        torch.save({}, file)
        data = b"\x80\x02" + target + b"N}X\x04\x00\x00\x00nameI1\ns\x86b."
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", data)
        refusal(file)


# Files that would take all memory


def bomb_of_a_compressed_zip(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(30_000_000))


def bomb_of_a_declared_size(file: Path) -> None:
    torch.save({"a": torch.ones(10)}, file)
    data = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        at = archive.start_dir
    struct.pack_into("<II", data, at + 20, 2_000_000_000, 2_000_000_000)  # of the first entry of the directory
    file.write_bytes(data)


def bomb_of_a_legacy_storage(file: Path) -> None:
    torch.save({"a": torch.ones(3)}, file, _use_new_zipfile_serialization=False)
    data = file.read_bytes()
    assert data.count(b"K\x03N") == 1  # the announced number of elements, before the view's None
    file.write_bytes(data.replace(b"K\x03N", b"\x8a\x05\x00\x00\x00\x00\x7fN"))


def bomb_of_an_expanded_tensor(file: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(1 << 40)}, file)


def bomb_of_a_memo_slot(file: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}r\xff\xff\xff\x7f.")


def bomb_of_shared_modules(file: Path) -> None:
    module = nn.Linear(1, 1)
    for _ in range(40):
        module = nn.Sequential(module, module)
    torch.save(module, file)


def bomb_of_shared_lists(file: Path) -> None:
    values = [0]
    for _ in range(45):
        values = [values] * 9
    torch.save({"state_dict": {"a": torch.ones(1)}, "lists": values}, file)


def opcodes(*parts: object) -> bytes:
    """Pickle opcodes: bytes as they are, text as a global, other values as `pickle` writes them."""
    found = b""
    for part in parts:
        if isinstance(part, str):
            module, name = part.rsplit(".", 1)
            found += f"c{module}\n{name}\n".encode()
        else:
            found += part if isinstance(part, bytes) else pickle.dumps(part[0], 2)[2:-1]
    return found


STORAGE = opcodes(b"(", ["storage"], "torch.FloatStorage", ["0"], ["cpu"], [1], b"tQ")
LEGACY_STORAGE = STORAGE.removesuffix(b"tQ") + b"NtQ"
HOOKS = opcodes(b"\x89", "collections.OrderedDict", b")R")
# A value nested 40 times in itself, twice each time: few bytes, and 2^40 parts for whoever walks it.
NESTED_LIST = b"]" + b"q\x010](h\x01h\x01e" * 40
NESTED_TUPLE = b")" + b"q\x010h\x01h\x01\x86" * 40


def tensor_of(size: bytes, stride: bytes, storage: bytes = STORAGE) -> bytes:
    return opcodes("torch._utils._rebuild_tensor_v2", b"(", storage, [0], size, stride, HOOKS, b"tR")


ONE = tensor_of(opcodes([(1,)]), opcodes([(1,)]))


def write_zip(file: Path, *entries: bytes) -> None:
    """A state dictionary of opcodes: key, value, key, value, ..."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}(" + b"".join(entries) + b"u.")
        archive.writestr("archive/data/0", bytes(4))


def write_legacy(file: Path, value: bytes, *, keys: list[str], storages: bytes) -> None:
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, machine)]
    content = b"\x80\x02}" + opcodes(["a"]) + value + b"s."
    file.write_bytes(b"".join([*parts, content, pickle.dumps(keys, 2), storages]))


def bomb_of_a_tensor_s_state(file: Path) -> None:
    one = tensor_of(opcodes([(1,)]), opcodes([(1,)]), LEGACY_STORAGE)
    state = opcodes(b"(", LEGACY_STORAGE, [0], [(1 << 32,)], [(1,)], b"tb")
    write_legacy(file, one + state, keys=["0"], storages=struct.pack("<q", 1) + bytes(4))


def bomb_of_a_storage_without_bytes(file: Path) -> None:
    write_legacy(file, tensor_of(opcodes([(1,)]), opcodes([(1,)]), LEGACY_STORAGE), keys=[], storages=b"")


def bomb_of_a_nested_key(file: Path) -> None:
    write_zip(file, NESTED_TUPLE, opcodes([1]), opcodes(["a"]), ONE)


def bomb_of_a_nested_key_in_a_set(file: Path) -> None:
    write_zip(file, opcodes(["b"], "builtins.set", b"]"), NESTED_TUPLE, b"a\x85R", opcodes(["a"]), ONE)


def bomb_of_a_nested_dtype(file: Path) -> None:
    write_zip(file, opcodes(["a"]), ONE, opcodes(["b"], "numpy.dtype"), NESTED_LIST, b"\x85R")


def bomb_of_a_nested_device(file: Path) -> None:
    write_zip(file, opcodes(["a"]), ONE, opcodes(["b"], "torch.device"), NESTED_LIST, b"\x85R")


def bomb_of_a_nested_size(file: Path) -> None:
    write_zip(file, opcodes(["a"]), tensor_of(NESTED_LIST, opcodes([(1,)])))


def bomb_of_a_nested_part_of_a_size(file: Path) -> None:
    write_zip(file, opcodes(["a"]), tensor_of(NESTED_LIST + b"\x85", opcodes([(1,)])))


def bomb_of_a_nested_storage_key(file: Path) -> None:
    storage = opcodes(b"(", ["storage"], "torch.FloatStorage", NESTED_LIST, ["cpu"], [1], b"tQ")
    write_zip(file, opcodes(["a"]), tensor_of(opcodes([(1,)]), opcodes([(1,)]), storage))


def bomb_of_huge_sizes(file: Path) -> None:
    write_zip(file, opcodes(["a"]), tensor_of(opcodes([(1 << 2000,) * 2000]), opcodes([(1,)])))


def bomb_of_many_expanded_buffers(file: Path) -> None:
    torch.save({f"b{i}": torch.zeros(1).expand(1 << 20) for i in range(100)}, file)


def bomb_of_many_views_of_all(file: Path) -> None:
    every = torch.zeros(1 << 20)
    torch.save({f"b{i}": every.view(1 << 20) for i in range(100)}, file)


BOMBS = {
    bomb_of_a_compressed_zip: "is compressed",
    bomb_of_a_declared_size: "unfolds into more than its size",
    bomb_of_a_legacy_storage: "unfolds into more than its size",
    bomb_of_an_expanded_tensor: "far more elements than its storages",
    bomb_of_a_memo_slot: "opcode LONG_BINPUT",
    bomb_of_shared_modules: "modules that no model has",
    bomb_of_a_tensor_s_state: "sets the state of a Tensor",
    bomb_of_a_storage_without_bytes: "storages without bytes",
    bomb_of_a_nested_key: "dictionary key that is no plain value",
    bomb_of_a_nested_key_in_a_set: "dictionary key that is no plain value",
    bomb_of_a_nested_dtype: "list where text belongs",
    bomb_of_a_nested_device: "list where text belongs",
    bomb_of_a_nested_size: "no tuple of at most 64 numbers",
    bomb_of_a_nested_part_of_a_size: "something else than numbers below 2^48",
    bomb_of_a_nested_storage_key: "storage without a name",
    bomb_of_huge_sizes: "no tuple of at most 64 numbers",
    bomb_of_many_expanded_buffers: "far more elements than its storages",
    bomb_of_many_views_of_all: "far more elements than its storages",
}


@pytest.mark.parametrize(("write", "reason"), BOMBS.items(), ids=[f.__name__ for f in BOMBS])
def test_a_bomb_is_refused(tmp_path, write, reason):
    write(tmp_path / "bomb.pt")
    message = refusal(tmp_path / "bomb.pt")
    assert reason in message and "--trust" in message


def test_what_the_bombs_are_made_of_is_read(tmp_path):
    write_zip(tmp_path / "a.pt", opcodes(["a"]), ONE)
    one = tensor_of(opcodes([(1,)]), opcodes([(1,)]), LEGACY_STORAGE)
    write_legacy(tmp_path / "b.pt", one, keys=["0"], storages=struct.pack("<q", 1) + bytes(4))
    for name in ("a.pt", "b.pt"):
        assert_same_tensors(read_checkpoint(tmp_path / name).state_dict, {"a": torch.zeros(1)})


FIRST, *OTHERS = CONV_ONLY["backbone"]
YAML_BOMBS = {
    "repeats": ({"backbone": [[-1, 10**8, "Conv", [8, 3, 1]], *OTHERS]}, "repeat 1e+08 layers"),
    "depth": ({"depth_multiple": 1e9}, "factors other than numbers"),
    "scale": ({"scales": {"n": [1e9, 1.0, 1024]}, "scale": "n"}, "factors other than numbers"),
    "factor as text": ({"depth_multiple": "9" * 9}, "factors other than numbers"),
    "negative repeats": ({"backbone": [[-1, -(10**8), "Conv", [8, 3, 1]], *OTHERS]}, "number of repeats"),
    "wide": ({"backbone": [[-1, 1, "Conv", [1 << 15, 3, 2]], [-1, 1, "Conv", [1 << 15, 3, 2]], *OTHERS]}, "parameters"),
    "classes": ({"nc": 10**9}, "larger than any has"),
    "number as text": ({"backbone": [[-1, 1, "Conv", [str(10**8), 3, 2]], *OTHERS]}, "larger than any has"),
    "channels": ({"channels": 1 << 15}, "a map of"),
    "upsampled": ({"backbone": [[-1, 1, "nn.Upsample", [None, 4096, "nearest"]], *OTHERS, FIRST]}, "a map of"),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("changed", "reason"), YAML_BOMBS.values(), ids=YAML_BOMBS)
def test_a_model_yaml_that_asks_for_all_memory_is_refused(tmp_path, changed, reason, suffix):
    file = write_detector(tmp_path / f"bomb{suffix}", {**deepcopy(CONV_ONLY), **changed})
    assert reason in refusal(file, read=load_model)


def test_a_model_yaml_whose_lists_share_parts_is_refused(tmp_path):
    values = [0]
    for _ in range(45):
        values = [values] * 9
    file = write_detector(tmp_path / "bomb.pt", {**CONV_ONLY, "activation": values})
    assert "more values than any has" in refusal(file, read=load_model)


ODD_HEADERS = {
    "yaml": ([1], "yaml that is a list"),
    "model_class": (None, "model_class that is null"),
    "train_args": ("text", "train_args that is text"),
    "stride": (["x"], "stride that is no list of numbers"),
    "names": (["a"], "names of its 2 classes, got 1"),
    "sha256": ([], "sha256 that is a list"),
    "about": (["x"], "about that is a list"),
}


@pytest.mark.parametrize("key", ODD_HEADERS)
def test_a_header_of_odd_values_is_refused(tmp_path, key):
    value, reason = ODD_HEADERS[key]
    file = write_detector(tmp_path / "odd.safetensors", CONV_ONLY, **{key: value})
    assert reason in refusal(file, read=load_model)


@pytest.mark.parametrize("train_args", ["text", ["x"]])
def test_odd_training_arguments_of_a_pickle_are_refused(tmp_path, train_args):
    torch.save({"model": detector(CONV_ONLY), "train_args": train_args}, tmp_path / "odd.pt")
    assert "train_args that are no mapping" in refusal(tmp_path / "odd.pt", read=load_model)


def test_a_header_nested_too_deeply_is_refused(tmp_path):
    file = write_detector(tmp_path / "deep.safetensors", CONV_ONLY)
    with safe_open(file, "pt") as f:
        header = {**f.metadata(), "about": "[" * 100_000 + "]" * 100_000}
    save_file(load_file(file), file, metadata=header)
    assert "nested too deeply" in refusal(file)


def test_values_that_share_parts_are_read_once(tmp_path):
    bomb_of_shared_lists(tmp_path / "shared.pt")
    assert list(read_checkpoint(tmp_path / "shared.pt").state_dict) == ["a"]


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

"""Files that would run code."""

import inspect
import pathlib
import pickle
import zipfile
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from small_detectors import CONV_ONLY, detector, outputs, write_training_checkpoint
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel
from weight_files import Attack, refusal, write_detector

from swin_yolo.engine.model import build_model, read_model_yaml
from swin_yolo.errors import InputError
from swin_yolo.weights import load_model, read_checkpoint


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

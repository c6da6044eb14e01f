import json
from copy import deepcopy

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_detectors import CONV_ONLY, detector, outputs, write_training_checkpoint
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils.torch_utils import strip_optimizer
from weight_files import Attack

from swin_yolo.errors import InputError
from swin_yolo.files import sha256
from swin_yolo.weights import (
    convert,
    load_model,
    load_weights,
    read_checkpoint,
    rebuild,
    strip_checkpoint,
    training_state,
)


@pytest.fixture
def best(tmp_path):
    """A finished checkpoint in fp16, one of its convolutions stored in channels_last."""
    model = detector().half()
    model.model[2].to(memory_format=torch.channels_last)
    arguments = {"imgsz": 64, "data": "demo.yaml", "lr0": 0.01, "freeze": None}
    content = {"model": model, "train_args": arguments, "epoch": -1, "date": "2030-01-02", "optimizer": None}
    torch.save(content, tmp_path / "best.pt")
    return tmp_path / "best.pt"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_detector_goes_to_safetensors_and_back_bit_for_bit(tmp_path, dtype):
    model = detector().to(dtype)
    torch.save({"model": model}, tmp_path / "a.pt")
    for source, target in (("a.pt", "b.safetensors"), ("b.safetensors", "c.pt"), ("c.pt", "d.safetensors")):
        assert convert(tmp_path / source, tmp_path / target) == tmp_path / target
        found = rebuild(read_checkpoint(tmp_path / target))
        for name, tensor in model.state_dict().items():
            assert found.state_dict()[name].dtype == tensor.dtype
            assert torch.equal(found.state_dict()[name], tensor), name
        assert torch.equal(outputs(found.float()), outputs(deepcopy(model).float()))


def test_what_makes_a_model_of_the_weights_goes_along(best):
    target = convert(best, best.with_suffix(".safetensors"))
    before, after = read_checkpoint(best), read_checkpoint(target)
    for field in ("kind", "model_class", "yaml", "names", "stride", "train_args"):
        assert getattr(after, field) == getattr(before, field), field
    assert after.metadata["date"] == "2030-01-02"
    with safe_open(target, "pt") as f:
        header = {k: json.loads(v) for k, v in f.metadata().items()}
    assert header["sha256"]["source"] == sha256(best)
    assert header["names"] == {"0": "class 0", "1": "class 1"} and header["stride"] == [2.0, 4.0]


def test_ultralytics_reads_what_was_converted_back(best):
    convert(best, best.with_suffix(".safetensors"))
    convert(best.with_suffix(".safetensors"), best.with_name("back.pt"))
    theirs, content = load_checkpoint(best.with_name("back.pt"))
    assert torch.equal(outputs(theirs), outputs(load_model(best)))
    assert theirs.names == {0: "class 0", 1: "class 1"} and content["train_args"]["data"] == "demo.yaml"


def test_weights_that_are_not_the_header_s_are_refused(best):
    file = convert(best, best.with_suffix(".safetensors"))
    with safe_open(file, "pt") as f:
        header = f.metadata()
    tensors = load_file(file)
    tensors["model.0.conv.weight"][0, 0, 0, 0] += 1
    save_file(tensors, file, metadata=header)
    with pytest.raises(InputError, match="sha256"):
        read_checkpoint(file)


@pytest.mark.parametrize("key", ["yaml", "sha256"])
def test_a_header_without_a_field_is_refused_by_name(best, key):
    file = convert(best, best.with_suffix(".safetensors"))
    with safe_open(file, "pt") as f:
        header = {k: v for k, v in f.metadata().items() if k != key}
    save_file(load_file(file), file, metadata=header)
    with pytest.raises(InputError, match=key):
        read_checkpoint(file)


def test_a_header_of_a_later_format_is_refused(best):
    file = convert(best, best.with_suffix(".safetensors"))
    with safe_open(file, "pt") as f:
        header = {**f.metadata(), "swin_yolo": "2"}
    save_file(load_file(file), file, metadata=header)
    with pytest.raises(InputError, match="format is 2"):
        read_checkpoint(file)


def test_a_header_s_yaml_is_not_run(best, tmp_path):
    file = convert(best, best.with_suffix(".safetensors"))
    with safe_open(file, "pt") as f:
        header = f.metadata()
    canary = tmp_path / "canary"
    code = f"__import__('pathlib').Path({str(canary)!r}).touch() or nn.SiLU()"
    header["yaml"] = json.dumps({**json.loads(header["yaml"]), "activation": code})
    save_file(load_file(file), file, metadata=header)
    with pytest.raises(InputError, match="activation"):
        load_model(file)
    assert not canary.exists()


def test_weights_load_from_both_alike(best):
    convert(best, best.with_suffix(".safetensors"))
    models = [detector(seed=5), detector(seed=5)]
    for model, file in zip(models, (best, best.with_suffix(".safetensors")), strict=True):
        assert load_weights(model, file).count("loaded") == len(model.state_dict())
    assert torch.equal(outputs(models[0]), outputs(models[1]))
    assert torch.equal(outputs(models[0]), outputs(load_model(best)))


@pytest.mark.parametrize("target", ["best.onnx", "best", "nowhere/best.safetensors"])
def test_a_target_that_cannot_be_written_is_named(best, target):
    with pytest.raises(InputError, match=target):
        convert(best, best.parent / target)


def test_weights_without_a_model_are_not_converted(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(InputError, match=r"a\.pt"):
        convert(tmp_path / "a.pt", tmp_path / "a.safetensors")
    assert not (tmp_path / "a.safetensors").exists()


# A training under way


def test_the_training_state_is_what_ultralytics_loads(tmp_path):
    file = write_training_checkpoint(tmp_path / "last.pt", detector())
    _, theirs = load_checkpoint(file)
    ours = training_state(file)
    assert ours.keys() == theirs.keys()
    assert (ours["epoch"], ours["updates"], ours["best_fitness"]) == (3, 12, 0.25)
    weights = theirs["ema"].state_dict()
    assert ours["ema"].state_dict().keys() == weights.keys()
    assert all(torch.equal(t, weights[k]) and t.dtype == weights[k].dtype for k, t in ours["ema"].state_dict().items())
    assert ours["optimizer"]["param_groups"] == theirs["optimizer"]["param_groups"]


def test_a_stripped_checkpoint_is_as_ultralytics_strips_it(tmp_path):
    for name in ("ours.pt", "theirs.pt"):
        write_training_checkpoint(tmp_path / name, detector())
    strip_checkpoint(tmp_path / "ours.pt")
    strip_optimizer(tmp_path / "theirs.pt")
    ours, theirs = (torch.load(tmp_path / name, weights_only=False) for name in ("ours.pt", "theirs.pt"))
    assert ours.keys() - theirs.keys() == set() and theirs.keys() - ours.keys() <= {"date", "license", "docs"}
    assert all(ours[key] == theirs[key] for key in ("epoch", "ema", "optimizer", "updates", "scaler", "stopper"))
    weights = theirs["model"].state_dict()
    for name, tensor in ours["model"].state_dict().items():
        assert tensor.dtype == weights[name].dtype and torch.equal(tensor, weights[name]), name
    assert not any(p.requires_grad for p in ours["model"].parameters())
    assert {k: v for k, v in theirs["train_args"].items() if k != "save_dir"}.items() <= ours["train_args"].items()
    assert torch.equal(outputs(load_model(tmp_path / "ours.pt")), outputs(load_model(tmp_path / "theirs.pt")))


def test_stripping_runs_nothing_and_leaves_a_refused_file_as_it_was(tmp_path):
    file = write_training_checkpoint(
        tmp_path / "best.pt", detector(CONV_ONLY), stopper=Attack(open, str(tmp_path / "canary"), "w")
    )
    before = file.read_bytes()
    with pytest.raises(InputError, match="--trust"):
        strip_checkpoint(file)
    assert file.read_bytes() == before and not (tmp_path / "canary").exists()

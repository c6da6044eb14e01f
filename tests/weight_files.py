"""What the tests of reading weights share."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_detectors import CONV_ONLY, detector

from swin_yolo.errors import InputError
from swin_yolo.weights import read_checkpoint
from swin_yolo.weights.header import encode_header, weights_sha256


class Attack:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


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

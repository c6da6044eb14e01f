"""A detector from the data of a checkpoint: its YAML parsed anew, its weights put in."""

import ast
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import DEFAULT_CFG_DICT

from swin_yolo.errors import InputError, one_line
from swin_yolo.nn.register import LAYERS

from .class_branch import take_widths
from .read import Checkpoint, read_checkpoint

_ACTIVATION = re.compile(r"(?:torch\.)?nn\.(\w+)(\(.*\))", re.DOTALL)

# Downloads weights from the network when it is built.
_FORBIDDEN = {"TorchVision"}


def load_model(file: str | Path, *, trust: bool = False) -> tasks.DetectionModel:
    """The detector of a checkpoint, in fp32 and eval mode on the CPU.

    Args:
        file: .pt or .safetensors of ours or ultralytics', or .pt of the original YOLOv5.
        trust: see `read_checkpoint`.

    Raises:
        InputError: if the file cannot be read, or holds no detector.
    """
    return rebuild(read_checkpoint(file, trust=trust)).float()


def rebuild(checkpoint: Checkpoint) -> tasks.DetectionModel:
    """The detector of a checkpoint, in eval mode and in the types it was stored in.

    Raises:
        InputError: if the checkpoint holds no detector, or its YAML and its weights do not fit each other.
    """
    if checkpoint.model is not None:
        return _describe(checkpoint.model, checkpoint)
    if checkpoint.yaml is None:
        raise InputError(
            f"{checkpoint.file}: holds weights without a model; load them into one: --cfg MODEL.yaml --weights "
            f"{checkpoint.file}"
        )
    if checkpoint.model_class.rpartition(".")[2] not in ("DetectionModel", "Model"):
        raise InputError(f"{checkpoint.file}: expected a detection model, got a {checkpoint.model_class}")
    model = _parse(checkpoint)
    # Strides as a fresh model has them: they decide which kernels run, and so the last bits of an output.
    weights = {k: v.clone(memory_format=torch.contiguous_format) for k, v in checkpoint.state_dict.items()}
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as e:
        raise InputError(
            f"{checkpoint.file}: its weights are not those of its model YAML ({one_line(e)[:200]}...); "
            "--trust takes the model as it was stored"
        ) from e
    return _describe(model, checkpoint)


def _parse(checkpoint: Checkpoint) -> tasks.DetectionModel:
    """The model of a checkpoint's YAML, with fresh weights."""
    d: dict[str, Any] = deepcopy(checkpoint.yaml or {})
    check_model_yaml(d, str(checkpoint.file))
    if checkpoint.kind == "yolov5" and d["head"][-1][2] == "Detect":
        d["head"][-1][2] = "AnchorDetect"
    try:
        # Fresh weights are drawn to be replaced: the caller's random numbers go on as if they had not been.
        with torch.random.fork_rng(devices=[]):
            model = tasks.DetectionModel(d, ch=d.get("channels", d.get("ch", 3)), nc=d.get("nc"), verbose=False)
            take_widths(model.model[-1], f"model.{len(model.model) - 1}.", checkpoint.state_dict, classes=True)
            return model
    except Exception as e:  # a YAML that the parser does not expect can raise anything in it
        raise InputError(f"{checkpoint.file}: its model YAML cannot be built: {one_line(e)}") from e


def _describe(model: tasks.DetectionModel, checkpoint: Checkpoint) -> tasks.DetectionModel:
    """Attach what ultralytics' own loader attaches."""
    model.args = {**DEFAULT_CFG_DICT, **checkpoint.train_args}
    model.names = checkpoint.names or model.names
    model.nc = len(model.names)
    model.pt_path, model.task = str(checkpoint.file), "detect"
    return model.eval()


def check_model_yaml(d: Mapping[str, Any], where: str) -> None:
    """Raise InputError unless a model dictionary names layers only, so that parsing it runs no code of a stranger's.

    ultralytics' parser evaluates `activation`, and calls anything in its module that a row names.
    """
    activation = d.get("activation")
    if activation is not None and not _is_activation(activation):
        raise InputError(f"{where}: activation expected a layer such as nn.SiLU(), got {activation!r}")
    backbone, head = d.get("backbone"), d.get("head")
    if not (isinstance(backbone, list) and isinstance(head, list) and backbone and head):
        raise InputError(f"{where}: expected a model YAML with 'backbone' and 'head'")
    for i, row in enumerate([*backbone, *head]):
        name = row[2] if isinstance(row, list) and len(row) == 4 else None
        if not isinstance(name, str) or not _is_layer(name):
            raise InputError(f"{where}: row {i} names {name!r}, which is no layer of swin_yolo, ultralytics or torch")


def _is_activation(text: Any) -> bool:
    match = _ACTIVATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or not _is_layer(f"nn.{match[1]}"):
        return False
    try:
        call = ast.parse(text.strip(), mode="eval").body
        for value in [*call.args, *(keyword.value for keyword in call.keywords)]:
            ast.literal_eval(value)
    except (AttributeError, SyntaxError, ValueError):
        return False
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)


def _is_layer(name: str) -> bool:
    if name in LAYERS:
        return True
    package, _, attribute = name.rpartition(".")
    package_vars = {"": vars(tasks), "nn": vars(nn), "torchvision.ops": vars(torchvision.ops)}.get(package, {})
    layer = package_vars.get(attribute)
    known = isinstance(layer, type) and issubclass(layer, nn.Module) and name not in _FORBIDDEN
    return known and (bool(package) or layer.__module__.startswith("ultralytics.nn.modules."))

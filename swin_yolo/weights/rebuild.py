"""A detector from the data of a checkpoint: its YAML parsed anew, its weights put in."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from ultralytics.nn import tasks
from ultralytics.utils import DEFAULT_CFG_DICT

from swin_yolo.errors import InputError, one_line
from swin_yolo.nn.anchor import with_anchor_head

from .class_branch import take_widths
from .model_yaml import check_cost, check_model_yaml, check_values
from .read import Checkpoint, read_checkpoint

# Bytes of the tensors that a model takes, as a multiple of the file's: a part may stand in several places.
_SHARED, _SHARED_BEYOND = 4, 1 << 24


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
    _check_tensors(checkpoint)
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


def _check_tensors(checkpoint: Checkpoint) -> None:
    """Raise InputError if the tensors, each copied, would take far more memory than the file has bytes."""
    size = checkpoint.file.stat().st_size
    taken = sum(tensor.nbytes for tensor in checkpoint.state_dict.values())
    if taken > _SHARED * size + _SHARED_BEYOND:
        raise InputError(f"{checkpoint.file}: its tensors unfold into {taken:.3g} bytes from a file of {size}")


def _parse(checkpoint: Checkpoint) -> tasks.DetectionModel:
    """The model of a checkpoint's YAML, with fresh weights."""
    d: dict[str, Any] = deepcopy(checkpoint.yaml or {})
    where = str(checkpoint.file)
    try:
        check_model_yaml(d, where)
    except InputError as e:
        # Of a file that torch can unpickle, the model itself can be taken; its YAML is not built then.
        can_trust = checkpoint.file.suffix != ".safetensors"
        raise InputError(f"{e}{'; --trust takes the model as it was stored' if can_trust else ''}") from e
    try:
        if checkpoint.kind == "yolov5" and d["head"][-1][2] == "Detect":
            # A YAML that leaves anchors to AutoAnchor has their number only; the weights bring those that it chose.
            d = with_anchor_head(d)
        # Fresh weights are drawn to be replaced: the caller's random numbers go on as if they had not been.
        channels = d.get("channels", d.get("ch", 3))
        check_cost(d, channels, checkpoint.file.stat().st_size, where)
        with torch.random.fork_rng(devices=[]):
            model = tasks.DetectionModel(d, ch=channels, nc=d.get("nc"), verbose=False)
            take_widths(model.model[-1], f"model.{len(model.model) - 1}.", checkpoint.state_dict, classes=True)
            return model
    except InputError as e:
        raise InputError(f"{e}" if str(e).startswith(where) else f"{where}: {e}") from e
    except Exception as e:  # a YAML that the parser does not expect can raise anything in it
        raise InputError(f"{checkpoint.file}: its model YAML cannot be built: {one_line(e)}") from e


def _describe(model: tasks.DetectionModel, checkpoint: Checkpoint) -> tasks.DetectionModel:
    """Attach what ultralytics' own loader attaches."""
    check_values(checkpoint.train_args, str(checkpoint.file), "train_args")
    model.args = {**DEFAULT_CFG_DICT, **checkpoint.train_args}
    model.names = checkpoint.names or model.names
    classes = getattr(model.model[-1], "nc", len(model.names))
    if set(model.names) != set(range(classes)):
        raise InputError(f"{checkpoint.file}: expected names of its {classes} classes, got {len(model.names)}")
    model.nc = len(model.names)
    model.pt_path, model.task = str(checkpoint.file), "detect"
    return model.eval()

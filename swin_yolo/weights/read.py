"""Reading checkpoints of any origin without running anything that they hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from ultralytics.nn.tasks import DetectionModel

from swin_yolo.errors import InputError, one_line

from .archive import NotACheckpointError, load_archive
from .header import decode_header, weights_sha256
from .inert import Refused
from .module_tree import attributes, class_name, is_module, named_modules, plain, state_dict

# Where plain weights lie in the files that people publish; else they are the file's own entries.
_WEIGHT_KEYS = ("state_dict", "model", "model_state_dict")


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds, as data.

    Attributes:
        file: where it was read.
        kind: "swin_yolo" for a detector with a layer of ours, "ultralytics" for one without, "yolov5" for one of the
            original repository, "state_dict" for tensors only.
        state_dict: tensors by name, of the types stored; the averaged weights (EMA) where there are any.
        model_class: class of a detector, such as ultralytics.nn.tasks.DetectionModel; empty for tensors only.
        yaml: model dictionary of a detector.
        names: of a detector's classes, by class index.
        stride: of a detector's outputs, in pixels.
        metadata: the other entries of the file, such as train_args, epoch and optimizer; no modules.
        model: the module itself where the file was read with trust; else `rebuild` makes one.
    """

    file: Path
    kind: str
    state_dict: dict[str, Tensor] = field(repr=False)
    model_class: str = ""
    yaml: dict[str, Any] | None = field(default=None, repr=False)
    names: dict[int, str] | None = field(default=None, repr=False)
    stride: tuple[float, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    model: DetectionModel | None = field(default=None, repr=False)

    @property
    def train_args(self) -> dict[str, Any]:
        """Arguments of the training that made it; empty where it does not say."""
        return dict(self.metadata.get("train_args") or {})

    @property
    def has_optimizer(self) -> bool:
        """Whether that training can go on from it."""
        return self.metadata.get("optimizer") is not None


def read_checkpoint(file: str | Path, *, trust: bool = False) -> Checkpoint:
    """What a .pt, .pth or .safetensors file holds; told apart by content, not by name.

    Nothing in the file is run or imported, see `inert`; a file that asks for it is refused.

    Args:
        file: detector of ours, of ultralytics or of the original YOLOv5, or plain weights.
        trust: unpickle as torch does, which runs whatever code the file holds.

    Raises:
        InputError: if the file is missing, broken, no checkpoint, or would have to run code.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        if _is_safetensors(file):
            return _read_safetensors(file)
        return _checkpoint(file, _load_trusted(file) if trust else load_archive(file))
    except Refused as e:
        raise InputError(
            f"{file}: refused, since it {one_line(e)} and could run code; --trust reads it all the same,"
            " if you know who made it"
        ) from e
    except NotACheckpointError as e:
        raise InputError(f"{file}: not a checkpoint, it {one_line(e)}") from e
    except Exception as e:  # broken bytes can raise anything in zipfile, pickle, struct and torch
        raise InputError(f"{file}: not a checkpoint that can be read: {one_line(e) or type(e).__name__}") from e


def _is_safetensors(file: Path) -> bool:
    with file.open("rb") as f:
        start = f.read(9)
    return start[8:] == b"{" and start[:4] != b"PK\x03\x04"


def _read_safetensors(file: Path) -> Checkpoint:
    with safe_open(file, framework="pt") as f:
        tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
        header = decode_header(f.metadata())
    if header is None:
        return Checkpoint(file, "state_dict", tensors)
    if header["sha256"].get("weights") != weights_sha256(tensors):
        raise NotACheckpointError("does not have the weights that its header names by their sha256")
    return Checkpoint(
        file,
        header["kind"],
        tensors,
        header["model_class"],
        header["yaml"],
        _class_names(header["names"]),
        tuple(header["stride"]),
        {"train_args": header["train_args"], **header["about"]},
    )


def _load_trusted(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=False)
    except (ModuleNotFoundError, AttributeError):
        return load_archive(file)  # of classes that are not installed, as YOLOv5's: torch cannot, data can


def _checkpoint(file: Path, content: Any) -> Checkpoint:
    """Tell apart what torch.save wrote."""
    entries = content if isinstance(content, Mapping) else {"model": content}
    model = next((entries[key] for key in ("ema", "model") if is_module(entries.get(key))), None)
    others = {k: v for k, v in entries.items() if isinstance(k, str) and k not in ("ema", "model")}
    metadata = {k: plain(v) for k, v in others.items()}
    if not isinstance(metadata.get("train_args") or {}, Mapping):
        raise NotACheckpointError("has train_args that are no mapping")
    if model is not None:
        return _detector(file, model, metadata)
    found = next((key for key in _WEIGHT_KEYS if isinstance(entries.get(key), Mapping)), None)
    weights = entries if found is None else entries[found]
    tensors = {k: v.detach() for k, v in weights.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise NotACheckpointError("holds no weights")
    rest = {k: v for k, v in metadata.items() if k != found and k not in tensors}
    return Checkpoint(file, "state_dict", tensors, metadata=rest)


def _detector(file: Path, model: Any, metadata: dict[str, Any]) -> Checkpoint:
    """A checkpoint that holds a module; one of no detector counts as its tensors."""
    found, name = attributes(model), class_name(model)
    tensors = state_dict(model)
    if not isinstance(yaml := plain(found.get("yaml")), dict):
        return Checkpoint(file, "state_dict", tensors, metadata=metadata)
    own = any(class_name(module).startswith("swin_yolo.") for _, module in named_modules(model))
    kind = "yolov5" if name.startswith("models.") else "swin_yolo" if own else "ultralytics"
    stride = found.get("stride")
    return Checkpoint(
        file,
        kind,
        tensors,
        name,
        yaml,
        _class_names(plain(found.get("names"))),
        tuple(stride.tolist()) if isinstance(stride, Tensor) else (),
        metadata,
        model if isinstance(model, DetectionModel) else None,
    )


def _class_names(names: Any) -> dict[int, str] | None:
    """Class names by index, of a list or of a mapping whose keys JSON may have made text."""
    if isinstance(names, list | tuple):
        names = dict(enumerate(names))
    if not isinstance(names, Mapping):
        return None
    if not all(isinstance(name, str | int | float) for name in names.values()):
        raise NotACheckpointError("has class names that are no text")
    return {int(i): str(name) for i, name in names.items()}

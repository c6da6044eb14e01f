"""Detectors as .safetensors and back, and the training state of a .pt."""

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from ultralytics import __version__ as ultralytics_version
from ultralytics.utils import DEFAULT_CFG_KEYS

from swin_yolo.errors import InputError
from swin_yolo.files import sha256, written_whole

from .header import encode_header, weights_sha256
from .module_tree import class_name, named_modules
from .read import Checkpoint, read_checkpoint
from .rebuild import rebuild

# Entries of a checkpoint that go through a conversion; those of a training under way do not.
_ABOUT = ("date", "version", "license", "docs")

# What ultralytics' strip_optimizer empties at the end of a training.
_TRAINING = ("optimizer", "best_fitness", "stopper", "ema", "updates", "scaler")


def convert(source: str | Path, target: str | Path, *, trust: bool = False) -> Path:
    """A detector from .pt to .safetensors or back, by the suffix of `target`; gives `target`.

    Raises:
        InputError: if `source` holds no detector, or the suffix is another.
    """
    target = Path(target)
    converters = {".safetensors": to_safetensors, ".pt": to_checkpoint}
    if target.suffix not in converters:
        raise InputError(f"{target}: expected a file to write that ends in {' or '.join(converters)}")
    if not target.parent.is_dir():
        raise InputError(f"{target}: no folder {target.parent} to write to")
    converters[target.suffix](source, target, trust=trust)
    return target


def to_safetensors(source: str | Path, target: str | Path, *, trust: bool = False) -> None:
    """Write a detector's weights, in the types stored, with all that makes it a model in the header.

    The header says model YAML, class names, training arguments, strides and sha256 of source and weights. The state
    of a training under way (optimiser) is left out.

    Args:
        source: checkpoint of a detector: .pt of ours, ultralytics or YOLOv5, or .safetensors of ours.
        target: file to write.
        trust: see `read_checkpoint`.

    Raises:
        InputError: if `source` holds no detector.
    """
    checkpoint = read_checkpoint(source, trust=trust)
    model = rebuild(checkpoint)
    # The format has no shared memory and no channels_last.
    tensors = {k: v.clone(memory_format=torch.contiguous_format) for k, v in model.state_dict().items()}
    header = encode_header(
        {
            "kind": "swin_yolo" if _has_own_layer(model) else "ultralytics",
            "model_class": class_name(model),
            "yaml": model.yaml,
            "names": model.names,
            "stride": model.stride.tolist(),
            "train_args": checkpoint.train_args,
            "about": _about(checkpoint),
            "sha256": {"weights": weights_sha256(tensors), "source": sha256(Path(source))},
        }
    )
    with written_whole(Path(target)) as unfinished:
        save_file(tensors, unfinished, metadata=header)


def to_checkpoint(source: str | Path, target: str | Path, *, trust: bool = False) -> None:
    """Write a detector as ultralytics' own checkpoints are, to be read by it too.

    Args:
        source: as for `to_safetensors`.
        target: file to write.
        trust: see `read_checkpoint`.

    Raises:
        InputError: if `source` holds no detector.
    """
    checkpoint = read_checkpoint(source, trust=trust)
    _save(Path(target), rebuild(checkpoint), _about(checkpoint), checkpoint.train_args)


def training_state(file: str | Path, *, trust: bool = False) -> dict[str, Any]:
    """A checkpoint as ultralytics' trainer takes it to go on: the entries of the file, `ema` the model in fp32.

    Raises:
        InputError: if the file cannot be read, or holds no detector.
    """
    checkpoint = read_checkpoint(file, trust=trust)
    return {**checkpoint.metadata, "model": None, "ema": rebuild(checkpoint).float()}


def strip_checkpoint(file: Path, *, trust: bool = False) -> None:
    """Take the training state out of a finished run's checkpoint and store its weights in fp16.

    As ultralytics' strip_optimizer, which unpickles whatever the file holds.

    Raises:
        InputError: if the file cannot be read, or holds no detector.
    """
    checkpoint = read_checkpoint(file, trust=trust)
    model = rebuild(checkpoint).half().requires_grad_(False)
    arguments = {k: v for k, v in model.args.items() if k in DEFAULT_CFG_KEYS}
    _save(file, model, checkpoint.metadata, arguments)


def _save(target: Path, model: Any, entries: Mapping[str, Any], train_args: dict[str, Any]) -> None:
    """Write a finished checkpoint, whole or not at all."""
    made = {"date": datetime.now(timezone.utc).astimezone().isoformat(), "version": ultralytics_version}
    content = {**made, **entries, "model": model, "train_args": train_args, "epoch": -1, **dict.fromkeys(_TRAINING)}
    model.criterion = None
    if hasattr(model, "pt_path"):
        del model.pt_path  # where this copy was read, of no meaning elsewhere
    with written_whole(target) as unfinished:
        torch.save(content, unfinished)


def _about(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        **{key: checkpoint.metadata[key] for key in _ABOUT if key in checkpoint.metadata},
        "converted_from": checkpoint.file.name,
    }


def _has_own_layer(model: nn.Module) -> bool:
    return any(class_name(module).startswith("swin_yolo.") for _, module in named_modules(model))

"""What a run's folder holds: nothing yet, a training to go on with, one to score, or a finished run of this comparison.

A run is an ordinary folder of `train`, whoever started it. It belongs to a comparison if what it recorded is equal.
"""

import json
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from swin_yolo.data.config import load_config
from swin_yolo.engine.recipe import OWN_KEYS
from swin_yolo.errors import InputError
from swin_yolo.files import sha256
from swin_yolo.report.training_curves import read_results
from swin_yolo.weights import read_checkpoint

from .contestants import same_model
from .plan import Training


class State(Enum):
    """How far a run is."""

    NEW = "to be trained from the start"
    STOPPED = "to be gone on with from weights/last.pt"
    TRAINED = "trained, to be scored on val"
    FINISHED = "trained and scored"


def state_of(folder: Path, training: Training, model_yaml: dict[str, Any], seed: int) -> State:
    """How far a run is.

    Args:
        folder: of the run; need not be there.
        training: how the runs of the comparison are trained.
        model_yaml: what is trained, see `Contestant`.
        seed: of the run.

    Raises:
        InputError: if the folder holds a run that was trained otherwise; says what was found and what was expected.
    """
    last, best = folder / "weights" / "last.pt", folder / "weights" / "best.pt"
    if not last.is_file():
        return State.NEW
    checkpoint = read_checkpoint(last)
    if checkpoint.has_optimizer:
        _check(folder, checkpoint.train_args, training, seed)
    else:
        _check(folder, arguments(folder), training, seed)
        # ultralytics halves a batch that a GPU has no memory for, and writes that into the checkpoint alone.
        if (batch := checkpoint.train_args.get("batch", training.batch_size)) != training.batch_size:
            raise _other(folder, "--batch-size", batch, training.batch_size)
        if epochs_done(folder) < training.epochs or not best.is_file():
            return State.NEW  # a run was begun anew over the weights of an older one
    if difference := same_model(model_yaml, checkpoint.yaml or {"backbone": [], "head": []}):
        raise InputError(f"{folder}: holds a run of another model: {difference}; move it away, or take another --name")
    if checkpoint.has_optimizer and checkpoint.metadata.get("epoch", -1) + 1 < training.epochs:
        return State.STOPPED
    return State.FINISHED if _scored(folder, training) else State.TRAINED


def epochs_done(folder: Path) -> int:
    """Epochs in a run's results.csv."""
    file = folder / "results.csv"
    return int(max(read_results(file)["epoch"], default=0)) if file.is_file() else 0


def arguments(folder: Path) -> dict[str, Any]:
    """What a run's args.yaml says.

    Raises:
        InputError: if there is none.
    """
    try:
        content = yaml.safe_load((folder / "args.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{folder / 'args.yaml'}: expected the arguments of the run; move the run away to repeat it")
    return content


def _check(folder: Path, found: Mapping[str, Any], training: Training, seed: int) -> None:
    """Raise InputError where a run's arguments are not those of the comparison.

    What an older run started from and was trained on is not recorded, and taken as equal.
    """
    expected = {
        "epochs": ("--epochs", training.epochs),
        "batch": ("--batch-size", training.batch_size),
        "imgsz": ("--imgsz", training.imgsz),
        "workers": ("--workers", training.workers),
        "seed": ("--seeds", seed),
        "freeze": ("--freeze", None),
        **{key: (f"recipe key {key}", value) for key, value in training.recipe.items()},
    }
    complete = {**OWN_KEYS, **found}
    for key, (name, value) in expected.items():
        if complete.get(key) != value:
            raise _other(folder, name, complete.get(key), value)
    if found.get("patience", training.epochs) < training.epochs:
        raise _other(folder, "--patience", found["patience"], f"{training.epochs} or more")
    if found.get("trained_on", training.trained_on) != training.trained_on:
        raise _other(folder, "trained on", found["trained_on"], training.trained_on)
    if "started_from" in found:
        parent = (found["started_from"] or {}).get("sha256")
        if parent != training.parent_sha256:
            raise _other(folder, "started from weights of sha256", parent, training.parent_sha256)
    data = found.get("data", training.data)
    if data != training.data and _train_sha256(str(data)) != training.annotations_sha256["train"]:
        raise _other(folder, "--data", data, training.data)


def _other(folder: Path, name: str, found: Any, expected: Any) -> InputError:
    return InputError(
        f"{folder}: holds a run with {name} {found}, where this comparison has {expected}; give what it was trained "
        "with, move it away, or take another --name"
    )


@cache
def _train_sha256(data: str) -> str | None:
    """Hash of the training annotations of a dataset; None where it cannot be found any more."""
    try:
        return sha256(load_config(data).split("train").annotations)
    except (InputError, OSError):
        return None


def _scored(folder: Path, training: Training) -> bool:
    """Whether metrics.json is of best.pt on this val split."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        scored = metrics["weights"]["sha256"], metrics["data"]["sha256"], metrics["imgsz"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    best = sha256(folder / "weights" / "best.pt")
    return scored == (best, training.annotations_sha256["val"], training.imgsz)

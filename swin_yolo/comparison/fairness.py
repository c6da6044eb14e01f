"""What makes runs comparable, looked up in what each run recorded, and whether it was the same for all."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from swin_yolo.engine.recipe import OWN_KEYS
from swin_yolo.errors import InputError
from swin_yolo.report.training_curves import read_results
from swin_yolo.weights import Checkpoint, read_checkpoint

from .plan import Training
from .results import ModelResult, RunResult
from .run_state import arguments, epochs_done

NOT_RECORDED = "not recorded"

Facts = dict[str, str]  # by what they are


def fairness_table(models: Sequence[ModelResult], training: Training | None) -> list[dict[str, Any]]:
    """The rows of compare.json's "fairness".

    Args:
        models: all of them.
        training: how they were trained; None for finished models.

    Returns:
        For each thing what it is, its value for each model, and whether it is the same for all: None where a run did
        not record it, and what was recorded does not differ.
    """
    facts = {model.name: [_facts(run, training) for run in model.runs] for model in models}
    table = [_row(what, {name: [run[what] for run in runs] for name, runs in facts.items()}) for what in _union(facts)]
    if training is not None:
        seeds = {model.name: [", ".join(str(run.seed) for run in model.runs)] for model in models}
        table.insert(0, _row("seeds of weights, data order and augmentation", seeds))
    return table


def _row(what: str, values: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    known = {value for of_runs in values.values() for value in of_runs if value != NOT_RECORDED}
    missing = any(value == NOT_RECORDED for of_runs in values.values() for value in of_runs)
    shown = {name: "; ".join(dict.fromkeys(of_runs)) for name, of_runs in values.items()}
    # It is fair where the runs of one model differ among themselves as those of every other do.
    alike = len(known) == 1 or len({tuple(sorted(of_runs)) for of_runs in values.values()}) == 1
    same = (None if len(known) < 2 else False) if missing else alike
    return {"what": what, "same": same, "values": shown}


def _union(facts: Mapping[str, Sequence[Facts]]) -> list[str]:
    return list(dict.fromkeys(what for runs in facts.values() for run in runs for what in run))


def _facts(run: RunResult, training: Training | None) -> Facts:
    scoring = {
        "images scored": str(run.scored.metrics["images"]),
        "image side in scoring": str(run.scored.metrics["imgsz"]),
    }
    if training is None or run.folder is None:
        return {**_recorded_training(run), **scoring}
    checkpoint = read_checkpoint(run.scored.weights)
    # ultralytics halves a batch that a GPU has no memory for, and writes that into the checkpoint alone.
    batch = checkpoint.train_args.get("batch")
    recorded = {**arguments(run.folder), **({} if batch is None else {"batch": batch})}
    return {
        **_work_done(run, training, recorded),
        "recipe": _digest({key: {**OWN_KEYS, **recorded}.get(key) for key in training.recipe}),
        "image side, batch size": f"{recorded.get('imgsz')}, {recorded.get('batch')}",
        "trained on": str(recorded.get("trained_on") or NOT_RECORDED),
        "processes that load images": str(recorded.get("workers")),
        "started from": _started_from(recorded),
        "head": head_of(checkpoint),
        "training annotations (sha256)": training.annotations_sha256["train"][:12],
        # Such a run goes on from averaged weights, with other random numbers.
        "whether a run was stopped and gone on with": "yes" if recorded.get("resume") else "no",
        "PyTorch and ultralytics": _versions(run),
        **scoring,
    }


def _work_done(run: RunResult, training: Training, recorded: Mapping[str, Any]) -> Facts:
    """Images and optimiser steps, as counted in training, or worked out of what older runs recorded."""
    assert run.folder is not None
    series, epochs = read_results(run.folder / "results.csv"), epochs_done(run.folder)
    images, batch = len(training.splits["train"]), int(recorded["batch"])
    steps = str(epochs * math.ceil(images / batch)) if batch >= recorded.get("nbs", math.inf) else NOT_RECORDED
    counted = "images" in series and not any(map(math.isnan, series["images"]))
    return {
        "epochs": str(epochs),
        "images seen in training": f"{sum(series['images']):.0f}" if counted else str(epochs * images),
        "optimiser steps": f"{sum(series['steps']):.0f}" if counted else steps,
    }


def _recorded_training(run: RunResult) -> Facts:
    """What a finished model's file says of its training; exported models and plain weights say nothing."""
    what = "trained for (epochs, batch size, image side)"
    if run.scored.weights.suffix not in (".pt", ".safetensors"):
        return {what: NOT_RECORDED}
    try:
        found = read_checkpoint(run.scored.weights).train_args
    except InputError:  # one that only --trust opens
        found = {}
    values = [found.get(key) for key in ("epochs", "batch", "imgsz")]
    return {what: NOT_RECORDED if None in values else ", ".join(map(str, values))}


def _digest(recipe: Mapping[str, Any]) -> str:
    """A recipe as a short text: equal if and only if it is."""
    text = json.dumps({key: float(v) if isinstance(v, int) else v for key, v in recipe.items()}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{recipe['optimizer']}, lr0 {recipe['lr0']}; all {len(recipe)} keys: {digest}"


def _started_from(recorded: Mapping[str, Any]) -> str:
    if "started_from" not in recorded:
        return NOT_RECORDED
    parent = recorded["started_from"]
    return f"weights of sha256 {parent['sha256'][:12]}" if parent else "fresh weights"


def _versions(run: RunResult) -> str:
    """By the metrics.json that the training wrote."""
    assert run.folder is not None
    try:
        found = json.loads((run.folder / "metrics.json").read_bytes())["versions"]
        return f"{found['torch']}, {found['ultralytics']}"
    except (OSError, ValueError, KeyError, TypeError):
        return NOT_RECORDED


def head_of(checkpoint: Checkpoint) -> str:
    """The name of a detector's last row, such as Detect."""
    return str(checkpoint.yaml["head"][-1][2]) if checkpoint.yaml else NOT_RECORDED

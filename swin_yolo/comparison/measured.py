"""The costs of a comparison's models, measured once for the same weights on the same machine and kept."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from swin_yolo.engine.evaluate import versions
from swin_yolo.errors import one_line
from swin_yolo.files import write_json
from swin_yolo.machine import machine

from .costs import as_json, latencies, peak_memory_mb, training_speeds
from .plan import Training
from .progress import Display
from .results import ModelResult
from .scores import Settings
from .training_step import StepSettings, training_step


def with_costs(
    models: Sequence[ModelResult], file: Path, *, settings: Settings, training: Training | None, display: Display
) -> list[ModelResult]:
    """The models with latency, and where they were trained here with training speed and memory.

    Args:
        models: all of them; what is measured in turns is only comparable together.
        file: where the numbers are kept.
        settings: of scoring.
        training: how they were trained; None for finished models.
        display: says what is measured.
    """
    weights = {model.name: model.runs[0].scored for model in models}
    asked = {
        "weights": {name: scored.sha256 for name, scored in weights.items()},
        "imgsz": settings.imgsz,
        "batch_size": training.batch_size if training else None,
        "device": settings.device,
        "machine": machine(),
        "versions": versions(),
    }
    kept = _read(file)
    if kept.get("asked") != asked:
        display.say("measuring latency, and what training takes: nothing else should run on this machine now")
        files = {name: scored.weights for name, scored in weights.items()}
        latency = as_json(latencies(files, imgsz=settings.imgsz, device=settings.device, trust=settings.trust))
        costs = {name: {"latency_ms": latency[name]} for name in latency}
        if training is not None:
            cfgs = {model.name: model.cfg for model in models if model.cfg is not None}
            for name, found in _training_costs(cfgs, training, settings.device, display).items():
                costs[name].update(found)
        kept = {"asked": asked, "costs": costs}
        if all(cost is not None for of_model in costs.values() for cost in of_model.values()):
            write_json(file, kept, indent=2)
    return [replace(model, costs=kept["costs"][model.name]) for model in models]


def _training_costs(
    cfgs: Mapping[str, str], training: Training, device: str, display: Display
) -> dict[str, dict[str, Any]]:
    """Speed and memory of each model; None, and a word, where there is not enough memory to measure them."""
    steps = StepSettings(
        training.splits["train"], training.recipe, training.imgsz, training.batch_per_device, device, training.head
    )

    def measured(what: str, measure: Callable[[], Any]) -> Any:
        try:
            return measure()
        except (MemoryError, torch.OutOfMemoryError, BrokenProcessPool) as e:
            display.say(f"{what} could not be measured: {one_line(e)}")
            return None

    # All models are in memory at once, which trained one by one.
    speeds = measured("training speed", lambda: as_json(training_speeds(cfgs, steps))) or {}
    costs = {}
    for name, cfg in cfgs.items():
        peak = partial(peak_memory_mb, partial(training_step, cfg, steps), steps.torch_device)
        memory = measured(f"memory of {name}", peak)
        costs[name] = {
            "training_images_per_second": speeds.get(name),
            "peak_memory_mb": None if memory is None else round(memory, 1),
        }
    return costs


def _read(file: Path) -> Mapping[str, Any]:
    """What was kept; nothing where there is no such file, or it is something else."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

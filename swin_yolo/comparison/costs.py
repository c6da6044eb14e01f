"""What models cost: latency and training speed, measured in turns in one process, and memory, in a fresh one each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from swin_yolo.engine.backend import Backend, open_backend
from swin_yolo.engine.device import choose_device
from swin_yolo.machine import peak_resident_bytes
from swin_yolo.own_process import in_own_process
from swin_yolo.timing import Timing, interleaved

from .training_step import StepSettings, training_step

# Rounds, and seconds per model after which no further round is started.
LATENCY_ROUNDS, LATENCY_SECONDS = 60, 15.0
TRAINING_ROUNDS, TRAINING_SECONDS = 12, 20.0
MEMORY_STEPS = 3


@dataclass(frozen=True)
class Spread:
    """The median of what was measured, and its quartiles."""

    median: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """For compare.json."""
        return {"median": round(self.median, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


def latencies(weights: Mapping[str, Path], *, imgsz: int, device: str, trust: bool = False) -> dict[str, Spread]:
    """Milliseconds of one image through each model (without loading and NMS), A B C, A B C, ... in this process.

    Args:
        weights: by the model's name.
        imgsz: side of the image, in pixels.
        device: see `evaluate`.
        trust: see `evaluate`.
    """
    chosen = choose_device(device.split(",")[0])
    backends = {name: open_backend(f, device=chosen, trust=trust, imgsz=imgsz) for name, f in weights.items()}
    work = {name: forward_pass(backend, imgsz) for name, backend in backends.items()}
    timings = interleaved(work, rounds=LATENCY_ROUNDS, warmup=3, seconds=LATENCY_SECONDS * len(weights))
    return {name: in_ms(timing) for name, timing in timings.items()}


def forward_pass(backend: Backend, imgsz: int) -> Callable[[], None]:
    """A function that puts one image through a model and waits for it.

    Args:
        backend: the model.
        imgsz: side of the image in pixels, where the model takes any.
    """
    image = torch.rand(1, 3, *(backend.fixed_hw or (imgsz, imgsz)), device=backend.device)

    def run() -> None:
        backend(image)
        wait_for(backend.device)

    return run


def training_speeds(cfgs: Mapping[str, str], settings: StepSettings) -> dict[str, Spread]:
    """Images/s of training steps (forward, loss, backward, optimiser; without loading), in turns in this process.

    Args:
        cfgs: model YAML by the model's name.
        settings: of the steps.
    """
    steps = {name: training_step(cfg, settings) for name, cfg in cfgs.items()}
    limit = TRAINING_SECONDS * len(cfgs)
    timings = interleaved(steps, rounds=TRAINING_ROUNDS, warmup=2, seconds=limit)
    return {name: per_second(timing, settings.batch_size) for name, timing in timings.items()}


def peak_memory_mb(make_step: Callable[[], Callable[[], None]], device: torch.device) -> float:
    """Most memory that training steps of a model take, in a process of their own, in MB of 1e6 bytes.

    On a GPU, what PyTorch allocated there; on a CPU, all of the process, Python and PyTorch included, without images
    that `--cache` keeps.

    Args:
        make_step: gives a step, as `training_step` does; picklable.
        device: that steps are made on.
    """
    return in_own_process(_peak_here, make_step, device)


def _peak_here(make_step: Callable[[], Callable[[], None]], device: torch.device) -> float:
    step = make_step()
    for _ in range(MEMORY_STEPS):
        step()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return peak_resident_bytes() / 1e6


def wait_for(device: torch.device) -> None:
    """Let a GPU finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_ms(timing: Timing) -> Spread:
    """Milliseconds of a round."""
    low, high = timing.quartiles
    return Spread(1000 * timing.median, 1000 * low, 1000 * high)


def per_second(timing: Timing, number: int) -> Spread:
    """How many a second, of `number` in each round."""
    low, high = timing.quartiles
    return Spread(number / timing.median, number / high, number / low)


def as_json(spreads: Mapping[str, Spread]) -> dict[str, Any]:
    """For compare.json."""
    return {name: spread.as_json() for name, spread in spreads.items()}

"""Whole models in turns: latency, training speed and memory, beside a baseline and beside it at the same size."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from swin_yolo.benchmark.report import Table, figure, spread
from swin_yolo.benchmark.row_times import row_tables
from swin_yolo.comparison.contestants import Build, Contestant, contestants
from swin_yolo.comparison.costs import forward_pass, peak_memory_mb
from swin_yolo.comparison.matched import control
from swin_yolo.comparison.training_step import step_arguments, step_on
from swin_yolo.engine.backend import Backend, model_backend
from swin_yolo.engine.device import choose_device
from swin_yolo.engine.model import build_model
from swin_yolo.engine.recipe import full_recipe
from swin_yolo.timing import Timing, interleaved, ratio

CFGS = tuple(
    f"yolov5s{name}.yaml" for name in ("", "-c3str", "-swin", "-c3str-neck", "-swin-insert", "-swint")
)  # the first is the baseline
NC = 80
BOXES = 8  # an image of the training step
PASSES = 10  # through each model, of each round


@dataclass(frozen=True)
class ModelsSettings:
    """What models are measured, and on what.

    Attributes:
        cfgs: model YAMLs; the others are compared with the first.
        imgsz: side of the images in pixels.
        device: as ultralytics names devices.
        rounds: training steps of each model; passes through it are ten times as many.
        batch_size: images of a training step.
        per_row: say what each row of each model takes, too.
    """

    cfgs: tuple[str, ...] = CFGS
    imgsz: int = 640
    device: str = "cpu"
    rounds: int = 3
    batch_size: int = 8
    per_row: bool = False


def models(settings: ModelsSettings) -> Iterator[Table]:
    """Latency, size, training speed and memory; latency at equal parameters; and what each row takes.

    Raises:
        InputError: if a model YAML cannot be used, or `imgsz` does not fit it.
    """
    build = Build({k: f"class {k}" for k in range(NC)}, settings.imgsz)
    measured = contestants(settings.cfgs, build)
    baseline, *others = measured
    with tempfile.TemporaryDirectory(prefix="swin-yolo-benchmark-") as folder:
        found = {c.name: control(baseline, c, by="params", folder=Path(folder), build=build) for c in others}
        as_large = {name: wide for name, wide in found.items() if wide is not None}
        opened = {c.name: _opened(c, settings.device) for c in (*measured, *as_large.values())}
    passes = {name: forward_pass(backend, settings.imgsz) for name, backend in opened.items()}
    latency = interleaved(passes, rounds=PASSES * settings.rounds, warmup=3)
    yield _costs(measured, latency, settings)
    if as_large:
        yield _at_equal_size({c.name: c for c in measured}, as_large, latency, baseline.name)
    if settings.per_row:
        yield from row_tables({c.name: opened[c.name] for c in measured}, settings.imgsz, settings.rounds * PASSES)


def _opened(model: Contestant, device: str) -> Backend:
    """The model with fresh weights, as `detect` runs one in fp32."""
    torch.manual_seed(0)
    return model_backend(build_model(model.cfg, nc=NC), device=choose_device(device))


def _costs(measured: Sequence[Contestant], latency: Mapping[str, Timing], settings: ModelsSettings) -> Table:
    baseline, device = measured[0].name, choose_device(settings.device)
    makers = {model.name: partial(drawn_step, model.cfg, settings) for model in measured}
    steps = {name: make() for name, make in makers.items()}
    training = interleaved(steps, rounds=settings.rounds, warmup=1)
    steps.clear()
    memory = {name: peak_memory_mb(make, device) for name, make in makers.items()}
    rows, figures = [], {}
    for model in measured:
        name = model.name
        slower, faster = ratio(latency[baseline], latency[name]), ratio(training[name], training[baseline])
        speed = settings.batch_size / training[name].median
        rows.append(
            (
                name,
                f"{model.parameters / 1e6:.2f}",
                f"{model.gflops:.1f}",
                _milliseconds(latency[name]),
                "1" if name == baseline else spread(*slower),
                figure(speed),
                "1" if name == baseline else spread(*faster),
                f"{memory[name]:,.0f}",
            )
        )
        figures[name] = {
            "parameters": model.parameters,
            "gflops": model.gflops,
            "latency_seconds": latency[name].seconds,
            "latency_ratio": slower[0],
            "training_seconds": training[name].seconds,
            "training_images_per_second": speed,
            "training_ratio": faster[0],
            "peak_memory_mb": memory[name],
        }
    columns = ("", "parameters, M", "GFLOPs", "ms", f"times {baseline}", "training images/s", f"times {baseline}")
    said = (
        f"One image of {settings.imgsz} x {settings.imgsz} in fp32, {NC} classes, without loading and NMS; median of "
        f"{len(latency[baseline].seconds)} passes, quartiles in brackets. Training: steps on one drawn batch of "
        f"{settings.batch_size}, without loading. Memory is the most that a process of its own had while it trained"
        f"{', as PyTorch allocated it on the GPU' if device.type == 'cuda' else ''}."
    )
    return Table("Whole models", (*columns, "memory in training, MB"), rows, figures, (said,))


def _at_equal_size(
    models: Mapping[str, Contestant], as_large: Mapping[str, Contestant], latency: Mapping[str, Timing], baseline: str
) -> Table:
    """Each model beside the baseline at the width that has as many parameters."""
    rows, figures = [], {}
    for name, wide in as_large.items():
        slower = ratio(latency[wide.name], latency[name])
        sizes = [f"{parameters / 1e6:.2f}" for parameters in (models[name].parameters, wide.parameters)]
        times = [_milliseconds(latency[timed]) for timed in (name, wide.name)]
        rows.append((name, wide.name, *sizes, *times, spread(*slower)))
        figures[name] = {"control": wide.name, "parameters": wide.parameters, "latency_ratio": slower[0]}
    columns = ("", "beside", "parameters, M", "its parameters, M", "ms", "its ms", "times as long")
    said = f"Beside each model {baseline} at the width of about as many parameters; within 5% none is needed."
    return Table("Latency at equal parameters", columns, rows, figures, (said,))


def _milliseconds(timing: Timing) -> str:
    low, high = timing.quartiles
    return f"{figure(1000 * timing.median)} ({figure(1000 * low)} to {figure(1000 * high)})"


def drawn_step(cfg: str, settings: ModelsSettings) -> Callable[[], None]:
    """A function that trains a fresh model one step on drawn noise and boxes, the same for every model."""
    torch.manual_seed(0)
    device = choose_device(settings.device)
    batch = drawn_batch(settings.batch_size, settings.imgsz, device)
    model = build_model(cfg, nc=NC).to(device)
    return step_on(model, batch, step_arguments(full_recipe(), settings.imgsz), device)


def drawn_batch(batch_size: int, imgsz: int, device: torch.device) -> dict[str, Any]:
    """A batch as a loader gives it, on the device, images in 0..1: noise with `BOXES` boxes in each image."""
    number = batch_size * BOXES
    wh = torch.rand(number, 2) * 0.4 + 0.05
    centres = wh / 2 + torch.rand(number, 2) * (1 - wh)
    batch = {
        "img": torch.rand(batch_size, 3, imgsz, imgsz).contiguous(memory_format=torch.channels_last),
        "cls": torch.randint(NC, (number, 1)).float(),
        "bboxes": torch.cat((centres, wh), 1),  # cxcywhn
        "batch_idx": torch.arange(batch_size).repeat_interleave(BOXES).float(),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}

"""Swin blocks and the Swin-T backbone beside those of torchvision, timm and transformers, with the same weights."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from swin_yolo.benchmark.layer_limits import bare_matmuls, set_up_table
from swin_yolo.benchmark.layer_memory import training_peak
from swin_yolo.benchmark.layer_profile import profile_table
from swin_yolo.benchmark.report import Table, figure
from swin_yolo.benchmark.swin_peers import (
    DIM,
    LIBRARIES,
    Forward,
    Swin,
    largest_difference,
    largest_difference_of_backbones,
    last_map,
)
from swin_yolo.timing import Timing, interleaved, ratio

OURS = "ours"
CPU = torch.device("cpu")
WHOLE_WINDOWS = 32  # pixels by which an image of this many windows a side has whole windows in all four stages
PARITY = 1e-4  # of maps of unit scale through one block in fp32
STAGES = range(4)
KINDS = {0: "W-MSA", 1: "SW-MSA"}
# timm pads after the roll, torchvision, transformers and ours before it: with the same weights its shifted blocks give
# something else on maps that are not whole windows.
ROLLS_FIRST = "timm"


@dataclass(frozen=True)
class LayerSettings:
    """What is measured.

    Attributes:
        image_hw: sizes of images in pixels, multiples of 32; blocks are measured on the maps of the first.
        batches: numbers of images.
        windows: window sizes; all but the first only on maps that they divide.
        device: to compute on.
        rounds: how often each is timed.
    """

    image_hw: tuple[tuple[int, int], ...] = ((640, 640), (640, 384))
    batches: tuple[int, ...] = (1, 8)
    windows: tuple[int, ...] = (7, 8)
    device: torch.device = CPU
    rounds: int = 5


def layers(settings: LayerSettings) -> Iterator[Table]:
    """Blocks and backbones, in inference and training; then memory, a profile, the physical limit, and set-up."""
    for window in settings.windows:
        for training in (False, True):
            yield _blocks(settings, window, training=training)
    for training in (False, True):
        yield _backbones(settings, training=training)
    yield _memory(settings)
    if settings.device.type == "cpu":
        yield _profiles(settings)
    yield bare_matmuls(settings.image_hw[0], settings.device, settings.rounds)
    yield set_up_table(settings.image_hw[0], settings.windows[0], settings.device, settings.rounds)


def _blocks(settings: LayerSettings, window: int, *, training: bool) -> Table:
    rows, figures = [], {}
    swins = _libraries(window, settings.image_hw[0], settings.device)
    differences = dict.fromkeys(swins, 0.0)
    for batch in settings.batches:
        for stage in STAGES:
            H, W = (side // 4 // 2**stage for side in settings.image_hw[0])
            whole = H % window == 0 == W % window
            if window != settings.windows[0] and not whole:
                continue
            x = torch.randn(batch, H, W, DIM * 2**stage, device=settings.device)
            for place, kind in KINDS.items():
                for name, swin in swins.items():
                    if name != OURS and (whole or place == 0 or name != ROLLS_FIRST):
                        difference = largest_difference(swin, swins[OURS], stage, place, x[:1])
                        differences[name] = max(differences[name], difference)
                work = {name: _step(swin.block(stage, place), x, training) for name, swin in swins.items()}
                times = interleaved(work, rounds=settings.rounds, warmup=2)
                label = f"{batch} x {H} x {W} x {DIM * 2**stage}, {kind}"
                rows.append((label, *_cells(times)))
                figures[label] = _figures(times)
    _check(differences)
    what = "a training step (forward and backward)" if training else "inference"
    title = f"One block, window {window}, {what}"
    return Table(title, ("map (B x H x W x C)", *_heads(swins)), rows, figures, _remarks(settings.rounds, differences))


def _backbones(settings: LayerSettings, *, training: bool) -> Table:
    rows, figures = [], {}
    differences = _differences_of_backbones(settings)
    for image_hw in settings.image_hw:
        swins = _libraries(settings.windows[0], image_hw, settings.device)
        for batch in settings.batches:
            images = torch.rand(batch, 3, *image_hw, device=settings.device)
            work = {name: _step(swin.backbone, images, training) for name, swin in swins.items()}
            times = interleaved(work, rounds=settings.rounds, warmup=1)
            label = f"{batch} x {image_hw[0]} x {image_hw[1]}"
            rows.append((label, *_cells(times)))
            figures[label] = _figures(times)
    what = "a training step (forward and backward)" if training else "inference"
    title = f"Swin-T without its classifier, window {settings.windows[0]}, {what}"
    where = f", on an image of {WHOLE_WINDOWS * settings.windows[0]} pixels a side, whose maps are whole windows"
    remarks = _remarks(settings.rounds, differences, where)
    return Table(title, ("images (B x H x W)", *_heads(swins)), rows, figures, remarks)


def _differences_of_backbones(settings: LayerSettings) -> dict[str, float]:
    """Largest difference of each library's features from ours with its weights, on maps that are whole windows."""
    window, side = settings.windows[0], WHOLE_WINDOWS * settings.windows[0]
    swins = _libraries(window, (side, side), settings.device)
    images = torch.rand(1, 3, side, side, device=settings.device)
    differences = {
        name: largest_difference_of_backbones(swin, swins[OURS], images) for name, swin in swins.items() if name != OURS
    }
    _check(differences)
    return differences


def _profiles(settings: LayerSettings) -> Table:
    torch.manual_seed(0)
    swin = LIBRARIES[OURS](settings.windows[0], settings.image_hw[0])
    swin.module.eval()
    steps = {}
    for training in (False, True):
        for image_hw in settings.image_hw:
            for batch in settings.batches:
                what = "training step" if training else "inference"
                images = torch.rand(batch, 3, *image_hw)
                steps[f"{batch} x {image_hw[0]} x {image_hw[1]}, {what}"] = _step(swin.backbone, images, training)
    return profile_table(steps)


def _memory(settings: LayerSettings) -> Table:
    """Peak memory of training steps of the whole backbone, each in a process of its own."""
    image_hw = settings.image_hw[0]
    rows, figures = [], {}
    for batch in settings.batches:
        peaks = {name: training_peak(name, settings.windows[0], image_hw, batch, settings.device) for name in LIBRARIES}
        leanest = min(peak for name, peak in peaks.items() if name != OURS)
        label = f"{batch} x {image_hw[0]} x {image_hw[1]}"
        cells = [f"{peak / 1e6:,.0f} MB" for peak in peaks.values()]
        rows.append((label, *cells, f"{peaks[OURS] / leanest:.2f}"))
        figures[label] = {"bytes": peaks, "ratio": peaks[OURS] / leanest}
    title = "Swin-T without its classifier, peak memory of a training step beyond that of the loaded model"
    return Table(title, ("images (B x H x W)", *LIBRARIES, "times the leanest"), rows, figures)


def _libraries(window: int, image_hw: tuple[int, int], device: torch.device) -> Mapping[str, Swin]:
    torch.manual_seed(0)
    swins = {name: build(window, image_hw) for name, build in LIBRARIES.items()}
    for swin in swins.values():
        swin.module.to(device).eval()
    return swins


def _step(forward: Forward, x: Tensor, training: bool) -> Callable[[], None]:
    """One pass in inference, or forward and backward with the gradient of the input as in the middle of a network.

    Stochastic depth is 0 in all, so that train() and eval() compute the same.
    """

    def wait() -> None:
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)

    grad: list[Tensor] = []

    def infer() -> None:
        with torch.inference_mode():
            forward(x)
        wait()

    def train() -> None:
        out = last_map(forward(x.detach().requires_grad_()))
        if not grad:
            grad.append(torch.randn_like(out))  # of a sum, nothing would come through the last norm but rounding
        torch.autograd.backward(out, grad[0])
        wait()

    return train if training else infer


def _cells(times: Mapping[str, Timing]) -> tuple[str, ...]:
    median, low, high = ratio(times[OURS], times[_fastest(times)])
    milliseconds = (figure(1000 * timing.median) for timing in times.values())
    return (*milliseconds, f"{median:.2f} ({low:.2f} to {high:.2f})")


def _figures(times: Mapping[str, Timing]) -> dict[str, object]:
    return {
        "seconds": {name: timing.seconds for name, timing in times.items()},
        "ratio": ratio(times[OURS], times[_fastest(times)])[0],
    }


def _fastest(times: Mapping[str, Timing]) -> str:
    """Name of the fastest library that is not ours."""
    return min((name for name in times if name != OURS), key=lambda name: times[name].median)


def _heads(swins: Mapping[str, Swin]) -> list[str]:
    return [*(f"{name}, ms" for name in swins), "times the fastest of them"]


def _check(differences: Mapping[str, float]) -> None:
    for name, difference in differences.items():
        if not difference < PARITY:
            raise RuntimeError(f"{name}: it differs from ours by {difference:.2g} with the same weights")


def _remarks(rounds: int, differences: Mapping[str, float], where: str = "") -> tuple[str, ...]:
    said = f"Median of {rounds} rounds in turns; the last column is the median of theirs / ours, quartiles in brackets."
    same = ", ".join(f"{name} {value:.1g}" for name, value in differences.items() if name != OURS)
    return (said, f"Greatest difference of the outputs with the same weights{where}: {same}.")

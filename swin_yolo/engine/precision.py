"""The fastest way to run a model here, by a short measurement."""

from functools import partial
from pathlib import Path

import torch
from ultralytics.utils import LOGGER

from swin_yolo.engine.backend import Backend, open_backend, open_every
from swin_yolo.timing import Timing, interleaved

# A precision other than fp32 changes scores in the second or third digit: it must be worth it.
WORTH = 1.1
ROUNDS, SECONDS = 3, 4.0
# Who takes this many times the best time in the first round is not timed again: what is measured is waited for.
FAR_BEHIND = 1.25


def open_in(
    precision: str,
    weights: str | Path,
    *,
    device: torch.device,
    trust: bool = False,
    imgsz: int | tuple[int, int] | None = None,
    measure_hw: tuple[int, int] | None = None,
) -> Backend:
    """`open_backend`, for which "auto" stands for the fastest precision and memory layout.

    Args:
        precision: one of `PRECISIONS`, or "auto".
        weights: see `open_backend`.
        device: see `open_backend`.
        trust: see `open_backend`.
        imgsz: see `open_backend`.
        measure_hw: (H, W) of the images that "auto" measures with; None, where a measurement is not worth its time,
            makes "auto" fp32.
    """
    if precision != "auto" or measure_hw is None:
        asked = "fp32" if precision == "auto" else precision
        return open_backend(weights, device=device, precision=asked, trust=trust, imgsz=imgsz)
    backends = open_every(weights, device=device, trust=trust, imgsz=imgsz)
    if len(backends) == 1:
        return next(iter(backends.values()))
    times = measure(backends, measure_hw)
    name = fastest({name: backends[name].precision for name in backends}, times)
    taken = ", ".join(f"{other} {1000 * timing.median:.0f} ms" for other, timing in times.items())
    LOGGER.info(f"Computing in {name}: an image takes {taken}; --precision fp32 is the most exact")
    return backends[name]


def measure(backends: dict[str, Backend], hw: tuple[int, int]) -> dict[str, Timing]:
    """Time a forward pass of one image of each, in turns; once where that shows one to be far behind."""

    def run(backend: Backend) -> None:
        backend(torch.zeros(1, 3, *(backend.fixed_hw or hw), device=backend.device))
        if backend.device.type == "cuda":
            torch.cuda.synchronize(backend.device)

    work = {name: partial(run, backend) for name, backend in backends.items()}
    times = interleaved(work, rounds=1, warmup=1)
    limit = FAR_BEHIND * min(timing.median for timing in times.values())
    near = {name: work[name] for name, timing in times.items() if timing.median <= limit}
    again = interleaved(near, rounds=ROUNDS - 1, warmup=0, seconds=SECONDS)
    return times | {name: Timing(times[name].seconds + timing.seconds) for name, timing in again.items()}


def fastest(precisions: dict[str, str], times: dict[str, Timing]) -> str:
    """The name of the shortest median; of one in fp32, unless another is faster than that by `WORTH`.

    Args:
        precisions: of each name.
        times: of each name.
    """

    def best(names: list[str]) -> str:
        return min(names, key=lambda name: times[name].median)

    overall, exact = best(list(times)), best([name for name in times if precisions[name] == "fp32"])
    return overall if times[overall].median * WORTH <= times[exact].median else exact

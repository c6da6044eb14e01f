"""What each row of a model YAML takes of one image's way through the model."""

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from swin_yolo.benchmark.report import Table
from swin_yolo.comparison.costs import forward_pass, wait_for
from swin_yolo.engine.backend import Backend
from swin_yolo.engine.model import profile_rows


def row_tables(backends: Mapping[str, Backend], imgsz: int, rounds: int) -> Iterator[Table]:
    """A table of milliseconds by row for each model, from passes in turns.

    Args:
        backends: PyTorch models by name.
        imgsz: side of the image in pixels.
        rounds: passes through each model.
    """
    for name, seconds in row_seconds(backends, imgsz, rounds).items():
        yield _table(name, backends[name], imgsz, seconds)


def row_seconds(backends: Mapping[str, Backend], imgsz: int, rounds: int) -> dict[str, list[float]]:
    """Median seconds of each row of each model; see `row_tables`."""
    passes = {name: forward_pass(backend, imgsz) for name, backend in backends.items()}
    taken: dict[str, list[list[float]]] = {name: [] for name in backends}
    for _ in range(2):  # to warm up
        for run in passes.values():
            run()
    for _ in range(rounds):
        for name, run in passes.items():
            with _clocked(backends[name].rows, backends[name].device) as seconds:
                run()
            taken[name].append(seconds)
    return {name: [statistics.median(row) for row in zip(*of, strict=True)] for name, of in taken.items()}


@contextmanager
def _clocked(rows: nn.ModuleList, device: torch.device) -> Iterator[list[float]]:
    """Seconds that each row takes while it lasts, in the order of the rows."""
    seconds, start = [0.0] * len(rows), [0.0]

    def begin(*_: Any) -> None:
        wait_for(device)
        start[0] = time.perf_counter()

    def end(row: Any, *_: Any) -> None:
        wait_for(device)
        seconds[row.i] += time.perf_counter() - start[0]

    handles = [row.register_forward_pre_hook(begin) for row in rows]
    handles += [row.register_forward_hook(end) for row in rows]
    try:
        yield seconds
    finally:
        for handle in handles:
            handle.remove()


def _table(name: str, backend: Backend, imgsz: int, seconds: list[float]) -> Table:
    assert backend.model is not None
    rows, figures, total = [], {}, sum(seconds)
    for row, taken in zip(profile_rows(backend.model, imgsz), seconds, strict=True):
        shape = " x ".join(map(str, row.shape[1:]))
        share = taken / total
        rows.append(
            (str(row.number), row.layer, shape, f"{row.gflops:.2f}", f"{1000 * taken:.2f}", f"{100 * share:.1f}%")
        )
        figures[str(row.number)] = {"layer": row.layer, "seconds": taken, "share": share}
    columns = ("row", "layer", "output, C x H x W", "GFLOPs", "ms", "share")
    said = f"All rows: {1000 * total:.1f} ms. Each row is waited for, median over passes through all models in turns."
    return Table(f"Rows of {name} at {imgsz} px", columns, rows, figures, (said,))

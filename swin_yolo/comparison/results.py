"""What a comparison has of each model when all runs are scored."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swin_yolo.errors import InputError
from swin_yolo.report.training_curves import read_results

from .progress import epoch_seconds
from .scores import Scored


@dataclass(frozen=True)
class RunResult:
    """A run: its score, and its seed and folder where it was trained here."""

    scored: Scored
    seed: int | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class ModelResult:
    """A model with all of its runs, the first seed first.

    Attributes:
        name: see `Contestant`.
        role: see `Contestant`.
        runs: one for each seed.
        cfg: its YAML; None for a finished model.
        started_from: name of the weights that it started from, and how much of it is theirs; of a finished model, its
            file.
        costs: see `with_costs`.
    """

    name: str
    role: str
    runs: Sequence[RunResult]
    cfg: str | None = None
    started_from: str | None = None
    costs: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> int | None:
        """All of them; None for an exported model, whose file does not say."""
        return self.runs[0].scored.metrics.get("params")

    @property
    def gflops(self) -> float | None:
        """Of one image; None for an exported model."""
        return self.runs[0].scored.metrics.get("gflops")


def over_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Mean and standard deviation of a number over the runs, -1 where a run has none, as COCO says it."""
    if any(value == -1 for value in values):
        return {"mean": -1, "spread": None, "values": list(values)}
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "spread": spread, "values": list(values)}


def curve_of(run: RunResult) -> dict[str, Any] | None:
    """Epochs, AP, AP50 and training loss (the sum of its terms) of a run; None where it was not trained here."""
    if run.folder is None:
        return None
    try:
        series = read_results(run.folder / "results.csv")
    except InputError:
        return None
    terms = [values for name, values in series.items() if name.startswith("train/") and name.endswith("loss")]
    return {
        "seed": run.seed,
        "epoch": [int(epoch) for epoch in series["epoch"]],
        "AP": _json(series.get("AP", [])),
        "AP50": _json(series.get("AP50", [])),
        "loss": _json([sum(parts) for parts in zip(*terms, strict=True)]),
    }


def seconds_of(run: RunResult) -> float | None:
    """Time that a run trained for, by its results.csv."""
    if run.folder is None:
        return None
    try:
        clock = read_results(run.folder / "results.csv").get("time", [])
    except InputError:
        return None
    return round(sum(epoch_seconds(clock)), 1)


def _json(values: Sequence[float]) -> list[float | None]:
    """JSON has no NaN."""
    return [None if math.isnan(value) else value for value in values]

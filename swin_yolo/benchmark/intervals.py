"""What a comparison works out of detections that are there: matches, kinds of errors, and intervals of a bootstrap."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from swin_yolo.benchmark.drawn_detections import DrawnSet
from swin_yolo.benchmark.evaluation import EvaluationSettings, detected
from swin_yolo.benchmark.report import Table, figure
from swin_yolo.scoring.bootstrap import paired_bootstrap
from swin_yolo.scoring.error_breakdown import error_breakdown
from swin_yolo.scoring.matches import match
from swin_yolo.scoring.sparse_evaluation import without_collection

MATCHING, RESAMPLING, ALL = "matches and kinds of errors", "bootstrap", "in all"


@dataclass(frozen=True)
class IntervalSettings:
    """What is compared: as many images as a small validation split has, of COCO's classes.

    Attributes:
        drawn: the set.
        models: how many, the baseline included.
        seeds: runs of each.
        resamples: of the bootstrap.
    """

    drawn: DrawnSet = field(default_factory=lambda: DrawnSet(images=87))
    models: int = 6
    seeds: int = 3
    resamples: int = 1000


def intervals(settings: IntervalSettings) -> Table:
    """Seconds from the detections of all runs to the differences of all models to the first."""
    truth, entries = settings.drawn.truth(), detected(EvaluationSettings(settings.drawn))
    runs = [
        [_varied(entries, np.random.default_rng((model, seed))) for seed in range(settings.seeds)]
        for model in range(settings.models)
    ]
    start = time.perf_counter()
    with without_collection():
        matched = [[match(truth, found) for found in of_model] for of_model in runs]
        for of_model in runs:
            for found in of_model:
                error_breakdown(truth, found)
    between = time.perf_counter()
    candidates = {str(number): found for number, found in enumerate(matched[1:], start=1)}
    paired_bootstrap(matched[0], candidates, resamples=settings.resamples)
    end = time.perf_counter()
    seconds = {MATCHING: between - start, RESAMPLING: end - between, ALL: end - start}
    what = (
        f"{settings.models} models of {settings.seeds} runs each on {settings.drawn.images} drawn images of "
        f"{settings.drawn.nc} classes, {len(truth.anns):,} boxes and about {len(runs[0][0]):,} detections a run; "
        f"{settings.resamples:,} resamples of images and runs, of all twelve numbers and the AP of each class. Once."
    )
    rows = [(name, figure(taken)) for name, taken in seconds.items()]
    figures = {name: {"seconds": taken} for name, taken in seconds.items()}
    return Table("Intervals of a comparison", ("", "seconds"), rows, figures, (what,))


def _varied(entries: list[dict[str, Any]], rng: np.random.Generator) -> list[dict[str, Any]]:
    """Detections of another run: nine in ten of these, with other scores."""
    factors, kept = rng.uniform(0.8, 1, len(entries)), rng.random(len(entries)) < 0.9
    return [
        {**entry, "score": entry["score"] * factor}
        for entry, factor, keep in zip(entries, factors.tolist(), kept.tolist(), strict=True)
        if keep
    ]

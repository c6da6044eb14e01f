"""What a comparison works out of detections that are there: matches, kinds of errors, and intervals of a bootstrap."""

import time
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO

from swin_yolo.benchmark.drawn_detections import DrawnSet
from swin_yolo.benchmark.evaluation import EvaluationSettings, detected
from swin_yolo.benchmark.report import Table, figure
from swin_yolo.scoring.average_precision import Detection
from swin_yolo.scoring.bootstrap import paired_bootstrap
from swin_yolo.scoring.error_breakdown import error_breakdown
from swin_yolo.scoring.matches import match
from swin_yolo.scoring.sparse_evaluation import without_collection

MATCHING, RESAMPLING, ALL = "matches and kinds of errors", "bootstrap", "in all"


@dataclass(frozen=True)
class IntervalSettings:
    """What is compared: as many images as BCCD's validation split has.

    Attributes:
        drawn: sets, of as many classes as BCCD has and as COCO has.
        models: how many, the baseline included.
        seeds: runs of each.
        resamples: of the bootstrap.
    """

    drawn: tuple[DrawnSet, ...] = (DrawnSet(images=87, nc=3, boxes=13), DrawnSet(images=87))
    models: int = 6
    seeds: int = 3
    resamples: int = 1000


def intervals(settings: IntervalSettings) -> Table:
    """Seconds from the detections of all runs to the differences of all models to the first."""
    rows, figures = [], {}
    for drawn in settings.drawn:
        truth, entries = drawn.truth(), detected(EvaluationSettings(drawn))
        runs = [
            [_varied(entries, np.random.default_rng((model, seed))) for seed in range(settings.seeds)]
            for model in range(settings.models)
        ]
        seconds = _seconds(truth, runs, settings.resamples)
        name = f"{drawn.images} images, {drawn.nc} classes"
        rows.append((name, f"{len(truth.anns):,}", f"{len(runs[0][0]):,}", *map(figure, seconds.values())))
        figures[name] = seconds
    what = (
        f"{settings.models} models of {settings.seeds} runs each; {settings.resamples:,} resamples of images and runs, "
        "of all twelve numbers and the AP of each class. Once."
    )
    columns = ("", "boxes", "detections a run", *(f"{name}, s" for name in (MATCHING, RESAMPLING, ALL)))
    return Table("Intervals of a comparison", columns, rows, figures, (what,))


def _seconds(truth: COCO, runs: list[list[list[Detection]]], resamples: int) -> dict[str, float]:
    start = time.perf_counter()
    with without_collection():
        matched = [[match(truth, found) for found in of_model] for of_model in runs]
        for found in (found for of_model in runs for found in of_model):
            error_breakdown(truth, found)
    between = time.perf_counter()
    candidates = {str(number): found for number, found in enumerate(matched[1:], start=1)}
    paired_bootstrap(matched[0], candidates, resamples=resamples)
    end = time.perf_counter()
    return {MATCHING: between - start, RESAMPLING: end - between, ALL: end - start}


def _varied(entries: list[Detection], rng: np.random.Generator) -> list[Detection]:
    """Detections of another run: nine in ten of these, with other scores."""
    factors, kept = rng.uniform(0.8, 1, len(entries)), rng.random(len(entries)) < 0.9
    return [
        {**entry, "score": entry["score"] * factor}
        for entry, factor, keep in zip(entries, factors.tolist(), kept.tolist(), strict=True)
        if keep
    ]

"""Differences between models with their intervals, and what kinds of errors they make, from the detections kept."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from swin_yolo.scoring.bootstrap import Difference, paired_bootstrap
from swin_yolo.scoring.error_breakdown import error_breakdown
from swin_yolo.scoring.matches import Matches, match

from .progress import Display
from .results import ModelResult
from .summary import CONFIDENCE, SEED, Findings


def find(
    models: Sequence[ModelResult],
    controls: Mapping[str, str],
    truth: COCO,
    *,
    resamples: int,
    display: Display,
) -> Findings:
    """Compare all models with the first, and candidates with their controls.

    Args:
        models: the baseline first.
        controls: name of the control by the candidate's.
        truth: the split's annotations.
        resamples: of the bootstrap.
        display: shows how far it is.
    """
    matches: dict[str, list[Matches]] = {}
    errors: dict[str, dict[str, float]] = {}
    for model in models:
        matches[model.name], costs = [], []
        for number, detections in enumerate(_detections(model), start=1):
            what = f"matching {model.name}, run {number} of {len(model.runs)}, classes"
            matches[model.name].append(match(truth, detections, progress=display.counting(what)))
            costs.append(error_breakdown(truth, detections))
        errors[model.name] = {kind: float(np.mean([run[kind] for run in costs])) for kind in costs[0]}
    by_name = {model.name: model for model in models}

    def differences(baseline: str, others: Sequence[str]) -> dict[str, Difference]:
        if not others:
            return {}
        return paired_bootstrap(
            matches[baseline],
            {name: matches[name] for name in others},
            resamples=resamples,
            seed=SEED,
            confidence=CONFIDENCE,
            progress=display.counting(f"bootstrap against {baseline}"),
        )

    return Findings(
        differences=differences(models[0].name, [model.name for model in models[1:]]),
        to_controls={
            name: (by_name[control], differences(control, [name])[name]) for name, control in controls.items()
        },
        errors=errors,
        resamples=resamples,
    )


def _detections(model: ModelResult) -> Iterator[list[dict[str, Any]]]:
    """Those of one run at a time."""
    for run in model.runs:
        yield run.scored.detections()

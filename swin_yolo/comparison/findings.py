"""Differences between models with their intervals, and what kinds of errors they make, from the detections kept."""

from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO

from swin_yolo.scoring.bootstrap import Difference, paired_bootstrap
from swin_yolo.scoring.error_breakdown import error_breakdown
from swin_yolo.scoring.matches import Matches, match
from swin_yolo.scoring.sparse_evaluation import without_collection

from .progress import Display
from .results import ModelResult, RunResult
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
        for number, run in enumerate(model.runs, start=1):
            found, cost = _examined(run, truth, f"{model.name}, run {number} of {len(model.runs)}", display)
            matches[model.name].append(found)
            costs.append(cost)
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


def _examined(run: RunResult, truth: COCO, which: str, display: Display) -> tuple[Matches, dict[str, float]]:
    """Matches and errors of a run, whose detections are let go of again."""
    with without_collection():
        detections = run.scored.detections()
        matches = match(truth, detections, progress=display.counting(f"matching {which}, classes"))
        display.show(lambda: f"sorting the errors of {which}")
        return matches, error_breakdown(truth, detections)

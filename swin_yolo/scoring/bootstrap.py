"""Differences between models with intervals: a paired bootstrap over images and training runs.

A score is uncertain twice over: other images would have given another number, and so would other training seeds. Each
resample therefore draws both. They are crossed, not nested, since every run is scored on the same images:

- Images are drawn with replacement, the same ones for every run of every model. This makes the comparison paired: what
  is hard or easy for both models cancels in the difference.
- Of the S runs of a model S - 1 are drawn with replacement, for each model on its own; a single run is always taken.
  With S - 1 draws the variance of a mean comes out unbiased (McCarthy and Snowden 1985), S draws would understate it by
  a third where S is 3. Runs are not paired by seed: a seed gives models of unlike shape unlike weights, and if runs of
  one seed do go together, the interval gets too wide rather than too narrow.

Resampling crossed factors independently is mildly conservative (Owen and Eckles 2012, arXiv 1106.2125). But no
resampling can make two or three runs say much about the spread over seeds. Simulated with 80 images and 3 runs a model,
the 95% interval holds the true difference in 94%, 93% and 90% of the cases where the spread over seeds is a third of
that over images, as large and three times as large; an interval over images alone in 93%, 82% and 46%. A model of one
run adds no spread over seeds, so that the interval speaks of these weights and not of the recipe that made them.

Nor can it make a few images say much. Where k images have ground truth, all k differ in one direction by mere chance
twice in 2^k, and then the interval leaves zero out whatever their size: in 6% of the cases where k is 5. Below six
images there is no interval.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from swin_yolo.scoring.average_precision import METRIC_NAMES
from swin_yolo.scoring.matches import Matches

LEAST_IMAGES = 6


@dataclass(frozen=True)
class Interval:
    """A difference and where it lies.

    Attributes:
        mean: mean over the candidate's runs minus mean over the baseline's, on the images as they are; None where there
            is no ground truth to compare on.
        low, high: ends of the percentile interval; None where ground truth is on too few images.
    """

    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """How a candidate differs from the baseline: the twelve COCO numbers, and the AP of each class by its name."""

    metrics: dict[str, Interval]
    per_class: dict[str, Interval]


def paired_bootstrap(
    baseline: Sequence[Matches],
    candidates: Mapping[str, Sequence[Matches]],
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
    least_images: int = LEAST_IMAGES,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Difference]:
    """Difference of each candidate to the baseline, by the candidate's name.

    A number that has no ground truth in a resample is left out there, as COCO leaves a class out of its means. The
    same arguments give the same intervals, and those of one candidate do not depend on the others. They are not
    widened for there being several candidates.

    Args:
        baseline: matches of each of the baseline's runs, one per training seed.
        candidates: the same by model name; all on the same images and classes.
        resamples: how many; 1000 place an end of a 95% interval to about a tenth of its width.
        seed: of the draws.
        confidence: share of the resamples that lie within an interval, above 0 and below 1.
        least_images: with ground truth that a number has an interval from.
        progress: called with the number of resamples done and of all, over all models.

    Raises:
        ValueError: a model has no runs, runs are of unlike images or classes, or a number is out of its range.
    """
    models = [baseline, *candidates.values()]
    _check(models, resamples, confidence)
    images = len(baseline[0].image_ids)
    copies = np.random.default_rng([seed, 0]).multinomial(images, [1 / images] * images, resamples)
    point, resampled = [], []
    for number, runs in enumerate(models):
        # Candidates may share their draws of runs, being compared with the baseline only.
        drawn = _drawn_runs(len(runs), resamples, np.random.default_rng([seed, min(number, 1) + 1]))
        point.append(np.mean([_defined(run.metrics()) for run in runs], axis=0))
        values = np.empty((resamples, len(point[0])))
        for done, (image_copies, run_copies) in enumerate(zip(copies, drawn, strict=True), start=1):
            values[done - 1] = _weighted_mean(runs, image_copies, run_copies)
            if progress is not None:
                progress(number * resamples + done, len(models) * resamples)
        resampled.append(values)
    # As if it were missing in every resample.
    resampled[0][:, baseline[0].images_with_objects() < least_images] = np.nan
    return {
        name: _difference(point[number] - point[0], resampled[number] - resampled[0], confidence, baseline[0].names)
        for number, name in enumerate(candidates, start=1)
    }


def _check(models: Sequence[Sequence[Matches]], resamples: int, confidence: float) -> None:
    if not all(models):
        raise ValueError("every model must have at least one run, got one with none")
    first, *others = (run for runs in models for run in runs)
    if not len(first.image_ids):
        raise ValueError("expected at least one image to resample, got none")
    if any(run.names != first.names or not np.array_equal(run.image_ids, first.image_ids) for run in others):
        raise ValueError("all runs must be matched on the same images and classes, got unlike ones")
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"expected resamples >= 1 and 0 < confidence < 1, got {resamples} and {confidence}")


def _drawn_runs(runs: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(resamples, runs) how often each run is drawn."""
    return rng.multinomial(max(runs - 1, 1), [1 / runs] * runs, resamples)


def _weighted_mean(runs: Sequence[Matches], image_copies: np.ndarray, run_copies: np.ndarray) -> np.ndarray:
    drawn = [(run, times) for run, times in zip(runs, run_copies, strict=True) if times]
    return sum(_defined(run.metrics(image_copies)) * times for run, times in drawn) / run_copies.sum()


def _defined(metrics: np.ndarray) -> np.ndarray:
    """NaN for COCO's -1, which would otherwise be averaged as a number."""
    return np.where(metrics > -1, metrics, np.nan)


def _difference(point: np.ndarray, resampled: np.ndarray, confidence: float, names: Sequence[str]) -> Difference:
    tails = 50 * (1 - confidence), 50 * (1 + confidence)
    intervals = []
    for mean, values in zip(point.tolist(), resampled.T, strict=True):
        defined = values[~np.isnan(values)]
        low, high = np.percentile(defined, tails).tolist() if defined.size else (None, None)
        intervals.append(Interval(None if np.isnan(mean) else mean, low, high))
    head, rest = intervals[: len(METRIC_NAMES)], intervals[len(METRIC_NAMES) :]
    return Difference(dict(zip(METRIC_NAMES, head, strict=True)), dict(zip(names, rest, strict=True)))

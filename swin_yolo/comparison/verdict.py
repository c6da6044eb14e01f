"""What a difference means, in a word and in plain sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from swin_yolo.scoring.bootstrap import LEAST_IMAGES, Difference, Interval

from .contestants import CANDIDATE
from .matched import NEAR
from .results import ModelResult

FEW_IMAGES, FEW_RESAMPLES = 20, 1000
BETTER, WORSE, CANNOT_TELL = "better", "worse", "cannot tell"


def word(interval: Interval) -> str:
    """Better where all of the interval is above 0, worse where all of it is below."""
    if interval.low is None or interval.high is None:
        return CANNOT_TELL
    return BETTER if interval.low > 0 else WORSE if interval.high < 0 else CANNOT_TELL


def headline(
    model: ModelResult,
    baseline: ModelResult,
    difference: Difference,
    *,
    control: tuple[ModelResult, Difference] | None = None,
    confidence: float = 0.95,
) -> str:
    """Whether a model is better than the baseline, and than a control of its own size, by AP.

    Args:
        model: candidate or control.
        baseline: what it is compared with.
        difference: of the two.
        control: a baseline of the model's size, and the model's difference to it.
        confidence: of the intervals.
    """
    ap = difference.metrics["AP"]
    said = _compared(model.name, baseline.name, ap, confidence)
    if control is None:
        return said
    against = _against_control(control[0].name, baseline.name, control[1].metrics["AP"], word(ap), confidence)
    return f"{said} {against}"


def caveats_of_all(fairness: Sequence[Mapping[str, Any]], *, images: int, resamples: int) -> list[str]:
    """What is to be said of all verdicts: that the comparison was unfair, or rests on little.

    Args:
        fairness: of `fairness_table`.
        images: that were scored.
        resamples: of the bootstrap.
    """
    said = []
    if unequal := [row["what"] for row in fairness if row["same"] is False]:
        said.append(f"It is not a comparison of like with like: the models differ in {', '.join(unequal)}.")
    if images < FEW_IMAGES:
        said.append(f"{images} images are few: the interval may well be too narrow.")
    if resamples < FEW_RESAMPLES:
        said.append(f"{resamples} resamples place the ends of an interval roughly; take {FEW_RESAMPLES} or more.")
    return said


def caveats(model: ModelResult, baseline: ModelResult, *, controlled: bool) -> list[str]:
    """What else is to be said of a verdict: that a model is larger, or that there is one run only.

    Args:
        model: candidate or control.
        baseline: what it is compared with.
        controlled: whether there is a control of the model's size.
    """
    said = []
    if not controlled and model.role == CANDIDATE and (times := _times_as_big(model, baseline)):
        said.append(f"{model.name} has {times:.2f} times the parameters, and no control of its size was trained.")
    if lone := [m.name for m in (model, baseline) if len(m.runs) < 2]:
        said.append(f"With one run of {' and of '.join(lone)} this speaks of these weights, not of other seeds.")
    return said


def amount(interval: Interval, confidence: float = 0.95) -> str:
    """A difference in AP with its interval, as +0.012 AP (95% interval +0.003 to +0.021)."""
    if interval.mean is None:
        return "no ground truth to compare on"
    if interval.low is None or interval.high is None:
        return f"{interval.mean:+.3f} AP, and ground truth on fewer than {LEAST_IMAGES} images"
    return f"{interval.mean:+.3f} AP ({100 * confidence:g}% interval {interval.low:+.3f} to {interval.high:+.3f})"


def _compared(name: str, other: str, ap: Interval, confidence: float) -> str:
    if word(ap) == CANNOT_TELL:
        return f"Whether {name} is better than {other} cannot be told: {amount(ap, confidence)}."
    return f"{name} is {word(ap)} than {other}: {amount(ap, confidence)}."


def _against_control(control: str, baseline: str, ap: Interval, before: str, confidence: float) -> str:
    """The same against the control, joined to what was said of the baseline."""
    widened, now = f"{control}, {baseline} widened to its size", word(ap)
    if now == CANNOT_TELL:
        end = "; the gain may come from size alone" if before == BETTER else ""
        either = " either" if before == CANNOT_TELL else ""
        return f"Against {widened}, it cannot be told{either}: {amount(ap, confidence)}{end}."
    link = "It is also" if now == before else "But it is" if {now, before} == {BETTER, WORSE} else "It is"
    return f"{link} {now} than {widened}: {amount(ap, confidence)}."


def _times_as_big(model: ModelResult, baseline: ModelResult) -> float | None:
    """How many times the baseline's parameters a model has, where that is more by a share that counts."""
    if not model.parameters or not baseline.parameters:
        return None
    times = model.parameters / baseline.parameters
    return times if times > 1 + NEAR else None

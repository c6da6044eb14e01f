"""A score as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from swin_yolo.report.text import display_width, padded, printable

if TYPE_CHECKING:
    from swin_yolo.scoring.average_precision import CocoScore

CLASS_COLUMNS = ("AP", "AP50", "APs", "APm", "APl", "AR100")
MAX_NAME_WIDTH = 28
CELL = 8


def format_metrics(score: CocoScore, *, per_class: bool = True) -> str:
    """The twelve COCO numbers, then a row for each class; "-" where there is no ground truth (-1 in metrics.json).

    Args:
        score: the numbers.
        per_class: with the rows of the classes.
    """
    metrics = list(score.metrics.items())
    lines = [
        "Average precision" + _row(("", "IoU .50", "IoU .75", "small", "medium", "large")),
        " " * 17 + _row(name for name, _ in metrics[:6]),
        " " * 17 + _row(_number(value) for _, value in metrics[:6]),
        "Average recall   " + _row(("1 box", "10", "100", "small", "medium", "large")),
        " " * 17 + _row(name for name, _ in metrics[6:]),
        " " * 17 + _row(_number(value) for _, value in metrics[6:]),
    ]
    return "\n".join(lines + (_class_lines(score) if per_class else []))


def _class_lines(score: CocoScore) -> list[str]:
    width = min(MAX_NAME_WIDTH, max(display_width(printable(name)) for name in ("Class", *score.names)))
    lines = ["", padded("Class", width) + _row(("boxes", *CLASS_COLUMNS))]
    for name, row in score.per_class.items():
        cells = [f"{row['boxes']:.0f}", *(_number(row[column]) for column in CLASS_COLUMNS)]
        lines.append(padded(name, width) + _row(cells))
    return lines


def _row(cells: Iterable[str]) -> str:
    return "".join(f"{cell:>{CELL}}" for cell in cells)


def _number(value: float) -> str:
    return "-" if value == -1 else f"{value:.3f}"

"""Plots of a score: precision-recall curves and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from swin_yolo.report.figure import INK, new_figure, note, save_figure, style
from swin_yolo.report.palette import class_colours, hex_colour
from swin_yolo.report.text import shortened

if TYPE_CHECKING:
    from swin_yolo.scoring.average_precision import CocoScore

MAX_COLOURED_CURVES = 12
MAX_NUMBERED_CLASSES = 20


def plot_pr_curves(score: CocoScore, file: Path) -> None:
    """Write precision over recall at IoU 0.50: each class that has ground truth, and their mean.

    Above 12 classes the single ones are thin and grey.
    """
    figure = new_figure(8, 5.2)
    axes = style(figure.subplots(), title="Precision and recall at IoU 0.50", x="Recall", y="Precision")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    recall = np.linspace(0, 1, score.precision.shape[1])
    present = [k for k, row in enumerate(score.precision) if row.min() > -1]
    if present:
        _class_curves(axes, score, present, recall)
        mean = score.precision[present].mean(axis=0)
        axes.plot(recall, mean, color=INK, linewidth=2.8, label=f"{mean.mean():.3f}  mean of {len(present)}")
        axes.legend(title="AP50", loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8, title_fontsize=9)
    else:
        note(axes, "no ground truth")
    save_figure(figure, file)


def _class_curves(axes: Axes, score: CocoScore, present: list[int], recall: np.ndarray) -> None:
    colours = class_colours(len(score.names))
    for k in present:
        name = score.names[k]
        if len(present) > MAX_COLOURED_CURVES:
            axes.plot(recall, score.precision[k], color="#b5b5b5", linewidth=0.7, alpha=0.7)
            continue
        label = f"{score.per_class[name]['AP50']:.3f}  {shortened(name, 24)}"
        axes.plot(recall, score.precision[k], color=hex_colour(colours[k]), linewidth=1.6, label=label)


def plot_confusion_matrix(matrix: np.ndarray, names: Sequence[str], file: Path) -> None:
    """Write a picture of a confusion matrix, each column as shares of its true class.

    Args:
        matrix: (K + 1, K + 1) counts, [predicted, true], background last.
        names: of the K classes.
        file: the picture to write.
    """
    total = matrix.sum(axis=0, keepdims=True)
    share = np.divide(matrix, total, out=np.full(matrix.shape, np.nan), where=total > 0)
    labels = [shortened(name, 18) for name in names] + ["background"]
    side = min(4.5 + 0.36 * len(labels), 16)
    figure = new_figure(side + 1, side)
    axes = style(
        figure.subplots(), title="Confusion matrix, shares of each column", x="True", y="Predicted", grid="none"
    )
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    size = min(9.0, 36 * side / len(labels))  # points, in cells of about 60 x side / n
    axes.set_xticks(range(len(labels)), labels, rotation=90 if len(labels) > 6 else 0, fontsize=size)
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    axes.set_xticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(labels) + 1) - 0.5, minor=True)
    axes.grid(True, which="minor", color="#ececec", linewidth=0.6)
    axes.tick_params(which="minor", length=0)
    if len(names) <= MAX_NUMBERED_CLASSES:
        _number_cells(axes, matrix, share)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)
    save_figure(figure, file)


def _number_cells(axes: Axes, matrix: np.ndarray, share: np.ndarray) -> None:
    few = len(matrix) <= 8  # then the count fits in as well
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            text = f"{share[row, column]:.2f}" + (f"\n{count:.0f}" if few else "")
            colour = "white" if share[row, column] > 0.55 else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=8 if few else 6, color=colour)

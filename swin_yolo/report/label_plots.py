"""What the boxes of a dataset are like: how many of each class, and how large.

`m` boxes without crowds.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from swin_yolo.report.figure import INK, new_figure, note, save_figure, style
from swin_yolo.report.palette import class_colours, hex_colour
from swin_yolo.report.text import shortened

MAX_BARS = 30
SIZES = (("small, below 32²", 0, 32**2), ("medium", 32**2, 96**2), ("large, from 96²", 96**2, np.inf))  # square pixels


def plot_labels(
    class_indices: np.ndarray,
    boxes_wh: np.ndarray,
    areas: np.ndarray,
    image_sizes_wh: np.ndarray,
    names: Sequence[str],
    file: Path,
) -> None:
    """Write the boxes per class, box sizes as a density, and the shares of COCO's small, medium and large.

    Args:
        class_indices: (m,) 0..nc-1; m may be 0.
        boxes_wh: (m, 2) width and height in pixels.
        areas: (m,) the annotations' areas in square pixels.
        image_sizes_wh: (m, 2) width and height of each box's image in pixels.
        names: nc class names.
        file: the picture to write.
    """
    figure = new_figure(11, 6.5)
    axes = figure.subplot_mosaic([["counts", "density"], ["counts", "sizes"]], height_ratios=(6, 1))
    _draw_counts(axes["counts"], np.bincount(class_indices, minlength=len(names)), names)
    _draw_density(axes["density"], boxes_wh / image_sizes_wh)
    _draw_sizes(axes["sizes"], areas)
    save_figure(figure, file)


def _draw_counts(axes: Axes, counts: np.ndarray, names: Sequence[str]) -> None:
    """A bar for each class, the most frequent on top; above 30 classes the rest share one bar."""
    style(axes, title=f"{counts.sum():,} boxes of {len(names)} classes", x="boxes", grid="x")
    order = np.argsort(-counts, kind="stable")
    shown, rest = order[:MAX_BARS], order[MAX_BARS:]
    colours = class_colours(len(names))
    labels = [shortened(names[k], 24) for k in shown]
    values = [int(counts[k]) for k in shown]
    fills = [hex_colour(colours[k]) for k in shown]
    if len(rest):
        labels, values = [*labels, f"{len(rest)} more"], [*values, int(counts[rest].sum())]
        fills = [*fills, "#b3b3b3"]
    bars = axes.barh(range(len(values)), values, color=fills, height=0.75)
    axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=3, fontsize=8, color=INK)
    axes.set_yticks(range(len(values)), labels)
    axes.set_ylim(max(len(values), 6) - 0.4, -0.6)  # room for 6, so that the bars of a few classes are not fat
    axes.margins(x=0.15)


def _draw_density(axes: Axes, boxes_whn: np.ndarray) -> None:
    style(axes, title="Box size as a share of the image", x="width / image width", y="height / image height")
    if not len(boxes_whn):
        return note(axes, "no boxes")
    width, height = boxes_whn.clip(0, 1).T
    end = float(np.ceil(10 * boxes_whn.max().clip(0.1, 1)) / 10)  # of both axes
    counts, *_ = np.histogram2d(width, height, bins=50, range=[[0, end], [0, end]])
    shown = np.ma.masked_equal(counts.T, 0)
    norm = LogNorm(1, max(2, counts.max()))
    image = axes.imshow(shown, origin="lower", extent=(0, end, 0, end), cmap="viridis_r", norm=norm, zorder=1)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02, format="{x:g}")
    bar.minorticks_off()
    bar.set_label("boxes", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=8, length=0)
    bar.outline.set_visible(False)


def _draw_sizes(axes: Axes, areas: np.ndarray) -> None:
    """One bar in three parts."""
    style(axes, title="COCO size, by the annotation's area in pixels", grid="none")
    axes.set(xlim=(0, 1), yticks=[], xticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    if not len(areas):
        return note(axes, "no boxes")
    left = 0.0
    for (name, low, high), fill in zip(SIZES, ("#c6dbef", "#6baed6", "#2171b5"), strict=True):
        share = float(((areas >= low) & (areas < high)).mean())
        axes.barh(0, share, left=left, color=fill, label=f"{share:.0%} {name}")
        left += share
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, frameon=False, fontsize=8)

"""The course of a training run, from its results.csv."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from swin_yolo.errors import InputError
from swin_yolo.report.figure import new_figure, note, save_figure, style
from swin_yolo.report.palette import class_colours, hex_colour

LOSSES = ("box_loss", "cls_loss", "dfl_loss")
BLUE, ORANGE, GREEN = map(hex_colour, class_colours(3))

Series = dict[str, list[float]]  # values by column name, one per epoch, NaN where there is none


def plot_training_curves(results_csv: Path, file: Path) -> None:
    """Write the losses, the average precisions and the learning rates over the epochs of `results_csv`.

    A value that is no number, and a metric of -1 (no ground truth), leaves a gap. A column that is not there leaves
    its curve out.

    Raises:
        InputError: the file cannot be read or has no column `epoch`.
    """
    series = read_results(results_csv)
    epochs = series["epoch"]
    figure = new_figure(12, 6.4)
    axes = figure.subplots(2, 3)
    for ax, loss in zip(axes[0], LOSSES, strict=True):
        style(ax, title=loss.replace("_", " "), x="epoch")
        curves = [("train", series.get(f"train/{loss}"), BLUE, "-"), ("val", series.get(f"val/{loss}"), ORANGE, "--")]
        _draw(ax, epochs, curves)
    style(axes[1, 0], title="AP by IoU", x="epoch")
    _draw(axes[1, 0], epochs, _metrics(series, ("AP", "AP50", "AP75")), best="AP")
    style(axes[1, 1], title="AP by object size", x="epoch")
    _draw(axes[1, 1], epochs, _metrics(series, ("APs", "APm", "APl")))
    style(axes[1, 2], title="learning rate", x="epoch")
    _draw(axes[1, 2], epochs, _learning_rates(series))
    save_figure(figure, file)


def read_results(results_csv: Path) -> Series:
    """The columns of a results.csv.

    Raises:
        InputError: the file cannot be read or has no column `epoch`.
    """
    try:
        with results_csv.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.reader(lines))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{results_csv}: cannot be read as a results.csv: {error}") from error
    names = [name.strip() for name in rows[0]] if rows else []
    if "epoch" not in names:
        raise InputError(f"{results_csv}: expected a header with the column 'epoch', got {names}")
    filled = [row for row in rows[1:] if row]
    return {name: [_value(row[i] if i < len(row) else "") for row in filled] for i, name in enumerate(names)}


def _value(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _metrics(series: Series, names: Iterable[str]) -> list[tuple]:
    styles = ((BLUE, "-"), (ORANGE, "-"), (GREEN, "-"))
    values = {name: [math.nan if v < 0 else v for v in series.get(name, [])] for name in names}
    return [(name, values[name], *look) for name, look in zip(names, styles, strict=True)]


def _learning_rates(series: Series) -> list[tuple]:
    """A curve for each distinct course; the groups that share it are named together."""
    groups: dict[tuple[float, ...], list[str]] = {}
    for name, values in series.items():
        if name.startswith("lr/"):
            groups.setdefault(tuple(values), []).append(name.removeprefix("lr/"))
    colours = map(hex_colour, class_colours(len(groups)))
    return [
        (names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more", list(values), colour, "-")
        for (values, names), colour in zip(groups.items(), colours, strict=True)
    ]


def _draw(axes: Axes, epochs: list[float], curves: list[tuple], *, best: str | None = None) -> None:
    """Draw (name, values, colour, line style) curves that have at least one number; ring the highest of `best`."""
    drawn = [curve for curve in curves if curve[1] and not all(map(math.isnan, curve[1]))]
    for name, values, colour, line in drawn:
        marker = "o" if len(values) < 20 else ""
        if name == best:
            at = max((i for i, v in enumerate(values) if not math.isnan(v)), key=values.__getitem__)
            axes.plot(epochs[at], values[at], "o", color=colour, markersize=9, fillstyle="none")
            name = f"{name}, best {values[at]:.3f} in epoch {epochs[at]:.0f}"
        axes.plot(epochs, values, color=colour, linestyle=line, linewidth=1.6, marker=marker, markersize=3, label=name)
    if drawn:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.margins(y=0.12)
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.legend(frameon=False, fontsize=8)
    else:
        note(axes, "no numbers")

"""Figures in one look.

Only matplotlib's object interface: no pyplot and no rcParams, so that plots can be drawn from any thread and leave the
user's own plots alone.
"""

import warnings
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from swin_yolo.files import written_whole
from swin_yolo.report.fonts import font_families

INK = "#222222"
GRID = "#e3e3e3"


def new_figure(width: float, height: float) -> Figure:
    """An empty white figure of `width` x `height` inches."""
    layout = ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=150, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, file: Path) -> None:
    """Write `figure` to `file`, whole or not at all, in the format that its suffix says."""
    for text in figure.findobj(Text):
        text.set_fontfamily(font_families())
    with written_whole(file) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # drawn as a box; not the user's fault
        figure.savefig(part, bbox_inches="tight", pad_inches=0.1)


def style(axes: Axes, *, title: str = "", x: str = "", y: str = "", grid: str = "both") -> Axes:
    """Give `axes` its labels, a light grid behind the data ("both", "x", "y" or "none") and no frame to the right."""
    axes.set_title(title, fontsize=11, color=INK, loc="left", pad=8)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK, length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#bbbbbb")
    axes.set_axisbelow(True)
    if grid != "none":
        axes.grid(True, axis=grid, color=GRID, linewidth=0.8)  # type: ignore[arg-type]
    return axes


def note(axes: Axes, text: str) -> None:
    """Say in the middle of empty `axes` why they are empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=10, color="#777777")

"""A tall figure that is filled from above, in inches."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.text import Text

from swin_yolo.report.figure import INK, new_figure, save_figure


class TallFigure:
    """A figure of a fixed width to which parts are added from above; it is as high as they need.

    Args:
        width: inches.
    """

    def __init__(self, width: float):
        self._width = width
        self._figure = new_figure(width, 1)
        self._figure.set_layout_engine("none")
        self._axes: list[tuple[Axes, float, float, float, float]] = []
        self._texts: list[tuple[Text, float, float]] = []
        self._depth = 0.0

    def axes(self, left: float, width: float, height: float, *, down: float = 0.0) -> Axes:
        """Bare axes `left` inches from the left edge, `down` inches below where `skip` has got to."""
        axes = self._figure.add_axes((0, 0, 1, 1), xticks=[], yticks=[])
        axes.set_axis_off()
        self._axes.append((axes, left, self._depth + down, width, height))
        return axes

    def label(
        self, text: str, *, size: float, height: float, left: float = 0.0, down: float = 0.0, bold: bool = False
    ) -> None:
        """A line of text in the middle of a stripe `height` inches high."""
        weight = "bold" if bold else "normal"
        label = self._figure.text(0, 0, text, fontsize=size, color=INK, va="center", ha="left", weight=weight)
        self._texts.append((label, left, self._depth + down + height / 2))

    def skip(self, height: float) -> None:
        """Go on `height` inches further down."""
        self._depth += height

    def save(self, file: Path) -> None:
        """Write the figure, whole or not at all."""
        self._figure.set_size_inches(self._width, self._depth)
        for axes, left, top, width, height in self._axes:
            bottom = self._depth - top - height
            axes.set_position((left / self._width, bottom / self._depth, width / self._width, height / self._depth))
        for text, left, middle in self._texts:
            text.set_position((left / self._width, 1 - middle / self._depth))
        save_figure(self._figure, file)

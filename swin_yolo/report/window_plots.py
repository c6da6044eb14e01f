"""The picture of a model row with Swin blocks: windows, masks, receptive field, attention and biases of a token."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap

from swin_yolo.report.figure import INK
from swin_yolo.report.tall_figure import TallFigure
from swin_yolo.report.text import shortened
from swin_yolo.report.window_maps import DECADES, SHARES, draw_receptive_field, draw_windows
from swin_yolo.report.window_strips import (
    BIASES,
    draw_attention,
    draw_bias,
    draw_mask,
    draw_pieces,
    strip_axes,
    strip_width,
)
from swin_yolo.report.window_views import BlockView, RowView

# All in inches.
WIDTH = 10.0
MAP_WIDTH, LARGEST_MAP_HEIGHT, MAP_GAP = 3.2, 4.2, 0.2
MASK_PITCH, PIECES_SIDE, LARGEST_SQUARE = 2.5, 0.75, 1.45
STRIP_WIDTH, STRIP_GAP = 4.85, 0.3  # two strips side by side
LABEL_HEIGHT = 0.22

HEADS_BESIDE = 4  # with more heads, attention and bias stand one below the other
HEADS_IN_LINE = 8


def plot_row(view: RowView, file: Path) -> None:
    """Write the picture of a row."""
    page = TallFigure(WIDTH + 0.05)  # a little room for the outermost lines
    _add_title(page, view)
    _add_maps(page, view)
    _add_masks(page, view.blocks[1])
    for number, block in enumerate(view.blocks, 1):
        _add_block(page, view, block, number)
    page.save(file)


def _add_title(page: TallFigure, view: RowView) -> None:
    block = view.blocks[0]
    (rows, columns), side = block.layout.map_hw, block.layout.window_size
    heads = len(block.attention)
    page.label(f"Row {view.number}: {view.layer}", size=15, height=0.36, bold=True)
    page.label(
        f"{rows} x {columns} tokens of {view.stride} px, windows of {side} x {side} tokens, {len(view.blocks)} blocks, "
        f"{heads} head{'s' if heads > 1 else ''} each.  Marked: pixel {view.at[0]},{view.at[1]} of "
        f"{shortened(view.image_name, 40)}",
        size=9,
        height=0.34,
        down=0.36,
    )
    page.skip(0.36 + 0.34)


def _add_maps(page: TallFigure, view: RowView) -> None:
    """The image with windows, with shifted windows, and with the receptive field."""
    plain, shifted = view.blocks[:2]
    padded_h, padded_w = plain.layout.padded_hw
    height = min(MAP_WIDTH * padded_h / padded_w, LARGEST_MAP_HEIGHT)
    panels: list[tuple[str, tuple[str, str], Callable[[Axes], None]]] = [
        ("(a) Windows of W-MSA", _say_windows(plain), lambda axes: draw_windows(axes, view, plain)),
        ("(b) Shifted windows of SW-MSA", _say_shift(shifted), lambda axes: draw_windows(axes, view, shifted)),
        ("(c) Effective receptive field", _say_field(view), lambda axes: draw_receptive_field(axes, view)),
    ]
    for i, (title, captions, draw) in enumerate(panels):
        left = i * (MAP_WIDTH + MAP_GAP)
        page.label(title, left=left, height=0.28, size=10.5)
        draw(page.axes(left, MAP_WIDTH, height, down=0.28))
        for line, caption in enumerate(captions):
            down = 0.3 + height + line * LABEL_HEIGHT
            page.label(caption, left=left, height=LABEL_HEIGHT, size=8.5, down=down)
    page.skip(0.3 + height + 2 * LABEL_HEIGHT + 0.12)


def _say_windows(block: BlockView) -> tuple[str, str]:
    layout = block.layout
    (padded_h, padded_w), (rows, columns) = layout.padded_hw, layout.grid_hw
    padded = f"hatched: padded to {padded_h} x {padded_w}" if layout.padding.any() else "nothing is padded"
    return f"{rows} x {columns} windows; {padded}", "framed: the window of the marked token"


def _say_shift(block: BlockView) -> tuple[str, str]:
    rows, columns = block.layout.shift
    if not rows and not columns:
        return "not shifted", "one window covers the map" if block.shift_size else "windows are of one token"
    return f"shifted by {rows} rows, {columns} columns", "one colour: one window, joined by the roll"


def _say_field(view: RowView) -> tuple[str, str]:
    """How much of the gradient lies within the token's window of the first block."""
    (piece,) = view.blocks[0].layout.pieces(view.blocks[0].window).values()
    rows, columns = (
        slice(a * view.stride, b * view.stride) for a, b in ((piece.top, piece.bottom), (piece.left, piece.right))
    )
    total = float(view.receptive_field.sum())
    inside = float(view.receptive_field[rows, columns].sum()) / total if total else 0.0
    scale = f"logarithmic, white: below 1/{10**DECADES} of the largest"
    return f"{inside:.0%} of the gradient is in the window of (a)", scale


def _add_masks(page: TallFigure, block: BlockView) -> None:
    """The different masks of the shifted block, and of which pieces such a window is put together."""
    if block.mask is None:
        page.label("(d) Shift mask: none, since nothing is shifted", height=0.28, size=10.5)
        page.skip(0.44)
        return
    title = "(d) Shift masks: which tokens (columns) a token (row) attends to, blue; the others get -100 added"
    page.label(title, height=0.28, size=10.5)
    page.skip(0.28)
    for i, (kind, windows) in enumerate(block.layout.kinds().items()):
        left = i * MASK_PITCH
        number = f"{len(windows)} window{'s' if len(windows) > 1 else ''}"
        page.label(f"{number}: {kind}", left=left, height=LABEL_HEIGHT, size=9)
        draw_pieces(page.axes(left, PIECES_SIDE, PIECES_SIDE, down=LABEL_HEIGHT), block, windows[0])
        mask_left = left + PIECES_SIDE + 0.12
        draw_mask(page.axes(mask_left, LARGEST_SQUARE, LARGEST_SQUARE, down=LABEL_HEIGHT), block, windows[0])
    page.skip(LABEL_HEIGHT + LARGEST_SQUARE + 0.2)


def _add_block(page: TallFigure, view: RowView, block: BlockView, number: int) -> None:
    """Attention of the token, and relative position bias, of every head of a block."""
    page.label(f"Block {number}, {block.name}", size=11.5, height=0.3, bold=True)
    page.skip(0.3)
    heads, tokens = block.attention.shape
    # Even attention is then pale, and not as dark as can be.
    most, largest = max(float(block.attention.max()), 3 / tokens), float(np.abs(block.bias).max())
    attention, bias = _squares(block.attention), _squares(block.bias)

    def attend(axes: Axes, column: int, share: np.ndarray) -> None:
        draw_attention(axes, column, view, block, share / most)

    def offset(axes: Axes, column: int, values: np.ndarray) -> None:
        draw_bias(axes, column, values, largest)

    beside = heads <= HEADS_BESIDE
    width = STRIP_WIDTH if beside else WIDTH
    titles = "Attention of the marked token", "Relative position bias by offset"
    bars = (SHARES, "0", f"{most:.0%}"), (BIASES, f"{-largest:.2f}", f"{largest:.2f}")
    height = _add_strip(page, 0, width, titles[0], bars[0], attention, attend)
    if not beside:
        page.skip(height)
    height = _add_strip(page, STRIP_WIDTH + STRIP_GAP if beside else 0, width, titles[1], bars[1], bias, offset)
    page.skip(height + 0.08)


def _squares(heads: np.ndarray) -> dict[str, np.ndarray]:
    """Values (nH, ...) by the label of their square, the mean of several first."""
    mean = {"mean": heads.mean(0)} if len(heads) > 1 else {}
    return mean | {f"head {i}": values for i, values in enumerate(heads, 1)}


def _add_strip(
    page: TallFigure,
    left: float,
    width: float,
    title: str,
    bar: tuple[Colormap, str, str],
    squares: dict[str, np.ndarray],
    draw: Callable[[Axes, int, np.ndarray], None],
) -> float:
    """A titled row of squares, or several where there are many heads; gives the height in inches."""
    page.label(title, left=left, height=0.24, size=9.5)
    _add_colour_bar(page, left + width, *bar)
    columns = min(len(squares), 1 + HEADS_IN_LINE)
    side = min(width / strip_width(columns), LARGEST_SQUARE)
    labels, down = list(squares), 0.24
    lines = [labels[: 1 + HEADS_IN_LINE]]
    rest = labels[1 + HEADS_IN_LINE :]
    lines += [["", *rest[i : i + HEADS_IN_LINE]] for i in range(0, len(rest), HEADS_IN_LINE)]
    for line in lines:
        axes = page.axes(left, side * strip_width(columns), side, down=down + LABEL_HEIGHT)
        strip_axes(axes, columns, line)
        for column, label in enumerate(line):
            if label:
                draw(axes, column, squares[label])
        down += LABEL_HEIGHT + side + 0.05
    return down + 0.08


def _add_colour_bar(page: TallFigure, right: float, colours: Colormap, low: str, high: str) -> None:
    """A small bar that ends `right` inches from the left edge, its ends labelled beside it."""
    axes = page.axes(right - 2.0, 2.0, 0.24)
    axes.set(xlim=(0, 2.0), ylim=(0, 0.24))
    axes.imshow(colours(np.linspace(0, 1, 128))[None], extent=(0.55, 1.45, 0.07, 0.17), aspect="auto")
    axes.text(0.5, 0.12, low, fontsize=8.5, color=INK, ha="right", va="center_baseline")
    axes.text(1.5, 0.12, high, fontsize=8.5, color=INK, ha="left", va="center_baseline")

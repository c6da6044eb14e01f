"""Small squares side by side, one for each head of a block: its attention over a window, its bias by offset.

Squares have the side 1 in the axes' data, and `GAP` between them; y points down.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle as Patch

from swin_yolo.report.figure import INK
from swin_yolo.report.window_maps import tinted
from swin_yolo.report.window_views import BlockView, RowView

GAP = 0.1
BIASES = colormaps["RdBu"]  # blue where attention is raised, as in all of the picture
MASKS = ListedColormap(["#e0e0e0", "#2f7fbc"])
REGIONS = ListedColormap(["#9ecae1", "#fdd0a2", "#c7e9c0", "#dadaeb"])
HATCHES = 24


def strip_width(columns: int) -> float:
    """Of `columns` squares, in sides of a square."""
    return columns * (1 + GAP) - GAP


def strip_axes(axes: Axes, columns: int, labels: Sequence[str]) -> None:
    """Set axes up for `columns` squares, the first ones labelled above."""
    axes.set(xlim=(0, strip_width(columns)), ylim=(1, 0), aspect="equal", anchor="NW")
    for column, label in enumerate(labels):
        axes.text(column * (1 + GAP) + 0.5, -0.05, label, fontsize=9, color=INK, ha="center", va="bottom")


def draw_attention(axes: Axes, column: int, view: RowView, block: BlockView, share: np.ndarray) -> None:
    """The window of the token as the block sees it, rolled and padded, in the colours of each token's share.

    Args:
        axes: set up by `strip_axes`.
        column: of the square.
        view: the row.
        block: one of its blocks.
        share: (N,) 0..1.
    """
    side, stride = block.layout.window_size, view.stride
    picture = window_picture(view, block)
    shares = np.kron(share.reshape(side, side), np.ones((stride, stride)))
    left = column * (1 + GAP)
    axes.imshow(tinted(picture, shares), extent=(left, left + 1, 1, 0))
    _draw_cuts(axes, left, block.layout.regions[block.window].reshape(side, side).numpy())
    row, place = divmod(block.token, side)
    for colour, width in (("white", 2.4), (INK, 1.2)):
        corner = left + place / side, row / side
        axes.add_patch(Patch(corner, 1 / side, 1 / side, fill=False, edgecolor=colour, linewidth=width))
    _frame(axes, left)


def draw_bias(axes: Axes, column: int, bias: np.ndarray, largest: float) -> None:
    """A (2w - 1, 2w - 1) bias around the token that attends, from -`largest` blue to `largest` red."""
    left = column * (1 + GAP)
    scaled = bias / (2 * largest) + 0.5 if largest else np.full_like(bias, 0.5)
    axes.imshow(BIASES(scaled), extent=(left, left + 1, 1, 0), interpolation="nearest")
    side = len(bias)
    middle = (side // 2) / side
    axes.add_patch(Patch((left + middle, middle), 1 / side, 1 / side, fill=False, edgecolor=INK, lw=0.9))
    _frame(axes, left)


def draw_mask(axes: Axes, block: BlockView, window: int) -> None:
    """The (N, N) mask of a window: blue where a token (row) attends to a token (column)."""
    assert block.mask is not None
    strip_axes(axes, 1, [])
    axes.imshow(MASKS((block.mask[window] == 0).astype(int)), extent=(0, 1, 1, 0), interpolation="nearest")
    _frame(axes, 0)


def draw_pieces(axes: Axes, block: BlockView, window: int) -> None:
    """The (w, w) tokens of a window, one shade for those that were neighbours before the roll."""
    side = block.layout.window_size
    regions = block.layout.regions[window].reshape(side, side).numpy()
    strip_axes(axes, 1, [])
    axes.imshow(REGIONS(regions), extent=(0, 1, 1, 0), interpolation="nearest")
    for i in range(1, side):
        axes.plot([i / side] * 2, [0, 1], color="white", linewidth=0.6)
        axes.plot([0, 1], [i / side] * 2, color="white", linewidth=0.6)
    _draw_cuts(axes, 0, regions)
    _frame(axes, 0)


def window_picture(view: RowView, block: BlockView) -> np.ndarray:
    """(w stride, w stride, 3) uint8: the image under the tokens of the block's window, hatched where there is none."""
    side, stride = block.layout.window_size, view.stride
    picture = _hatched(side * stride)
    for token, (row, column) in enumerate(block.layout.places[block.window].tolist()):
        # Of a token of padding it is empty: the image ends where the map does.
        part = view.network_rgb[row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
        top, left = (place * stride for place in divmod(token, side))
        picture[top : top + part.shape[0], left : left + part.shape[1]] = part
    return picture


def _hatched(side: int) -> np.ndarray:
    """(side, side, 3) uint8: light grey with `HATCHES` diagonal lines."""
    place = np.arange(side)
    phase = (place[:, None] + place) * HATCHES % (2 * side) / (2 * side)
    return np.where(phase[..., None] < 0.25, np.uint8(150), np.uint8(250)).repeat(3, -1)


def _draw_cuts(axes: Axes, left: float, regions: np.ndarray) -> None:
    """Lines where tokens meet that were no neighbours before the roll."""
    side = len(regions)
    for cut in np.flatnonzero(regions[0, 1:] != regions[0, :-1]) + 1:
        axes.plot([left + cut / side] * 2, [0, 1], color=INK, linewidth=1.2)
    for cut in np.flatnonzero(regions[1:, 0] != regions[:-1, 0]) + 1:
        axes.plot([left, left + 1], [cut / side] * 2, color=INK, linewidth=1.2)


def _frame(axes: Axes, left: float) -> None:
    axes.add_patch(Patch((left, 0), 1, 1, fill=False, edgecolor="#999999", linewidth=0.6))

"""Pictures of a whole image with windows, or a receptive field, on it.

Axes are in pixels of the image as the network takes it; what a map is padded by lies beyond the image.
"""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle as Patch
from matplotlib.patheffects import Normal, Stroke

from swin_yolo.nn.window_layout import Rectangle, WindowLayout
from swin_yolo.report.figure import INK
from swin_yolo.report.palette import class_colours, hex_colour
from swin_yolo.report.window_views import BlockView, RowView

SHARES = colormaps["Blues"]  # from 0 to 1
DECADES = 4  # of the receptive field
FRAME = hex_colour(class_colours(2)[1])
MANY_WINDOWS = 8  # on an axis
PADDING: dict[str, Any] = {"facecolor": "#f2f2f2", "edgecolor": "#c4c4c4", "hatch": "////", "linewidth": 0}
# Of windows that the roll puts together from both ends of the map.
JOINED = [hex_colour(colour) for colour in class_colours(128)[2:]]


def draw_windows(axes: Axes, view: RowView, block: BlockView) -> None:
    """The image with the windows of a block, and the token's window; windows in several pieces are coloured."""
    layout, stride = block.layout, view.stride
    _ground(axes, view, layout)
    axes.imshow(view.network_rgb, extent=_extent(view.network_rgb))
    lines: dict[str, Any] = {"edgecolor": "white", "linewidth": 1.1 * _weight(view)}
    if _weight(view) == 1:
        lines["path_effects"] = [Stroke(linewidth=2.2, foreground="#00000080"), Normal()]
    joined = 0
    for window in range(len(layout.places)):
        pieces = layout.pieces(window).values()
        for piece in pieces:
            if len(pieces) > 1:
                colour = JOINED[joined % len(JOINED)]
                axes.add_patch(_patch(piece, stride, facecolor=colour, alpha=0.5, linewidth=0))
            axes.add_patch(_patch(piece, stride, fill=False, **lines))
        joined += len(pieces) > 1
    draw_own_window(axes, view, block)
    mark_token(axes, view)


def draw_own_window(axes: Axes, view: RowView, block: BlockView) -> None:
    """The window of the token: the part that it attends to, and dashed the parts that are masked."""
    own = int(block.layout.regions[block.window, block.token])
    for region, piece in block.layout.pieces(block.window).items():
        style = "-" if region == own else (0, (2, 1.5))
        for colour, width in (("white", 3.6), (FRAME, 2.0)):
            lines = {"edgecolor": colour, "linewidth": width * _weight(view), "linestyle": style}
            axes.add_patch(_patch(piece, view.stride, fill=False, **lines))


def draw_receptive_field(axes: Axes, view: RowView) -> None:
    """The image in grey with the gradient on it: the logarithm of its share of the largest, over `DECADES`."""
    _ground(axes, view, view.blocks[0].layout)
    largest = max(float(view.receptive_field.max()), np.finfo(np.float32).tiny)
    decades = np.log10(np.maximum(view.receptive_field / largest, 10.0**-DECADES))
    axes.imshow(tinted(view.network_rgb, 1 + decades / DECADES), extent=_extent(view.network_rgb))
    for block in view.blocks[:2]:
        draw_own_window(axes, view, block)
    mark_token(axes, view)


def mark_token(axes: Axes, view: RowView) -> None:
    """Frame the token that lies under the pixel."""
    row, column = view.token
    token = Rectangle(row, column, row + 1, column + 1)
    for colour, width in (("white", 3.2), (INK, 1.6)):
        lines = {"edgecolor": colour, "linewidth": width * _weight(view)}
        axes.add_patch(_patch(token, view.stride, fill=False, **lines))


def tinted(rgb: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(H, W, 3) 0..1: an image in light grey, in the colour of each pixel's share (H, W) of 0..1."""
    grey = rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    return (1 - (1 - grey[..., None]) * 0.22) * SHARES(share)[..., :3]


def _weight(view: RowView) -> float:
    """Of lines: half where windows are so many that they would be hidden by them."""
    return 0.5 if max(view.blocks[0].layout.grid_hw) > MANY_WINDOWS else 1.0


def _ground(axes: Axes, view: RowView, layout: WindowLayout) -> None:
    """Axes of the padded map, hatched."""
    height, width = (size * view.stride for size in layout.padded_hw)
    axes.add_patch(Patch((0, 0), width, height, **PADDING, zorder=-1))
    margin = width / 200
    axes.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin), aspect="equal")


def _extent(rgb: np.ndarray) -> tuple[float, float, float, float]:
    return 0, rgb.shape[1], rgb.shape[0], 0


def _patch(piece: Rectangle, stride: int, **style: Any) -> Patch:
    width, height = piece.right - piece.left, piece.bottom - piece.top
    return Patch((piece.left * stride, piece.top * stride), width * stride, height * stride, **style)

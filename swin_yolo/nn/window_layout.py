"""Where the windows of window attention lie on the map they were cut from: what `window`'s roll and mask stand for.

For whoever looks at a layer; the layer itself does without. "True" places are those on the padded map before the roll.

Shapes: `H W` map in tokens, `nW` windows per image, `N` tokens per window.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .window import effective_shift, padded_size, window_partition


class Rectangle(NamedTuple):
    """Part of a map in tokens; `bottom` and `right` are the first ones beyond it."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, eq=False)
class WindowLayout:
    """The windows of one (shifted) window attention.

    Attributes:
        map_hw: (H, W) of the map.
        padded_hw: (H, W) of the map padded below and to the right to whole windows.
        window_size: side of a window in tokens.
        shift: (rows, columns) that the padded map is rolled by; 0 on an axis that one window covers.
        places: (nW, N, 2) int64 true row and column of each token of each window.
        regions: (nW, N) int64, 0 to 3: which tokens of a window were neighbours before the roll. Bit 0 is set where
            the roll brought a token round from the left edge to the right, bit 1 from the upper edge to the lower.
    """

    map_hw: tuple[int, int]
    padded_hw: tuple[int, int]
    window_size: int
    shift: tuple[int, int]
    places: Tensor
    regions: Tensor

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of windows."""
        return self.padded_hw[0] // self.window_size, self.padded_hw[1] // self.window_size

    @property
    def padding(self) -> Tensor:
        """(nW, N) bool: which tokens lie beyond the map."""
        return (self.places >= torch.tensor(self.map_hw)).any(-1)

    def find(self, row: int, column: int) -> tuple[int, int]:
        """Window, and place in it, of the token at a true row and column."""
        window, token = (self.places == torch.tensor([row, column])).all(-1).nonzero()[0].tolist()
        return window, token

    def pieces(self, window: int) -> dict[int, Rectangle]:
        """Where the regions of a window truly lie on the padded map: one rectangle, or up to four, by region."""
        found = {}
        for region in self.regions[window].unique().tolist():
            places = self.places[window, self.regions[window] == region]
            (top, left), (bottom, right) = places.amin(0).tolist(), (places.amax(0) + 1).tolist()
            found[region] = Rectangle(top, left, bottom, right)
        return found

    def kinds(self) -> dict[str, list[int]]:
        """Windows by how the roll cuts them, which is all that the mask of SW-MSA depends on; kinds that occur."""
        rows, columns = self.grid_hw
        kinds: dict[str, list[int]] = {name: [] for name in ("whole", "right edge", "lower edge", "corner")}
        for window in range(rows * columns):
            right = self.shift[1] > 0 and window % columns == columns - 1
            lower = self.shift[0] > 0 and window // columns == rows - 1
            kinds["corner" if right and lower else "right edge" if right else "lower edge" if lower else "whole"] += [
                window
            ]
        return {name: windows for name, windows in kinds.items() if windows}


def window_layout(H: int, W: int, window_size: int, shift_size: int) -> WindowLayout:
    """The windows that `shifted_window_attention` attends in.

    Args:
        H: map height in tokens.
        W: map width in tokens.
        window_size: side of a window in tokens.
        shift_size: of the block; 0 for W-MSA.
    """
    padded_hw = padded_size(H, window_size), padded_size(W, window_size)
    shift = effective_shift(*padded_hw, window_size, shift_size)
    axes = [torch.arange(size) for size in padded_hw]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)[None]  # 1 H W 2
    rolled = places.roll((-shift[0], -shift[1]), (1, 2))
    came_round = window_partition((rolled < places).long(), window_size)  # nW N 2
    return WindowLayout(
        map_hw=(H, W),
        padded_hw=padded_hw,
        window_size=window_size,
        shift=shift,
        places=window_partition(rolled, window_size),
        regions=came_round[..., 0] * 2 + came_round[..., 1],
    )

"""What is to be shown of the Swin blocks of a model row.

Shapes: `H W` image in pixels, `w` window side, `N` = w^2 tokens per window, `nW` windows, `nH` heads.
"""

from dataclasses import dataclass

import numpy as np

from swin_yolo.nn.window_layout import WindowLayout


@dataclass(frozen=True, eq=False)
class BlockView:
    """One block, and one token in it.

    Attributes:
        layout: its windows.
        shift_size: of the block; 0 for W-MSA. The map may be too small to be shifted by it.
        mask: (nW, N, N) added to its logits; None where nothing is shifted.
        window: the one that holds the token.
        token: place of the token in it.
        attention: (nH, N) how much the token takes of each token of the window.
        bias: (nH, 2w - 1, 2w - 1) relative position bias, the token that attends in the middle.
    """

    layout: WindowLayout
    shift_size: int
    mask: np.ndarray | None
    window: int
    token: int
    attention: np.ndarray
    bias: np.ndarray

    @property
    def name(self) -> str:
        """As the article names it."""
        return "SW-MSA" if self.shift_size else "W-MSA"


@dataclass(frozen=True, eq=False)
class RowView:
    """One row, and one token of its map.

    Attributes:
        number: of the row in the YAML.
        layer: its name.
        network_rgb: (H, W, 3) uint8, the image as the network takes it.
        stride: side of a token in pixels.
        token: (row, column) on the map.
        image_name: of the image's file.
        at: (x, y) of the pixel that chose the token, in the image itself.
        blocks: in the order in which they run, pairs of W-MSA and SW-MSA.
        receptive_field: (H, W) gradient of the row's output at the token by the image.
    """

    number: int
    layer: str
    network_rgb: np.ndarray
    stride: int
    token: tuple[int, int]
    image_name: str
    at: tuple[int, int]
    blocks: list[BlockView]
    receptive_field: np.ndarray

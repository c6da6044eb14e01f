"""YOLOv5's C3 with Swin blocks in the place of its bottlenecks.

The idea is TPH-YOLOv5's (arXiv 2108.11539, Sec. 3.2: transformer blocks in C3) with windowed attention.

Shapes: `B` batch, `H W` map in tokens.
"""

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Conv

from .swin import SwinStage


class C3STR(nn.Module):
    """CSP block whose inner path is a Swin stage: cv3(cat(stage(cv1(x)), cv2(x))).

    YAML row, channels width-scaled and depth depth-scaled as for C3:
    `[from, depth, C3STR, [c2, shortcut, window_size, mlp_ratio, local, e]]`.

    Args:
        c1: channels in.
        c2: channels out.
        n: Swin blocks; an odd number gets the next even one.
        shortcut: as in C3, whether the inner path carries the identity too; without it the stage gives only what its
            blocks add.
        window_size: side of a window in tokens.
        mlp_ratio: hidden channels of the MLPs as a multiple of the inner channels.
        local: depthwise 3x3 terms in every block, see `SwinBlock`.
        e: inner channels as a fraction of `c2`.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        n: int = 2,
        shortcut: bool = True,
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        local: bool = False,
        e: float = 0.5,
    ):
        super().__init__()
        if not isinstance(shortcut, bool):
            raise ValueError(f"shortcut must be True or False, got {shortcut!r}")
        hidden = int(c2 * e)
        if hidden < 1:
            raise ValueError(f"e must give at least one inner channel, got e={e}, c2={c2}")
        self.shortcut = shortcut
        self.cv1 = Conv(c1, hidden, 1, 1)
        self.cv2 = Conv(c1, hidden, 1, 1)
        self.cv3 = Conv(2 * hidden, c2, 1)
        self.m = SwinStage(hidden, hidden, n, window_size, mlp_ratio, local)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W), any H and W from 1 up."""
        inner = self.cv1(x)
        y = self.m(inner)
        if not self.shortcut:
            y = y - inner
        return self.cv3(torch.cat((y, self.cv2(x)), 1))

"""Layers between Swin stages: patch embedding, patch merging and the norm of maps (arXiv 2103.14030, Sec. 3.1).

All take and give NCHW. Shapes: `B` batch, `H W` map, `C` channels.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .arguments import check_positive_int
from .linear import linear
from .swin import init_linear


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of an NCHW map. YAML row: `[from, 1, LayerNorm2d, []]`, keeps the channels."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens: strided convolution, then LayerNorm (Swin, Sec. 3.1).

    YAML row: `[from, 1, PatchEmbed, [c2, patch_size]]`, channels scaled as for Conv.

    Args:
        c1: channels in.
        c2: channels out.
        patch_size: side of a patch in pixels. Sizes that it does not divide are padded below and to the right.
    """

    def __init__(self, c1: int, c2: int, patch_size: int = 4):
        super().__init__()
        check_positive_int("patch_size", patch_size)
        self.patch_size = patch_size
        self.proj = nn.Conv2d(c1, c2, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(c2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, ceil(H / patch_size), ceil(W / patch_size))."""
        H, W = x.shape[2:]
        below, right = -H % self.patch_size, -W % self.patch_size
        if below or right:
            x = F.pad(x, (0, right, 0, below))
        return self.norm(self.proj(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PatchMerging(nn.Module):
    """Halve the resolution: each 2x2 neighbourhood is concatenated, normed and mapped linearly (Swin, Sec. 3.1).

    YAML row: `[from, 1, PatchMerging, [c2]]`, channels scaled as for Conv.

    Args:
        c1: channels in.
        c2: channels out; None for the article's 2 c1.
    """

    def __init__(self, c1: int, c2: int | None = None):
        super().__init__()
        self.norm = nn.LayerNorm(4 * c1)
        self.reduction = nn.Linear(4 * c1, 2 * c1 if c2 is None else c2, bias=False)
        init_linear(self.reduction)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, ceil(H / 2), ceil(W / 2))."""
        x = x.permute(0, 2, 3, 1)  # B H W C
        H, W = x.shape[1:3]
        if H % 2 or W % 2:
            x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
        # Columns before rows inside a patch, as the release concatenates them.
        x = rearrange(x, "b (h p) (w q) c -> b h w (q p c)", p=2, q=2)
        return linear(self.norm(x), self.reduction).permute(0, 3, 1, 2)

"""Swin blocks, stages and the whole backbone (arXiv 2103.14030).

Layers that a model YAML names take and give NCHW; inside, maps are NHWC. In channels_last memory format the permutes
between the two move nothing.

Shapes: `B` batch, `H W` map in tokens, `C` channels.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from .attention import WindowAttention, check_positive_int, shifted_window_attention


def nearest_num_heads(dim: int) -> int:
    """The divisor of `dim` nearest to dim / 32, the article's head width; at least 1, the smaller of two as near."""
    divisors = (h for h in range(1, dim + 1) if dim % h == 0)
    return min(divisors, key=lambda h: abs(h - dim / 32))


class DepthwiseConv(nn.Conv2d):
    """Depthwise 3x3 convolution of an NHWC map, zero at the start, so that it adds nothing until it has learnt."""

    def __init__(self, dim: int):
        super().__init__(dim, dim, 3, padding=1, groups=dim)

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Mlp(nn.Module):
    """Two linear layers with GELU between, and a local term in the hidden layer if asked for.

    Args:
        dim: channels in and out.
        mlp_ratio: hidden channels as a multiple of `dim`.
        local: add a depthwise 3x3 of the hidden map to it (LocalViT, arXiv 2104.05707), zero at the start.
    """

    def __init__(self, dim: int, *, mlp_ratio: float = 4.0, local: bool = False):
        super().__init__()
        hidden = int(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio must give at least one hidden channel, got mlp_ratio={mlp_ratio}, dim={dim}")
        self.fc1 = nn.Linear(dim, hidden)
        self.local = DepthwiseConv(hidden) if local else None
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        x = F.gelu(self.fc1(x))
        if self.local is not None:
            x = x + self.local(x)
        return self.fc2(x)


class SwinBlock(nn.Module):
    """x + (S)W-MSA(LN(x)), then x + MLP(LN(x)) (Swin, Eq. 3).

    Args:
        dim: channels C.
        num_heads: attention heads; divides `dim`.
        window_size: side of a window in tokens.
        shift_size: 0 for W-MSA, window_size // 2 for SW-MSA.
        mlp_ratio: hidden channels of the MLP as a multiple of `dim`.
        local: add a depthwise 3x3 before attention (conditional position encoding, arXiv 2102.10882) and one inside
            the MLP (arXiv 2104.05707), both zero at the start, so that Swin weights keep their function.
        drop_path: probability of leaving a residual branch out for one sample in training.

    Raises:
        ValueError: if `num_heads` does not divide `dim`, or `shift_size` is outside [0, window_size).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window_size: int = 7,
        shift_size: int = 0,
        mlp_ratio: float = 4.0,
        local: bool = False,
        drop_path: float = 0.0,
    ):
        super().__init__()
        self.attn = WindowAttention(dim, window_size, num_heads)
        if not 0 <= shift_size < window_size:
            raise ValueError(f"shift_size must be in [0, {window_size}), got {shift_size}")
        self.shift_size = shift_size
        self.local = DepthwiseConv(dim) if local else None
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_ratio=mlp_ratio, local=local)
        self.drop_path = StochasticDepth(drop_path, "row")
        self.apply(_init_linear)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C), any H and W from 1 up."""
        if self.local is not None:
            x = x + self.local(x)
        x = x + self.drop_path(shifted_window_attention(self.norm1(x), self.attn, self.shift_size))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class SwinStage(nn.Module):
    """Pairs of W-MSA and SW-MSA blocks at one resolution.

    YAML row, channels width-scaled and depth depth-scaled as for C3:
    `[from, depth, SwinStage, [c2, window_size, mlp_ratio, local, num_heads, zero_init]]`.

    Args:
        c1: channels in; where they differ from `c2`, a linear layer maps them first.
        c2: channels out.
        depth: blocks; an odd number gets the next even one, so that every W-MSA is followed by its SW-MSA.
        window_size: side of a window in tokens.
        mlp_ratio: hidden channels of the MLPs as a multiple of `c2`.
        local: depthwise 3x3 terms in every block, see `SwinBlock`.
        num_heads: attention heads; None takes the divisor of `c2` nearest to c2 / 32.
        zero_init: start as the identity (last projection of every branch zero), for inserting behind trained layers.
        drop_path: drop probability of every block, or one for each.

    Raises:
        ValueError: if a size is not a positive integer, the heads do not divide `c2`, or `zero_init` is asked for
            where c1 and c2 differ.
    """

    def __init__(
        self,
        c1: int,
        c2: int,
        depth: int = 2,
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        local: bool = False,
        num_heads: int | None = None,
        zero_init: bool = False,
        *,
        drop_path: float | list[float] = 0.0,
    ):
        super().__init__()
        check_positive_int("depth", depth)
        check_positive_int("window_size", window_size)
        if zero_init and c1 != c2:
            raise ValueError(f"zero_init needs as many channels out as in, got c1={c1}, c2={c2}")
        depth += depth % 2
        num_heads = nearest_num_heads(c2) if num_heads is None else num_heads
        rates = drop_path if isinstance(drop_path, list) else [drop_path] * depth
        self.proj_in = nn.Linear(c1, c2) if c1 != c2 else None
        self.blocks = nn.ModuleList(
            SwinBlock(
                c2,
                num_heads,
                window_size=window_size,
                shift_size=window_size // 2 if i % 2 else 0,
                mlp_ratio=mlp_ratio,
                local=local,
                drop_path=rates[i],
            )
            for i in range(depth)
        )
        if self.proj_in is not None:
            _init_linear(self.proj_in)
        if zero_init:
            for block in self.blocks:
                for linear in (block.attn.proj, block.mlp.fc2):
                    nn.init.zeros_(linear.weight)
                    nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W), any H and W from 1 up."""
        x = x.permute(0, 2, 3, 1)  # B H W C
        if self.proj_in is not None:
            x = self.proj_in(x)
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)  # B C H W


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
        _init_linear(self.reduction)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, ceil(H / 2), ceil(W / 2))."""
        x = x.permute(0, 2, 3, 1)  # B H W C
        H, W = x.shape[1:3]
        if H % 2 or W % 2:
            x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
        # Columns before rows inside a patch, as the release concatenates them.
        x = rearrange(x, "b (h p) (w q) c -> b h w (q p c)", p=2, q=2)
        return self.reduction(self.norm(x)).permute(0, 3, 1, 2)


class SwinTransformer(nn.Module):
    """Swin v1 classifier (arXiv 2103.14030, Sec. 3.3).

    Args:
        embed_dim: channels of the first stage; each later stage doubles them.
        depths: blocks of each stage.
        num_heads: heads of each stage.
        window_size: side of a window in tokens.
        mlp_ratio: hidden channels of the MLPs as a multiple of the stage's.
        patch_size: side of a patch in pixels.
        num_classes: width of the classifier.
        local: local terms in every block, see `SwinBlock`.
        drop_path: drop probability of the last block; the others rise to it linearly from 0.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        patch_size: int = 4,
        num_classes: int = 1000,
        local: bool = False,
        drop_path: float = 0.0,
    ):
        super().__init__()
        rates = torch.linspace(0, drop_path, sum(depths)).split(list(depths))
        dims = [embed_dim * 2**i for i in range(len(depths))]
        self.patch_embed = PatchEmbed(3, embed_dim, patch_size)
        self.stages = nn.ModuleList(
            SwinStage(dim, dim, depth, window_size, mlp_ratio, local, heads, drop_path=rate.tolist())
            for dim, depth, heads, rate in zip(dims, depths, num_heads, rates, strict=True)
        )
        self.downsamples = nn.ModuleList(PatchMerging(dim) for dim in dims[:-1])
        self.norm = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        _init_linear(self.head)

    def forward_features(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the NCHW maps of all stages, at strides 4, 8, 16, 32."""
        x = self.patch_embed(x)
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(self.downsamples[i - 1](x) if i else x)
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, num_classes) logits."""
        x = self.norm(self.forward_features(x)[-1].permute(0, 2, 3, 1))  # B H W C
        return self.head(x.mean(dim=(1, 2)))


def swin_t(*, num_classes: int = 1000, local: bool = False, drop_path: float = 0.2) -> SwinTransformer:
    """Swin-T: 28,288,354 parameters at 1000 classes."""
    return SwinTransformer(num_classes=num_classes, local=local, drop_path=drop_path)


def swin_s(*, num_classes: int = 1000, local: bool = False, drop_path: float = 0.3) -> SwinTransformer:
    """Swin-S: 49,606,258 parameters at 1000 classes."""
    return SwinTransformer(depths=(2, 2, 18, 2), num_classes=num_classes, local=local, drop_path=drop_path)


def swin_b(*, num_classes: int = 1000, local: bool = False, drop_path: float = 0.5) -> SwinTransformer:
    """Swin-B: 87,768,224 parameters at 1000 classes."""
    return SwinTransformer(
        embed_dim=128,
        depths=(2, 2, 18, 2),
        num_heads=(4, 8, 16, 32),
        num_classes=num_classes,
        local=local,
        drop_path=drop_path,
    )


def swin_l(*, num_classes: int = 1000, local: bool = False, drop_path: float = 0.5) -> SwinTransformer:
    """Swin-L: 196,532,476 parameters at 1000 classes."""
    return SwinTransformer(
        embed_dim=192,
        depths=(2, 2, 18, 2),
        num_heads=(6, 12, 24, 48),
        num_classes=num_classes,
        local=local,
        drop_path=drop_path,
    )


def set_drop_path(model: nn.Module, rate: float) -> int:
    """Set the drop probability of all Swin blocks of a model: 0 at the first, rising linearly to `rate` at the last.

    Returns:
        How many blocks were set.
    """
    blocks = [m for m in model.modules() if isinstance(m, SwinBlock)]
    for block, p in zip(blocks, torch.linspace(0, rate, len(blocks)).tolist(), strict=True):
        block.drop_path.p = p
    return len(blocks)


def _init_linear(module: nn.Module) -> None:
    """Weights of linear layers as the release initialises them: truncated normal of 0.02, bias 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

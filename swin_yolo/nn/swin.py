"""Swin blocks and stages (arXiv 2103.14030, Sec. 3).

Layers that a model YAML names take and give NCHW; inside, maps are NHWC. In channels_last memory format the permutes
between the two move nothing.

Shapes: `B` batch, `H W` map in tokens, `C` channels.
"""

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from .arguments import check_positive_int
from .attention import WindowAttention, shifted_window_attention
from .linear import has_hooks, is_traced, is_transformed, linear
from .piecewise import Depth, attention_in_pieces, mlp_in_pieces
from .piecewise_training import attention_in_training, mlp_in_training


def nearest_num_heads(dim: int) -> int:
    """The divisor of `dim` nearest to dim / 32, the article's head width; at least 1, the smaller of two as near."""
    divisors = (h for h in range(1, dim + 1) if dim % h == 0)
    return min(divisors, key=lambda h: abs(h - dim / 32))


class DepthwiseConv(nn.Conv2d):
    """An NHWC map and a depthwise 3x3 convolution of it, zero at the start, so that it adds nothing until it learns."""

    def __init__(self, dim: int):
        super().__init__(dim, dim, 3, padding=1, groups=dim)

    def reset_parameters(self) -> None:
        """Set weight and bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        x = x.permute(0, 3, 1, 2)
        term = super().forward(x)
        # In place where nothing changes by it: the pages of a further map can cost more than all that is computed here.
        same = term.dtype == x.dtype and not is_traced(x)
        return (term.add_(x) if same else x + term).permute(0, 2, 3, 1)


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
        x = linear(x, self.fc1, gelu=True)
        if self.local is not None:
            x = self.local(x)
        return linear(x, self.fc2)


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
        self.apply(init_linear)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C), any H and W from 1 up."""
        if self.local is not None:
            x = self.local(x)
        if is_traced(x) or not computes_in_pieces(self, x):
            x = x + self.drop_path(shifted_window_attention(self.norm1(x), self.attn, self.shift_size))
            return x + self.drop_path(self.mlp(self.norm2(x)))
        return self._in_training(x) if torch.is_grad_enabled() else self._in_inference(x)

    def _in_inference(self, x: Tensor) -> Tensor:
        x = attention_in_pieces(x, self.norm1, self.attn, self.shift_size, Depth.drawn(self.drop_path, x))
        if self.mlp.local is not None:
            return x.add_(self.drop_path(self.mlp(self.norm2(x))))
        return mlp_in_pieces(x, self.norm2, self.mlp.fc1, self.mlp.fc2, Depth.drawn(self.drop_path, x), out=x)

    def _in_training(self, x: Tensor) -> Tensor:
        x = attention_in_training(x, self.norm1, self.attn, self.shift_size, Depth.drawn(self.drop_path, x))
        if self.mlp.local is not None:
            return x + self.drop_path(self.mlp(self.norm2(x)))
        return mlp_in_training(x, self.norm2, self.mlp.fc1, self.mlp.fc2, Depth.drawn(self.drop_path, x))


_PARTS = WindowAttention, Mlp, nn.LayerNorm, nn.LayerNorm, StochasticDepth  # attention, MLP, norms, drop_path


def computes_in_pieces(block: SwinBlock, x: Tensor) -> bool:
    """Whether a block computes (B, H, W, C) `x` by `piecewise`: on a CPU, as long as it is as it was made.

    Another layer that was put in the place of one of its own computes in its own way. Whoever put a hook somewhere
    waits for whole maps. Gradients by `piecewise_training` are in fp32 and fp64, and of the block's own linear layers.
    """
    parts = block.attn, block.mlp, block.norm1, block.norm2, block.drop_path
    if x.device.type != "cpu" or tuple(map(type, parts)) != _PARTS:
        return False
    if has_hooks(*block.modules()) or is_transformed():
        return False
    if not torch.is_grad_enabled():
        return True
    if x.dtype not in (torch.float32, torch.float64) or torch.is_autocast_enabled("cpu"):
        return False
    linears = block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2
    own = all(type(each) is nn.Linear for each in linears)
    return own and all(type(p) is nn.Parameter and p.dtype == x.dtype for p in block.parameters())


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
        if len(rates) != depth:
            raise ValueError(f"drop_path must be one rate or {depth}, one for each block, got {rates}")
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
            init_linear(self.proj_in)
        if zero_init:
            for name, parameter in self.blocks.named_parameters():
                if ".attn.proj." in name or ".mlp.fc2." in name:
                    nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H, W), any H and W from 1 up."""
        last = x.is_contiguous(memory_format=torch.channels_last)
        x = x.permute(0, 2, 3, 1)  # B H W C
        if self.proj_in is not None:
            x = linear(x, self.proj_in)
        for block in self.blocks:
            x = block(x)
        x = x.permute(0, 3, 1, 2)  # B C H W
        # In the memory format that it came in: the layers behind would compute in another from here on.
        return x if last or is_traced(x) else x.contiguous()


def drop_path_rates(rate: float, blocks: int) -> list[float]:
    """Drop probability of each block: 0 at the first, rising linearly to `rate` at the last."""
    return [rate * i / max(blocks - 1, 1) for i in range(blocks)]


def set_drop_path(model: nn.Module, rate: float) -> int:
    """Set the drop probability of all Swin blocks of a model: 0 at the first, rising linearly to `rate` at the last.

    Returns:
        How many blocks were set.
    """
    blocks = [m for m in model.modules() if isinstance(m, SwinBlock)]
    for block, p in zip(blocks, drop_path_rates(rate, len(blocks)), strict=True):
        block.drop_path.p = p
    return len(blocks)


def init_linear(module: nn.Module) -> None:
    """Weights of linear layers as the release initialises them: truncated normal of 0.02, bias 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

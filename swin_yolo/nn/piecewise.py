"""The two branches of a Swin block on a CPU, a piece of the map at a time.

A block's whole intermediate maps (q, k, v, the hidden layer of the MLP) go to main memory and back; above 32 MB each
also comes from the operating system page by page. In pieces that the cache holds, they never leave it. Windows do not
look at each other, so the result is the same to rounding.

Shapes: `B` batch, `H W` map in tokens, `C` channels, `N` tokens per window, `nH` heads, `d` channels per head, `n`
windows of a piece.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from .attention import WindowAttention
from .linear import linear
from .pieces import layout, pieces, put_back, row_pieces


class Depth(NamedTuple):
    """Stochastic depth: which images of a batch have a branch, rising, and what its output is multiplied by there."""

    images: Sequence[int]
    scale: float

    @staticmethod
    def whole(B: int) -> "Depth":
        """Of all images, as it is."""
        return Depth(range(B), 1.0)

    @staticmethod
    def drawn(drop_path: StochasticDepth, x: Tensor) -> "Depth":
        """What `drop_path` draws for the images of `x`, (B, H, W, C)."""
        if not drop_path.training or not drop_path.p:
            return Depth.whole(len(x))
        factors = drop_path(x.new_ones(len(x), 1, 1, 1)).flatten().tolist()
        return Depth([number for number, factor in enumerate(factors) if factor], max(factors, default=1.0))


def attention_in_pieces(
    x: Tensor,
    norm: nn.LayerNorm,
    attention: WindowAttention,
    shift_size: int,
    depth: Depth,
    *,
    bias: Tensor | None = None,
    kept: list[Tensor] | None = None,
) -> Tensor:
    """The branch of attention added to its input, x + (S)W-MSA(norm(x)).

    Args:
        x: (B, H, W, C), any H and W from 1 up; left as it is.
        norm: of the branch.
        attention: the window attention.
        shift_size: 0 for W-MSA, window_size // 2 for SW-MSA.
        depth: the images that have the branch, and by how much it is multiplied there.
        bias: (nH, N, N) relative position bias; None takes it from `attention`.
        kept: gets two tensors of each piece, for gradients: (3, n nH, N, d) queries, keys and values, and (n nH, N, N)
            attention. In fp32 and fp64 alone.

    Returns:
        (B, H, W, C), contiguous.
    """
    B, H, W, C = x.shape
    images, scale = depth
    windows = layout(H, W, attention.window_size, shift_size)
    bias = attention.relative_position_bias() if bias is None else bias
    biases = bias + windows.masks[:, None].to(x.dtype)  # kinds nH N N
    tokens, out = x.reshape(-1, C), with_room(x, images).view(-1, C)
    for piece in pieces(windows, images, H * W):
        taken = tokens.index_select(0, piece.order.flatten())  # n*N C
        normed = norm(taken)
        if piece.beyond is not None:
            normed.masked_fill_(piece.beyond.flatten()[:, None], 0)
        attended = _attend(normed.view(*piece.order.shape, C), attention, biases.index_select(0, piece.kinds), kept)
        taken.add_(linear(attended, attention.proj).view(-1, C), alpha=scale)
        put_back(taken, piece, out)
    return out.view(B, H, W, C)


def mlp_in_pieces(
    x: Tensor,
    norm: nn.LayerNorm,
    fc1: nn.Linear,
    fc2: nn.Linear,
    depth: Depth,
    *,
    out: Tensor | None = None,
    kept: list[Tensor] | None = None,
) -> Tensor:
    """The branch of the MLP added to its input, x + fc2(GELU(fc1(norm(x)))).

    Args:
        x: (B, H, W, C).
        norm: of the branch.
        fc1: first linear layer.
        fc2: second linear layer.
        depth: the images that have the branch, and by how much it is multiplied there.
        out: what to write to, as `x`, or a contiguous `x` itself; None makes it.
        kept: gets the hidden layer before the GELU of each piece, for gradients.

    Returns:
        (B, H, W, C), contiguous.
    """
    _, H, W, C = x.shape
    images, scale = depth
    out = with_room(x, images) if out is None else out
    tokens, results = x.reshape(-1, C), out.view(-1, C)
    for rows in row_pieces(images, H * W):
        hidden = linear(norm(tokens[rows]), fc1, gelu=kept is None)
        if kept is not None:
            kept.append(hidden)
            hidden = F.gelu(hidden)
        torch.add(tokens[rows], linear(hidden, fc2), alpha=scale, out=results[rows])
    return out


def with_room(x: Tensor, images: Sequence[int]) -> Tensor:
    """(B, H, W, C) contiguous: room for these images, whatever lies there, and all others as in `x`."""
    if len(images) == len(x):
        return torch.empty_like(x, memory_format=torch.contiguous_format)
    return x.clone(memory_format=torch.contiguous_format)


def _attend(windows: Tensor, attention: WindowAttention, bias: Tensor, kept: list[Tensor] | None) -> Tensor:
    """(n, N, C) windows, already normed, and (n, nH, N, N) bias to (n, N, C), which `proj` is to take."""
    n, N, C = windows.shape
    nH = attention.num_heads
    qkv = linear(windows, attention.qkv).view(n, N, 3, nH, C // nH).permute(2, 0, 3, 1, 4)  # 3 n nH N d
    if qkv.dtype in (torch.float32, torch.float64):
        # For windows of some 49 tokens, PyTorch's fused attention takes up to twice the time of plain products here.
        qkv = qkv.reshape(3, n * nH, N, -1)
        q, k, v = qkv
        logits = bias.view(n * nH, N, N).baddbmm_(q, k.transpose(1, 2), alpha=(C // nH) ** -0.5)
        weights = logits.softmax(-1)
        if kept is not None:
            kept += [qkv, weights]
        x = torch.bmm(weights, v).view(n, nH, N, -1)
    else:
        q, k, v = qkv
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(qkv.dtype))
    return x.transpose(1, 2).reshape(n, N, C)

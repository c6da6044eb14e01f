"""The two branches of a Swin block in inference on a CPU, a piece of the map at a time.

A block's whole intermediate maps (q, k, v, the hidden layer of the MLP) go to main memory and back; above 32 MB each
also comes from the operating system page by page. In pieces that the cache holds, they never leave it. Windows do not
look at each other, so the result is the same to rounding.

Shapes: `B` batch, `H W` map in tokens, `C` channels, `nW` windows per image, `N` tokens per window, `nH` heads, `n`
windows of a piece.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry, register_flop_formula

from .attention import WindowAttention, is_traced
from .window import effective_shift, padded_size, shifted_window_mask, window_graph

PIECE = 2048  # tokens; at 96 channels the hidden layer of a piece takes 3 MB
LAYOUTS_KEPT = 64  # (H, W, window, shift), as many as masks in `window`


class Layout(NamedTuple):
    """Where the windows of one map take their tokens from.

    Attributes:
        order: (nW, N) place in the flattened map of each token of each window; 0 where a window reaches beyond it.
        beyond: (nW, N) bool, where a window reaches beyond the map.
        kinds: (nW,) which of `masks` each window has.
        masks: (4, N, N), added to the logits.
    """

    order: Tensor
    beyond: Tensor
    kinds: Tensor
    masks: Tensor


class Piece(NamedTuple):
    """n windows of `images` that are computed together; the fields of `Layout`, `beyond` None where no window is."""

    images: slice
    order: Tensor
    beyond: Tensor | None
    kinds: Tensor


@lru_cache(maxsize=LAYOUTS_KEPT)
def layout(H: int, W: int, window_size: int, shift_size: int) -> Layout:
    """The windows of (S)W-MSA on an H x W map of the CPU; kept, and to be treated as read-only."""
    with torch.inference_mode(False):
        order, _, _ = window_graph(H, W, window_size, shift_size, torch.device("cpu"))
        order = order.reshape(-1, window_size**2)
        beyond = order == H * W
        rows, columns = (padded_size(side, window_size) // window_size for side in (H, W))
        shift = effective_shift(rows * window_size, columns * window_size, window_size, shift_size)
        # The roll cuts all windows of the last row alike, and those of the last column: 2 x 2 windows show every mask.
        masks = shifted_window_mask(2 * window_size, 2 * window_size, window_size, shift)
        place = torch.arange(rows * columns)
        last_row, last_column = place // columns == rows - 1, place % columns == columns - 1
        kinds = 2 * last_row.long() + last_column.long()
    return Layout(order.where(~beyond, 0), beyond, kinds, masks)


def pieces(windows: Layout, B: int, HW: int) -> Iterator[Piece]:
    """All windows of a batch: some windows of one image, or all of some images, about `PIECE` tokens at a time."""
    nW, N = windows.order.shape
    at_once = max(1, PIECE // N)
    images = max(1, at_once // nW)
    for i in range(0, B, images):
        taken = min(images, B - i)
        first = torch.arange(taken)[:, None, None] * HW
        for j in range(0, nW, at_once):
            cut = slice(j, j + at_once)
            beyond = windows.beyond[cut].repeat(taken, 1) if windows.beyond[cut].any() else None
            order = (windows.order[cut] + first).flatten(0, 1)
            yield Piece(slice(i, i + taken), order, beyond, windows.kinds[cut].repeat(taken))


def attention_in_pieces(x: Tensor, norm: nn.LayerNorm, attention: WindowAttention, shift_size: int) -> Tensor:
    """The branch of attention added to its input, x + (S)W-MSA(norm(x)).

    Args:
        x: (B, H, W, C), any H and W from 1 up; left as it is.
        norm: of the branch.
        attention: the window attention.
        shift_size: 0 for W-MSA, window_size // 2 for SW-MSA.

    Returns:
        (B, H, W, C), contiguous.
    """
    B, H, W, C = x.shape
    windows = layout(H, W, attention.window_size, shift_size)
    bias = attention.relative_position_bias() + windows.masks[:, None].to(x.dtype)  # kinds nH N N
    tokens = x.reshape(B, H * W, C)
    out = torch.empty_like(tokens, memory_format=torch.contiguous_format)
    for piece in pieces(windows, B, H * W):
        source, target = (each[piece.images].reshape(-1, C) for each in (tokens, out))
        places = piece.order.flatten()
        taken = source.index_select(0, places)  # n*N C
        normed = norm(taken)
        if piece.beyond is not None:
            normed.masked_fill_(piece.beyond.flatten()[:, None], 0)
        attended = _attend(normed.view(*piece.order.shape, C), attention, bias.index_select(0, piece.kinds))
        taken += attended.view(-1, C)
        if piece.beyond is not None:
            inside = (~piece.beyond).flatten()
            places, taken = places[inside], taken[inside]
        target.index_copy_(0, places, taken)
    return out.view(B, H, W, C)


def mlp_in_pieces(x: Tensor, norm: nn.LayerNorm, fc1: nn.Linear, fc2: nn.Linear) -> Tensor:
    """The branch of the MLP, fc2(GELU(fc1(norm(x)))), added in place to `x`, a contiguous (B, H, W, C) map."""
    W, C = x.shape[2:]
    for rows in x.view(-1, W, C).split(max(1, PIECE // W)):
        rows += pointwise(F.gelu(pointwise(norm(rows), fc1)), fc2)
    return x


def _attend(windows: Tensor, attention: WindowAttention, bias: Tensor) -> Tensor:
    """(n, N, C) windows, already normed, and (n, nH, N, N) bias to (n, N, C)."""
    n, N, C = windows.shape
    nH = attention.num_heads
    qkv = pointwise(windows, attention.qkv).view(n, N, 3, nH, C // nH)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # n nH N d each
    if qkv.dtype in (torch.float32, torch.float64):
        # For windows of some 49 tokens, PyTorch's fused attention takes up to twice the time of plain products here.
        q, k, v = (each.reshape(n * nH, N, -1) for each in (q, k, v))
        logits = bias.view(n * nH, N, N).baddbmm_(q, k.transpose(1, 2), alpha=(C // nH) ** -0.5)
        x = torch.bmm(logits.softmax(-1), v).view(n, nH, N, -1)
    else:
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
    return pointwise(x.transpose(1, 2).reshape(n, N, C), attention.proj)


def pointwise(x: Tensor, linear: nn.Linear) -> Tensor:
    """A linear layer; in fp32 by oneDNN, which is faster than the MKL that PyTorch takes (AMD EPYC: by 7 to 17%)."""
    plain = type(linear) is nn.Linear and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if not plain or not torch.backends.mkldnn.is_available():
        return linear(x)
    return torch.ops.mkldnn._linear_pointwise(x, linear.weight, linear.bias, "none", [], "")


def _register_flops() -> None:
    """Let PyTorch's FLOP counter know the products here that it does not know, so that no FLOP is missed."""

    def linear(x: torch.Size, weight: torch.Size, *_: object, **__: object) -> int:
        return 2 * x.numel() * weight[0]

    def baddbmm(_: torch.Size, a: torch.Size, b: torch.Size, **__: object) -> int:
        return 2 * a.numel() * b[-1]

    for op, formula in ((torch.ops.mkldnn._linear_pointwise, linear), (torch.ops.aten.baddbmm_, baddbmm)):
        if op not in flop_registry:
            register_flop_formula(op)(formula)


_register_flops()


def in_pieces(x: Tensor, block: nn.Module) -> bool:
    """Whether a block computes this map in pieces: values, not a graph, on a CPU, and no gradient is wanted.

    Nor may anything in it have hooks: whoever put them there waits for whole maps.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled() or is_traced(x):
        return False
    return not any(module._forward_hooks or module._forward_pre_hooks for module in block.modules())

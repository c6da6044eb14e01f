"""Window attention with relative position bias, plain and shifted.

Swin Transformer, arXiv 2103.14030, Sec. 3.2.

Shapes: `B` batch, `H W` map in tokens, `C` channels, `nW` windows per image, `N` tokens per window, `nH` heads.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.flop_counter import (
    flop_registry,
    register_flop_formula,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from .arguments import check_positive_int
from .linear import is_traced
from .window import (
    cached_shifted_window_mask,
    effective_shift,
    pad_to_windows,
    relative_position_index,
    window_graph,
    window_partition,
    window_reverse,
)

# What CUDA's memory-efficient attention takes at most in its batch dimension, which windows are in here.
MOST_WINDOWS = 65_535
# Elements of the bias of SW-MSA in one call, 64 MB in fp32: some 7,000 heads of windows of 49 tokens. Each image needs
# it once more.
MOST_BIAS = 2**24


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, W-MSA, with relative position bias (Swin, Eq. 4).

    Parameter names are those of the official release, so that its weights load.

    Args:
        dim: channels C.
        window_size: side of a window in tokens.
        num_heads: heads; divides `dim`.
        qkv_bias: whether q, k and v have a bias.

    Raises:
        ValueError: if `num_heads` does not divide `dim`, or a size is not a positive integer.
    """

    relative_position_index: Tensor

    def __init__(self, dim: int, window_size: int, num_heads: int, *, qkv_bias: bool = True):
        super().__init__()
        check_positive_int("window_size", window_size)
        check_positive_int("num_heads", num_heads)
        if dim % num_heads:
            raise ValueError(f"dim must be divisible by num_heads, got dim={dim}, num_heads={num_heads}")
        self.dim, self.window_size, self.num_heads = dim, window_size, num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        index = relative_position_index(window_size).flatten()
        self.register_buffer("relative_position_index", index, persistent=False)

    def relative_position_bias(self) -> Tensor:
        """(nH, N, N) bias added to the attention logits."""
        bias = self.relative_position_bias_table[self.relative_position_index]  # N*N nH
        return rearrange(bias, "(n m) h -> h n m", n=self.window_size**2)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend inside each window.

        Args:
            windows: (B nW, N, C), the windows of one image one after the other.
            mask: (nW, N, N), added to the logits of every head; None for W-MSA.

        Returns:
            (B nW, N, C).
        """
        q, k, v = rearrange(self.qkv(windows), "b n (three h d) -> three b h n d", three=3, h=self.num_heads)
        bias = self.relative_position_bias().to(q.dtype)[None]  # 1 nH N N
        if mask is not None:
            bias = bias + mask.to(q.dtype)[:, None]  # nW nH N N
        if not is_traced(windows):
            x = _attend(q, k, v, bias)
        elif mask is None:
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        else:
            # For any B: the windows of one image lie beside its heads, and the bias is broadcast over images.
            bias = bias.flatten(0, 1)  # nW*nH N N
            q, k, v = (x.reshape(-1, *bias.shape[:2], x.shape[-1]) for x in (q, k, v))  # B nW*nH N d each
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])
            x = x.reshape(windows.shape[0], self.num_heads, *x.shape[2:])  # B*nW nH N d
        return self.proj(rearrange(x, "b h n d -> b n (h d)"))


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention in many windows, as many at a time as kernels take and as there is room for their bias.

    With windows beside heads, as in a graph, the bias would be broadcast over images. But then q, k, v and the result
    are copied, which takes more memory than the bias does, and half as long again on a CPU.

    Args:
        q: (B nW, nH, N, d), as `k` and `v`.
        k: keys.
        v: values.
        bias: (nW, nH, N, N), or (1, nH, N, N) for all windows alike.

    Returns:
        (B nW, nH, N, d).
    """
    nW, at_once = len(bias), MOST_WINDOWS
    if nW > 1:
        images = max(1, min(len(q) // nW, MOST_WINDOWS // nW, MOST_BIAS // bias.numel()))
        bias = bias.repeat(images, 1, 1, 1) if images > 1 else bias
        at_once = images * nW
    parts = [
        F.scaled_dot_product_attention(q, k, v, attn_mask=bias[: len(q)])
        for q, k, v in zip(q.split(at_once), k.split(at_once), v.split(at_once), strict=True)
    ]
    return parts[0] if len(parts) == 1 else torch.cat([x.transpose(1, 2) for x in parts]).transpose(1, 2)


def shifted_window_attention(x: Tensor, attention: WindowAttention, shift_size: int) -> Tensor:
    """(S)W-MSA over a whole map: pad, roll, attend in windows, roll back, crop.

    The shift belongs to the layer, not to training: it is the same in train() and eval().

    Args:
        x: (B, H, W, C), any H and W from 1 up.
        attention: the window attention.
        shift_size: 0 for W-MSA, window_size // 2 for SW-MSA.

    Returns:
        (B, H, W, C).
    """
    if is_traced(x):
        return _attention_graph(x, attention, shift_size)
    H, W = x.shape[1:3]
    window_size = attention.window_size
    # Pad before rolling: the mask takes the last window as the wrapped one, so the roll must be of whole windows.
    x = pad_to_windows(x, window_size)
    padded_hw = (x.shape[1], x.shape[2])
    shift = effective_shift(*padded_hw, window_size, shift_size)
    mask = None
    if any(shift):
        mask = cached_shifted_window_mask(*padded_hw, window_size, shift, x.device)
        x = torch.roll(x, shifts=(-shift[0], -shift[1]), dims=(1, 2))
    x = window_reverse(attention(window_partition(x, window_size), mask), window_size, *padded_hw)
    if mask is not None:
        x = torch.roll(x, shifts=shift, dims=(1, 2))
    return x[:, :H, :W, :]


def _attention_graph(x: Tensor, attention: WindowAttention, shift_size: int) -> Tensor:
    """`shifted_window_attention` in a graph that is to hold for any size: mask and order come from the shapes in it.

    A mask baked in would hold for one size only. And a tensor without values (FakeTensorMode) must not be kept for
    runs that have them.
    """
    B, H, W, C = x.shape
    order, inverse, mask = window_graph(H, W, attention.window_size, shift_size, x.device)
    x = F.pad(x.flatten(1, 2), (0, 0, 0, 1))  # B H*W+1 C, zeros last
    windows = x.index_select(1, order).flatten(0, 1).reshape(-1, attention.window_size**2, C)
    x = attention(windows, mask).flatten(0, 1).reshape(B, -1, C).index_select(1, inverse)
    return x.reshape(B, H, W, C)


def _register_flops() -> None:
    """Let PyTorch's FLOP counter know the fused attention of a CPU, which it does not, so that no FLOP is missed.

    What `piecewise` computes with needs no formula: the counter hooks all modules, so that blocks compute whole maps.
    """

    def forward(q: torch.Size, k: torch.Size, v: torch.Size, *_: object, **__: object) -> int:
        return sdpa_flop_count(q, k, v)

    def backward(grad: torch.Size, q: torch.Size, k: torch.Size, v: torch.Size, *_: object, **__: object) -> int:
        return sdpa_backward_flop_count(grad, q, k, v)

    fused = "_scaled_dot_product_flash_attention_for_cpu"
    for name, formula in ((fused, forward), (f"{fused}_backward", backward)):
        op = getattr(torch.ops.aten, name)
        if op not in flop_registry:
            register_flop_formula(op)(formula)


_register_flops()

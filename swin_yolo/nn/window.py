"""Windows of a feature map: partition, cyclic shift and the mask that keeps SW-MSA local.

Swin Transformer, arXiv 2103.14030, Sec. 3.2.

Shapes: `B` batch, `H W` map in tokens, `C` channels, `nW` windows per image, `N` tokens per window.
"""

from collections import OrderedDict
from threading import Lock

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

# The released Swin weights were trained with -100 and not with -inf; both vanish in the softmax of fp16 and wider.
MASKED = -100.0

# Distinct (H, W, window, shift, device) whose masks are kept. Multi-scale training at 640 px meets about 20 sizes
# on 4 levels; a mask at 160x160 takes 5 MB.
MASK_CACHE_SIZE = 64
MASK_CACHE_BYTES = 2**27  # of all masks kept; the last one is, however large

kept_masks: OrderedDict[tuple[int, int, int, tuple[int, int], torch.device], Tensor] = OrderedDict()  # last used last
_masks_lock = Lock()


def window_partition(x: Tensor, window_size: int) -> Tensor:
    """Cut a map into windows, row by row.

    Args:
        x: (B, H, W, C) with H and W multiples of `window_size`.
        window_size: side of a window in tokens.

    Returns:
        (B nW, N, C).
    """
    return rearrange(x, "b (h p) (w q) c -> (b h w) (p q) c", p=window_size, q=window_size)


def window_reverse(windows: Tensor, window_size: int, H: int, W: int) -> Tensor:
    """Put windows back into the map they were cut from.

    Args:
        windows: (B nW, N, C).
        window_size: side of a window in tokens.
        H: map height in tokens, a multiple of `window_size`.
        W: map width in tokens, a multiple of `window_size`.

    Returns:
        (B, H, W, C).
    """
    h, w = H // window_size, W // window_size
    return rearrange(windows, "(b h w) (p q) c -> b (h p) (w q) c", h=h, w=w, p=window_size, q=window_size)


def padded_size(size: int, window_size: int) -> int:
    """`size` rounded up to whole windows, in tokens."""
    return -(-size // window_size) * window_size


def pad_to_windows(x: Tensor, window_size: int) -> Tensor:
    """Pad a (B, H, W, C) map with zeros below and to the right, to whole windows."""
    H, W = x.shape[1:3]
    below, right = padded_size(H, window_size) - H, padded_size(W, window_size) - W
    return F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x


def effective_shift(H: int, W: int, window_size: int, shift_size: int) -> tuple[int, int]:
    """(rows, columns) to roll a padded H x W map by: 0 on an axis that one window covers, as nothing lies beyond."""
    rows, cols = (shift_size if size > window_size else 0 for size in (H, W))
    return rows, cols


def _segment(position: Tensor, size: int, window_size: int, shift: int) -> Tensor:
    """Number of the stretch of an axis that each of some tokens lies in after the roll: 0, 1 or 2.

    The roll brings the first `shift` tokens behind the last ones, into the same window; 1 and 2 tell them apart. Where
    nothing is shifted, all tokens of the last window are 1.
    """
    return (position >= size - window_size).long() + (position >= size - shift).long()


def shifted_window_mask(
    H: int, W: int, window_size: int, shift: tuple[int, int], device: torch.device | None = None
) -> Tensor:
    """Additive mask of SW-MSA (Swin, arXiv 2103.14030, Sec. 3.2, Fig. 4).

    Args:
        H: padded map height in tokens, a multiple of `window_size`.
        W: padded map width in tokens, a multiple of `window_size`.
        window_size: side of a window in tokens.
        shift: (rows, columns) the map was rolled by; 0 means not rolled on that axis.
        device: where to build it; the CPU if None.

    Returns:
        (nW, N, N) float32: 0 where two tokens were neighbours before the roll, -100 elsewhere.
    """
    device = torch.device("cpu") if device is None else device
    rows = _segment(torch.arange(H, device=device), H, window_size, shift[0])
    cols = _segment(torch.arange(W, device=device), W, window_size, shift[1])
    region = (rows[:, None] * 3 + cols)[None, :, :, None]  # 1 H W 1
    region = window_partition(region, window_size).squeeze(-1)  # nW N
    cross = region[:, :, None] != region[:, None, :]  # nW N N
    return torch.zeros(cross.shape, device=device).masked_fill(cross, MASKED)


def cached_shifted_window_mask(
    H: int, W: int, window_size: int, shift: tuple[int, int], device: torch.device
) -> Tensor:
    """`shifted_window_mask`, computed once per argument set and shared by all layers; treat it as read-only.

    It lives in `kept_masks` and not in a buffer, so that no checkpoint, EMA copy or deepcopy carries it.
    """
    key = (H, W, window_size, shift, device)
    with _masks_lock:
        if key in kept_masks:
            kept_masks.move_to_end(key)
            return kept_masks[key]
        # A mask born in inference mode could not take part in a later training step.
        with torch.inference_mode(False):
            mask = kept_masks[key] = shifted_window_mask(H, W, window_size, shift, device)
        total = sum(each.nbytes for each in kept_masks.values())
        while len(kept_masks) > MASK_CACHE_SIZE or (total > MASK_CACHE_BYTES and len(kept_masks) > 1):
            total -= kept_masks.popitem(last=False)[1].nbytes
    return mask


def window_graph(
    H: int, W: int, window_size: int, shift_size: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Padding, roll, partition and their way back as gathers, without a branch on H and W.

    For graphs that are recorded at one size and run at others. There H and W are symbols: torch.jit.trace keeps the
    branch it took, and torch.export refuses one. All divisions are of positive numbers, since ONNX rounds to zero.

    Args:
        H: map height in tokens.
        W: map width in tokens.
        window_size: side of a window in tokens.
        shift_size: 0 for W-MSA; else what to shift by on the axes that more than one window covers.
        device: where to build them.

    Returns:
        order: (nW N,) place in the flattened map of each token of each window; H W where a window reaches beyond it.
        inverse: (H W,) place in `order` of each token of the map.
        mask: (nW, N, N) as `shifted_window_mask` gives it; None if `shift_size` is 0.
    """
    N = window_size**2
    h, w = ((size + window_size - 1) // window_size for size in (H, W))  # windows of each axis
    padded_h, padded_w = h * window_size, w * window_size
    # 1 // h is 1 where one window covers the axis, which is then not shifted.
    shift_h, shift_w = shift_size * (1 - 1 // h), shift_size * (1 - 1 // w)

    place = torch.arange(h * w * N, device=device)
    window, token = place // N, place % N
    row = window // w * window_size + token // window_size  # of the rolled map, as is `col`
    col = window % w * window_size + token % window_size
    from_row, from_col = (row + shift_h) % padded_h, (col + shift_w) % padded_w
    order = torch.where((from_row < H) & (from_col < W), from_row * W + from_col, H * W)

    place = torch.arange(H * W, device=device)
    to_row = (place // W + padded_h - shift_h) % padded_h
    to_col = (place % W + padded_w - shift_w) % padded_w
    window = to_row // window_size * w + to_col // window_size
    inverse = window * N + to_row % window_size * window_size + to_col % window_size
    if not shift_size:
        return order, inverse, None

    region = _segment(row, padded_h, window_size, shift_h) * 3 + _segment(col, padded_w, window_size, shift_w)
    region = region.reshape(-1, N)  # nW N
    cross = region[:, :, None] != region[:, None, :]  # nW N N
    return order, inverse, cross.float() * MASKED


def relative_position_index(window_size: int) -> Tensor:
    """Row of the relative position bias table for each pair of tokens of a window (Swin, Sec. 3.2, Eq. 4).

    Returns:
        (N, N) int64 in [0, (2 window_size - 1)^2): entry (i, j) is (dy + w - 1) (2w - 1) + dx + w - 1, where (dy, dx)
        is the position of token i less that of token j.
    """
    axis = torch.arange(window_size)
    ys, xs = torch.meshgrid(axis, axis, indexing="ij")
    coords = torch.stack([ys.flatten(), xs.flatten()])  # 2 N
    dy, dx = coords[:, :, None] - coords[:, None, :] + window_size - 1  # N N each
    return dy * (2 * window_size - 1) + dx

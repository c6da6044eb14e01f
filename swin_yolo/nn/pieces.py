"""A map cut into pieces that a CPU's cache holds, for layers that compute one after the other.

Shapes: `B` batch, `H W` map in tokens, `C` channels, `nW` windows per image, `N` tokens per window, `n` windows of a
piece.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

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
    """n windows that are computed together; the fields of `Layout`, `beyond` None where no window reaches beyond.

    The places in `order` count through the tokens of the whole batch.
    """

    order: Tensor
    beyond: Tensor | None
    kinds: Tensor


@lru_cache(maxsize=LAYOUTS_KEPT)
def layout(H: int, W: int, window_size: int, shift_size: int) -> Layout:
    """The windows of (S)W-MSA on an H x W map of the CPU; kept, and to be treated as read-only."""
    cpu = torch.device("cpu")  # whatever the default device is
    with torch.inference_mode(False):
        order, _, _ = window_graph(H, W, window_size, shift_size, cpu)
        order = order.reshape(-1, window_size**2)
        beyond = order == H * W
        rows, columns = (padded_size(side, window_size) // window_size for side in (H, W))
        shift = effective_shift(rows * window_size, columns * window_size, window_size, shift_size)
        # The roll cuts all windows of the last row alike, and those of the last column: 2 x 2 windows show every mask.
        masks = shifted_window_mask(2 * window_size, 2 * window_size, window_size, shift, cpu)
        place = torch.arange(rows * columns, device=cpu)
        last_row, last_column = place // columns == rows - 1, place % columns == columns - 1
        kinds = 2 * last_row.long() + last_column.long()
    return Layout(order.where(~beyond, 0), beyond, kinds, masks)


def shares(count: int, most: int) -> int:
    """How many of `count` things to take at a time, at most `most`, so that the last ones are not left few."""
    parts = max(1, -(-count // most))
    return max(1, -(-count // parts))


def pieces(windows: Layout, images: Sequence[int], HW: int) -> Iterator[Piece]:
    """All windows of some images of a batch, about `PIECE` tokens at a time: some of one image, or all of some."""
    nW, N = windows.order.shape
    most = max(1, PIECE // N)
    at_once = shares(nW, most)
    together = shares(len(images), max(1, most // nW))
    for i in range(0, len(images), together):
        taken = images[i : i + together]
        first = torch.tensor(taken, device="cpu")[:, None, None] * HW
        for j in range(0, nW, at_once):
            cut = slice(j, j + at_once)
            beyond = windows.beyond[cut].repeat(len(taken), 1) if windows.beyond[cut].any() else None
            order = (windows.order[cut] + first).flatten(0, 1)
            yield Piece(order, beyond, windows.kinds[cut].repeat(len(taken)))


def row_pieces(images: Sequence[int], HW: int) -> Iterator[slice]:
    """All tokens of some images of a batch, of images that are neighbours together, at most `PIECE` at a time."""
    for _, run in groupby(enumerate(images), lambda each: each[1] - each[0]):
        numbers = [number for _, number in run]
        stop, rows = (numbers[-1] + 1) * HW, shares(len(numbers) * HW, PIECE)
        for start in range(numbers[0] * HW, stop, rows):
            yield slice(start, min(start + rows, stop))


def put_back(rows: Tensor, piece: Piece, out: Tensor) -> None:
    """Write the (n N, C) tokens of a piece to their places in (B H W, C) `out`."""
    places = piece.order.flatten()
    if piece.beyond is not None:
        inside = (~piece.beyond).flatten()
        places, rows = places[inside], rows[inside]
    out.index_copy_(0, places, rows)

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from swin_oracles import by_size

from swin_yolo.nn import window
from swin_yolo.nn.window import (
    MASK_CACHE_SIZE,
    MASKED,
    cached_shifted_window_mask,
    effective_shift,
    kept_masks,
    pad_to_windows,
    padded_size,
    relative_position_index,
    shifted_window_mask,
    window_partition,
    window_reverse,
)

light = settings(max_examples=40, deadline=None)


def test_windows_are_cut_row_by_row():
    x = torch.arange(16).reshape(1, 4, 4, 1)
    assert window_partition(x, 2).squeeze(-1).tolist() == [
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
    ]


def test_relative_position_index_of_a_window_of_two():
    # Tokens 0 1 / 2 3; the table's rows are (dy, dx) from (-1, -1) to (1, 1), so (0, 0) is row 4.
    assert relative_position_index(2).tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


def test_mask_of_the_article_on_a_4x4_map():
    # Window 2, rolled by 1: the first window is whole, the second is cut into columns, the third into rows, the last
    # into its four tokens (Swin, Fig. 4).
    o, x = 0.0, MASKED
    whole = [[o, o, o, o]] * 4
    columns = [[o, x, o, x], [x, o, x, o], [o, x, o, x], [x, o, x, o]]
    rows = [[o, o, x, x], [o, o, x, x], [x, x, o, o], [x, x, o, o]]
    alone = [[o, x, x, x], [x, o, x, x], [x, x, o, x], [x, x, x, o]]
    assert shifted_window_mask(4, 4, 2, (1, 1)).tolist() == [whole, columns, rows, alone]


def test_masked_is_the_number_that_the_released_weights_were_trained_with():
    assert MASKED == -100.0


@pytest.mark.parametrize("hw", [(8, 8), (8, 16), (12, 8)], ids=by_size)
@pytest.mark.parametrize("shift", [(2, 2), (2, 0), (0, 2), (1, 3)], ids=by_size)
def test_mask_keeps_exactly_the_pairs_that_were_near_before_the_roll(hw, shift):
    H, W = hw
    window = 4
    ys, xs = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    positions = torch.stack([ys, xs], -1)[None].roll((-shift[0], -shift[1]), (1, 2))
    windows = window_partition(positions, window)
    apart = (windows[:, :, None] - windows[:, None, :]).abs().amax(-1)
    assert torch.equal(shifted_window_mask(H, W, window, shift) == 0, apart < window)


@pytest.mark.parametrize("window", [1, 2, 4, 7])
def test_mask_without_a_roll_is_zero(window):
    assert not shifted_window_mask(2 * window, 3 * window, window, (0, 0)).any()


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 8), st.integers(1, 3))
@light
def test_reverse_undoes_partition(B, rows, cols, window, C):
    H, W = rows * window, cols * window
    x = torch.arange(B * H * W * C).reshape(B, H, W, C)
    windows = window_partition(x, window)
    assert windows.shape == (B * rows * cols, window**2, C)
    assert torch.equal(window_reverse(windows, window, H, W), x)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9))
@light
def test_padding_adds_zeros_below_and_to_the_right_only(H, W, window):
    x = torch.rand(1, H, W, 2) + 1
    padded = pad_to_windows(x, window)
    assert padded.shape[1:3] == (padded_size(H, window), padded_size(W, window))
    assert all(size % window == 0 for size in padded.shape[1:3])
    assert padded.shape[1] - H < window and padded.shape[2] - W < window
    assert torch.equal(padded[:, :H, :W], x)
    assert padded.count_nonzero() == x.numel()


def test_a_map_of_whole_windows_is_not_copied():
    x = torch.rand(1, 14, 21, 2)
    assert pad_to_windows(x, 7) is x


@pytest.mark.parametrize(
    ("hw", "shift"),
    [((7, 7), (0, 0)), ((7, 14), (0, 3)), ((14, 7), (3, 0)), ((14, 14), (3, 3)), ((8, 8), (3, 3))],
    ids=by_size,
)
def test_an_axis_of_one_window_is_not_shifted(hw, shift):
    assert effective_shift(*hw, 7, 3) == shift


@pytest.mark.parametrize("window", [1, 2, 3, 7])
def test_relative_position_index_is_the_offset_of_every_pair(window):
    index = relative_position_index(window)
    tokens = list(itertools.product(range(window), repeat=2))
    side = 2 * window - 1
    for (i, (y, x)), (j, (v, u)) in itertools.product(enumerate(tokens), repeat=2):
        assert index[i, j] == (y - v + window - 1) * side + x - u + window - 1
    assert index.unique().numel() == side**2


def test_mask_cache_gives_the_same_tensor_again():
    args = (14, 21, 7, (3, 3), torch.device("cpu"))
    assert cached_shifted_window_mask(*args) is cached_shifted_window_mask(*args)
    assert torch.equal(cached_shifted_window_mask(*args), shifted_window_mask(*args))


def test_mask_cache_is_bounded():
    for i in range(MASK_CACHE_SIZE + 36):
        cached_shifted_window_mask(2 * (i + 2), 4, 2, (1, 1), torch.device("cpu"))
    assert len(kept_masks) <= MASK_CACHE_SIZE


def mask_of(windows: int) -> torch.Tensor:
    """The mask of so many windows of 4 tokens, 64 bytes each, from the cache."""
    return cached_shifted_window_mask(2 * windows, 2, 2, (1, 0), torch.device("cpu"))


def test_mask_cache_is_bounded_in_bytes_and_keeps_what_was_used_last(monkeypatch):
    monkeypatch.setattr(window, "MASK_CACHE_BYTES", 64 * 10)
    kept_masks.clear()
    masks = [mask_of(n) for n in (2, 3, 4)]
    assert mask_of(2) is masks[0]
    mask_of(5)  # too much with all four, and with the last three
    assert [len(mask) for mask in kept_masks.values()] == [2, 5]
    assert mask_of(2) is masks[0]


def test_a_mask_larger_than_all_that_may_be_kept_is_kept_alone(monkeypatch):
    monkeypatch.setattr(window, "MASK_CACHE_BYTES", 64 * 10)
    mask_of(3)
    assert mask_of(11) is mask_of(11)
    assert len(kept_masks) == 1


def test_mask_first_made_in_inference_mode_can_be_trained_with():
    kept_masks.clear()
    with torch.inference_mode():
        mask = cached_shifted_window_mask(8, 8, 4, (2, 2), torch.device("cpu"))
    assert not mask.is_inference()

import pytest
import torch
from swin_oracles import SIZES, by_size

from swin_yolo.nn.window import shifted_window_mask, window_graph
from swin_yolo.nn.window_layout import Rectangle, window_layout

EVERY_SIZE = pytest.mark.parametrize("hw", SIZES, ids=by_size)
SHIFTS = pytest.mark.parametrize(("window", "shift_size"), [(7, 0), (7, 3), (4, 2), (8, 4)], ids=str)


def test_windows_of_the_article_s_map():
    # Window 2, rolled by 1 (Swin, Fig. 4): the last window holds the four corners of the map.
    layout = window_layout(4, 4, 2, 1)
    assert layout.places[0].tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    assert layout.places[3].tolist() == [[3, 3], [3, 0], [0, 3], [0, 0]]
    assert layout.regions.tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 2, 2], [0, 1, 2, 3]]
    assert layout.pieces(0) == {0: Rectangle(1, 1, 3, 3)}
    assert layout.pieces(1) == {0: Rectangle(1, 3, 3, 4), 1: Rectangle(1, 0, 3, 1)}
    assert layout.pieces(3) == {
        0: Rectangle(3, 3, 4, 4),
        1: Rectangle(3, 0, 4, 1),
        2: Rectangle(0, 3, 1, 4),
        3: Rectangle(0, 0, 1, 1),
    }
    assert layout.kinds() == {"whole": [0], "right edge": [1], "lower edge": [2], "corner": [3]}
    assert layout.find(0, 3) == (3, 2) and layout.grid_hw == (2, 2)


def test_an_axis_of_one_window_is_whole():
    assert window_layout(5, 20, 7, 3).kinds() == {"whole": [0, 1], "right edge": [2]}
    assert window_layout(20, 5, 7, 3).kinds() == {"whole": [0, 1], "lower edge": [2]}
    assert window_layout(5, 5, 7, 3).kinds() == {"whole": [0]}
    assert window_layout(20, 20, 7, 0).kinds() == {"whole": list(range(9))}


@EVERY_SIZE
@SHIFTS
def test_places_are_those_that_the_layer_gathers(hw, window, shift_size):
    H, W = hw
    layout = window_layout(H, W, window, shift_size)
    order, _, _ = window_graph(H, W, window, shift_size, torch.device("cpu"))
    ours = layout.places[..., 0] * W + layout.places[..., 1]
    assert torch.equal(torch.where(layout.padding, H * W, ours).flatten(), order)
    assert layout.padding.sum() == layout.padded_hw[0] * layout.padded_hw[1] - H * W


@EVERY_SIZE
@SHIFTS
def test_tokens_of_one_region_are_those_that_the_mask_lets_attend(hw, window, shift_size):
    layout = window_layout(*hw, window, shift_size)
    together = layout.regions[:, :, None] == layout.regions[:, None, :]
    assert torch.equal(together, shifted_window_mask(*layout.padded_hw, window, layout.shift) == 0)


@EVERY_SIZE
@SHIFTS
def test_windows_of_a_kind_have_one_mask_and_others_another(hw, window, shift_size):
    layout = window_layout(*hw, window, shift_size)
    mask = shifted_window_mask(*layout.padded_hw, window, layout.shift)
    kinds = layout.kinds()
    assert sorted(w for windows in kinds.values() for w in windows) == list(range(len(layout.places)))
    assert all(torch.equal(mask[w], mask[windows[0]]) for windows in kinds.values() for w in windows)
    assert len({mask[windows[0]].numpy().tobytes() for windows in kinds.values()}) == len(kinds)


@EVERY_SIZE
@SHIFTS
def test_every_token_is_found_in_its_window_and_piece(hw, window, shift_size):
    layout = window_layout(*hw, window, shift_size)
    covered = torch.zeros(layout.padded_hw, dtype=torch.long)
    for number in range(len(layout.places)):
        for region, piece in layout.pieces(number).items():
            covered[piece.top : piece.bottom, piece.left : piece.right] += 1
            for row in range(piece.top, piece.bottom):
                for column in range(piece.left, piece.right):
                    found, token = layout.find(row, column)
                    assert found == number and layout.regions[found, token] == region
    assert (covered == 1).all()

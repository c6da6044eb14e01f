import pytest
import torch
from swin_oracles import by_size, random_map, randomised
from torch import nn

from swin_yolo.engine.receptive_field import effective_receptive_field
from swin_yolo.nn import PatchEmbed, SwinStage
from swin_yolo.nn.window_layout import window_layout


class OneBlock(nn.Module):
    """A block as a layer of (B, C, H, W) maps."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x):
        return self.block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def reached(layer: nn.Module, token, hw=(14, 14), *, below: float = 1e-30):
    """(H, W) bool: which tokens of a map a token of a layer's output depends on."""
    return effective_receptive_field(layer, layer, random_map(1, 8, *hw), token=token) > below


def rectangle(hw, top, left, bottom, right):
    inside = torch.zeros(hw, dtype=torch.bool)
    inside[top:bottom, left:right] = True
    return inside


def test_of_a_convolution_it_is_its_weights():
    conv = nn.Conv2d(2, 3, 3, padding=1)
    images = torch.rand(1, 2, 5, 6)
    field = effective_receptive_field(conv, conv, images, token=(2, 3))
    expected = torch.zeros(5, 6)
    expected[1:4, 2:5] = conv.weight.sum(0).abs().mean(0)
    torch.testing.assert_close(field, expected)


def test_a_layer_is_looked_at_inside_its_model_and_nothing_is_left_behind():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
    images = torch.rand(1, 1, 9, 9)
    with torch.no_grad():  # as a caller may have it
        field = effective_receptive_field(model, model[1], images, token=(0, 0))
    assert (field[:3, :3] > 0).all() and field.count_nonzero() == 9
    assert not images.requires_grad and images.grad is None
    assert all(p.grad is None for p in model.parameters()) and not model[1]._forward_hooks


@pytest.mark.parametrize("token", [(0, 0), (6, 6), (7, 6), (13, 13), (3, 10)], ids=by_size)
def test_of_w_msa_it_is_the_token_s_window(token):
    block = OneBlock(randomised(SwinStage(8, 8)).blocks[0])
    top, left = (place // 7 * 7 for place in token)
    assert torch.equal(reached(block, token), rectangle((14, 14), top, left, top + 7, left + 7))


@pytest.mark.parametrize("hw", [(14, 14), (15, 17), (7, 21)], ids=by_size)
@pytest.mark.parametrize("token", [(0, 0), (2, 3), (6, 12), (3, 13)], ids=by_size)
def test_of_sw_msa_it_is_the_piece_of_the_window_that_the_token_lies_in(hw, token):
    block = OneBlock(randomised(SwinStage(8, 8)).blocks[1])
    layout = window_layout(*hw, 7, 3)
    window, place = layout.find(*token)
    piece = layout.pieces(window)[int(layout.regions[window, place])]
    assert torch.equal(reached(block, token, hw), rectangle(hw, *piece))


def test_of_a_pair_it_is_all_windows_that_the_shifted_one_meets():
    # The token's shifted window is rows 3..9 and columns 3..9, which meets all four windows of 14 x 14.
    stage = randomised(SwinStage(8, 8))
    field = reached(stage, (6, 6))
    assert field.all() and not reached(OneBlock(stage.blocks[0]), (6, 6)).all()
    # At the corner the shifted window has 3 x 3 tokens, all of the first window.
    assert torch.equal(reached(stage, (0, 0)), rectangle((14, 14), 0, 0, 7, 7))


def test_in_pixels_it_is_the_window_s_patches():
    model = nn.Sequential(PatchEmbed(3, 8, 4), OneBlock(SwinStage(8, 8).blocks[0])).double().eval()
    field = effective_receptive_field(model, model[1], random_map(1, 3, 64, 64), token=(8, 3))
    assert torch.equal(field > 0, rectangle((64, 64), 28, 0, 56, 28))

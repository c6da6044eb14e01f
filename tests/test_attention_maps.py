import itertools

import pytest
import torch
from einops import rearrange
from swin_oracles import SIZES, by_size, random_map, randomised
from torch import nn

from swin_yolo.engine.attention_maps import attention_weights, bias_by_offset, recorded_inputs
from swin_yolo.nn import SwinBlock, SwinStage, WindowAttention, shifted_window_attention
from swin_yolo.nn.window import MASKED, shifted_window_mask
from swin_yolo.nn.window_layout import window_layout

exactly = {"rtol": 0, "atol": 1e-10}
EVERY_SIZE = pytest.mark.parametrize("hw", SIZES, ids=by_size)
SHIFTS = pytest.mark.parametrize(("window", "shift_size"), [(7, 0), (7, 3), (4, 2)], ids=str)


def recorded(hw, window, shift_size, *, batch: int = 1):
    """A block in float64, what its attention was given for a random map, and what it gave."""
    block = randomised(SwinBlock(12, 3, window_size=window, shift_size=shift_size))
    given = []
    handle = block.attn.register_forward_hook(lambda layer, args, output: given.append(output))
    with torch.no_grad(), recorded_inputs([block]) as inputs:
        block(random_map(batch, *hw, 12))
    handle.remove()
    return block, inputs[0], given[0]


def output_of(attention: WindowAttention, windows, weights):
    """The layer's output by attention weights: those times v, projected."""
    v = rearrange(attention.qkv(windows), "b n (three h d) -> three b h n d", three=3, h=attention.num_heads)[2]
    return attention.proj(rearrange(weights @ v, "b h n d -> b n (h d)"))


def test_equal_logits_are_even_attention_and_a_bias_tilts_it():
    attention = WindowAttention(2, 2, 1)
    nn.init.zeros_(attention.qkv.weight), nn.init.zeros_(attention.qkv.bias)
    nn.init.zeros_(attention.relative_position_bias_table)
    windows = torch.rand(1, 4, 2)
    assert attention_weights(attention, windows).tolist() == [[[[0.25] * 4] * 4]]
    with torch.no_grad():
        attention.relative_position_bias_table[3] = torch.log(torch.tensor(5.0))  # dy 0, dx -1: query left of key
    torch.testing.assert_close(
        attention_weights(attention, windows)[0, 0],
        torch.tensor([[1, 5, 1, 1], [2, 2, 2, 2], [1, 1, 1, 5], [2, 2, 2, 2]]) / 8,
    )


@EVERY_SIZE
@SHIFTS
def test_weights_times_values_are_what_the_layer_gives(hw, window, shift_size):
    block, given, output = recorded(hw, window, shift_size, batch=2)
    weights = attention_weights(block.attn, given.windows, given.mask)
    torch.testing.assert_close(output_of(block.attn, given.windows, weights), output, **exactly)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), **exactly)


@EVERY_SIZE
@SHIFTS
def test_put_where_the_layout_says_they_give_the_output_of_every_token_of_the_map(hw, window, shift_size):
    attention = randomised(WindowAttention(12, window, 3))
    x = random_map(1, *hw, 12)
    layout = window_layout(*hw, window, shift_size)
    padded = torch.zeros(*layout.padded_hw, 12, dtype=x.dtype)
    padded[: hw[0], : hw[1]] = x[0]
    windows = padded[layout.places[..., 0], layout.places[..., 1]]  # nW N C
    mask = shifted_window_mask(*layout.padded_hw, window, layout.shift) if any(layout.shift) else None
    out = torch.zeros_like(padded)
    with torch.no_grad():
        given = output_of(attention, windows, attention_weights(attention, windows, mask))
        expected = shifted_window_attention(x, attention, shift_size)[0]
    out[layout.places[..., 0], layout.places[..., 1]] = given
    torch.testing.assert_close(out[: hw[0], : hw[1]], expected, **exactly)


@pytest.mark.parametrize("hw", [(14, 14), (15, 17), (7, 21)], ids=by_size)
def test_a_masked_token_gets_what_is_left_at_100_less_and_that_is_nothing(hw):
    block, given, _ = recorded(hw, 7, 3)
    weights = attention_weights(block.attn, given.windows, given.mask)
    masked = (given.mask == MASKED)[:, None].expand_as(weights)
    assert masked.any() and weights[masked].max() < 1e-30
    ratio = weights / attention_weights(block.attn, given.windows)
    each_query = ratio.masked_fill(masked, 0).amax(-1, keepdim=True).expand_as(ratio)
    torch.testing.assert_close(ratio[masked] / each_query[masked], torch.full_like(ratio[masked], MASKED).exp())


@pytest.mark.parametrize("hw", [(14, 14), (15, 17), (20, 20)], ids=by_size)
def test_a_token_attends_to_true_neighbours_only(hw):
    block, given, _ = recorded(hw, 7, 3)
    layout = window_layout(*given.map_hw, 7, 3)
    weights = attention_weights(block.attn, given.windows, given.mask).amax(1)  # nW N N
    apart = (layout.places[:, :, None] - layout.places[:, None]).abs().amax(-1)
    assert torch.equal(weights > 1e-30, apart < 7)


def test_a_bias_is_where_the_token_attended_to_lies():
    attention = WindowAttention(4, 3, 2)
    maps, bias = bias_by_offset(attention), attention.relative_position_bias()
    assert maps.shape == (2, 5, 5)
    tokens = list(itertools.product(range(3), repeat=2))
    for (i, (y, x)), (j, (v, u)) in itertools.product(enumerate(tokens), repeat=2):
        assert torch.equal(maps[:, v - y + 2, u - x + 2], bias[:, i, j])


def test_blocks_are_recorded_in_the_order_in_which_they_run_and_left_as_they_were():
    stage = randomised(SwinStage(8, 8, 4, 4))
    x = random_map(2, 8, 6, 9)
    expected = stage(x)
    with recorded_inputs(list(stage.blocks)) as inputs:
        torch.testing.assert_close(stage(x), expected, rtol=0, atol=1e-10)  # whole maps, and then in pieces
    stage(x)
    assert len(inputs) == 4 and [given.mask is None for given in inputs] == [True, False] * 2
    assert all(given.map_hw == (6, 9) and given.windows.shape == (2 * 2 * 3, 16, 8) for given in inputs)
    first = stage.blocks[0].norm1(x.permute(0, 2, 3, 1))
    assert torch.equal(inputs[0].windows[0], first[0, :4, :4].flatten(0, 1))

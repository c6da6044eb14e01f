import gc
import math

import pytest
import torch
from swin_oracles import SIZES, attend_token_by_token, by_size, random_map, randomised, torchvision_attention
from torch._subclasses.fake_tensor import FakeTensorMode

from swin_yolo.nn import SwinStage, WindowAttention, shifted_window_attention, swin
from swin_yolo.nn import attention as attention_module
from swin_yolo.nn.pieces import LAYOUTS_KEPT, layout
from swin_yolo.nn.window import MASK_CACHE_SIZE, kept_masks

exactly = {"rtol": 0, "atol": 1e-10}


@pytest.fixture
def whole_maps(monkeypatch):
    """Blocks compute as they do on a GPU."""
    monkeypatch.setattr(swin, "computes_in_pieces", lambda *_: False)


def test_equal_keys_average_the_values_of_a_window():
    attention = WindowAttention(2, 2, 1, qkv_bias=False)
    with torch.no_grad():
        attention.qkv.weight.zero_()
        attention.qkv.weight[4:] = torch.eye(2)
        attention.proj.weight.copy_(torch.eye(2))
        attention.proj.bias.zero_()
        attention.relative_position_bias_table.zero_()
    x = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert shifted_window_attention(x, attention, 0).flatten(1, 2).tolist() == [[[3.0, 4.0]] * 4]


def test_bias_is_looked_up_by_the_offset_of_query_from_key():
    attention = WindowAttention(2, 2, 1)
    with torch.no_grad():
        attention.relative_position_bias_table.copy_(torch.arange(9.0)[:, None])
    bias = attention.relative_position_bias()
    assert bias[0].tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]


@pytest.mark.parametrize("shift", ["unshifted", "shifted"])
@pytest.mark.parametrize("window", [4, 7, 8], ids="window{}".format)
@pytest.mark.parametrize("hw", SIZES, ids=by_size)
def test_attention_matches_torchvision(hw, window, shift):
    shift_size = window // 2 if shift == "shifted" else 0
    attention = randomised(WindowAttention(12, window, 3))
    x = random_map(2, *hw, 12)
    ours = shifted_window_attention(x, attention, shift_size)
    torch.testing.assert_close(ours, torchvision_attention(attention, shift_size)(x), **exactly)


@pytest.mark.parametrize(
    ("hw", "window"),
    [
        ((1, 1), 7),
        ((3, 3), 4),
        ((4, 4), 2),
        ((5, 9), 4),
        ((9, 5), 4),
        ((4, 12), 4),
        ((3, 13), 4),
        ((7, 21), 7),
        ((15, 17), 7),
        ((6, 11), 3),
    ],
    ids=lambda value: by_size(value) if isinstance(value, tuple) else f"window{value}",
)
@pytest.mark.parametrize("shift", ["unshifted", "shifted"])
def test_attention_is_over_the_true_neighbours_of_each_token(hw, window, shift):
    shift_size = window // 2 if shift == "shifted" else 0
    attention = randomised(WindowAttention(4, window, 2))
    x = random_map(*hw, 4)
    ours = shifted_window_attention(x[None], attention, shift_size)[0]
    torch.testing.assert_close(ours, attend_token_by_token(x, attention, shift_size), **exactly)


@pytest.mark.parametrize("hw", [(1, 1), (7, 7), (5, 3)], ids=by_size)
def test_shifted_attention_within_one_window_is_the_unshifted(hw):
    attention = randomised(WindowAttention(8, 7, 2))
    x = random_map(1, *hw, 8)
    assert torch.equal(shifted_window_attention(x, attention, 3), shifted_window_attention(x, attention, 0))


def test_the_shift_lets_neighbouring_windows_meet_and_no_others():
    attention = randomised(WindowAttention(4, 4, 1))
    x = random_map(1, 12, 12, 4).requires_grad_()
    shifted_window_attention(x, attention, 2)[0, 3, 3].sum().backward()
    rows, cols = x.grad[0].abs().sum(-1).gt(1e-30).nonzero().unbind(1)
    assert {*rows.tolist()} == {*cols.tolist()} == {2, 3, 4, 5}


def test_shift_is_no_training_trick():
    attention = randomised(WindowAttention(8, 4, 2))
    x = random_map(1, 8, 8, 8)
    evaluated, plain = shifted_window_attention(x, attention.eval(), 2), shifted_window_attention(x, attention, 0)
    assert torch.equal(evaluated, shifted_window_attention(x, attention.train(), 2))
    assert (evaluated - plain).abs().max() > 1e-3


@pytest.fixture
def calls(monkeypatch):
    """Shapes of q and of the bias in the calls of PyTorch's attention."""
    seen = []
    real = attention_module.F.scaled_dot_product_attention

    def noted(q, k, v, *, attn_mask):
        seen.append((tuple(q.shape), tuple(attn_mask.shape)))
        return real(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(attention_module.F, "scaled_dot_product_attention", noted)
    return seen


@pytest.mark.parametrize("shift_size", [0, 3])
def test_windows_of_a_large_batch_are_no_more_at_a_time_than_cuda_takes(shift_size, calls):
    attention = WindowAttention(96, 7, 3).to("meta")
    x = torch.empty(124, 160, 160, 96, device="meta")
    assert shifted_window_attention(x, attention, shift_size).shape == x.shape
    assert sum(q[0] for q, _ in calls) == 124 * 23 * 23 > 65_535
    assert max(q[0] for q, _ in calls) <= 65_535
    assert max(math.prod(bias) for _, bias in calls) <= 2**24


def test_the_bias_of_unshifted_windows_is_held_once(calls):
    attention = WindowAttention(96, 7, 3).to("meta")
    shifted_window_attention(torch.empty(8, 160, 160, 96, device="meta"), attention, 0)
    assert calls == [((8 * 23 * 23, 3, 49, 32), (1, 3, 49, 49))]


@pytest.mark.parametrize(
    ("windows", "images", "shift_size", "expected"),
    [(100, 2, 2, [18, 18, 9]), (20, 9, 2, [18, 18, 9]), (100, 9, 2, [45]), (1, 1, 2, [9] * 5), (20, 1, 0, [20, 20, 5])],
)
def test_windows_at_a_time_change_nothing(windows, images, shift_size, expected, calls, monkeypatch):
    attention, x = randomised(WindowAttention(12, 4, 3)), random_map(5, 9, 12, 12).requires_grad_()

    def outcome() -> list[torch.Tensor]:
        out = shifted_window_attention(x, attention, shift_size)
        return [out.detach(), *torch.autograd.grad((out**2).sum(), (x, *attention.parameters()))]

    whole = outcome()
    calls.clear()
    monkeypatch.setattr(attention_module, "MOST_WINDOWS", windows)
    monkeypatch.setattr(attention_module, "MOST_BIAS", images * 9 * 3 * 16**2)
    torch.testing.assert_close(outcome(), whole, **exactly)
    assert [q[0] for q, _ in calls] == expected


@pytest.mark.usefixtures("whole_maps")
def test_mask_first_used_in_inference_mode_can_be_trained_with():
    kept_masks.clear()
    stage = SwinStage(8, 8, window_size=4)
    x = torch.rand(1, 8, 9, 9)
    with torch.inference_mode():
        expected = stage(x)
    loss = stage(x).square().sum()
    loss.backward()
    assert loss.item() == pytest.approx(expected.square().sum().item())


@pytest.mark.usefixtures("whole_maps")
def test_shapes_traced_without_values_leave_no_mask_behind():
    kept_masks.clear()
    stage = SwinStage(8, 8, window_size=4)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert stage(torch.rand(1, 8, 9, 9)).shape == (1, 8, 9, 9)
    assert type(stage(torch.rand(1, 8, 9, 9))) is torch.Tensor


@pytest.mark.parametrize("way", ["whole maps", "by pieces"])
def test_memory_does_not_grow_over_100_input_sizes(way, request):
    if way == "whole maps":
        request.getfixturevalue("whole_maps")
    stage = SwinStage(4, 4, window_size=2).eval()
    most = MASK_CACHE_SIZE if way == "whole maps" else LAYOUTS_KEPT

    def live_tensors_after(sizes) -> int:
        for H, W in sizes:
            stage(torch.rand(1, 4, H, W)).sum().backward()
        gc.collect()
        return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())

    sizes = [(2 * h, 2 * w) for h in range(2, 16) for w in range(2, 16)]  # each with a mask of its own
    assert len(sizes) >= most + 100
    full = live_tensors_after(sizes[:most])
    assert live_tensors_after(sizes[most:]) == full
    assert (len(kept_masks) if way == "whole maps" else layout.cache_info().currsize) == most


@pytest.mark.parametrize("name", ["window_size", "num_heads"])
@pytest.mark.parametrize("value", [0, -1, True, 2.0, "2", None], ids=repr)
def test_sizes_must_be_positive_integers(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be a positive integer, got"):
        WindowAttention(**{"dim": 8, "window_size": 4, "num_heads": 2, name: value})


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match=r"divisible by num_heads, got dim=8, num_heads=3"):
        WindowAttention(8, 4, 3)

import copy
import pickle

import pytest
import torch
from swin_oracles import SIZES, by_size, random_map, randomised
from torch._subclasses.fake_tensor import FakeTensorMode
from ultralytics.nn.modules import C3

from swin_yolo.nn import C3STR, SwinStage

exactly = {"rtol": 0, "atol": 1e-10}


def test_c3str_is_a_c3_around_a_swin_stage():
    layer = randomised(C3STR(8, 16, 2))
    x = random_map(2, 8, 9, 15)
    expected = layer.cv3(torch.cat((layer.m(layer.cv1(x)), layer.cv2(x)), 1))
    assert isinstance(layer.m, SwinStage)
    assert torch.equal(layer(x), expected)
    theirs = C3(8, 16, 2)
    for name in ("cv1", "cv2", "cv3"):
        assert str(getattr(layer, name)) == str(getattr(theirs, name))


def test_without_shortcut_the_stage_gives_only_what_its_blocks_add():
    layer, plain = C3STR(8, 16, 2, shortcut=True), C3STR(8, 16, 2, shortcut=False)
    randomised(layer), plain.double().eval().load_state_dict(layer.state_dict())
    x = random_map(2, 8, 9, 15)
    inner = plain.cv1(x)
    assert torch.equal(plain(x), plain.cv3(torch.cat((plain.m(inner) - inner, plain.cv2(x)), 1)))
    assert (plain(x) - layer(x)).abs().max() > 1e-3


@pytest.mark.parametrize("c2", [2, 6, 8, 16, 40, 62])
def test_hidden_channels_below_32_have_one_head(c2):
    layer = C3STR(4, c2)
    assert {block.attn.num_heads for block in layer.m.blocks} == {1}
    assert layer(torch.rand(2, 4, 8, 8)).shape == (2, c2, 8, 8)


@pytest.mark.parametrize(("n", "blocks"), [(1, 2), (2, 2), (3, 4), (9, 10)])
def test_depth_1_after_scaling_still_shifts(n, blocks):
    assert [block.shift_size for block in C3STR(8, 8, n).m.blocks] == [0, 3] * (blocks // 2)


@pytest.mark.parametrize("hw", SIZES, ids=by_size)
def test_c3str_keeps_the_map_size(hw):
    assert C3STR(4, 8)(torch.rand(2, 4, *hw)).shape == (2, 8, *hw)


def test_the_arguments_reach_the_blocks():
    layer = C3STR(8, 64, 4, True, 4, 2.0, True, 0.25)
    assert len(layer.m.blocks) == 4 and layer.cv1.conv.out_channels == 16
    for block in layer.m.blocks:
        assert block.attn.window_size == 4 and block.mlp.fc1.out_features == 32 and block.local is not None


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("local", [False, True], ids=["plain", "local"])
def test_every_parameter_gets_a_gradient(local, shortcut):
    layer = randomised(C3STR(8, 16, 2, shortcut, local=local)).train()
    layer(random_map(2, 8, 9, 15)).square().sum().backward()
    for name, p in layer.named_parameters():
        assert p.grad is not None and p.grad.any(), f"No gradient for {name}"


def test_a_batch_of_two_equals_two_of_one():
    layer = randomised(C3STR(8, 16))
    x = random_map(2, 8, 9, 15)
    torch.testing.assert_close(layer(x), torch.cat([layer(x[:1]), layer(x[1:])]), **exactly)


@pytest.mark.parametrize("precision", ["half", "bfloat16", "bfloat16 autocast", "float64"])
def test_other_precisions_are_near_fp32(precision):
    layer = randomised(C3STR(16, 32, local=True), std=0.05).float()
    x = random_map(1, 16, 15, 9).float()
    expected = layer(x)
    if precision == "bfloat16 autocast":
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
    else:
        dtype = getattr(torch, precision)
        y = copy.deepcopy(layer).to(dtype)(x.to(dtype))
    tolerance = {"half": 1e-2, "float64": 1e-5}.get(precision, 1e-1)
    assert (y.float() - expected).abs().max() < tolerance


def test_copies_give_the_same_output():
    layer = randomised(C3STR(8, 16, shortcut=False))
    x = random_map(1, 8, 9, 15)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x), layer(x))


def test_a_forward_needs_no_values():
    layer = C3STR(8, 16)
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert layer(torch.rand(1, 8, 9, 15)).shape == (1, 16, 9, 15)


@pytest.mark.parametrize("shortcut", [1, 0, None, "True", 7], ids=repr)
def test_shortcut_must_be_true_or_false(shortcut):
    with pytest.raises(ValueError, match="shortcut must be True or False, got"):
        C3STR(8, 8, 2, shortcut)


@pytest.mark.parametrize("window_size", [0, -7, True, 7.0], ids=repr)
def test_a_window_must_be_a_positive_integer(window_size):
    with pytest.raises(ValueError, match="window_size must be a positive integer, got"):
        C3STR(8, 8, window_size=window_size)


@pytest.mark.parametrize("e", [0, -0.5, 0.1])
def test_the_inner_path_needs_a_channel(e):
    with pytest.raises(ValueError, match="e must give at least one inner channel, got"):
        C3STR(8, 8, e=e)

import copy
import io
import pickle

import pytest
import torch
from swin_oracles import (
    SIZES,
    by_size,
    load_exactly,
    random_map,
    randomised,
    torchvision_block,
    torchvision_stage,
)
from timm.models.swin_transformer import SwinTransformerBlock as TimmBlock
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from swin_yolo.nn import SwinBlock, SwinStage, set_drop_path, shifted_window_attention, swin
from swin_yolo.nn.swin import DepthwiseConv, nearest_num_heads

exactly = {"rtol": 0, "atol": 1e-10}
PLAIN_OR_LOCAL = pytest.mark.parametrize("local", [False, True], ids=["plain", "local"])


@pytest.fixture(params=["by pieces", "whole maps"])
def both_ways(request, monkeypatch):
    """The two ways in which a block computes: by pieces on CPUs; whole maps on GPUs, under autocast and in graphs."""
    if request.param == "whole maps":
        monkeypatch.setattr(swin, "computes_in_pieces", lambda *_: False)


def nhwc(stage: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Output of an NCHW layer for an NHWC map, as NHWC."""
    return stage(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


# Closed form


@pytest.mark.parametrize(
    ("dim", "heads"),
    [(1, 1), (8, 1), (31, 1), (32, 1), (64, 2), (80, 2), (96, 3), (128, 4), (160, 5), (320, 10), (768, 24), (7, 1)],
)
def test_heads_are_32_channels_wide_or_as_near_as_divides(dim, heads):
    assert nearest_num_heads(dim) == heads


@pytest.mark.parametrize(("asked", "built"), [(1, 2), (2, 2), (3, 4), (6, 6), (7, 8)])
def test_an_odd_depth_gets_the_next_even_one(asked, built):
    stage = SwinStage(8, 8, asked)
    assert [block.shift_size for block in stage.blocks] == [0, 3] * (built // 2)


@pytest.mark.parametrize(("window", "shift"), [(1, 0), (4, 2), (7, 3), (8, 4)])
def test_the_shift_is_half_a_window(window, shift):
    assert [block.shift_size for block in SwinStage(8, 8, window_size=window).blocks] == [0, shift]


@PLAIN_OR_LOCAL
def test_a_stage_with_zero_init_is_the_identity(local):
    x = torch.randn(2, 16, 9, 15)
    assert torch.equal(SwinStage(16, 16, 4, local=local, zero_init=True)(x), x)


def test_a_stage_without_zero_init_is_not_the_identity():
    x = torch.randn(1, 16, 9, 15)
    assert not torch.allclose(SwinStage(16, 16)(x), x, atol=1e-3)


@pytest.mark.usefixtures("both_ways")
def test_a_zero_init_stage_learns():
    stage = SwinStage(16, 16, zero_init=True)
    x = torch.randn(1, 16, 9, 9)
    stage(x).square().sum().backward()
    torch.optim.SGD(stage.parameters(), 1e-3).step()
    assert not torch.equal(stage(x), x)


def test_set_drop_path_rises_linearly_over_all_blocks_of_a_model():
    model = nn.Sequential(SwinStage(8, 8, 2), nn.ReLU(), SwinStage(8, 8, 4))
    assert set_drop_path(model, 0.5) == 6
    rates = [block.drop_path.p for block in model.modules() if isinstance(block, SwinBlock)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_set_drop_path_on_a_model_without_swin_sets_none():
    assert set_drop_path(nn.Linear(2, 2), 0.5) == 0


# Invariants


@PLAIN_OR_LOCAL
@pytest.mark.parametrize("hw", SIZES, ids=by_size)
def test_a_stage_keeps_the_map_size(hw, local):
    assert SwinStage(8, 16, local=local)(torch.rand(2, 8, *hw)).shape == (2, 16, *hw)


@pytest.mark.usefixtures("both_ways")
@PLAIN_OR_LOCAL
def test_train_and_eval_agree_at_drop_path_0(local):
    stage = randomised(SwinStage(8, 8, local=local))
    x = random_map(2, 8, 15, 17)
    assert torch.equal(stage.eval()(x), stage.train()(x))


@pytest.mark.usefixtures("both_ways")
@PLAIN_OR_LOCAL
@pytest.mark.parametrize("c2", [8, 16])
def test_every_parameter_gets_a_gradient(c2, local):
    stage = randomised(SwinStage(8, c2, 4, local=local)).train()
    stage(random_map(2, 8, 15, 9)).square().sum().backward()
    for name, p in stage.named_parameters():
        assert p.grad is not None and p.grad.any(), f"No gradient for {name}"


@pytest.mark.usefixtures("both_ways")
@PLAIN_OR_LOCAL
def test_a_batch_of_two_equals_two_of_one(local):
    stage = randomised(SwinStage(8, 8, local=local))
    x = random_map(2, 8, 15, 9)
    torch.testing.assert_close(stage(x), torch.cat([stage(x[:1]), stage(x[1:])]), **exactly)


def test_channels_last_input_gives_the_same_in_channels_last():
    stage = randomised(SwinStage(8, 8, local=True))
    x = random_map(2, 8, 14, 9)
    y = stage(x.contiguous(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, stage(x), **exactly)


@PLAIN_OR_LOCAL
@pytest.mark.parametrize("precision", ["half", "bfloat16", "bfloat16 autocast", "float64"])
def test_other_precisions_are_near_fp32(precision, local):
    stage = randomised(SwinStage(32, 32, local=local), std=0.05).float()
    x = random_map(1, 32, 15, 9).float()
    expected = stage(x)
    if precision == "bfloat16 autocast":
        with torch.autocast("cpu", torch.bfloat16):
            y = stage(x)
    else:
        dtype = getattr(torch, precision)
        y = copy.deepcopy(stage).to(dtype)(x.to(dtype))
        assert y.dtype == dtype
    tolerance = {"half": 1e-2, "float64": 1e-5}.get(precision, 1e-1)
    assert (y.float() - expected).abs().max() < tolerance


def test_a_shifted_block_trains_under_autocast():
    block = SwinBlock(8, 2, window_size=4, shift_size=2, local=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = block(torch.rand(1, 9, 9, 8)).square().sum()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in block.parameters())


@pytest.mark.usefixtures("both_ways")
@PLAIN_OR_LOCAL
def test_a_fresh_block_with_local_terms_is_the_block_without(local):
    plain = randomised(SwinBlock(8, 2, shift_size=3))
    block = SwinBlock(8, 2, shift_size=3, local=local).double().eval()
    missing, unexpected = block.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all("local" in name for name in missing) and bool(missing) == local
    x = random_map(1, 15, 9, 8)
    assert torch.equal(block(x), plain(x))


@pytest.mark.usefixtures("both_ways")
def test_local_terms_keep_the_function_of_torchvision_weights():
    stage = SwinStage(12, 12, local=True).double().eval()
    for name, p in stage.named_parameters():
        if "local" not in name:
            nn.init.normal_(p, std=0.2)
    x = random_map(1, 15, 17, 12)
    without = SwinStage(12, 12).double().eval()
    without.load_state_dict({k: v for k, v in stage.state_dict().items() if "local" not in k})
    torch.testing.assert_close(nhwc(stage, x), torchvision_stage(without)(x), **exactly)


def test_local_terms_are_before_attention_and_inside_the_mlp():
    block = SwinBlock(8, 2, local=True)
    where = {name for name, m in block.named_modules() if isinstance(m, DepthwiseConv)}
    assert where == {"local", "mlp.local"}
    x = torch.rand(1, 5, 6, 8)
    for name in where:
        changed = copy.deepcopy(block)
        nn.init.ones_(changed.get_submodule(name).weight)
        assert not torch.allclose(changed(x), block(x)), f"{name} is not used"


def test_a_depthwise_term_sees_3x3_of_its_own_channel():
    conv = DepthwiseConv(2)
    nn.init.ones_(conv.weight)
    x = torch.zeros(1, 4, 4, 2)
    x[0, 1, 1, 0] = 1
    before = x.clone()
    assert conv(x)[0, ..., 0].tolist() == [[1, 1, 1, 0], [1, 2, 1, 0], [1, 1, 1, 0], [0, 0, 0, 0]]
    assert not conv(x)[..., 1].any()
    assert torch.equal(x, before)


def test_autocast_does_not_round_what_a_depthwise_term_is_added_to():
    conv, x = DepthwiseConv(2), torch.full((1, 4, 4, 2), 1 + 2**-12)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(conv(x), x)


@pytest.mark.usefixtures("both_ways")
def test_drop_path_leaves_branches_out_per_sample():
    torch.manual_seed(0)
    block = randomised(SwinBlock(8, 2, window_size=4, shift_size=2, drop_path=0.5))
    x = random_map(1, 5, 6, 8)
    # The four outputs that a sample can have; a kept branch is doubled, so that the mean stays.
    attention, outcomes = shifted_window_attention(block.norm1(x), block.attn, 2), {}
    for kept_attention in (0, 2):
        for kept_mlp in (0, 2):
            y = x + kept_attention * attention
            outcomes[kept_attention, kept_mlp] = y + kept_mlp * block.mlp(block.norm2(y))
    seen = []
    for y in block.train()(x.expand(64, -1, -1, -1)):
        near = [key for key, outcome in outcomes.items() if torch.allclose(y, outcome[0], rtol=0, atol=1e-10)]
        assert len(near) == 1
        seen += near
    assert set(seen) == set(outcomes)


def test_drop_path_does_nothing_in_eval():
    block = randomised(SwinBlock(8, 2, drop_path=0.5))
    x = random_map(1, 5, 6, 8)
    expected = block(x)
    block.drop_path.p = 0.0
    assert torch.equal(block(x), expected)


def test_a_stage_takes_one_drop_path_rate_per_block():
    assert [block.drop_path.p for block in SwinStage(8, 8, 2, drop_path=[0.1, 0.3]).blocks] == [0.1, 0.3]
    assert [block.drop_path.p for block in SwinStage(8, 8, 2, drop_path=0.2).blocks] == [0.2, 0.2]


@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "state_dict"])
def test_a_copy_gives_the_same_output(copied):
    stage = randomised(SwinStage(8, 16, local=True))
    x = random_map(1, 8, 15, 9)
    expected = stage(x)  # also puts masks where a copy might take them along
    if copied == "deepcopy":
        twin = copy.deepcopy(stage)
    elif copied == "pickle":
        twin = pickle.loads(pickle.dumps(stage))
    else:
        file = io.BytesIO()
        torch.save(stage.state_dict(), file)
        file.seek(0)
        twin = SwinStage(8, 16, local=True).double().eval()
        twin.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(twin(x), expected)


def test_the_state_dict_holds_parameters_only():
    stage = SwinStage(8, 16, local=True)
    stage(torch.rand(1, 8, 15, 9))
    assert set(stage.state_dict()) == {name for name, _ in stage.named_parameters()}


@pytest.mark.parametrize("hw", [(1, 1), (9, 15)], ids=by_size)
def test_a_stage_is_one_graph_for_the_compiler(hw):
    explained = torch._dynamo.explain(SwinStage(8, 16, window_size=4, local=True))(torch.rand(1, 8, *hw))
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::FutureWarning")
def test_a_traced_stage_equals_the_eager_one():
    stage = randomised(SwinStage(8, 8, local=True))
    x, y = random_map(2, 8, 15, 9), random_map(2, 8, 15, 9, seed=2)
    traced = torch.jit.trace(stage, x)
    torch.testing.assert_close(traced(y), stage(y), **exactly)


def test_an_exported_stage_equals_the_eager_one():
    stage = randomised(SwinStage(8, 8, local=True))
    x, y = random_map(2, 8, 15, 9), random_map(2, 8, 15, 9, seed=2)
    torch.testing.assert_close(torch.export.export(stage, (x,)).module()(y), stage(y), **exactly)


def test_a_forward_needs_no_values():
    stage = SwinStage(8, 16, local=True)
    with FakeTensorMode(allow_non_fake_inputs=True):  # raises where a value decides what is computed
        assert stage(torch.rand(1, 8, 15, 9)).shape == (1, 16, 15, 9)
    assert stage.to("meta")(torch.rand(1, 8, 15, 9, device="meta")).shape == (1, 16, 15, 9)


# Parity


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("shift", ["unshifted", "shifted"])
@pytest.mark.parametrize("window", [4, 7, 8], ids="window{}".format)
@pytest.mark.parametrize("hw", SIZES, ids=by_size)
def test_block_matches_torchvision(hw, window, shift):
    block = randomised(SwinBlock(12, 3, window_size=window, shift_size=window // 2 if shift == "shifted" else 0))
    x = random_map(2, *hw, 12)
    torch.testing.assert_close(block(x), torchvision_block(block)(x), **exactly)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("window", [4, 7, 8], ids="window{}".format)
@pytest.mark.parametrize("hw", SIZES, ids=by_size)
def test_stage_matches_torchvision(hw, window):
    stage = randomised(SwinStage(12, 12, 4, window, num_heads=3))
    x = random_map(1, *hw, 12)
    torch.testing.assert_close(nhwc(stage, x), torchvision_stage(stage)(x), **exactly)


def test_mlp_ratio_is_torchvision_s():
    block = randomised(SwinBlock(12, 3, mlp_ratio=2.5))
    assert block.mlp.fc1.out_features == 30
    x = random_map(1, 9, 7, 12)
    torch.testing.assert_close(block(x), torchvision_block(block)(x), **exactly)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("shift", ["unshifted", "shifted"])
@pytest.mark.parametrize("window", [4, 7], ids="window{}".format)
@pytest.mark.parametrize("windows_hw", [(1, 1), (2, 2), (1, 3), (3, 2)], ids=by_size)
def test_block_matches_timm_where_sizes_divide(windows_hw, window, shift):
    shift_size = window // 2 if shift == "shifted" else 0
    hw = (windows_hw[0] * window, windows_hw[1] * window)
    block = randomised(SwinBlock(12, 3, window_size=window, shift_size=shift_size))
    theirs = load_exactly(TimmBlock(12, hw, 3, window_size=window, shift_size=shift_size), block.state_dict())
    x = random_map(2, *hw, 12)
    torch.testing.assert_close(block(x), theirs(x), **exactly)


def test_a_stage_maps_other_channels_linearly_first():
    stage = randomised(SwinStage(8, 12, num_heads=3))
    x = random_map(1, 9, 15, 8)
    torch.testing.assert_close(nhwc(stage, x), torchvision_stage(stage)(stage.proj_in(x)), **exactly)


# Errors


@pytest.mark.parametrize("shift_size", [-1, 7, 8])
def test_a_shift_must_be_less_than_a_window(shift_size):
    with pytest.raises(ValueError, match=rf"shift_size must be in \[0, 7\), got {shift_size}"):
        SwinBlock(8, 2, window_size=7, shift_size=shift_size)


@pytest.mark.parametrize("window_size", [0, -7, True, 7.0, "7", None], ids=repr)
@pytest.mark.parametrize(
    "layer", [lambda w: SwinBlock(8, 2, window_size=w), lambda w: SwinStage(8, 8, 2, w)], ids=["SwinBlock", "SwinStage"]
)
def test_a_window_must_be_a_positive_integer(layer, window_size):
    with pytest.raises(ValueError, match="window_size must be a positive integer, got"):
        layer(window_size)


@pytest.mark.parametrize("depth", [0, -2, True, 2.0], ids=repr)
def test_a_depth_must_be_a_positive_integer(depth):
    with pytest.raises(ValueError, match="depth must be a positive integer, got"):
        SwinStage(8, 8, depth)


def test_heads_must_divide_the_channels_of_a_stage():
    with pytest.raises(ValueError, match="divisible by num_heads, got dim=16, num_heads=3"):
        SwinStage(8, 16, num_heads=3)


def test_zero_init_needs_equal_channels():
    with pytest.raises(ValueError, match="zero_init needs as many channels out as in, got c1=8, c2=16"):
        SwinStage(8, 16, zero_init=True)


@pytest.mark.parametrize("rates", [[0.1], [0.1, 0.2, 0.3]], ids=len)
def test_drop_path_rates_must_be_as_many_as_blocks(rates):
    with pytest.raises(ValueError, match="drop_path must be one rate or 2, one for each block"):
        SwinStage(8, 8, 2, drop_path=rates)


@pytest.mark.parametrize("ratio", [0, -4, 0.01])
def test_an_mlp_needs_a_hidden_channel(ratio):
    with pytest.raises(ValueError, match="mlp_ratio must give at least one hidden channel"):
        SwinStage(8, 8, mlp_ratio=ratio)

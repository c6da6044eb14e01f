import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from swin_oracles import SIZES, by_size, random_map, randomised, torchvision_block
from torch.nn.modules import module as module_hooks
from torch.utils.flop_counter import FlopCounterMode

import swin_yolo
from swin_yolo.nn import SwinBlock, SwinStage, linear, pieces, shifted_window_attention, swin
from swin_yolo.nn.window import shifted_window_mask, window_partition

exactly = {"rtol": 0, "atol": 1e-10}


def block_of(window: int, shift_size: int, **kwargs) -> SwinBlock:
    return randomised(SwinBlock(12, 3, window_size=window, shift_size=shift_size, **kwargs))


def infer(block: SwinBlock, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return block(x)


@pytest.mark.parametrize("tokens", [1, 120, 2048], ids="pieces of {}".format)
@pytest.mark.parametrize("shift", ["unshifted", "shifted"])
@pytest.mark.parametrize("hw", SIZES, ids=by_size)
def test_a_block_in_pieces_is_torchvisions(hw, shift, tokens, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", tokens)
    for window in (4, 7, 8):
        block = block_of(window, window // 2 if shift == "shifted" else 0)
        x = random_map(3, *hw, 12)
        torch.testing.assert_close(infer(block, x), torchvision_block(block)(x), **exactly)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions_come_near(dtype):
    block, x = block_of(7, 3), random_map(1, 15, 17, 12)
    expected = infer(block, x)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 0.3}[dtype]
    ours = infer(block.to(dtype), x.to(dtype))
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=tolerance)


def test_autocast_computes_linear_layers_in_bf16(monkeypatch):
    block, x = block_of(7, 3).float(), random_map(1, 14, 14, 12).float()
    exact = infer(block, x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = infer(block, x)
    assert rounded.dtype == torch.float32
    assert 1e-4 < (rounded - exact).abs().max() < 0.3


@pytest.mark.parametrize("local", [False, True])
def test_the_input_is_left_as_it_was(local):
    block, x = block_of(7, 3, local=local), random_map(2, 9, 10, 12)
    before = x.clone()
    infer(block, x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("local", [False, True])
def test_with_and_without_gradients_the_same_comes_out(local):
    block, x = block_of(7, 3, local=local), random_map(2, 9, 10, 12)
    torch.testing.assert_close(infer(block, x), block(x).detach(), **exactly)


def test_a_map_in_channels_first_order_is_taken_too():
    block, x = block_of(7, 3), random_map(2, 12, 9, 10)
    torch.testing.assert_close(infer(block, x.permute(0, 2, 3, 1)), infer(block, x.permute(0, 2, 3, 1).contiguous()))


@pytest.mark.parametrize("grad", [False, True])
def test_the_default_device_does_not_matter(grad):
    block, x = block_of(4, 2, drop_path=0.5).train(), random_map(4, 9, 10, 12)

    def outcome() -> list[torch.Tensor]:
        pieces.layout.cache_clear()
        torch.manual_seed(0)
        with torch.set_grad_enabled(grad):
            out = block(x)
        return [out.detach(), *(torch.autograd.grad(out.sum(), list(block.parameters())) if grad else ())]

    expected = outcome()
    with torch.device("meta"):
        assert all(map(torch.equal, outcome(), expected))
    assert pieces.layout(9, 10, 4, 2).kinds.device.type == "cpu"  # which is kept


@pytest.mark.parametrize("name", ["attn", "attn.qkv", "mlp", "norm1"])
def test_a_hook_sees_the_whole_map_once(name):
    block, x = block_of(7, 3), random_map(2, 15, 17, 12)
    seen = []
    block.get_submodule(name).register_forward_hook(lambda module, args, output: seen.append(output.numel()))
    out = infer(block, x)
    assert len(seen) == 1 and seen[0] >= out.numel()


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(
    "register",
    [
        module_hooks.register_module_forward_hook,
        module_hooks.register_module_forward_pre_hook,
        module_hooks.register_module_full_backward_hook,
        module_hooks.register_module_full_backward_pre_hook,
    ],
    ids=lambda register: register.__name__,
)
def test_hooks_on_all_modules_are_waited_for(register, grad):
    block, x = block_of(7, 3), random_map(1, 7, 7, 12)
    assert swin.computes_in_pieces(block, x)
    hook = register(lambda *_: None)
    with torch.set_grad_enabled(grad):
        computes_in_pieces = swin.computes_in_pieces(block, x)
    hook.remove()
    assert not computes_in_pieces


class Drop(torch.nn.Module):
    """Stochastic depth of another library: draws otherwise and has other attributes."""

    def forward(self, x):
        return x * 0.5


class MapNorm(torch.nn.Module):
    """A norm over whole maps."""

    def forward(self, x):
        return x - x.mean((1, 2), keepdim=True)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize(
    ("name", "layer"), [("drop_path", torch.nn.Identity()), ("drop_path", Drop()), ("norm1", MapNorm())]
)
def test_what_was_put_in_the_place_of_a_norm_or_of_drop_path_gets_whole_maps(name, layer, grad):
    block, x = block_of(4, 2), random_map(2, 9, 10, 12)
    setattr(block, name, layer)
    y = x + block.drop_path(shifted_window_attention(block.norm1(x), block.attn, 2))
    expected = y + block.drop_path(block.mlp(block.norm2(y)))
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(block(x), expected, **exactly)


def test_a_layer_put_in_the_place_of_a_linear_one_is_called():
    class Negated(torch.nn.Linear):
        def forward(self, x):
            return -super().forward(x)

    block, x = block_of(7, 3).float(), random_map(1, 7, 7, 12).float()
    block.mlp.fc2 = Negated(48, 12)
    torch.testing.assert_close(infer(block, x), block(x).detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["attn", "mlp"])
def test_a_branch_put_in_the_place_of_ours_is_called(name):
    block, x = block_of(7, 3), random_map(1, 7, 7, 12)
    kind = type(getattr(block, name))
    changed = type("Changed", (kind,), {"forward": lambda self, *args: 2 * kind.forward(self, *args)})
    getattr(block, name).__class__ = changed
    torch.testing.assert_close(infer(block, x), block(x).detach(), **exactly)


def test_stochastic_depth_in_training_mode_still_drops():
    block = block_of(7, 0, drop_path=1.0).train()
    x = random_map(1, 7, 7, 12)
    assert torch.equal(infer(block, x), x)


def test_masks_of_a_layout_are_those_of_the_whole_map():
    layout = pieces.layout(21, 30, 7, 3)
    whole = shifted_window_mask(21, 35, 7, (3, 3))
    assert torch.equal(layout.masks[layout.kinds], whole)


def test_an_axis_of_one_window_is_not_masked():
    layout = pieces.layout(5, 16, 7, 3)
    assert torch.equal(layout.masks[layout.kinds], shifted_window_mask(7, 21, 7, (0, 3)))


def test_tokens_beyond_the_map_are_told():
    layout = pieces.layout(6, 8, 4, 0)
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    beyond = window_partition((rows >= 6)[None, :, :, None], 4)[..., 0]
    assert torch.equal(layout.beyond, beyond)
    place = window_partition((rows * 8 + columns)[None, :, :, None], 4)[..., 0]
    assert torch.equal(layout.order[~beyond], place[~beyond])


@pytest.mark.parametrize("tokens", [16, 64, 200])
def test_pieces_cover_every_window_of_every_image_once(tokens, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", tokens)
    layout = pieces.layout(8, 12, 4, 2)
    seen = []
    for piece in pieces.pieces(layout, range(5), 96):
        assert piece.order.numel() <= max(tokens, 16) and len(piece.kinds) == len(piece.order)
        seen += (piece.order).flatten().tolist()
    assert sorted(seen) == list(range(5 * 96))


def test_no_flop_is_missed():
    block, x = block_of(7, 3).float(), random_map(2, 14, 21, 12).float().requires_grad_()

    def count(run: Callable[[], object]) -> int:
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    tokens, C, N = 2 * 14 * 21, 12, 49
    products = 2 * tokens * (4 * C * C + 2 * N * C + 8 * C * C)  # the linear layers of attention, itself, the MLP
    assert count(lambda: block(x)) == count(lambda: infer(block, x)) == products
    assert count(lambda: block(x).sum().backward()) == 3 * products
    # By the fused attention, which computes the logits again.
    block.attn.relative_position_bias_table.requires_grad_(False)
    assert count(lambda: block(x).sum().backward()) == 3 * products + 2 * tokens * N * C


# A PyTorch that was built without oneDNN: it has none of its operators, but a switch for it that is on.
WITHOUT_ONEDNN = """
import torch
def get(self, name, get=torch._ops._OpNamespace.__getattr__):
    if self.name == "mkldnn":
        raise AttributeError(name)
    return get(self, name)
torch._ops._OpNamespace.__getattr__ = get
for name in list(torch.ops.mkldnn):
    delattr(torch.ops.mkldnn, name)
torch._C._has_mkldnn = False
from swin_yolo.nn import SwinBlock
block, x = SwinBlock(12, 3), torch.rand(1, 9, 9, 12)
block(x).sum().backward()
with torch.no_grad():
    print(block(x).shape)
"""


def test_a_pytorch_without_onednn_will_do(tmp_path):
    path = os.pathsep.join([str(Path(swin_yolo.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ONEDNN],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("torch.Size([1, 9, 9, 12])\n"), done.stderr


def test_onednn_is_left_out_where_it_is_switched_off(monkeypatch):
    block, x = block_of(7, 3).float(), random_map(1, 9, 9, 12).float()
    expected = infer(block, x)
    monkeypatch.setattr(linear, "_ONEDNN", lambda *_: pytest.fail("was called"))
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    torch.testing.assert_close(infer(block, x), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("grad", [False, True])
def test_a_stage_gives_its_map_in_the_memory_format_it_got(memory_format, grad):
    stage = randomised(SwinStage(12, 12, 2))
    x = random_map(2, 12, 9, 10).contiguous(memory_format=memory_format)
    with torch.set_grad_enabled(grad):
        assert stage(x).is_contiguous(memory_format=memory_format)


def test_layouts_of_many_sizes_are_bounded():
    for side in range(1, 200):
        pieces.layout(side, side % 13 + 1, 7, 3)
    assert pieces.layout.cache_info().currsize == pieces.LAYOUTS_KEPT


@pytest.mark.parametrize(
    ("count", "most", "taken"), [(84, 41, 28), (82, 41, 41), (83, 41, 28), (5, 41, 5), (1, 1, 1), (7, 1, 1), (0, 3, 1)]
)
def test_pieces_are_of_about_one_size(count, most, taken):
    assert pieces.shares(count, most) == taken

"""Gradients by pieces held against those that autograd gives for whole maps, in float64."""

from contextlib import nullcontext

import pytest
import torch
from swin_oracles import SIZES, by_size, random_map, randomised
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from swin_yolo.nn import SwinBlock, pieces, swin

exactly = {"rtol": 1e-10, "atol": 1e-10}


def block_of(window: int, shift_size: int, **kwargs) -> SwinBlock:
    return randomised(SwinBlock(12, 3, window_size=window, shift_size=shift_size, **kwargs))


@pytest.fixture
def whole(monkeypatch):
    """Run a function with blocks that compute whole maps."""

    def run(function, *args):
        with monkeypatch.context() as patched:
            patched.setattr(swin, "computes_in_pieces", lambda *_: False)
            return function(*args)

    return run


def outcome(block: SwinBlock, x: torch.Tensor, *, seed: int = 0) -> dict[str, torch.Tensor | None]:
    """What a block makes of x, and the gradients of a random projection of that."""
    block.zero_grad()
    x = x.clone().requires_grad_()
    torch.manual_seed(seed)
    out = block(x)
    (out * random_map(*out.shape, seed=2)).sum().backward()
    return {"out": out.detach(), "x": x.grad, **{name: p.grad for name, p in block.named_parameters()}}


def assert_same(ours: dict, expected: dict) -> None:
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        if value is None:
            assert ours[name] is None, name
        else:
            torch.testing.assert_close(ours[name], value, **exactly, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture
def by_pieces(monkeypatch):
    """The numbers of tokens of the pieces in which gradients were computed."""
    seen = []
    real = pieces.put_back

    def noted(rows, piece, out):
        seen.append(len(rows))
        real(rows, piece, out)

    monkeypatch.setattr("swin_yolo.nn.piecewise_training.put_back", noted)
    return seen


@pytest.mark.parametrize("tokens", [120, 2048], ids="pieces of {}".format)
@pytest.mark.parametrize("shift", ["unshifted", "shifted"])
@pytest.mark.parametrize("hw", SIZES, ids=by_size)
def test_gradients_are_those_of_whole_maps(hw, shift, tokens, whole, by_pieces, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", tokens)
    for window in (4, 7, 8):
        block = block_of(window, window // 2 if shift == "shifted" else 0)
        x = random_map(3, *hw, 12)
        assert_same(outcome(block, x), whole(outcome, block, x))
    assert max(by_pieces) <= max(tokens, 64)


@pytest.mark.parametrize("kwargs", [{"local": True}, {"mlp_ratio": 1.5}], ids=["local terms", "narrow MLP"])
def test_other_blocks_have_them_too(kwargs, whole):
    block, x = block_of(7, 3, **kwargs), random_map(2, 15, 9, 12)
    assert_same(outcome(block, x), whole(outcome, block, x))


def test_without_a_bias_of_queries_keys_and_values(whole):
    block, x = block_of(7, 3), random_map(2, 15, 9, 12)
    block.attn.qkv.bias = None
    assert_same(outcome(block, x), whole(outcome, block, x))


@pytest.mark.parametrize("tokens", [30, 2048], ids="pieces of {}".format)
@pytest.mark.parametrize("p", [0.3, 0.6, 1.0])
def test_stochastic_depth_draws_and_gives_the_same(p, tokens, whole, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", tokens)
    block, x = block_of(4, 2, drop_path=p).train(), random_map(8, 5, 6, 12)
    for seed in range(4):
        assert_same(outcome(block, x, seed=seed), whole(lambda seed=seed: outcome(block, x, seed=seed)))


def test_images_without_a_branch_cost_nothing(by_pieces):
    block, x = block_of(4, 0, drop_path=1.0).train(), random_map(8, 4, 4, 12)
    got = outcome(block, x)
    assert torch.equal(got["out"], x) and not by_pieces
    assert all(not value.any() for name, value in got.items() if name not in ("out", "x"))


@pytest.mark.parametrize(
    "frozen", ["norm1.weight", "norm2.bias", "attn.qkv.weight", "attn.proj.bias", "attn.relative", "mlp.fc1", "x"]
)
def test_what_is_frozen_gets_no_gradient(frozen, whole):
    block, x = block_of(7, 3), random_map(2, 9, 10, 12)

    def gradients() -> dict[str, torch.Tensor | None]:
        block.zero_grad(set_to_none=True)
        leaf = x.clone().requires_grad_(frozen != "x")
        block(leaf).square().sum().backward()
        return {"x": leaf.grad, **{name: p.grad for name, p in block.named_parameters()}}

    names = [name for name, _ in block.named_parameters() if name.startswith(frozen)]
    for name in names:
        block.get_parameter(name).requires_grad_(False)
    ours = gradients()
    assert all(ours[name] is None for name in names or ["x"])
    assert_same(ours, whole(gradients))


def test_a_map_in_channels_first_order_is_taken_too(whole):
    block, x = block_of(7, 3), random_map(2, 12, 9, 10)

    def gradients() -> dict[str, torch.Tensor | None]:
        leaf = x.clone().requires_grad_()
        out = block(leaf.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        (out * random_map(*out.shape, seed=2)).sum().backward()
        return {"out": out.detach(), "x": leaf.grad}

    assert_same(gradients(), whole(gradients))


def test_the_input_is_left_as_it_was():
    block, x = block_of(7, 3), random_map(2, 9, 10, 12)
    leaf = x.clone().requires_grad_()
    block(leaf).sum().backward()
    assert torch.equal(leaf.detach(), x)


def test_checkpointing_gives_the_same():
    block, x = block_of(7, 3), random_map(2, 9, 10, 12)
    expected = outcome(block, x)
    block.zero_grad()
    leaf = x.clone().requires_grad_()
    out = checkpoint(block, leaf, use_reentrant=False)
    (out * random_map(*out.shape, seed=2)).sum().backward()
    torch.testing.assert_close(leaf.grad, expected["x"], **exactly)


def test_less_is_kept_than_autograd_keeps(whole):
    block, x = block_of(7, 3), random_map(1, 28, 28, 12)

    def kept() -> int:
        storages: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with saved_tensors_hooks(note, lambda tensor: tensor):
            out = block(x.clone().requires_grad_())
        del out
        return sum(storages.values())

    assert kept() < 0.75 * whole(kept)


def test_a_second_derivative_is_refused():
    block, x = block_of(7, 3), random_map(1, 7, 7, 12).requires_grad_()
    (first,) = torch.autograd.grad(block(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_torch_func_has_second_derivatives_and_forward_mode(whole):
    block, x = block_of(4, 2), random_map(1, 5, 6, 12)
    direction = random_map(1, 5, 6, 12, seed=3)

    def loss(x: torch.Tensor) -> torch.Tensor:
        return block(x).square().sum()

    def second() -> torch.Tensor:
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
        return torch.autograd.grad((first * direction).sum(), leaf)[0]

    with sdpa_kernel(SDPBackend.MATH):
        _, along = torch.func.jvp(torch.func.grad(loss), (x,), (direction,))
        torch.testing.assert_close(along, whole(second), **exactly)


def test_gradients_under_autocast_are_in_the_precision_of_the_forward_pass():
    block, x = block_of(7, 3).float(), random_map(2, 15, 9, 12).float()

    def gradients(enabled: bool) -> list[torch.Tensor]:
        out = block(x).square().sum()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            return list(torch.autograd.grad(out, list(block.parameters())))

    assert all(map(torch.equal, gradients(True), gradients(False)))


def add_hook(block: SwinBlock) -> None:
    block.attn.proj.register_forward_hook(lambda *_: None)


def add_backward_hook(block: SwinBlock) -> None:
    block.mlp.fc2.register_full_backward_hook(lambda *_: None)


def replace_linear(block: SwinBlock) -> None:
    block.mlp.fc2.__class__ = type("Other", (torch.nn.Linear,), {})


def replace_norm(block: SwinBlock) -> None:
    block.norm1.__class__ = type("Other", (torch.nn.LayerNorm,), {})


def round_to_bf16(block: SwinBlock) -> None:
    block.bfloat16()


@pytest.mark.parametrize("change", [add_hook, add_backward_hook, replace_linear, replace_norm, round_to_bf16])
def test_a_block_that_is_not_as_it_was_made_computes_whole_maps(change, by_pieces):
    block = block_of(7, 3)
    change(block)
    block(random_map(1, 7, 7, 12).to(block.norm1.weight.dtype)).sum().backward()
    assert block.attn.qkv.weight.grad is not None and not by_pieces


@pytest.mark.parametrize("enabled", [False, True])
def test_autocast_computes_whole_maps(enabled, by_pieces):
    block = block_of(7, 3).float()
    with torch.autocast("cpu", torch.bfloat16) if enabled else nullcontext():
        out = block(random_map(1, 7, 7, 12).float())
    out.sum().backward()
    assert bool(by_pieces) != enabled


def test_functional_transforms_have_gradients():
    block, x = block_of(7, 3), random_map(2, 9, 10, 12)
    parameters = {name: p.detach() for name, p in block.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(block, parameters, x).square().sum()

    gradients = torch.func.grad(loss)(parameters)
    block.zero_grad()
    block(x).square().sum().backward()
    for name, p in block.named_parameters():
        torch.testing.assert_close(gradients[name], p.grad, **exactly)

"""Linear layers by oneDNN held against nn.Linear, and when it is to be nn.Linear itself."""

import pytest
import torch
import torch.autograd.forward_ad as fwAD
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from swin_yolo.nn import C3STR, PatchMerging, SwinStage
from swin_yolo.nn import linear as module
from swin_yolo.nn.linear import linear

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
nearly = {"rtol": 1e-5, "atol": 1e-5}


def make(*, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(24, 40, bias=bias)


def rows(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def calls(monkeypatch):
    """How often oneDNN was called."""
    seen = []
    real = module._ONEDNN
    monkeypatch.setattr(module, "_ONEDNN", lambda *args: seen.append(args) or real(*args))
    return seen


@needs_onednn
@pytest.mark.parametrize("gelu", [False, True], ids=["", "gelu"])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("shape", [(1,), (0,), (3, 5), (2, 7, 3)], ids=str)
def test_what_comes_out_is_that_of_the_layer(shape, bias, gelu, calls):
    layer, x = make(bias=bias), rows(*shape)
    with torch.no_grad():
        expected = layer(x)
        torch.testing.assert_close(linear(x, layer, gelu=gelu), F.gelu(expected) if gelu else expected, **nearly)
    assert len(calls) == 1


@needs_onednn
@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
@pytest.mark.parametrize("gelu", [False, True], ids=["", "gelu"])
@pytest.mark.parametrize("frozen", ["nothing", "x", "weight", "bias", "no bias"])
def test_gradients_are_those_of_the_layer(frozen, gelu, capability, calls, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    layer = make(bias=frozen != "no bias")
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name != frozen)

    def gradients(function) -> list[torch.Tensor | None]:
        layer.zero_grad()
        x = rows(3, 5).requires_grad_(frozen != "x")
        function(x).square().sum().backward()
        return [x.grad, *(p.grad for p in layer.parameters())]

    ours = gradients(lambda x: linear(x, layer, gelu=gelu))
    assert len(calls) == 1 + (frozen != "x") + (frozen != "weight" and capability == "AVX512")
    expected = gradients(lambda x: F.gelu(layer(x)) if gelu else layer(x))
    for mine, value in zip(ours, expected, strict=True):
        assert (mine is None) == (value is None)
        if value is not None:
            torch.testing.assert_close(mine, value, **nearly)


def test_second_derivatives_are_those_of_the_layer():
    layer = make()

    def second(function) -> tuple[torch.Tensor, ...]:
        x = rows(3, 5).requires_grad_()
        (first,) = torch.autograd.grad(function(x).sin().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), (x, layer.weight))

    for mine, expected in zip(second(lambda x: linear(x, layer)), second(layer), strict=True):
        torch.testing.assert_close(mine, expected, **nearly)


class Other(nn.Linear):
    """As LoRA and quantization put one in the place of a layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1


def test_another_layer_is_called_as_it_is(calls):
    layer = Other(24, 40)
    assert torch.equal(linear(rows(3), layer), layer(rows(3))) and not calls


@pytest.mark.parametrize("every", [False, True], ids=["hook of the layer", "hook on all modules"])
def test_hooks_see_the_layer(every, calls):
    layer, seen = make(), []
    register = nn.modules.module.register_module_forward_hook if every else layer.register_forward_hook
    handle = register(lambda *_: seen.append(1))
    linear(rows(3), layer)
    handle.remove()
    assert seen == [1] and not calls


def test_double_precision_and_autocast_are_the_layers_own(calls):
    layer = make()
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(rows(3), layer).dtype == torch.bfloat16
    assert linear(rows(3).double(), layer.double()).dtype == torch.float64
    assert not calls


def test_functional_transforms_have_gradients(calls):
    layer, x = make(), rows(3)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(parameters) -> torch.Tensor:
        return torch.func.functional_call(Called(layer), {f"layer.{k}": v for k, v in parameters.items()}, x).sum()

    assert torch.equal(torch.func.grad(loss)(parameters)["bias"], torch.full((40,), 3.0)) and not calls


class Called(nn.Module):
    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.layer)


@needs_onednn
@pytest.mark.parametrize("grad", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(
    ("layer", "products"),
    [
        (SwinStage(24, 32, 2), 1 + 2 * 4),
        (SwinStage(24, 24, 2, local=True), 2 * 4),
        (C3STR(24, 24, 2, local=True), 2 * 4),
        (PatchMerging(24), 1),
    ],
    ids=["stage", "local stage", "C3STR", "merging"],
)
def test_all_products_of_a_layer_go_by_it(layer, products, grad, calls):
    with torch.set_grad_enabled(grad):
        layer.eval()(torch.rand(1, 24, 7, 7))
    assert len(calls) == products


class Adapter(nn.Module):
    """A layer in the place of another, without a weight of its own."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def test_a_layer_without_a_weight_is_called_as_it_is(calls):
    merging, x = PatchMerging(24), torch.rand(1, 24, 4, 4)
    with torch.no_grad():
        expected = merging(x)
        calls.clear()
        merging.reduction = Adapter(merging.reduction)
        torch.testing.assert_close(merging(x), expected, **nearly)
    assert not calls


class Packed(torch.Tensor):
    """Weights of another type, as libraries that quantize put them into a plain layer."""


def test_weights_of_another_type_are_left_to_the_layer(calls):
    layer = make().requires_grad_(False)
    layer.weight = nn.Parameter(layer.weight.as_subclass(Packed), requires_grad=False)
    expected = F.linear(rows(3), layer.weight.as_subclass(torch.Tensor), layer.bias)
    with torch.no_grad():
        torch.testing.assert_close(linear(rows(3), layer).as_subclass(torch.Tensor), expected, **nearly)
    assert not calls


def test_another_forward_of_a_layer_is_called(calls):
    layer = make()
    layer.forward = lambda x: x + 1
    assert torch.equal(linear(rows(3), layer), rows(3) + 1) and not calls
    stage = SwinStage(24, 24, 2).eval()
    stage.blocks[0].mlp.fc2.forward = lambda x: torch.full((*x.shape[:-1], 24), torch.nan)
    with torch.no_grad():
        assert stage(torch.rand(1, 24, 7, 7)).isnan().all()


@pytest.mark.parametrize("layer", [SwinStage(24, 32, 2), SwinStage(24, 24, 2, local=True), PatchMerging(24)])
def test_forward_mode_derivatives_without_gradients(layer):
    layer, x, direction = layer.eval(), torch.rand(1, 24, 8, 8), torch.rand(1, 24, 8, 8)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        with fwAD.dual_level():
            derivative = fwAD.unpack_dual(layer(fwAD.make_dual(x, direction))).tangent
        double = layer.double()
        step = 1e-6 * direction.double()
        expected = (double(x.double() + step) - double(x.double() - step)) / 2e-6
    torch.testing.assert_close(derivative.double(), expected, rtol=1e-3, atol=1e-3)


@needs_onednn
@pytest.mark.parametrize("capability", ["AVX2", "AVX512"])
@pytest.mark.parametrize("shape", [(0,), (2, 0), (3, 5)], ids=str)
def test_gradients_of_a_sum_and_of_nothing(shape, capability, calls, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    layer, x = make(), rows(*shape).requires_grad_()
    found = torch.autograd.grad(linear(x, layer).sum(), (x, *layer.parameters()))
    assert all(0 not in weight.stride() for _, weight, *_ in calls), "oneDNN takes seconds for these"
    expected = torch.autograd.grad(layer(x).sum(), (x, *layer.parameters()))
    for mine, value in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, value, **nearly)


def test_of_frozen_layers_nothing_is_kept():
    layer, x = make(), rows(3, 5).requires_grad_()
    layer.requires_grad_(False)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        linear(x, layer).sum().backward()
    assert kept == [layer.weight.shape]
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        linear(x.detach(), layer.requires_grad_()).sum().backward()
    assert kept == [x.shape]


@needs_onednn
def test_batched_gradients_are_those_of_the_layer():
    layer, x = make(), rows(3)
    ours = torch.autograd.functional.jacobian(lambda x: linear(x, layer), x, vectorize=True)
    torch.testing.assert_close(ours, torch.autograd.functional.jacobian(layer, x, vectorize=True), **nearly)

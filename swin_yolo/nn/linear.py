"""Linear layers on a CPU by oneDNN, the other of the two libraries that PyTorch has there for matrix products.

`nn.Linear` takes MKL, convolutions take oneDNN. For the products of Swin layers oneDNN is faster where it was measured:
by 7 to 17% on one AMD EPYC, 1.6 to 2.1 times on a later one with AVX-512, which MKL leaves unused on processors of
other makers.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as every_module

# PyTorch can be built without oneDNN, and then has no such operator.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def linear(x: Tensor, layer: nn.Linear, *, gelu: bool = False) -> Tensor:
    """What a linear layer gives, with gradients; in fp32 on a CPU by oneDNN.

    Args:
        x: (..., in).
        layer: the layer. One that is not a plain nn.Linear with plain weights on the device of `x` is called as it is,
            and so is any with hooks, in a graph, under autocast or under a transform of torch.func.
        gelu: put a GELU behind it, which oneDNN then computes while the product is in the cache.

    Returns:
        (..., out).
    """
    if not by_onednn(x, layer):
        out = layer(x)
    elif not torch.is_grad_enabled():
        return product(x, layer.weight, layer.bias, gelu=gelu)
    else:
        out = _Linear.apply(x, layer.weight, layer.bias)
    return F.gelu(out) if gelu else out


def by_onednn(x: Tensor, layer: nn.Linear) -> bool:
    """Whether `linear` takes oneDNN for (..., in) `x`."""
    return (
        type(layer) is nn.Linear
        and type(layer.weight) in (nn.Parameter, Tensor)
        and x.device.type == "cpu" == layer.weight.device.type
        and x.dtype == torch.float32 == layer.weight.dtype
        and not is_traced(x)
        and not is_transformed()
        and not torch.is_autocast_enabled("cpu")
        and not has_hooks(layer)
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """Give x weight^T + bias, or the GELU of it, without gradients; in fp32 by oneDNN."""
    # In a backward pass that is to be differentiated itself, gradients are wanted after all.
    if _ONEDNN is None or x.dtype != torch.float32 or not torch.backends.mkldnn.enabled or torch.is_grad_enabled():
        out = F.linear(x, weight, bias)
        return F.gelu(out) if gelu else out
    return _ONEDNN(x, weight, bias, "gelu" if gelu else "none", [], "none")


def add_weight_gradient(total: Tensor, grad: Tensor, x: Tensor) -> None:
    """Add to `total`, (out, in), the gradient of a weight.

    Args:
        total: what there is of it.
        grad: (n, out) gradient of what came out.
        x: (n, in) what went in.
    """
    # Both operands lie the wrong way round, which with AVX2 costs oneDNN more than it gains. It has no empty sums,
    # and takes a thousand times as long where all of a gradient is one number in memory, as that of a sum is.
    if torch.backends.cpu.get_cpu_capability() == "AVX512" and len(x):
        total += product(x.t(), grad.contiguous().t()).t()
    else:
        total.addmm_(grad.t(), x)


def is_traced(x: Tensor) -> bool:
    """Whether a graph or shapes (by a tensor subclass) are being recorded, rather than values computed."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling() or type(x) is not Tensor


def is_transformed() -> bool:
    """Whether a transform of torch.func or forward-mode differentiation is at work, which oneDNN's operators lack."""
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def has_hooks(*modules: nn.Module) -> bool:
    """Whether somebody waits for what these modules compute: by hooks, theirs or on all, or by another `forward`."""
    return every_module._has_any_global_hook() or any(
        any((m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks)) or "forward" in vars(m)
        for m in modules
    )


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wants_x, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if wants_weight else None, weight if wants_x else None)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        of_weight = None
        if wants_weight:
            of_weight = grad.new_zeros(grad.shape[-1], x.shape[-1])
            add_weight_gradient(of_weight, rows, x.reshape(-1, x.shape[-1]))
        return (
            product(grad, weight.t()) if wants_x else None,
            of_weight,
            rows.sum(0) if wants_bias else None,
        )

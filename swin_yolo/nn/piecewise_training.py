"""The branches of `piecewise` in training: their gradients too, a piece of the map at a time.

Of a branch, autograd keeps a dozen maps (what comes out of the norm, the MLP's hidden layer before the GELU and after
it, ...). Here it keeps what matrix products gave: q, k, v, the attention, the hidden layer before the GELU. All else
is computed again, in the cache, for less than reading it would take.

Second derivatives are refused. torch.func has them, and with forward-mode differentiation blocks go by whole maps as
well, where torch.nn.attention.sdpa_kernel asks for SDPBackend.MATH: PyTorch's fused attention for CPUs has neither.

Shapes: `B` batch, `H W` map in tokens, `C` channels, `N` tokens per window, `nH` heads, `d` channels per head, `n`
windows of a piece.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from .attention import WindowAttention
from .linear import add_weight_gradient, product
from .pieces import layout, pieces, put_back, row_pieces
from .piecewise import Depth, attention_in_pieces, mlp_in_pieces, with_room


def attention_in_training(
    x: Tensor, norm: nn.LayerNorm, attention: WindowAttention, shift_size: int, depth: Depth
) -> Tensor:
    """`attention_in_pieces` with gradients for `x` and all parameters."""
    out: Tensor = _Attention.apply(
        x,
        attention.relative_position_bias(),
        norm.weight,
        norm.bias,
        attention.qkv.weight,
        attention.qkv.bias,
        attention.proj.weight,
        attention.proj.bias,
        (norm, attention, shift_size, depth),
    )
    return out


def mlp_in_training(x: Tensor, norm: nn.LayerNorm, fc1: nn.Linear, fc2: nn.Linear, depth: Depth) -> Tensor:
    """`mlp_in_pieces` with gradients for `x`, which is left as it is, and all parameters."""
    parameters = norm.weight, norm.bias, fc1.weight, fc1.bias, fc2.weight, fc2.bias
    out: Tensor = _Mlp.apply(x, *parameters, (norm, fc1, fc2, depth))
    return out


class _LinearGradients:
    """Gradients of a linear layer's weight (out, in) and bias, summed over pieces; None where they are not needed."""

    def __init__(self, weight: Tensor, needs_weight: bool, needs_bias: bool):
        self._transposed = weight.t().contiguous()
        self.weight = torch.zeros_like(weight) if needs_weight else None
        self.bias = weight.new_zeros(len(weight)) if needs_bias else None

    def back(self, grad: Tensor, x: Tensor) -> Tensor:
        """Gradient (n, out) of what a piece (n, in) gave to the gradient of the piece."""
        if self.weight is not None:
            add_weight_gradient(self.weight, grad, x)
        if self.bias is not None:
            self.bias += grad.sum(0)
        return product(grad, self._transposed)


class _NormGradients:
    """Gradients of a layer norm's weight (C,) and bias, summed over pieces; None where they are not needed."""

    def __init__(self, weight: Tensor, bias: Tensor, eps: float, needs_weight: bool, needs_bias: bool):
        self._parameters, self._eps = (weight, bias), eps
        self.weight = torch.zeros_like(weight) if needs_weight else None
        self.bias = torch.zeros_like(bias) if needs_bias else None

    def again(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A piece (n, C) normed, and its mean and reciprocal standard deviation, which `back` wants."""
        return torch.native_layer_norm(x, x.shape[-1:], *self._parameters, self._eps)

    def back(self, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
        """Gradient (n, C) of the normed piece to the gradient of the piece."""
        wanted = [True, self.weight is not None, self.bias is not None]
        grad, weight, bias = torch.ops.aten.native_layer_norm_backward(
            grad, x, x.shape[-1:], mean, rstd, *self._parameters, wanted
        )
        if self.weight is not None:
            self.weight += weight
        if self.bias is not None:
            self.bias += bias
        return grad


class _Attention(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx: Any, x: Tensor, bias: Tensor, *arguments: Any) -> Tensor:
        (norm_weight, norm_bias, qkv_weight, _, proj_weight, _, branch) = arguments
        norm, attention, shift_size, depth = branch
        kept: list[Tensor] = []
        out = attention_in_pieces(x, norm, attention, shift_size, depth, bias=bias, kept=kept)
        ctx.save_for_backward(x, norm_weight, norm_bias, qkv_weight, proj_weight, *kept)
        ctx.eps, ctx.depth, ctx.num_heads = norm.eps, depth, attention.num_heads
        ctx.windows = layout(*x.shape[1:3], attention.window_size, shift_size)
        return out

    @staticmethod
    @custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, norm_weight, norm_bias, qkv_weight, proj_weight, *kept = ctx.saved_tensors
        _, needs_bias, *needs = ctx.needs_input_grad
        norm = _NormGradients(norm_weight, norm_bias, ctx.eps, needs[0], needs[1])
        qkv = _LinearGradients(qkv_weight, needs[2], needs[3])
        proj = _LinearGradients(proj_weight, needs[4], needs[5])
        images, scale = ctx.depth
        _, H, W, C = x.shape
        nH, N = ctx.num_heads, ctx.windows.order.shape[1]
        bias = x.new_zeros(nH, N, N)
        tokens, grads, out = x.reshape(-1, C), grad.reshape(-1, C), with_room(grad, images)
        for number, piece in enumerate(pieces(ctx.windows, images, H * W)):
            (q, k, v), weights = kept[2 * number : 2 * number + 2]
            places, shape = piece.order.flatten(), (len(piece.order), N, nH, C // nH)
            beyond = None if piece.beyond is None else piece.beyond.flatten()[:, None]
            taken, arrived = tokens.index_select(0, places), grads.index_select(0, places)  # n*N C
            normed, mean, rstd = norm.again(taken)
            if beyond is not None:
                normed.masked_fill_(beyond, 0)
                arrived.masked_fill_(beyond, 0)
            attended = torch.bmm(weights, v).view(len(piece.order), nH, N, -1).transpose(1, 2).reshape(-1, C)
            grad_x = proj.back(arrived * scale, attended).view(shape).transpose(1, 2).reshape(q.shape)  # n*nH N d
            grad_weights = torch.bmm(grad_x, v.transpose(1, 2))
            grad_logits = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            if needs_bias:
                bias += grad_logits.view(-1, nH, N, N).sum(0)
            grad_qkv = torch.stack(
                [
                    torch.bmm(grad_logits, k).mul_(shape[-1] ** -0.5),
                    torch.bmm(grad_logits.transpose(1, 2), q).mul_(shape[-1] ** -0.5),
                    torch.bmm(weights.transpose(1, 2), grad_x),
                ]
            )
            grad_qkv = grad_qkv.view(3, -1, nH, N, shape[-1]).permute(1, 3, 0, 2, 4).reshape(-1, 3 * C)
            grad_normed = qkv.back(grad_qkv, normed)
            if beyond is not None:
                grad_normed.masked_fill_(beyond, 0)
            put_back(norm.back(grad_normed, taken, mean, rstd).add_(arrived), piece, out.view(-1, C))
        given = (norm.weight, norm.bias, qkv.weight, qkv.bias, proj.weight, proj.bias)
        return (out, bias if needs_bias else None, *given, None)


class _Mlp(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx: Any, x: Tensor, *arguments: Any) -> Tensor:
        (norm_weight, norm_bias, weight1, _, weight2, _, branch) = arguments
        norm, fc1, fc2, depth = branch
        kept: list[Tensor] = []
        out = mlp_in_pieces(x, norm, fc1, fc2, depth, kept=kept)
        ctx.save_for_backward(x, norm_weight, norm_bias, weight1, weight2, *kept)
        ctx.eps, ctx.depth = norm.eps, depth
        return out

    @staticmethod
    @custom_bwd(device_type="cpu")
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, norm_weight, norm_bias, weight1, weight2, *kept = ctx.saved_tensors
        _, *needs = ctx.needs_input_grad
        norm = _NormGradients(norm_weight, norm_bias, ctx.eps, needs[0], needs[1])
        fc1 = _LinearGradients(weight1, needs[2], needs[3])
        fc2 = _LinearGradients(weight2, needs[4], needs[5])
        images, scale = ctx.depth
        _, H, W, C = x.shape
        tokens, grads, out = x.reshape(-1, C), grad.reshape(-1, C), with_room(grad, images)
        for rows, hidden in zip(row_pieces(images, H * W), kept, strict=True):
            taken, arrived = tokens[rows], grads[rows]
            normed, mean, rstd = norm.again(taken)
            grad_hidden = torch.ops.aten.gelu_backward(fc2.back(arrived * scale, F.gelu(hidden)), hidden)
            grad_taken = norm.back(fc1.back(grad_hidden, normed), taken, mean, rstd)
            torch.add(grad_taken, arrived, out=out.view(-1, C)[rows])
        return (out, norm.weight, norm.bias, fc1.weight, fc1.bias, fc2.weight, fc2.bias, None)

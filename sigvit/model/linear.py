"""Affine maps and LayerNorm of one model or of K stacked ones; of ours it imports only products.

Where the weights have a leading axis K, so has x, and member k of the one meets member k of the other.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from sigvit.products import linear

# D = width, K = stacked models

# From so many numbers of one model on, a norm's way back is faster in a call for each of K models than in shared ones (docs/log.md).
OWN_CALL = 2**16


def mapped(layer: nn.Module, x: Tensor) -> Tensor:
    """(…, inputs) → (…, outputs) by a layer, or by K stacked ones. A plain layer's weights are used without the cost of a call, 2 % of a small model's step.

    >>> mapped(nn.Linear(5, 7), torch.zeros(2, 3, 5)).shape
    torch.Size([2, 3, 7])
    """
    if is_plain(layer) or (isinstance(layer, nn.Linear) and layer.weight.ndim == 3):
        return linear(x, layer.weight, layer.bias)
    return layer(x)


def is_plain(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether nobody can tell if the layer is called or its weights are used: it computes what `nn.Linear` does, and nothing is hooked on it."""
    return type(layer).forward is nn.Linear.forward and not is_altered(layer)


def is_altered(module: nn.Module) -> bool:
    """Whether a call of the module does more, or something else, than its class says: it has hooks, or a forward of its own."""
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks) or "forward" in module.__dict__


def along(vector: Tensor, x: Tensor) -> Tensor:
    """A vector (D,) as it is, K of them (K, D) as (K, 1, …, 1, D): shaped to meet x, (…, D) or (K, …, D)."""
    return vector if vector.ndim == 1 else vector.view(len(vector), *[1] * (x.ndim - 2), -1)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """(…, D) → (…, D) with the weights of one norm, or (K, …, D) with stacked ones."""
    if norm.weight.ndim == 1:
        return norm(x)
    if x.device.type == "cpu" and x.dtype == norm.weight.dtype and not torch.compiler.is_compiling():
        return StackedNorm.apply(x, norm.weight, norm.bias, norm.eps)
    return torch.addcmul(along(norm.bias, x), functional.layer_norm(x, x.shape[-1:], eps=norm.eps), along(norm.weight, x))


class StackedNorm(torch.autograd.Function):
    """LayerNorm of K models, (K, …, D) with weights and biases (K, D): on a CPU in .55 to .8 of the time that torch's kernel and a product behind it take.

    It has first derivatives alone.

    >>> x, weight, bias = torch.randn(2, 3, 5), torch.randn(2, 5), torch.randn(2, 5)
    >>> torch.allclose(StackedNorm.apply(x, weight, bias, 1e-6)[1], functional.layer_norm(x[1], (5,), weight[1], bias[1], 1e-6), atol=1e-5)
    True
    """

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        normed = x - mean
        scale = torch.linalg.vector_norm(normed, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        normed.mul_(scale)
        context.save_for_backward(x, weight, mean, scale, None if x[0].numel() >= OWN_CALL else normed)
        return torch.addcmul(along(bias, x), normed, along(weight, x))

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale, normed = context.saved_tensors
        if normed is None:
            told = zip(gradient.contiguous(), x, mean, scale, weight, weight, strict=True)  # of a bias it asks only whether there is one
            parts = [_norm_backward(*each) for each in told]
            return *(torch.stack(part) for part in zip(*parts, strict=True)), None
        of_x, *_ = _norm_backward(gradient * along(weight, x), x, mean, scale, None, None)
        return of_x, (gradient * normed).flatten(1, -2).sum(1), gradient.flatten(1, -2).sum(1), None


def _norm_backward(gradient: Tensor, x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, ...]:
    """Of x, and of weight and bias where there are some, by torch's kernel."""
    wanted = [True, weight is not None, bias is not None]
    return torch.ops.aten.native_layer_norm_backward(gradient, x, x.shape[-1:], mean, scale, weight, bias, wanted)

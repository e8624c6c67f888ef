"""Affine maps and LayerNorm of one model or of K stacked ones; of ours it imports only the faster products.

Where the weights have a leading axis K, so has x, and member k of the one meets member k of the other.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.model.products import WORTH_A_CALL, fast_products, is_slow_in_mkl

# D = width, K = stacked models


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(…, inputs) → (…, outputs) by a matrix (outputs, inputs); or (K, …, inputs) by K matrices (K, outputs, inputs), as one batched product.

    >>> x, weight = torch.randn(2, 3, 5), torch.randn(2, 7, 5)
    >>> torch.allclose(linear(x, weight, None)[1], linear(x[1], weight[1], None), atol=1e-6)
    True
    """
    if weight.ndim == 3 and len(weight) == 1:  # batched products would copy what is transposed
        return linear(x[0], weight[0], None if bias is None else bias[0])[None]
    return FastLinear.apply(x, weight, bias) if _pays(x, weight) else _plain_linear(x, weight, bias)


def _plain_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if weight.ndim == 2:
        return functional.linear(x, weight, bias)
    rows = x.reshape(len(weight), -1, x.shape[-1])
    product = torch.bmm(rows, weight.mT) if bias is None else torch.baddbmm(bias[:, None], rows, weight.mT)
    return product.view(*x.shape[:-1], -1)


def _pays(x: Tensor, weight: Tensor) -> bool:
    """Whether a product of float32 on a CPU is large enough for `fast_products`, and nobody compiles or casts it."""
    if not (x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.numel() * weight.shape[-2] >= WORTH_A_CALL and is_slow_in_mkl()):
        return False
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled("cpu"))


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
    return torch.addcmul(along(norm.bias, x), functional.layer_norm(x, x.shape[-1:], eps=norm.eps), along(norm.weight, x))


class FastLinear(torch.autograd.Function):
    """`linear` within `fast_products`, there and back.

    >>> x, weight = torch.ones(2, 3), torch.ones(5, 3, requires_grad=True)
    >>> FastLinear.apply(x, weight, None).sum().backward()
    >>> weight.grad[0].tolist()
    [2.0, 2.0, 2.0]
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # type: ignore[override]
        rows = _rows(x, weight)
        with fast_products(x.numel() * weight.shape[-2]):
            product = rows @ weight.mT
        # Given with the product, the bias would first be copied to all rows: 5 to 12 % of the product's time.
        product = product if bias is None else product.add_(along(bias, product))
        return product.view(*x.shape[:-1], -1)

    @staticmethod
    def setup_context(context: Any, inputs: tuple, output: Tensor) -> None:  # type: ignore[override]
        context.save_for_backward(*inputs[:2])
        context.save_for_forward(*inputs[:2])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = context.saved_tensors
        wanted, rows = context.needs_input_grad, _rows(gradient, weight)
        with torch.autocast("cpu", enabled=False), fast_products(x.numel() * weight.shape[-2]):  # the way there wasn't cast either
            of_x = (rows @ weight).view(x.shape) if wanted[0] else None
            of_weight = rows.mT @ _rows(x, weight) if wanted[1] else None
        return of_x, of_weight, rows.sum(-2) if wanted[2] else None

    @staticmethod
    def jvp(context: Any, *tangents: Tensor | None) -> Tensor:  # type: ignore[override]
        x, weight = context.saved_tensors
        of_x, of_weight, of_bias = tangents
        parts = [linear(of_x, weight, None)] if of_x is not None else []
        parts += [linear(x, of_weight, None)] if of_weight is not None else []
        parts += [along(of_bias, x).expand(*x.shape[:-1], -1)] if of_bias is not None else []
        return torch.stack(parts).sum(0)

    @staticmethod
    def vmap(info: Any, axes: tuple, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:  # type: ignore[override]
        return torch.vmap(_plain_linear, axes)(x, weight, bias), 0


def _rows(x: Tensor, weight: Tensor) -> Tensor:
    """(…, inputs) → (rows, inputs), or (K, …, inputs) → (K, rows, inputs) where K matrices are stacked."""
    return x.reshape(*weight.shape[:-2], -1, x.shape[-1])

"""Affine maps and LayerNorm of one model or of K stacked ones; of ours it imports only products.

Where the weights have a leading axis K, so has x, and member k of the one meets member k of the other.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.products import linear

# D = width, K = stacked models


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

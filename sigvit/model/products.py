"""The product of a linear layer in float32 by the faster of torch's two libraries on a CPU; imports nothing of ours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# From so many multiply-adds oneDNN's products are faster, 1.4 to 2.3 times; below, its cost of a call is more than it saves (docs/log.md).
WORTH_A_CALL = 4_000_000
# The gradient of weights sums over rows, which oneDNN divides badly among threads: it pays from this longer side on.
LONG_SIDE_ALONE, LONG_SIDE = 96, 192


def _is_slow_in_mkl() -> bool:
    """Whether torch's own products, which are MKL's, take twice oneDNN's time here: they stay at 256 bits on a CPU of AMD's, whose fifth generation
    multiplies 512 bits at once, and is the one of AMD's that knows vp2intersect."""
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    is_fifth = str(found.get("cpu_name", "")).startswith("AMD") and bool(found.get("avx512_vp2intersect"))
    return is_fifth and torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


SLOW_IN_MKL = _is_slow_in_mkl()


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(…, inputs) → (…, outputs) by a matrix (outputs, inputs), as `torch.nn.functional.linear` computes it.

    >>> x, weight = torch.randn(700, 384), torch.randn(192, 384)
    >>> torch.allclose(product(x, weight, None), functional.linear(x, weight), atol=1e-3)
    True
    """
    if not (SLOW_IN_MKL and _is_plain(x, weight) and x.numel() * len(weight) >= WORTH_A_CALL):
        return functional.linear(x, weight, bias)
    return Product.apply(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)


def _is_plain(x: Tensor, weight: Tensor) -> bool:
    """Whether two tensors of float32 meet on a CPU, and nobody traces, compiles, counts or casts what is done with them."""
    if not (type(x) is Tensor and type(weight) in (Tensor, nn.Parameter) and x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"):
        return False
    is_watched = torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack() > 0
    return not (is_watched or torch.is_autocast_enabled("cpu"))


class Product(torch.autograd.Function):
    """`torch.nn.functional.linear` of (rows, inputs) in float32 on a CPU through oneDNN, with all derivatives.

    >>> Product.apply(torch.ones(2, 3), torch.ones(5, 3), torch.zeros(5))[0].tolist()
    [3.0, 3.0, 3.0, 3.0, 3.0]
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # type: ignore[override]
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    def setup_context(context: Any, inputs: tuple, output: Tensor) -> None:  # type: ignore[override]
        context.save_for_backward(*inputs[:2])
        context.save_for_forward(*inputs[:2])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight = context.saved_tensors
        wanted, gradient = context.needs_input_grad, gradient.contiguous()
        with torch.autocast("cpu", enabled=False):  # the way there wasn't cast either
            of_x = Product.apply(gradient, weight.t(), None) if wanted[0] else None
            of_weight = _weight_gradient(x, gradient) if wanted[1] else None
        return of_x, of_weight, gradient.sum(0) if wanted[2] else None

    @staticmethod
    def jvp(context: Any, x_tangent: Tensor | None, weight_tangent: Tensor | None, bias_tangent: Tensor | None) -> Tensor:  # type: ignore[override]
        x, weight = context.saved_tensors
        parts = [] if x_tangent is None else [functional.linear(x_tangent, weight)]
        parts += [] if weight_tangent is None else [functional.linear(x, weight_tangent)]
        return sum(parts + ([] if bias_tangent is None else [bias_tangent.expand(len(x), -1)]))  # type: ignore[return-value]

    @staticmethod
    def vmap(info: Any, axes: tuple, x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:  # type: ignore[override]
        return torch.vmap(functional.linear, axes)(x, weight, bias), 0


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """(rows, inputs) and (rows, outputs) → (outputs, inputs)."""
    inputs, outputs = x.shape[1], gradient.shape[1]
    if max(inputs, outputs) < (LONG_SIDE_ALONE if torch.get_num_threads() == 1 else LONG_SIDE):
        return gradient.t() @ x
    # The longer side as rows of the answer: 1.1 to 1.6 times as fast.
    return Product.apply(x.t(), gradient.t(), None).t() if outputs >= inputs else Product.apply(gradient.t(), x.t(), None)

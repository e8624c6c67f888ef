"""Products in float32 by the faster of torch's two libraries on a CPU; imports nothing of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import RLock
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

# From so many multiply-adds oneDNN's products are faster, 1.1 to 2.4 times; below, its cost of a call is more than it saves (docs/log.md).
WORTH_A_CALL = 2_500_000
# Held while the setting changes: it is the process', and of threads that are inside at once the last one puts it back.
LOCK = RLock()
_before: list[str] = []


def _is_slow_in_mkl() -> bool:
    """Whether torch's own products, which are MKL's, take twice oneDNN's time here, and oneDNN's are as exact.

    MKL stays at 256 bits on CPUs of AMD's; their fifth generation, the one of AMD's that knows vp2intersect, multiplies 512 bits at once.
    """
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available() and hasattr(torch.backends.mkldnn, "matmul")):
        return False
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return str(found.get("cpu_name", "")).startswith("AMD") and bool(found.get("avx512_vp2intersect")) and _stays_exact()


def _stays_exact() -> bool:
    """Whether products keep float32's 24 bits where torch is told that bfloat16's 8 would do, which is how they come to oneDNN. Without instructions for
    such products they do; should another version of oneDNN round, the small part of 1 + 2⁻¹² would be gone."""
    x = torch.full((64, 64), 1 + 2**-12)
    with _by_onednn():
        return torch.equal(x @ torch.eye(64), x)


@contextmanager
def _by_onednn() -> Iterator[None]:
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    with LOCK:
        _before.append(matmul.fp32_precision)
        matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        with LOCK:
            before = _before.pop()
            if not _before:  # then it is what the first to enter found
                matmul.fp32_precision = before


# Looked at here and not at the first product, which may be within a mode that counts or fakes what is computed.
SLOW_IN_MKL = _is_slow_in_mkl()


def fast_products(multiply_adds: int) -> AbstractContextManager[None]:
    """Within it, products of so many multiply-adds in all are computed by the faster library, as exactly. Torch's fused attention becomes slower.

    >>> with fast_products(211 * 307 * 401):
    ...     (torch.ones(211, 307) @ torch.ones(307, 401))[0, 0].item()
    307.0
    """
    return _by_onednn() if multiply_adds >= WORTH_A_CALL and SLOW_IN_MKL else nullcontext()


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, n, m) and (…, m, p) → (…, n, p), plus a bias (…, p); … = nothing, or the same for all. The way back is as fast as the way there.

    >>> product(torch.ones(2, 3), torch.ones(3, 5), torch.ones(5))[0].tolist()
    [4.0, 4.0, 4.0, 4.0, 4.0]
    """
    return Product.apply(left, right, bias) if _pays(left, right) else _product(left, right, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(…, inputs) → (…, outputs) by a matrix (outputs, inputs); or (K, …, inputs) by K matrices (K, outputs, inputs), as one batched product.

    >>> x, weight = torch.randn(2, 3, 5), torch.randn(2, 7, 5)
    >>> torch.allclose(linear(x, weight, None)[1], linear(x[1], weight[1], None), atol=1e-6)
    True
    """
    if weight.ndim == 2 and not _pays(x, weight.mT):
        return functional.linear(x, weight, bias)
    if weight.ndim == 3 and len(weight) == 1:  # batched products would copy what is transposed
        return linear(x[0], weight[0], None if bias is None else bias[0])[None]
    rows = x.reshape(*weight.shape[:-2], -1, x.shape[-1])
    return product(rows, weight.mT, bias).view(*x.shape[:-1], -1)


def _pays(left: Tensor, right: Tensor) -> bool:
    """Whether `product` of these two has a faster way here: of float32 on a CPU, large enough, and nobody traces, compiles or casts it."""
    if not SLOW_IN_MKL or type(left) is not Tensor or torch.compiler.is_compiling() or torch.jit.is_tracing() or _multiply_adds(left, right) < WORTH_A_CALL:
        return False
    is_forward_mode = forward_ad._current_level >= 0  # what it would keep for forward derivatives, it would keep through a whole way back
    plain = left.dtype == right.dtype == torch.float32 and left.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return plain and not is_forward_mode


def _multiply_adds(left: Tensor, right: Tensor) -> int:
    return left.numel() * right.shape[-1]


def _product(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return left @ right
    return torch.addmm(bias, left, right) if left.ndim == 2 else torch.baddbmm(bias[..., None, :], left, right)


class Product(torch.autograd.Function):
    """`product` within `fast_products`, there and back.

    >>> left, right = torch.ones(2, 3), torch.ones(3, 5, requires_grad=True)
    >>> Product.apply(left, right, None).sum().backward()
    >>> right.grad[0].tolist()
    [2.0, 2.0, 2.0, 2.0, 2.0]
    """

    @staticmethod
    def forward(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:  # type: ignore[override]
        with fast_products(_multiply_adds(left, right)):
            found = left @ right
        # Given with the product, the bias would first be copied to all rows: 5 to 12 % of the product's time.
        return found if bias is None else found.add_(bias[..., None, :])

    @staticmethod
    def setup_context(context: Any, inputs: tuple, output: Tensor) -> None:  # type: ignore[override]
        context.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        left, right = context.saved_tensors
        wanted = context.needs_input_grad
        with torch.autocast("cpu", enabled=False), fast_products(_multiply_adds(left, right)):  # the way there wasn't cast either
            of_left = gradient @ right.mT if wanted[0] else None
            of_right = (gradient.mT @ left).mT if wanted[1] else None  # laid out as the weights that a layer keeps
        return of_left, of_right, gradient.sum(-2) if wanted[2] else None

    @staticmethod
    def vmap(info: Any, axes: tuple, left: Tensor, right: Tensor, bias: Tensor | None) -> tuple[Tensor, int]:  # type: ignore[override]
        if None in axes[:2] or left.ndim != 3 or right.ndim != 3:
            return torch.vmap(_product, axes)(left, right, bias), 0
        left, right = left.movedim(axes[0], 0), right.movedim(axes[1], 0)
        if bias is not None:
            bias = bias.expand(len(left), -1) if axes[2] is None else bias.movedim(axes[2], 0)
        return product(left, right, bias), 0

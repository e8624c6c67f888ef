"""Products in float32 by the faster of torch's two libraries on a CPU; imports nothing of ours."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from threading import RLock, get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.utils._python_dispatch import _disable_current_modes

# From so many multiply-adds oneDNN's products are faster, most of them 1.2 to 2.4 times; below, its cost of a call is more than it saves (docs/log.md).
WORTH_A_CALL = 2_500_000
# oneDNN writes code for every shape that it meets, in four times a small product's time and half a megabyte: of a packed batch, whose number of rows changes
# from step to step (and of any other batch of one), it gets a multiple of this, and MKL the rest; that is worth it from more multiply-adds on.
ROWS, WORTH_TWO_CALLS = 256, 20_000_000
# Set while a step is traced on shapes for this CPU: what has no numbers then goes the way that numbers go here.
TRACED_HERE: ContextVar[bool] = ContextVar("traced_here", default=False)


class ByOneDNN:
    """Within it, products of float32 are oneDNN's: torch gives them to it where it is told that bfloat16 would do. The setting is the process', and of
    threads that are inside at once the last one puts it back. A thread that was interrupted on its way out does so with its next product."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = RLock(), set[int](), "none"
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    def __enter__(self) -> None:
        own, matmul = get_ident(), torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        # An interrupt may come between any two lines: what to put back is known, and that this thread owes it, before anything is changed.
        with self._lock:
            told, is_first = str(matmul.fp32_precision), not self._inside
            if is_first:
                self._before = told
            self._inside.add(own)
            if is_first and told != "none":
                matmul.fp32_precision = "none"
                if matmul.fp32_precision == told:  # what all of torch was told, and these products are to go on following it
                    self._before = "none"
            matmul.fp32_precision = "bf16"

    def __exit__(self, *raised: object) -> None:
        own = get_ident()
        with self._lock:
            if self._inside <= {own}:
                torch.backends.mkldnn.matmul.fp32_precision = self._before  # type: ignore[attr-defined]
            self._inside.discard(own)

    def _begin_anew(self) -> None:
        """In a forked process, which has none of the threads that were inside."""
        self._lock = RLock()
        if self._inside:
            torch.backends.mkldnn.matmul.fp32_precision = self._before  # type: ignore[attr-defined]
            self._inside.clear()


BY_ONEDNN = ByOneDNN()


def _is_slow_in_mkl() -> bool:
    """Whether torch's own products, which are MKL's, take twice oneDNN's time here, and oneDNN's keep float32's digits.

    MKL stays at 256 bits on CPUs of AMD's; their fifth generation, the one of AMD's that knows vp2intersect, multiplies 512 bits at once.
    """
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available() and hasattr(torch.backends.mkldnn, "matmul")):
        return False
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return str(found.get("cpu_name", "")).startswith("AMD") and bool(found.get("avx512_vp2intersect")) and _keeps_digits()


def _keeps_digits() -> bool:
    """Whether products keep 24 bits where torch is told that bfloat16's 8 would do. So far oneDNN rounds only for a CPU with AMX, which AMD's have not; if
    it rounded, the small part of 1 + 2⁻¹² would be gone. Somebody's modes, which may fake or count what is computed, are left for the time."""
    with _disable_current_modes(), torch.autocast("cpu", enabled=False), BY_ONEDNN:
        x = torch.full((2, 64, 64), 1 + 2**-12, dtype=torch.float32, device="cpu")
        one = torch.eye(64, dtype=torch.float32, device="cpu")
        return torch.equal(x[0] @ one, x[0]) and torch.equal(x @ one.expand(2, -1, -1), x)


SLOW_IN_MKL = _is_slow_in_mkl()


def fast_products(multiply_adds: int) -> AbstractContextManager[None]:
    """Within it, products of so many multiply-adds in all are computed by the faster library, up to float32's roundings.

    The setting behind it is the process': products and fused attention that other threads compute meanwhile may be rounded differently, and the latter is
    slower.

    >>> with fast_products(211 * 307 * 401):
    ...     (torch.ones(211, 307) @ torch.ones(307, 401))[0, 0].item()
    307.0
    """
    return BY_ONEDNN if multiply_adds >= WORTH_A_CALL and SLOW_IN_MKL else nullcontext()


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """(…, n, m) and (…, m, p) → (…, n, p), plus a bias (…, p); … = nothing, or the same for all. The way back is as fast as the way there.

    >>> product(torch.ones(2, 3), torch.ones(3, 5), torch.ones(5))[0].tolist()
    [4.0, 4.0, 4.0, 4.0, 4.0]
    """
    return Product.apply(left, right, bias, False) if _pays(left, right, right.shape[-1], bias) else _product(left, right, bias)


def is_here(x: Tensor) -> bool:
    """Whether this CPU computes with a tensor: numbers of torch's own type, or shapes that are traced for it.

    >>> is_here(torch.ones(2)), is_here(torch.ones(2, device="meta"))
    (True, False)
    """
    return x.device.type == "cpu" and (type(x) is Tensor or TRACED_HERE.get())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(…, inputs) → (…, outputs) by a matrix (outputs, inputs); or (K, …, inputs) by K matrices (K, outputs, inputs), as one batched product.

    >>> x, weight = torch.randn(2, 3, 5), torch.randn(2, 7, 5)
    >>> torch.allclose(linear(x, weight, None)[1], linear(x[1], weight[1], None), atol=1e-6)
    True
    """
    if weight.ndim == 3 and weight.shape[0] == 1:  # batched products would copy what is transposed
        return linear(x, weight[0], None if bias is None else bias[0])
    if weight.ndim == 3:
        return product(x.reshape(len(weight), -1, x.shape[-1]), weight.mT, bias).view(*x.shape[:-1], -1)
    is_fast = _pays(x, weight, weight.shape[0], bias)
    packed = is_fast and x.ndim == 3 and len(x) == 1
    if not is_fast or (packed and x.numel() * len(weight) < WORTH_TWO_CALLS):
        return functional.linear(x, weight, bias)
    return Product.apply(x.reshape(-1, x.shape[-1]), weight.mT, bias, packed).view(*x.shape[:-1], -1)


def _pays(left: Tensor, right: Tensor, columns: int, bias: Tensor | None) -> bool:
    """Whether a product has a faster way here: of float32 on a CPU, large enough, and nobody traces, compiles or casts it."""
    if not SLOW_IN_MKL or type(left) is not Tensor or type(right) not in (Tensor, nn.Parameter) or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if left.layout != torch.strided or left.is_nested:
        return False
    if left.numel() * columns < WORTH_A_CALL or not left.dtype == right.dtype == (right if bias is None else bias).dtype == torch.float32:
        return False
    is_forward_mode = forward_ad._current_level >= 0  # what it would keep for forward derivatives, it would keep through a whole way back
    return left.device.type == "cpu" and not is_forward_mode and not torch.is_autocast_enabled("cpu")


def _product(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    if bias is None:
        return left @ right
    return torch.addmm(bias, left, right) if left.ndim == 2 else torch.baddbmm(bias[..., None, :], left, right)


class Product(torch.autograd.Function):
    """`product` by the faster library, there and back.

    >>> left, right = torch.ones(2, 3), torch.ones(3, 5, requires_grad=True)
    >>> Product.apply(left, right, None, False).sum().backward()
    >>> right.grad[0].tolist()
    [2.0, 2.0, 2.0, 2.0, 2.0]
    """

    @staticmethod
    def forward(left: Tensor, right: Tensor, bias: Tensor | None, packed: bool) -> Tensor:  # type: ignore[override]
        found = _by_rows(left, right, packed)
        # Given with the product, the bias would first be copied to all rows.
        return found if bias is None else found.add_(bias[..., None, :])

    @staticmethod
    def setup_context(context: Any, inputs: tuple, output: Tensor) -> None:  # type: ignore[override]
        left, right, _, context.packed = inputs
        of_left, of_right, *_ = context.needs_input_grad
        context.save_for_backward(left if of_right else None, right if of_left else None)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        left, right = context.saved_tensors
        with torch.autocast("cpu", enabled=False):  # the way there wasn't cast either
            of_left = _by_rows(gradient, right.mT, context.packed) if right is not None else None
            of_right = _over_rows(gradient, left, context.packed).mT if left is not None else None  # laid out as the weights that a layer keeps
        return of_left, of_right, gradient.sum(-2) if context.needs_input_grad[2] else None, None

    @staticmethod
    def vmap(info: Any, axes: tuple, left: Tensor, right: Tensor, bias: Tensor | None, packed: bool) -> tuple[Tensor, int]:  # type: ignore[override]
        if None in axes[:2] or left.ndim != 3 or right.ndim != 3:
            return torch.vmap(_product, axes[:3])(left, right, bias), 0
        left, right = left.movedim(axes[0], 0), right.movedim(axes[1], 0)
        if bias is not None:
            bias = bias.expand(len(left), -1) if axes[2] is None else bias.movedim(axes[2], 0)
        return product(left, right, bias), 0


def _by_rows(left: Tensor, right: Tensor, packed: bool) -> Tensor:
    """left @ right; by a function, since Python looks for interrupts behind a call, but not behind an operator before the block's end."""
    whole = left.shape[0] // ROWS * ROWS if packed else 0
    with fast_products(left.numel() * right.shape[-1]):
        if not whole:
            return torch.matmul(left, right)
        found = torch.mm(left[:whole], right)
    return torch.cat([found, torch.mm(left[whole:], right)])


def _over_rows(left: Tensor, right: Tensor, packed: bool) -> Tensor:
    """left.mT @ right."""
    whole = left.shape[0] // ROWS * ROWS if packed else 0
    with fast_products(left.numel() * right.shape[-1]):
        if not whole:
            return torch.matmul(left.mT, right)
        found = torch.mm(left[:whole].mT, right[:whole])
    return torch.addmm(found, left[whole:].mT, right[whole:])

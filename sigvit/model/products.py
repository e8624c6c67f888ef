"""Products in float32 by the faster of torch's two libraries on a CPU; imports nothing of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from threading import RLock

import torch

# From so many multiply-adds oneDNN's products are faster, 1.1 to 2.4 times; below, its cost of a call is more than it saves (docs/log.md).
WORTH_A_CALL = 2_500_000
# Held while the setting changes: it is the process', and of threads that are inside at once the last one puts it back.
LOCK = RLock()
_before: list[str] = []


@cache
def is_slow_in_mkl() -> bool:
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


def fast_products(multiply_adds: int) -> AbstractContextManager[None]:
    """Within it, products of so many multiply-adds in all are computed by the faster library, as exactly. Torch's fused attention becomes slower.

    >>> with fast_products(211 * 307 * 401):
    ...     (torch.ones(211, 307) @ torch.ones(307, 401))[0, 0].item()
    307.0
    """
    return _by_onednn() if multiply_adds >= WORTH_A_CALL and is_slow_in_mkl() else nullcontext()

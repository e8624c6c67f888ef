"""Dropout, as a hash of few random numbers, so that K stacked models see what each would see alone; imports nothing of ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

# B = batch, K = stacked models

# What dropout multiplies x with, drawn for (x, rate): stacked models bring their own, so that each sees what it would see alone.
Draw = Callable[[Tensor, "float | tuple[float, ...]"], Tensor]
# Where factors are hashed.
DEVICES = ("cpu", "cuda")


def dropout(x: Tensor, rate: float | tuple[float, ...], training: bool, draw: Draw | None = None) -> Tensor:
    """x, (B, …), with a share of its numbers set to zero and the others scaled up; `draw` gives the factors where chance is not to be that of this process.

    The factors are `dropout_factors`, the same on a CPU and on a GPU: one model sees there too what it sees in a stack. On a CPU torch's own take 14 ns a
    number, a fifth of a small model's step, and these 0.7.
    """
    if not training or not rate:
        return x
    if draw is not None:
        return x * draw(x, rate)
    assert not isinstance(rate, tuple), "stacked models draw for each member"
    # Shapes without numbers, compilers, vmap and other devices have their own.
    mapped = torch._C._functorch.peek_interpreter_stack() is not None
    if type(x) is not Tensor or x.device.type not in DEVICES or mapped or torch.compiler.is_compiling():
        return functional.dropout(x, rate)
    return x * dropout_factors(dropout_seeds(len(x)).to(x.device, non_blocking=True), x.shape, x.dtype, [rate])


def dropout_seeds(rows: int, generator: torch.Generator | None = None) -> Tensor:
    """Two random whole numbers for each row, (rows, 2) int32 on the CPU: all that chance decides about a place where factors are drawn."""
    pairs = torch.empty(rows, dtype=torch.int64, device="cpu").random_(-(2**63), None, generator=generator)
    return pairs.view(torch.int32).view(rows, 2)


def dropout_factors(seeds: Tensor, shape: Sequence[int], dtype: torch.dtype, rates: Sequence[float]) -> Tensor:
    """Zero with probability `rate`, else 1 / (1 − rate): (B, …) from seeds (B, 2) and one rate, or (K, B, …) from (K, B, 2) and one for each of K or for all.

    Number j of a row is a hash of j, by multiplication and addition of the row's two seeds to a fixed random word (Dietzfelbinger et al. 1997): the numbers
    of a row are independent over the words, and any two of them all but independent over the seeds. The same on every device.

    >>> dropout_factors(dropout_seeds(3), (3, 5, 7), torch.float32, [0.2]).unique().tolist()
    [0.0, 1.25]
    """
    words = _words(math.prod(shape[seeds.ndim - 1 :]), seeds.device)
    hashed = (words * (seeds[..., :1] | 1)).add_(seeds[..., 1:])
    lowest = [min(round(rate * 2**32), 2**32 - 1) - 2**31 for rate in rates]
    scales = [0.0 if rate == 1 else 1 / (1 - rate) for rate in rates]
    kept = torch.empty(hashed.shape, dtype=dtype, device=seeds.device)
    if len(rates) == 1:
        return torch.ge(hashed, lowest[0], out=kept).mul_(scales[0]).view(shape)
    torch.ge(hashed, torch.tensor(lowest, dtype=torch.int32, device=seeds.device)[:, None, None], out=kept)
    return kept.mul_(torch.tensor(scales, dtype=dtype, device=seeds.device)[:, None, None]).view(shape)


@lru_cache(maxsize=16)
def _words(count: int, device: torch.device) -> Tensor:
    """Random words, (count,) int32, the same at every call and in every process."""
    words = torch.empty(count, dtype=torch.int32, device="cpu")
    return words.random_(-(2**31), 2**31, generator=torch.Generator().manual_seed(0)).to(device)

"""Dropout of stacked models: every member's factors from a generator of its own, so that it sees what it would see alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sigvit.model.dropout import dropout_factors, dropout_seeds
from sigvit.training.randomness import derive_seed

# K = members


class Asked(NamedTuple):
    """One place of a step where factors are drawn: for what, and at which rate."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device
    rate: float | tuple[float, ...]


class MemberDraws:
    """The factors of dropout for K members, as `sigvit.model.dropout.dropout` draws them for one model after `torch.manual_seed`, on a CPU and on a GPU.

    Parameters
    ----------
    seeds, steps : (K,) of each member's training: the draws of a step are a function of both (and of their order within the step).

    Attributes
    ----------
    asked : what was drawn so far.

    >>> draws, x = MemberDraws([3, 5], steps=[7, 7]), torch.ones(2, 11, 13)
    >>> factors = draws(x, 0.3)
    >>> _ = torch.manual_seed(derive_seed(5, "dropout", 7))
    >>> from sigvit.model.dropout import dropout
    >>> torch.equal(factors[1], dropout(x[1], 0.3, training=True))
    True
    """

    def __init__(self, seeds: Sequence[int], steps: Sequence[int]) -> None:
        self.asked: list[Asked] = []
        self.generators = [torch.Generator().manual_seed(derive_seed(seed, "dropout", step)) for seed, step in zip(seeds, steps, strict=True)]

    def __call__(self, x: Tensor, rate: float | tuple[float, ...]) -> Tensor:
        """Zeros with probability `rate` (one for all or one each), else 1 / (1 - rate), shaped like x, (K, …)."""
        self.asked.append(Asked(x.shape, x.dtype, x.device, rate))
        return self.draw(self.asked[-1])

    def draw(self, asked: Asked) -> Tensor:
        """The next factors. Who knows what a step will ask for, in which order, can draw before it."""
        rates = asked.rate if isinstance(asked.rate, tuple) else (asked.rate,) * asked.shape[0]
        # Who drops nothing draws nothing, alone as here.
        silent = torch.zeros(asked.shape[1], 2, dtype=torch.int32)
        seeds = [dropout_seeds(asked.shape[1], generator) if rate else silent for rate, generator in zip(rates, self.generators, strict=True)]
        told = rates if isinstance(asked.rate, tuple) else rates[:1]
        return dropout_factors(torch.stack(seeds).to(asked.device, non_blocking=True), asked.shape, asked.dtype, told)

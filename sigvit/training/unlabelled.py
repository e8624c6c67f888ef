"""Batches without labels: the signals of a training, and chance for what is hidden of each."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sigvit.model.transformer import Signal
from sigvit.training.batches import Batches, Share
from sigvit.training.randomness import generator


@dataclass(frozen=True)
class Unlabelled:
    """Signals, and a seed a row that decides what an objective hides of it: (B,) int64 on the CPU."""

    signal: Signal
    seeds: Tensor

    @property
    def device(self) -> torch.device:
        """Where the signals lie."""
        return (self.signal if isinstance(self.signal, Tensor) else self.signal.values).device


class UnlabelledBatches:
    """The inputs of other batches, without their targets: what pre-training sees, a pure function of (seed, step, share).

    Parameters
    ----------
    batches : of images or recordings; their targets are never handed on.
    seed : of what is hidden.

    >>> from sigvit.training.batches import RecordingBatches
    >>> from sigvit.training.recipe import Recipe
    >>> windows = RecordingBatches(torch.zeros(7, 3, 11), torch.zeros(7, dtype=torch.int64), Recipe(batch_size=6), seed=0)
    >>> batch, targets = UnlabelledBatches(windows, seed=0).batch(step=4, share=Share(1, of=2))
    >>> batch.signal.shape, batch.seeds.shape, targets
    (torch.Size([3, 3, 11]), torch.Size([3]), None)
    """

    def __init__(self, batches: Batches, seed: int) -> None:
        self.batches, self.seed, self.n_classes = batches, seed, 0

    def batch(self, step: int, share: Share = Share()) -> tuple[Unlabelled, None]:  # noqa: B008 (a tuple: nothing can change it)
        """The signals of a step's batch or of a share of it, with their seeds."""
        signal, _ = self.batches.batch(step, share)
        whole = len(signal) * share.of
        seeds = torch.randint(2**63 - 1, (whole,), generator=generator(self.seed, "hidden", step))
        return Unlabelled(signal, seeds[share.rows(whole)]), None

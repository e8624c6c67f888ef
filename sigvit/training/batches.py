"""Batches: what step t sees is a pure function of (seed, t), whole or in equal shares."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.training.augment_recordings import (
    add_noise,
    drop_electrodes,
    flip_hemispheres,
    mask_time,
    recombine,
    scale_amplitude,
    shift_frequency,
    shift_time,
    take_surrogates,
)
from sigvit.training.mirror import Mirror
from sigvit.training.mixing import draw_mixing, mix
from sigvit.training.randomness import batch_rows, generator
from sigvit.training.recipe import Recipe

# B = batch, N = windows, E = electrodes, S = samples, C = classes


class Share(NamedTuple):
    """Part `number` of `of` equal consecutive parts of a step's batch: one for each process and accumulation step.

    >>> Share(1, of=3).rows(6)
    slice(2, 4, None)
    >>> Share(0, of=4).rows(6)
    Traceback (most recent call last):
    ValueError: A batch of 6 can't be cut into 4 equal shares (accumulation steps × processes); choose a batch size that 4 divides.
    """

    number: int = 0
    of: int = 1

    def rows(self, batch: int) -> slice:
        """Which rows of the whole batch are this share's."""
        if batch % self.of:
            raise ValueError(
                f"A batch of {batch} can't be cut into {self.of} equal shares (accumulation steps × processes); choose a batch size that {self.of} divides."
            )
        size = batch // self.of
        return slice(self.number * size, (self.number + 1) * size)


class Batches(Protocol):
    """Where a training gets its batches from."""

    n_classes: int

    def batch(self, step: int, share: Share = ...) -> tuple[Tensor | RecordingBatch | Any, Tensor | None]:
        """Inputs and target shares (rows, classes) as the model sees them, augmented and mixed, on the model's device; no targets for a model whose output is
        its loss (`UnlabelledBatches`).

        A pure function of (seed, step, share): the shares of a step, one after the other, are the step's whole batch, bit for bit.
        """
        ...


class RecordingBatches:
    """Batches of windows that lie in memory, augmented as the recipe says, and mixed.

    Parameters
    ----------
    values : (windows, electrodes, samples), standardised, on the model's device; targets : (windows,) int64 class numbers.
    recipe : says batch size and augmentation. A batch is never larger than the set.
    seed : of order and augmentation.
    n_classes : None counts up to the largest target.
    sampling_rate : in hertz; None where it isn't known. mirror : who changes places with whom; None where it isn't known.
    rows : numbers of the windows that batches are drawn from, int64; None for all.

    Raises
    ------
    ValueError : the recipe shifts frequencies or flips hemispheres, but the sampling rate or the mirror isn't known; the mirror is of another montage.

    >>> batches = RecordingBatches(torch.zeros(7, 3, 11), torch.arange(7) % 2, Recipe(batch_size=5), seed=0)
    >>> [part.shape for part in batches.batch(step=4)]
    [torch.Size([5, 3, 11]), torch.Size([5, 2])]
    """

    def __init__(
        self,
        values: Tensor,
        targets: Tensor,
        recipe: Recipe,
        seed: int,
        n_classes: int | None = None,
        sampling_rate: float | None = None,
        mirror: Mirror | None = None,
        rows: Tensor | None = None,
    ) -> None:
        if recipe.frequency_shift and sampling_rate is None:
            raise ValueError(f"frequency_shift is {recipe.frequency_shift} Hz, but the sampling rate isn't known; give signals that bring it along (mne.Info).")
        self.n_classes = int(targets.max()) + 1 if n_classes is None else n_classes
        _require_mirror(mirror, recipe, values.shape[1], self.n_classes)
        self.sampling_rate, self.mirror, self.classes = sampling_rate, mirror, targets.cpu()
        self.values, self.recipe, self.seed, self.rows = values, recipe, seed, rows
        self.targets = functional.one_hot(targets, self.n_classes).to(values.dtype)

    def batch(self, step: int, share: Share = Share()) -> tuple[Tensor, Tensor]:  # noqa: B008 (a tuple: nothing can change it)
        rows = self._rows(step)
        # A window's partner may lie in another share, so the whole batch is made and cut afterwards.
        values, targets = self._mixed(*self.augmented(rows, step), step)
        part = share.rows(len(rows))
        return values[part], targets[part]

    def _rows(self, step: int) -> Tensor:
        rows = batch_rows(len(self.values if self.rows is None else self.rows), self.recipe.batch_size, self.seed, step)
        return rows if self.rows is None else self.rows[rows]

    def augmented(self, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """These windows and their target shares as the recipe augments them in this step, before they are mixed."""
        recipe, samples, chance = self.recipe, self.values.shape[2], (self.seed, step)
        values = recombine(self.values, rows, self.classes, recipe.recombination, *chance, pool=self.rows)
        targets = self.targets[rows.to(self.targets.device, non_blocking=True)]
        if self.mirror is not None:
            values, targets = flip_hemispheres(values, targets, self.mirror, recipe.hemisphere_flip, *chance)
        values = take_surrogates(values, recipe.surrogate, *chance)
        if self.sampling_rate is not None:
            values = shift_frequency(values, recipe.frequency_shift, self.sampling_rate, *chance)
        values = shift_time(values, int(recipe.time_shift * samples), *chance)
        values = scale_amplitude(values, recipe.amplitude_scale, *chance)
        values = drop_electrodes(values, recipe.channel_dropout, *chance)
        values = mask_time(values, int(recipe.time_mask * samples), *chance)
        return add_noise(values, recipe.noise, *chance), targets

    def _mixed(self, values: Tensor, targets: Tensor, step: int) -> tuple[Tensor, Tensor]:
        draws = draw_mixing(len(values), self.recipe, self.seed, step)
        if draws is None:
            return values, targets
        partner = torch.randperm(len(values), generator=generator(self.seed, "partner", step)).to(values.device, non_blocking=True)
        return mix(values, targets, partner, draws)


def _require_mirror(mirror: Mirror | None, recipe: Recipe, n_electrodes: int, n_classes: int) -> None:
    if recipe.hemisphere_flip and mirror is None:
        raise ValueError(f"hemisphere_flip is {recipe.hemisphere_flip}, but no mirror says which electrodes and classes change places.")
    if mirror is not None and (len(mirror.electrodes), len(mirror.classes)) != (n_electrodes, n_classes):
        raise ValueError(
            f"The mirror has {len(mirror.electrodes)} electrodes and {len(mirror.classes)} classes, but the windows have {n_electrodes} and {n_classes}."
        )

"""Batches of windows from several caps, lengths and sampling rates: one model learns from all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.tokenizers.recording_batch import Montage, RecordingBatch, filled_up, read_montage
from sigvit.training.batches import RecordingBatches, Share
from sigvit.training.mirror import Mirror
from sigvit.training.randomness import batch_rows, derive_seed, generator
from sigvit.training.recipe import Recipe
from sigvit.training.settings import exact_convolutions

# B = batch, N = windows of one set, E = electrodes, S = samples


@dataclass(frozen=True, eq=False)
class RecordingSet:
    """Windows of one cap, length and rate.

    Attributes
    ----------
    values : (N, E, S) floating point, standardised, on the model's device; NaN where samples are missing.
    targets : (N,) int64 class numbers, of the same classes in every set.
    info : an `mne.Info`, or a dictionary with "ch_names", "sfreq" and "bads"; bad electrodes are masked.
    mirror : who changes places with whom; only flips of hemispheres need it.

    Raises
    ------
    ValueError : sizes that contradict each other, or a window without a real sample.

    >>> RecordingSet(torch.zeros(7, 2, 50), torch.arange(7) % 2, {"ch_names": ["C3", "C4"], "sfreq": 100.0}).montage.sampling_rate
    100.0
    """

    values: Tensor
    targets: Tensor
    info: Any
    mirror: Mirror | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or not self.values.is_floating_point() or self.targets.shape != self.values.shape[:1]:
            shapes = f"{self.values.dtype} of {tuple(self.values.shape)} with targets of {tuple(self.targets.shape)}"
            raise ValueError(f"A recording set is floating point (windows, electrodes, samples) with a target a window, but this one is {shapes}.")
        if self.values.shape[1] != len(self.montage.names):
            raise ValueError(f"The windows have {self.values.shape[1]} electrodes, but their info names {len(self.montage.names)}.")
        empty = (~self.mask.flatten(1).any(1)).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"The windows {empty[:5]} have no real sample left: every electrode is bad or NaN.")

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def montage(self) -> Montage:
        """What the info says."""
        return read_montage(self.info)

    @property
    def mask(self) -> Tensor:
        """(N, E, S) bool, True = real."""
        return ~self.seen(self.values).isnan()

    def seen(self, values: Tensor) -> Tensor:
        """Windows of this set with NaN where nothing is real: where samples are missing, and on bad electrodes."""
        if all(self.montage.good):
            return values
        return values.masked_fill(~torch.tensor(self.montage.good, device=values.device)[:, None], float("nan"))

    @property
    def size(self) -> float:
        """Electrodes times seconds: about how many tokens a window has."""
        return len(self.montage.names) * self.values.shape[2] / self.montage.sampling_rate


class MixedRecordingBatches:
    """Batches drawn from all windows of several sets, each augmented among its own set's and filled up to the batch's largest.

    An epoch takes every window of a bucket once; buckets come in random order, each as often as it has batches. A pure function of (seed, step, share).

    Parameters
    ----------
    sets : of the same classes.
    recipe : says batch size and augmentation. A batch is never larger than its bucket.
    seed : of order and augmentation.
    n_classes : None counts up to the largest target.
    buckets : a batch holds windows of one bucket alone, which are of alike size (electrodes × seconds): less padding, less variety. 1 draws from all.

    Raises
    ------
    ValueError : no sets, several number formats or devices, more buckets than sets; a recipe that mixes windows, which of two caps have no common electrodes,
        or that takes spectra of windows with missing samples.

    >>> caps = [{"ch_names": names, "sfreq": rate} for names, rate in ((["C3", "C4"], 100.0), (["Fz", "Cz", "Oz"], 128.0))]
    >>> sets = [RecordingSet(torch.randn(7, len(cap["ch_names"]), 50), torch.arange(7) % 2, cap) for cap in caps]
    >>> inputs, targets = MixedRecordingBatches(sets, Recipe(batch_size=6), seed=0).batch(step=3)
    >>> inputs.values.shape, targets.shape
    (torch.Size([6, 3, 50]), torch.Size([6, 2]))
    """

    def __init__(self, sets: Sequence[RecordingSet], recipe: Recipe, seed: int, n_classes: int | None = None, buckets: int = 1) -> None:
        _check(sets, recipe, buckets)
        self.n_classes = max(int(each.targets.max()) for each in sets) + 1 if n_classes is None else n_classes
        self.sets, self.recipe, self.seed = tuple(sets), recipe, seed
        self.own = [
            RecordingBatches(
                each.seen(each.values), each.targets, recipe, derive_seed(seed, f"set {number}"), self.n_classes, each.montage.sampling_rate, each.mirror
            )
            for number, each in enumerate(sets)
        ]
        self.buckets = _buckets(sets, buckets)
        self.sizes = [min(recipe.batch_size, len(bucket)) for bucket in self.buckets]

    def batch(self, step: int, share: Share = Share()) -> tuple[RecordingBatch, Tensor]:  # noqa: B008 (a tuple: nothing can change it)
        """Inputs and target shares (rows, classes) of a step's batch or of a share of it."""
        rows = self.rows(step)
        batch, targets = self._filled(rows, step)
        part = share.rows(len(rows))
        return batch[part], targets[part]

    def rows(self, step: int) -> Tensor:
        """(B, 2) int64: set and window of each row of a step's batch."""
        counts = torch.tensor([len(bucket) // size for bucket, size in zip(self.buckets, self.sizes, strict=True)])
        epoch, number = divmod(step, int(counts.sum()))
        turns = torch.arange(len(counts)).repeat_interleave(counts)
        turns = turns[torch.randperm(len(turns), generator=generator(self.seed, "buckets", epoch))]
        bucket = int(turns[number])
        # How many of this bucket's batches came before, in all epochs.
        before = epoch * int(counts[bucket]) + int((turns[:number] == bucket).sum())
        seed = derive_seed(self.seed, f"bucket {bucket}")
        return self.buckets[bucket][batch_rows(len(self.buckets[bucket]), self.sizes[bucket], seed, before)]

    def _filled(self, rows: Tensor, step: int) -> tuple[RecordingBatch, Tensor]:
        parts, targets = [], self.sets[0].values.new_zeros(len(rows), self.n_classes)
        for number in sorted(set(rows[:, 0].tolist())):
            at = (rows[:, 0] == number).nonzero().flatten()
            values, targets[at.to(targets.device, non_blocking=True)] = self.own[number].augmented(rows[at, 1], step)
            parts.append((self.sets[number].montage, at, values))
        return filled_up(parts), targets


@exact_convolutions()
@torch.no_grad()
def mixed_logits(model: nn.Module, each: RecordingSet, batch_size: int = 256) -> Tensor:
    """(N, classes): a model's logits of one set's windows; call `eval()` first."""
    parts = each.values.split(batch_size)
    return torch.cat([model(filled_up([(each.montage, torch.arange(len(values)), each.seen(values))])) for values in parts])


def evaluate_mixed(model: nn.Module, sets: Sequence[RecordingSet], class_weights: Tensor | None = None) -> float:
    """Mean cross-entropy of a model over all windows of several sets, without label smoothing: what `train` takes as `validation`; call `eval()` first."""
    logits, targets = torch.cat([mixed_logits(model, each) for each in sets]), torch.cat([each.targets for each in sets])
    return float(functional.cross_entropy(logits.float(), targets, None if class_weights is None else class_weights.float()))


def _buckets(sets: Sequence[RecordingSet], count: int) -> list[Tensor]:
    """(windows, 2) set and window of each bucket: sets side by side in size, about as many windows in each bucket."""
    order = sorted(range(len(sets)), key=lambda number: sets[number].size)
    found: list[list[int]] = [[] for _ in range(count)]
    total, before = sum(len(each) for each in sets), 0
    for place, number in enumerate(order):
        # By where the set's middle window lies, but so that no later bucket stays empty.
        wanted = int((before + len(sets[number]) / 2) * count / total)
        last = max((at for at in range(count) if found[at]), default=-1)
        found[min(max(wanted, last, count - (len(order) - place)), last + 1)].append(number)
        before += len(sets[number])
    rows = [[torch.stack([torch.full((len(sets[k]),), k), torch.arange(len(sets[k]))], dim=1) for k in bucket] for bucket in found]
    return [torch.cat(bucket) for bucket in rows]


def _check(sets: Sequence[RecordingSet], recipe: Recipe, buckets: int) -> None:
    if not sets or not 1 <= buckets <= len(sets):
        raise ValueError(f"There are {buckets} buckets for {len(sets)} recording sets; give at least one set, and from 1 to as many buckets.")
    kinds = {f"{each.values.dtype} on {each.values.device}" for each in sets}
    if len(kinds) > 1:
        raise ValueError(f"The recording sets are {' and '.join(sorted(kinds))}; a batch is of one kind.")
    if recipe.mixup or recipe.cutmix:
        raise ValueError(f"mixup ({recipe.mixup}) and cutmix ({recipe.cutmix}) add windows electrode by electrode, which two caps don't share; set both to 0.")
    if (recipe.surrogate or recipe.frequency_shift) and any(each.values.isnan().any() for each in sets):
        raise ValueError("surrogate and frequency_shift take the spectrum of whole windows, but some have missing samples (NaN); set both to 0, or fill them.")

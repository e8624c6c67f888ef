"""How a batch of several caps, lengths and rates is cut: each recording's own tokens first, then padding."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from sigvit.electrodes import comparable_name, few_names
from sigvit.grid import Axis, Grid
from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.tokenizers.resampling import resample, resampled_length
from sigvit.tokens import Tokens

# B = batch, E = electrodes, S = samples, T = tokens, D = width

OneRecording = tuple[Tensor, Tensor, Grid]  # its tokens (T, D), which of them are real (T,), and where they sit
Alike = TypeVar("Alike", bound=Hashable)


class OfNamedElectrodes(Protocol):
    """A tokenizer (B, E, samples), mask → `Tokens` that was built for a list of electrodes, as far as it knows them."""

    names: tuple[str, ...] | None
    sampling_rate: float | None

    def __call__(self, recording: Tensor, mask: Tensor) -> Tokens: ...


def cut_by_name(tokenizer: OfNamedElectrodes, batch: RecordingBatch, mask: Tensor | None = None) -> Tokens:
    """The tokens of a tokenizer that was built for a list of electrodes: each recording placed on that list by name, at the tokenizer's rate.

    Raises
    ------
    ValueError : a tokenizer that doesn't know its electrodes' names or its rate; a recording that has none of them, or one twice; a mask beside the batch.
    """
    refuse_mask(mask)
    names, rate = tokenizer.names, tokenizer.sampling_rate
    if names is None or rate is None:
        missing = " and ".join(what for what, known in (("names of electrodes", names), ("sampling rate", rate)) if known is None)
        raise ValueError(
            f"Recordings of several caps and rates are placed by name on the electrodes that a tokenizer was built for, and brought to its rate, "
            f"but this {type(tokenizer).__name__} has no {missing}; give `names` and `sampling_rate`, or build it with from_info."
        )
    values, real, lengths = at_one_rate(place_by_name(batch, names), rate)

    def cut(rows: list[int], length: int) -> Iterable[OneRecording]:
        tokens = tokenizer(values[rows, :, :length], real[rows, :, :length])
        return recordings_of(tokens)

    return cut_alike(lengths, cut)


def place_by_name(batch: RecordingBatch, names: Sequence[str]) -> RecordingBatch:
    """The recordings on one list of electrodes, found by their names in any spelling; those that a recording lacks are masked.

    >>> from sigvit.tokenizers import collate_windows
    >>> batch = collate_windows([(torch.ones(2, 5), {"ch_names": ["EEG T3-REF", "Oz"], "sfreq": 100.0})])
    >>> placed = place_by_name(batch, ["Cz", "T7"])
    >>> placed.values[0, :, 0].tolist(), placed.mask[0, :, 0].tolist()
    ([0.0, 1.0], [False, True])
    """
    found = [_places(own, tuple(names), at) for at, own in enumerate(batch.names)]
    at = torch.tensor(found).clamp(min=0)  # (B, E) numbers of the recordings' own electrodes
    there = (torch.tensor(found) >= 0)[..., None]
    rows, on_device = torch.arange(len(batch))[:, None], at.to(batch.device)
    mask = batch.mask[rows.to(batch.device), on_device] & there.to(batch.device)
    values = batch.values[rows.to(batch.device), on_device].where(mask, 0.0)
    positions = batch.positions[rows, at].where(there, float("nan"))
    return replace(batch, values=values, mask=mask, positions=positions, names=(tuple(names),) * len(batch))


@lru_cache(maxsize=1024)
def _places(own: tuple[str, ...], names: tuple[str, ...], recording: int) -> list[int]:
    """For each of the names its number among a recording's own electrodes, -1 where it isn't there."""
    meant, wanted = (list(map(comparable_name, each)) for each in (own, names))
    doubled = [name for name in wanted if meant.count(name) > 1]
    if doubled:
        spellings = [name for name, means in zip(own, meant, strict=True) if means == doubled[0]]
        raise ValueError(f"Recording {recording} has the electrode {doubled[0]} more than once, as {', '.join(spellings)}; leave all but one out.")
    if not set(meant) & set(wanted):
        raise ValueError(
            f"Recording {recording} has none of the electrodes that this tokenizer was built for: it has {few_names(own)}, "
            f"and the tokenizer reads {few_names(names)}. Build the tokenizer for electrodes that the recordings share, or take one that reads any: "
            "ElectrodeTimePatches with electrodes=1, SpectrogramPatches, ScalpMapPatches."
        )
    return [meant.index(name) if name in meant else -1 for name in wanted]


def cut_alike(likeness: Sequence[Alike], cut: Callable[[list[int], Alike], Iterable[OneRecording]]) -> Tokens:
    """The tokens of all recordings, cut together where they are alike, as in length: `cut` takes the rows of alike ones to what each of them gives."""
    own: dict[int, OneRecording] = {}
    for alike in dict.fromkeys(likeness):
        rows = [row for row, other in enumerate(likeness) if other == alike]
        own |= zip(rows, cut(rows, alike), strict=True)
    return pad_recordings([own[row] for row in range(len(likeness))])


def recordings_of(tokens: Tokens) -> Iterable[OneRecording]:
    """Each sample of tokens that share a grid."""
    assert tokens.grid is not None, "a tokenizer of recordings says where its tokens sit"
    return zip(tokens.values, tokens.mask, [tokens.grid] * len(tokens.values), strict=True)


def pad_recordings(recordings: Sequence[OneRecording]) -> Tokens:
    """The tokens of several recordings, each filled up to the most."""
    values, real, grids = zip(*recordings, strict=True)
    return Tokens(pad_sequence(list(values), batch_first=True), None, pad_sequence(list(real), batch_first=True), grids=grids)


def refuse_mask(mask: Tensor | None) -> None:
    """ValueError where a mask is given beside a batch."""
    if mask is not None:
        raise ValueError("A batch of several recordings says itself which samples are real; give no mask beside it.")


def require_tokens(tokens: Tokens) -> None:
    """ValueError where a recording has no real token: whatever it holds, a model would answer the same."""
    without = (~tokens.mask.any(1)).nonzero()[:, 0].tolist()
    if without:
        raise ValueError(
            f"Recording {without[0]} has no real token: of the electrodes that the tokenizer reads, its samples that are neither missing (NaN) nor bad fill "
            "no window. Leave it out, or build the tokenizer for its electrodes, with a shorter window or leftover='pad'."
        )


def at_one_rate(batch: RecordingBatch, rate: float) -> tuple[Tensor, Tensor, list[int]]:
    """Values and mask (B, E, S) at one sampling rate, and each recording's number of samples; what isn't real is zero."""
    rates = batch.sampling_rates.tolist()
    lengths = [resampled_length(n_times, own, rate) for n_times, own in zip(batch.n_times, rates, strict=True)]
    if all(own == rate for own in rates):
        return batch.values.where(batch.mask, 0.0), batch.mask, lengths
    values, mask = batch.values.new_zeros(*batch.values.shape[:2], max(lengths)), batch.mask.new_zeros(*batch.mask.shape[:2], max(lengths))
    for own in sorted(set(rates)):
        rows = [row for row, other in enumerate(rates) if other == own]
        longest, target = max(batch.n_times[row] for row in rows), max(lengths[row] for row in rows)
        part, real = batch.values[rows, :, :longest], batch.mask[rows, :, :longest]
        if own != rate:
            part, real = resample(part, real, own, rate, torch.tensor([[[batch.n_times[row]]] for row in rows]))
        real = real[..., :target] & (torch.arange(target) < torch.tensor([[[lengths[row]]] for row in rows])).to(real.device)
        values[rows, :, :target] = part[..., :target].where(real, 0.0)
        mask[rows, :, :target] = real
    return values, mask, lengths


def electrode_axes(batch: RecordingBatch) -> list[Axis]:
    """Each recording's electrodes: names and metres."""
    places = batch.positions.numpy()
    return [_electrode_axis(names, own[: len(names)].tobytes()) for own, names in zip(places, batch.names, strict=True)]


@lru_cache(maxsize=256)
def _electrode_axis(names: tuple[str, ...], places: bytes) -> Axis:
    """Kept, because the same caps come again and again."""
    return Axis("electrode", "m", tuple(map(tuple, np.frombuffer(places).reshape(-1, 3).tolist())), names)

"""How a batch of several caps, lengths and rates is cut: each recording's own tokens first, then padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from sigvit.grid import Axis, Grid
from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.tokenizers.resampling import resample, resampled_length
from sigvit.tokens import Tokens

# B = batch, E = electrodes, S = samples, T = tokens, D = width


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
            part, real = resample(part, real, own, rate)
        real = real[..., :target] & (torch.arange(target) < torch.tensor([[[lengths[row]]] for row in rows])).to(real.device)
        values[rows, :, :target] = part[..., :target].where(real, 0.0)
        mask[rows, :, :target] = real
    return values, mask, lengths


def cut_by_length(batch: RecordingBatch, rate: float, cut: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], grid: Callable[[Axis, int], Grid]) -> Tokens:
    """The tokens of a tokenizer that treats each electrode alone, all recordings of one length at a time.

    `cut` takes values and mask (b, E, S) to tokens (b, E, patches, D) and which of them are real (b, E, patches); `grid` takes a recording's electrodes and
    its number of samples to where its tokens sit.
    """
    values, mask, lengths = at_one_rate(batch, rate)
    own: dict[int, tuple[Tensor, Tensor]] = {}
    for length in sorted(set(lengths)):
        rows = [row for row, other in enumerate(lengths) if other == length]
        tokens, real = cut(values[rows, :, :length], mask[rows, :, :length])
        for row, found, there in zip(rows, tokens, real, strict=True):
            count = len(batch.names[row])
            own[row] = found[:count].flatten(0, 1), there[:count].flatten()
    ordered = [own[row] for row in range(len(batch))]
    padded, real = (pad_sequence(list(parts), batch_first=True) for parts in zip(*ordered, strict=True))
    return Tokens(padded, None, real, grids=tuple(grid(axis, length) for axis, length in zip(electrode_axes(batch), lengths, strict=True)))


def electrode_axes(batch: RecordingBatch) -> list[Axis]:
    """Each recording's electrodes: names and metres."""
    places = batch.positions.numpy()
    return [_electrode_axis(names, own[: len(names)].tobytes()) for own, names in zip(places, batch.names, strict=True)]


@lru_cache(maxsize=256)
def _electrode_axis(names: tuple[str, ...], places: bytes) -> Axis:
    """Kept, because the same caps come again and again."""
    return Axis("electrode", "m", tuple(map(tuple, np.frombuffer(places).reshape(-1, 3).tolist())), names)


def own_tokens(grids: Sequence[Grid], steps: int) -> tuple[Tensor, Tensor]:
    """Where each grid's (electrodes × steps) tokens lie among those of the whole batch (electrodes × `steps`), (B, T); and which T there are, bool."""
    longest = max(grid.n_tokens for grid in grids)
    at = torch.zeros(len(grids), longest, dtype=torch.long)
    for row, grid in zip(at, grids, strict=True):
        electrodes, own = grid.shape
        row[: grid.n_tokens] = (torch.arange(electrodes)[:, None] * steps + torch.arange(own)).flatten()
    return at, torch.arange(longest) < torch.tensor([[grid.n_tokens] for grid in grids])


def take_own(patches: Tensor, at: Tensor, there: Tensor) -> Tensor:
    """(B, all tokens, …) → (B, T, …), zero or False where there is no token."""
    rows = torch.arange(len(patches), device=patches.device)[:, None]
    taken = patches[rows, at.to(patches.device)]
    return taken.masked_fill(~there.to(patches.device)[..., None], 0)


def fill_to(signal: Tensor, n_times: int) -> Tensor:
    """The first `n_times` samples, filled with zeros (False) where there are fewer."""
    missing = n_times - signal.shape[-1]
    return functional.pad(signal, (0, missing)) if missing > 0 else signal[..., :n_times]

"""A recording at another sampling rate: a windowed sinc, the same for every sample of one phase."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# R = rows (electrodes of all recordings), S = samples

LOBES = 16  # zero crossings of the sinc on either side
KAISER = 8.0  # side lobes below -80 dB
ROLLOFF = 0.96  # the pass band's end, as a share of the lower rate's Nyquist frequency
BLOCK = 128  # about so many samples of the answer one product of matrices gives
LONGEST_PERIOD = 256  # of the answer's samples, after which they lie among the old ones as before: a longer one would make the products larger than it saves
ROUNDING = 1e-12  # of a quotient of rates


def resample(values: Tensor, mask: Tensor, old_rate: float, new_rate: float, n_times: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Signals (…, S) and their mask at another rate, (…, resampled_length): sample j of the answer lies j / new_rate seconds after the first.

    What isn't real has exactly no influence: gaps are bridged by straight lines between the real samples beside them and the ends are held, before
    the filter sees them. A sample of the answer is real where the nearest old one is; where signals are filled up to the longest, `n_times` (…, 1) says how
    many samples each has, so that the nearest is its own. Constants stay constant. Autocast changes neither type nor numbers.

    >>> time = torch.arange(200) / 200
    >>> found, real = resample(torch.sin(10 * time), torch.ones(200, dtype=torch.bool), 200.0, 100.0)
    >>> found.shape, real.all().item(), (found - torch.sin(10 * time[::2]))[20:-20].abs().max().item() < 1e-4
    (torch.Size([100]), True, True)
    """
    length, old_per_new = resampled_length(values.shape[-1], old_rate, new_rate), old_rate / new_rate
    bridged = _bridged(values.reshape(-1, values.shape[-1]), mask.reshape(-1, mask.shape[-1]))
    parts = []
    for first in range(0, length, _block_length(old_rate, new_rate)):
        weights, begin = _block(old_rate, new_rate, first)
        taps = torch.arange(begin, begin + len(weights), device=values.device).clamp(0, bridged.shape[1] - 1)  # the ends are held
        with torch.autocast(values.device.type, enabled=False):  # eight bits don't hold what the filter takes away
            parts.append(bridged[:, taps] @ torch.as_tensor(weights[:, : length - first]).to(bridged))
    ends = torch.tensor([mask.shape[-1]]) if n_times is None else n_times
    nearest = torch.as_tensor(np.rint(np.arange(length) * old_per_new).astype(np.int64)).minimum(ends - 1).to(mask.device)
    return torch.cat(parts, dim=1).view(*values.shape[:-1], length), mask.gather(-1, nearest.expand(*mask.shape[:-1], -1))


def resampled_length(n_times: int, old_rate: float, new_rate: float) -> int:
    """Whole samples at the new rate in as many seconds, at least one.

    >>> resampled_length(1001, 500.0, 250.0), resampled_length(480, 160.0, 250.0)
    (500, 750)
    """
    return max(1, int(n_times * new_rate / old_rate + 1e-6))


@lru_cache(maxsize=256)
def _period(old_rate: float, new_rate: float) -> int | None:
    """After how many new samples one lies on an old one again; None where that takes too many.

    >>> _period(2048.0, 250.0), _period(500.0, 250.0), _period(512.0, 173.61)
    (125, 1, None)
    """
    ratio = old_rate / new_rate
    found = Fraction(ratio).limit_denominator(LONGEST_PERIOD)
    return found.denominator if abs(float(found) - ratio) <= ROUNDING * ratio else None


def _block_length(old_rate: float, new_rate: float) -> int:
    """About `BLOCK`, in whole periods where there are any, so that one matrix serves every block."""
    period = _period(old_rate, new_rate)
    return BLOCK if period is None else period * max(1, round(BLOCK / period))


def _block(old_rate: float, new_rate: float, first: int) -> tuple[np.ndarray, int]:
    """(taps, samples) weights of a block's new samples from number `first` on, columns summing to one; and which old sample the first tap is."""
    cutoff, ratio = ROLLOFF * min(1.0, new_rate / old_rate), old_rate / new_rate
    reach, numbers = int(np.ceil(LOBES / cutoff)), np.arange(_block_length(old_rate, new_rate))
    if _period(old_rate, new_rate) is None:
        whole = int(first * ratio)
        places = (first + numbers) * ratio - whole
    else:
        whole = round(first * ratio)
        places = numbers * ratio
    return _weights(places.tobytes(), cutoff, reach), whole - reach


@lru_cache(maxsize=256)
def _weights(places: bytes, cutoff: float, reach: int) -> np.ndarray:
    """(taps, samples) for new samples at these places (float64) among the old ones, the first tap being `reach` before the old sample at 0.

    Kept by place, because between most rates one matrix serves every block.
    """
    centres = np.frombuffer(places)
    distance = np.arange(-reach, int(centres[-1]) + reach + 2)[:, None] - centres
    window = np.where(np.abs(distance) < reach, np.i0(KAISER * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, None))), 0.0)
    weights = np.sinc(cutoff * distance) * window
    return weights / weights.sum(axis=0)


def _bridged(values: Tensor, mask: Tensor) -> Tensor:
    """(R, S) with straight lines over what isn't real, and the nearest real sample's value at the ends; zero where a row has none."""
    clean = values.where(mask, 0.0)
    partly = mask.any(1) & ~mask.all(1)
    if not partly.any():
        return clean
    return clean.index_copy(0, partly.nonzero()[:, 0], _bridge(clean[partly], mask[partly]))


def _bridge(clean: Tensor, mask: Tensor) -> Tensor:
    """The same for rows that have gaps, in which `clean` is zero."""
    at = torch.arange(clean.shape[1], device=clean.device).expand_as(clean)
    last = at.where(mask, -1).cummax(1).values
    after = at.where(mask, clean.shape[1]).flip(1).cummin(1).values.flip(1)
    left, right = last.where(last >= 0, after), after.where(after < clean.shape[1], last)
    share = (at - left) / (right - left).clamp(min=1)
    begin, end = clean.gather(1, left), clean.gather(1, right)
    return clean.where(mask, begin + share.to(clean.dtype) * (end - begin))

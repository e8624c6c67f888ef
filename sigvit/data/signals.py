"""A recording's electrodes, referenced, filtered and resampled a few at a time, so that no second copy of it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import mne
import numpy as np
from scipy.signal import resample_poly

from sigvit.data.channels import all_electrodes, pick_channels
from sigvit.data.cuts import Cut

_RESAMPLE_REACH = 10  # samples of the slower of the two clocks, to each side: scipy's default filter
_BLOCK_BYTES = 2**18
_COPIES = 4  # arrays of a block's size that filters hold at once


@dataclass
class Signals:
    """The picked channels of a recording with what is to be done to them before cutting.

    `read` gives stretches of untouched recordings; `blocks` gives whole processed channels.
    """

    raw: mne.io.BaseRaw
    channels: list[str]
    cut: Cut
    where: str

    def __post_init__(self) -> None:
        self.nyquist = self.raw.info["sfreq"] / 2
        highest = max([*(edge for edge in self.cut.band_hz or () if edge), *np.atleast_1d(self.cut.notch_hz or [])], default=0)
        if highest >= self.nyquist:
            raise ValueError(
                f"{self.where} is sampled at {self.raw.info['sfreq']:g} Hz, which holds nothing at {highest:g} Hz: filter below {self.nyquist:g} Hz."
            )
        self.references = self._reference_channels()

    @property
    def rate(self) -> float:
        """Hz, of the windows."""
        return float(self.cut.resample_hz or self.raw.info["sfreq"])

    @property
    def stays_as_it_is(self) -> bool:
        """Whether stretches can be read without the rest of the recording."""
        return self.cut.band_hz is None and self.cut.notch_hz is None and self.rate == self.raw.info["sfreq"]

    def read(self, start: int, stop: int) -> np.ndarray:
        """float64 (channels, samples) of a recording that stays as it is."""
        values = self.raw.get_data(picks=self.channels, start=start, stop=stop)
        if self.references:
            values = values - self.raw.get_data(picks=self.references, start=start, stop=stop).mean(axis=0)
        return values

    def blocks(self, budget_bytes: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Which channels, and their processed values, float64 (channels, samples of the resampled recording); about so many bytes at once."""
        raw = self.raw if self.raw.preload else self.raw.copy().pick(list(dict.fromkeys([*self.channels, *self.references]))).load_data(verbose="ERROR")
        size = max(1, max(budget_bytes, _BLOCK_BYTES) // (_COPIES * 8 * raw.n_times))
        reference = self._reference(raw, size)
        spans = unbroken_spans(raw)
        for start in range(0, len(self.channels), size):
            values = raw.get_data(picks=self.channels[start : start + size])
            if reference is not None:
                values -= reference
            for first, last in spans:
                values[:, first:last] = self._filtered(values[:, first:last])
            yield slice(start, start + len(values)), self._resampled(values)

    def _reference_channels(self) -> list[str]:
        reference, info = self.cut.reference, self.raw.info
        if reference is None:
            return []
        if reference == "average":
            return [name for name in all_electrodes(info, self.where) if name not in info["bads"] or self.cut.bad_electrodes in ("keep", "interpolate")]
        return pick_channels(info, [reference] if isinstance(reference, str) else reference, self.cut.rename, self.cut.bad_electrodes, self.where)

    def _reference(self, raw: mne.io.BaseRaw, size: int) -> np.ndarray | None:
        if not self.references:
            return None
        total = np.zeros(raw.n_times)
        for start in range(0, len(self.references), size):
            total += raw.get_data(picks=self.references[start : start + size]).sum(axis=0)
        return total / len(self.references)

    def _filtered(self, values: np.ndarray) -> np.ndarray:
        rate = self.raw.info["sfreq"]
        if self.cut.notch_hz is not None:
            values = mne.filter.notch_filter(values, rate, np.atleast_1d(self.cut.notch_hz), copy=False, verbose="WARNING")
        if self.cut.band_hz is not None:
            values = mne.filter.filter_data(values, rate, *self.cut.band_hz, copy=False, verbose="WARNING")
        return values

    def _resampled(self, values: np.ndarray) -> np.ndarray:
        if self.rate == self.raw.info["sfreq"]:
            return values
        ratio = resampling_ratio(self.raw.info["sfreq"], self.rate)
        return resample_poly(values, ratio.numerator, ratio.denominator, axis=1, padtype="line")


def filter_support_s(cut: Cut, sampling_rate: float) -> float:
    """Seconds to each side over which the cut's filters and its baseline spread a sample: half the length of mne's and scipy's filters, added up.

    >>> filter_support_s(Cut(0.0, 1.0, band_hz=(8, 32)), 160.0)
    0.825
    """
    support = cut.filter_support_s + cut.baseline_reach_s
    if cut.notch_hz is not None:
        support += _notch_support_s(np.atleast_1d(cut.notch_hz), sampling_rate)
    if cut.band_hz is not None:
        support += band_support_s(*cut.band_hz, sampling_rate)
    if cut.resample_hz is not None and cut.resample_hz != sampling_rate:
        support += _RESAMPLE_REACH / min(cut.resample_hz, sampling_rate)
    return support


def band_support_s(low_hz: float | None, high_hz: float | None, sampling_rate: float) -> float:
    """Half the length in seconds of mne's default FIR filter for a band.

    >>> band_support_s(1.0, None, 250.0)
    1.648
    """
    taps = mne.filter.create_filter(None, sampling_rate, low_hz, high_hz, verbose="ERROR")
    return (len(taps) - 1) / 2 / sampling_rate


def _notch_support_s(frequencies: np.ndarray, sampling_rate: float) -> float:
    # The band-stop filter that mne.filter.notch_filter designs: widths of a 200th, transitions of half a hertz.
    half_width = frequencies / 400 + 0.5
    taps = mne.filter.create_filter(
        None, sampling_rate, frequencies + half_width, frequencies - half_width, l_trans_bandwidth=0.5, h_trans_bandwidth=0.5, verbose="ERROR"
    )
    return (len(taps) - 1) / 2 / sampling_rate


def resampling_ratio(old_hz: float, new_hz: float) -> Fraction:
    """New over old rate as a fraction of whole numbers up to 10 000.

    >>> resampling_ratio(500.0, 128.0)
    Fraction(32, 125)
    """
    ratio = (Fraction(new_hz) / Fraction(old_hz)).limit_denominator(10_000)
    if abs(float(ratio) * old_hz - new_hz) > 1e-9 * new_hz:
        raise ValueError(f"{new_hz} Hz isn't a simple fraction of {old_hz} Hz; resample to {float(ratio) * old_hz!r} Hz instead.")
    return ratio


def unbroken_spans(raw: mne.io.BaseRaw) -> list[tuple[int, int]]:
    """(first, after last) sample of the stretches between edges and gaps ("edge", "bad_acq_skip"): filters don't run across those, as in mne."""
    edges = {0, raw.n_times}
    onsets = raw.annotations.onset - raw.first_time
    for onset, duration, name in zip(onsets, raw.annotations.duration, map(str, raw.annotations.description), strict=True):
        if name.lower().startswith(("edge", "bad_acq_skip")):
            edges |= {int(np.clip(round(at * raw.info["sfreq"]), 0, raw.n_times)) for at in (onset, onset + duration)}
    ordered = sorted(edges)
    return list(pairwise(ordered))


def constant_tail_s(raw: mne.io.BaseRaw, channels: Sequence[str], step_s: float = 2.0) -> float:
    """Seconds at the end in which no channel moves: padding that recorders write up to a full record; 0.0 for less than a tenth of a second."""
    rate, stop = raw.info["sfreq"], raw.n_times
    last = raw.get_data(picks=list(channels), start=stop - 1, stop=stop)
    n_constant = 0
    while stop > 0:
        start = max(0, stop - max(1, round(step_s * rate)))
        moving = np.flatnonzero((raw.get_data(picks=list(channels), start=start, stop=stop) != last).any(axis=0))
        if len(moving):
            n_constant += stop - start - int(moving[-1]) - 1
            break
        n_constant, stop = n_constant + stop - start, start
    return float(n_constant / rate) if n_constant >= max(2, 0.1 * rate) else 0.0

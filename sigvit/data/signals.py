"""Stretches of a recording's electrodes, referenced, filtered and resampled where windows lie: no second copy of the recording is needed.

The filters are those that mne designs (zero-phase FIR, its default transitions) and pads as mne does, by odd reflection at the recording's ends. A stretch is
read with as much on both sides as the filters reach, so its values are those of the whole recording filtered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

import mne
import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import resample_poly

from sigvit.data.channels import reference_channels
from sigvit.data.cuts import Cut
from sigvit.data.events import BREAKS
from sigvit.data.headers import damage_named

_RESAMPLE_REACH = 10  # samples of the slower of the two clocks, to each side: scipy's default filter
_LEAST_BYTES = 2**18
_COPIES = 5  # arrays of a stretch's size that filters hold at once
_WORTH = 8  # a stretch should be so many times as long as what filters need beside it

Stage = Callable[[int, int], np.ndarray]


@dataclass
class Signals:
    """The picked channels of a recording with what is to be done to them before cutting; sample numbers are those of the resampled recording."""

    raw: mne.io.BaseRaw
    channels: list[str]
    cut: Cut
    where: str

    def __post_init__(self) -> None:
        rate, nyquist = self.raw.info["sfreq"], self.raw.info["sfreq"] / 2
        highest = max([*(edge for edge in self.cut.band_hz or () if edge), *np.atleast_1d(self.cut.notch_hz or [])], default=0)
        if highest >= nyquist:
            raise ValueError(f"{self.where} is sampled at {rate:g} Hz, which holds nothing at {highest:g} Hz: filter below {nyquist:g} Hz.")
        self.filters = design_filters(self.cut, rate)
        self.ratio = resampling_ratio(rate, self.rate)
        cut = self.cut
        self.references = self._numbers(reference_channels(self.raw.info, cut.reference, cut.rename, cut.bad_electrodes, self.where))
        self.spans = unbroken_spans(self.raw)

    @property
    def rate(self) -> float:
        """Hz, of the windows."""
        return float(self.cut.resample_hz or self.raw.info["sfreq"])

    def stretches(self, extents: Sequence[tuple[int, int]], budget_bytes: int) -> Iterator[tuple[int, int, list[int]]]:
        """(first, after last, which) sample of stretches that hold the extents, so long that what filters need beside them is little work; none across a break.

        Extents are in time order. Without filters they are as long as all channels of a few neighbouring extents may take up.
        """
        reach = round(sum(map(len, self.filters)) / 2 * self.ratio)
        longest = max((high - low for low, high in extents), default=0)
        gap, limit = (2 * reach, _WORTH * reach) if reach else (longest, budget_bytes // (16 * len(self.channels)))
        first = last = 0
        held: list[int] = []
        held_span = None
        for number, (low, high) in enumerate(extents):
            span = self._span(low, high)
            if held and (span != held_span or low - last > gap or high - first > max(limit, high - low)):
                yield first, last, held
                held = []
            first, last = (first if held else low), high
            held.append(number)
            held_span = span
        if held:
            yield first, last, held

    def read(self, first: int, last: int, budget_bytes: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Which channels, and float64 (channels, last - first) of them, a few at a time: about so many bytes at once."""
        span = self._span(first, last)
        low, high = self._needed(first, last, span)
        copies = _COPIES if self.filters or self.ratio != 1 else 1
        size = max(1, max(budget_bytes, _LEAST_BYTES) // (copies * 8 * (high - low)))
        # Reading single channels of a file costs as much as reading all.
        whole = None if self.raw.preload else self._values(self.picks, low, high)
        reference = self._reference(low, high, size)
        for start in range(0, len(self.channels), size):
            which = slice(start, start + size)
            values = self._values(self.picks[which], low, high) if whole is None else whole[which]
            source = _offset(values if reference is None else values - reference, low)
            for taps in self.filters:
                source = _filtered(source, taps, span)
            yield which, _resampled(source, self.ratio, span)(first, last)
            del values, source  # the memory is free before the next are read

    def _span(self, first: int, last: int) -> tuple[int, int]:
        """The unbroken span of the recording that holds the stretch's middle, in samples of the recording."""
        middle = (first + last) / 2 / float(self.ratio)
        return next(span for span in self.spans if span[0] <= middle <= span[1])

    def _needed(self, first: int, last: int, span: tuple[int, int]) -> tuple[int, int]:
        low, high = _resampling_source(first, last, self.ratio)
        reach = sum(len(taps) // 2 for taps in self.filters)
        return max(span[0], low - reach), min(span[1], high + reach)

    def _numbers(self, names: Sequence[str]) -> list[int]:
        return [self.raw.ch_names.index(name) for name in names]

    @cached_property
    def picks(self) -> list[int]:
        """Where the channels are in the recording."""
        return self._numbers(self.channels)

    def _values(self, picks: list[int], low: int, high: int) -> np.ndarray:
        with damage_named(f"Samples {low} to {high} of {self.where} can't be read, its file may be damaged"):
            return self.raw[picks, low:high][0]

    def _reference(self, low: int, high: int, size: int) -> np.ndarray | None:
        if not self.references:
            return None
        step = size if self.raw.preload else len(self.references)
        parts = [self.references[start : start + step] for start in range(0, len(self.references), step)]
        return np.sum([self._values(part, low, high).sum(axis=0) for part in parts], axis=0) / len(self.references)


def _offset(values: np.ndarray, low: int) -> Stage:
    """Samples first to last of values that begin at sample `low`."""
    return lambda first, last: values[:, first - low : last - low]


def _filtered(source: Stage, taps: np.ndarray, span: tuple[int, int]) -> Stage:
    """The source after a symmetric FIR filter; beyond the span's ends the signal goes on as its odd reflection."""
    half = len(taps) // 2

    def stage(first: int, last: int) -> np.ndarray:
        values = _reflected(source, first - half, last + half, span)
        length = next_fast_len(values.shape[1], real=True)  # what wraps around lies within the margins
        spectrum = rfft(values, length, axis=1)
        spectrum *= rfft(taps, length)
        return irfft(spectrum, length, axis=1, overwrite_x=True)[:, len(taps) - 1 : values.shape[1]]

    return stage


def _resampled(source: Stage, ratio: Fraction, span: tuple[int, int]) -> Stage:
    """The source at another rate; samples are counted on the new clock."""
    if ratio == 1:
        return source

    def stage(first: int, last: int) -> np.ndarray:
        low, high = _resampling_source(first, last, ratio)
        values = resample_poly(_reflected(source, low, high, span), ratio.numerator, ratio.denominator, axis=1)
        start = first - low * ratio.numerator // ratio.denominator
        return values[:, start : start + last - first]

    return stage


def _resampling_source(first: int, last: int, ratio: Fraction) -> tuple[int, int]:
    """The old samples that new ones depend on; the first is one that both clocks share."""
    if ratio == 1:
        return first, last
    reach = -(-_RESAMPLE_REACH * max(ratio.numerator, ratio.denominator) // ratio.numerator)
    low = first // ratio.numerator * ratio.denominator - -(-reach // ratio.denominator) * ratio.denominator
    return low, -(-last * ratio.denominator // ratio.numerator) + reach + 1


def _reflected(source: Stage, first: int, last: int, span: tuple[int, int]) -> np.ndarray:
    """Samples first to last of a source that exists within the span only."""
    low, high = max(first, span[0]), min(last, span[1])
    values = source(low, high)
    if (low, high) == (first, last):
        return values
    return np.pad(values, ((0, 0), (low - first, last - high)), mode="reflect", reflect_type="odd")


def design_filters(cut: Cut, sampling_rate: float) -> list[np.ndarray]:
    """The taps of the cut's filters, in the order in which they are applied: mne's defaults for notch and band."""
    filters = []
    if cut.notch_hz is not None:
        # What mne.filter.notch_filter designs: widths of a 200th, transitions of half a hertz.
        frequencies = np.atleast_1d(np.asarray(cut.notch_hz, dtype=float))
        half = frequencies / 400 + 0.5
        edges = (frequencies + half, frequencies - half)
        filters.append(mne.filter.create_filter(None, sampling_rate, *edges, l_trans_bandwidth=0.5, h_trans_bandwidth=0.5, verbose="ERROR"))
    if cut.band_hz is not None:
        filters.append(mne.filter.create_filter(None, sampling_rate, *cut.band_hz, verbose="ERROR"))
    return filters


def filter_support_s(cut: Cut, sampling_rate: float) -> float:
    """Seconds to each side over which the cut's filters and its baseline spread a sample: half the length of mne's and scipy's filters, added up.

    >>> filter_support_s(Cut(0.0, 1.0, band_hz=(8, 32)), 160.0)
    0.825
    """
    support = cut.filter_support_s + cut.baseline_reach_s + sum(len(taps) // 2 for taps in design_filters(cut, sampling_rate)) / sampling_rate
    if cut.resample_hz is not None and cut.resample_hz != sampling_rate:
        support += _RESAMPLE_REACH / min(cut.resample_hz, sampling_rate)
    return support


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
    """(first, after last) sample of the stretches between breaks: filters don't run across those (mne knows the first two kinds)."""
    edges = {0, raw.n_times}
    onsets = raw.annotations.onset - raw.first_time
    for onset, duration, name in zip(onsets, raw.annotations.duration, map(str, raw.annotations.description), strict=True):
        if name.lower().startswith(BREAKS):
            ends = (onset,) if name.lower().startswith(BREAKS[:3]) else (onset, onset + duration)
            edges |= {int(np.clip(round(at * raw.info["sfreq"]), 0, raw.n_times)) for at in ends}
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

"""Each electrode's spectrogram cut into patches of frequency × time."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sigvit.grid import Axis, Grid
from sigvit.kept_tensors import kept
from sigvit.products import linear
from sigvit.tokenizers.electrode_sites import check_sites, sites_of_info
from sigvit.tokenizers.mixed_recordings import OneRecording, at_one_rate, cut_alike, electrode_axes, refuse_mask
from sigvit.tokenizers.projection import lecun_normal_
from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.tokenizers.spectral_filters import filter_bank_filters, morlet_wavelets, stft_filters
from sigvit.tokenizers.time_cuts import check_cut, check_recording, fit_length, n_steps, real_samples, samples_of, steps_alone, time_axis
from sigvit.tokenizers.tokenizer import Tokenizer
from sigvit.tokens import Tokens

# B = batch, E = electrodes, F = frequencies, N = frames, L = samples of a filter, G × S = patches along frequency and time, p × q = their size, D = width

KINDS = ("stft", "filter_bank", "morlet")
POWER_FLOOR = 1e-9  # of signals of about unit variance; far below their power at any frequency


class SpectrogramPatches(Tokenizer):
    """The logarithm of power by frequency and time, for each electrode, in patches that are projected to a token each, as AST reads sound
    (Gong et al. 2021, arXiv:2104.01778): what oscillates, when, and where.

    The power is that behind complex filters, of which there are three kinds; each has unit energy, so that white noise of unit variance has power 1 at every
    frequency. "stft": a Hann window of `window` samples at each frequency. "filter_bank": band-pass filters of `window` samples (Hamming, as
    `scipy.signal.firwin` designs them), one a band. "morlet": wavelets of so many cycles as `mne.time_frequency` has them, shorter at higher frequencies.

    Parameters
    ----------
    n_electrodes : electrodes (channels) of the recording.
    sampling_rate : hertz.
    kind : "stft", "filter_bank" or "morlet".
    window, stride : samples of a filter, and from one frame to the next. Wavelets have their own length: window is None there.
    frequencies : Hz, ascending; left out, "stft" takes all multiples of rate / window up to half the rate. "filter_bank" reads `bands` instead.
    bands : (low, high) in Hz, of "filter_bank".
    cycles : of "morlet": one number, or one a frequency.
    patch : (frequencies, frames) of a patch.
    width : length of a token.
    leftover : what happens to samples at the end that fill no patch: "drop" them, "pad" with zeros to one more patch, or "error".
    names, positions : of the electrodes, in metres (head frame), as for `ElectrodeTimePatches`.

    Raises
    ------
    ValueError : choices that contradict each other, or a recording that doesn't fit.

    The grid's axes are "electrode" (m), "frequency" (Hz, the mean of the patch's frequencies) and "time" (s, the mean time of the patch's samples).

    >>> tokenizer = SpectrogramPatches(n_electrodes=3, sampling_rate=128.0, window=64, stride=16, patch=(8, 4))
    >>> tokens = tokenizer(torch.randn(2, 3, 384))
    >>> tokens.values.shape, tokens.grid.names, tokens.grid.shape, tokens.grid.axis("frequency").coordinates[0]
    (torch.Size([2, 60, 32]), ('electrode', 'frequency', 'time'), (3, 4, 5), (9.0,))
    """

    def __init__(
        self,
        n_electrodes: int,
        sampling_rate: float,
        kind: str = "stft",
        window: int | None = 64,
        stride: int = 16,
        frequencies: Sequence[float] | None = None,
        bands: Sequence[Sequence[float]] | None = None,
        cycles: float | Sequence[float] = 7.0,
        patch: tuple[int, int] = (4, 4),
        width: int = 32,
        leftover: str = "drop",
        names: Sequence[str] | None = None,
        positions: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        if n_electrodes < 1:
            raise ValueError(f"n_electrodes is {n_electrodes}; a recording has at least one.")
        self.n_electrodes, self.sampling_rate, self.kind, self.window, self.stride = n_electrodes, sampling_rate, kind, window, stride
        self.frequencies = None if frequencies is None else tuple(float(frequency) for frequency in frequencies)
        self.bands = None if bands is None else tuple((float(low), float(high)) for low, high in bands)
        self.cycles = float(cycles) if isinstance(cycles, float | Real) else tuple(float(number) for number in cycles)
        self.patch, self.width, self.leftover = (int(patch[0]), int(patch[1])), width, leftover
        self.names, self.positions = check_sites(n_electrodes, names, positions)
        self._centres, self._filters = _designed(self)
        _check_patch(self.patch, len(self._centres))
        check_cut(self._span, self._step, width, leftover, sampling_rate)
        self.weight = nn.Parameter(lecun_normal_(torch.empty(width, self.patch[0] * self.patch[1])))
        self.bias = nn.Parameter(torch.zeros(width))
        self._kept: dict[Hashable, Tensor] = {}

    @classmethod
    def from_info(
        cls,
        info: Any,
        kind: str = "stft",
        window_s: float | None = 0.5,
        stride_s: float = 0.125,
        frequencies: Sequence[float] | None = None,
        bands: Sequence[Sequence[float]] | None = None,
        cycles: float | Sequence[float] = 7.0,
        patch: tuple[int, int] = (4, 4),
        width: int = 32,
        leftover: str = "drop",
    ) -> SpectrogramPatches:
        """For the channels of an `mne.Info`, with seconds instead of samples, rounded to the nearest sample (halves down)."""
        rate, names = float(info["sfreq"]), list(info["ch_names"])
        window = None if window_s is None else samples_of(window_s, rate)
        stride = samples_of(stride_s, rate)
        return cls(len(names), rate, kind, window, stride, frequencies, bands, cycles, patch, width, leftover, names, sites_of_info(info))

    def forward(self, recording: Tensor | RecordingBatch, mask: Tensor | None = None) -> Tokens:
        """(B, E, samples) → Tokens (B, T, D).

        `mask` is (B, E) or (B, E, samples) bool, True = real: samples that aren't count as zero, and a frame without real samples as power 1, also where
        it is one that `leftover="pad"` adds behind the end. A patch is padding where it sees no real sample, or reaches beyond the recording's last one so
        that the recording alone wouldn't have it.
        A batch of several caps, lengths and rates (`collate_windows`) needs no mask, and may have any electrodes.
        """
        if isinstance(recording, RecordingBatch):
            refuse_mask(mask)
            return self._several_recordings(recording)
        check_recording(recording, self.n_electrodes)
        steps = self._steps(recording.shape[2])
        if mask is None and self._length(steps) <= recording.shape[2]:
            values, there = self._projected(_logarithm(self.power(recording))), None
        else:
            values, there = self._masked(recording, torch.ones_like(recording, dtype=torch.bool) if mask is None else real_samples(mask, recording))
        return Tokens(values.flatten(1, 2), self._grid(steps), None if mask is None or there is None else there.flatten(1))

    def _several_recordings(self, batch: RecordingBatch) -> Tokens:
        """Each recording's own electrodes at this tokenizer's rate, all recordings of one length at a time."""
        values, mask, lengths = at_one_rate(batch, self.sampling_rate)
        axes = electrode_axes(batch)

        def cut(rows: list[int], length: int) -> Iterable[OneRecording]:
            tokens, real = self._masked(values[rows, :, :length], mask[rows, :, :length])
            for row, found, there in zip(rows, tokens, real, strict=True):
                own = axes[row].size
                yield found[:own].flatten(0, 1), there[:own].flatten(), self._placed(axes[row], self._steps(length))

        return cut_alike(lengths, cut)

    def _masked(self, recording: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, E, samples) twice → the tokens (B, E, G · S, D), and which of them are real, (B, E, G · S)."""
        steps = self._steps(recording.shape[2])
        seen = fit_length(mask, self._length(steps)).unfold(-1, len(self._filters[0]), self.stride).any(-1)
        logarithms = _logarithm(self.power(recording.where(mask, 0.0))).where(seen[..., None], 0.0)
        alone = steps_alone(mask, steps, self._span, self._step, self.leftover)
        values, real = self._projected(logarithms), seen.unflatten(-1, (steps, -1)).any(-1) & alone[:, None]
        return values, real[:, :, None].expand(-1, -1, values.shape[2] // steps, -1).flatten(2)

    def power(self, recording: Tensor) -> Tensor:
        """The spectrogram before its logarithm: (B, E, samples) → (B, E, N, F)."""
        steps = self._steps(recording.shape[2])
        filters = self._on(recording)
        frames = fit_length(recording, self._length(steps)).unfold(-1, len(filters), self.stride)
        return (frames @ filters).unflatten(-1, (2, -1)).square().sum(-2)

    @property
    def _span(self) -> int:
        """Samples that a patch sees."""
        return len(self._filters[0]) + (self.patch[1] - 1) * self.stride

    @property
    def _step(self) -> int:
        """Samples from one patch to the next in time."""
        return self.patch[1] * self.stride

    def _length(self, steps: int) -> int:
        return (steps - 1) * self._step + self._span

    def _projected(self, logarithms: Tensor) -> Tensor:
        """(B, E, N, F) → (B, E, G · S, D)."""
        cut = logarithms.unflatten(3, (-1, self.patch[0])).unflatten(2, (-1, self.patch[1]))  # B, E, S, q, G, p
        patches = cut.permute(0, 1, 4, 2, 5, 3).flatten(4)
        return linear(patches.flatten(2, 3), self.weight, self.bias)

    def _on(self, recording: Tensor) -> Tensor:
        """Real and imaginary parts of the filters side by side, (L, 2 · F), in the recording's numbers and on its device."""

        def filters() -> Tensor:
            both = np.concatenate([self._filters.real, self._filters.imag])
            return torch.tensor(both.T, device=recording.device, dtype=recording.dtype).contiguous()

        return kept(self._kept, (recording.device, recording.dtype), filters)

    def _laid(self, steps: int) -> Grid:
        return self._placed(Axis("electrode", "m", self.positions, self.names or ()), steps)

    def _placed(self, electrodes: Axis, steps: int) -> Grid:
        centres = np.reshape(self._centres, (-1, self.patch[0])).mean(1)
        frequencies = Axis("frequency", "Hz", tuple((float(centre),) for centre in centres))
        return Grid((electrodes, frequencies, time_axis(steps, self._span, self._step, self.sampling_rate)))

    def _steps(self, n_times: int) -> int:
        return n_steps(n_times, self._span, self._step, self.leftover)


def _logarithm(power: Tensor) -> Tensor:
    """Of power, or of the floor where there is less; half formats are left for it, of which float16 holds no number as small as the floor."""
    wide = power if power.dtype in (torch.float32, torch.float64) else power.float()
    return wide.clamp(min=POWER_FLOOR).log().to(power.dtype)


def _designed(tokenizer: SpectrogramPatches) -> tuple[np.ndarray, np.ndarray]:
    """Centre frequencies (F,) and complex filters (F, L)."""
    kind, window, frequencies, bands, rate = tokenizer.kind, tokenizer.window, tokenizer.frequencies, tokenizer.bands, tokenizer.sampling_rate
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; there are {', '.join(map(repr, KINDS))}.")
    if not rate > 0:
        raise ValueError(f"sampling_rate is {rate}; it must be above 0 Hz.")
    if (bands is None) == (kind == "filter_bank") or (frequencies is not None and kind == "filter_bank"):
        raise ValueError(f"kind={kind!r} reads {'bands, and no frequencies' if kind == 'filter_bank' else 'frequencies, and no bands'}.")
    if kind == "morlet":
        if window is not None or frequencies is None:
            raise ValueError("kind='morlet' needs frequencies, and its wavelets have their own length: give window=None.")
        return np.array(frequencies), morlet_wavelets(frequencies, tokenizer.cycles, rate)
    if window is None or window < 3:
        raise ValueError(f"kind={kind!r} needs a window of at least 3 samples, but it is {window}.")
    if bands is not None:
        return np.mean(bands, axis=1), filter_bank_filters(bands, window, rate)
    # The last one may round to just above half the rate.
    centres = np.minimum(np.arange(1, window // 2 + 1) * rate / window, rate / 2) if frequencies is None else np.array(frequencies)
    return centres, stft_filters(centres, window, rate)


def _check_patch(patch: tuple[int, int], frequencies: int) -> None:
    if min(patch) < 1 or frequencies % patch[0]:
        fitting = [size for size in range(1, frequencies + 1) if frequencies % size == 0]
        raise ValueError(f"{frequencies} frequencies can't be cut into patches of {patch} (frequencies, frames); frequencies that fit are {fitting}.")

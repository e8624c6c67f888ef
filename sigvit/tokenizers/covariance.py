"""Covariances of the electrodes as tokens: what Riemannian pipelines read, in front of a Transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from sigvit.grid import Axis, Grid
from sigvit.tokenizers.electrode_sites import check_sites
from sigvit.tokenizers.mixed_recordings import cut_by_name
from sigvit.tokenizers.projection import lecun_normal_
from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.tokenizers.spectral_filters import check_band
from sigvit.tokenizers.symmetric import inverse_root, matrix_log, riemannian_mean, shrink, upper_triangle
from sigvit.tokenizers.time_cuts import as_signals, check_cut, check_recording, fit_length, n_steps, real_samples, real_steps, samples_of, time_axis
from sigvit.tokenizers.tokenizer import Tokenizer
from sigvit.tokens import Tokens

# B = batch, E = electrodes, S = steps in time, L = samples of a window, F = bands, R = rows of a matrix (E, or spatial filters), V = R (R + 1) / 2, D = width

BLOCK = 64  # recordings whose covariances are measured at a time for the reference
EDGE = 0.125  # share of a window in which it is faded in, and out, before it is split into bands
ROUNDING = 1e-9  # of a frequency's number


class CovarianceTokens(Tokenizer):
    """A token for each frequency band and time window: shrunk covariance → matrix logarithm at a reference → upper triangle with √2 weights → projection.

    The coordinates of Riemannian pipelines (Barachant et al. 2012, IEEE TBME 59), computed in float64 for the whole batch at once, with gradients that stay
    finite where eigenvalues are equal. A band is taken by a mask in the Fourier transform of the window, whose ends are faded; by Parseval's theorem the
    covariance is measured there, and the samples that OAS counts are the band's own: two a frequency.

    Parameters
    ----------
    n_electrodes : electrodes (channels) of the recording.
    window, stride : samples.
    width : length of a token.
    bands : (low, high) in Hz, high excluded; None takes the signal as it is.
    shrinkage : "oas", or a share from 0 to 1 (see `sigvit.tokenizers.symmetric.shrink`).
    n_filters : so many learned spatial filters a band in front of the logarithm (the bilinear map of SPDNet, Huang & Van Gool 2017, arXiv:1608.04233): smaller
        matrices for many electrodes. None reads the electrodes.
    leftover : what happens to samples at the end that fill no window: "drop" them, "pad" to one more window of the few that are there, or "error".
    sampling_rate : hertz; bands need it. Without it the grid's time is in samples.
    names : of the electrodes; only batches of several caps need them.

    Attributes
    ----------
    reference : (F, E, E), the matrix whose tangent space is taken; the identity until `set_reference`.

    Raises
    ------
    ValueError : sizes that make no sense, bands that the window doesn't resolve, or a recording that doesn't fit.

    The grid's axes are "frequency" (Hz, the band's centre; NaN without bands) and "time" (s).

    >>> tokenizer = CovarianceTokens(n_electrodes=5, window=128, stride=64, bands=((8, 12), (12, 30)), sampling_rate=128.0)
    >>> tokens = tokenizer(torch.randn(2, 5, 256))
    >>> tokens.values.shape, tokens.grid.names, tokens.grid.shape
    (torch.Size([2, 6, 32]), ('frequency', 'time'), (2, 3))
    """

    reference: Tensor

    def __init__(
        self,
        n_electrodes: int,
        window: int = 128,
        stride: int = 64,
        width: int = 32,
        bands: Sequence[Sequence[float]] | None = None,
        shrinkage: float | str = "oas",
        n_filters: int | None = None,
        leftover: str = "drop",
        sampling_rate: float | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        check_cut(window, stride, width, leftover, sampling_rate)
        _check(n_electrodes, n_filters, window, shrinkage)
        self.n_electrodes, self.window, self.stride, self.width = n_electrodes, window, stride, width
        self.bands = None if bands is None else tuple((float(low), float(high)) for low, high in bands)
        self.shrinkage, self.n_filters, self.leftover, self.sampling_rate = shrinkage, n_filters, leftover, sampling_rate
        self.names = check_sites(n_electrodes, names, None)[0]
        self.bins = None if self.bands is None else _bins(self.bands, window, sampling_rate)
        count, rows = 1 if self.bands is None else len(self.bands), n_filters or n_electrodes
        self.register_buffer("reference", torch.eye(n_electrodes).repeat(count, 1, 1))
        self.filters = None if n_filters is None else nn.Parameter(_orthogonal(count, n_filters, n_electrodes))
        self.weight = nn.Parameter(lecun_normal_(torch.empty(count * width, rows * (rows + 1) // 2)).view(count, width, -1))
        self.bias = nn.Parameter(torch.zeros(count, width))

    @classmethod
    def from_info(
        cls,
        info: Any,
        window_s: float = 1.0,
        stride_s: float = 0.5,
        width: int = 32,
        bands: Sequence[Sequence[float]] | None = None,
        shrinkage: float | str = "oas",
        n_filters: int | None = None,
        leftover: str = "drop",
    ) -> CovarianceTokens:
        """For the channels of an `mne.Info`, with seconds instead of samples, rounded to the nearest sample (halves down)."""
        rate, names = float(info["sfreq"]), list(info["ch_names"])
        window, stride = (samples_of(seconds, rate) for seconds in (window_s, stride_s))
        return cls(len(names), window, stride, width, bands, shrinkage, n_filters, leftover, rate, names)

    def forward(self, recording: Tensor | RecordingBatch, mask: Tensor | None = None) -> Tokens:
        """(B, E, samples) → Tokens (B, T, D).

        `mask` is (B, E) or (B, E, samples) bool, True = real: a variance is measured over an electrode's real samples, and an electrode that has none in a
        window is there as the reference has it, uncorrelated. A token is padding where it sees no real sample, or reaches beyond the recording's last one so
        that the recording alone wouldn't have it.
        A batch of several caps, lengths and rates (`collate_windows`) needs no mask: each recording's electrodes are placed on `names`.
        """
        if isinstance(recording, RecordingBatch):
            return cut_by_name(self, recording, mask)
        vectors, real = self._vectors(recording, mask)
        values = torch.einsum("bfsv,fwv->bfsw", vectors.to(self.weight.dtype), self.weight) + self.bias[:, None]
        steps = vectors.shape[2]
        return Tokens(values.flatten(1, 2), self._grid(steps), None if real is None else real.repeat(1, len(self.weight)))

    def vectors(self, recording: Tensor, mask: Tensor | None = None) -> Tensor:
        """What is projected: (B, E, samples) → (B, F, S, V), float64."""
        return self._vectors(recording, mask)[0]

    def covariances(self, recording: Tensor, mask: Tensor | None = None) -> Tensor:
        """Shrunk covariances, (B, E, samples) → (B, F, S, E, E), float64."""
        return self._covariances(recording, mask)[0]

    @torch.no_grad()
    def set_reference(self, signals: Any) -> Self:
        """Take the tangent space at the Riemannian mean of all windows of these signals, (N, E, samples): those of the training part, never of another.

        Spatial filters start anew, at the mean's principal components: where the signals have most of their power. The mean is kept in the model's number
        format: in float32 eigenvalues below about 1e-6 of the largest lose digits; shrink the covariances, or call `.double()` before.

        Raises
        ------
        ValueError : signals that don't fit, are masked in places or aren't finite.
        """
        signals = as_signals(signals)
        if not len(signals) or not signals.isfinite().all():
            raise ValueError(f"The reference is measured from finite signals (windows, electrodes, samples); these are {tuple(signals.shape)}, or hold NaN.")
        found = [self.covariances(part.to(self.reference.device)).transpose(1, 2).flatten(0, 1) for part in signals.split(BLOCK)]
        self.reference.copy_(riemannian_mean(torch.cat(found)))
        if self.n_filters is not None and self.filters is not None:
            self.filters.copy_(torch.linalg.eigh(self.reference.double())[1].mT.flip(-2)[:, : self.n_filters])
        return self

    def _vectors(self, recording: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        covariances, real = self._covariances(recording, mask)
        reference = self.reference.double()
        if self.filters is not None:
            filters = self.filters.double()
            reference, covariances = filters @ reference @ filters.mT, filters[:, None] @ covariances @ filters.mT[:, None]
        whitening = inverse_root(reference)[:, None]
        return upper_triangle(matrix_log(whitening @ covariances @ whitening)), real

    def _covariances(self, recording: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Covariances, and which windows are real, (B, S), where there is a mask."""
        check_recording(recording, self.n_electrodes)
        steps = n_steps(recording.shape[2], self.window, self.stride, self.leftover)
        there = None if mask is None else real_samples(mask, recording)
        length = (steps - 1) * self.stride + self.window
        if length > recording.shape[2] and there is None:
            there = torch.ones_like(recording, dtype=torch.bool)
        cut = fit_length(recording.double(), length).unfold(-1, self.window, self.stride).transpose(1, 2)
        if there is None:
            return self._measured(cut - cut.mean(-1, keepdim=True)), None
        kept = fit_length(there, length).unfold(-1, self.window, self.stride).transpose(1, 2)
        real = None if mask is None else real_steps(there, steps, self.window, self.stride, self.leftover)
        return self._measured_where(cut, kept), real

    def _measured(self, centred: Tensor, present: Tensor | None = None, samples: Tensor | None = None) -> Tensor:
        """Windows (B, S, E, L) → shrunk covariances (B, F, S, E, E); `present` (B, S, E) of ones and zeros and `samples` (B, S) say what was real of them."""
        present = torch.ones_like(centred[..., 0]) if present is None else present
        samples = torch.full_like(centred[..., 0, 0], self.window) if samples is None else samples
        found = []
        for factor, own in self._factors(centred):
            found.append(shrink(factor @ factor.mT, present, samples * own, self.shrinkage))
        return torch.stack(found, 1)

    def _measured_where(self, cut: Tensor, kept: Tensor) -> Tensor:
        """As `_measured`, of the real samples alone: the others are zero behind the mean, and what they take from a variance is given back."""
        counts = kept.sum(-1).to(cut.dtype)
        cut = cut.where(kept, 0.0)
        centred = (cut - (cut.sum(-1) / counts.clamp(min=1))[..., None]).where(kept, 0.0)
        present = (counts > 0).to(cut.dtype)
        found = self._measured(centred * self._regained(kept, counts)[..., None], present, counts.amax(-1))
        absent = self.reference.double().diagonal(dim1=-2, dim2=-1)[:, None] * (1 - present)[:, None]
        return found + torch.diag_embed(absent)

    def _regained(self, kept: Tensor, counts: Tensor) -> Tensor:
        """The factor (B, S, E) on what is real of the window, so that its power is the mean of its squares; with bands the mean that the fading weighs."""
        scale = (self.window / counts.clamp(min=1)).sqrt()
        if self.bins is None:
            return scale
        energy = torch.as_tensor(_fading(self.window), device=kept.device) ** 2
        own = (kept.to(energy.dtype) @ energy / counts.clamp(min=1)).where(counts > 0, 1.0)
        return scale * (energy.mean() / own).sqrt().where(~kept.all(-1), 1.0)  # a whole window's two means may differ in the last bit

    def _factors(self, centred: Tensor) -> list[tuple[Tensor, float]]:
        """For each band the factor (B, S, E, any), whose product with itself is the covariance, and its samples a sample of the window."""
        if self.bins is None:
            return [(centred / self.window**0.5, 1.0)]
        fading = torch.as_tensor(_fading(self.window), device=centred.device)
        spectrum = _spectrum(centred * fading) * (2 / (fading**2).mean()).sqrt() / self.window
        found = []
        for low, high in self.bins:
            part = spectrum[..., low:high]
            found.append((torch.cat([part.real, part.imag], -1), 2 * (high - low) / self.window))
        return found

    def _laid(self, steps: int) -> Grid:
        centres = ((float("nan"),),) if self.bands is None else tuple(((low + high) / 2,) for low, high in self.bands)
        labels = () if self.bands is None else tuple(f"{low:g}-{high:g} Hz" for low, high in self.bands)
        return Grid((Axis("frequency", "Hz", centres, labels), time_axis(steps, self.window, self.stride, self.sampling_rate)))


def _check(n_electrodes: int, n_filters: int | None, window: int, shrinkage: float | str) -> None:
    if n_electrodes < 1 or window < 2:
        raise ValueError(f"A covariance needs at least one electrode and two samples, but there are {n_electrodes} electrodes and windows of {window}.")
    if n_filters is not None and not 1 <= n_filters <= n_electrodes:
        raise ValueError(f"n_filters is {n_filters}; there can be 1 to {n_electrodes} spatial filters of {n_electrodes} electrodes.")
    if shrinkage != "oas" and (isinstance(shrinkage, str) or not 0 <= shrinkage <= 1):
        raise ValueError(f"shrinkage is {shrinkage!r}; it is 'oas', or a share from 0 to 1.")


def _bins(bands: Sequence[tuple[float, float]], window: int, sampling_rate: float | None) -> tuple[tuple[int, int], ...]:
    """First and behind last number of each band's frequencies, among the multiples of rate / window above 0 and below the half rate."""
    if sampling_rate is None or not bands:
        raise ValueError(f"bands are {list(bands)} Hz and sampling_rate is {sampling_rate}; give at least one band, or None, and the rate with it.")
    found = []
    for low, high in bands:
        check_band(low, high, sampling_rate)
        # A quotient's last bit must not decide on which side of an edge a frequency lies.
        first, behind = (int(np.ceil(edge * window / sampling_rate - ROUNDING)) for edge in (low, high))
        first = max(first, 1)
        if first >= behind:
            step = sampling_rate / window
            raise ValueError(f"A window of {window} samples at {sampling_rate:g} Hz tells multiples of {step:g} Hz apart: none is in {low:g}-{high:g} Hz.")
        found.append((first, behind))
    return tuple(found)


def _spectrum(windows: Tensor) -> Tensor:
    """(…, L) → (…, L // 2 + 1); also of no windows at all, which libraries of Fourier transforms refuse."""
    if windows.numel():
        return torch.fft.rfft(windows)
    return torch.complex(windows, windows)[..., : windows.shape[-1] // 2 + 1]


def _fading(window: int) -> np.ndarray:
    """(L,) ones that rise from, and fall to, zero as half a cosine at the ends (Tukey's window)."""
    edge = max(int(window * EDGE), 1)
    rise = np.sin(np.pi / 2 * (np.arange(edge) + 0.5) / edge) ** 2
    return np.concatenate([rise, np.ones(window - 2 * edge), rise[::-1]])


def _orthogonal(bands: int, filters: int, electrodes: int) -> Tensor:
    """(F, filters, E), random orthonormal rows."""
    empty = torch.empty(bands, filters, electrodes)
    if not empty.is_meta:
        for rows in empty:
            nn.init.orthogonal_(rows)
    return empty

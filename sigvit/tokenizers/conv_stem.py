"""Recordings read by learned temporal and spatial filters: the stem of the convolutional networks in front of a Transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.grid import Grid
from sigvit.products import linear
from sigvit.tokenizers.electrode_sites import check_sites
from sigvit.tokenizers.mixed_recordings import cut_by_name
from sigvit.tokenizers.projection import lecun_normal_
from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.tokenizers.symmetric import inverse_root, shrink
from sigvit.tokenizers.time_cuts import as_signals, check_cut, check_recording, fit_length, n_steps, real_samples, real_steps, samples_of, time_axis
from sigvit.tokenizers.tokenizer import Tokenizer
from sigvit.tokens import Tokens

# B = batch, E = electrodes, F = filters, L = length of a filter, T = tokens, D = width

ACTIVATIONS = ("elu", "log_power")
BLOCK = 64  # windows whose second moment is measured at a time
SHRINKAGE = 0.1  # of the second moment to its mean power, before it is inverted
POWER_FLOOR = 1e-6  # of the authors' safe logarithm


class ConvStem(Tokenizer):
    """Temporal filters, spatial filters over all electrodes, a nonlinearity, the mean over `pool` samples: a token each `stride` samples.

    "elu" is the stem of EEG Conformer (Song et al. 2023, IEEE TNSRE 31), "log_power" squares and takes the logarithm behind the mean, as ShallowConvNet does
    (Schirrmeister et al. 2017, arXiv:1703.05051): what the power of oscillations tells. Between the two kinds of filters stands nothing, so they run
    as one convolution, at equal numbers.

    Theirs have a BatchNorm, this one has no norm: batch statistics would tie the windows of a batch, and its padding, to each other; a norm over the window
    would erase its power. The filters start so that the mean power behind them is that of the electrodes, and the encoder's first LayerNorm comes right behind.

    Parameters
    ----------
    n_electrodes : electrodes (channels) of the recording.
    n_filters : temporal filters, and as many spatial ones, each of which reads all temporal ones.
    kernel, pool, stride : samples: length of a temporal filter, of the mean, and from one token to the next.
    hop : samples from one answer of the filters to the next; pool and stride are multiples of it. What is averaged needs no answer at every sample, and
        the work falls with the hop.
    width : length of a token.
    activation : "elu" or "log_power".
    leftover : what happens to samples at the end that fill no token: "drop" them, "pad" with zeros to one more token, or "error".
    sampling_rate : hertz. Without it the grid's time is in samples.
    names : of the electrodes; only batches of several caps need them.
    whiten : the spatial filters read electrodes that `set_reference` has made uncorrelated and equally strong: rhythms of a few microvolts are then as easy
        to find as what all electrodes have in common, which is much of an evoked response and is better left as it is.

    Attributes
    ----------
    whitening : (E, E) in front of the spatial filters, the identity until `set_reference`; None without `whiten`.

    Raises
    ------
    ValueError : sizes that make no sense, or a recording that doesn't fit.

    The grid's axis is "time" (s): the mean time of all samples that a token sees, the first sample being at 0.

    >>> tokens = ConvStem(n_electrodes=22, activation="log_power", sampling_rate=250.0)(torch.zeros(2, 22, 1000))
    >>> tokens.values.shape, tokens.grid.names, tokens.grid.axis("time").coordinates[:2]
    (torch.Size([2, 61, 32]), ('time',), ((0.196,), (0.256,)))
    """

    whitening: Tensor | None

    def __init__(
        self,
        n_electrodes: int,
        n_filters: int = 40,
        kernel: int = 25,
        pool: int = 75,
        stride: int = 15,
        width: int = 32,
        activation: str = "elu",
        leftover: str = "drop",
        sampling_rate: float | None = None,
        hop: int = 1,
        names: Sequence[str] | None = None,
        whiten: bool = False,
    ) -> None:
        super().__init__()
        if min(n_electrodes, n_filters, kernel) < 1:
            raise ValueError(f"n_electrodes {n_electrodes}, n_filters {n_filters} and kernel {kernel} must all be at least 1.")
        check_cut(pool, stride, width, leftover, sampling_rate)
        if hop < 1 or hop > kernel or pool % hop or stride % hop:
            raise ValueError(f"hop is {hop}; it must be from 1 to the kernel's {kernel} samples, and pool {pool} and stride {stride} multiples of it.")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is {activation!r}; there are {', '.join(map(repr, ACTIVATIONS))}.")
        self.n_electrodes, self.n_filters, self.kernel, self.pool, self.stride = n_electrodes, n_filters, kernel, pool, stride
        self.width, self.activation, self.leftover, self.sampling_rate, self.hop = width, activation, leftover, sampling_rate, hop
        self.names, self.whiten = check_sites(n_electrodes, names, None)[0], whiten
        self.temporal = nn.Parameter(lecun_normal_(torch.empty(n_filters, kernel)))
        self.spatial = nn.Parameter(lecun_normal_(torch.empty(n_filters, n_filters, n_electrodes)))
        self.offset = nn.Parameter(torch.zeros(n_filters))
        self.weight = nn.Parameter(lecun_normal_(torch.empty(width, n_filters)))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("whitening", torch.eye(n_electrodes) if whiten else None)

    @classmethod
    def from_info(
        cls,
        info: Any,
        n_filters: int = 40,
        kernel_s: float = 0.1,
        pool_s: float = 0.3,
        stride_s: float = 0.06,
        width: int = 32,
        activation: str = "elu",
        leftover: str = "drop",
    ) -> ConvStem:
        """For the channels of an `mne.Info`, with seconds (the papers' by default) instead of samples, rounded to the nearest sample, at least one."""
        rate, names = float(info["sfreq"]), list(info["ch_names"])
        kernel, pool, stride = (max(1, samples_of(seconds, rate)) for seconds in (kernel_s, pool_s, stride_s))
        return cls(len(names), n_filters, kernel, pool, stride, width, activation, leftover, rate, names=names)

    @classmethod
    def for_windows(cls, n_electrodes: int, n_times: int, sampling_rate: float | None = None, width: int = 32, whiten: bool = False) -> ConvStem:
        """The stem of `SignalViTClassifier`: sixteen filters of a tenth of a second that answer forty times a second, at least four times a stride, and about
        sixteen tokens that overlap by half.

        Without a rate (in hertz) a filter has a thirty-second of the samples; never more than a quarter. How it was chosen: docs/log.md.

        >>> tokenizer = ConvStem.for_windows(6, 896, 256.0)
        >>> tokenizer.kernel, tokenizer.hop, tokenizer.stride, tokenizer.pool
        (26, 6, 54, 108)
        """
        wanted, often = (max(5, n_times // 32), n_times) if sampling_rate is None else (samples_of(0.1, sampling_rate), samples_of(0.025, sampling_rate))
        kernel = max(1, min(wanted, n_times // 4))
        hop = max(1, min(kernel, often, round((n_times - kernel) / 64)))
        stride = hop * max(1, round((n_times - kernel) / 16 / hop))
        pool = min(2 * stride, max(hop, (n_times - kernel + hop) // hop * hop))
        return cls(n_electrodes, 16, kernel, pool, min(stride, pool), width, "elu", "pad", sampling_rate, hop, whiten=whiten)

    @property
    def window(self) -> int:
        """Samples that a token sees."""
        return self.kernel + self.pool - self.hop

    @torch.no_grad()
    def set_reference(self, signals: Any) -> Self:
        """Measure what `whiten` takes away from these signals, (N, E, samples): those of the training part, never of another. Does nothing without `whiten`.

        The symmetric inverse root of their second moment, a tenth of which is shrunk to the mean power: each whitened electrode stays the nearest to its own.

        Raises
        ------
        ValueError : no signals, signals of other electrodes, or that are masked in places or aren't finite.
        """
        if self.whitening is None:
            return self
        signals = as_signals(signals)
        if signals.ndim != 3 or signals.shape[1] != self.n_electrodes or not signals.numel() or not signals.isfinite().all():
            raise ValueError(
                f"Whitening is measured from finite signals (windows, {self.n_electrodes}, samples); these are {tuple(signals.shape)}, or hold NaN."
            )
        moment = sum(torch.einsum("nes,nfs->ef", part.double(), part.double()) for part in signals.split(BLOCK)) / (len(signals) * signals.shape[2])
        self.whitening.copy_(inverse_root(shrink(moment, moment.new_ones(len(moment)), moment.new_ones(()), SHRINKAGE)))
        return self

    def forward(self, recording: Tensor | RecordingBatch, mask: Tensor | None = None) -> Tokens:
        """(B, E, samples) → Tokens (B, T, D).

        `mask` is (B, E) or (B, E, samples) bool, True = real: samples that aren't count as zero. A token is padding where it sees no real sample, or reaches
        beyond the recording's last one so that the recording alone wouldn't have it.
        A batch of several caps, lengths and rates (`collate_windows`) needs no mask: each recording's electrodes are placed on `names`.
        """
        if isinstance(recording, RecordingBatch):
            return cut_by_name(self, recording, mask)
        check_recording(recording, self.n_electrodes)
        if mask is not None:
            mask = real_samples(mask, recording)
            recording = recording.where(mask, 0.0)
        steps = n_steps(recording.shape[2], self.window, self.stride, self.leftover)
        pooled = self.filtered_means(fit_length(recording, (steps - 1) * self.stride + self.window))
        real = None if mask is None else real_steps(mask, steps, self.window, self.stride, self.leftover)
        return Tokens(linear(pooled, self.weight, self.bias), self._grid(steps), real)

    def filtered_means(self, recording: Tensor) -> Tensor:
        """What is projected: (B, E, samples) → (B, T, F), means of ELU or logarithms of mean power."""
        filtered = functional.conv1d(recording, self.joint_filters(), self.offset, self.hop)
        pool, stride = self.pool // self.hop, self.stride // self.hop
        if self.activation == "elu":
            return functional.avg_pool1d(functional.elu(filtered), pool, stride).transpose(1, 2)
        power = functional.avg_pool1d(filtered**2, pool, stride)
        return power.clamp(min=POWER_FLOOR).log().transpose(1, 2)

    def joint_filters(self) -> Tensor:
        """Temporal and spatial filters as one convolution: (F, E, L)."""
        spatial = self.spatial if self.whitening is None else self.spatial @ self.whitening
        return torch.einsum("ofe,fl->oel", spatial, self.temporal)

    def _laid(self, steps: int) -> Grid:
        return Grid((time_axis(steps, self.window, self.stride, self.sampling_rate),))

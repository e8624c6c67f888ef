"""Recordings read one moment after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sigvit.grid import Grid
from sigvit.products import linear
from sigvit.tokenizers.electrode_sites import check_sites
from sigvit.tokenizers.mixed_recordings import cut_by_name
from sigvit.tokenizers.projection import lecun_normal_
from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.tokenizers.time_cuts import check_cut, check_recording, fit_length, n_steps, real_samples, real_steps, samples_of, time_axis
from sigvit.tokenizers.tokenizer import Tokenizer
from sigvit.tokens import Tokens

# B = batch, E = electrodes, T = tokens, D = width


class TimeStepTokens(Tokenizer):
    """A token for each time step: the vector of all electrodes, averaged over `window` samples.

    The input of the time series Transformer (Zerveas et al. 2020, arXiv:2010.02803): attention sees every moment, and only the projection mixes electrodes.

    Parameters
    ----------
    n_electrodes : electrodes (channels) of the recording.
    window : samples that are averaged; 1 takes every sample as it is.
    width : length of a token.
    leftover : what happens to samples at the end that fill no window: "drop" them, average the few that are there ("pad"), or "error".
    sampling_rate : hertz. Without it the grid's time is in samples.
    names : of the electrodes; only batches of several caps need them.

    Raises
    ------
    ValueError : sizes that make no sense, or a recording that doesn't fit.

    >>> tokens = TimeStepTokens(n_electrodes=22, window=4, width=64, sampling_rate=100.0)(torch.zeros(2, 22, 50))
    >>> tokens.values.shape, tokens.grid.names, tokens.coordinates[:2].tolist()
    (torch.Size([2, 12, 64]), ('time',), [[0.014...], [0.054...]])
    """

    def __init__(
        self,
        n_electrodes: int,
        window: int = 1,
        width: int = 192,
        leftover: str = "drop",
        sampling_rate: float | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        check_cut(window, window, width, leftover, sampling_rate)
        if n_electrodes < 1:
            raise ValueError(f"n_electrodes is {n_electrodes}; a recording has at least one.")
        self.n_electrodes, self.window, self.width, self.leftover, self.sampling_rate = n_electrodes, window, width, leftover, sampling_rate
        self.names = check_sites(n_electrodes, names, None)[0]
        self.weight = nn.Parameter(lecun_normal_(torch.empty(width, n_electrodes)))
        self.bias = nn.Parameter(torch.zeros(width))

    @classmethod
    def from_info(cls, info: Any, window_s: float, width: int = 192, leftover: str = "drop") -> TimeStepTokens:
        """For the channels of an `mne.Info`, with seconds instead of samples, rounded to the nearest sample (halves down)."""
        rate = float(info["sfreq"])
        names = list(info["ch_names"])
        return cls(len(names), samples_of(window_s, rate), width, leftover, rate, names)

    def forward(self, recording: Tensor | RecordingBatch, mask: Tensor | None = None) -> Tokens:
        """(B, E, samples) → Tokens (B, T, D).

        `mask` is (B, E) or (B, E, samples) bool, True = real: an electrode is averaged over its real samples, and is zero where it has none;
        a token without real samples is padding, and so is one that reaches beyond the recording's last one so that the recording alone wouldn't have it.
        A batch of several caps, lengths and rates (`collate_windows`) needs no mask: each recording's electrodes are placed on `names`.
        """
        if isinstance(recording, RecordingBatch):
            return cut_by_name(self, recording, mask)
        check_recording(recording, self.n_electrodes)
        mask = None if mask is None else real_samples(mask, recording)
        values = linear(self.averages(recording, mask), self.weight, self.bias)
        real = None if mask is None else real_steps(mask, values.shape[1], self.window, self.window, self.leftover)
        return Tokens(values, self._grid(values.shape[1]), real)

    def averages(self, recording: Tensor, mask: Tensor | None = None) -> Tensor:
        """The vectors before their projection: (B, E, samples) → (B, T, E)."""
        if self.window == 1 and mask is None:
            return recording.transpose(1, 2)
        if mask is None and (recording.shape[2] % self.window == 0 or self.leftover == "drop"):
            return self._cut(recording).mean(-1)
        real = self._cut(torch.ones_like(recording, dtype=torch.bool) if mask is None else mask)
        return self._cut(recording).where(real, 0.0).sum(-1) / real.sum(-1).clamp(min=1)

    def _laid(self, steps: int) -> Grid:
        return Grid((time_axis(steps, self.window, self.window, self.sampling_rate),))

    def _cut(self, signal: Tensor) -> Tensor:
        """(B, E, samples) → (B, T, E, window); a last window that is only partly there is filled with zeros."""
        n_times = n_steps(signal.shape[2], self.window, self.window, self.leftover) * self.window
        return fit_length(signal, n_times).unflatten(-1, (-1, self.window)).transpose(1, 2)

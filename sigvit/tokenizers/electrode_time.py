"""Recordings cut into patches of electrodes × time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sigvit.grid import Axis, Grid
from sigvit.products import linear
from sigvit.tokenizers.electrode_sites import Position, check_sites, group_electrodes, sites_of_info
from sigvit.tokenizers.mixed_recordings import at_one_rate, cut_by_name, electrode_axes, refuse_mask
from sigvit.tokenizers.own_tokens import own_tokens, take_own
from sigvit.tokenizers.projection import lecun_normal_
from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.tokenizers.time_cuts import check_cut, check_recording, fit_length, n_steps, real_samples, samples_of, steps_alone, time_axis
from sigvit.tokenizers.tokenizer import Tokenizer
from sigvit.tokens import Tokens

# B = batch, E = electrodes, G = groups of k electrodes, S = steps in time, T = G · S tokens, D = width


class ElectrodeTimePatches(Tokenizer):
    """Patches of `electrodes` × `window` samples, cut every `stride` samples and projected to a token each.

    The image ViT's patches (Dosovitskiy et al. 2020, arXiv:2010.11929) of a picture whose rows are electrodes; of one electrode each, the channel patches of
    LaBraM (Jiang et al. 2024, arXiv:2405.18765).

    Parameters
    ----------
    n_electrodes : electrodes (channels) of the recording.
    electrodes : how many share a token: 1, k (neighbours, see `grouping`) or "all".
    window, stride : samples; a stride below the window makes patches overlap.
    width : length of a token.
    leftover : what happens to samples at the end that fill no window: "drop" them, "pad" with zeros to one more patch, or "error".
    grouping : which electrodes are neighbours where k share a token: by montage "order", or by "position" on the scalp.
    names : of the electrodes; they label the grid, and say positions where none are given.
    positions : metres in the head frame, one (x, y, z) an electrode; NaN where not known.
    sampling_rate : hertz. Without it the grid's time is in samples.

    Raises
    ------
    ValueError : sizes that contradict each other, a group size that doesn't divide the electrodes, or a recording that doesn't fit.

    The grid's axes are "electrode" (m, the group's mean position) and "time" (s, the mean time of the patch's samples, the first sample being at 0).

    >>> tokenizer = ElectrodeTimePatches(n_electrodes=22, electrodes=1, window=64, stride=32, width=192, sampling_rate=256.0)
    >>> tokens = tokenizer(torch.zeros(2, 22, 256))
    >>> tokens.values.shape, tokens.grid.shape, tokens.grid.axis("time").coordinates[1]
    (torch.Size([2, 154, 192]), (22, 7), (0.248046875,))
    """

    order: Tensor

    def __init__(
        self,
        n_electrodes: int,
        electrodes: int | str = 1,
        window: int = 64,
        stride: int = 32,
        width: int = 192,
        leftover: str = "drop",
        grouping: str = "order",
        names: Sequence[str] | None = None,
        positions: Sequence[Sequence[float]] | None = None,
        sampling_rate: float | None = None,
    ) -> None:
        super().__init__()
        check_cut(window, stride, width, leftover, sampling_rate)
        self.n_electrodes, self.electrodes, self.window, self.stride = n_electrodes, electrodes, window, stride
        self.width, self.leftover, self.grouping, self.sampling_rate = width, leftover, grouping, sampling_rate
        self.names, self.positions = check_sites(n_electrodes, names, positions)
        self.groups = _groups(n_electrodes, electrodes, grouping, self.positions)
        order = [electrode for group in self.groups for electrode in group]
        self._in_order = order == list(range(n_electrodes))
        self.register_buffer("order", torch.tensor(order))
        self._electrode_axis = _electrode_axis(self.groups, self.names, self.positions)
        self.weight = nn.Parameter(lecun_normal_(torch.empty(width, len(self.groups[0]) * window)))
        self.bias = nn.Parameter(torch.zeros(width))

    @classmethod
    def from_info(
        cls,
        info: Any,
        window_s: float = 0.25,
        stride_s: float = 0.125,
        electrodes: int | str = 1,
        width: int = 192,
        leftover: str = "drop",
        grouping: str = "order",
    ) -> ElectrodeTimePatches:
        """For the channels of an `mne.Info`, with seconds instead of samples, rounded to the nearest sample (halves down)."""
        rate, names = float(info["sfreq"]), list(info["ch_names"])
        window, stride = (samples_of(seconds, rate) for seconds in (window_s, stride_s))
        return cls(len(names), electrodes, window, stride, width, leftover, grouping, names, sites_of_info(info), rate)

    def forward(self, recording: Tensor | RecordingBatch, mask: Tensor | None = None) -> Tokens:
        """(B, E, samples) → Tokens (B, T, D).

        `mask` is (B, E) or (B, E, samples) bool, True = real: samples that aren't have exactly no influence. A patch is padding where it holds no real sample,
        or reaches beyond the recording's last one so that the recording alone wouldn't have it.
        A batch of several caps, lengths and rates (`collate_windows`) needs no mask. Where each electrode has its own tokens, it may have any electrodes;
        where several share one, each recording's are placed on `names`, and absent ones are masked.
        """
        if isinstance(recording, RecordingBatch):
            return self._several_recordings(recording, mask) if len(self.groups[0]) == 1 else cut_by_name(self, recording, mask)
        check_recording(recording, self.n_electrodes)
        if mask is not None:
            mask = real_samples(mask, recording)
            recording = recording.where(mask, 0.0)
        values = linear(self.unfold(recording), self.weight, self.bias)
        steps = values.shape[1] // len(self.groups)
        real = None if mask is None else self.unfold(mask).any(-1) & self._alone(mask, steps).repeat(1, len(self.groups))
        return Tokens(values, self._grid(steps), real)

    def _several_recordings(self, batch: RecordingBatch, mask: Tensor | None) -> Tokens:
        """Each recording's own patches at this tokenizer's rate, electrode by electrode, then padding."""
        patches, real, grids = self.unfold_several(batch, mask)
        return Tokens(linear(patches, self.weight, self.bias), None, real, grids=grids)

    def unfold_several(self, batch: RecordingBatch, mask: Tensor | None = None) -> tuple[Tensor, Tensor, tuple[Grid, ...]]:
        """The patches of several recordings before their projection, (B, T, window), which of them are real, (B, T), and each recording's grid."""
        refuse_mask(mask)
        if len(self.groups[0]) != 1 or self.sampling_rate is None:
            found = f"electrodes={self.electrodes!r}" if self.sampling_rate is not None else "no sampling rate"
            raise ValueError(
                f"Recordings of several caps and rates are cut by a tokenizer with electrodes=1 (a token is of one electrode) that knows its sampling rate, "
                f"but this one has {found}."
            )
        values, real, lengths = at_one_rate(batch, self.sampling_rate)
        steps = [n_steps(length, self.window, self.stride, self.leftover) for length in lengths]
        grids = tuple(Grid((axis, self._time_axis(own))) for axis, own in zip(electrode_axes(batch), steps, strict=True))
        end = (max(steps) - 1) * self.stride + self.window
        patches, there = (fit_length(signal, end).unfold(-1, self.window, self.stride) for signal in (values, real))
        there = there & self._alone(real, max(steps))[:, None, :, None]
        at, own_places = own_tokens(grids, max(steps))
        return take_own(patches.flatten(1, 2), at, own_places), take_own(there.flatten(1, 2), at, own_places).any(-1), grids

    def unfold(self, recording: Tensor) -> Tensor:
        """The patches before their projection: (B, E, samples) → (B, T, k · window), electrode by electrode in each patch."""
        steps = n_steps(recording.shape[2], self.window, self.stride, self.leftover)
        grouped = recording if self._in_order else recording[:, self.order]
        fitting = fit_length(grouped, (steps - 1) * self.stride + self.window)
        cut = fitting.reshape(fitting.shape[0], len(self.groups), len(self.groups[0]), fitting.shape[2]).unfold(-1, self.window, self.stride)
        return cut.transpose(2, 3).flatten(3).flatten(1, 2)

    def fold(self, patches: Tensor, n_times: int) -> Tensor:
        """The recording of these patches, (B, T, k · window) → (B, E, n_times): the inverse of `unfold`.

        Overlapping patches are averaged; samples that no patch holds are NaN.
        """
        cut = patches.unflatten(1, (len(self.groups), -1)).unflatten(3, (-1, self.window)).transpose(2, 3).flatten(1, 2)
        at = (torch.arange(cut.shape[2])[:, None] * self.stride + torch.arange(self.window)).flatten().to(cut.device)
        # double precision: the mean of equal numbers is then that number
        total = cut.new_zeros((*cut.shape[:2], max(n_times, int(at[-1]) + 1)), dtype=torch.float64)
        counts = total.new_zeros(total.shape[2]).index_add(0, at, torch.ones_like(at, dtype=torch.float64))
        mean = total.index_add(2, at, cut.flatten(2).double()) / counts
        return mean[:, self.order.argsort(), :n_times].to(patches.dtype)

    def _laid(self, steps: int) -> Grid:
        return Grid((self._electrode_axis, self._time_axis(steps)))

    def _alone(self, mask: Tensor, steps: int) -> Tensor:
        return steps_alone(mask, steps, self.window, self.stride, self.leftover)

    def _time_axis(self, steps: int) -> Axis:
        return time_axis(steps, self.window, self.stride, self.sampling_rate)


def _groups(n_electrodes: int, electrodes: int | str, grouping: str, positions: Sequence[Position]) -> list[list[int]]:
    if n_electrodes < 1:
        raise ValueError(f"n_electrodes is {n_electrodes}; a recording has at least one.")
    if grouping not in ("order", "position"):
        raise ValueError(f"grouping is {grouping!r}; there are 'order' (of the montage) and 'position' (on the scalp).")
    if isinstance(electrodes, str) and electrodes != "all":
        raise ValueError(f"electrodes is {electrodes!r}; give a number of electrodes or 'all'.")
    size = n_electrodes if isinstance(electrodes, str) else electrodes
    by_position = grouping == "position" and 1 < size < n_electrodes
    return group_electrodes(n_electrodes, size, positions if by_position else None)


def _electrode_axis(groups: list[list[int]], names: tuple[str, ...] | None, positions: Sequence[Position]) -> Axis:
    """One step a group: the mean of its electrodes' positions (NaN where one isn't known) and their names."""
    means = tuple(tuple(np.mean([positions[k] for k in group], axis=0).tolist()) for group in groups)
    labels = () if names is None else tuple("+".join(names[k] for k in group) for group in groups)
    return Axis("electrode", "m", means, labels)

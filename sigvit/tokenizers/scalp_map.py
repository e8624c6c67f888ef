"""Recordings as pictures of the scalp: patches of rows × columns × frames, so that an image model's weights apply."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.electrodes import few_names
from sigvit.grid import Axis, Grid
from sigvit.kept_tensors import kept
from sigvit.tokenizers.electrode_sites import check_sites, sites_of_info
from sigvit.tokenizers.image import ImagePatches
from sigvit.tokenizers.mixed_recordings import OneRecording, at_one_rate, cut_alike, recordings_of, refuse_mask
from sigvit.tokenizers.projection import lecun_normal_
from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.tokenizers.scalp_weights import EXTENT_M, cap_weights, directions, inverse_distance_weights, pixel_directions, spline_weights
from sigvit.tokenizers.time_cuts import check_cut, check_recording, fit_length, n_steps, real_samples, real_steps, samples_of, time_axis
from sigvit.tokenizers.tokenizer import Tokenizer
from sigvit.tokens import Tokens

# B = batch, E = electrodes, N = frames, H × W = pixels of a picture, Q = frames of a patch, S = patches in time, T = tokens, D = width

WEIGHTS = ("inverse_distance", "spline")
NO_SPLINE = "A spline joins all electrodes and can't leave one out; use weights='inverse_distance' where electrodes or samples are missing, or caps differ."


class ScalpMapPatches(Tokenizer):
    """Every frame of a recording as a picture of the scalp, flattened around Cz with the nose up; `frames` pictures in a row are the channels of an image
    that is cut into patches (Bashivan et al. 2016, arXiv:1511.06448, made such pictures for convolutional networks).

    Any cap becomes the same picture, and an image model's patch projection fits: see `from_image_patches`.

    Parameters
    ----------
    n_electrodes : electrodes (channels) of the recording.
    size, patch_size : pixels, (rows, columns), of a picture and of a patch, which divides it.
    frame : samples that are averaged to a picture.
    frames : pictures of a patch.
    width : length of a token.
    weights : how electrodes become pixels, by one fixed matrix: "inverse_distance" (a mean of the electrodes that are there, the nearer the more) or "spline"
        (spherical splines as mne's, smooth and exact, but of all electrodes together: no masks).
    leftover : what happens to samples at the end that fill no patch: "drop" them, "pad" to one more patch of those that are there, or "error".
    names, positions : of the electrodes, in metres (head frame); each must be known.
    sampling_rate : hertz. Without it the grid's time is in samples.

    Raises
    ------
    ValueError : sizes that contradict each other, an unknown position, a mask for a spline, or a recording that doesn't fit.

    The grid's axes are "row" and "column" (m along the scalp, to the back and to the right of Cz: the patch's middle) and "time" (s).

    >>> tokenizer = ScalpMapPatches(n_electrodes=3, size=(16, 16), patch_size=(8, 8), frame=5, frames=3, names=["C3", "Cz", "C4"], sampling_rate=100.0)
    >>> tokens = tokenizer(torch.randn(2, 3, 60))
    >>> tokens.values.shape, tokens.grid.names, tokens.grid.shape
    (torch.Size([2, 16, 32]), ('row', 'column', 'time'), (2, 2, 4))
    """

    def __init__(
        self,
        n_electrodes: int,
        size: tuple[int, int] = (16, 16),
        patch_size: tuple[int, int] = (8, 8),
        frame: int = 4,
        frames: int = 4,
        width: int = 32,
        weights: str = "inverse_distance",
        leftover: str = "drop",
        names: Sequence[str] | None = None,
        positions: Sequence[Sequence[float]] | None = None,
        sampling_rate: float | None = None,
    ) -> None:
        super().__init__()
        if min(frame, frames) < 1:
            raise ValueError(f"frame ({frame} samples) and frames ({frames} pictures) must be at least 1.")
        check_cut(frame * frames, frame * frames, width, leftover, sampling_rate)
        self.n_electrodes, self.size, self.patch_size = n_electrodes, _pair(size), _pair(patch_size)
        self.frame, self.frames, self.width, self.weights, self.leftover, self.sampling_rate = frame, frames, width, weights, leftover, sampling_rate
        self.names, self.positions = check_sites(n_electrodes, names, positions)
        self._raw = _raw_weights(self)
        self.weight = nn.Parameter(lecun_normal_(torch.empty(width, frames, *self.patch_size)))
        self.bias = nn.Parameter(torch.zeros(width))
        self._kept: dict[Hashable, Tensor] = {}

    @classmethod
    def from_info(
        cls,
        info: Any,
        size: tuple[int, int] = (16, 16),
        patch_size: tuple[int, int] = (8, 8),
        frame_s: float = 0.025,
        frames: int = 4,
        width: int = 32,
        weights: str = "inverse_distance",
        leftover: str = "drop",
    ) -> ScalpMapPatches:
        """For the channels of an `mne.Info`, with seconds instead of samples, rounded to the nearest sample, at least one."""
        rate, names = float(info["sfreq"]), list(info["ch_names"])
        frame = max(1, samples_of(frame_s, rate))
        return cls(len(names), size, patch_size, frame, frames, width, weights, leftover, names, sites_of_info(info), rate)

    @classmethod
    def from_image_patches(
        cls,
        patches: ImagePatches,
        n_electrodes: int,
        size: tuple[int, int] = (224, 224),
        frame: int = 4,
        frames: int | None = None,
        weights: str = "inverse_distance",
        leftover: str = "drop",
        names: Sequence[str] | None = None,
        positions: Sequence[Sequence[float]] | None = None,
        sampling_rate: float | None = None,
    ) -> ScalpMapPatches:
        """With the projection of an image model, copied: its patch size and width, and its channels, of which each sees one of as many successive frames.

        With another number of `frames` each sees the sum of the channels, divided by it: a map that stays the same gives the token of a grey image.
        """
        channels = patches.weight.shape[1]
        count = channels if frames is None else frames
        found = cls(n_electrodes, size, patches.patch_size, frame, count, patches.width, weights, leftover, names, positions, sampling_rate)
        kernel = patches.weight.detach()
        grey = kernel.sum(1, keepdim=True) / count
        found.weight = nn.Parameter(kernel.clone() if count == channels else grey.repeat(1, count, 1, 1))
        found.bias = nn.Parameter(patches.bias.detach().clone())
        return found

    def forward(self, recording: Tensor | RecordingBatch, mask: Tensor | None = None) -> Tokens:
        """(B, E, samples) → Tokens (B, T, D).

        `mask` is (B, E) or (B, E, samples) bool, True = real: a picture is made of the electrodes that have a real sample in its frame, each averaged over its
        real samples, and is zero where there is none. A patch is padding where its frames see no real sample, or reach beyond the recording's last one so
        that the recording alone wouldn't have it.
        A batch of several caps, lengths and rates (`collate_windows`) needs no mask, and may have any electrodes; those without a place are left out.
        """
        if isinstance(recording, RecordingBatch):
            refuse_mask(mask)
            return self._several_recordings(recording)
        return self._projected(self.pictures(recording, mask), None if mask is None else real_samples(mask, recording))

    def _several_recordings(self, batch: RecordingBatch) -> Tokens:
        """Each recording's own electrodes at this tokenizer's rate, all recordings of one cap and length at a time."""
        self._require_mixed()
        caps = _known_places(batch)
        known = batch.positions.isfinite().all(-1, keepdim=True).to(batch.device)
        values, mask, lengths = at_one_rate(replace(batch, mask=batch.mask & known), self.sampling_rate or 0.0)

        def cut(rows: list[int], alike: tuple[bytes, int]) -> Iterable[OneRecording]:
            matrix = torch.tensor(cap_weights(self.size, alike[0])).to(values)
            signals, real = (each[rows, : len(matrix), : alike[1]] for each in (values, mask))
            tokens = self._projected(self._masked_pictures(signals, real, matrix), real)
            return recordings_of(tokens)

        return cut_alike(list(zip(caps, lengths, strict=True)), cut)

    def _require_mixed(self) -> None:
        if self.sampling_rate is None:
            raise ValueError("Recordings of several caps and rates are brought to a tokenizer's rate, but this ScalpMapPatches has none; give sampling_rate.")
        if self.weights == "spline":
            raise ValueError(NO_SPLINE)

    def _projected(self, pictures: Tensor, mask: Tensor | None) -> Tokens:
        """Pictures (B, N, H, W) and which samples they were made of, (B, E, samples), to tokens."""
        cut = pictures.unflatten(1, (-1, self.frames))  # B, S, Q, H, W
        projected = functional.conv2d(cut.flatten(0, 1), self.weight, self.bias, stride=self.patch_size)
        values = projected.unflatten(0, cut.shape[:2]).permute(0, 3, 4, 1, 2)  # B, rows, columns, S, D
        real = None if mask is None else real_steps(mask, cut.shape[1], self._span, self._span, self.leftover)
        grid = self._grid(cut.shape[1])
        return Tokens(values.flatten(1, 3), grid, None if real is None else real.repeat(1, grid.shape[0] * grid.shape[1]))

    def pictures(self, recording: Tensor, mask: Tensor | None = None) -> Tensor:
        """The scalp of every frame: (B, E, samples) → (B, N, H, W)."""
        check_recording(recording, self.n_electrodes)
        if mask is not None and self.weights == "spline":
            raise ValueError(NO_SPLINE)
        length = n_steps(recording.shape[2], self._span, self._span, self.leftover) * self._span
        if mask is None and length > recording.shape[2]:
            mask = torch.ones_like(recording, dtype=torch.bool)
        matrix = self._matrix(recording)
        if mask is None:
            means = self._framed(recording, length).mean(-1).transpose(1, 2)
            return (means @ (matrix / matrix.sum(0))).unflatten(-1, self.size)
        return self._masked_pictures(recording, real_samples(mask, recording), matrix)

    def _masked_pictures(self, recording: Tensor, mask: Tensor, matrix: Tensor) -> Tensor:
        """Pictures of the real samples alone, by weights (E, H · W) that aren't yet divided by their sums."""
        length = n_steps(recording.shape[2], self._span, self._span, self.leftover) * self._span
        kept = self._framed(mask, length)
        counts = kept.sum(-1).transpose(1, 2)
        means = self._framed(recording, length).where(kept, 0.0).sum(-1).transpose(1, 2) / counts.clamp(min=1)
        there = (counts > 0).to(means.dtype)
        sums = there @ matrix
        return (means @ matrix / sums.where(sums > 0, 1.0)).unflatten(-1, self.size)

    @property
    def _span(self) -> int:
        """Samples that a patch sees."""
        return self.frame * self.frames

    def _framed(self, signal: Tensor, length: int) -> Tensor:
        """(B, E, samples) → (B, E, N, samples of a frame)."""
        return fit_length(signal, length).unflatten(-1, (-1, self.frame))

    def _matrix(self, recording: Tensor) -> Tensor:
        """(E, H · W), in the recording's numbers and on its device."""
        device, dtype = recording.device, recording.dtype
        return kept(self._kept, (device, dtype), lambda: torch.tensor(self._raw.T, device=device, dtype=dtype).contiguous())

    def _laid(self, steps: int) -> Grid:
        counts = [pixels // patch for pixels, patch in zip(self.size, self.patch_size, strict=True)]
        axes = (
            Axis.regular(name, "m", count, first=(1 / count - 1) * EXTENT_M, step=2 * EXTENT_M / count)
            for name, count in zip(("row", "column"), counts, strict=True)
        )
        return Grid((*axes, time_axis(steps, self._span, self._span, self.sampling_rate)))


def _raw_weights(tokenizer: ScalpMapPatches) -> np.ndarray:
    """(H · W, E), from which a row divided by its sum over the real electrodes gives a pixel."""
    for name, pixels, patch in zip(("rows", "columns"), tokenizer.size, tokenizer.patch_size, strict=True):
        if min(pixels, patch) < 1 or pixels % patch:
            raise ValueError(f"A picture of {pixels} {name} can't be cut into patches of {patch}; the patch must divide it.")
    if tokenizer.weights not in WEIGHTS:
        raise ValueError(f"weights is {tokenizer.weights!r}; there are {', '.join(map(repr, WEIGHTS))}.")
    sites = np.asarray(tokenizer.positions, dtype=float)
    unknown = np.flatnonzero(~np.isfinite(sites).all(axis=1))
    if len(unknown):
        names = unknown.tolist() if tokenizer.names is None else [tokenizer.names[electrode] for electrode in unknown]
        raise ValueError(f"A picture of the scalp needs every position, but electrodes {names} have none; give positions, or leave these electrodes out.")
    weigh = spline_weights if tokenizer.weights == "spline" else inverse_distance_weights
    return weigh(pixel_directions(tokenizer.size), directions(sites))


def _known_places(batch: RecordingBatch) -> list[bytes]:
    """Each recording's places as bytes of (E, 3) float64; ValueError where a recording has no electrode with one."""
    places = batch.positions.numpy()
    for at, (own, names) in enumerate(zip(places, batch.names, strict=True)):
        if not np.isfinite(own).all(axis=1).any():
            raise ValueError(f"A picture of the scalp needs places, but recording {at} has no electrode whose place is known: {few_names(names)}.")
    return [own[: len(names)].tobytes() for own, names in zip(places, batch.names, strict=True)]


def _pair(sizes: Sequence[int]) -> tuple[int, int]:
    rows, columns = (int(size) for size in sizes)
    return rows, columns

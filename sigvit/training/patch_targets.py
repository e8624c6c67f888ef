"""What is predicted of a hidden patch: a reading of its samples (cells, all of them, a spectrum), in eight levels or as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.model.transformer import Signal
from sigvit.tokenizers import ElectrodeTimePatches, ImagePatches, RecordingBatch

# N = patches, P = numbers of a patch, C = channels (electrodes) of a patch, Q = numbers read of each

LEVELS = 8  # 3 bits
BANDS_HZ = ((1.0, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0))
POWER_FLOOR = 1e-6  # of signals of about unit variance
# Patches that quantiles are taken from; torch's quantile refuses more numbers.
MOST_PATCHES = 100_000


def patches_of(tokenizer: nn.Module, signal: Signal) -> Tensor:
    """What each token was cut from, (B, T, P), zero where nothing is real; ValueError where the tokenizer's tokens are not of patches."""
    if isinstance(signal, RecordingBatch) and isinstance(tokenizer, ElectrodeTimePatches):
        return tokenizer.unfold_several(signal)[0]
    shape_of(tokenizer)
    if not isinstance(signal, Tensor):
        raise ValueError(f"Patches of a {type(signal).__name__} aren't predicted; give images or recordings of one size.")
    return tokenizer.unfold(signal)  # type: ignore[operator]  # an ImagePatches or ElectrodeTimePatches


def shape_of(tokenizer: nn.Module) -> tuple[int, int, int]:
    """(channels, rows, columns) of an image's patch, or (electrodes, 1, samples) of a recording's.

    Raises
    ------
    ValueError : tokens that are not of patches.

    >>> shape_of(ImagePatches((2, 5), in_channels=3, width=7)), shape_of(ElectrodeTimePatches(6, 3, window=11, stride=11))
    ((3, 2, 5), (3, 1, 11))
    """
    if isinstance(tokenizer, ImagePatches):
        return tokenizer.in_channels, *tokenizer.patch_size
    if isinstance(tokenizer, ElectrodeTimePatches):
        return len(tokenizer.groups[0]), 1, tokenizer.window
    raise ValueError(f"{type(tokenizer).__name__}'s tokens are not cut out of the signal; predicted are patches of ImagePatches and ElectrodeTimePatches.")


class Cells(nn.Module):
    """The mean of each cell of a patch: one cell is the mean colour or amplitude, (4, 4) the paper's smaller patch.

    >>> Cells((3, 2, 4), (1, 2))(torch.arange(24.0)[None]).tolist()
    [[[2.5, 4.5], [10.5, 12.5], [18.5, 20.5]]]
    """

    def __init__(self, shape: tuple[int, int, int], cells: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.shape, self.cells = shape, (min(cells[0], shape[1]), min(cells[1], shape[2]))
        self.size = (shape[0], self.cells[0] * self.cells[1])

    def forward(self, patches: Tensor) -> Tensor:
        """(N, P) → (N, C, Q); of half formats in float32."""
        return functional.adaptive_avg_pool2d(_wide(patches).view(-1, *self.shape), self.cells).flatten(2)


class Samples(nn.Module):
    """All numbers of a patch."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = (shape[0], shape[1] * shape[2])

    def forward(self, patches: Tensor) -> Tensor:
        """(N, P) → (N, C, Q); of half formats in float32."""
        return _wide(patches).view(-1, *self.size)


class Spectrum(nn.Module):
    """The logarithm of each electrode's power: at every frequency above 0 of the patch's Fourier transform, or in bands of hertz; behind a Hann window.

    Raises
    ------
    ValueError : a band without a frequency of the patch's transform; a patch of one sample, which has none above 0.

    >>> tone = torch.sin(torch.arange(50) / 50 * 2 * torch.pi * 10)[None]
    >>> Spectrum((1, 1, 50))(tone).argmax().item() + 1
    10
    """

    members: Tensor
    taper: Tensor

    def __init__(self, shape: tuple[int, int, int], sampling_rate: float | None = None, bands: Sequence[tuple[float, float]] | None = None) -> None:
        super().__init__()
        self.electrodes, self.window = shape[0], shape[2]
        bins = self.window // 2
        if not bins:
            raise ValueError("A patch of 1 sample has no frequency above 0, so that its spectrum tells nothing. Cut patches of 4 samples or more.")
        members = torch.eye(bins)
        if bands is not None:
            if sampling_rate is None:
                raise ValueError("Bands are in hertz, but the sampling rate isn't known; give it.")
            frequencies = torch.arange(1, bins + 1) * sampling_rate / self.window
            members = torch.stack([((frequencies >= low) & (frequencies < high)).float() for low, high in bands], dim=1)
            empty = [f"{low:g} – {high:g} Hz" for (low, high), count in zip(bands, members.sum(0).tolist(), strict=True) if not count]
            if empty:
                step = sampling_rate / self.window
                enough = 1 / min(high - low for low, high in bands)  # seconds: no band is narrower than a step
                raise ValueError(
                    f"A patch of {self.window} samples at {sampling_rate:g} Hz tells frequencies {step:.3g} Hz apart: none lies in {empty[0]}. "
                    f"Cut patches of {enough:.2g} s or longer."
                )
        self.register_buffer("members", members, persistent=False)
        self.register_buffer("taper", torch.hann_window(self.window), persistent=False)
        self.size = (self.electrodes, members.shape[1])

    def forward(self, patches: Tensor) -> Tensor:
        """(N, P) → (N, C, Q); of half formats in float32."""
        wide = _wide(patches)
        power = torch.fft.rfft(wide.view(-1, self.electrodes, self.window) * self.taper.to(wide.dtype), norm="ortho").abs().square()[..., 1:]
        with torch.autocast(power.device.type, enabled=False):  # sums in bfloat16 fall into other levels than those that the edges are between
            return (power @ self.members.to(power.dtype)).clamp(min=POWER_FLOOR).log()


class InLevels(nn.Module):
    """A reading in eight levels, predicted by cross-entropy.

    Parameters
    ----------
    reading : what is read of a patch; (N, P) → (N, C, Q).
    edges : the seven between the levels, (7,), or of each channel and number (C, Q, 7), also (C, 1, 7); ascending. See `colour_edges` and `quantile_edges`.
    joint : the channels' levels together are one class, as the paper's 512 colours of three channels; else each is predicted alone.

    >>> target = InLevels(Cells((3, 2, 2)), colour_edges((0.0,), (1.0,)), joint=True)
    >>> target.outputs, target.classes(torch.tensor([[0.0] * 4 + [0.2] * 4 + [1.0] * 4])).tolist()
    (512, [[456]])
    """

    edges: Tensor

    def __init__(self, reading: Cells | Samples | Spectrum, edges: Tensor, joint: bool = False) -> None:
        super().__init__()
        channels, numbers = reading.size
        if edges.shape[-1] != LEVELS - 1 or (edges.diff() < 0).any():
            raise ValueError(f"The edges between {LEVELS} levels are {LEVELS - 1} ascending numbers, but are of shape {tuple(edges.shape)} or not ascending.")
        self.reading, self.joint = reading, joint
        self.kinds = LEVELS**channels if joint else LEVELS
        self.outputs = numbers * self.kinds * (1 if joint else channels)
        self.register_buffer("edges", edges.expand(channels, numbers, -1).clone())

    def classes(self, patches: Tensor) -> Tensor:
        """(N, P) → (N, questions) int64: the right answer to each."""
        levels = (self.reading(patches)[..., None] >= self.edges).sum(-1)
        if not self.joint:
            return levels.flatten(1)
        weights = LEVELS ** torch.arange(levels.shape[1], device=levels.device)
        return (levels * weights[:, None]).sum(1)

    def loss(self, predictions: Tensor, patches: Tensor) -> Tensor:
        """Mean cross-entropy of each patch, (N,), of predictions (N, outputs)."""
        answers = self.classes(patches)
        losses = functional.cross_entropy(_wide(predictions).view(-1, self.kinds), answers.flatten(), reduction="none")
        return losses.view(answers.shape).mean(1)


class AsNumbers(nn.Module):
    """A reading as numbers, predicted by least squares.

    Parameters
    ----------
    reading : what is read of a patch; (N, P) → (N, C, Q).
    normalise : each patch's numbers less their mean, by their standard deviation (He et al. 2022: better features than raw pixels).

    Raises
    ------
    ValueError : one number a patch is to be normalised, which leaves 0 of it.
    """

    def __init__(self, reading: Cells | Samples | Spectrum, normalise: bool = False) -> None:
        super().__init__()
        self.reading, self.normalise = reading, normalise
        self.outputs = reading.size[0] * reading.size[1]
        if normalise and self.outputs < 2:
            raise ValueError(
                f"{type(reading).__name__} of a patch is one number here, which is always 0 when normalised. Cut larger patches or take another target."
            )

    def numbers(self, patches: Tensor) -> Tensor:
        """(N, P) → (N, outputs)."""
        numbers = self.reading(patches).flatten(1)
        if not self.normalise:
            return numbers
        centred = numbers - numbers.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()

    def loss(self, predictions: Tensor, patches: Tensor) -> Tensor:
        """Mean squared error of each patch, (N,), of predictions (N, outputs)."""
        numbers = self.numbers(patches)
        return (predictions.to(numbers.dtype) - numbers).square().mean(1)


Target = InLevels | AsNumbers


def _wide(numbers: Tensor) -> Tensor:
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))


def colour_edges(mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Between eight equal levels of pixels 0 … 1 that were normalised by these: (C, 1, 7), or (1, 1, 7) where all channels share them."""
    levels = torch.arange(1, LEVELS) / LEVELS
    return (levels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def quantile_edges(reading: nn.Module, patches: Tensor) -> Tensor:
    """Between eight equally frequent levels of what is read of these patches (…, P), such as those of the windows that pre-train: (C, Q, 7)."""
    flat = patches.flatten(0, -2)
    # Drawn: every n-th patch would be of the same seconds in all windows.
    drawn = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[:MOST_PATCHES]
    read = reading(flat[drawn.to(flat.device)])
    at = torch.arange(1, LEVELS, dtype=read.dtype, device=read.device) / LEVELS
    return torch.stack([torch.quantile(channel, at, dim=0).T for channel in read.unbind(1)])


def patch_target(
    tokenizer: nn.Module,
    kind: str,
    patches: Tensor | None = None,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
    sampling_rate: float | None = None,
) -> Target:
    """The target of this name for a tokenizer's patches.

    Parameters
    ----------
    kind : "mean" (the paper's 3-bit mean colour; of recordings the mean amplitude of each electrode), "patch" (the patch in 4 × 4 cells, 16 of a recording's
        time, in 8 levels each), "regression" (all its numbers), "normalised" (all its numbers, normalised: MAE's), "band_power" (of recordings: in 8 levels)
        or "spectrum" (of recordings: log power at every frequency, normalised).
    patches : (…, P) of recordings that pre-train; the levels of recordings are equally frequent among them.
    mean, std : that pixels were normalised by.
    sampling_rate : hertz; "band_power" needs it.

    Raises
    ------
    ValueError : an unknown kind, one that these patches don't have or are too small for, or levels of recordings without their patches.

    >>> patch_target(ImagePatches(16, 3, 7), "mean").outputs, patch_target(ImagePatches(16, 3, 7), "patch").outputs
    (512, 8192)
    """
    shape, image = shape_of(tokenizer), isinstance(tokenizer, ImagePatches)
    if kind in ("regression", "normalised"):
        return AsNumbers(Samples(shape), normalise=kind == "normalised")
    if kind not in ("mean", "patch", "band_power", "spectrum") or (image and kind in ("band_power", "spectrum")):
        names = ("mean", "patch", "regression", "normalised", *(() if image else ("band_power", "spectrum")))
        raise ValueError(f"The target is {kind!r}; of {type(tokenizer).__name__} there are {', '.join(map(repr, names))}.")
    if kind == "spectrum":
        return AsNumbers(Spectrum(shape), normalise=True)
    reading = Spectrum(shape, sampling_rate, BANDS_HZ) if kind == "band_power" else Cells(shape, ((4, 4) if image else (1, 16)) if kind == "patch" else (1, 1))
    if image:
        return InLevels(reading, colour_edges(mean, std), joint=shape[0] <= 3)
    if patches is None:
        raise ValueError(f"The levels of {kind!r} are quantiles of the recordings that pre-train; give their patches.")
    return InLevels(reading, quantile_edges(reading, patches))

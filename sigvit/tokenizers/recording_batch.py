"""Recordings of several caps, lengths and sampling rates in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigvit.tokenizers.electrode_sites import Position, sites_of_info, sites_of_names

# B = batch, E = electrodes, S = samples

# Recordings whose amplitudes differ by so much are in other units: volts are a million microvolts, a thousand millivolts a thousandth of that.
OTHER_UNITS = 1e4
UNIT_NAMES = {107: "V", 112: "T", 201: "T/m", 6: "mol"}  # of the FIFF format, which mne keeps


@dataclass(frozen=True)
class RecordingBatch:
    """Recordings of several caps, lengths and rates, filled up to the largest; `collate_windows` makes it, and `model(batch)` takes it.

    Attributes
    ----------
    values : (B, E, S) floating point; what the mask leaves out has exactly no influence.
    mask : (B, E, S) bool, True = a real sample: neither filling nor NaN nor of a bad electrode.
    positions : (B, E, 3) float64 metres, head frame; NaN where not known. On the CPU, as are the rates: only the places of tokens are read from them.
    sampling_rates : (B,) float64 hertz.
    names : of each recording's electrodes, as many as it has.
    n_times : samples of each recording, at its own rate.

    Raises
    ------
    ValueError : sizes that contradict each other.

    >>> left, right = ({"ch_names": names, "sfreq": rate, "bads": []} for names, rate in ((["C3", "Cz"], 250.0), (["C4", "Pz", "Fz"], 160.0)))
    >>> batch = collate_windows([(torch.zeros(2, 500), left), (torch.zeros(3, 480), right)])
    >>> batch.values.shape, batch.sampling_rates.tolist(), batch.mask.sum((1, 2)).tolist()
    (torch.Size([2, 3, 500]), [250.0, 160.0], [1000, 1440])
    """

    values: Tensor
    mask: Tensor
    positions: Tensor
    sampling_rates: Tensor
    names: tuple[tuple[str, ...], ...]
    n_times: tuple[int, ...]

    def __post_init__(self) -> None:
        batch, electrodes, _ = self.values.shape
        found = (tuple(self.mask.shape), tuple(self.positions.shape), tuple(self.sampling_rates.shape), len(self.names), len(self.n_times))
        right = (tuple(self.values.shape), (batch, electrodes, 3), (batch,), batch, batch)
        if found != right:
            raise ValueError(f"For values of shape {tuple(self.values.shape)}, mask, positions, rates, names and lengths must be {right}, but are {found}.")

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice) -> RecordingBatch:
        """Some of the recordings, filled up as they were."""
        return RecordingBatch(self.values[rows], self.mask[rows], self.positions[rows], self.sampling_rates[rows], self.names[rows], self.n_times[rows])

    @property
    def device(self) -> torch.device:
        """Where values and mask lie."""
        return self.values.device

    def to(self, where: torch.device | torch.dtype | str, non_blocking: bool = False) -> RecordingBatch:
        """On another device or in another number format, as `Tensor.to`; positions and rates stay."""
        values = self.values.to(where, non_blocking=non_blocking)  # type: ignore[call-overload]
        return replace(self, values=values, mask=self.mask.to(values.device, non_blocking=non_blocking))

    def pin_memory(self) -> RecordingBatch:
        """In memory from which a GPU can copy by itself; a `DataLoader` asks for it."""
        return replace(self, values=self.values.pin_memory(), mask=self.mask.pin_memory())


class Montage(NamedTuple):
    """What an info says about a recording: names, places in metres, which electrodes are good, hertz, and the units where they are known."""

    names: tuple[str, ...]
    positions: tuple[Position, ...]
    good: tuple[bool, ...]
    sampling_rate: float
    units: frozenset[str]


def collate_windows(recordings: Sequence[tuple[Tensor | np.ndarray, Any]]) -> RecordingBatch:
    """Recordings (E, S) of any caps, lengths and rates → one batch that a model takes; its logits are those of the recordings one by one.

    Parameters
    ----------
    recordings : pairs (values, info): values (electrodes, samples), all scaled alike; info an `mne.Info`, or a dictionary with its "ch_names" and "sfreq" and,
        where there are any, "bads". Bad electrodes and samples that are NaN or masked in an array are masked; places come from the info where they were
        digitised, else from the names.

    Raises
    ------
    ValueError : no recording; values that aren't (electrodes, samples) numbers, or are infinite; an info that doesn't name the electrodes or the rate, or names
        one twice; a recording without a real sample; number formats, devices or units that differ.

    >>> info = {"ch_names": ["C3", "Cz", "C4"], "sfreq": 250.0, "bads": ["Cz"]}
    >>> collate_windows([(torch.ones(3, 5), info)]).mask[0, :, 0].tolist()
    [True, False, True]
    """
    if len(recordings) == 0:
        raise ValueError("There are no recordings to collate; a batch has at least one.")
    values, montages = [], []
    for at, recording in enumerate(recordings):
        if not isinstance(recording, tuple | list) or len(recording) != 2:
            raise ValueError(f"Recording {at} must be a pair (values, info), but is {type(recording).__name__}.")
        montages.append(read_montage(recording[1], at))
        values.append(_read_values(recording[0], montages[-1], at))
    _check_alike(values, montages)
    return filled_up([(montage, torch.tensor([at]), _seen(one, montage, at)[None]) for at, (one, montage) in enumerate(zip(values, montages, strict=True))])


def filled_up(parts: Sequence[tuple[Montage, Tensor, Tensor]]) -> RecordingBatch:
    """One batch of parts of one montage each: to which rows of the batch they go, int64 on the CPU, and values (rows, E, S), NaN where nothing is real."""
    batch = sum(len(at) for _, at, _ in parts)
    electrodes, samples = (max(values.shape[axis] for _, _, values in parts) for axis in (1, 2))
    filled = parts[0][2].new_zeros(batch, electrodes, samples)
    mask = torch.zeros(filled.shape, dtype=torch.bool, device=filled.device)
    positions = torch.full((batch, electrodes, 3), float("nan"), dtype=torch.float64)
    rates, montages, lengths = torch.zeros(batch, dtype=torch.float64), [parts[0][0]] * batch, [0] * batch
    for montage, at, values in parts:
        real, there = ~values.isnan(), at.to(filled.device, non_blocking=True)
        filled[there, : values.shape[1], : values.shape[2]] = values.where(real, 0.0)
        mask[there, : values.shape[1], : values.shape[2]] = real
        positions[at, : values.shape[1]] = torch.tensor(montage.positions, dtype=torch.float64)
        rates[at] = montage.sampling_rate
        for row in at.tolist():
            montages[row], lengths[row] = montage, values.shape[2]
    return RecordingBatch(filled, mask, positions, rates, tuple(montage.names for montage in montages), tuple(lengths))


def read_montage(info: Any, at: int = 0) -> Montage:
    """What the info of recording `at` says; ValueError where it doesn't say enough, or contradicts itself."""
    if not isinstance(info, Mapping) or "ch_names" not in info or "sfreq" not in info:
        raise ValueError(
            f"The info of recording {at} is {type(info).__name__} {info!r:.60}; it must be an mne.Info, or a dictionary with 'ch_names', 'sfreq' and 'bads'."
        )
    names, rate, bads = tuple(str(name) for name in info["ch_names"]), float(info["sfreq"]), set(info.get("bads", ()))
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled or bads - set(names):
        what = f"names {doubled} more than once" if doubled else f"calls {sorted(bads - set(names))} bad, which it doesn't name"
        raise ValueError(f"The info of recording {at} {what}; every electrode has one name.")
    if not (rate > 0 and np.isfinite(rate)):
        raise ValueError(f"The sampling rate of recording {at} is {rate} Hz; it must be above 0.")
    channels = info.get("chs", ())
    sites = sites_of_info(info) if channels else sites_of_names(names)
    units = frozenset(UNIT_NAMES[code] for code in {int(channel["unit"]) for channel in channels} if code in UNIT_NAMES)
    return Montage(names, tuple(sites), tuple(name not in bads for name in names), rate, units)


def _read_values(values: Any, montage: Montage, at: int) -> Tensor:
    if not isinstance(values, Tensor | np.ndarray):
        raise ValueError(f"The values of recording {at} must be a tensor or an array (electrodes, samples), but are {type(values).__name__}.")
    values = _tensor_of(values) if isinstance(values, np.ndarray) else values
    if values.ndim != 2 or not values.is_floating_point() or values.shape[1] < 1:
        raise ValueError(
            f"The values of recording {at} must be floating-point numbers (electrodes, samples), but are {values.dtype} of shape {tuple(values.shape)}."
        )
    if len(values) != len(montage.names):
        raise ValueError(f"Recording {at} has values of {len(values)} electrodes, but its info names {len(montage.names)}.")
    if values.isinf().any():
        electrode, sample = values.isinf().nonzero()[0].tolist()
        raise ValueError(f"Recording {at} is infinite at electrode {montage.names[electrode]!r}, sample {sample}; missing samples are NaN.")
    return values


def _seen(values: Tensor, montage: Montage, at: int) -> Tensor:
    """With NaN on bad electrodes; ValueError where nothing real is left."""
    seen = values.masked_fill(~torch.tensor(montage.good, device=values.device)[:, None], float("nan"))
    if seen.isnan().all():
        bad = len(values) - sum(montage.good)
        raise ValueError(f"Recording {at} has no real sample left: of its {len(values)} electrodes {bad} are bad, and the others' samples are NaN.")
    return seen


def _tensor_of(array: np.ndarray) -> Tensor:
    """Copied where torch can't share it: it knows no steps back through memory, no foreign byte order, and writes to whatever it shares."""
    array = np.ma.filled(array, np.nan) if array.dtype.kind == "f" else array  # what is masked is missing
    shared = array.flags.writeable and min(array.strides, default=0) >= 0
    return torch.as_tensor(array.astype(array.dtype.newbyteorder("="), order="C", copy=not shared))


def _check_alike(values: Sequence[Tensor], montages: Sequence[Montage]) -> None:
    """ValueError where the recordings differ in what they must have in common."""
    for at, (one, montage) in enumerate(zip(values, montages, strict=True)):
        if (one.dtype, one.device) != (values[0].dtype, values[0].device):
            kinds = [f"{each.dtype} on {each.device}" for each in (values[0], one)]
            raise ValueError(f"Recording 0 is {kinds[0]}, but recording {at} is {kinds[1]}; a batch is of one kind.")
        told = {units for units in (*montages[0].units, *montage.units)}
        if len(told) > 1:
            raise ValueError(f"The channels of recordings 0 and {at} are in {' and '.join(sorted(told))}; a batch is in one unit, so pick the channels of one.")
    amplitudes = [_amplitude(one) for one in values]
    known = [at for at, amplitude in enumerate(amplitudes) if amplitude > 0]
    if not known:
        return
    low, high = min(known, key=amplitudes.__getitem__), max(known, key=amplitudes.__getitem__)
    if amplitudes[high] > OTHER_UNITS * amplitudes[low]:
        raise ValueError(
            f"Recording {low} is about {amplitudes[low]:.1e} large, but recording {high} {amplitudes[high]:.1e}: these look like other units, "
            "such as volts and microvolts. Scale all recordings alike."
        )


def _amplitude(values: Tensor) -> float:
    """Median distance of about a thousand samples from their electrode's median; 0 where nothing moves."""
    few = values[:, :: max(1, values.numel() // 1009)]
    return float((few - few.nanmedian(dim=1, keepdim=True).values).abs().nanmedian())

"""Which electrodes a recording has, where they sit, and which of them share a token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from torch import nn

from sigvit.electrodes import electrode_position, same_electrodes

Position = tuple[float, float, float]
UNKNOWN: Position = (float("nan"),) * 3  # type: ignore[assignment]


def sites_of_names(names: Sequence[str]) -> list[Position]:
    """Metres in the head frame for every name; NaN where a name is none of the 10-05 system.

    >>> sites_of_names(["Cz", "somewhere"])[1]
    (nan, nan, nan)
    """
    return [electrode_position(name) or UNKNOWN for name in names]


def sites_of_info(info: Any) -> list[Position]:
    """Metres in the head frame for every channel of an `mne.Info`: where it was digitised, else where its name says, else NaN."""
    digitised = [np.asarray(channel["loc"][:3], dtype=float) for channel in info["chs"]]
    by_name = sites_of_names(info["ch_names"])
    # mne writes zeros where nothing is known, in older files, and NaN in newer ones
    return [tuple(at.tolist()) if np.isfinite(at).all() and at.any() else named for at, named in zip(digitised, by_name, strict=True)]


def read_electrodes(electrodes: Any, sampling_rate: float | None) -> tuple[int, list[str] | None, list[Position] | None, float | None]:
    """Count, names, positions in metres and rate, as far as an `mne.Info`, a list of names or a count says them.

    Raises
    ------
    ValueError : anything else, or a rate that contradicts the info's.

    >>> read_electrodes(3, 100.0)
    (3, None, None, 100.0)
    """
    if isinstance(electrodes, Mapping) and "chs" not in electrodes:
        raise ValueError("Electrodes are said by an mne.Info, a list of names or a count, not by a plain dictionary; hand over its names and its rate.")
    if isinstance(electrodes, Mapping):
        rate = float(electrodes["sfreq"])
        if sampling_rate is not None and sampling_rate != rate:
            raise ValueError(f"sampling_rate is {sampling_rate} Hz, but the info says {rate} Hz; leave it out, or resample the recording.")
        return len(electrodes["ch_names"]), list(electrodes["ch_names"]), sites_of_info(electrodes), rate
    if isinstance(electrodes, Integral) and not isinstance(electrodes, bool):
        return int(electrodes), None, None, sampling_rate
    if isinstance(electrodes, Sequence) and not isinstance(electrodes, str) and all(isinstance(name, str) for name in electrodes):
        return len(electrodes), list(electrodes), sites_of_names(electrodes), sampling_rate
    raise ValueError(f"Electrodes are said by an mne.Info, a list of names or a count, not by {type(electrodes).__name__} {electrodes!r:.60}.")


def check_electrodes(tokenizer: nn.Module, names: Sequence[str] | None, sampling_rate: float | None) -> None:
    """ValueError for a tokenizer (or a part of one) that was built for other electrodes, in another order, or for another rate."""
    for part in tokenizer.modules():
        own, rate = getattr(part, "names", None), getattr(part, "sampling_rate", None)
        if rate is not None and sampling_rate is not None and abs(rate - sampling_rate) > 1e-6 * rate:
            raise ValueError(f"The tokenizer was built for {rate:g} Hz, but the recordings have {sampling_rate:g} Hz.")
        if own is not None and names is not None and not same_electrodes(own, names):
            raise ValueError(f"The tokenizer was built for the electrodes {list(own)[:12]}, but the recordings have {list(names)[:12]}, in this order.")


def check_sites(
    n_electrodes: int, names: Sequence[str] | None, positions: Sequence[Sequence[float]] | None
) -> tuple[tuple[str, ...] | None, tuple[Position, ...]]:
    """Names and positions of every electrode, as far as they are known.

    Raises
    ------
    ValueError : not one name or position an electrode, or positions that aren't (x, y, z).

    >>> check_sites(1, ["Oz"], [[0.0, -0.08, None]])
    (('Oz',), ((0.0, -0.08, nan),))
    """
    for what, found in (("names", names), ("positions", positions)):
        if found is not None and len(found) != n_electrodes:
            raise ValueError(f"There are {n_electrodes} electrodes but {len(found)} {what}; give one an electrode.")
    if positions is None:
        return (None, (UNKNOWN,) * n_electrodes) if names is None else (tuple(names), tuple(sites_of_names(names)))
    sites = tuple(tuple(float("nan") if number is None else float(number) for number in site) for site in positions)
    if {len(site) for site in sites} != {3}:
        raise ValueError("Every position must be (x, y, z) in metres.")
    return None if names is None else tuple(names), sites  # type: ignore[return-value]


def group_electrodes(n_electrodes: int, size: int, positions: Sequence[Position] | None) -> list[list[int]]:
    """Groups of `size` electrodes; every electrode is in exactly one.

    Without positions, neighbours in the montage's order. With them, neighbours on the scalp: the group starts at the free electrode that is farthest from
    all free ones' centre and takes its nearest free ones, so that none is left over alone in the middle; ties go to the lower number.

    Raises
    ------
    ValueError : the size doesn't divide the number of electrodes, or a position isn't known.

    >>> group_electrodes(4, 2, [(0.0, 0, 0), (0.1, 0, 0), (0.01, 0, 0), (0.09, 0, 0)])
    [[0, 2], [1, 3]]
    """
    if size < 1 or n_electrodes % size:
        sizes = [k for k in range(1, n_electrodes + 1) if n_electrodes % k == 0]
        raise ValueError(f"{n_electrodes} electrodes can't be put into groups of {size}; sizes that fit are {sizes}.")
    if positions is None:
        return [list(range(first, first + size)) for first in range(0, n_electrodes, size)]
    sites = np.asarray(positions, dtype=float)
    if not np.isfinite(sites).all():
        unknown = np.flatnonzero(~np.isfinite(sites).all(axis=1)).tolist()
        raise ValueError(f"Grouping by position needs every position, but electrodes {unknown} have none; use grouping='order' or give them.")
    return _nearest_groups(sites, size)


def _nearest_groups(sites: np.ndarray, size: int) -> list[list[int]]:
    free, groups = list(range(len(sites))), []
    while free:
        outermost = free[int(np.argmax(_distances(sites[free], sites[free].mean(axis=0))))]
        order = np.argsort(_distances(sites[free], sites[outermost]), kind="stable")
        group = sorted(free[k] for k in order[:size])
        free = [electrode for electrode in free if electrode not in group]
        groups.append(group)
    return sorted(groups)


def _distances(sites: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Metres, rounded to a nanometre: mirror images then tie exactly on every machine."""
    return np.linalg.norm(sites - centre, axis=1).round(9)

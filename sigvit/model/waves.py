"""Waves along the axes of a grid: what Fourier features and rotations read coordinates by, in metres, seconds, hertz or shares of an image.

The wavelengths are constants of the unit, not of the data: a place means the same to every model, on every cap, window and rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from sigvit.grid import Axis
from sigvit.model.resize import is_open

# From which to which length, in the axis' unit: below what neighbours are apart, and beyond what a recording spans. Pixels are counted in half images.
WAVELENGTHS = {
    ("electrode", "m"): (0.04, 0.8),
    ("time", "s"): (1 / 16, 64.0),
    ("time", "samples"): (2.0, 4096.0),
    ("frequency", "Hz"): (0.5, 256.0),
    ("row", "px"): (1 / 16, 8.0),
    ("column", "px"): (1 / 16, 8.0),
    ("row", "m"): (0.02, 0.8),
    ("column", "m"): (0.02, 0.8),
}
GOLDEN = (5**0.5 - 1) / 2


def check_axis(axis: Axis) -> None:
    """ValueError where no wavelengths are known for the axis' name and unit, where it has another number of columns, or where no place is known."""
    if (axis.name, axis.unit) not in WAVELENGTHS:
        known = ", ".join(f"{name} ({unit})" for name, unit in WAVELENGTHS)
        raise ValueError(f"There are no wavelengths for the axis {axis.name!r} in {axis.unit!r}; coordinates are read of {known}.")
    columns = 3 if axis.name == "electrode" else 1
    if not is_open((axis.size,)) and axis.dimension != columns:
        raise ValueError(f"The axis {axis.name!r} has {axis.dimension} columns a step; coordinates are read of {columns}.")
    if axis.size > 1 and axis.name == "electrode" and not any(np.isfinite(place).all() for place in axis.coordinates):
        raise ValueError(
            f"None of the {axis.size} electrodes has a known place, so coordinates tell nothing of them apart; give an mne.Info or names of the 10-05 system, "
            "or use positions='factorised', which learns each electrode by its number."
        )


def check_units(units: Mapping[str, str], axis: Axis) -> None:
    """ValueError where the axis, or its unit, is none of those that positions were built for."""
    if units.get(axis.name) != axis.unit:
        built = ", ".join(f"{name} ({unit})" for name, unit in units.items())
        raise ValueError(f"These positions read the coordinates of {built}, but the tokens sit on {axis.name!r} in {axis.unit!r}.")


@lru_cache(maxsize=256)
def wave_vectors(name: str, unit: str, count: int) -> np.ndarray:
    """(columns, count) float64, in radians per unit: lengths spaced evenly in their logarithm, the longest first.

    Those of electrodes point into directions that are spread evenly over a half sphere (a Fibonacci lattice), lengths and directions in no common order.

    >>> (2 * np.pi / wave_vectors("time", "s", 3)).round(4).tolist()
    [[64.0, 2.0, 0.0625]]
    >>> wave_vectors("electrode", "m", 5).shape
    (3, 5)
    """
    shortest, longest = WAVELENGTHS[name, unit]
    if name != "electrode":
        return 2 * np.pi / np.geomspace(longest, shortest, count)[None]
    turn, rise = np.arange(count), (np.arange(count) + 0.5) / count
    radius, angle = np.sqrt(1 - rise**2), 2 * np.pi * GOLDEN * turn
    directions = np.stack([radius * np.cos(angle), radius * np.sin(angle), rise])
    lengths = longest * (shortest / longest) ** ((turn + 0.5) * GOLDEN % 1)
    return 2 * np.pi / lengths * directions


def phases(axis: Axis, count: int, xp: Any = np) -> Any:
    """(steps, count) float64 radians of every step along every wave, of numpy or torch; NaN where a coordinate isn't known.

    Rows and columns in pixels are read as shares of the image, -1 to 1 from edge to edge: a larger image is the same scene at more pixels.

    >>> phases(Axis.regular("column", "px", 2, first=3.5, step=8), 1).round(4).tolist()
    [[-0.3927], [0.3927]]
    """
    vectors = wave_vectors(axis.name, axis.unit, count)
    if axis.unit == "px":
        steps = (2 * xp.arange(axis.size, dtype=xp.float64) + 1) / axis.size - 1
        return steps[:, None] * xp.asarray(vectors)
    return xp.asarray(np.asarray(axis.coordinates, dtype=np.float64) @ vectors)

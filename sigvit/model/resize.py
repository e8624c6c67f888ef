"""Position tables for another grid; imports nothing of ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import numpy as np
import torch
from torch import Tensor


def resize_positions(table: Tensor, old_grid: Sequence[int], new_grid: Sequence[int], method: str = "sigvit", prefix: int = 0) -> Tensor:
    """A position table (prefix + old tokens, width) for another grid: (prefix + new tokens, width).

    Each axis is resampled by one matrix in float64: Keys' cubic with a = -0.5, half-pixel centres, widened when shrinking (antialiased), rows that sum
    to one. So constants are kept, equal grids give the table itself, and no pair of sizes is special. Library interpolation is not used: torch's
    antialiased one is wrong on a CPU where the new width is 1.

    Parameters
    ----------
    table : (prefix + tokens, width), tokens row-major.
    old_grid, new_grid : tokens along each axis, the same number of axes.
    method : "sigvit", described above.
    prefix : leading rows that sit on no grid (class token, registers); they are returned bit-equal.

    Raises
    ------
    ValueError : another method, grids of unlike axes, or a table that doesn't hold prefix + old grid.

    >>> resize_positions(torch.ones(1 + 6, 5), old_grid=(2, 3), new_grid=(4, 4), prefix=1).shape
    torch.Size([17, 5])
    """
    old, new = tuple(old_grid), tuple(new_grid)
    if method != "sigvit":
        raise ValueError(f"There is no method {method!r} to resize positions; there is 'sigvit'.")
    if len(old) != len(new) or min(old + new) < 1:
        raise ValueError(f"Positions of the grid {old} can't be resized to {new}; give as many axes, each with at least one token.")
    if table.ndim != 2 or len(table) != prefix + prod(old):
        raise ValueError(f"The table must be ({prefix} + {prod(old)} tokens, width) for the grid {old}, but is {tuple(table.shape)}.")
    if old == new:
        return table
    patches = table[prefix:].double().unflatten(0, old)
    for axis, (before, after) in enumerate(zip(old, new, strict=True)):
        if before != after:
            matrix = torch.tensor(cubic_matrix(before, after), device=table.device)
            patches = torch.tensordot(matrix, patches, dims=([1], [axis])).movedim(0, axis)
    return torch.cat([table[:prefix], patches.flatten(0, -2).to(table.dtype)])


@lru_cache(maxsize=256)
def cubic_matrix(old: int, new: int) -> np.ndarray:
    """(new, old) float64 weights that resample a line of `old` values to `new` (Keys, IEEE TASSP 29, 1981).

    >>> cubic_matrix(2, 1)
    array([[0.5, 0.5]])
    """
    widening = max(old / new, 1.0)
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    weights = _cubic((np.arange(old) - centres[:, None]) / widening)
    return weights / weights.sum(axis=1, keepdims=True)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.5."""
    x = np.abs(distance)
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, np.where(x < 2, ((-0.5 * x + 2.5) * x - 4) * x + 2, 0.0))

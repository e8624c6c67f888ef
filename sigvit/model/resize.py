"""Position tables for another grid, and patch projections for another patch; imports nothing of ours but the matrices."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from sigvit.model.resize_matrices import METHODS, PATCH_METHODS, line_matrix


def resize_positions(table: Tensor, old_grid: Sequence[int], new_grid: Sequence[int], method: str = "sigvit", prefix: int = 0) -> Tensor:
    """A position table (prefix + old tokens, width) for another grid: (prefix + new tokens, width).

    Each axis is resampled by one matrix in float64, so no pair of sizes is special, and equal grids give the table itself. Library interpolation is not
    used: torch's antialiased one is wrong on a CPU where the new width is 1, scipy's zoom leaves a row of zeros at some sizes (24 → 22).

    Parameters
    ----------
    table : (prefix + tokens, width), tokens row-major.
    old_grid, new_grid : tokens along each axis, the same number of axes.
    method : "sigvit": Keys' cubic with a = -0.5, half-pixel centres, widened when shrinking (antialiased), rows that sum to one. The others give the numbers
        of the code that a checkpoint comes from: "google" (linear, corners aligned; Dosovitskiy et al. and big_vision), "timm" (the same as "sigvit"),
        "torchvision" (cubic a = -0.75, corners aligned), "hugging_face" and "mae" (cubic a = -0.75, half-pixel; DeiT too), "dinov2" (that, of a grid 0.1
        longer, also along an axis that keeps its size; its models with registers are "timm") and "flexivit" (antialiased linear).
    prefix : leading rows that sit on no grid (class token, registers); they are returned bit-equal.

    Raises
    ------
    ValueError : another method, a prefix below 0, a size that is no whole number, grids of unlike axes, or a table that doesn't hold prefix + old grid.

    >>> resize_positions(torch.ones(1 + 6, 5), old_grid=(2, 3), new_grid=(4, 4), prefix=1).shape
    torch.Size([17, 5])
    """
    if method not in METHODS:
        raise ValueError(f"There is no method {method!r} to resize positions; there are {', '.join(map(repr, METHODS))}.")
    if prefix < 0:
        raise ValueError(f"prefix is {prefix}; it counts the rows of the table that sit on no grid, from 0 upwards.")
    old, new = _sizes("old_grid", old_grid), _sizes("new_grid", new_grid)
    if len(old) != len(new) or any(size < 1 for size in old + new):
        raise ValueError(f"Positions of the grid {old} can't be resized to {new}; give as many axes, each with at least one token.")
    if table.ndim != 2 or len(table) != prefix + prod(old):
        raise ValueError(f"The table must be ({prefix} + {prod(old)} tokens, width) for the grid {old}, but is {tuple(table.shape)}.")
    if not is_open(new) and old == new:
        return table
    # The numbers of a trace are computed in its graph, so that a size may stay open.
    xp = torch if torch.compiler.is_compiling() else np
    matrices = (line_matrix(method, before, after, xp) for before, after in zip(old, new, strict=True))
    patches = _resample(table[prefix:].double().unflatten(0, old), matrices)
    return torch.cat([table[:prefix], patches.flatten(0, -2).to(table.dtype)])


def resize_patches(weight: Tensor, new_patch: tuple[int, int], method: str = "sigvit") -> Tensor:
    """A patch projection (width, channels, rows, columns) for patches of another size: (width, channels, *new_patch).

    The pseudo-inverse of the image's own resizing, in float64 (FlexiViT: Beyer et al. 2023, arXiv:2212.08013): a patch and the same patch enlarged give
    the same token, exactly. A smaller patch can't hold all that the larger one saw: there the tokens come as near as they can for patches of white noise.

    Parameters
    ----------
    weight : (width, channels, rows, columns).
    new_patch : pixels, (rows, columns).
    method : how images are resized: "sigvit" and "timm" (cubic, antialiased, as Pillow and torchvision do), or "flexivit" (linear, not antialiased).

    Raises
    ------
    ValueError : another method, or sizes that make no patch, such as fractions of a pixel.

    >>> resize_patches(torch.ones(7, 3, 2, 2), (4, 5)).shape
    torch.Size([7, 3, 4, 5])
    """
    if method not in PATCH_METHODS:
        raise ValueError(f"There is no method {method!r} to resize patches; there are {', '.join(map(repr, PATCH_METHODS))}.")
    old, new = tuple(weight.shape[2:]), _sizes("new_patch", new_patch)
    if weight.ndim != 4 or len(new) != 2 or min(new) < 1:
        raise ValueError(f"A projection (width, channels, rows, columns) is resized to (rows, columns), but got {tuple(weight.shape)} and {new}.")
    if old == new:
        return weight
    resizing = (PATCH_METHODS[method](before, after, np) for before, after in zip(old, new, strict=True))
    kernels = weight.double().permute(2, 3, 0, 1)
    return _resample(kernels, (np.linalg.pinv(matrix).T for matrix in resizing)).permute(2, 3, 0, 1).to(weight.dtype)


def _sizes(name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    if torch.compiler.is_compiling():  # a size that a trace leaves open is no number yet
        return tuple(sizes)
    try:
        return tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise ValueError(f"{name} is {sizes}; it must be a whole number for each axis, such as (14, 14).") from None


def _resample(values: Tensor, matrices: Iterable[np.ndarray | Tensor]) -> Tensor:
    """Each of the leading axes of `values` by its matrix (new, old)."""
    for axis, matrix in enumerate(matrices):
        weights = matrix.to(values.device) if isinstance(matrix, Tensor) else torch.tensor(matrix, device=values.device)
        values = torch.tensordot(weights, values, dims=([1], [axis])).movedim(0, axis)
    return values


def is_open(sizes: Sequence[int]) -> bool:
    """Whether a size is left open, as it is while an exporter traces the model."""
    return any(isinstance(size, torch.SymInt) for size in sizes)

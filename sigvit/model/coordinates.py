"""Positions read from coordinates: metres on the head, seconds, hertz. A cap, length or grid that was never seen in training has them too."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from sigvit.grid import Axis, Grid
from sigvit.kept_tensors import kept
from sigvit.model.placing import grids_of, place
from sigvit.model.resize import is_open
from sigvit.model.waves import check_axis, check_units, phases
from sigvit.products import linear
from sigvit.tokens import Tokens

# N = patch tokens, D = width, F = waves an axis

WAVES = {"electrode": 48}
WAVES_OF_A_LINE = 24


class CoordinatePositions(nn.Module):
    """Fourier features of where a token sits, projected to the width and added: a learned function of place instead of a table.

    Every axis has its own features, [sin, cos] of waves of fixed lengths in its unit (`sigvit.model.waves`), and its own learned matrix; a token gets the
    sum over the axes of its grid. Electrodes are read by x, y and z together, so neither their number nor their order matters; one whose place isn't known
    gets a learned vector, "unknown". An axis that a grid lacks adds nothing. Special tokens, which are learned themselves, get nothing.

    Tancik et al. 2020, "Fourier features let networks learn high frequency functions" (arXiv:2006.10739); Li et al. 2021, "Learnable Fourier features for
    multi-dimensional spatial positional encoding" (arXiv:2106.02795), here with fixed waves, so that a stack of models shares them.

    Parameters
    ----------
    grid : its axes' names and units are those that can be read; sizes and places don't matter.
    width : length of a token.

    Raises
    ------
    ValueError : an axis or unit whose wavelengths aren't known; in a forward pass, tokens without a grid, or on an axis or in a unit it wasn't built for.

    >>> small, large = (Grid((Axis.regular("time", "s", steps, 0.125, 0.25),)) for steps in (3, 5))
    >>> positions = CoordinatePositions(small, width=7)
    >>> torch.equal(positions.on_grid(small), positions.on_grid(large)[:3])
    True
    """

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        for axis in grid.axes:
            check_axis(axis)
        self.units = {axis.name: axis.unit for axis in grid.axes}
        counts = {name: WAVES.get(name, WAVES_OF_A_LINE) for name in self.units}
        # Half the squares of sines and cosines: the vectors start as large as those of the learned tables.
        self.weights = nn.ParameterDict({name: nn.init.normal_(torch.empty(width, 2 * count), std=0.02 * count**-0.5) for name, count in counts.items()})
        self.unknown = nn.Parameter(nn.init.normal_(torch.empty(width), std=0.02)) if "electrode" in self.units else None
        self._kept: dict[Hashable, tuple[Tensor, Tensor]] = {}

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) → (B, T, D)."""
        grids = grids_of(tokens)
        lines: dict[Axis, Tensor] = {}
        if len(grids) > 1:
            lines = {axis: self.along_axis(axis) for axis in {axis for grid in grids for axis in grid.axes}}
        return place(tokens, [self.on_grid(grid, lines) for grid in grids])

    def on_grid(self, grid: Grid, lines: Mapping[Axis, Tensor] | None = None) -> Tensor:
        """The vectors of the patch tokens on a grid, (N, D), or (K, N, D) with stacked weights; `lines` are those of axes, where they are known already."""
        total: Tensor | None = None
        for at, axis in enumerate(grid.axes):
            line = lines[axis] if lines else self.along_axis(axis)
            spread = line.unflatten(-2, (1,) * at + (axis.size,) + (1,) * (len(grid.axes) - at - 1))
            total = spread if total is None else total + spread
        assert total is not None, "a grid has at least one axis"
        return total.flatten(-1 - len(grid.axes), -2)

    def along_axis(self, axis: Axis) -> Tensor:
        """The vectors of every step of an axis: (steps, D), or (K, steps, D)."""
        check_units(self.units, axis)
        weight = self.weights[axis.name]
        waves, known = self._waves(axis, weight)
        line = linear(waves.expand(*weight.shape[:-2], *waves.shape), weight, None)
        if axis.name != "electrode" or self.unknown is None:
            return line
        # Also where all are known: several processes would wait for a gradient that isn't there.
        return torch.where(known[:, None], line, self.unknown[..., None, :])

    def rebuild(self, grid: Grid) -> None:
        """From now on built for this grid: nothing is stale, because nothing depended on its size."""

    def _waves(self, axis: Axis, like: Tensor) -> tuple[Tensor, Tensor]:
        """[sin, cos] of every step, (steps, 2 F), and which steps' places are known, (steps,)."""
        if is_open((axis.size,)):
            angles = phases(axis, like.shape[-1] // 2, torch)
            return torch.cat([angles.sin(), angles.cos()], dim=1).to(like), torch.ones_like(angles[:, 0], dtype=torch.bool)

        def tables() -> tuple[Tensor, Tensor]:
            angles = phases(axis, like.shape[-1] // 2)
            known = np.isfinite(angles).all(axis=1)
            waves = np.where(known[:, None], np.concatenate([np.sin(angles), np.cos(angles)], axis=1), 0.0)
            return torch.as_tensor(waves).to(like), torch.as_tensor(known, device=like.device)

        return kept(self._kept, (axis, like.dtype, like.device), tables)

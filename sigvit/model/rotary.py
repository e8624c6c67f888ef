"""Rotary positions: attention turns queries and keys by where their tokens sit, so that scores depend on what lies between two tokens."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.grid import Grid, JoinedGrid
from sigvit.kept_tensors import kept
from sigvit.model.placing import grids_of, stack_padded
from sigvit.model.resize import is_open
from sigvit.model.waves import check_axis, check_units, phases
from sigvit.tokens import Tokens

# B = batch, T = tokens, N = patch tokens, H = heads, d = width of a head, P = d / 2 pairs of numbers in a head


@dataclass(frozen=True)
class Rotation:
    """Turns numbers k and k + d / 2 of every query and key by its token's angle k; what the encoder calls `rotate`.

    Attributes
    ----------
    cosines, sines : (H, T, P), or (B, H, T, P) where the samples of a batch sit on grids of their own.

    >>> quarter = Rotation(torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    >>> quarter(torch.tensor([[[[3.0, 5.0]]]])).tolist()
    [[[[-5.0, 3.0]]]]
    """

    cosines: Tensor
    sines: Tensor

    def __call__(self, heads: Tensor, outputs: slice | None = None) -> Tensor:
        """(…, H, T, d) → (…, H, T, d), or (…, H, Q, d) → (…, H, Q, d) where only the tokens in `outputs` ask."""
        tokens = slice(None) if outputs is None else outputs
        cosines, sines = self.cosines[..., tokens, :], self.sines[..., tokens, :]
        first, second = heads.chunk(2, dim=-1)
        return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1).to(heads.dtype)

    def regrouped(self, regroup: Callable[[Tensor], Tensor], batch: int) -> Rotation:
        """For tokens in other places: `regroup` takes (B, T, …) to the new rows of tokens."""
        by_token = (table.expand(batch, *table.shape[-3:]).transpose(1, 2).flatten(2) for table in (self.cosines, self.sines))
        heads = self.cosines.shape[-3]
        return Rotation(*(regroup(table).unflatten(2, (heads, -1)).transpose(1, 2) for table in by_token))


def parts_of(grid: Grid) -> tuple[Grid, ...]:
    """The grids that a composite of tokenizers joins, or the one grid there is."""
    return grid.parts if isinstance(grid, JoinedGrid) else (grid,)


class RotaryPositions(nn.Module):
    """Axial rotary positions: every pair of numbers in a head belongs to one axis and turns with the token's coordinate along it.

    The score of two tokens depends on the difference of their coordinates alone: seconds, metres on the head (x, y and z together), hertz, shares of an image.
    Nothing is learned and nothing added; wavelengths are those of `sigvit.model.waves`, every head has its own, from the longest to the shortest. Special
    tokens aren't turned, nor are electrodes whose place isn't known along the pairs of the electrode axis.

    Su et al. 2021, "RoFormer" (arXiv:2104.09864); Heo et al. 2024, "Rotary position embedding for Vision Transformer" (arXiv:2403.13298).

    Parameters
    ----------
    grid : what the tokens sit on; an axis of a single step that can't change tells nothing apart and turns nothing.
    width, heads : of the encoder.

    Raises
    ------
    ValueError : heads too narrow for the axes, an axis or unit without known wavelengths; in `rotation`, tokens on other axes or in other units.

    >>> from sigvit.grid import Axis
    >>> grid = Grid((Axis.regular("time", "s", 5, 0.0, 0.5),))
    >>> rotate = RotaryPositions(grid, width=8, heads=2).rotation(Tokens(torch.zeros(3, 5, 8), grid))
    >>> query, key = torch.randn(8).view(1, 2, 1, 4).expand(1, 2, 5, 4), torch.randn(8).view(1, 2, 1, 4).expand(1, 2, 5, 4)
    >>> scores = rotate(query) @ rotate(key).transpose(-1, -2)
    >>> torch.allclose(scores[..., :-1, :-1], scores[..., 1:, 1:], atol=1e-5)
    True
    """

    def __init__(self, grid: Grid, width: int, heads: int) -> None:
        super().__init__()
        axes = [axis for part in parts_of(grid) for axis in part.axes]
        for axis in axes:
            check_axis(axis)
        self.units = {axis.name: axis.unit for axis in axes}
        told = list(dict.fromkeys(axis.name for axis in axes if axis.size > 1 or axis.name in ("row", "column")))
        pairs = width // heads // 2
        if (width // heads) % 2 or pairs < len(told):
            raise ValueError(
                f"Rotary positions turn pairs of numbers, at least one for each of the axes {told}, but a head is {width // heads} wide; "
                "choose fewer heads or a larger width."
            )
        # Pairs go to the axes in turn; an axis' waves to the heads in turn, so that each head has long and short ones.
        self.heads, self.pairs = heads, {name: list(range(at, pairs, len(told))) for at, name in enumerate(told)}
        self.n_pairs = pairs
        self._kept: dict[Hashable, tuple[Tensor, Tensor]] = {}

    def forward(self, tokens: Tokens) -> Tokens:
        """The tokens as they are."""
        return tokens

    def rotation(self, tokens: Tokens, like: Tensor | None = None) -> Rotation:
        """What attention among these tokens turns queries and keys by; numbers as in `like`, or as the tokens'."""
        like = tokens.values if like is None else like
        tables = [self._tables(grid, like) for grid in grids_of(tokens)]
        front = len(tokens.special)
        if tokens.grids is None:
            cosines, sines = tables[0]
        else:
            cosines, sines = (stack_padded(each, tokens.values.shape[1] - front) for each in zip(*tables, strict=True))
        turned = (functional.pad(table, (0, 0, front, 0), value=still) for table, still in ((cosines, 1.0), (sines, 0.0)))
        return Rotation(*(table.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for table in turned))

    def rebuild(self, grid: Grid) -> None:
        """From now on built for this grid: nothing is stale, because nothing depended on its size."""

    def _tables(self, grid: Grid, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for the patch tokens of a grid, (N, H · P)."""
        if is_open(grid.shape):
            angles = torch.cat([self._angles(part, torch) for part in parts_of(grid)])
            return angles.cos().to(like.device, like.dtype), angles.sin().to(like.device, like.dtype)

        def tables() -> tuple[Tensor, Tensor]:
            radians = np.concatenate([self._angles(part, np) for part in parts_of(grid)])
            cosines, sines = (torch.as_tensor(wave(radians)).to(like.device, like.dtype) for wave in (np.cos, np.sin))
            return cosines, sines

        return kept(self._kept, (grid, like.dtype, like.device), tables)

    def _angles(self, grid: Grid, xp: Any) -> Any:
        """(N, H · P) float64 radians, of numpy or torch."""
        angles = xp.zeros((*grid.shape, self.heads, self.n_pairs), dtype=xp.float64)
        for at, axis in enumerate(grid.axes):
            check_units(self.units, axis)
            if axis.name in self.pairs:
                pairs = self.pairs[axis.name]
                turns = phases(axis, len(pairs) * self.heads, xp).reshape((axis.size, len(pairs), self.heads))
                turns = xp.where(xp.isnan(turns), 0.0, turns).swapaxes(1, 2)
                angles[..., pairs] += turns.reshape((1,) * at + (axis.size,) + (1,) * (len(grid.axes) - at - 1) + (self.heads, len(pairs)))
            elif not is_open((axis.size,)) and axis.size > 1:
                raise ValueError(
                    f"This model was built for a single step of {axis.name}, so nothing tells {axis.size} of them apart; build it for a grid that has several."
                )
        return angles.reshape((-1, self.heads * self.n_pairs))

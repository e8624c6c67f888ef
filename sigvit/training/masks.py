"""Which tokens an objective hides: at random, by electrode, by time or in blocks; what is hidden of a row is a function of its seed alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sigvit.grid import Axis, Grid
from sigvit.tokens import Tokens

# B = batch, T = patch tokens, A = steps of an axis

KINDS = ("random", "electrode", "time", "block")
# Random numbers a token: where it stands in the order of hiding, what becomes of it, and which other token it might become.
DRAWS = 3


@dataclass(frozen=True)
class Masking:
    """How much is hidden of every row, and in what shape.

    Attributes
    ----------
    share : of a row's real tokens; of two and more at least one is hidden and one left.
    kind : "random" tokens; all tokens of random steps of one axis: "electrode" or "time"; or "block": one stretch of every axis with more than one step, as
        long as makes the share (of electrodes with known places those nearest to a random one, else neighbours in their order), of the steps that hold
        anything real.

    Raises
    ------
    ValueError : a share that isn't between 0 and 1, an unknown kind; in `hidden`, tokens without the axis, or a single token.

    >>> from sigvit.grid import Axis, Grid
    >>> grid = Grid((Axis.regular("electrode", "m", 3, 0, 1), Axis.regular("time", "s", 5, 0, 1)))
    >>> tokens = Tokens(torch.zeros(2, 15, 7), grid)
    >>> hidden, _ = Masking(0.4, "time").hidden(tokens, torch.tensor([0, 1]))
    >>> hidden.sum(1).tolist(), hidden.view(2, 3, 5).all(1).sum(1).tolist()
    ([6, 6], [2, 2])
    """

    share: float = 0.5
    kind: str = "random"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"The masked share is {self.share}; it must lie between 0 and 1.")
        if self.kind not in KINDS:
            raise ValueError(f"The masking is {self.kind!r}; there are {', '.join(map(repr, KINDS))}.")

    def hidden(self, tokens: Tokens, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Which patch tokens of each row are hidden, (B, T) bool, and the row's other random numbers, (B, 2, T) in 0 … 1; both on the tokens' device.

        `tokens` are patch tokens (no special ones), `seeds` (B,) int64. Padding is never hidden.
        """
        batch, longest = tokens.values.shape[:2]
        real = tokens.mask.cpu()
        hidden, chances = torch.zeros(batch, longest, dtype=torch.bool), torch.zeros(batch, DRAWS - 1, longest)
        for grid, rows in _by_grid(tokens):
            draws = _draw(seeds[rows], grid.n_tokens)
            hidden[rows, : grid.n_tokens] = self._of_grid(grid, draws[:, 0], real[rows, : grid.n_tokens])
            chances[rows, :, : grid.n_tokens] = draws[:, 1:]
        return hidden.to(tokens.values.device, non_blocking=True), chances.to(tokens.values.device, non_blocking=True)

    def _of_grid(self, grid: Grid, draws: Tensor, real: Tensor) -> Tensor:
        """(B, T) bool, for rows of one grid."""
        if grid.n_tokens < 2:
            raise ValueError(f"A grid of {grid.shape} holds a single token; there is nothing to hide that leaves anything. Cut smaller patches.")
        if self.kind == "random":
            return _lowest(draws, real, self.share)
        if self.kind == "block":
            return self._block(grid, draws, real)
        if self.kind not in grid.names:
            raise ValueError(f"Tokens are to be masked by {self.kind}, but they sit on the axes {list(grid.names)}; choose another masking or tokenizer.")
        at = grid.names.index(self.kind)
        size = grid.shape[at]
        if size < 2:
            raise ValueError(f"All tokens share the one step of {self.kind} there is; masked by it, nothing would be left to predict from.")
        there = real.view(-1, *grid.shape).movedim(at + 1, 1).flatten(2).any(2)
        return _spread(_lowest(draws[:, :size], there, self.share), grid, at) & real

    def _block(self, grid: Grid, draws: Tensor, real: Tensor) -> Tensor:
        """Stretches of the axes, crossed; random tokens in rows whose real ones they would hide all or none of."""
        cells = real.view(-1, *grid.shape)
        there = [cells.movedim(at + 1, 1).flatten(2).any(2) for at in range(len(grid.shape))]
        several = torch.stack([steps.sum(1) > 1 for steps in there]).sum(0).clamp(min=1)
        side = self.share ** (1 / several.double())
        block = real.clone()
        for at, steps in enumerate(there):
            block &= _spread(_stretch(grid.axes[at], steps, side, draws[:, at]), grid, at)
        count = block.sum(1)
        failed = (count == 0) | (count == real.sum(1))
        block[failed] = _lowest(draws[failed], real[failed], self.share)
        return block


def _by_grid(tokens: Tokens) -> list[tuple[Grid, list[int]]]:
    """Each grid with the rows that have it."""
    if tokens.grids is None:
        if tokens.grid is None:
            raise ValueError("These tokens have no grid, so nothing says which of them belong together; masks need one.")
        return [(tokens.grid, list(range(len(tokens.values))))]
    return [(grid, [row for row, own in enumerate(tokens.grids) if own == grid]) for grid in dict.fromkeys(tokens.grids)]


def _draw(seeds: Tensor, n_tokens: int) -> Tensor:
    """(B, 3, T) in 0 … 1, each row by its own seed, so that neither batch mates nor padding change it."""
    return torch.stack([torch.rand(DRAWS, n_tokens, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()])


def _lowest(draws: Tensor, real: Tensor, share: float) -> Tensor:
    """The real ones with the lowest draws: of n about share · n, but at least one, and at least one is left."""
    counts = real.sum(1)
    wanted = (counts * share).round().clamp(min=1).minimum(counts - 1)
    places = draws.masked_fill(~real, 2.0).argsort(1).argsort(1)
    return (places < wanted[:, None]) & real


def _stretch(axis: Axis, there: Tensor, side: Tensor, draws: Tensor) -> Tensor:
    """(B, A) bool: a stretch of the steps that are there, as long as `side` (B,) of them, beginning where the draw says; all of it where it is one step."""
    count = there.sum(1)
    length = (count * side).round().long().clamp(min=1).minimum((count - 1).clamp(min=1))
    rank = there.cumsum(1) - 1
    sites = np.array(axis.coordinates)
    if axis.name == "electrode" and axis.dimension == 3 and np.isfinite(sites).all():
        distances = torch.as_tensor(np.linalg.norm(sites[:, None] - sites[None], axis=2))
        centre = ((rank == (draws * count).long()[:, None]) & there).int().argmax(1)
        nearest = distances[centre].masked_fill(~there, float("inf")).argsort(1).argsort(1)
        return (nearest < length[:, None]) & there
    first = (draws * (count - length + 1)).long()[:, None]
    return there & (rank >= first) & (rank < first + length[:, None])


def _spread(steps: Tensor, grid: Grid, at: int) -> Tensor:
    """(B, A) of one axis → (B, T)."""
    shape = [1] * len(grid.shape)
    shape[at] = grid.shape[at]
    return steps.view(-1, *shape).expand(-1, *grid.shape).reshape(len(steps), math.prod(grid.shape))

"""Which tokens of a batch that is filled up to its largest grid are each sample's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sigvit.grid import Grid

# B = batch, T = tokens


def own_tokens(grids: Sequence[Grid], steps: int) -> tuple[Tensor, Tensor]:
    """Where each grid's (rows × steps) tokens lie among those of the whole batch (rows × `steps`), (B, T); and which T there are, bool.

    >>> from sigvit.grid import Axis
    >>> grids = [Grid(tuple(Axis.regular(name, "px", 2, 0, 1) for name in ("row", "column")))]
    >>> own_tokens(grids, 5)[0].tolist()
    [[0, 1, 5, 6]]
    """
    longest = max(grid.n_tokens for grid in grids)
    at = torch.zeros(len(grids), longest, dtype=torch.long)
    for row, grid in zip(at, grids, strict=True):
        rows, own = grid.shape
        row[: grid.n_tokens] = (torch.arange(rows)[:, None] * steps + torch.arange(own)).flatten()
    return at, torch.arange(longest) < torch.tensor([[grid.n_tokens] for grid in grids])


def take_own(patches: Tensor, at: Tensor, there: Tensor) -> Tensor:
    """(B, all tokens, …) → (B, T, …), zero or False where there is no token."""
    rows = torch.arange(len(patches), device=patches.device)[:, None]
    taken = patches[rows, at.to(patches.device)]
    return taken.masked_fill(~there.to(patches.device)[..., None], 0)

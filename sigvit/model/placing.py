"""How positions reach the tokens: a table a grid, added to the patch tokens behind the special ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.grid import Grid
from sigvit.tokens import Tokens

# N = patch tokens, D = width


def grids_of(tokens: Tokens) -> tuple[Grid, ...]:
    """The grid that all samples share, or each sample's own; ValueError where there is none."""
    if tokens.grids is not None:
        return tokens.grids
    if tokens.grid is None:
        raise ValueError("These tokens have no grid, so their positions aren't known; use positions='none', or a tokenizer that gives one.")
    return (tokens.grid,)


def place(tokens: Tokens, tables: Sequence[Tensor], front: Tensor | None = None) -> Tokens:
    """The tokens with the table (N, D) of each of their grids (see `grids_of`) added to the patches, and `front` or nothing to the special ones."""
    n_special = len(tokens.special)
    table = tables[0] if tokens.grids is None else stack_padded(tables, tokens.values.shape[1] - n_special)
    if front is None:
        return tokens.with_values(tokens.values + functional.pad(table, (0, 0, n_special, 0)))
    return tokens.with_values(tokens.values + torch.cat([front.expand(*table.shape[:-2], -1, -1), table], dim=-2))


def stack_padded(tables: Sequence[Tensor], n_patches: int) -> Tensor:
    """Tables (N, D) of several grids, each filled up with zeros: (tables, n_patches, D)."""
    return torch.stack([functional.pad(table, (0, 0, 0, n_patches - len(table))) for table in tables])

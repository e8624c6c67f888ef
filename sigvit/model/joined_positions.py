"""Positions of tokens that several tokenizers gave: each part has its own."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from sigvit.grid import Grid, JoinedGrid
from sigvit.tokens import Tokens


class JoinedPositions(nn.Module):
    """For tokens on a `JoinedGrid`: one positions module a part, which sees that part alone; the first one also sees the special tokens.

    >>> from sigvit.grid import Axis
    >>> from sigvit.model.positions import make_positions
    >>> joined = JoinedGrid(tuple(Grid((Axis.regular("time", "s", steps, 0.0, 0.5),)) for steps in (3, 2)))
    >>> positions = make_positions("learned", joined, width=5)
    >>> [len(part.table) for part in positions.parts], positions(Tokens(torch.zeros(2, 5, 5), joined)).values.shape
    ([3, 2], torch.Size([2, 5, 5]))
    """

    def __init__(self, parts: Iterable[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) → (B, T, D); ValueError where the tokens aren't of as many parts."""
        if tokens.parts is None or len(tokens.parts) != len(self.parts):
            found = "one grid, or none" if tokens.parts is None else f"{len(tokens.parts)} parts"
            raise ValueError(f"These positions are for tokens of {len(self.parts)} parts, one behind the other, but these have {found}.")
        placed, first = [], 0
        for number, (positions, grid) in enumerate(zip(self.parts, tokens.parts, strict=True)):
            special = tokens.special if number == 0 else ()
            own = slice(first, first + len(special) + grid.n_tokens)
            mask = None if tokens.padding_mask is None else tokens.padding_mask[:, own]
            placed.append(positions(Tokens(tokens.values[:, own], grid, mask, special=special)).values)
            first = own.stop
        return tokens.with_values(torch.cat(placed, dim=1))

    def rebuild(self, grid: Grid) -> None:
        """From now on built for this grid, part by part."""
        assert isinstance(grid, JoinedGrid), "a composite's grid joins those of its parts"
        for positions, part in zip(self.parts, grid.parts, strict=True):
            positions.rebuild(part)  # type: ignore[operator]

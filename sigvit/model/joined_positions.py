"""Positions of tokens that several tokenizers gave: each part has its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

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
        if tokens.grids is not None:
            return self._several_grids(tokens, [self._parts(grid) for grid in tokens.grids])
        placed, first = [], 0
        for number, (positions, grid) in enumerate(zip(self.parts, self._parts(tokens.grid), strict=True)):
            special = tokens.special if number == 0 else ()
            own = slice(first, first + len(special) + grid.n_tokens)
            mask = None if tokens.padding_mask is None else tokens.padding_mask[:, own]
            placed.append(positions(Tokens(tokens.values[:, own], grid, mask, special=special)).values)
            first = own.stop
        return tokens.with_values(torch.cat(placed, dim=1))

    def _several_grids(self, tokens: Tokens, grids: Sequence[tuple[Grid, ...]]) -> Tokens:
        """Samples whose parts have other sizes: each part is cut out of all samples, filled up, placed, and put back where it was."""
        placed: list[list[Tensor]] = [[] for _ in grids]
        for number, positions in enumerate(self.parts):
            special, own = tokens.special if number == 0 else (), tuple(parts[number] for parts in grids)
            counts = [len(special) + grid.n_tokens for grid in own]
            firsts = [sum(map(len, before)) for before in placed]
            values = pad_sequence([row[first : first + count] for row, first, count in zip(tokens.values, firsts, counts, strict=True)], batch_first=True)
            real = torch.arange(values.shape[1]) < torch.tensor(counts)[:, None]
            found = positions(Tokens(values, None, real.to(values.device), special=special, grids=own)).values
            for before, row, count in zip(placed, found, counts, strict=True):
                before.append(row[:count])
        return tokens.with_values(pad_sequence([torch.cat(row) for row in placed], batch_first=True))

    def _parts(self, grid: Grid | None) -> tuple[Grid, ...]:
        if not isinstance(grid, JoinedGrid) or len(grid.parts) != len(self.parts):
            found = f"{len(grid.parts)} parts" if isinstance(grid, JoinedGrid) else "one grid, or none"
            raise ValueError(f"These positions are for tokens of {len(self.parts)} parts, one behind the other, but these have {found}.")
        return grid.parts

    def rebuild(self, grid: Grid) -> None:
        """From now on built for this grid, part by part."""
        assert isinstance(grid, JoinedGrid), "a composite's grid joins those of its parts"
        for positions, part in zip(self.parts, grid.parts, strict=True):
            positions.rebuild(part)  # type: ignore[operator]

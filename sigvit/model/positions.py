"""Positions: what tells a token where it sits. Each is a module, Tokens → Tokens, and reads only the grid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.grid import Grid
from sigvit.model.resize import resize_positions
from sigvit.tokens import Tokens

# T = tokens, N = patch tokens, D = width

KINDS = ("learned", "factorised", "sincos", "none")
STRETCHABLE = ("row", "column")  # a larger image is the same scene at more pixels; a later second is not an earlier one


def make_positions(kind: str, grid: Grid, width: int, special: tuple[str, ...] = ()) -> nn.Module:
    """The positions called `kind` for tokens on this grid; ValueError names those there are."""
    if kind == "learned":
        return LearnedPositions(grid, width, special)
    if kind == "factorised":
        return FactorisedPositions(grid, width)
    if kind == "sincos":
        return SincosPositions(grid, width)
    if kind == "none":
        return nn.Identity()
    raise ValueError(f"There are no positions {kind!r} here; there are {', '.join(map(repr, KINDS))}.")


class LearnedPositions(nn.Module):
    """A learned vector for every token of the grid, and for the special tokens that are named (the paper's 1-D positions, with "class").

    An image of another size gets the table resized (`resize_positions`, computed in each such forward pass, so that it can be trained). Other axes,
    such as time, can't change their size: ValueError.

    >>> from sigvit.grid import Axis
    >>> grid = Grid((Axis.regular("time", "s", 3, 0.0, 0.5),))
    >>> positions = LearnedPositions(grid, width=5, special=("class",))
    >>> tokens = positions(Tokens(torch.zeros(2, 3, 5), grid).prepend({"class": torch.zeros(5), "register 0": torch.zeros(5)}))
    >>> tokens.values.shape, tokens.token("register 0").abs().max().item()
    (torch.Size([2, 5, 5]), 0.0)
    """

    def __init__(self, grid: Grid, width: int, special: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.names, self.shape, self.special_names = grid.names, grid.shape, special
        self.table = nn.Parameter(nn.init.normal_(torch.empty(grid.n_tokens, width), std=0.02))
        self.special = nn.Parameter(nn.init.normal_(torch.empty(len(special), width), std=0.02)) if special else None

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) → (B, T, D)."""
        shape = _run_time_shape(tokens, self.names, self.shape)
        table = self.table if shape == self.shape else resize_positions(self.table, self.shape, shape)
        if self.special is None:
            return _add(tokens, table)
        by_name = dict(zip(self.special_names, self.special.split(1), strict=True))
        nowhere = torch.zeros_like(table[:1])
        front = [by_name.get(name, nowhere) for name in tokens.special]
        return tokens.with_values(tokens.values + torch.cat([*front, table]))


class FactorisedPositions(nn.Module):
    """A learned vector for every step of each axis; a token gets their sum: for recordings one an electrode and one a time step.

    An axis of a single step that can't change tells nothing apart and has none; nor have special tokens, which are learned themselves.
    Images of another size get the tables of their axes resized; other axes can't change their size: ValueError.

    >>> from sigvit.grid import Axis
    >>> grid = Grid((Axis.regular("row", "px", 3, 0, 1), Axis.regular("column", "px", 5, 0, 1)))
    >>> positions = FactorisedPositions(grid, width=7)
    >>> sum(parameter.numel() for parameter in positions.parameters()), positions(Tokens(torch.zeros(2, 15, 7), grid)).values.shape
    (56, torch.Size([2, 15, 7]))
    """

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.names, self.shape = grid.names, grid.shape
        sizes = {axis.name: axis.size for axis in grid.axes if axis.size > 1 or axis.name in STRETCHABLE}
        self.tables = nn.ParameterDict({name: nn.init.normal_(torch.empty(size, width), std=0.02) for name, size in sizes.items()})

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) → (B, T, D)."""
        shape = _run_time_shape(tokens, self.names, self.shape)
        lines = []
        for at, (name, old, new) in enumerate(zip(self.names, self.shape, shape, strict=True)):
            if name in self.tables:
                line = resize_positions(self.tables[name], (old,), (new,))
                lines.append(line.view((1,) * at + (new,) + (1,) * (len(shape) - at - 1) + line.shape[1:]))
        if not lines:
            return tokens
        return _add(tokens, sum(lines[1:], lines[0]).expand(*shape, -1).flatten(0, -2))


class SincosPositions(nn.Module):
    """Sines and cosines of each axis' step number, at wavelengths from 2π to 10 000 · 2π; nothing is learned, and every size is as good.

    The columns are [sin, cos] of the last axis first, frequencies 10 000^(-k / (n - 1)): for images the positions of Beyer et al., "Better plain ViT
    baselines", 2022 (arXiv:2205.01580). An axis of a single step that can't change has no columns. ValueError where the width can't be shared evenly.

    >>> from sigvit.grid import Axis
    >>> grid = Grid((Axis.regular("row", "px", 3, 0, 1), Axis.regular("column", "px", 5, 0, 1)))
    >>> SincosPositions(grid, width=8)(Tokens(torch.zeros(2, 15, 8), grid)).values[0, 0].tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    """

    table: Tensor

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.names, self.shape, self.width = grid.names, grid.shape, width
        self.told = tuple(axis.size > 1 or axis.name in STRETCHABLE for axis in grid.axes)
        if any(self.told) and width % (2 * sum(self.told)):
            raise ValueError(f"Sincos positions on {sum(self.told)} axes need a width divisible by {2 * sum(self.told)}, but it is {width}.")
        self.register_buffer("table", torch.tensor(_sincos(self.shape, self.told, width)))

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) → (B, T, D)."""
        shape = _run_time_shape(tokens, self.names, self.shape, (*STRETCHABLE, "time"))
        table = self.table
        if shape != self.shape:
            table = torch.as_tensor(_sincos(shape, self.told, self.width), dtype=table.dtype, device=table.device)
        return _add(tokens, table)


@lru_cache(maxsize=64)
def _sincos(shape: tuple[int, ...], told: tuple[bool, ...], width: int) -> np.ndarray:
    """(N, D) float32; numpy, so that the kept array is the same on every device."""
    if not any(told):
        return np.zeros((int(np.prod(shape)), width), dtype=np.float32)
    count = width // (2 * sum(told))
    frequencies = 10_000.0 ** -(np.arange(count) / max(count - 1, 1))
    steps = [step.ravel() for step, tells in zip(np.indices(shape), told, strict=True) if tells]
    angles = [step[:, None] * frequencies for step in reversed(steps)]
    return np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], axis=1).astype(np.float32)


def _run_time_shape(tokens: Tokens, names: tuple[str, ...], shape: tuple[int, ...], free: tuple[str, ...] = STRETCHABLE) -> tuple[int, ...]:
    """The shape of the tokens' grid, where it is one that these positions can serve."""
    if tokens.grid is None:
        raise ValueError("These tokens have no grid, so their positions aren't known; use positions='none', or a tokenizer that gives one.")
    if tokens.grid.names != names:
        raise ValueError(f"These positions are for the axes {list(names)}, but the tokens sit on {list(tokens.grid.names)}.")
    found = tokens.grid.shape
    for name, built, now in zip(names, shape, found, strict=True):
        if built != now and name not in free:
            raise ValueError(f"This model was built for {built} steps of {name}, but got {now}; cut the input to the size it was built for.")
    return found


def _add(tokens: Tokens, table: Tensor) -> Tokens:
    """The tokens with (N, D) added to the patches and nothing to the special ones."""
    return tokens.with_values(tokens.values + functional.pad(table, (0, 0, len(tokens.special), 0)))

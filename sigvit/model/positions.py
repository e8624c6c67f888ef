"""Positions: what tells a token where it sits. Each is a module, Tokens → Tokens, and reads only the grid."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sigvit.electrodes import few_names, same_electrodes
from sigvit.grid import Grid, JoinedGrid
from sigvit.model.coordinates import CoordinatePositions
from sigvit.model.joined_positions import JoinedPositions
from sigvit.model.placing import grids_of, place
from sigvit.model.resize import is_open, resize_positions
from sigvit.model.rotary import RotaryPositions
from sigvit.tokens import Tokens

# T = tokens, N = patch tokens, D = width

KINDS = ("learned", "factorised", "sincos", "coordinates", "rotary", "none")
STRETCHABLE = ("row", "column")  # a larger image is the same scene at more pixels; a later second is not an earlier one


def make_positions(kind: str, grid: Grid, width: int, special: tuple[str, ...] = (), heads: int = 1) -> nn.Module:
    """The positions called `kind` for tokens on this grid (`heads` are the encoder's); ValueError names those there are."""
    if isinstance(grid, JoinedGrid) and kind not in ("rotary", "none"):
        return JoinedPositions(make_positions(kind, part, width, special if number == 0 else ()) for number, part in enumerate(grid.parts))
    if kind == "learned":
        return LearnedPositions(grid, width, special)
    if kind == "factorised":
        return FactorisedPositions(grid, width)
    if kind == "sincos":
        return SincosPositions(grid, width)
    if kind == "coordinates":
        return CoordinatePositions(grid, width)
    if kind == "rotary":
        return RotaryPositions(grid, width, heads)
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
        self.names, self.shape, self.electrodes, self.special_names = grid.names, grid.shape, electrodes_of(grid), special
        self.table = nn.Parameter(nn.init.normal_(torch.empty(grid.n_tokens, width), std=0.02))
        self.special = nn.Parameter(nn.init.normal_(torch.empty(len(special), width), std=0.02)) if special else None

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) → (B, T, D)."""
        if self.special is None:
            return _placed(tokens, self)
        by_name = dict(zip(self.special_names, self.special.split(1), strict=True))
        nowhere = torch.zeros_like(self.table[:1])
        front = torch.cat([self.table[:0], *(by_name.get(name, nowhere) for name in tokens.special)])
        return _placed(tokens, self, front=front)

    def on_grid(self, shape: tuple[int, ...]) -> Tensor:
        """The table for patch tokens on a grid of this shape: (N, D)."""
        return resize_positions(self.table, self.shape, shape)

    def rebuild(self, grid: Grid) -> None:
        """From now on built for this grid: the table is resized once and for all."""
        self.table = nn.Parameter(self.on_grid(grid.shape).detach(), self.table.requires_grad)
        self.shape = grid.shape


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
        self.names, self.shape, self.electrodes = grid.names, grid.shape, electrodes_of(grid)
        sizes = {axis.name: axis.size for axis in grid.axes if axis.size > 1 or axis.name in STRETCHABLE}
        self.tables = nn.ParameterDict({name: nn.init.normal_(torch.empty(size, width), std=0.02) for name, size in sizes.items()})

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) → (B, T, D)."""
        if self.tables:
            return _placed(tokens, self)
        _run_time_shapes(tokens, self, STRETCHABLE)
        return tokens

    def on_grid(self, shape: tuple[int, ...]) -> Tensor:
        """The sum of the axes' vectors for patch tokens on a grid of this shape: (N, D)."""
        lines = []
        for at, (name, old, new) in enumerate(zip(self.names, self.shape, shape, strict=True)):
            if name in self.tables:
                line = resize_positions(self.tables[name], (old,), (new,))
                lines.append(line.view((1,) * at + (new,) + (1,) * (len(shape) - at - 1) + line.shape[1:]))
        return sum(lines[1:], lines[0]).expand(*shape, -1).flatten(0, -2)

    def rebuild(self, grid: Grid) -> None:
        """From now on built for this grid: the tables are resized once and for all."""
        for name, old, new in zip(self.names, self.shape, grid.shape, strict=True):
            if name in self.tables:
                table = self.tables[name]
                self.tables[name] = nn.Parameter(resize_positions(table.detach(), (old,), (new,)), table.requires_grad)
        self.shape = grid.shape


class SincosPositions(nn.Module):
    """Sines and cosines of each axis' step number, at wavelengths from 2π to 10 000 · 2π; nothing is learned, and every size is as good.

    The columns are [sin, cos] of the last axis first, frequencies 10 000^(-k / (n - 1)): for images the positions of Beyer et al., "Better plain ViT
    baselines", 2022 (arXiv:2205.01580). An axis of a single step has no columns, and then can't change, but for rows and columns, which always can. ValueError
    where the width can't be shared evenly.

    >>> from sigvit.grid import Axis
    >>> grid = Grid((Axis.regular("row", "px", 3, 0, 1), Axis.regular("column", "px", 5, 0, 1)))
    >>> SincosPositions(grid, width=8)(Tokens(torch.zeros(2, 15, 8), grid)).values[0, 0].tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    """

    table: Tensor

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.names, self.shape, self.electrodes, self.width = grid.names, grid.shape, electrodes_of(grid), width
        self.told = tuple(axis.size > 1 or axis.name in STRETCHABLE for axis in grid.axes)
        if any(self.told) and width % (2 * sum(self.told)):
            raise ValueError(f"Sincos positions on {sum(self.told)} axes need a width divisible by {2 * sum(self.told)}, but it is {width}.")
        self.register_buffer("table", torch.tensor(_kept_sincos(self.shape, self.told, width)))

    def forward(self, tokens: Tokens) -> Tokens:
        """(B, T, D) → (B, T, D)."""
        return _placed(tokens, self, free=tuple(name for name, tells in zip(self.names, self.told, strict=True) if tells and name in (*STRETCHABLE, "time")))

    def on_grid(self, shape: tuple[int, ...]) -> Tensor:
        """The table for patch tokens on a grid of this shape: (N, D)."""
        if not is_open(shape) and shape == self.shape:
            return self.table
        # a trace computes the numbers in its graph, so that a size may stay open
        table = _sincos(shape, self.told, self.width, torch) if torch.compiler.is_compiling() else _kept_sincos(shape, self.told, self.width)
        return torch.as_tensor(table, dtype=self.table.dtype, device=self.table.device)

    def rebuild(self, grid: Grid) -> None:
        """From now on built for this grid: the table is computed again."""
        self.table = self.on_grid(grid.shape).clone()
        self.shape = grid.shape


@lru_cache(maxsize=64)
def _kept_sincos(shape: tuple[int, ...], told: tuple[bool, ...], width: int) -> np.ndarray:
    """(N, D) float32; numpy, so that the kept array is the same on every device."""
    return _sincos(shape, told, width, np).astype(np.float32)


def _sincos(shape: tuple[int, ...], told: tuple[bool, ...], width: int, xp: Any) -> Any:
    """(N, D) float64, of numpy or torch."""
    if not any(told):
        return xp.zeros((math.prod(shape), width), dtype=xp.float64)
    count = width // (2 * sum(told))
    frequencies = 10_000.0 ** -(xp.arange(count, dtype=xp.float64) / max(count - 1, 1))
    waves = []
    for at in reversed([at for at, tells in enumerate(told) if tells]):
        angles = (xp.arange(shape[at], dtype=xp.float64)[:, None] * frequencies).reshape((1,) * at + (shape[at],) + (1,) * (len(shape) - at - 1) + (count,))
        waves += [xp.broadcast_to(wave(angles), (*shape, count)) for wave in (xp.sin, xp.cos)]
    return xp.concatenate(waves, axis=-1).reshape(-1, width)


class Table(Protocol):
    """Positions that were built for one grid: what each step is, is learned by its number."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    electrodes: tuple[str, ...]

    def on_grid(self, shape: tuple[int, ...]) -> Tensor: ...


def _placed(tokens: Tokens, table: Table, free: tuple[str, ...] = STRETCHABLE, front: Tensor | None = None) -> Tokens:
    """The tokens with the table of their grid (each sample's own, in a batch that mixes them) added to the patches, and `front` or nothing to the special."""
    shapes = _run_time_shapes(tokens, table, free)
    tables = {shape: table.on_grid(shape) for shape in shapes} if len(shapes) > 1 else None
    return place(tokens, [table.on_grid(shape) if tables is None else tables[shape] for shape in shapes], front)


def _run_time_shapes(tokens: Tokens, table: Table, free: tuple[str, ...]) -> list[tuple[int, ...]]:
    """The shape of the tokens' grid, or of each sample's; ValueError where these positions can't serve one."""
    grids = grids_of(tokens)
    for grid in grids:
        if grid.names != table.names:
            raise ValueError(f"These positions are for the axes {list(table.names)}, but the tokens sit on {list(grid.names)}.")
        for name, before, now in zip(table.names, table.shape, grid.shape, strict=True):
            if name not in free and before != now:
                raise ValueError(f"This model was built for {before} steps of {name}, but got {now}; {_way_out(name)}")
        own = electrodes_of(grid)
        if tokens.grids is not None and "electrode" in grid.names and not same_electrodes(own, table.electrodes):
            raise ValueError(
                f"This model's positions belong to the electrodes {few_names(table.electrodes)} in this order, but a recording has {few_names(own)}; "
                f"{_way_out('electrode')}"
            )
    return [grid.shape for grid in grids]


def electrodes_of(grid: Grid) -> tuple[str, ...]:
    """Names of the electrodes, where the grid has any."""
    return next((axis.labels for axis in grid.axes if axis.name == "electrode"), ())


def _way_out(axis: str) -> str:
    if axis == "electrode":
        return "give the recording of the electrodes it was built for, adapt the model (sigvit.adapt, electrodes=…), or build it with positions='coordinates'."
    return "cut the input to the size it was built for."

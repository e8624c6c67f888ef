"""Named axes with units and coordinates: where every token sits.

One idea joins images and recordings: a tokenizer lays its tokens on a grid, positions read only the grid,
and resizing is the same act for a larger image, a longer window and another cap.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Axis:
    """One named axis of a grid.

    Parameters
    ----------
    name : what the axis counts: "row", "column", "electrode", "time", "frequency".
    unit : unit of the coordinates: "px", "m", "s", "Hz".
    coordinates : one tuple of numbers for each step along the axis; all of one length, the axis' dimension.
        An electrode has three (x, y, z in metres, head frame), the other axes one. NaN says "not known".
    labels : optional names of the steps, such as electrode names; empty or as many as there are steps.

    Raises
    ------
    ValueError : no steps, steps of unequal dimension, or a label count that differs from the step count.

    >>> time = Axis("time", "s", ((0.125,), (0.375,)))
    >>> time.size, time.dimension
    (2, 1)
    """

    name: str
    unit: str
    coordinates: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.coordinates:
            raise ValueError(f"Axis {self.name!r} has no steps; an axis needs at least one coordinate.")
        dimensions = {len(step) for step in self.coordinates}
        if len(dimensions) != 1:
            raise ValueError(f"Axis {self.name!r} mixes coordinates of {sorted(dimensions)} numbers; give each step as many.")
        if self.labels and len(self.labels) != self.size:
            raise ValueError(f"Axis {self.name!r} has {self.size} steps but {len(self.labels)} labels; give one label a step or none.")
        # One NaN object for all: tuples compare by identity first, so that axes with unknown coordinates are equal where all else is.
        steps = tuple(tuple(math.nan if math.isnan(number) else float(number) for number in step) for step in self.coordinates)
        object.__setattr__(self, "coordinates", steps)

    def __reduce__(self) -> tuple:
        return type(self), tuple(getattr(self, field.name) for field in fields(self))  # so that unpickled axes have the one NaN as well

    @property
    def size(self) -> int:
        return len(self.coordinates)

    @property
    def dimension(self) -> int:
        return len(self.coordinates[0])

    def to_dict(self) -> dict:
        """Plain data for JSON; an unknown coordinate (NaN) becomes None."""
        steps = [[None if math.isnan(number) else number for number in step] for step in self.coordinates]
        return {"name": self.name, "unit": self.unit, "coordinates": steps, "labels": list(self.labels)}

    @classmethod
    def from_dict(cls, data: dict) -> Axis:
        steps = tuple(tuple(math.nan if number is None else number for number in step) for step in data["coordinates"])
        return cls(data["name"], data["unit"], steps, tuple(data["labels"]))

    @classmethod
    def regular(cls, name: str, unit: str, size: int, first: float, step: float) -> Axis:
        """Evenly spaced one-dimensional axis: ``first + step * k`` for k = 0 … size - 1.

        >>> Axis.regular("row", "px", 3, first=7.5, step=16).coordinates
        ((7.5,), (23.5,), (39.5,))
        """
        return cls(name, unit, tuple((float(first + step * k),) for k in range(size)))


@dataclass(frozen=True)
class OpenAxis(Axis):
    """An axis whose size an exporter leaves open while it traces a model: it has a size, a symbol, but no coordinates yet.

    >>> OpenAxis("row", "px", steps=3).size
    3
    """

    coordinates: tuple[tuple[float, ...], ...] = ()
    steps: int = 0

    def __post_init__(self) -> None:
        """Nothing to check: a look at the symbol would fix it."""

    @property
    def size(self) -> int:
        return self.steps


@dataclass(frozen=True)
class Grid:
    """A product of axes; tokens are numbered row-major, the last axis fastest.

    >>> grid = Grid((Axis.regular("row", "px", 2, 0, 1), Axis.regular("column", "px", 3, 10, 5)))
    >>> grid.shape, grid.n_tokens, grid.names
    ((2, 3), 6, ('row', 'column'))
    >>> grid.coordinates()[4].tolist()
    [1.0, 15.0]
    >>> Grid.from_dict(grid.to_dict()) == grid
    True
    """

    axes: tuple[Axis, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.axes) or not self.axes:
            raise ValueError(f"A grid needs at least one axis and each name once, but got axes {list(self.names)}.")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(axis.size for axis in self.axes)

    @property
    def n_tokens(self) -> int:
        return math.prod(self.shape)

    def axis(self, name: str) -> Axis:
        """The axis called ``name``; KeyError names those that are there."""
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise KeyError(f"This grid has no axis {name!r}; it has {list(self.names)}.")

    def coordinates(self) -> np.ndarray:
        """Coordinates of every token, float64 (tokens, columns): the axes' numbers side by side, in axis order."""
        return np.array([sum(steps, ()) for steps in itertools.product(*(axis.coordinates for axis in self.axes))], dtype=np.float64)

    def to_dict(self) -> dict:
        return {"axes": [axis.to_dict() for axis in self.axes]}

    @classmethod
    def from_dict(cls, data: dict) -> Grid:
        if "parts" in data:
            return JoinedGrid(tuple(Grid.from_dict(part) for part in data["parts"]))
        return cls(tuple(Axis.from_dict(axis) for axis in data["axes"]))


@dataclass(frozen=True, init=False)
class JoinedGrid(Grid):
    """Several grids one after the other, as a composite of tokenizers lays them: its one axis, "token", counts all tokens, and `parts` say where they sit.

    Raises
    ------
    ValueError : no parts.

    >>> line, plane = Grid((Axis.regular("time", "s", 2, 0, 1),)), Grid((Axis.regular("frequency", "Hz", 1, 9, 1), Axis.regular("time", "s", 1, 3, 1)))
    >>> joined = JoinedGrid((line, plane))
    >>> joined.shape, joined.columns, joined.coordinates().tolist()
    ((3,), ('time', 'frequency'), [[0.0, nan], [1.0, nan], [3.0, 9.0]])
    >>> Grid.from_dict(joined.to_dict()) == joined
    True
    """

    parts: tuple[Grid, ...]

    def __init__(self, parts: tuple[Grid, ...]) -> None:
        if not parts:
            raise ValueError("A joined grid needs at least one part.")
        flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, JoinedGrid) else (part,)))
        object.__setattr__(self, "parts", flat)
        object.__setattr__(self, "axes", (Axis.regular("token", "", sum(part.n_tokens for part in flat), 0, 1),))

    @property
    def columns(self) -> tuple[str, ...]:
        """What each column of the coordinates belongs to: the axes of all parts, in the order in which they come first, with a column a dimension."""
        dimensions = {axis.name: axis.dimension for part in self.parts for axis in part.axes}
        return tuple(name for name, dimension in dimensions.items() for _ in range(dimension))

    def coordinates(self) -> np.ndarray:
        """Coordinates of every token, float64 (tokens, columns); NaN where a token's own part has no such axis."""
        found = np.full((self.n_tokens, len(self.columns)), math.nan)
        first = 0
        for part in self.parts:
            own = [name for axis in part.axes for name in (axis.name,) * axis.dimension]
            at = [self.columns.index(name) + own[:k].count(name) for k, name in enumerate(own)]
            found[first : first + part.n_tokens, at] = part.coordinates()
            first += part.n_tokens
        return found

    def to_dict(self) -> dict:
        return {"parts": [part.to_dict() for part in self.parts]}

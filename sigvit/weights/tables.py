"""Position tables of files: which rows belong to special tokens, and which grid the others sit on."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt, prod

from torch import Tensor

from sigvit.model.resize import resize_positions
from sigvit.weights.layout import Layout


def token_stride(tensors: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """Pixels from token to token, (rows, columns), of the tokenizer with these weights; None where the patches' projection is missing."""
    if "tokenizer.weight" not in tensors or tensors["tokenizer.weight"].ndim != 4:
        return None
    rows, columns = tensors["tokenizer.weight"].shape[2:]
    if "tokenizer.root.weight" not in tensors:
        return rows, columns
    stages = len({name.split(".")[2] for name in tensors if name.startswith("tokenizer.stages.")})
    stride = 4 * 2 ** max(stages - 1, 0)
    return stride * rows, stride * columns


def front_rows(layout: Layout, tensors: Mapping[str, Tensor]) -> list[int]:
    """How many rows of special tokens the layout may have in front of the table, the usual number first."""
    one = int("class_token" in tensors)
    registers = len(tensors["register_tokens"]) if "register_tokens" in tensors else 0
    counts = {"all": one + registers, "class": one, "none": 0}
    return list(dict.fromkeys(counts[kind] for kind in layout.table_rows))


def locate(
    rows: int,
    fronts: list[int],
    grids: str,
    stride: tuple[int, int] | None,
    image_size: tuple[int, int] | None,
    model_grid: tuple[int, ...] | None,
) -> tuple[int, tuple[int, ...]]:
    """The number of special rows and the grid of a table with so many rows.

    The image size decides where it is known. Else the model's grid, if it has as many tokens. Else the table is square. Where as many tokens could be
    a square that the model's grid isn't, or other special rows would leave a square, there is a doubt.

    Raises
    ------
    ValueError : the image size contradicts the table, or what there is leaves a doubt; it says what to give.

    >>> locate(1 + 36, [1], grids="any", stride=(16, 16), image_size=(64, 144), model_grid=None)
    (1, (4, 9))
    >>> locate(5 + 16, [5], grids="any", stride=(16, 16), image_size=None, model_grid=None)
    (5, (4, 4))
    """
    if image_size is not None and stride is not None:
        return _of_image(rows, fronts, stride, image_size)
    squares = [front for front in fronts if rows > front and isqrt(rows - front) ** 2 == rows - front]
    same = None
    if model_grid is not None:
        same = next((front for front in fronts if rows - front == prod(model_grid)), None)
        if same is not None and (same == fronts[0] or squares in ([], [same])):
            return same, _same_count(rows - same, grids, model_grid)
    if len(squares) != 1 or same is not None:
        what = "could be those of several grids" if squares else "are those of no square grid"
        raise ValueError(f"The {rows} positions of the file {what}; say the images' size with image_size=(rows, columns).")
    side = isqrt(rows - squares[0])
    return squares[0], (side, side)


def _of_image(rows: int, fronts: list[int], stride: tuple[int, int], image_size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    grid = (-(-image_size[0] // stride[0]), -(-image_size[1] // stride[1]))
    for front in fronts:
        if rows == front + prod(grid):
            return front, grid
    raise ValueError(
        f"Images of {image_size} pixels and a token each {stride} make a grid of {grid}, but the file has {rows} positions "
        f"(with {' or '.join(map(str, fronts))} of special tokens). image_size is the size that the file was made for; change it afterwards with sigvit.adapt."
    )


def _same_count(count: int, grids: str, model_grid: tuple[int, ...]) -> tuple[int, ...]:
    """The file's grid where the model's has as many tokens."""
    side = isqrt(count)
    if side * side != count or len(set(model_grid)) == 1 or grids == "own":
        return model_grid
    if grids == "square":
        return side, side
    raise ValueError(
        f"The {count} positions of the file may sit on the model's grid {model_grid} or on the square {(side, side)}; "
        "say the size of the images that the file was made for with image_size=(rows, columns)."
    )


def place(tensors: dict[str, Tensor], front: int, old_grid: tuple[int, ...], new_grid: tuple[int, ...], method: str) -> None:
    """Put the table of `tensors["positions"]` where models here have it: patches resized, the class token's row apart, registers' rows in their tokens."""
    table = tensors.pop("positions")
    special, patches = table[:front], table[front:]
    tensors["positions.table"] = resize_positions(patches, old_grid, new_grid, method)
    one = int("class_token" in tensors)
    if one and "positions.special" not in tensors:
        tensors["positions.special"] = special[:1] if front else table.new_zeros(1, table.shape[1])
    if front > one:
        tensors["register_tokens"] = tensors["register_tokens"] + special[one:]

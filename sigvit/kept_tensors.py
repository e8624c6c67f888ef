"""Tensors that every forward pass asks for, kept under what they depend on."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

import torch
from torch import Tensor

MOST = 256  # caps and lengths come and go

Tensors = TypeVar("Tensors", Tensor, tuple[Tensor, Tensor])


def kept(tables: dict[Hashable, Tensors], key: Hashable, compute: Callable[[], Tensors]) -> Tensors:
    """What `tables` holds under the key, or what `compute` gives, which is kept there.

    >>> tables = {}
    >>> [kept(tables, "float32", lambda: torch.full((2,), number)).tolist() for number in (1.0, 5.0)]
    [[1.0, 1.0], [1.0, 1.0]]
    """
    if key in tables:
        return tables[key]
    with torch.inference_mode(False):  # what is kept may be trained with later
        found = compute()
    if len(tables) > MOST:
        tables.clear()
    if type(found if isinstance(found, Tensor) else found[0]) is Tensor:  # fake ones, of a trace of shapes or an export, hold no numbers
        tables[key] = found
    return found

"""What the tokenizers have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from typing import Any, ClassVar

from torch import nn

from sigvit.grid import Grid
from sigvit.tokenizers.recording_batch import RecordingBatch


class Tokenizer(nn.Module):
    """A module, signal → `Tokens`, whose attributes are called as the arguments they came from, and which keeps the grids that it has laid.

    `batches` is the kind of batch that it cuts beside one tensor; None: no other.
    """

    batches: ClassVar[type | None] = RecordingBatch
    _laid: Callable[..., Grid]  # where the tokens of so many steps sit

    def __init__(self) -> None:
        super().__init__()
        self._grids: dict[tuple[int, ...], Grid] = {}

    def arguments(self) -> dict:
        """What rebuilds this tokenizer, as plain data; an unknown position (NaN) becomes None."""
        kind = next(each for each in type(self).__mro__ if Tokenizer in each.__bases__)  # somebody's own that is made otherwise cuts as this one
        return {name: _plain(getattr(self, name)) for name in signature(kind).parameters}

    def _grid(self, *size: int) -> Grid:
        """Kept, because every forward pass asks for it."""
        if size not in self._grids:
            self._grids[size] = self._laid(*size)
        return self._grids[size]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value

"""Several tokenizers of one recording, their tokens one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from sigvit.grid import JoinedGrid
from sigvit.tokenizers.mixed_recordings import pad_recordings
from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.tokens import Tokens

# B = batch, T = tokens of all parts, D = width


class Composite(nn.Module):
    """The tokens of several tokenizers, concatenated: attention then joins, say, what was measured over the whole window with what happened when.

    Parameters
    ----------
    tokenizers : modules (B, electrodes, samples) → `Tokens`, all of one width, each with a grid.

    Raises
    ------
    ValueError : no tokenizers, or widths that differ; in a forward pass, a part without a grid.

    The grid is a `JoinedGrid` of the parts' (`Tokens.parts`), and learned positions are a table a part.

    >>> from sigvit.tokenizers import ConvStem, CovarianceTokens
    >>> tokenizer = Composite([ConvStem(5, kernel=11, pool=30, stride=10, width=32), CovarianceTokens(5, window=100, stride=100, width=32)])
    >>> tokens = tokenizer(torch.randn(2, 5, 200))
    >>> tokens.values.shape, [part.shape for part in tokens.parts]
    (torch.Size([2, 19, 32]), [(17,), (1, 2)])
    """

    batches: ClassVar[type] = RecordingBatch

    def __init__(self, tokenizers: Sequence[nn.Module]) -> None:
        super().__init__()
        widths = [getattr(tokenizer, "width", None) for tokenizer in tokenizers]
        if not widths or len(set(widths)) != 1 or not isinstance(widths[0], Integral):
            raise ValueError(f"A composite joins tokenizers of one width, but theirs are {widths}; give each the same `width`.")
        self.tokenizers = nn.ModuleList(tokenizers)
        self.width = int(widths[0])

    def arguments(self) -> dict:
        """What rebuilds this tokenizer, as plain data: class and arguments of every part."""
        return {"tokenizers": [{"class": type(part).__name__, "arguments": part.arguments()} for part in self.tokenizers]}  # type: ignore[operator]

    def forward(self, recording: Tensor | RecordingBatch, mask: Tensor | None = None) -> Tokens:
        """(B, E, samples) → Tokens (B, T, D); each part reads the mask, or a batch of several caps, lengths and rates, as it does alone."""
        parts = [part(recording) if mask is None else part(recording, mask) for part in self.tokenizers]
        if isinstance(recording, RecordingBatch):
            return _joined(parts)
        grids = tuple(part.grid for part in parts)
        if None in grids:
            raise ValueError(f"Part {grids.index(None)} of this composite gives tokens without a grid; a tokenizer says where its tokens sit (sigvit.Grid).")
        real = None if all(part.padding_mask is None for part in parts) else torch.cat([part.mask for part in parts], dim=1)
        return Tokens(torch.cat([part.values for part in parts], dim=1), JoinedGrid(grids), real)

    def set_reference(self, signals: Any) -> Self:
        """Every part that measures something from signals before training does so on these: see `CovarianceTokens.set_reference`."""
        for part in self.tokenizers:
            if hasattr(part, "set_reference"):
                part.set_reference(signals)  # type: ignore[operator]
        return self


def _joined(parts: Sequence[Tokens]) -> Tokens:
    """The tokens of each recording's parts, one behind the other, from parts that are each filled up to their most."""
    recordings = []
    for row, grids in enumerate(zip(*(part.grids or () for part in parts), strict=True)):
        own = [(part.values[row, : grid.n_tokens], part.mask[row, : grid.n_tokens]) for part, grid in zip(parts, grids, strict=True)]
        values, real = (torch.cat(each) for each in zip(*own, strict=True))
        recordings.append((values, real, JoinedGrid(grids)))
    return pad_recordings(recordings)

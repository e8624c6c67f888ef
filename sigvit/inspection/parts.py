"""Small pieces that the sections share."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sigvit.evaluation.figures import STYLE
from sigvit.evidence.figures import svg_of
from sigvit.evidence.html_parts import picture
from sigvit.grid import Axis, Grid, JoinedGrid
from sigvit.model.vision_transformer import VisionTransformer

PICTURES = 8
WORDS = {"electrode": "electrode", "time": "time of the patch", "frequency": "frequency", "row": "row", "column": "column"}


def answers(model: VisionTransformer, x: Tensor) -> np.ndarray:
    """(n,) the classes of the largest logits."""
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in x.split(16)]).numpy()


def parts_of(tokenizer: Any) -> list:
    """The tokenizers of a composite, also of one inside another; of any other itself."""
    return [inner for part in tokenizer.tokenizers for inner in parts_of(part)] if hasattr(tokenizer, "tokenizers") else [tokenizer]


def ticks(axis: Axis) -> list:
    """Labels, or the coordinates of an axis, or numbers of steps."""
    if axis.labels:
        return list(axis.labels)
    return [step[0] for step in axis.coordinates] if axis.dimension == 1 and axis.unit else [str(number + 1) for number in range(axis.size)]


def axis_words(axis: Axis) -> str:
    words = WORDS.get(axis.name, axis.name)
    return words if axis.labels or axis.dimension > 1 or not axis.unit else f"{words} ({axis.unit})"


def place_words(grid: Grid, number: int) -> str:
    """Where a token sits: its step on every axis that has several; of joined grids also in which part."""
    if isinstance(grid, JoinedGrid):
        ends = np.cumsum([part.n_tokens for part in grid.parts])
        at = int(np.searchsorted(ends, number, side="right"))
        return f"part {at + 1}, {place_words(grid.parts[at], number - int(ends[at]) + grid.parts[at].n_tokens)}"
    steps = zip(grid.axes, np.unravel_index(number, grid.shape), strict=True)
    places = [(axis_words(axis), ticks(axis)[step]) for axis, step in steps if axis.size > 1]
    return ", ".join(f"{words} {place if isinstance(place, str) else format(place, '.3g')}" for words, place in places) or "the only one"


def drawn(figure: Figure, caption: str) -> str:
    """A figure as an image in the page."""
    with matplotlib.rc_context(STYLE):
        return picture(svg_of(figure), caption, caption)

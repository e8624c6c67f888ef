"""Small pieces that the sections share."""

from __future__ import annotations

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sigvit.evaluation.figures import STYLE
from sigvit.evidence.figures import svg_of
from sigvit.evidence.html_parts import picture
from sigvit.grid import Axis, Grid
from sigvit.model.vision_transformer import VisionTransformer

PICTURES = 8
WORDS = {"electrode": "electrode", "time": "time of the patch", "frequency": "frequency", "row": "row", "column": "column"}


def answers(model: VisionTransformer, x: Tensor) -> np.ndarray:
    """(n,) the classes of the largest logits."""
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in x.split(16)]).numpy()


def ticks(axis: Axis) -> list:
    """Labels, or the coordinates of an axis, or numbers of steps."""
    if axis.labels:
        return list(axis.labels)
    return [step[0] for step in axis.coordinates] if axis.dimension == 1 else [str(number + 1) for number in range(axis.size)]


def axis_words(axis: Axis) -> str:
    words = WORDS.get(axis.name, axis.name)
    return words if axis.labels or axis.dimension > 1 else f"{words} ({axis.unit})"


def place_words(grid: Grid, number: int) -> str:
    """Where a token sits: its step on every axis that has several."""
    at = np.unravel_index(number, grid.shape)
    steps = [(axis_words(axis), ticks(axis)[step]) for axis, step in zip(grid.axes, at, strict=True) if axis.size > 1]
    return ", ".join(f"{words} {step if isinstance(step, str) else format(step, '.3g')}" for words, step in steps) or "the only one"


def drawn(figure: Figure, caption: str) -> str:
    """A figure as an image in the page."""
    with matplotlib.rc_context(STYLE):
        return picture(svg_of(figure), caption, caption)

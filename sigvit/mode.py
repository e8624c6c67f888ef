"""A model in training or evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def in_mode(model: nn.Module, training: bool) -> Iterator[None]:
    """All of it in training or evaluation mode inside; afterwards every part has its own mode again, also one that is kept in evaluation mode.

    >>> model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3).eval())
    >>> with in_mode(model, training=True):
    ...     print([part.training for part in model])
    [True, True]
    >>> [part.training for part in model]
    [True, False]
    """
    modes = [(part, part.training) for part in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for part, own in modes:
            part.training = own

"""Torch's settings that a training relies on, whatever block its caller stands in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def own_gradients() -> Iterator[None]:
    """Inside, gradients are kept and nothing is cast, as outside of `no_grad`, `inference_mode` and `autocast`; also a decorator.

    >>> with torch.no_grad(), own_gradients():
    ...     torch.ones(2, requires_grad=True).sum().requires_grad
    True
    """
    with torch.inference_mode(False), torch.enable_grad(), ExitStack() as stack:
        for device in ("cpu", "cuda") if _is_inside_autocast() else ():
            # An inner autocast would keep its weights, cast once, until the outer one ends: through all steps.
            stack.enter_context(torch.autocast(device, enabled=False, cache_enabled=False))
        yield


def _is_inside_autocast() -> bool:
    """In any block of it, one that is off included."""
    nesting = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return nesting > 1


@contextmanager
def default_settings() -> Iterator[None]:
    """The same, and new numbers are float32: a seed's weights don't depend on `torch.set_default_dtype`, which is as before afterwards."""
    before = torch.get_default_dtype()
    with own_gradients():
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)

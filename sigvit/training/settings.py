"""Torch's settings that a training relies on, whatever block its caller stands in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

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


class _Float32:
    """New numbers are float32 while any thread is inside: the default type is the process's, so the first in remembers it and the last out restores it."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                torch.set_default_dtype(self._before)


_FLOAT32 = _Float32()


@contextmanager
def default_settings() -> Iterator[None]:
    """The same, and new numbers are float32: a seed's weights don't depend on `torch.set_default_dtype`, which is as before when all threads are through."""
    with own_gradients(), _FLOAT32:
        yield

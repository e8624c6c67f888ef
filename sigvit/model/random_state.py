"""The process's generators of random numbers: all threads draw from them, so that only one at a time may seed them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import RLock

import torch

_IN_TURN = RLock()
_BEFORE = ExitStack()  # what brings back the state before the first of those who share the generators
_sharing = 0


def _begin_anew() -> None:
    """A forked process has none of the threads that had a turn, or shared the generators, when it was forked."""
    global _IN_TURN, _BEFORE, _sharing
    _IN_TURN, _BEFORE, _sharing = RLock(), ExitStack(), 0


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_begin_anew)


@contextmanager
def borrowed_random_state(device: torch.device | None = None) -> Iterator[None]:
    """Inside, the generators of the CPU and of this device are this thread's, while others that ask for them wait; afterwards they are as they were before.

    >>> state = torch.get_rng_state()
    >>> with borrowed_random_state():
    ...     _ = torch.manual_seed(7)
    >>> torch.equal(torch.get_rng_state(), state)
    True
    """
    with _IN_TURN, torch.random.fork_rng(_gpus(device)):
        yield


@contextmanager
def shared_random_state(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside, the generators begin at `seed`, and other threads have their turns meanwhile; after the last that shares them they are as before the first.

    For what may wait for threads that train; what draws beside a turn of another thread draws out of that one's numbers.

    >>> state = torch.get_rng_state()
    >>> with shared_random_state(7):
    ...     _ = torch.rand(2)
    >>> torch.equal(torch.get_rng_state(), state)
    True
    """
    global _sharing
    with _IN_TURN:
        if not _sharing:
            _BEFORE.enter_context(torch.random.fork_rng(_gpus(device)))
        _sharing += 1
        for each in [torch.default_generator, *(torch.cuda.default_generators[gpu.index] for gpu in _gpus(device))]:
            each.manual_seed(seed)
    try:
        yield
    finally:
        with _IN_TURN:
            _sharing -= 1
            if not _sharing:
                _BEFORE.close()


def _gpus(device: torch.device | None) -> list[torch.device]:
    return [device] if device is not None and device.type == "cuda" else []

"""The process's generators of random numbers: all threads draw from them, so that only one at a time may seed them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

_IN_TURN = RLock()


@contextmanager
def borrowed_random_state(device: torch.device | None = None) -> Iterator[None]:
    """Inside, the generators of the CPU and of this device are this thread's, while others that ask for them wait; afterwards they are as they were before.

    >>> state = torch.get_rng_state()
    >>> with borrowed_random_state():
    ...     _ = torch.manual_seed(7)
    >>> torch.equal(torch.get_rng_state(), state)
    True
    """
    with _IN_TURN, torch.random.fork_rng([device] if device is not None and device.type == "cuda" else []):
        yield

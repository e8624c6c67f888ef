"""Processes of joblib that share work: how many there are, and their end when their parent is gone."""

from __future__ import annotations

import os
import threading
import time
from functools import cache

from joblib import effective_n_jobs
from joblib.parallel import LokyBackend, get_active_backend

# How often a worker looks whether its parent is still there.
LOOK_S = 0.5


def possible_processes(asked: int) -> int:
    """Of so many processes those that joblib's backend has here; one where it works in this process, in turn or with threads.

    >>> from joblib import parallel_config
    >>> with parallel_config("sequential"):
    ...     possible_processes(2)
    1
    """
    backend, _ = get_active_backend()
    here = getattr(backend, "supports_sharedmem", False)  # backends of processes don't say it
    return 1 if asked < 2 or here else min(asked, effective_n_jobs(asked))


def parent_of_workers() -> int | None:
    """This process' number, for `end_with`, where joblib's workers are its children; None where they may be threads or on another machine.

    Ask in the thread that chose the backend: joblib hands out work from others too.
    """
    backend, _ = get_active_backend()
    return os.getpid() if isinstance(backend, LokyBackend) else None


@cache  # a worker is given many pieces of work by one process
def end_with(parent: int | None) -> None:
    """From now on this worker ends soon after its parent, which a kill wouldn't tell it: it would train on, into the folder of the next start."""
    if parent not in (None, os.getpid()):  # joblib may find that this process is all there is
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)  # whatever the other threads are in

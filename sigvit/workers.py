"""Processes of joblib that share work: how many there are, the folder that they work in, and their end when their parent is gone."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

from joblib import effective_n_jobs
from joblib.parallel import LokyBackend, get_active_backend

# How often a worker looks whether its parent is still there.
POLL_S = 0.5


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


@contextmanager
def no_leak_told() -> Iterator[None]:
    """Loading torch looks to joblib like a leak of memory: it starts a fresh process, and says so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        yield


class Parent(NamedTuple):
    """The process that joblib's workers work for: its number, and the folder in which its relative paths are meant; None where that is deleted."""

    number: int
    folder: str | None


def parent_of_workers() -> Parent | None:
    """This process, for `work_for`, where joblib's workers are its children; None where they may be threads or on another machine.

    Ask in the thread that chose the backend: joblib hands out work from others too.
    """
    backend, _ = get_active_backend()
    return Parent(os.getpid(), _folder()) if isinstance(backend, LokyBackend) else None


def work_for(parent: Parent | None) -> None:
    """From now on this worker reads relative paths as its parent does (joblib keeps workers, which stay where that once was) and ends soon after it."""
    if parent is None or parent.number == os.getpid():  # joblib may find that this process is all there is
        return
    if parent.folder is not None:
        os.chdir(parent.folder)
    _end_with(parent.number)


@cache  # a worker is given many pieces of work by one process
def _end_with(number: int) -> None:
    """A kill of its parent wouldn't tell a worker: it would train on, into the folder of the next start."""
    threading.Thread(target=_watch, args=(number,), daemon=True).start()


def _watch(number: int) -> None:
    while os.getppid() == number:
        time.sleep(POLL_S)
    os._exit(1)  # whatever the other threads are in


def _folder() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None

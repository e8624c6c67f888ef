"""Processes of joblib that share work."""

from __future__ import annotations

from joblib import effective_n_jobs
from joblib.parallel import get_active_backend


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

"""Workers work where their parent does, and end with it."""

import os
import subprocess
import sys

import joblib
import pytest

from sigvit.workers import Parent, parent_of_workers, work_for

ORPHAN = """
import os, time
from sigvit.workers import Parent, work_for
parent = Parent(os.getpid(), os.getcwd())
if os.fork():
    os._exit(0)  # as a kill would end it
work_for(parent)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="elsewhere nothing says that a parent is gone")
def test_a_worker_ends_soon_after_its_parent():
    # The worker keeps its end of the pipe, so that `run` returns when both have ended.
    subprocess.run([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, timeout=30, check=True)


def test_a_worker_that_joblib_kept_works_where_its_parent_went_since(tmp_path, monkeypatch):
    def where(parent: Parent | None) -> str:
        work_for(parent)
        return os.getcwd()

    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        assert joblib.Parallel(n_jobs=2)([joblib.delayed(where)(parent_of_workers())] * 2) == [str(folder)] * 2


def test_nobody_ends_with_who_may_be_a_thread_or_elsewhere(tmp_path, monkeypatch):
    parent = parent_of_workers()
    assert parent == Parent(os.getpid(), os.getcwd())
    with joblib.parallel_config("threading"):
        assert parent_of_workers() is None
    monkeypatch.chdir(tmp_path)
    work_for(parent)  # where joblib finds that this process is all there is
    work_for(None)
    assert os.getcwd() == str(tmp_path)

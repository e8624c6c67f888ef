"""Workers end with their parent."""

import os
import subprocess
import sys

import joblib
import pytest

from sigvit.workers import end_with, parent_of_workers

ORPHAN = """
import os, time
from sigvit.workers import end_with
parent = os.getpid()
if os.fork():
    os._exit(0)  # as a kill would end it
end_with(parent)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="elsewhere nothing says that a parent is gone")
def test_a_worker_ends_soon_after_its_parent():
    # The worker keeps its end of the pipe, so that `run` returns when both have ended.
    subprocess.run([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, timeout=30, check=True)


def test_nobody_ends_with_who_may_be_a_thread_or_elsewhere():
    assert parent_of_workers() == os.getpid()
    with joblib.parallel_config("threading"):
        assert parent_of_workers() is None
    end_with(os.getpid())  # where joblib finds that this process is all there is
    end_with(None)

"""Shared by all tests: thread count and the folder of real recordings."""

import os
from pathlib import Path

import pytest

# One thread a process, also in those that tests start. Said before torch is loaded, which only the processes that run tests need to load.
os.environ["OMP_NUM_THREADS"] = "1"
# What is measured about this machine is remembered beside the checkout, not in anybody's home.
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).parents[1] / ".pytest_cache")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; tests that need it skip where it is missing."""
    folder = Path(os.environ.get("SIGVIT_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real recordings are not at {folder} (set SIGVIT_DATA)")
    return folder

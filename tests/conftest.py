"""Shared by all tests: thread count and the folder of real recordings."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; tests that need it skip where it is missing."""
    folder = Path(os.environ.get("SIGVIT_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real recordings are not at {folder} (set SIGVIT_DATA)")
    return folder

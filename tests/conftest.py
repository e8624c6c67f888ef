"""Shared by all tests: thread count, the folder of real recordings, a machine whose texts are in ASCII or whose disk is full, and another
process that trains."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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


@pytest.fixture
def ascii_locale(monkeypatch) -> None:
    """Files that are opened without an encoding are read in ASCII, as with LC_ALL=C and without Python's UTF-8 mode."""
    monkeypatch.setattr(io, "text_encoding", lambda encoding, stacklevel=2: encoding or "ascii")


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """While no file may be larger than so many bytes, which differs from a full disk in the error's number alone."""
    resource = pytest.importorskip("resource", reason="elsewhere nothing limits files")

    @contextmanager
    def limited(n_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)

    return limited


CLAIM = """
import sys
from pathlib import Path
from sigvit.training.claims import Claims
claims = Claims(Path(sys.argv[1]))
claims.take(sys.argv[2:])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def claimed_elsewhere() -> Callable[..., AbstractContextManager[bool]]:
    """While another process tries to claim the trainings of these keys in a folder; gives whether it could."""

    @contextmanager
    def held(folder: Path, *keys: str) -> Iterator[bool]:
        command = [sys.executable, "-c", CLAIM, str(folder), *keys]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            yield process.stdout.readline() == "held\n"
            process.kill()

    return held

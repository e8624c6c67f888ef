"""Files whose reader is compiled code that trusts them: read once in a process of their own, so that a damaged one can neither hang nor kill this one."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

# All that mne calls of antio: triggers, and every sample, some at a time.
_READ_ANT = """
import sys
try:
    import resource
except ImportError:  # Windows
    pass
else:
    resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]), int(sys.argv[2])))
from antio import read_cnt
from antio.parser import read_data, read_info, read_triggers
recording = read_cnt(sys.argv[1])
read_info(recording)
read_triggers(recording)
count = recording.get_sample_count()
for start in range(0, count, 65536):
    read_data(recording, start, min(count, start + 65536))
"""
# Seconds of the processor; on a clock it may take a busy machine so many times as long.
_LEAST_S = 5
_BYTES_A_SECOND = 1e6  # a hundredth of what is measured
_BUSY = 20


def check_apart(path: Path, kind: str | None) -> None:
    """Reads an ANT recording (`kind` "ant") in another process, and throws away what it finds; other kinds are left alone.

    Raises
    ------
    ValueError : the process was killed by a fault, or didn't end in time; the checksum of a block of samples is wrong.
    """
    if kind == "ant" and find_spec("antio") is not None:
        _run(_READ_ANT, path)


def _run(program: str, path: Path) -> None:
    limit_s = _LEAST_S + int(path.stat().st_size / _BYTES_A_SECOND)
    command = [sys.executable, "-c", program, str(path), str(limit_s)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_BUSY * limit_s, check=False)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode < 0:  # a signal; what Python says it will say again when mne reads the file
        raise ValueError(f"{path} or a file beside it is damaged: its reader crashed, or didn't come to an end in {limit_s} s.")
    if b"checksum error" in done.stdout + done.stderr:  # compiled code prints it, and goes on with wrong samples
        raise ValueError(f"{path} is damaged: the checksum of a block of its samples is wrong.")

"""A program, not a test: reads recordings that `test_damaged_recordings.py` damaged, under limits of time and memory.

damaged_recordings.py JOBS.json OUTCOMES.jsonl

A job names a file, its reader and the reader's options. An outcome is a line: what was said, or what was read; a job that killed the program has none.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import mne
import numpy as np

from sigvit.data.readers import read_recording
from sigvit.data.recordings import windows_from_raw

SECONDS = 6.0  # of the processor, for one file of less than a megabyte
HANGING_S = 180  # on the clock of a machine under load, where no signal is heard: in compiled code
BYTES = 4 * 2**30  # of address space: what a header that promises terabytes may not take


class TooLongError(BaseException):
    """Not an Exception, so that no reader can swallow it."""


def main(jobs: Path, outcomes: Path) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    signal.signal(signal.SIGPROF, _too_long)
    with outcomes.open("a") as file:
        for job in json.loads(jobs.read_text()):
            file.write(json.dumps({"number": job["number"], **outcome(job)}) + "\n")
            file.flush()


def _too_long(*_: Any) -> None:
    raise TooLongError


def outcome(job: dict[str, Any]) -> dict[str, Any]:
    """{"error", "message"} or what was read; "seconds" either way."""
    started = time.perf_counter()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    faulthandler.dump_traceback_later(HANGING_S, exit=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            told = read(job)
        except TooLongError:
            told = {"error": "TooLongError", "message": f"more than {SECONDS:g} s"}
        except Exception as error:
            told = {"error": type(error).__name__, "message": str(error)}
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
    said = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning | RuntimeWarning)]
    return {**told, "warnings": said, "seconds": time.perf_counter() - started}


def read(job: dict[str, Any]) -> dict[str, Any]:
    """Everything about a recording that a user relies on; of the samples their hash."""
    raw = read_recording(job["path"], job["reader"], job["options"])
    values = raw.get_data()
    return {
        "shape": list(values.shape),
        "rate": float(raw.info["sfreq"]),
        "names": raw.ch_names,
        "kinds": raw.get_channel_types(),
        "events": [[float(onset), str(name)] for onset, name in zip(raw.annotations.onset, raw.annotations.description, strict=True)],
        "samples": hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest(),
        "finite": bool(np.isfinite(values).all()),
        "windows": cut(raw),
    }


def cut(raw: mne.io.BaseRaw) -> str | None:
    """What is said where the recording is cut into windows, or None."""
    try:
        windows_from_raw(raw, label="all", window_s=min(1.0, raw.duration / 3), bad_electrodes="keep", constant_electrodes="keep")
    except ValueError as error:
        return str(error)
    return None


if __name__ == "__main__":
    mne.set_log_level("WARNING")
    main(Path(sys.argv[1]), Path(sys.argv[2]))

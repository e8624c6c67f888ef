"""What every script here does with a fault, a sentence on the terminal, and with the names of data."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joblib.externals.loky.process_executor import TerminatedWorkerError

import sigvit
from sigvit.__main__ import as_a_command, of_output

OURS = (Path(__file__).parent, Path(sigvit.__file__).parent)


@contextmanager
def faults_in_a_sentence() -> Iterator[None]:
    """What is wrong with data, recipe or disk, without the way through the code that found it; an error that another package raised keeps its way.

    On the terminal it does what `sigvit` does there (`as_a_command`).
    """
    with as_a_command():
        try:
            yield
        except BrokenPipeError:
            raise
        except (ValueError, OSError, ImportError, sigvit.Leak) as error:
            if isinstance(error, OSError) and of_output(error):
                raise  # `as_a_command` tells of it
            if not isinstance(error, OSError) and not _is_ours(error):
                raise
            notes = "".join(f" {note}" for note in getattr(error, "__notes__", []))  # which fit it was
            raise SystemExit(f"{Path(sys.argv[0]).name}: {error}{notes}") from error
        except TerminatedWorkerError as error:
            told = "a process that shared the work was killed, likely for want of memory; start again with fewer, and it goes on with what is missing"
            raise SystemExit(f"{Path(sys.argv[0]).name}: {told}.") from error


def _is_ours(error: Exception) -> bool:
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return any(raised_in.is_relative_to(folder) for folder in OURS)


def slug(name: str) -> str:
    """A page's name, a path or a pattern as a part of a folder's name."""
    return name.replace(":", "-").replace("/", "-").strip("-.")

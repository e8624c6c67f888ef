"""`sigvit datasets`, `sigvit verify FOLDER`, `sigvit cost RECIPE` and `sigvit inspect MODEL_FOLDER`; also `python -m sigvit`."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

USAGE = """usage: sigvit datasets                list the dataset pages and what each needs
       sigvit verify RESULTS_FOLDER   check a results folder from its files alone
       sigvit cost RECIPE [--help]    predict memory, hours and images/s; sigvit cost B/16 measures a model
       sigvit inspect MODEL_FOLDER --data PAGE [--output FILE]
                                      one HTML page of what a trained model learned"""
READER_LEFT = 141  # what a shell reports for a program that a closed pipe ended


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0 where it went well."""
    with as_a_command():
        return run(sys.argv[1:] if arguments is None else arguments)


@contextmanager
def as_a_command() -> Iterator[None]:
    """What a program owes its terminal: signs that its encoding lacks are replaced, and when its reader leaves it ends without a word, by SystemExit.

    Where its output can't be written (the disk is full) it ends in a sentence, and without any output it works as with one.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        with _somewhere_to_write():
            try:
                yield
            finally:
                sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_left():
            raise
        _write_nowhere()
        raise SystemExit(READER_LEFT) from None
    except OSError as error:
        if not of_output(error):
            raise
        _write_nowhere()
        raise SystemExit(f"{Path(sys.argv[0]).name}: standard output can't be written ({error.strerror}).") from error


@contextmanager
def _somewhere_to_write() -> Iterator[None]:
    """`>&-` closes the output, and packages that print ask what kind it is."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, ExitStack() as stack:
        if sys.stdout is None:
            stack.enter_context(redirect_stdout(nowhere))
        if sys.stderr is None:
            stack.enter_context(redirect_stderr(nowhere))
        yield


def of_output(error: OSError) -> bool:
    """Whether it is standard output that can't be written: it says so again, or the disk is full and no file is named, as where a long text is printed."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return error.errno == errno.ENOSPC and error.filename is None and error.strerror == os.strerror(errno.ENOSPC)


def _write_nowhere() -> None:
    """The interpreter's own flush at its end finds a place to write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reader_left() -> bool:
    """Whether it is standard output that is closed, and not the pipe of another process."""
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # of errors and closed ends it tells unasked
    return bool(poll.poll(0))


def run(arguments: list[str]) -> int:
    """The command that these words name."""
    match arguments:
        case ["datasets"]:
            from sigvit.data.pages import describe_datasets

            print(describe_datasets())
            return 0
        case ["verify", folder]:
            from sigvit.evidence.verify import main as verify

            return verify([folder])
        case ["cost", *words]:
            from sigvit.cost_command import main as cost

            return cost(words)
        case ["inspect", *words]:
            from sigvit.inspection.command import main as inspect

            return inspect(words)
        case _:
            print(USAGE, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())

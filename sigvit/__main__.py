"""`sigvit datasets`, `sigvit verify FOLDER`, `sigvit cost RECIPE` and `sigvit inspect MODEL_FOLDER`; also `python -m sigvit`."""

from __future__ import annotations

import os
import sys

USAGE = """usage: sigvit datasets                list the dataset pages and what each needs
       sigvit verify RESULTS_FOLDER   check a results folder from its files alone
       sigvit cost RECIPE [--help]    predict memory, hours and images/s; sigvit cost B/16 measures a model
       sigvit inspect MODEL_FOLDER --data PAGE [--output FILE]
                                      one HTML page of what a trained model learned"""
READER_LEFT = 141  # what a shell reports for a program that a closed pipe ended


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0 where it went well."""
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read, such as `head`, has enough; the interpreter's own flush at its end finds a place to write.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_LEFT


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

"""`sigvit datasets` and `sigvit verify FOLDER`; also `python -m sigvit`."""

from __future__ import annotations

import sys

USAGE = """usage: sigvit datasets               list the dataset pages and what each needs
       sigvit verify RESULTS_FOLDER  check a results folder from its files alone"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0 where it went well."""
    match sys.argv[1:] if arguments is None else arguments:
        case ["datasets"]:
            from sigvit.data.pages import describe_datasets

            print(describe_datasets())
            return 0
        case ["verify", folder]:
            from sigvit.evidence.verify import main as verify

            return verify([folder])
        case _:
            print(USAGE, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())

"""What trainings in progress keep among the finished fits, and its end when those fits are finished."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

# Among the finished fits, where nobody keeps anything of their own.
TRAINING = "fits/training"
# Of fits: SHA-256 in hexadecimal digits.
KEY = re.compile(r"[0-9a-f]{64}")


def remove_finished(results: Path, keys: Collection[str]) -> None:
    """Remove the state of trainings of these fits; of others it stays, whoever's they are, and then also what is anybody's, such as classical halves.

    Whose a state is, the keys in its name say, or where it is of several those in its `members.txt`.
    """
    folder, others = results / TRAINING, False
    for entry in folder.iterdir() if folder.is_dir() else ():
        whose = _keys_of(entry)
        if whose and whose <= set(keys):
            shutil.rmtree(entry, ignore_errors=True)
        others |= bool(whose - set(keys))
    if keys and not others:
        shutil.rmtree(folder, ignore_errors=True)


def _keys_of(entry: Path) -> set[str]:
    members = entry / "members.txt"
    return set(KEY.findall(members.read_text(encoding="utf-8") if members.is_file() else entry.name))

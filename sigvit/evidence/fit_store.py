"""What is kept of fits on disk: finished ones, each under a key made of everything that decides its outcome, and the state of those in progress."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sigvit.whole_file import link_first, whole_file

# Among the finished fits, where nobody keeps anything of their own.
TRAINING = "fits/training"
# Of fits: SHA-256 in hexadecimal digits.
KEY = re.compile(r"[0-9a-f]{64}")


class FitStore:
    """One JSON file a fit, written beside and renamed, so that a kill at any moment leaves whole files only."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder) / "fits"
        self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, key: str) -> dict | None:
        """The fit under this key, or None where there is none."""
        path = self.folder / f"{key}.json"
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path} is not a whole fit ({error}); something else changed it. Delete it and start again.") from error

    def save(self, key: str, record: dict) -> dict:
        """Keep a fit; returns the one that is kept, which is another process' where that was first: two tables of one folder say the same."""
        path, text = self.folder / f"{key}.json", json.dumps(record, default=_plain)
        try:
            with whole_file(path, link_first) as beside:
                beside.write_text(text, encoding="utf-8")
        except FileExistsError:
            return self.load(key) or record
        return record


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


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch, which histories of other libraries hold."""
    if not hasattr(value, "tolist"):
        raise TypeError(f"A fit holds {value!r} ({type(value).__name__}), which JSON has no form for; keep numbers and texts in history_.")
    return value.tolist()

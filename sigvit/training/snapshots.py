"""Snapshots of many trainings at once, member by member: a kill costs at most the last interval."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from sigvit.training.checkpoint import Checkpoints
from sigvit.training.claims import Claims
from sigvit.training.member import Member
from sigvit.whole_file import write_atomically

SECONDS = 60.0
# The workers of a killed training take a moment to notice it and to let go of their folders (`sigvit.workers.work_for`).
WAIT_S = 10.0
POLL_S = 0.2
# Beside the states of several members: their keys, a line each.
MEMBERS = "members.txt"


class TimedCheckpoints(Checkpoints):
    """Checkpoints that are due by the clock: small models take a thousand steps in seconds.

    >>> import tempfile
    >>> TimedCheckpoints(tempfile.mkdtemp(), seconds=1000.0).due(step=7)
    False
    """

    def __init__(self, folder: str | Path, seconds: float) -> None:
        super().__init__(folder, keep=1)
        self.seconds, self._last_time = seconds, time.monotonic()

    def due(self, step: int) -> bool:
        """Whether so many seconds have passed since the last checkpoint."""
        return time.monotonic() - self._last_time >= self.seconds

    def save(self, step: int, state: dict[str, Any]) -> None:
        super().save(step, state)
        self._last_time = time.monotonic()


class Snapshots:
    """The newest state of each of many trainings.

    Trainings that run at once are saved at once, so that they go on side by side as they were: in other company their last bits could round otherwise.

    Parameters
    ----------
    folder : one process at a time works through the same members in it: they are claimed when they are loaded, as long as this object lives or until
        its `with` ends; workers that it is sent to don't claim again.
    seconds : from one snapshot to the next.
    """

    def __init__(self, folder: str | Path, seconds: float = SECONDS) -> None:
        self.folder, self.seconds = Path(folder).absolute(), seconds  # also for processes that work elsewhere
        self._claims: Claims | None = Claims(self.folder)
        self._places: dict[str, TimedCheckpoints] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Lets go of the claims: the traceback that a notebook keeps of an interrupted training would keep them with this object."""
        for checkpoints in self._places.values():
            checkpoints.let_go()
        self._places.clear()
        if self._claims is not None:
            self._claims.let_go()

    def require_keys(self, members: Sequence[Member]) -> None:
        """ValueError: members whose snapshots could not be told apart."""
        keys = {member.key for member in members} - {""}
        if len(keys) < len(members):
            raise ValueError(f"Snapshots need a key for each of the {len(members)} trainings, but there are {len(keys)} different ones.")

    def alone(self, member: Member) -> TimedCheckpoints:
        """Where the member's training by itself keeps its state, claimed: a worker of a killed training may still write there.

        Raises
        ------
        BlockingIOError : another process trains this member, and went on with it for ten seconds.
        """
        folder = self.folder / f"alone-{member.key}"
        checkpoints = TimedCheckpoints(folder, self.seconds)
        _when_free(checkpoints.claim, folder)
        return checkpoints

    def has_alone(self, member: Member) -> bool:
        """Whether the member was in training by itself."""
        return (self.folder / f"alone-{member.key}").is_dir()

    def for_worker(self) -> Snapshots:
        """What a worker is sent, which trains under the claims of this process."""
        sent = Snapshots(self.folder, self.seconds)
        sent._claims = None
        return sent

    def load(self, members: Sequence[Member]) -> dict[str, dict[str, Any]]:
        """Key → newest state of those members that were saved, in the order in which they ran.

        Raises
        ------
        BlockingIOError : another process trains one of these members, and went on with it for ten seconds.
        """
        asked = {member.key for member in members}
        if self._claims is not None:
            _when_free(partial(self._claims.take, asked), self.folder)
        self._together(members)
        found: dict[str, dict[str, Any]] = {}
        for folder in sorted(self.folder.glob("together-*")):
            states = _newest(Checkpoints(folder, keep=1)) if asked & _members_of(folder) else {}
            found |= {key: state for key, state in states.items() if key in asked and state["step"] >= found.get(key, state)["step"]}
        return found

    def save(self, members: Sequence[Member], states: dict[str, dict[str, Any]]) -> None:
        """Replace what is kept of these members; the states are told apart by key."""
        checkpoints = self._together(members)
        checkpoints.save(max(checkpoints.steps(), default=0) + 1, states)

    def _together(self, members: Sequence[Member]) -> TimedCheckpoints:
        """Where these members' states are kept, claimed when it is first asked for: workers of a killed training may still write there."""
        keys = sorted(member.key for member in members)
        name = hashlib.sha256("".join(keys).encode()).hexdigest()[:16]
        if name not in self._places:
            folder = self.folder / f"together-{name}"
            checkpoints = TimedCheckpoints(folder, self.seconds)
            _when_free(checkpoints.claim, folder)
            self._places[name] = checkpoints
            write_atomically(folder / MEMBERS, "\n".join(keys))
        return self._places[name]

    def due(self, members: Sequence[Member]) -> bool:
        """Whether the interval is over since these members were loaded or saved."""
        return self._together(members).due(0)


def _when_free(claim: Callable[[], None], folder: Path) -> None:
    """Claim as soon as nobody else does; BlockingIOError where that takes too long."""
    end, told = time.monotonic() + WAIT_S, False
    while True:
        try:
            claim()
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
        if not told:
            warnings.warn(f"Another process trains into {folder}; waiting up to {WAIT_S:g} s for it to end.", stacklevel=4)
            told = True
        time.sleep(POLL_S)


def _members_of(folder: Path) -> set[str]:
    """Keys of those whose states a folder holds, or is about to."""
    path = folder / MEMBERS
    return set(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else set()


def _newest(checkpoints: Checkpoints) -> dict[str, dict[str, Any]]:
    """What was saved last; a worker of a killed training may be replacing it right now, and then it is read again."""
    while True:
        before = checkpoints.steps()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")  # said below, or not at all
            found = checkpoints.latest()
        if checkpoints.steps() == before:
            break
    for warning in told:
        warnings.warn(warning.message, stacklevel=2)
    return {} if found is None else found[1]

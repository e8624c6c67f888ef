"""Which parts of a dataset are opened: what the page and the caller exclude, with reasons."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from sigvit.data.page_format import Page, matches_any
from sigvit.data.page_sources import Recording
from sigvit.data.windows import Windows, abridged

_STEP = re.compile(r"(sub|subject|ses|session|run)[- ]([^_]+)")
_FIELDS = {"sub": "subject", "subject": "subject", "ses": "session", "session": "session", "run": "run"}


@dataclass(frozen=True)
class NamedPart:
    """A part of a dataset as a caller names it.

    >>> NamedPart.of("sub-03/ses-01").matches("any", "03", "01", "2"), NamedPart.of("S001R04").matches("S001R04", "001", "1", "04")
    (True, True)
    """

    text: str
    subject: str = "*"
    session: str = "*"
    run: str = "*"
    bare: bool = False

    @classmethod
    def of(cls, text: str) -> NamedPart:
        """From "sub-03/ses-01/run-2" (any of the three), a recording's name or a subject's bare id."""
        steps = [_STEP.fullmatch(step) for step in str(text).split("/")]
        if not all(steps):
            return cls(str(text), bare=True)
        named: dict[str, str] = {_FIELDS[step[1]]: step[2] for step in steps if step}
        return cls(str(text), named.get("subject", "*"), named.get("session", "*"), named.get("run", "*"))

    def matches(self, name: str, subject: str, session: str, run: str) -> bool:
        if self.bare:
            return fnmatchcase(name, self.text) or matches_any(subject, self.text)
        return matches_any(subject, self.subject) and matches_any(session, self.session) and matches_any(run, self.run)

    def names_subject(self, subject: str) -> bool:
        """Whether it names a subject as a whole."""
        return matches_any(subject, self.text) if self.bare else (self.session, self.run) == ("*", "*") and matches_any(subject, self.subject)

    def may_touch(self, subject: str) -> bool:
        """Whether it may name something of a subject; a recording's name may be anyone's."""
        return not self.text.isdecimal() or matches_any(subject, self.text) if self.bare else matches_any(subject, self.subject)


class Selection:
    """Decides which recordings are opened, and remembers what was left out and why.

    `only`, `exclude` and `include` are names as `NamedPart.of` reads them; `include` undoes exclusions of the page.
    """

    def __init__(self, page: Page, only: Sequence[str] = (), exclude: Sequence[str] = (), include: Sequence[str] = ()) -> None:
        for name, given in (("only", only), ("exclude", exclude), ("include", include)):
            if isinstance(given, str):
                raise TypeError(f"{name} is the text {given!r}; it must be a sequence of names: {name}=({given!r},).")
        self.page = page
        self.only, self.exclude, self.include = (tuple(map(NamedPart.of, given)) for given in (only, exclude, include))
        self.excluded: list[dict[str, str]] = []
        self.seen: list[str] = []
        self.failures = 0
        self._used: set[NamedPart] = set()

    def opens(self, recording: Recording) -> bool:
        """Whether a recording is opened; of a file that holds several runs only its subject is asked for yet."""
        if recording.split_at and self._subject_reason(recording.subject) is None:
            return True
        return self.wants(recording.name, recording.subject, recording.session, recording.run)

    def wants(self, name: str, subject: str, session: str, run: str) -> bool:
        """Whether a recording is opened; if not, that is recorded with the reason."""
        identity = (name, subject, session, run)
        self.seen.append(name)
        reason = self._reason(identity)
        if reason is not None and reason[0]:
            self._record(identity, *reason)
        return reason is None

    def fetches(self, subject: str) -> bool:
        """Whether a subject's files are fetched; if not, and somebody excluded it, that is recorded."""
        reason = self._subject_reason(subject)
        if reason is not None and reason[0]:
            self._record((f"all of {subject}", subject, "*", "*"), *reason)
        return reason is None

    def failed(self, recording: Recording, error: Exception) -> None:
        """A recording that couldn't be used, which the caller asked to go on without."""
        self.failures += 1
        self._record((recording.name, recording.subject, recording.session, recording.run), str(error), "failure")

    def rows(self, windows: Windows) -> Windows:
        """The windows of the parts that are wanted, where one file holds several."""
        identity = windows.metadata[["recording", "subject", "session", "run"]].astype(str)
        wanted = {tuple(part): self.wants(*part) for part in identity.drop_duplicates().itertuples(index=False, name=None)}
        if all(wanted.values()):
            return windows
        return windows[np.array([wanted[part] for part in identity.itertuples(index=False, name=None)], dtype=bool)]

    def check_all_used(self) -> None:
        """A name that matches nothing is a mistake."""
        for part in (*self.only, *self.exclude, *self.include):
            if part not in self._used:
                names = list(dict.fromkeys(self.seen))
                raise ValueError(f"{self.page.name} has no part {part.text!r}; its recordings are {abridged(names)}.")

    def _reason(self, identity: tuple[str, str, str, str]) -> tuple[str, str] | None:
        """Why a recording is left out, and by whom; an empty reason where it just wasn't asked for."""
        if self._match(self.exclude, identity):
            return "excluded by the caller", "caller"
        wanted = self._match(self.only, identity)
        if self.only and not wanted:
            return "", "caller"
        by_page = next((part.reason for part in self.page.exclude if part.matches(*identity[1:])), None)
        undone = self._match(self.include, identity)
        return (by_page, "page") if by_page is not None and not undone else None

    def _subject_reason(self, subject: str) -> tuple[str, str] | None:
        """As `_reason`, of what concerns a subject as a whole."""
        out = [part for part in self.exclude if part.names_subject(subject)]
        by_page = next((part.reason for part in self.page.exclude if (part.session, part.run) == ("*", "*") and matches_any(subject, part.subject)), None)
        if out:
            self._used.update(out)
            return "excluded by the caller", "caller"
        if self.only and not any(part.may_touch(subject) for part in self.only):
            return "", "caller"
        return (by_page, "page") if by_page is not None and not any(part.may_touch(subject) for part in self.include) else None

    def _match(self, parts: Iterable[NamedPart], identity: tuple[str, str, str, str]) -> bool:
        found = [part for part in parts if part.matches(*identity)]
        self._used.update(found)
        return bool(found)

    def _record(self, identity: tuple[str, str, str, str], reason: str, by: str) -> None:
        self.excluded.append(dict(zip(("recording", "subject", "session", "run"), identity, strict=True)) | {"reason": reason, "by": by})

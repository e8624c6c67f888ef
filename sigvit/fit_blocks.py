"""Which fits of many go at once, and what they share: the rows that they see, read and scaled once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sigvit.data.windows import Windows
from sigvit.evidence.fit_job import FitJob, named
from sigvit.network_input import READ
from sigvit.training_part import TrainingPart

# Copies of the windows that trainings at once may hold; each number is there as read and as scaled.
BLOCK_BYTES = 4 * 2**30
COPY_BYTES = 8


def blocks(windows: Windows, jobs: Sequence[FitJob]) -> list[list[int]]:
    """Numbers of jobs whose rows, copied and scaled, fit into memory together; seeds that share their rows share the copy."""
    blocks: list[list[int]] = []
    room, copied = 0, set[tuple]()
    for number, job in enumerate(jobs):
        rows = _rows_of(job)
        size = 0 if rows in copied else (len(job.train) + len(job.validation)) * windows.values[0].size * COPY_BYTES
        if not blocks or size > room:
            blocks.append([])
            room, copied = BLOCK_BYTES, set()
        blocks[-1].append(number)
        room, copied = room - size, copied | {rows}
    return blocks


def prepare_all(windows: Windows, fits: list[tuple[Any, FitJob]]) -> list[TrainingPart]:
    """What each fit sees. Fits on the same rows see one part, unless chance chooses what each holds out."""
    found: dict[tuple, tuple[Any, TrainingPart]] = {}
    parts = []
    for classifier, job in fits:
        by_chance = classifier.early_stopping and not len(job.validation)
        same = (*_rows_of(job), classifier.early_stopping, id(classifier) if by_chance else None)
        if same in found:
            for name in READ:
                setattr(classifier, name, getattr(found[same][0], name))
        else:
            held_out = windows[job.validation] if len(job.validation) else None
            with named(job.name):
                found[same] = classifier, classifier._prepare(windows[job.train], None, job.groups, None if held_out is None else (held_out, None))
        parts.append(found[same][1])
    return parts


def _rows_of(job: FitJob) -> tuple:
    """The same for jobs of the same rows; groups as text, since those of any object have no bytes that tell them apart."""
    return job.train.tobytes(), job.validation.tobytes(), None if job.groups is None else tuple(map(str, job.groups))

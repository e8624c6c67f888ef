"""FitJob: what `fit_many` is asked for, and how it is asked."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sigvit.data.windows import Windows


@dataclass(frozen=True, eq=False)
class FitJob:
    """One training.

    Attributes
    ----------
    train : rows to train on. validation : rows that choose the stopping point, or are trained on as well where nothing is chosen; None for none.
    seed : becomes `random_state`. parameters : what differs from the estimator's own parameters; a `random_state` among them is taken before `seed`.
    groups : (train rows,) what inner folds keep whole; None where there is nothing to keep.
    name : what messages call it. key : names what is kept of it on disk; made of everything that decides the fit.
    """

    train: np.ndarray
    validation: np.ndarray
    seed: int
    parameters: dict = field(default_factory=dict)
    groups: np.ndarray | None = None
    name: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "train", _row_numbers(self.train, "train"))
        object.__setattr__(self, "validation", _row_numbers([] if self.validation is None else self.validation, "validation"))
        both = np.intersect1d(self.train, self.validation)
        if len(both):
            raise ValueError(f"Row {both[0]} is to be trained on and to be validated on; {len(both)} rows are.")

    def require_rows(self, count: int) -> None:
        """ValueError: a row that a set of so many windows doesn't have."""
        for part in ("train", "validation"):
            rows = getattr(self, part)
            if len(rows) and rows.max() >= count:
                raise ValueError(f"{part} holds the row {rows.max()}, but there are {count} windows, whose rows are numbered from 0 to {count - 1}.")


def fit_jobs(estimator: Any, windows: Windows, jobs: list[FitJob], folder: str | Path | None = None, processes: int | None = None) -> list[Any]:
    """A fitted estimator a job: `fit_many`, told the folder and how many processes may train where it asks for them and there is something to tell."""
    asked, ways = inspect.signature(estimator.fit_many).parameters, {"folder": folder, "processes": processes}
    return estimator.fit_many(windows, jobs, **{name: way for name, way in ways.items() if way is not None and name in asked})


@contextmanager
def named(name: str) -> Iterator[None]:
    """An error says whose it is: in its sentence, or in a note where it holds more than one. It stays the error that it is, from where it is."""
    try:
        yield
    except Exception as error:
        if name and error.args == (str(error),):
            error.args = (f"{name}: {error}",)
        elif name:
            error.add_note(f"{name}.")
        raise


def _row_numbers(rows: object, part: str) -> np.ndarray:
    numbers = np.asarray(rows)
    if numbers.size and (numbers.ndim != 1 or numbers.dtype.kind not in "iu"):
        raise ValueError(f"{part} holds {numbers.dtype} of {numbers.shape}; it must be row numbers: np.flatnonzero makes them of a mask.")
    if numbers.size and numbers.min() < 0:
        raise ValueError(f"{part} holds the row {numbers.min()}; rows are numbered from 0 upwards.")
    return numbers.astype(np.int64)

"""Fold, and the one place where train comes about: the complement of test, less validation and the guard gap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sigvit.evidence.groups import Groups
from sigvit.evidence.intervals import guarded

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of a window set; row numbers are sorted and in no two parts.

    Attributes
    ----------
    train, validation, test : sorted int64 row numbers. Rows in none of them lie in a guard gap, or outside of what the protocol divides.
    number : the fold's number in its list.
    protocol : "within_session", "cross_session", "cross_subject", "shipped" or a name that says what is unusual.
    left_out : what the test part is, in words: "subject 03", "subject 03, session 1, run 2".

    Raises
    ------
    ValueError : a part that isn't strictly increasing whole numbers from 0.

    >>> Fold(train=[0, 1, 4], validation=[], test=[2, 3]).train
    array([0, 1, 4])
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    number: int = 0
    protocol: str = ""
    left_out: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "number", int(self.number))
        for part in PARTS:
            object.__setattr__(self, part, _row_numbers(getattr(self, part), f"The {part} part of fold {self.number}"))


def _row_numbers(rows: np.ndarray, place: str) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.size == 0:
        return np.empty(0, np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(f"{place} is an array of {rows.dtype} of shape {rows.shape}; give row numbers, one-dimensional integers.")
    rows = rows.astype(np.int64)
    if rows.min() < 0:
        raise ValueError(f"{place} holds row {rows.min()}; rows are counted from 0, not from the end.")
    behind = np.flatnonzero(np.diff(rows) <= 0)
    if len(behind):
        wrong = f"row {rows[behind[0] + 1]} behind row {rows[behind[0]]}"
        raise ValueError(f"{place} holds {wrong}; row numbers are sorted, each once, as np.unique(rows) makes them.")
    return rows


@dataclass(frozen=True)
class Division:
    """How a splitter divides: the groups, the share of the rest that validation takes (0: none), and the seconds that must lie between parts."""

    groups: Groups
    validation: float
    gap_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation is {self.validation}; give the share of the training side that validation takes, from 0 (none) to below 1.")

    def fold(self, rows: np.ndarray, test: np.ndarray, keys: list[np.ndarray | str], number: int, protocol: str, left_out: str) -> Fold:
        """The fold that judges `test`; train is the rest of `rows` less validation and the guard.

        `keys` are the groups that validation keeps whole, the first that can spare one counts: codes of every row, or "blocks" in time.
        """
        rest = np.setdiff1d(rows, test)
        rest = rest[~guarded(self.groups, test, rest, self.gap_s)]
        name = f"Fold {number} ({left_out} left out)"
        if protocol not in ("shipped", "shuffled_trials"):
            self._require_mixed_recordings(test, rest, name)
        self._require_classes(rows, rest, len(rows) - len(test) - len(rest), name)
        if self.validation == 0:
            return Fold(rest, rest[:0], test, number, protocol, left_out)
        for validation in self._candidates(rest, keys, number):
            train = np.setdiff1d(rest, validation)
            train = train[~guarded(self.groups, validation, train, self.gap_s)]
            if len(np.unique(self.groups.label[train])) == len(np.unique(self.groups.label[rows])):
                return Fold(train, validation, test, number, protocol, left_out)
        raise ValueError(f"{name} has {len(rest)} rows to train on, too few to spare a validation part and keep every class; validation=0 asks for none.")

    def fold_with(self, validation: np.ndarray, test: np.ndarray, protocol: str, left_out: str) -> Fold:
        """The one fold whose validation and test rows are both given; train is all the rest less the guard."""
        rest = np.setdiff1d(np.arange(len(self.groups)), np.concatenate([validation, test]))
        validation = validation[~guarded(self.groups, test, validation, self.gap_s)]
        train = rest[~guarded(self.groups, np.concatenate([validation, test]), rest, self.gap_s)]
        self._require_classes(np.arange(len(self.groups)), train, len(rest) - len(train), f"Fold 0 ({left_out} left out)")
        return Fold(train, validation, test, 0, protocol, left_out)

    def _require_classes(self, rows: np.ndarray, rest: np.ndarray, n_guarded: int, name: str) -> None:
        labels = self.groups.names["label"]
        classes = sorted(set(labels[rows]))
        there = set(labels[rest])
        lacking = [label for label in classes if label not in there]
        if len(classes) < 2:
            raise ValueError(f"{name}: all {len(rows)} rows that it divides are of class {classes[0]!r}; a classifier needs two. Leave these rows out by name.")
        if lacking:
            guard = f" ({n_guarded} others lie too near the test part or share its trials)" if n_guarded else ""
            raise ValueError(
                f"{name} would train on {len(rest)} rows{guard} without class {', '.join(map(repr, lacking))}; "
                "leave other groups out, or drop these rows by name."
            )

    def _require_mixed_recordings(self, test: np.ndarray, rest: np.ndarray, name: str) -> None:
        shared = np.intersect1d(self.groups.recording[test], self.groups.recording[rest])
        if len(shared) and self.groups.label_follows_recording:
            raise ValueError(
                f"{name} would train and test inside the same recordings ({len(shared)}), and every recording holds one class: what identifies the recording "
                "would identify the class. Leave whole recordings or subjects out (cross_subject)."
            )

    def _candidates(self, rest: np.ndarray, keys: list[np.ndarray | str], turn: int) -> Iterator[np.ndarray]:
        """Possible validation parts, the best first: whole groups of the first key that can spare one and leave every class to train on."""
        for key in keys:
            codes = self._codes(rest, key)
            units, member = np.unique(codes, return_inverse=True)
            has = np.zeros((len(units), self.groups.label.max() + 1), bool)
            has[member, self.groups.label[rest]] = True
            has = has[:, has.any(axis=0)]
            if not (has & (has.sum(axis=0) == 1)).any(axis=1).all():  # some unit is not the last of any class
                for chosen in _neighbours(has, np.bincount(member), self.validation, turn):
                    yield rest[np.isin(member, chosen)]
                return

    def _codes(self, rest: np.ndarray, key: np.ndarray | str) -> np.ndarray:
        if isinstance(key, str):
            return block_codes(self.groups, rest, max(2, round(1 / self.validation)), inside_classes=key == "blocks inside classes")
        return key[rest]


def folds_of_units(codes: np.ndarray, make: Callable[[np.ndarray, int], list[Fold]], undividable: str, otherwise: str) -> list[Fold]:
    """`make(rows, number of the next fold)` for every unit; those that it refuses are left out, unless `undividable` is "refuse", or it refuses all."""
    if undividable not in ("refuse", "leave out"):
        raise ValueError(f"undividable is {undividable!r}; it is 'refuse' or 'leave out'.")
    folds: list[Fold] = []
    refusal = None
    for unit in np.unique(codes):
        try:
            folds += make(np.flatnonzero(codes == unit), len(folds))
        except ValueError as error:
            refusal = error
            if undividable == "refuse":
                raise ValueError(f"{error} Or: undividable='leave out' {otherwise}") from error
    if refusal is not None and not folds:
        raise refusal
    return folds


def _neighbours(has: np.ndarray, counts: np.ndarray, share: float, turn: int) -> Iterator[np.ndarray]:
    """Neighbouring units that leave every class, beginning at `turn`; first those that hold every class, and of them those with about the share of rows.

    `has` (units, classes) says which classes a unit holds, `counts` how many rows.
    """
    n_units, wanted_rows = len(has), share * counts.sum()
    wanted = min(max(1, round(share * n_units)), n_units - 1)
    firsts, holders = (turn + np.arange(n_units)) % n_units, has.sum(axis=0)
    held, rows = (np.cumsum(np.concatenate([0 * each[:1], each, each]), axis=0) for each in (has.astype(np.int64), counts))
    others: list[np.ndarray] = []
    for size in [*range(wanted, min(2 * wanted + 1, n_units - 1) + 1), *range(wanted - 1, 0, -1)]:
        inside, misses = held[firsts + size] - held[firsts], np.abs(rows[firsts + size] - rows[firsts] - wanted_rows)
        leaves_all, lacks_class = (inside < holders).all(axis=1), (inside == 0).any(axis=1)
        good = leaves_all & ~lacks_class & (misses <= wanted_rows / 2)
        yield from ((first + np.arange(size)) % n_units for first in firsts[good])
        others.append(np.stack([lacks_class, misses, firsts, np.full(n_units, size)])[:, leaves_all & ~good])
    lacks_class, misses, begins, sizes = np.concatenate(others, axis=1)
    for number in np.lexsort((misses, lacks_class)):  # stable: of equal ones the first
        yield (int(begins[number]) + np.arange(int(sizes[number]))) % n_units


def block_codes(groups: Groups, rows: np.ndarray, n_blocks: int, inside_classes: bool = False) -> np.ndarray:
    """The block, 0 … n_blocks - 1, of every row: equally many trials a block, contiguous in time, whole trials.

    Where a recording has no clock its row order isn't time either; there the blocks are cut inside each class, in row order.
    """
    codes = np.empty(len(rows), np.int64)
    in_class = ~groups.clocked[rows] | inside_classes
    classes = np.where(in_class, groups.label[first_rows(groups, rows)], -1)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        codes[members] = _equal_blocks(trial_order(groups, rows[members]), n_blocks)
    return codes


def first_rows(groups: Groups, rows: np.ndarray) -> np.ndarray:
    """For every row, the first row of its trial: the earliest on the clock, or in row order where there is none."""
    start_s = np.where(groups.clocked[rows], groups.start_s[rows], 0.0)
    order = np.lexsort((rows, start_s, groups.trial[rows]))
    _, first, inverse = np.unique(groups.trial[rows][order], return_index=True, return_inverse=True)
    result = np.empty(len(rows), np.int64)
    result[order] = rows[order][first][inverse]
    return result


def trial_order(groups: Groups, rows: np.ndarray) -> np.ndarray:
    """For every row the position of its trial, 0 …, by recording and time (row number without a clock); the rows of a trial share it."""
    first = first_rows(groups, rows)
    distinct, inverse = np.unique(first, return_inverse=True)
    start_s = np.where(groups.clocked[distinct], groups.start_s[distinct], 0.0)
    order = np.lexsort((distinct, start_s, groups.recording[distinct]))
    position = np.empty(len(distinct), np.int64)
    position[order] = np.arange(len(distinct))
    return position[inverse]


def _equal_blocks(positions: np.ndarray, n_blocks: int) -> np.ndarray:
    return positions * n_blocks // (positions.max() + 1)

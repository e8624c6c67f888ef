"""Set warnings: each thing a reader must know is said where it is so, and only there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.certificate import certify
from sigvit.evidence.folds import Fold, cross_session, cross_subject, shipped, shuffled_trials, within_session
from sigvit.evidence.groups import read_groups
from sigvit.evidence.set_warnings import set_warnings


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Large and even: nothing to warn of."""
    return synthetic_windows(n_subjects=5, n_sessions=3, n_runs=3, n_trials=14).metadata


def said(table: pd.DataFrame, folds: list[Fold]) -> list[str]:
    return set_warnings(read_groups(table, may_lack=("label", "trial")), folds)


@pytest.mark.parametrize("splitter", [cross_subject, cross_session, within_session])
def test_an_even_set_under_an_honest_protocol_has_no_warning(table: pd.DataFrame, splitter) -> None:
    assert said(table, splitter(table)) == []


def cases(table: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, list[Fold]]]:
    """What is to be said → a set and division of which it must be said."""
    by_subject = table.assign(label=np.where(table.subject.astype(int) < 3, "patient", "control"))
    rare = table.assign(label=np.where(table.trial < 3, "target", "standard"))
    no_clock = table.assign(start_s=np.nan, stop_s=np.nan)
    few = table[table.trial < 2].reset_index(drop=True)
    uneven = table[(table.subject != "03") | (table.trial < 3)].reset_index(drop=True)
    one_session = table[(table.subject != "03") | (table.session == "1")].reset_index(drop=True)
    trials = table.assign(shipped=np.where(table.trial == 0, "test", "train"), trial=table.trial // 2)
    folds = cross_subject(table)
    return {
        "The label is constant in every subject: the effective sample size is 5 subjects, not 630 windows": (by_subject, cross_subject(by_subject)),
        "A class is missing from the test part of 5 of 5 folds: fold 0 (subject 01)": (by_subject, cross_subject(by_subject)),
        "The classes are very unequal (standard 495, target 135): a constant has accuracy 0.79": (rare, cross_subject(rare)),
        "The source gives no clock: whether these windows overlap": (no_clock, cross_subject(no_clock)),
        "blocks inside classes protect little": (no_clock, within_session(no_clock)),
        "90 trials are tested in all: the 95 % interval of an accuracy near .5 is ± 10 points": (few, cross_subject(few)),
        "The subjects are very unequal: subject 01 has 126 windows, subject 03 27": (uneven, cross_subject(uneven)),
        "42 of 546 windows are tested in no fold, of subject 03": (one_session, cross_session(one_session)),
        "Single trials were shuffled": (table, shuffled_trials(table)),
        "(45 of 630 windows, fold 0) lie too near another part, or belong to one of its trials, and are in no part (shipped)": (trials, shipped(trials)),
        "126 windows are tested in several folds": (table, [*folds, dataclasses.replace(folds[0], number=5)]),
        "The metadata lacks trial": (table.drop(columns="trial"), folds),
    }


@pytest.mark.parametrize("sentence", list(cases(synthetic_windows(n_subjects=5, n_sessions=3, n_runs=3, n_trials=14).metadata)))
def test_what_is_so_is_said(table: pd.DataFrame, sentence: str) -> None:
    assert sentence in "\n".join(said(*cases(table)[sentence]))
    assert sentence not in "\n".join(said(table, cross_subject(table)))


def test_windows_that_count_twice_in_one_part_are_told() -> None:
    windows = synthetic_windows(n_subjects=4, n_trials=50)
    windows.values[5] = windows.values[6]
    assert (
        "1 windows are byte-identical to an earlier one; where they share a part they count twice."
        in certify(windows, cross_subject(windows.metadata)).warnings
    )


def test_a_guard_that_eats_the_training_part_is_told() -> None:
    metadata = synthetic_windows(n_subjects=1, n_runs=1, n_trials=90).metadata
    (sentence,) = [text for text in said(metadata, within_session(metadata, guard_s=20.0)) if "lie too near" in text]
    assert sentence.endswith("are in no part (within_session).")

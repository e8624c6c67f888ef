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
from sigvit.evidence.set_warnings import rejection_warnings, set_warnings


def metadata() -> pd.DataFrame:
    """Large and even: nothing to warn of."""
    return synthetic_windows(n_subjects=5, n_sessions=3, n_runs=3, n_trials=14).metadata


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return metadata()


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
    some_clocks = table.assign(**{column: table[column].where(table.subject != "02") for column in ("start_s", "stop_s")})
    by_subject_shipped = no_clock.assign(shipped=np.where(no_clock.subject == "02", "test", "train"))
    two = table[(table.session != "3") & (table.run != "3")].reset_index(drop=True)
    of = {name: np.flatnonzero(table.subject == name) for name in ("01", "02", "03", "04", "05")}
    chosen_on_tested = Fold(of["01"], of["03"][:40], of["03"][40:], 0, "index_pairs")
    several = [dataclasses.replace(folds[0], protocol=""), Fold(np.r_[of["01"][:60], of["02"][:60]], [], np.r_[of["01"][60:], of["02"][60:]], 1)]
    three = table.assign(label=np.where((table.trial == 3) & (table.subject != "02"), "third", table.label))
    left = of["01"][table.label[of["01"]].to_numpy() == "left"]
    torn = Fold(np.r_[of["01"], of["02"][:60]], np.r_[of["02"][60:], of["03"]], of["04"], 0, "cross_subject")
    thinned = [folds[0], dataclasses.replace(folds[1], train=folds[1].train[:-91])]
    split = table.assign(shipped=np.where(table.subject == "02", "test", "train"))
    (given,) = shipped(split)
    return {
        "The source gives no clock for 126 of 630 windows: whether these windows overlap": (some_clocks, folds),
        "how near they lie, could not be compared; their row order isn't time": (by_subject_shipped, shipped(by_subject_shipped)),
        "In 10 of 10 folds validation shares a session with train": (two, cross_session(two)),
        "In 20 of 20 folds validation shares a run with train": (two, within_session(two)),
        "In 1 of 1 folds validation shares a subject with train": (table, [torn]),
        "Train and test share subjects (up to 1 in a fold; the protocol is index_pairs)": (table, [chosen_on_tested]),
        "Train and test share subjects (up to 2 in a fold; the protocol is no protocol)": (table, several),
        "Without labels, classes were not looked at.": (table.drop(columns="label"), folds),
        "There is one class only, 'a': nothing can be told apart.": (table.assign(label="a"), folds),
        "A class is missing from the test part of 1 of 5 folds: fold 1 (subject 02)": (three, folds),
        "A class is missing from the train part of 1 of 1 folds: fold 0 (one)": (table, [Fold(left, of["02"], of["03"], 0, "cross_subject", "one")]),
        "A class is missing from the validation part of 1 of 1 folds": (table, [Fold(of["02"], left, of["03"], 0, "cross_subject", "one")]),
        "The classes are very unequal (a 210, b 420): a constant has accuracy 0.67": (table.assign(label=np.resize(list("abb"), 630)), folds),
        "Up to 14% of a fold (91 of 630 windows, fold 1) lie too near another part": (table, thinned),
        "Up to 0% of a fold (1 of 630 windows, fold 0)": (split, [dataclasses.replace(given, train=given.train[1:])]),
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


CASES, EVEN = cases(metadata()), cross_subject(metadata())


@pytest.mark.parametrize("sentence", list(CASES))
def test_what_is_so_is_said(table: pd.DataFrame, sentence: str) -> None:
    assert sentence in "\n".join(said(*CASES[sentence]))
    assert sentence not in "\n".join(said(table, EVEN))


def unsaid(table: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, list[Fold]]]:
    """What must not be said → a set and division that is near to it."""
    folds = cross_subject(table)
    no_clock = table.assign(start_s=np.nan, stop_s=np.nan)
    one_patient = table.assign(label=np.where(table.subject == "02", "left", table.label))
    alone = table[table.subject == "01"].reset_index(drop=True)
    return {
        "blocks": (no_clock, folds),
        "A class is missing from the validation part": (table, cross_subject(table, validation=0)),
        "The label is constant in every subject": (one_patient, folds),
        "constant in every subject": (table.assign(label="a"), folds),
        "effective sample size": (alone.assign(label="a"), within_session(alone)),
        "tested in no fold": (table, folds[:3]),
        "share subjects": (table, shuffled_trials(table)),
    }


UNSAID = unsaid(metadata())


@pytest.mark.parametrize("words", list(UNSAID))
def test_what_is_not_so_is_not_said(words: str) -> None:
    assert words not in "\n".join(said(*UNSAID[words]))


def test_several_windows_of_a_trial_are_one_trial_that_is_tested(table: pd.DataFrame) -> None:
    coarse = table.assign(trial=table.trial // 7)
    assert any(sentence.startswith("90 trials are tested in all") for sentence in said(coarse, cross_subject(coarse)))


def test_limits_that_were_learned_are_told_from_smallest_to_largest() -> None:
    limits = {"one": {"reject_v": 1.2e-4}, "two": {"reject_v": 8e-5}, "three": {"reject_v": None}}
    dropped = {"windows": [{"peak_to_peak_v": 3e-4}, {"why": "it lies outside of the recording"}]}
    page = {"cut": {"reject_v": "autoreject"}, "recordings": limits, "dropped": dropped}
    (sentence,) = rejection_warnings(page)
    assert "(from 80 to 120 µV peak to peak); 1 windows were dropped by them" in sentence
    assert rejection_warnings({**page, "cut": {"reject_v": 1e-4}}) == []


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

"""Folds by name are those of the functions, with what a caller could forget."""

from dataclasses import replace

import numpy as np
import pytest

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import folds
from sigvit.evidence.protocols import PROTOCOLS, folds_of


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_name_gives_the_function_s_folds_apart_by_the_filters_of_the_windows(protocol):
    windows = replace(synthetic_windows(n_subjects=3, n_sessions=2, n_trials=12), filter_support_s=0.7)
    windows.metadata["shipped"] = np.where(windows.metadata["trial"] % 3 == 0, "test", "train")
    ours = folds_of(windows, protocol, guard_s=0.3)
    theirs = getattr(folds, protocol)(windows.metadata, guard_s=0.3, filter_support_s=0.7)
    assert [(fold.number, fold.protocol, fold.left_out) for fold in ours] == [(fold.number, fold.protocol, fold.left_out) for fold in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("train", "validation", "test"))


def test_a_session_too_small_to_divide_is_left_out():
    windows = synthetic_windows(n_subjects=3, n_runs=1, n_trials=12)
    windows = windows[np.flatnonzero((windows.metadata["subject"] != "02") | (windows.metadata["trial"] % 12 < 2))]
    assert {fold.left_out.partition(",")[0] for fold in folds_of(windows, "within_session")} == {"subject 01", "subject 03"}


def test_what_is_no_protocol_and_a_number_of_shipped_parts_get_a_sentence():
    windows = synthetic_windows(n_subjects=2)
    with pytest.raises(ValueError, match="There is no protocol 'loso'; there are shipped, within_session"):
        folds_of(windows, "loso")
    with pytest.raises(ValueError, match="k is 3, but nothing reads it: the split that the page ships is one fold"):
        folds_of(windows, "shipped", 3)

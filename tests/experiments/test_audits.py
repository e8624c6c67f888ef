"""The audits split as the habits that they are named after do."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines, folds
from sigvit.evidence.certificate import Leak, certify

FILE = Path(__file__).parents[2] / "benchmarks" / "audits.py"


@pytest.fixture(scope="module")
def audits() -> Iterator[ModuleType]:
    specification = importlib.util.spec_from_file_location("audits", FILE)
    module = importlib.util.module_from_spec(specification)
    sys.modules["audits"] = module  # dataclasses look for their module there
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FILE.parent))
        specification.loader.exec_module(module)
    yield module
    for name in ("audits", "page"):
        del sys.modules[name]


@pytest.fixture(scope="module")
def windows():
    return synthetic_windows(n_subjects=2, n_sessions=2, n_runs=2, n_trials=10)


def test_shuffled_folds_stay_inside_a_session_and_judge_every_window_once(audits, windows):
    pairs = audits.shuffled_within_session(windows)
    assert sorted(np.concatenate([test for _, test in pairs])) == list(range(len(windows)))
    for train, test in pairs:
        rows = windows.metadata.iloc[np.concatenate([train, test])]
        assert len(rows) == 20
        assert len(rows[["subject", "session"]].drop_duplicates()) == 1


def test_folds_within_trials_train_and_test_on_every_recording(audits, windows):
    pairs = audits.fold_within_trial(windows)
    assert len(pairs) == 5
    for train, test in pairs:
        counts = [windows.metadata.iloc[rows]["recording"].value_counts() for rows in (train, test)]
        assert set(counts[0]) == {8}
        assert set(counts[1]) == {2}
        assert len(counts[0]) == len(counts[1]) == 8


def test_overlapping_windows_are_cuts_of_their_trials_and_leak_when_shuffled(audits, windows):
    cut = audits.overlapping(windows, 0.5, 0.25)
    assert cut.values.shape == (3 * len(windows), 3, 32)
    np.testing.assert_array_equal(cut.values[len(windows) + 7], windows.values[7, :, 16:48])
    assert cut.metadata["start_s"][len(windows) + 7] == windows.metadata["start_s"][7] + 0.25
    rows = np.random.default_rng(0).permutation(len(cut))
    with pytest.raises(Leak, match="share trials"):
        certify(cut, [(np.sort(rows[:200]), np.sort(rows[200:]))])


def test_a_score_comes_with_what_certify_finds(audits, windows):
    score, verdict = audits.scored(baselines.shrinkage_lda(4), windows, folds.cross_subject(windows.metadata))
    assert 0 <= score <= 1
    assert verdict == "proved"
    rows = np.arange(len(windows))
    pairs = [(rows[rows % 2 == 0], rows[rows % 2 == 1])]
    windows.metadata["trial"] //= 2
    assert audits.scored(baselines.shrinkage_lda(4), windows, pairs)[1] == "leak: trial (80)"

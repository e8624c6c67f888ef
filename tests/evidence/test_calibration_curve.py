"""The calibration curve: one set of test windows, an interval for each number of trials, and more trials help where people differ."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines, folds
from sigvit.evidence.alignment import Alignment
from sigvit.evidence.calibration_curve import calibration_curve


@pytest.fixture(scope="module")
def windows():
    """People whose sign differs: others say nothing of the next one, the own trials all."""
    windows = synthetic_windows(n_subjects=4, n_runs=2, n_trials=20, effect=3.0)
    windows.values[windows.metadata["subject"].isin(["02", "04"]).to_numpy()] *= -1
    return windows


def test_the_curve_has_an_interval_for_each_n_on_the_same_windows_and_rises(windows, tmp_path):
    curve = calibration_curve({"LDA": baselines.shrinkage_lda(8), "Majority": baselines.majority()}, windows, (0, 5, 11), folder=tmp_path)
    table = curve.table[curve.table["pipeline"] == "LDA"].set_index("n")
    assert table.index.tolist() == [0, 5, 11]
    assert (table["low"] <= table["score"]).all()
    assert (table["score"] <= table["high"]).all()
    assert set(table["verdict"]) == {"proved"}
    assert table["score"][11] > table["score"][0]
    tested = [results.predictions["row"].unique() for results in curve.results.values()]
    assert all(np.array_equal(rows, tested[0]) for rows in tested)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n-0", "n-11", "n-5"]


def test_numbers_of_numpy_are_numbers(windows):
    curve = calibration_curve({"Majority": baselines.majority()}, windows, np.array([3, 0]))
    assert list(curve.results) == [0, 3]


def test_no_numbers_are_refused(windows):
    with pytest.raises(ValueError, match="no numbers of calibration trials"):
        calibration_curve({"Majority": baselines.majority()}, windows, ())


def test_what_is_asked_for_reaches_every_n() -> None:
    """Windows lie a second apart, filters reach .7 s; session 2 of the first person is too short. An iterator of seeds is there for every n."""
    whole = synthetic_windows(n_subjects=2, n_sessions=3, n_runs=1, n_trials=23)
    short = (whole.metadata["subject"] == "01") & (whole.metadata["session"] == "2") & (whole.metadata["trial"] > 5)
    windows = replace(whole[np.flatnonzero(~short)], filter_support_s=0.7)
    pipeline = make_pipeline(Alignment(mode="transductive"), baselines.majority())
    curve = calibration_curve({"aligned": pipeline}, windows, (5, 0), by="session", undividable="leave out", seeds=iter((3, 7)))
    for n, results in curve.results.items():
        expected = folds.calibrate(windows.metadata, n, by="session", reserve=5, undividable="leave out", filter_support_s=0.7)
        results.certificate.require_match(windows, expected)
        assert len(results.certificate.sizes) == 5
        assert set(results.table["seed"]) == {3, 7}
    assert curve.table[["n", "verdict"]].to_numpy().tolist() == [[0, "tolerated"], [5, "tolerated"]], "test windows were read before they were judged"


def test_numbers_of_processes_reach_the_fits(windows):
    with pytest.raises(ValueError, match="n_jobs == 0"):
        calibration_curve({"Majority": baselines.majority()}, windows, (0,), n_jobs=0)

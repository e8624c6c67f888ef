"""The calibration curve: one set of test windows, an interval for each number of trials, and more trials help where people differ."""

import numpy as np
import pytest

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines
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

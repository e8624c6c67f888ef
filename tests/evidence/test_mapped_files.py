"""Processes that open mapped samples by name fit what was certified, or nothing."""

import os
from dataclasses import replace

import joblib
import numpy as np
import pytest

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines
from sigvit.evidence.cross_validation import cross_validate
from sigvit.evidence.fitting import Fit
from sigvit.evidence.mapped_files import mapped_files, require_same_files
from sigvit.evidence.shares import fit_share


@pytest.fixture
def saved(tmp_path):
    windows = synthetic_windows(n_subjects=3)
    replace(windows, control_values=windows.values[:, :, :13].copy()).save(tmp_path / "set")
    return tmp_path / "set"


def save_others(folder) -> None:
    """The same shape, so that nothing but the samples tells."""
    windows = sigvit.Windows.load(folder)
    replace(windows, values=windows.values * np.float32(1.5)).save(folder, overwrite=True)


def test_a_set_that_was_saved_anew_is_refused_where_processes_would_read_it(saved):
    old = sigvit.Windows.load(saved)
    folds = sigvit.folds.cross_subject(old.metadata)
    save_others(saved)
    with pytest.raises(ValueError, match=r"values\.npy, have been replaced by others; .*open the set again"):
        cross_validate({"Majority": baselines.majority()}, old, folds, n_jobs=2)
    assert len(cross_validate({"Majority": baselines.majority()}, old, folds).table) == 3
    with joblib.parallel_config("threading"):
        assert mapped_files(old) == {}
    os.rename(saved, saved.with_name("moved"))
    with pytest.raises(ValueError, match=r"values\.npy, aren't there any more"):
        mapped_files(old)


def test_a_worker_refuses_what_was_replaced_since(saved):
    windows = sigvit.Windows.load(saved)
    fold, files = sigvit.folds.cross_subject(windows.metadata)[0], mapped_files(windows[:7])  # a slice is a view of the map
    assert len(files) == 2
    require_same_files(files)
    save_others(saved)
    with pytest.raises(ValueError, match="were replaced while the fits ran"):
        fit_share(0, "Majority", [Fit(fold, 0)], baselines.majority(), windows, None, files=files)


@pytest.mark.parametrize("order", ["C", "F"])
def test_samples_of_either_order_and_with_gaps_are_the_same_as_themselves(tmp_path, order):
    values = np.asarray(np.random.default_rng(0).normal(size=(60, 3, 67)), np.float32, order)
    values[0, 0, 0] = np.nan
    np.save(tmp_path / "values.npy", values)
    windows = replace(synthetic_windows(n_subjects=3), values=np.load(tmp_path / "values.npy", mmap_mode="r"))
    assert list(mapped_files(windows)) == [str(tmp_path / "values.npy")]
    assert mapped_files(windows[np.arange(7)]) == {}  # chosen rows are in memory

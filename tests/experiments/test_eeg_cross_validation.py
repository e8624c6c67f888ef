"""The cross-validation script: what it is asked for is what is divided."""

import importlib
from pathlib import Path

import pytest

from sigvit.data.synthetic import synthetic_windows

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module("eeg_cross_validation")


@pytest.mark.parametrize("protocol", ["auto", "shipped"])
def test_a_number_of_groups_is_refused_where_the_page_ships_its_split(script, protocol):
    windows = synthetic_windows(n_trials=6)
    windows.metadata["shipped"] = ["train"] * 24 + ["test"] * 12
    assert len(script.make_folds(script.Configuration(protocol=protocol), windows)[1]) == 1
    with pytest.raises(ValueError, match="k is 3, but nothing reads it: the split that the page ships is one fold"):
        script.make_folds(script.Configuration(protocol=protocol, k=3), windows)
    assert len(script.make_folds(script.Configuration(protocol="cross_subject", k=3), windows)[1]) == 3

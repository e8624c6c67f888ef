"""The cross-validation script: what it is asked for is what is divided."""

import importlib
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import sigvit
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


def test_more_seeds_go_on_in_the_same_folder(script, tmp_path, monkeypatch):
    monkeypatch.setattr(sigvit, "open_dataset", lambda name, folder=None: synthetic_windows(n_trials=6))
    written = []
    for seeds in (1, 2):
        script.main(script.Configuration(seeds=seeds, pipelines=("CSP + LDA",), output=tmp_path, jobs=1))
        written.append({path: path.stat().st_mtime_ns for path in (tmp_path / "fits").glob("*.json")})
    assert written[1].items() >= written[0].items()
    with pytest.raises(ValueError, match="another protocol"):
        script.main(script.Configuration(seeds=2, guard_s=1.0, pipelines=("CSP + LDA",), output=tmp_path, jobs=1))


@pytest.mark.parametrize(("one_class", "sentence"), [(False, "in 95 of 100 sets."), (True, "No test part holds two classes, so there is no score.")])
def test_chance_has_a_line_only_where_there_is_a_score(script, one_class, sentence):
    windows = synthetic_windows(n_subjects=4, n_trials=7)
    if one_class:
        windows.metadata["label"] = windows.labels = np.where(windows.metadata.subject.isin(["01", "02"]), "patient", "control")
    results = sigvit.cross_validate({"majority": sigvit.baselines.majority()}, windows, sigvit.folds.cross_subject(windows.metadata))
    console = Console(file=io.StringIO(), width=200)
    script.print_summary(console, results)
    assert sentence in console.file.getvalue()
    assert "Chance stays below nan" not in console.file.getvalue()

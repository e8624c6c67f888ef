"""The words of `benchmarks/eeg_accuracy.py` about rows that differ in what could be fitted, and about sets without any signal."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.metrics import chance_line

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def accuracy():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        specification = importlib.util.spec_from_file_location("eeg_accuracy", FOLDER / "eeg_accuracy.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        yield module
    for name in ("page", "braindecode_networks"):
        sys.modules.pop(name, None)


def row(name, vit, **others):
    scores = {"guessing": 0.55, "ViT": vit, "ViT: network": vit - 0.1, "ViT: classical half": vit - 0.05, "Majority": 0.5}
    return pd.Series(scores | others, name=name)


def test_pipelines_that_a_set_does_not_allow_are_dashes_and_the_lead_is_over_one_that_ran_everywhere(accuracy):
    found = [row("a", 0.8, LDA=0.7, CSP=0.72), row("b", 0.9, LDA=0.65, EEGNet=0.95)]
    words = accuracy.report(found, "command")
    chance = "above what the best of all pipelines reaches in 95 of 100 sets without signal"
    assert f"first in 1 of the 2 rows above chance ({chance}); over these it is +0.175 beside LDA (permutation test over rows, p 0.5000)" in words
    assert "| a | 0.550 | 0.800 | 0.700 | 0.750 | 0.720 (CSP) | +0.080 | – |" in words
    assert "| b | 0.550 | 0.900 | 0.800 | 0.850 | 0.650 (LDA) | -0.050 | 0.950 (EEGNet) |" in words


def test_a_set_without_signal_gets_a_sentence(accuracy):
    words = accuracy.report([row("noise", 0.52, LDA=0.5)], "command")
    assert "No pipeline is above chance in any row." in words
    assert "| noise | 0.550 | 0.520 |" in words


def test_a_row_whose_test_parts_hold_one_class_is_named(accuracy):
    none = pd.Series(dict.fromkeys(("guessing", "ViT", "ViT: network", "ViT: classical half", "LDA"), np.nan), name="patients:cross_subject")
    sentence = "patients:cross_subject has no score: every test part holds one class; ask for K groups (patients:cross_subject:K)."
    alone, beside = accuracy.report([none], "command"), accuracy.report([row("noise", 0.52, LDA=0.5), none], "command")
    assert f"\n\n{sentence}\n\n" in alone
    assert f"No pipeline is above chance in any row. {sentence}" in beside


def test_what_a_certificate_warns_of_stands_under_the_name_of_its_row(accuracy, monkeypatch, capsys, tmp_path):
    windows = synthetic_windows()
    certificate = sigvit.certify(windows, sigvit.folds.cross_subject(windows.metadata))
    certificate.write(tmp_path / "certificate.json")
    monkeypatch.setattr("sys.argv", ["eeg_accuracy.py", "scp1:shipped", "--output", str(tmp_path)])
    monkeypatch.setattr(accuracy, "run", lambda *given: tmp_path)
    monkeypatch.setattr(accuracy, "scores", lambda name, folder: row(name, 0.52, LDA=0.5))
    accuracy.main()
    assert capsys.readouterr().out.startswith("\n".join(["scp1:shipped", *(f"warning {warning}" for warning in certificate.warnings)]))
    assert len(certificate.warnings) > 0


@pytest.mark.parametrize("wrong", ["scp1", "scp1:withinsession", "scp1:cross_subject:x", "scp1:cross_subject:2:3"])
def test_a_row_that_is_none_is_refused_before_anything_is_fitted(accuracy, monkeypatch, capsys, wrong):
    monkeypatch.setattr("sys.argv", ["eeg_accuracy.py", "scp1:shipped", wrong])
    monkeypatch.setattr(accuracy, "run", lambda *given: pytest.fail("fitted"))
    with pytest.raises(SystemExit):
        accuracy.main()
    assert f"{wrong} is no row; write PAGE:PROTOCOL" in capsys.readouterr().err


def test_the_line_is_that_of_all_pipelines_together(accuracy, tmp_path):
    windows = synthetic_windows(effect=0.0)
    folds = sigvit.folds.cross_subject(windows.metadata)
    pipelines = {"one": sigvit.baselines.majority(), "other": sigvit.baselines.shrinkage_lda(4)}
    results = sigvit.cross_validate(pipelines, windows, folds)
    results.table.to_csv(tmp_path / "results.csv", index=False)
    results.predictions.to_csv(tmp_path / "predictions.csv", index=False)
    counts = [np.bincount(windows.labels[fold.test] == "left") for fold in folds]
    assert accuracy.scores("row", tmp_path)["guessing"] == pytest.approx(chance_line(counts, alpha=0.025))

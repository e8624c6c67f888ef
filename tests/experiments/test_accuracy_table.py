"""The words of `benchmarks/eeg_accuracy.py` about rows that differ in what could be fitted, and about sets without any signal."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mne.decoding import Vectorizer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import make_pipeline

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evaluation.figures import draw_courses
from sigvit.evaluation.position_similarity import position_vectors
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
    cause = "patients:cross_subject has no score: every test part holds one class"
    sentence = f"{cause}; ask for K groups (patients:cross_subject:K), or for another protocol."
    alone, beside = accuracy.report([none], "command"), accuracy.report([row("noise", 0.52, LDA=0.5), none], "command")
    assert f"\n\n{sentence}\n\n" in alone
    assert f"No pipeline is above chance in any row. {sentence}" in beside


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ("a:within_session", "ask for K groups (a:within_session:K), or for another protocol"),
        ("a:cross_session:5", "ask for K groups (a:cross_session:K, K below 5), or for another protocol"),
        ("a:cross_subject:2", "ask for another protocol"),
        ("a:shipped", "ask for another protocol"),
    ],
)
def test_the_advice_is_one_that_the_row_can_take(accuracy, asked, advice):
    assert f"{asked} has no score: every test part holds one class; {advice}." in accuracy.report([row("a", 0.8, LDA=0.7), lone(asked)], "command")


def lone(name):
    return pd.Series(dict.fromkeys(("guessing", "ViT", "ViT: network", "ViT: classical half", "LDA"), np.nan), name=name)


@pytest.fixture
def own_page(tmp_path):
    """A page of somebody's own in a folder with a colon, whose class and subject are words that tables read as missing."""
    windows = synthetic_windows(n_subjects=3, n_runs=1, n_trials=14, classes=("null", "right"), effect=3.0)
    folder = tmp_path / "lab: gestures"
    folder.mkdir()
    subjects = windows.metadata["subject"].replace({"01": "NA"}).to_numpy(str)
    trial = np.arange(len(windows))
    np.savez(folder / "set.npz", values=windows.values, label=windows.labels.astype(str), subject=subjects, trial=trial, names=windows.electrodes, rate=[64.0])
    page = folder / "own.toml"
    page.write_text(
        'title = "A"\ntask = "Tell."\nlicence = "none"\ncitation = "nobody"\nneeds = "a file"\n'
        f'[source]\nkind = "arrays"\nfolder = "{folder}"\nfiles.all = "set.npz"\nvalues = "values"\nlabel = "label"\nunit = "V"\n'
        'sampling_rate = "rate"\nelectrodes = "names"\nsubject = "subject"\ntrial = "trial"\n[[events]]\nlabels = { null = "null", right = "right" }\n'
    )
    return page


@pytest.fixture
def quick(accuracy, monkeypatch):
    """Only what fits at once, under the names that every row has."""
    lda, majority = sigvit.baselines.shrinkage_lda(4), sigvit.baselines.majority()
    monkeypatch.setattr(accuracy, "pipelines", lambda *given: {"ViT": lda, "ViT: network": lda, "ViT: classical half": lda, "Majority": majority})
    return accuracy


def test_words_that_mean_missing_elsewhere_are_names_here(quick, own_page, tmp_path):
    results = quick.run(f"{own_page}:cross_subject", 1, "none", 1, tmp_path / "out")
    found = quick.scores("own", results)
    counts = [np.array([7, 7])] * 3  # of "null" and "right" in every test part
    assert found["guessing"] == pytest.approx(chance_line(counts, alpha=0.0125))  # each of the four pipelines has its share of .05; the same sum twice
    assert found["ViT"] > 0.9
    assert set(results.table["subject"]) == {"NA", "02", "03"}


def test_a_row_that_is_refused_or_fails_stands_under_its_name_and_the_others_go_on(quick, own_page, tmp_path, monkeypatch, capsys):
    fine, refused, broken = f"{own_page}:cross_subject", f"{own_page}:shipped", f"{own_page}:cross_subject:3"
    run = quick.run
    monkeypatch.setattr(quick, "run", lambda *given: {}["lost"] if given[0] == broken else run(*given))
    monkeypatch.setattr("sys.argv", ["eeg_accuracy.py", refused, fine, broken, "--seeds", "1", "--jobs", "1", "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        quick.main()
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert f"{refused}\nThe metadata lacks 'shipped'" in out
    assert f"{broken}\nKeyError: 'lost'\n" in out
    last = out[out.rindex("# How accurate") :]
    assert f"{refused} has no result: The metadata lacks 'shipped'" in last
    assert f"{broken} has no result: KeyError: 'lost'" in last
    assert f"| {fine} | " in last
    assert err.count("Traceback") == 1  # of the fault, not of the refusal
    assert "KeyError" in err


@pytest.mark.parametrize(
    ("fault", "n_ways"),
    [
        (lambda: sigvit.folds.cross_subject(synthetic_windows().metadata, 99), 0),
        (lambda: Path("not there").read_text(), 0),
        (lambda: position_vectors(None), 1),
        (lambda: draw_courses(np.zeros((2, 5)), np.zeros(3), 64.0), 1),  # a ValueError, but of arguments that no line of ours looked at
    ],
)
def test_the_way_through_the_code_is_shown_of_all_that_nothing_refused(accuracy, fault, n_ways, capsys):
    with pytest.raises((ValueError, OSError, AttributeError, TypeError, StopIteration)) as caught:
        fault()
    accuracy.show_way(caught.value)
    assert capsys.readouterr().err.count("Traceback") == n_ways


@pytest.mark.parametrize(
    ("pipeline", "told", "is_shown"),
    [
        (sigvit.SignalViTClassifier(classical="none", ensemble=False), "classical is 'none'", False),
        (make_pipeline(Vectorizer(), LinearDiscriminantAnalysis(solver="none")), "The 'solver' parameter", True),
    ],
    ids=["refused by sigvit", "raised elsewhere"],
)
def test_in_other_processes_too_the_way_is_shown_only_of_what_sigvit_did_not_refuse(quick, own_page, tmp_path, monkeypatch, capsys, pipeline, told, is_shown):
    monkeypatch.setattr(quick, "pipelines", lambda *given: {"ViT": pipeline})
    monkeypatch.setattr("sys.argv", ["eeg_accuracy.py", f"{own_page}:cross_subject", "--seeds", "1", "--jobs", "2", "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        quick.main()
    out, err = capsys.readouterr()
    assert told in out
    assert ("Traceback" in err) == is_shown


def test_jobs_are_what_cross_validation_is_asked_for(quick, own_page, tmp_path, monkeypatch):
    asked = []
    real = sigvit.cross_validate

    def noted(*given, n_jobs, **others):
        asked.append(n_jobs)
        return real(*given, **others)

    monkeypatch.setattr(quick.sigvit, "cross_validate", noted)
    for options in ((), ("--jobs", "3")):
        monkeypatch.setattr("sys.argv", ["eeg_accuracy.py", f"{own_page}:cross_subject", "--seeds", "1", "--output", str(tmp_path / "out"), *options])
        quick.main()
    assert asked == [2, 3]


def test_whatever_a_network_raises_leaves_it_out(accuracy, capsys):
    class Odd:
        network = "odd"

        def build(self, *shape):
            return {}["heads"]

    assert not sys.modules["braindecode_networks"].can_read(Odd(), synthetic_windows())
    assert "synthetic: odd can't read windows of 3 × 67: KeyError: 'heads'" in capsys.readouterr().out


def test_what_a_certificate_warns_of_stands_under_the_name_of_its_row(quick, own_page, tmp_path, monkeypatch, capsys):
    row = f"{own_page}:cross_subject"
    monkeypatch.setattr("sys.argv", ["eeg_accuracy.py", row, "--seeds", "1", "--jobs", "1", "--output", str(tmp_path / "out")])
    quick.main()
    windows = sigvit.open_dataset(own_page)
    warnings = sigvit.certify(windows, sigvit.folds.cross_subject(windows.metadata)).warnings
    assert capsys.readouterr().out.startswith("\n".join([row, *(f"warning {warning}" for warning in warnings)]))
    assert len(warnings) > 0


@pytest.mark.parametrize("wrong", ["scp1", "scp1:withinsession", "scp1:cross_subject:x", "scp1:cross_subject:2:3", "scp1:cross_subject:1"])
def test_a_row_that_is_none_is_refused_before_anything_is_fitted(accuracy, monkeypatch, capsys, wrong):
    monkeypatch.setattr("sys.argv", ["eeg_accuracy.py", "scp1:shipped", wrong])
    monkeypatch.setattr(accuracy, "run", lambda *given: pytest.fail("fitted"))
    with pytest.raises(SystemExit):
        accuracy.main()
    assert f"{wrong} is no row; write PAGE:PROTOCOL" in capsys.readouterr().err


def test_the_line_is_that_of_all_pipelines_together(accuracy):
    windows = synthetic_windows(effect=0.0)
    folds = sigvit.folds.cross_subject(windows.metadata)
    pipelines = {"one": sigvit.baselines.majority(), "other": sigvit.baselines.shrinkage_lda(4)}
    results = sigvit.cross_validate(pipelines, windows, folds)
    counts = [np.bincount(windows.labels[fold.test] == "left") for fold in folds]
    assert accuracy.scores("row", results)["guessing"] == pytest.approx(chance_line(counts, alpha=0.025))

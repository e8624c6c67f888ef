"""Verify: an honest results folder is confirmed from its files alone, and every edit of them is refuted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines, verify
from sigvit.evidence import folds as splitters
from sigvit.evidence.alignment import Alignment
from sigvit.evidence.certificate import certify
from sigvit.evidence.cross_validation import cross_validate
from sigvit.evidence.groups import plain_name
from sigvit.evidence.metrics import calibration_error, score_predictions
from sigvit.evidence.results_folder import write_results
from sigvit.evidence.statistics import unit_of


def write_folder(folder: Path, windows, folds, pipelines: dict | None = None, **asked) -> Path:
    """What the experiment writes, without the report."""
    pipelines = pipelines or {"LDA": baselines.shrinkage_lda(), "dummy": baselines.majority()}
    results = cross_validate(pipelines, windows, folds, range(2), certify(windows, folds, **asked))
    folder.mkdir(exist_ok=True)
    results.table.to_csv(folder / "results.csv", index=False, lineterminator="\n")
    splitters.write_csv(folder / "folds.csv", folds, windows)
    digest = hashlib.sha256((folder / "results.csv").read_bytes()).hexdigest()
    results.certificate.with_results(digest, results.provenance).write(folder / "certificate.json")
    return folder


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    windows = synthetic_windows(n_subjects=3, n_sessions=2, n_trials=7)
    return write_folder(tmp_path_factory.mktemp("honest"), windows, splitters.cross_subject(windows.metadata))


@pytest.fixture
def folder(honest: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(honest, tmp_path / "copy"))


def edit_table(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame], rehash: bool = True) -> None:
    """Change a table; with `rehash` the forger also updates its hash in the certificate."""
    path = folder / f"{name}.csv"
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False, lineterminator="\n")
    if rehash:
        edit_certificate(folder, **{f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()})


def edit_certificate(folder: Path, **entries: object) -> None:
    path = folder / "certificate.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_an_honest_folder_is_confirmed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.verify(folder) == []
    assert verify.main([str(folder)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("CONFIRMED")
    assert "verdict 'proved': 3 folds, 12 fits" in text
    assert "not to be seen from these files: copied stretches" in text


def test_the_file_alone_does_it_without_sigvit(folder: Path, tmp_path: Path) -> None:
    """Copied out, run with an isolated interpreter that sees no installed package."""
    alone = Path(shutil.copy(verify.__file__, tmp_path / "verify.py"))
    run = subprocess.run([sys.executable, "-I", "-S", str(alone), str(folder)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("CONFIRMED")


@pytest.mark.parametrize("name", ["folds", "results"])
def test_an_edit_of_either_table_is_noticed(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / f"{name}.csv"
    path.write_bytes(path.read_bytes() + b"\n")
    assert any(f"{name}.csv was changed after the certificate" in finding for finding in verify.verify(folder))
    assert verify.main([str(folder)]) == 1
    assert capsys.readouterr().out.startswith("REFUTED")


def move_row(table: pd.DataFrame) -> pd.DataFrame:
    """A test row of fold 0 becomes a training row."""
    row = table.index[(table.fold == "0") & (table.part == "test")][3]
    table.loc[row, "part"] = "train"
    return table


def copy_bytes(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[table.row == "5", "sha256"] = table.sha256[table.row == "50"].iloc[0]
    return table


def overlap(table: pd.DataFrame) -> pd.DataFrame:
    """Row 50 is said to be of row 5's recording, three quarters of a second later."""
    for column in ("recording", "start_s", "stop_s"):
        table.loc[table.row == "50", column] = table[column][table.row == "5"].iloc[0]
    table.loc[table.row == "50", ["start_s", "stop_s", "trial"]] = ["6.85", "7.85", "other"]
    return table


def one_trial(table: pd.DataFrame) -> pd.DataFrame:
    for column in ("recording", "trial"):
        table.loc[table.row == "50", column] = table[column][table.row == "5"].iloc[0]
    return table


def twice(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table[(table.fold == "1") & (table.row == "5")].assign(part="test")])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (move_row, "share subjects"),
        (copy_bytes, "share byte-identical windows, such as row"),
        (overlap, "hold windows less than 0 s apart, such as row"),
        (one_trial, "share trials"),
        (lambda table: table.assign(subject=table.subject.replace("02", "1")), "hold the subjects 01 and 1, written alike"),
        (lambda table: table.assign(subject=table.subject.replace("02", "sub- 1")), "hold the subjects 01 and sub- 1, written alike"),
        (lambda table: table.assign(subject=table.subject.replace("02", "0\uff11")), "hold the subjects 01 and 0\uff11, written alike"),
        (twice, "share rows, such as row 5 and row 5"),
        (lambda table: table.assign(start_s=np.where(table.row == "5", "99.0", table.start_s)), "Row 5 starts at 99.0 s and stops at"),
        (lambda table: table.assign(label=np.where((table.row == "5") & (table.fold == "1"), "right", "left")), "describes row 5 in two ways"),
        (lambda table: table.assign(left_out=np.where(table.index == 7, "subject 09", table.left_out)), "describes fold 0 (subject 01) in two ways"),
        (lambda table: pd.concat([table, table[:1]]), "names row 56 more than once"),
        (lambda table: table[(table.fold != "1") | (table.part != "test")], "its test part is empty"),
        (lambda table: table.drop(index=3), "Fold 0: the certificate counts"),
        (lambda table: table.assign(row=np.where(table.row == "5", "999", table.row)), "names rows 0 to 999, but 84 rows were certified"),
        (lambda table: table[table.fold != "2"], "Fold 2: the certificate counts"),
        (lambda table: table.assign(sha256=""), "Row 56 has no SHA-256 of its signal in folds.csv (84 rows), though the certificate compared signals"),
        (lambda table: table.assign(sha256=table.sha256.str.upper()), "The SHA-256 of the signals in folds.csv aren't those that were certified"),
    ],
)
def test_edited_folds_are_refuted_even_with_a_forged_hash(folder: Path, change: Callable, sentence: str) -> None:
    edit_table(folder, "folds", change)
    assert sentence in "\n".join(verify.verify(folder))


def cell(column: str, value: str, line: int = 0) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[line, column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda table: table.drop(index=4), "lacks pipeline 'LDA', fold 2, seed 0 and 0 more fits"),
        (lambda table: pd.concat([table, table[:1]]), "has 2 rows of pipeline 'LDA', fold 0, seed 0"),
        (lambda table: table[:0], "results.csv holds no rows"),
        (cell("fold", "7"), "folds.csv has no such fold"),
        (cell("samples", "13"), "13 training and 0 validation rows, but the fold has 28 and 28"),
        (cell("samples_test", "13"), "samples_test is '13', but it should be '28'"),
        (cell("score", "1.5"), "the score is '1.5', not between 0 and 1"),
        (cell("score", ""), "it has no score, though 2 classes were tested"),
        (cell("accuracy", "-0.1"), "accuracy is '-0.1', not between 0 and 1"),
        (cell("metric", "balanced_accuracy"), "its metric, balanced_accuracy, is"),
        (cell("metric", "luck"), "two classes have roc_auc"),
        (cell("n_classes", "1"), "2 of 1 classes were tested"),
        (cell("chance", "0.1"), "chance is '0.1', but with n_classes '2', 2 of them tested, it should be one in 2"),
        (cell("protocol", "within_session"), "protocol is 'within_session', but it should be 'cross_subject'"),
        (cell("left_out", "subject 09"), "left_out is 'subject 09'"),
        (cell("subject", "02"), "subject is '02', but it should be '01'"),
        (cell("dataset", "other"), "dataset is 'other', but it should be 'synthetic'"),
        (cell("pipeline", "ViT"), "The certificate says nothing of how pipeline 'ViT', fold 0, seed 0 was fitted"),
    ],
)
def test_edited_results_are_refuted_even_with_a_forged_hash(folder: Path, change: Callable, sentence: str) -> None:
    edit_table(folder, "results", change)
    assert sentence in "\n".join(verify.verify(folder))


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"fit_rows_sha256": "0" * 64}, "rows that aren't the training part of fold 0 (subject 01)"),
        ({"n_fit_rows": 13}, "the certificate counts 13 fitted rows and results.csv 56, but there are 56"),
        ({"selection": "test"}, "chosen on 'test'"),
        ({"selection": "validation"}, "chosen on validation rows that it was also fitted on"),
        ({"test_reads": 2}, "the test rows were read 2 times, not once"),
        ({"fold": 9}, "which results.csv doesn't have"),
        ({"seed": 9}, "which results.csv doesn't have"),
    ],
)
def test_provenance_that_cannot_be_right_is_refuted(folder: Path, entry: dict, sentence: str) -> None:
    provenance = json.loads((folder / "certificate.json").read_text())["provenance"]
    edit_certificate(folder, provenance=[{**provenance[0], **entry}, *provenance[1:]])
    assert sentence in "\n".join(verify.verify(folder))


def test_a_scaler_that_saw_every_row_is_refuted(folder: Path) -> None:
    """The hash of all rows is that of no fold's training part."""
    certificate = json.loads((folder / "certificate.json").read_text())
    everything = hashlib.sha256(",".join(map(str, range(certificate["n_rows"]))).encode()).hexdigest()
    provenance = [{**entry, "fit_rows_sha256": everything, "n_fit_rows": certificate["n_rows"]} for entry in certificate["provenance"]]
    edit_certificate(folder, provenance=provenance)
    assert len([finding for finding in verify.verify(folder) if "aren't the training part" in finding]) == 12


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"tolerated": ["subject"]}, "The verdict is 'proved', but what was tolerated is ['subject']"),
        ({"verdict": "tolerated"}, "The verdict is 'tolerated', but what was tolerated is []"),
        ({"filter_support_s": 2.0}, "hold windows less than 4 s apart"),
        ({"guard_s": -1.0}, "aren't seconds from 0 upwards"),
    ],
)
def test_a_certificate_that_contradicts_the_folds_is_refuted(tmp_path: Path, entries: dict, sentence: str) -> None:
    windows = synthetic_windows(n_subjects=1, n_runs=1, n_trials=41)
    folder = write_folder(tmp_path / "blocks", windows, splitters.within_session(windows.metadata, k=3))
    assert verify.verify(folder) == []
    edit_certificate(folder, **entries)
    assert sentence in "\n".join(verify.verify(folder))


def test_a_tolerated_overlap_is_confirmed_as_tolerated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    windows = synthetic_windows(n_subjects=1, n_trials=31, gap_s=-0.25)
    folder = write_folder(tmp_path / "overlap", windows, splitters.shuffled_trials(windows.metadata, k=3), tolerate=["interval"])
    assert verify.main([str(folder)]) == 0
    assert "verdict 'tolerated', with interval tolerated by name" in capsys.readouterr().out
    edit_certificate(folder, tolerated=[], verdict="proved")
    assert "hold windows less than 0 s apart" in "\n".join(verify.verify(folder))


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    windows = synthetic_windows(n_subjects=3, n_trials=7)
    pipelines = {mode: make_pipeline(Alignment(mode=mode), baselines.csp_lda()) for mode in ("inductive", "transductive")}
    return write_folder(tmp_path_factory.mktemp("aligned"), windows, splitters.cross_subject(windows.metadata), pipelines)


def test_an_aligned_folder_is_confirmed_as_tolerated(aligned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(aligned)]) == 0
    assert "verdict 'tolerated', with alignment tolerated by name" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"tolerated": [], "verdict": "proved"}, "Pipeline 'transductive' read test windows before it judged them"),
        ({"alignment": []}, "was aligned in the mode 'inductive' by results.csv, but 'none' by the certificate"),
    ],
)
def test_an_alignment_that_is_kept_silent_is_refuted(aligned: Path, tmp_path: Path, entries: dict, sentence: str) -> None:
    copy = Path(shutil.copytree(aligned, tmp_path / "copy"))
    edit_certificate(copy, **entries)
    assert any(sentence in finding for finding in verify.verify(copy))


def test_a_table_that_denies_its_alignment_is_refuted(aligned: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(aligned, tmp_path / "copy"))
    edit_table(copy, "results", lambda table: table.assign(alignment="none"))
    assert "Pipeline 'inductive' was aligned (inductive) by the certificate, but not by results.csv." in verify.verify(copy)


def test_names_that_are_whole_floats_are_confirmed(tmp_path: Path) -> None:
    windows = synthetic_windows(n_subjects=3, n_trials=7)
    table = windows.metadata.assign(subject=windows.metadata.subject.astype(float), session=windows.metadata.session.astype(float))
    windows = dataclasses.replace(windows, metadata=table)
    folder = write_folder(tmp_path / "floats", windows, splitters.cross_subject(windows.metadata))
    assert set(pd.read_csv(folder / "results.csv", dtype=str).subject) == {"1", "2", "3"}
    assert verify.verify(folder) == []


def test_a_recording_without_a_clock_leaves_the_others_in_the_order_of_theirs(tmp_path: Path) -> None:
    """Of each of two people, twelve trials whose rows run backwards in time, and four of a recording without a clock."""
    clocked = [(f"{person}", f"{person}-a", 100.0 - 5 * trial, trial, "ab"[trial % 2]) for person in (1, 2) for trial in range(12)]
    timeless = [(f"{person}", f"{person}-b", np.nan, trial, "ab"[trial % 2]) for person in (1, 2) for trial in range(4)]
    table = pd.DataFrame(sorted(clocked + timeless, key=lambda row: row[:2]), columns=["subject", "recording", "start_s", "trial", "label"])
    table = table.assign(session="1", run="1", stop_s=table.start_s + 1)
    values = np.random.default_rng(0).normal(0, 1e-5, (32, 2, 67))
    windows = sigvit.windows_from_arrays(values, table.label.to_numpy(), ["C3", "C4"], sampling_rate=67.0, metadata=table, filter_support_s=0.0)
    folds = splitters.calibrate(windows.metadata, 2, validation=0.0)
    folder = write_folder(tmp_path / "calibrated", windows, folds)
    assert verify.verify(folder) == []
    own = [row for row in folds[0].train if table.recording[row] == "1-a"]
    later = [row for row in folds[0].test if table.recording[row] == "1-a" and table.label[row] == table.label[own[0]]]
    exchanged = {str(own[0]): "test", str(later[-1]): "train"}
    edit_table(folder, "folds", lambda told: told.assign(part=told.row.map(exchanged).where(told.fold == "0").fillna(told.part)))
    assert any("is trained on, but comes after its first tested trial" in finding for finding in verify.verify(folder))


@pytest.mark.parametrize(("chance", "confirmed"), [("0.5", True), ("0.3333333333333333", False), ("0.25", False)])
def test_chance_is_one_in_the_tested_classes(tmp_path: Path, chance: str, confirmed: bool) -> None:
    """Every subject lacks a class of three."""
    windows = synthetic_windows(n_subjects=3, n_runs=1, n_trials=18, classes=("a", "b", "c"))
    windows = windows[[row for row in range(54) if windows.labels[row] != "abc"[row // 18]]]
    folder = write_folder(tmp_path / "folder", windows, splitters.cross_subject(windows.metadata, validation=0.0))
    assert set(pd.read_csv(folder / "results.csv")["chance"]) == {0.5}
    edit_table(folder, "results", lambda table: table.assign(chance=chance))
    assert (verify.verify(folder) == []) == confirmed


def test_a_test_part_of_one_class_may_lack_its_score(tmp_path: Path) -> None:
    windows = synthetic_windows(n_subjects=4, n_trials=7)
    windows.metadata["label"] = windows.labels = np.where(windows.metadata.subject.isin(["01", "02"]), "patient", "control")
    folder = write_folder(tmp_path / "patients", windows, splitters.cross_subject(windows.metadata))
    assert pd.read_csv(folder / "results.csv").score.isna().all()
    assert verify.verify(folder) == []


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("folds.csv", None, "folds.csv can't be read (No such file or directory)"),
        ("folds.csv", "fold,row\n0,1\n", "lacks the columns protocol"),
        ("folds.csv", "{head}", "holds no folds"),
        ("folds.csv", "{head}0,cross_subject,subject 1,x,train,1,1,1,r,1,0.0,1.0,a,\n", "holds 'x' where the number of a fold or row should be"),
        ("folds.csv", "{head}0,cross_subject,subject 1,1,train,1,1,1,r,1,soon,1.0,a,\n", "should be a number of seconds"),
        ("folds.csv", "{head}0,cross_subject,subject 1,1,exam,1,1,1,r,1,0.0,1.0,a,\n", "in the part 'exam'"),
        ("folds.csv", "{head}0,cross_subject,subject 1\n", "line 2, has 3 columns, its head 14"),
        ("certificate.json", "{", "isn't JSON"),
        ("certificate.json", "[]", "lacks verdict, tolerated"),
        ("certificate.json", '{"verdict": "proved"}', "lacks tolerated, n_rows"),
        ("results.csv", "pipeline\nLDA\n", "lacks the columns dataset"),
        ("results.csv", '{results}"a"b,', "isn't a table"),
        ("results.csv", "{results}LDA,synthetic,cross_subject,,,first,,0,,,,,,,2,,1,1,1,\n", "a fold or seed that isn't a whole number"),
        ("results.csv", b"\xff\xfe", "isn't a table"),
    ],
)
def test_files_that_cannot_be_read_are_named(folder: Path, name: str, content: str | bytes | None, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / name
    if content is None:
        path.unlink()
    else:
        head = ",".join(verify.FOLD_COLUMNS) + "\n"
        results = ",".join(verify.RESULT_COLUMNS) + "\n"
        path.write_bytes(content if isinstance(content, bytes) else content.replace("{head}", head).replace("{results}", results).encode())
    assert verify.main([str(folder)]) == 2
    text = capsys.readouterr().out
    assert text.startswith("UNREADABLE")
    assert sentence in text


def test_entries_of_the_wrong_kind_are_unreadable_not_a_crash(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for entries in ({"sizes": [{}]}, {"provenance": [{"pipeline": "LDA"}]}, {"n_rows": "many"}, {"filter_support_s": "wide"}):
        shutil.copy(folder / "certificate.json", folder / "kept.json")
        edit_certificate(folder, **entries)
        assert verify.main([str(folder)]) == 2
        shutil.move(folder / "kept.json", folder / "certificate.json")
    assert "the files lack what a results folder has" in capsys.readouterr().out
    assert verify.main([]) == 2
    assert "usage: python verify.py RESULTS_FOLDER" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_says_how_it_is_called(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([word]) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: python verify.py RESULTS_FOLDER, or sigvit verify RESULTS_FOLDER")
    assert "UNREADABLE" not in told


def test_a_hundred_thousand_lines_take_seconds(tmp_path: Path) -> None:
    table = synthetic_windows(n_subjects=20, n_runs=5, n_trials=50, electrodes=("Cz",), n_times=2, gap_s=0.0).metadata
    splitters.write_csv(tmp_path / "folds.csv", splitters.cross_subject(table), table)
    start = time.process_time()
    folds, rows, findings = verify.read_folds(tmp_path / "folds.csv")
    assert sum(len(part) for fold in folds.values() for part in fold.parts.values()) == 100_000
    assert [*findings, *(leak for fold in folds.values() for leak in verify.leaks_of(fold, rows, 0.0, set()))] == []
    assert time.process_time() - start < 15  # the whole test takes 1.3 s on one core; a quadratic comparison would take hours


@pytest.fixture(scope="module")
def with_fits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels that are whole floats, of three classes, and predictions beside the table."""
    windows = synthetic_windows(n_subjects=3, n_trials=11, classes=("0", "1", "2"))
    labels = windows.labels.astype(float)
    windows = dataclasses.replace(windows, labels=labels, metadata=windows.metadata.assign(label=labels))
    folds, folder = splitters.cross_subject(windows.metadata), tmp_path_factory.mktemp("fits")
    results = cross_validate({"LDA": baselines.shrinkage_lda(8), "dummy": baselines.majority()}, windows, folds, range(2), folder=folder)
    write_results(folder, results, windows, folds, {})
    return folder


def better(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(score="0.99", balanced_accuracy="0.99")


def exchanged(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(pipeline=table.pipeline.map({"LDA": "dummy", "dummy": "LDA"}))


@pytest.mark.parametrize("change", [better, exchanged, lambda table: table.assign(log_loss="0.01"), lambda table: table.assign(accuracy="0.5")])
def test_scores_that_the_kept_predictions_do_not_give_are_refuted(with_fits: Path, tmp_path: Path, change: Callable) -> None:
    assert verify.verify(with_fits) == []
    forged = Path(shutil.copytree(with_fits, tmp_path / "copy"))
    edit_table(forged, "results", change)
    assert any("but its predictions, kept in fits, give score" in finding for finding in verify.verify(forged))


def test_the_sentence_says_whether_scores_were_computed_anew(with_fits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(with_fits)]) == 0
    assert "every score was computed anew from the predictions in fits" in capsys.readouterr().out.splitlines()[0]
    without = Path(shutil.copytree(with_fits, tmp_path / "copy"))
    shutil.rmtree(without / "fits")
    assert verify.main([str(without)]) == 0
    assert "no score was computed anew, since no predictions are kept in fits" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(("column", "value"), [("calibration_error", "0.001"), ("n_classes", "4")])
def test_whatever_the_kept_predictions_give_is_computed_anew(with_fits: Path, tmp_path: Path, column: str, value: str) -> None:
    forged = Path(shutil.copytree(with_fits, tmp_path / "copy"))
    edit_table(forged, "results", lambda table: table.assign(**{column: value}))
    assert sum(f"{column} {value}" in finding and "its predictions, kept in fits, give" in finding for finding in verify.verify(forged)) == 12


@pytest.mark.parametrize("added", [0.1, -0.5])
def test_kept_predictions_that_are_no_probabilities_are_refuted(tmp_path: Path, added: float) -> None:
    """The changed one is that of a class that the window is neither of nor taken for, which no score reads."""
    windows = synthetic_windows(n_subjects=3, n_runs=1, n_trials=12, classes=("a", "b", "c"), effect=2.0)
    folds = splitters.cross_subject(windows.metadata)
    results = cross_validate({"LDA": baselines.shrinkage_lda(4)}, windows, folds, range(2), folder=tmp_path)
    write_results(tmp_path, results, windows, folds, {})
    assert verify.verify(tmp_path) == []
    path = min((tmp_path / "fits").glob("*.json"))
    fit = json.loads(path.read_text())
    told, labels = (np.array(fit["parts"][0][name]) for name in ("predictions", "labels"))
    unread = next(number for number in range(3) if labels[0] != "abc"[number] and number != told[0].argmax())
    told[0, unread] += added
    fit["parts"][0]["predictions"] = told.tolist()
    path.write_text(json.dumps(fit))
    findings = verify.verify(tmp_path)
    assert len(findings) == 2, "of both seeds"
    assert all("probabilities are at least 0 and sum to 1" in finding for finding in findings)


def test_names_with_a_plus_are_confirmed(tmp_path: Path) -> None:
    windows = synthetic_windows(n_subjects=3, n_runs=1, n_trials=12)
    windows.metadata["subject"] += "+ctrl"
    folder = write_folder(tmp_path / "folder", windows, splitters.cross_subject(windows.metadata))
    table = pd.read_csv(folder / "results.csv")
    assert unit_of(table) == "subject"
    assert table["subject"].unique().tolist() == ["01++ctrl", "02++ctrl", "03++ctrl"]
    assert verify.verify(folder) == []
    edit_table(folder, "results", lambda table: table.assign(subject=table.subject.str.replace("01", "02")))
    assert any("subject is '02++ctrl'" in finding for finding in verify.verify(folder))


def test_what_the_certificate_says_was_left_out_is_compared(folder: Path) -> None:
    sizes = json.loads((folder / "certificate.json").read_text())["sizes"]
    sizes[1]["left_out"] = "subject 09"
    edit_certificate(folder, sizes=sizes)
    assert verify.verify(folder) == ["Fold 1: the certificate leaves out 'subject 09', folds.csv 'subject 02'."]


def test_the_entries_of_a_certificate_that_are_not_judged_are_named(folder: Path) -> None:
    """What can be changed unnoticed stands in the list of what can't be seen."""
    control, checks = {"score": 0.5}, json.loads((folder / "certificate.json").read_text())["checks"]
    for entries in ({"control": control}, {"page_sha256": "0"}, {"checks": [{**check, "compared": 1009} for check in checks]}, {"guard_s": 0.5}):
        before = (folder / "certificate.json").read_text()
        edit_certificate(folder, **entries)
        assert verify.verify(folder) == []
        (folder / "certificate.json").write_text(before)
    assert all(
        name in verify.NOT_HERE for name in ("page_sha256", "control score", "guard_s", "filter_support_s", "n_rows", "names, meanings and counts of checks")
    )


@pytest.mark.parametrize("column", verify.STATED)
def test_what_only_a_kept_fit_says_of_itself_is_compared_with_it(with_fits: Path, tmp_path: Path, column: str) -> None:
    forged = Path(shutil.copytree(with_fits, tmp_path / "copy"))
    edit_table(forged, "results", cell(column, "1009"))
    (finding,) = verify.verify(forged)
    assert f"{column} is '1009', but its fit, kept in fits, says" in finding


def test_calibration_error_is_that_of_the_metrics() -> None:
    """Coarse confidences, which lie on the edges of bins."""
    generator = np.random.default_rng(0)
    hits, confidence = generator.integers(2, size=101) == 1, generator.integers(1, 21, size=101) / 20
    # Sums in another order, double precision.
    assert verify._calibration_error(hits.tolist(), confidence.tolist()) == pytest.approx(calibration_error(hits, confidence), rel=1e-12)


@pytest.fixture(scope="module")
def with_seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seeds of a forest that differ, and a pipeline without a seed, of which another was fitted into the folder before."""
    windows = synthetic_windows(n_subjects=3, n_trials=11, effect=0.3)
    folds, folder = splitters.cross_subject(windows.metadata), tmp_path_factory.mktemp("seeds")
    cross_validate({"LDA": baselines.shrinkage_lda(4)}, windows, folds, folder=folder)
    pipelines = {"LDA": baselines.shrinkage_lda(8), "forest": make_pipeline(FunctionTransformer(flattened), RandomForestClassifier(3))}
    write_results(folder, cross_validate(pipelines, windows, folds, range(3), folder=folder), windows, folds, {})
    return folder


def flattened(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


@pytest.mark.parametrize("kept", [[1], [0, 1]])
def test_one_seed_does_not_stand_for_seeds_whose_fits_were_deleted(with_seeds: Path, tmp_path: Path, kept: list[int]) -> None:
    forged = Path(shutil.copytree(with_seeds, tmp_path / "copy"))
    for path in (forged / "fits").glob("*.json"):
        row = json.loads(path.read_text())["parts"][0]["row"]
        if row["pipeline"] == "forest" and row["seed"] not in kept:
            path.unlink()

    def of_seed_1(table: pd.DataFrame) -> pd.DataFrame:
        lines = [table.index[(table.pipeline == "forest") & (table.seed == str(seed))] for seed in range(3)]
        for seed in {0, 1, 2} - set(kept):
            table.loc[lines[seed], table.columns.drop("seed")] = table.loc[lines[1], table.columns.drop("seed")].to_numpy()
        return table

    edit_table(forged, "results", of_seed_1)
    findings = verify.verify(forged)
    assert len(findings) == 3 * (3 - len(kept))
    assert all("'forest'" in finding and "none of the predictions kept in fits is of it" in finding for finding in findings)


def test_a_folder_whose_seeds_were_extended_in_front_is_confirmed(tmp_path: Path) -> None:
    windows = synthetic_windows(n_subjects=3, n_trials=11, effect=0.3)
    folds = splitters.cross_subject(windows.metadata)
    for seeds in ([0], [1, 0]):
        results = cross_validate({"LDA": baselines.shrinkage_lda()}, windows, folds, seeds, folder=tmp_path)
        write_results(tmp_path, results, windows, folds, {})
        assert verify.verify(tmp_path) == []
    kept = [json.loads(path.read_text())["parts"][0]["row"] for path in (tmp_path / "fits").glob("*.json")]
    assert sorted((row["fold"], row["seed"]) for row in kept) == [(fold, seed) for fold in range(3) for seed in (0, 1)]
    # Neither seed's fit took that long, and both are still read.
    edit_table(tmp_path, "results", lambda table: table.assign(time="100"))
    assert len(verify.verify(tmp_path)) == len(results.table)


def test_pipelines_of_which_one_fit_stands_for_all_seeds_are_named(with_seeds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([str(with_seeds)]) == 0
    assert "from the predictions in fits (of LDA one fit stands for all seeds, as of a pipeline without a seed)" in capsys.readouterr().out


def test_fits_of_more_classes_than_columns_are_unreadable_not_a_crash(with_fits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crafted = Path(shutil.copytree(with_fits, tmp_path / "copy"))
    for path in (crafted / "fits").glob("*.json"):
        fit = json.loads(path.read_text())
        fit["parts"][0]["classes"].insert(0, "9")
        path.write_text(json.dumps(fit))
    assert verify.main([str(crafted)]) == 2
    assert capsys.readouterr().out.startswith("UNREADABLE: the files lack what a results folder has (IndexError")


def test_a_certificate_that_is_nested_too_deeply_is_unreadable(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "certificate.json").write_text("[" * 100_000)
    assert verify.main([str(folder)]) == 2
    assert capsys.readouterr().out.startswith("UNREADABLE")


def test_fits_that_trained_on_their_test_rows_prove_nothing(with_fits: Path, tmp_path: Path) -> None:
    """A fit of each fold on all rows lies beside the honest ones, and the table has its scores."""
    forged = Path(shutil.copytree(with_fits, tmp_path / "copy"))
    for path in sorted((forged / "fits").glob("*.json")):
        fit = json.loads(path.read_text())
        for part in fit["parts"]:
            part["predictions"] = [[float(name == label) for name in part["classes"]] for label in part["labels"]]
            part["provenance"]["fit_rows_sha256"] = "0" * 64
        (forged / "fits" / f"other-{path.name}").write_text(json.dumps(fit))
    assert verify.verify(forged) == []
    edit_table(forged, "results", lambda table: table.assign(score="1.0", accuracy="1.0", balanced_accuracy="1.0", log_loss="0.0"))
    assert sum("but its predictions, kept in fits, give score" in finding for finding in verify.verify(forged)) == 12


def test_labels_that_the_fits_do_not_know_are_refuted(with_fits: Path, tmp_path: Path) -> None:
    """Every window is said to be of the class that was predicted."""
    forged, said = Path(shutil.copytree(with_fits, tmp_path / "copy")), {}
    for path in (forged / "fits").glob("*.json"):
        part = json.loads(path.read_text())["parts"][0]
        if part["row"]["pipeline"] == "LDA":
            said |= {str(row): str(int(np.argmax(told))) for row, told in zip(part["test_rows"], part["predictions"], strict=True)}
    edit_table(forged, "folds", lambda table: table.assign(label=table.row.map(said)))
    edit_table(forged, "results", lambda table: table.assign(score="1.0", accuracy="1.0", balanced_accuracy="1.0", log_loss="0.0"))
    findings = [finding for finding in verify.verify(forged) if "'LDA'" in finding]
    assert len(findings) == 6
    assert all("none of the predictions kept in fits is of it, by its training rows, its test rows and their labels" in finding for finding in findings)


def test_a_network_with_its_parts_is_confirmed(tmp_path: Path) -> None:
    windows = synthetic_windows(n_subjects=3, n_runs=1, n_trials=11)
    network = sigvit.SignalViTClassifier(training_steps=2, width=4, heads=2, ensemble=False, classical=baselines.shrinkage_lda(4))
    folds = splitters.cross_subject(windows.metadata)
    results = cross_validate({"ViT": network, "LDA": baselines.shrinkage_lda(4)}, windows, folds, folder=tmp_path)
    write_results(tmp_path, results, windows, folds, {})
    assert "ViT: network" in set(results.table["pipeline"])
    assert verify.verify(tmp_path) == []


def test_a_protocol_that_is_nearly_a_known_one_promises_nothing_and_is_refuted(folder: Path) -> None:
    for name in ("folds", "results"):
        edit_table(folder, name, lambda table: table.assign(protocol="Cross-subject"))
    assert verify.verify(folder) == ["The protocol is 'Cross-subject', an unknown name that promises nothing about groups; 'cross_subject' would."]


def test_scores_are_computed_as_they_are_where_they_are_made() -> None:
    """ROC-AUC with ties, of coarse probabilities."""
    generator = np.random.default_rng(0)
    numbers, second = generator.integers(2, size=101), generator.integers(11, size=101) / 10
    scores = score_predictions(numbers, np.stack([1 - second, second], axis=1), [0, 1])
    assert verify._area(numbers.tolist(), second.tolist()) == pytest.approx(scores["score"], rel=1e-12)


@pytest.mark.parametrize("name", ["0.05", "00.5", "1.001", "v.01", "Jose\u0301", "sub-\uff10\uff11", "S 02", "1 0", "\ufb01 \u00df"])
def test_names_are_compared_as_they_are_where_folds_are_certified(name: str) -> None:
    assert verify._plain(name) == plain_name(name)


def test_a_check_that_found_something_must_be_tolerated(folder: Path) -> None:
    edit_certificate(folder, checks=[{"name": "signal", "meaning": "", "compared": 7, "found": 3}])
    assert any("its check 'signal' found something" in finding for finding in verify.verify(folder))

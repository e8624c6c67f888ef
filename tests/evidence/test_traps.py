"""The traps of the real sets are refused or warned of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

from sigvit.data.windows import Windows
from sigvit.evidence.certificate import Leak, certify
from sigvit.evidence.folds import cross_session, cross_subject, shipped, shuffled_trials, within_session

COLUMNS = ["subject", "session", "run", "recording", "start_s", "stop_s", "trial", "label"]


def windows_of(cuts: list[tuple[np.ndarray, tuple]], sampling_rate: float, **columns: object) -> Windows:
    """Windows of (signal, metadata row) cuts."""
    table = pd.DataFrame([row for _, row in cuts], columns=COLUMNS).assign(**columns)
    values = np.stack([signal for signal, _ in cuts]).astype(np.float32)
    return Windows(values, table.label.to_numpy(), table, mne.create_info(values.shape[1], sampling_rate, "eeg"))


def cut(signal: np.ndarray, start: int, n_times: int, rate: float, names: tuple, trial: int, label: str) -> tuple[np.ndarray, tuple]:
    return signal[:, start : start + n_times], (*names, start / rate, (start + n_times) / rate, trial, label)


def muse(folder: Path, task: str, subject: str, runs: list[tuple[str, str]], delay_s: Callable[[str], float] = lambda session: 0.0) -> Windows:
    """Epochs of .8 s from the cue (and a delay); 4 electrodes at 256 Hz."""
    cuts = []
    for session, run in runs:
        stem = folder / f"muse/{task}/sub-{subject}/ses-{session}/eeg/sub-{subject}_ses-{session}_task-{task}_run-{run}"
        signal = mne.io.read_raw_edf(f"{stem}_eeg.edf", verbose="ERROR").get_data(picks="eeg")
        events = pd.read_csv(f"{stem}_events.tsv", sep="\t")
        for trial, (onset, label) in enumerate(zip(events.onset, events.trial_type, strict=True)):
            start = round((onset + delay_s(session)) * 256)
            if start + 205 <= signal.shape[1]:
                cuts.append(cut(signal, start, 205, 256.0, (subject, session, run, f"{session}-{run}"), trial, label))
    return windows_of(cuts, 256.0)


def test_muse_recording_under_two_sessions_is_refused_also_with_other_window_positions(shared_data: Path) -> None:
    for delay_s, check in ((0.0, "signal"), (0.1, "copy")):
        windows = muse(shared_data, "visualN170", "03", [("01", "2"), ("02", "2"), ("02", "1")], lambda session, delay_s=delay_s: delay_s * (session == "02"))
        with pytest.raises(Leak) as caught:
            certify(windows, cross_session(windows.metadata))
        assert check in caught.value.checks
        copied = windows.metadata.index[windows.metadata.run == "2"]
        # most of the 392 epochs; the last of a delayed recording may have no twin
        assert set(caught.value.rows) <= set(copied)
        assert len(caught.value.rows) > 0.9 * len(copied)


def test_muse_epochs_overlap_so_shuffling_is_refused_and_runs_and_guarded_blocks_are_proved(shared_data: Path) -> None:
    windows = muse(shared_data, "visualP300", "01", [("01", "1"), ("01", "2")])
    with pytest.raises(Leak, match="nearer than") as caught:
        certify(windows, shuffled_trials(windows.metadata))
    assert caught.value.checks == ["interval"]
    for by in ("run", "block"):
        certificate = certify(windows, within_session(windows.metadata, by=by))
        assert certificate.verdict == "proved"
        assert any("The classes are very unequal" in sentence for sentence in certificate.warnings)


def test_eegmat_recordings_of_one_class_are_refused_shuffled_and_warned_of_by_subject(shared_data: Path) -> None:
    cuts = []
    for subject in range(6):
        for run, label in (("1", "rest"), ("2", "task")):
            signal = mne.io.read_raw_edf(shared_data / f"eegmat/crop125/Subject{subject:02d}_{run}.edf", verbose="ERROR").get_data()[:19]
            cuts += [cut(signal, 250 * at, 250, 125.0, (f"{subject:02d}", "1", run, f"{subject:02d}_{run}"), at, label) for at in range(15)]
    windows = windows_of(cuts, 125.0)
    with pytest.raises(Leak, match="what identifies the recording identifies the class"):
        certify(windows, shuffled_trials(windows.metadata))
    with pytest.raises(ValueError, match="would identify the class"):
        within_session(windows.metadata, by="block")
    with pytest.raises(ValueError, match="would train on 15 rows without class"):
        within_session(windows.metadata)
    certificate = certify(windows, cross_subject(windows.metadata, k=3))
    assert certificate.verdict == "proved"
    assert any("Every one of 12 recordings holds one class" in sentence for sentence in certificate.warnings)


def test_smni_split_shares_subjects_and_bytes(shared_data: Path) -> None:
    tables, signals = [], []
    for part in ("train", "test"):
        stored = np.load(shared_data / f"smni/smni_{part}.npz")
        signals.append(1e-6 * (stored["offset_uV"][:, :, None] + stored["step_uV"] * np.cumsum(stored["dcodes"], axis=2, dtype=np.int32)))
        tables.append(pd.DataFrame({"subject": stored["subject"], "trial": stored["trial"], "label": stored["group"], "shipped": part}))
    table = pd.concat(tables, ignore_index=True)
    table["recording"] = table.subject + "_" + table.trial.astype(str) + "_" + table.shipped
    table = table.assign(session="1", run="1", start_s=np.nan, stop_s=np.nan)
    windows = Windows(np.concatenate(signals).astype(np.float32), table.label.to_numpy(), table, mne.create_info(64, 256.0, "eeg"))
    with pytest.raises(Leak, match="byte-identical") as caught:
        certify(windows, shipped(table))
    # 24 trials stand in both files
    assert len(caught.value.rows) == 48
    with pytest.raises(Leak, match="share subjects"):
        certify(windows, [(table.shipped == "train", table.shipped == "test")], protocol="cross_subject")
    certificate = certify(windows, shipped(table), tolerate=["signal"])
    assert certificate.verdict == "tolerated"
    assert any("share subjects (up to 16 in a fold" in sentence for sentence in certificate.warnings)
    assert any("the effective sample size is 16 subjects" in sentence for sentence in certificate.warnings)
    honest = cross_subject(table, k=8)
    assert {frozenset(table.label[fold.test]) for fold in honest} == {frozenset("ac")}
    assert certify(windows, honest).verdict == "proved"


def test_eegmmidb_four_classes_are_confounded_with_runs_and_left_right_follows_the_label_before(shared_data: Path) -> None:
    cuts = []
    for run in (4, 6, 8, 10, 12, 14):
        raw = mne.io.read_raw_edf(shared_data / f"eegmmidb/S001/S001R{run:02d}.edf", verbose="ERROR")
        signal, names = raw.get_data(), {"T1": "left", "T2": "right"} if run in (4, 8, 12) else {"T1": "fists", "T2": "feet"}
        for trial, mark in enumerate(raw.annotations):
            if mark["description"] in names:
                cuts.append(cut(signal, round(mark["onset"] * 160) + 80, 480, 160.0, ("1", "1", str(run), f"R{run:02d}"), trial, names[mark["description"]]))
    windows = windows_of(cuts, 160.0)
    certificate = certify(windows, within_session(windows.metadata))
    assert any("Classes are confounded with recordings" in sentence for sentence in certificate.warnings)
    assert any("A class is missing from the test part of 6 of 6 folds" in sentence for sentence in certificate.warnings)
    pair = windows[windows.metadata.label.isin(["left", "right"]).to_numpy()]
    certificate = certify(pair, within_session(pair.metadata))
    assert len(certificate.sizes) == 3
    assert any("alternating classes, 74% changes" in sentence for sentence in certificate.warnings)

"""Steps that a page declares are those of `windows_from_raw`; long recordings, sets larger than memory and BIDS roots."""

from __future__ import annotations

import warnings
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

from sigvit.data.page_tables import PageError
from sigvit.data.pages import open_dataset
from sigvit.data.recordings import windows_from_raw
from sigvit.data.synthetic import synthetic_raw

HEAD = 'title = "A"\ntask = "Tell."\nlicence = "none"\ncitation = "nobody"\nneeds = "files"\n'
SOURCE = '[source]\nkind = "files"\npattern = "**/sub-{subject}_run-{run}_raw.fif"\n'
EVENTS = '[[events]]\nlabels = { left = "left", right = "right" }\n'
WINDOW = "[window]\nstart_s = 0.5\nstop_s = 1.5\n"
NAMES = ("Fz", "C3", "Cz", "C4", "Pz", "M1", "M2")


def page(folder: Path, *tables: str) -> Path:
    path = folder / "example.toml"
    path.write_text(HEAD + "\n".join(tables))
    return path


def marked(seed: int) -> mne.io.BaseRaw:
    raw = synthetic_raw(seed=seed, n_trials=17, electrodes=NAMES, trial_s=2.0, rest_s=1.0)
    raw.info["bads"] = ["Cz"]
    raw.annotations.append([raw.annotations.onset[2] + 1, raw.annotations.onset[4] + 1], [0.1, 0.1], ["BAD_jump", "moved"])
    raw._data[1, round((raw.annotations.onset[11] + 1) * 160)] += 2e-3
    return raw


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for run in (1, 2):
        marked(run).save(folder / f"sub-01_run-{run}_raw.fif", fmt="double", verbose="ERROR")
    return folder


@pytest.mark.filterwarnings("ignore:.*windows of .* are dropped")
def test_every_step_of_a_page_is_that_of_windows_from_raw(recordings, tmp_path):
    processing = '[processing]\nband_hz = [4, 38]\nnotch_hz = 50\nresample_hz = 80\nreference = ["M1", "M2"]\n'
    electrodes = '[electrodes]\npick = ["C4", "Cz", "C3"]\nbad = "interpolate"\n'
    rejection = '[rejection]\npeak_to_peak_v = 3e-4\nbad_spans = ["moved"]\n'
    windows = open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW + "baseline_s = [-0.5, 0.0]\n", processing, electrodes, rejection), recordings)
    asked = {"band_hz": (4, 38), "notch_hz": 50, "resample_hz": 80, "reference": ["M1", "M2"], "electrodes": ["C4", "Cz", "C3"]}
    asked |= {"bad_electrodes": "interpolate", "reject_v": 3e-4, "bad_spans": ["moved"], "baseline_s": (-0.5, 0.0)}
    for run in (1, 2):
        raw = mne.io.read_raw_fif(recordings / f"sub-01_run-{run}_raw.fif", verbose="ERROR")
        ours = windows_from_raw(raw, {"left": "left", "right": "right"}, 0.5, 1.5, **asked)
        np.testing.assert_array_equal(windows.values[(windows.metadata["run"] == str(run)).to_numpy()], ours.values)
    reasons = windows.page["dropped"]["reasons"]
    assert (reasons["overlaps BAD_jump"], reasons["overlaps moved"]) == (2, 2)


@pytest.mark.filterwarnings("ignore:.*windows of .* are dropped")
def test_electrodes_marked_bad_are_refused_unless_the_page_says_what_to_do(recordings, tmp_path):
    with pytest.raises(ValueError, match=r"marks the channels \['Cz'\] as bad"):
        open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW), recordings)
    dropped = open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, '[electrodes]\nbad = "drop"\n'), recordings)
    assert dropped.electrodes == ("Fz", "C3", "C4", "Pz", "M1", "M2")
    with pytest.raises(ValueError, match="bad_electrodes is 'mend'; it must be one of refuse, drop, keep, interpolate"):
        open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, '[electrodes]\nbad = "mend"\n'), recordings)


@pytest.mark.filterwarnings("ignore")
def test_a_page_may_leave_the_limit_to_autoreject(recordings, tmp_path):
    pytest.importorskip("autoreject", reason="autoreject isn't installed: pip install 'sigvit[autoreject]'")
    windows = open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, '[electrodes]\nbad = "drop"\n[rejection]\npeak_to_peak_v = "autoreject"\n'), recordings)
    limits = [note["reject_v"] for note in windows.page["recordings"].values()]
    assert all(1e-5 < limit < 2e-3 for limit in limits)


@pytest.mark.filterwarnings("ignore:The events .* occur in no recording")
def test_nights_are_cut_into_overlapping_windows_of_seizures_and_the_rest(tmp_path):
    for run in (1, 2):
        raw = synthetic_raw(seed=run, n_trials=20, sampling_rate=100.0)
        raw.set_annotations(mne.Annotations([40.0], [12.0], ["sz"]) if run == 1 else mne.Annotations([], [], []))
        raw.save(tmp_path / f"sub-01_run-{run}_raw.fif", verbose="ERROR")
    events = '[[events]]\nlabels = { sz = "seizure" }\nrest = "none"\n'
    expect = "[expect]\ntrials_per_run = { seizure = [0, 1], none = [20, 70] }\n"
    windows = open_dataset(page(tmp_path, SOURCE, events, "[window]\nwindow_s = 4\nstride_s = 2\nrest_margin_s = 5\n", expect), tmp_path)
    counts = windows.metadata.groupby(["run", "label"]).size().to_dict()
    assert counts[("1", "seizure")] == 5
    assert counts[("2", "none")] == (20 * 6 + 2 - 4) // 2 + 1
    first = windows.metadata[(windows.metadata["run"] == "1") & (windows.metadata["label"] == "none")]
    assert ((first["stop_s"] <= 35) | (first["start_s"] >= 57)).all()
    with pytest.raises(PageError, match="a label for the rest, so it needs labels of events and window_s"):
        open_dataset(page(tmp_path, SOURCE, events, WINDOW), tmp_path)


@pytest.mark.filterwarnings("ignore:.*windows of .* are dropped")
def test_a_page_opens_into_a_folder_as_it_does_into_memory(recordings, tmp_path):
    path = page(tmp_path, SOURCE, EVENTS, WINDOW, '[electrodes]\nbad = "drop"\n[rejection]\npeak_to_peak_v = 3e-4\n')
    kept, grown = open_dataset(path, recordings), open_dataset(path, recordings, into=tmp_path / "set")
    assert isinstance(grown.values, np.memmap)
    np.testing.assert_array_equal(grown.values, kept.values)
    pd.testing.assert_frame_equal(grown.metadata, kept.metadata)
    assert grown.page == kept.page
    assert grown.filter_support_s == kept.filter_support_s
    assert sorted(each.name for each in tmp_path.iterdir()) == ["example.toml", "set"]


@pytest.fixture(scope="module")
def bids(tmp_path_factory) -> Path:
    mne_bids = pytest.importorskip("mne_bids", reason="mne-bids isn't installed: pip install 'sigvit[bids]'")
    pytest.importorskip("edfio", reason="edfio isn't installed, which writes EDF")
    root, made = tmp_path_factory.mktemp("bids"), tmp_path_factory.mktemp("made")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for subject in ("01", "02"):
            raw = synthetic_raw(seed=int(subject), n_trials=8, electrodes=NAMES, sampling_rate=128.0)
            mne.export.export_raw(made / f"{subject}.edf", raw, verbose="ERROR")
            written = mne.io.read_raw_edf(made / f"{subject}.edf", verbose="ERROR")
            written.info["bads"] = ["Pz"] if subject == "02" else []
            written.info["line_freq"] = 50
            where = mne_bids.BIDSPath(subject=subject, session="a", task="hands", run="2", datatype="eeg", root=root)
            mne_bids.write_raw_bids(written, where, overwrite=True, verbose="ERROR")
        mne_bids.write_raw_bids(written, where.update(task="feet"), overwrite=True, verbose="ERROR")
    return root


BIDS = '[source]\nkind = "bids"\ntask = "hands"\n'


@pytest.mark.filterwarnings("ignore")
def test_bad_channels_of_a_bids_root_are_known_from_its_tables(bids, tmp_path):
    with pytest.raises(ValueError, match=r"marks the channels \['Pz'\] as bad"):
        open_dataset(page(tmp_path, BIDS, EVENTS, WINDOW), bids)
    windows = open_dataset(page(tmp_path, BIDS, EVENTS, WINDOW, '[electrodes]\nbad = "interpolate"\n'), bids)
    assert windows.metadata.groupby(["recording", "subject", "session", "run"]).size().to_dict() == {
        (f"sub-{subject}_ses-a_task-hands_run-2_eeg", subject, "a", "2"): 8 for subject in ("01", "02")
    }
    assert windows.electrodes == NAMES


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("table", ["_eeg.edf", "_events.tsv", "_channels.tsv"])
def test_damaged_files_of_a_bids_root_are_named(bids, tmp_path, table):
    import shutil

    root = tmp_path / "root"
    shutil.copytree(bids, root)
    file = next(root.rglob(f"sub-01*{table}"))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 3 // 5] if table.endswith("edf") else b"\xff\x00\xfe" * 40)
    with pytest.raises(ValueError, match=r"sub-01.*(cut short|can't be read|damaged)"):
        open_dataset(page(tmp_path, BIDS, EVENTS, WINDOW), root, only=("sub-01",))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["BrainVision", "EEGLAB"])
def test_a_bids_root_of_files_that_come_in_several_is_opened(tmp_path, kind):
    mne_bids = pytest.importorskip("mne_bids", reason="mne-bids isn't installed: pip install 'sigvit[bids]'")
    pytest.importorskip({"BrainVision": "pybv", "EEGLAB": "eeglabio"}[kind], reason=f"what writes {kind} isn't installed")
    raw = synthetic_raw(n_trials=8, electrodes=NAMES, sampling_rate=128.0)
    raw.info["line_freq"] = 50
    where = mne_bids.BIDSPath(subject="01", session="a", task="hands", run="1", datatype="eeg", root=tmp_path / "root")
    mne_bids.write_raw_bids(raw, where, format=kind, allow_preload=True, verbose="ERROR")
    if kind == "EEGLAB":
        recording = next((tmp_path / "root").rglob("*.set"))
        recording.with_suffix(".fdt").write_bytes(b"")  # as other programs keep the samples; here they are in the .set
    assert len(open_dataset(page(tmp_path, BIDS, EVENTS, WINDOW), tmp_path / "root")) == 8


def test_a_recording_in_several_files_of_a_bids_root_is_read_once(bids, tmp_path):
    mne_bids = pytest.importorskip("mne_bids")
    root = tmp_path / "root"
    where = mne_bids.BIDSPath(subject="01", task="hands", datatype="meg", root=root).mkdir()
    (root / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.7.0"}')
    raw = mne.io.RawArray(1e-12 * np.random.default_rng(0).normal(size=(3, 600_007)), mne.create_info(3, 1000.0, "mag"), verbose="ERROR")
    raw.set_annotations(mne.Annotations([100.0, 300.0, 500.0], 0, ["left", "right", "left"]))
    raw.save(where.copy().update(suffix="meg", extension=".fif").fpath, split_size="5MB", split_naming="bids", verbose="ERROR")
    assert len(list(root.rglob("*.fif"))) > 1
    windows = open_dataset(page(tmp_path, BIDS + 'datatype = "meg"\n', EVENTS, WINDOW), root)
    assert windows.labels.tolist() == ["left", "right", "left"]
    assert windows.metadata[["subject", "session", "run"]].drop_duplicates().to_numpy().tolist() == [["01", "1", "1"]]


@pytest.mark.filterwarnings("ignore")
def test_the_second_file_of_a_bids_recording_that_is_no_fif_is_read_as_well(tmp_path):
    mne_bids = pytest.importorskip("mne_bids", reason="mne-bids isn't installed: pip install 'sigvit[bids]'")
    pytest.importorskip("pybv", reason="what writes BrainVision isn't installed")
    for split in ("01", "02"):
        raw = synthetic_raw(n_trials=4, electrodes=NAMES, sampling_rate=131.0, seed=int(split))
        where = mne_bids.BIDSPath(subject="01", task="hands", datatype="eeg", split=split, root=tmp_path / "root")
        mne_bids.write_raw_bids(raw, where, format="BrainVision", allow_preload=True, overwrite=True, verbose="ERROR")
    windows = open_dataset(page(tmp_path, BIDS, EVENTS, WINDOW), tmp_path / "root")
    assert windows.metadata["recording"].value_counts().to_dict() == {f"sub-01_task-hands_split-{split}_eeg": 4 for split in ("01", "02")}

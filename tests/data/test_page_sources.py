"""Every kind of source: second files with events, classes kept beside a recording, runs inside a file, MOABB, arrays, text series."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pytest
from scipy.io import savemat

from sigvit.data import page_places, page_sources
from sigvit.data.electrode_info import make_info
from sigvit.data.page_expectations import ExpectationError
from sigvit.data.page_format import Fetched, Moabb
from sigvit.data.page_rejection import Rejected, without_rejected
from sigvit.data.page_selection import Selection
from sigvit.data.page_sources import Recording, _fetch, check_sha256, list_recordings, pattern_expression, recordings_of_moabb
from sigvit.data.page_tables import PageError
from sigvit.data.pages import find_page, open_dataset, read_page
from sigvit.data.synthetic import synthetic_windows
from sigvit.data.windows import Windows

HEAD = 'title = "A"\ntask = "Tell."\nlicence = "none"\ncitation = "nobody"\nneeds = "files"\n'


def page(folder: Path, text: str, name: str = "example") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(HEAD + text)
    return path


def noise(seconds: float, names: list[str], rate: float, events: list[tuple[float, float, str]] = (), seed: int = 0) -> mne.io.RawArray:
    values = 1e-5 * np.random.default_rng(seed).standard_normal((len(names), round(seconds * rate)))
    raw = mne.io.RawArray(values, make_info(names, rate), verbose="ERROR")
    if events:
        onsets, durations, texts = zip(*events, strict=True)
        raw.set_annotations(mne.Annotations(onsets, durations, texts))
    return raw


def saved(windows: Windows, folder: Path) -> Path:
    windows.save(folder)
    return folder


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*_raw.fif", "a_raw.fif", True),
        ("*_raw.fif", "b/a_raw.fif", False),
        ("**/*_raw.fif", "c/b/a_raw.fif", True),
        ("*_raw.fif", "a_raw-fif", False),
        ("a?.edf", "ab.edf", True),
        ("a?.edf", "a.edf", False),
        ("a?b.edf", "a/b.edf", False),
        ("S{subject}.edf", "S1/2.edf", False),
        ("S{subject:2}.edf", "S007.edf", False),
    ],
)
def test_what_stands_for_characters_stands_for_those_of_one_name(pattern, name, matches):
    assert (pattern_expression(pattern).fullmatch(name) is not None) == matches


def test_a_field_that_is_known_is_its_text_and_no_pattern():
    expression = pattern_expression("{subject}_{run}.mat", {"subject": "A.1", "run": "1"})
    assert expression.fullmatch("A.1_1.mat")
    assert not expression.fullmatch("AB1_1.mat")
    assert not expression.fullmatch("A.1_2.mat")


SLEEP_CHANNELS = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal")
STAGES = ("W", "1", "2", "3", "4", "R", "W", "?")
LENGTHS = (67, 4, 6, 2, 2, 3, 61, 5)  # epochs of 30 s
RATE, TRIAL_S = 250.0, 7.5  # of the competition's files


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sleep")
    for number, night in enumerate(("SC4001E", "SC4012G")):
        noise(30 * sum(LENGTHS), SLEEP_CHANNELS, 100.0, seed=number).save(folder / f"{night}0-PSG_raw.fif", verbose="ERROR")
        onsets = 30 * np.cumsum([0, *LENGTHS[:-1]])
        hypnogram = mne.Annotations(onsets, 30 * np.array(LENGTHS), [f"Sleep stage {stage}" for stage in STAGES])
        hypnogram.save(folder / f"{night[:-1]}{night[-1]}H-Hypnogram-annot.fif")
    return folder


@pytest.fixture(scope="module")
def sessions(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("graz")
    names = [*read_page(find_page("bci_iv_2a")).electrodes.rename, "EOG-left", "EOG-central", "EOG-right"]
    for number, session in enumerate("TE"):
        events, codes, start = [], [], 0.0
        for run in range(3):  # the first is one of eye movements, without cues
            events.append((start, 0.0, "32766"))
            for trial in range(8 if run else 0):
                code = 1 + (3 * trial + run) % 4
                codes.append(code)
                events.append((start + 3 + trial * TRIAL_S, 1.25, str(768 + code) if session == "T" else "783"))
            start += 70.0
        raw = noise(start, names, RATE, events, seed=number)
        raw._data[:, [0, round(70 * RATE), round(140 * RATE)]] = 0.5  # what GDF writes for a missing value between runs
        raw.save(folder / f"A07{session}_raw.fif", verbose="ERROR")
        savemat(folder / f"A07{session}.mat", {"classlabel": np.array(codes)[:, None]})
    return folder


class TestHypnograms:
    """The shipped page sleep_edf on recordings of its shape: pairs of files, stages 3 and 4 merged, wake cropped."""

    source = (
        '[source]\nkind = "files"\npattern = "**/SC4{subject:2}{session:1}?0-PSG_raw.fif"\nannotations = "**/SC4{subject:2}{session:1}??-Hypnogram-annot.fif"\n'
    )

    def own_page(self, folder: Path) -> Path:
        shipped = find_page("sleep_edf").read_text()
        return page(folder, self.source + shipped[shipped.index("[[events]]") :])

    def test_stages_become_windows_and_wake_is_kept_for_half_an_hour_around_sleep(self, nights, tmp_path):
        windows = open_dataset(self.own_page(tmp_path), nights)
        assert windows.values.shape == (2 * (60 + 4 + 6 + 4 + 3 + 60), 2, 3000)
        assert windows.electrodes == ("Fpz-Cz", "Pz-Oz")
        night = windows.metadata[windows.metadata.recording == "SC4001E0-PSG_raw"]
        assert night.label.value_counts().to_dict() == {"W": 120, "N1": 4, "N2": 6, "N3": 4, "REM": 3}
        assert (night.start_s.min(), night.stop_s.max()) == (7 * 30, (67 + 17 + 60) * 30)
        assert windows.metadata[["subject", "session"]].drop_duplicates().to_numpy().tolist() == [["00", "1"], ["01", "2"]]
        assert windows.page["dropped"]["reasons"] == {"W more than 1800 s from another label": 2 * (7 + 1)}

    def test_a_damaged_hypnogram_is_named(self, nights, tmp_path):
        for file in nights.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        damaged = next(tmp_path.glob("SC4001*Hypnogram*"))
        damaged.write_bytes(damaged.read_bytes()[:300])
        with pytest.raises(ValueError, match=r"The annotations .*SC4001EH-Hypnogram-annot\.fif can't be read"):
            open_dataset(self.own_page(tmp_path), tmp_path)

    def test_of_several_files_that_may_be_its_hypnogram_none_is_taken(self, nights, tmp_path):
        for name in ("SC4001E0-PSG_raw.fif", "SC4001EH-Hypnogram-annot.fif"):
            (tmp_path / name).symlink_to(nights / name)
        (tmp_path / "SC4001EH-Hypnogram-annot.fif.md5").write_text("0")  # another name, that goes on after the pattern
        (tmp_path / "SC4001E0-PSG_raw.fif.md5").write_text("0")
        assert set(open_dataset(self.own_page(tmp_path), tmp_path).metadata["subject"]) == {"00"}
        (tmp_path / "SC4001EJ-Hypnogram-annot.fif").symlink_to(nights / "SC4001EH-Hypnogram-annot.fif")
        with pytest.raises(FileNotFoundError, match=r"SC4001E0-PSG_raw.fif needs one file .*Hypnogram.* beside it; 2 files match"):
            open_dataset(self.own_page(tmp_path), tmp_path)

    def test_the_check_sum_of_a_hypnogram_is_taken_as_well(self, nights, tmp_path):
        path = self.own_page(tmp_path)
        path.write_text(path.read_text() + f'[checksums]\n"SC4012GH-Hypnogram-annot.fif" = "{"0" * 64}"\n')
        with pytest.raises(ValueError, match=r"SC4012GH-Hypnogram-annot\.fif has the SHA-256 .*another version, edited or damaged"):
            open_dataset(path, nights)

    def test_a_recording_without_its_hypnogram_is_named(self, nights, tmp_path):
        (tmp_path / "SC4021E0-PSG_raw.fif").symlink_to(nights / "SC4001E0-PSG_raw.fif")
        with pytest.raises(FileNotFoundError, match=r"SC4021E0-PSG_raw.fif needs one file .*Hypnogram.* beside it; no file matches"):
            open_dataset(self.own_page(tmp_path), tmp_path)


class TestTheCompetitionsFiles:
    """The shipped page bci_iv_2a on recordings of its shape: six runs in a file, classes of session E in a second file."""

    def own_page(self, folder: Path, expect: str = "") -> Path:
        text = find_page("bci_iv_2a").read_text()
        text = text[text.index("[[source]]") : text.index("[expect]")].replace(".gdf", "_raw.fif")
        return page(folder, text + expect)

    def test_runs_are_cut_apart_classes_are_found_and_eog_stays_out(self, sessions, tmp_path):
        windows = open_dataset(self.own_page(tmp_path), sessions)
        assert windows.electrodes == read_page(find_page("bci_iv_2a")).expect.electrodes
        assert windows.metadata.groupby(["session", "run"]).size().to_dict() == {("E", "1"): 8, ("E", "2"): 8, ("T", "1"): 8, ("T", "2"): 8}
        assert windows.metadata.recording.nunique() == 4
        order = ("left", "right", "feet", "tongue")
        for _, run in windows.metadata.groupby("recording"):
            assert run.label.tolist() == [order[(3 * trial + int(run.run.iloc[0])) % 4] for trial in range(8)]
        # The half volt between the runs would be smeared into the windows beside it, had the file been filtered as a whole.
        assert np.abs(windows.values).max() < 1e-4
        assert windows.control_values.shape == (32, 22, 500)

    def test_runs_inside_a_file_are_excluded_by_name(self, sessions, tmp_path):
        windows = open_dataset(self.own_page(tmp_path), sessions, exclude=("sub-07/ses-T/run-2",))
        assert windows.metadata.groupby("session").size().to_dict() == {"E": 16, "T": 8}
        assert [each["recording"] for each in windows.page["excluded"]] == ["A07T_raw_run-2"]

    def test_unknown_classes_without_their_file_are_an_error(self, sessions, tmp_path):
        (tmp_path / "A07E_raw.fif").symlink_to(sessions / "A07E_raw.fif")
        with pytest.raises(FileNotFoundError, match=r"A07E_raw.fif has 16 cues '783' of unknown class"):
            open_dataset(self.own_page(tmp_path), tmp_path)

    def test_a_damaged_file_of_classes_is_named(self, sessions, tmp_path):
        (tmp_path / "A07E_raw.fif").symlink_to(sessions / "A07E_raw.fif")
        whole = (sessions / "A07E.mat").read_bytes()
        for content, message in ((whole[:-40], "damaged or cut short"), (whole.replace(b"classlabel", b"classlabek"), "no readable array 'classlabel'")):
            (tmp_path / "A07E.mat").write_bytes(content)
            with pytest.raises(ValueError, match=rf"A07E\.mat.*{message}"):
                open_dataset(self.own_page(tmp_path), tmp_path)

    def test_of_two_files_of_classes_none_is_taken(self, sessions, tmp_path):
        (tmp_path / "A07E_raw.fif").symlink_to(sessions / "A07E_raw.fif")
        for below in ("old", "new"):
            (tmp_path / below).mkdir()
            (tmp_path / below / "A07E.mat").symlink_to(sessions / "A07E.mat")
        with pytest.raises(FileNotFoundError, match=r"A07E_raw.fif needs one file .* beside it; 2 files match"):
            open_dataset(self.own_page(tmp_path), tmp_path)

    def test_the_check_sum_of_the_file_of_classes_is_taken_as_well(self, sessions, tmp_path):
        with pytest.raises(ValueError, match=r"A07E\.mat has the SHA-256 .*another version, edited or damaged"):
            open_dataset(self.own_page(tmp_path, f'[checksums]\n"A07E.mat" = "{"0" * 64}"\n'), sessions)

    def test_a_file_with_too_few_classes_is_an_error(self, sessions, tmp_path):
        (tmp_path / "A07E_raw.fif").symlink_to(sessions / "A07E_raw.fif")
        savemat(tmp_path / "A07E.mat", {"classlabel": np.ones((15, 1))})
        with pytest.raises(ValueError, match=r"A07E.mat has 15 labels, A07E_raw.fif has 16 cues"):
            open_dataset(self.own_page(tmp_path), tmp_path)

    def test_cues_before_the_first_run_are_named(self, sessions, tmp_path):
        raw = mne.io.read_raw_fif(sessions / "A07T_raw.fif", verbose="ERROR")
        raw.set_annotations(raw.annotations[raw.annotations.onset > 80])  # the first two runs begin unmarked
        raw.save(tmp_path / "A07T_raw.fif", verbose="ERROR")
        with pytest.raises(ExpectationError, match="A07T_raw has 7 events of the page before its first '32766', or within split_margin_s of one, so in no run"):
            open_dataset(self.own_page(tmp_path), tmp_path)

    def test_lost_trials_are_named(self, sessions, tmp_path):
        with pytest.raises(ExpectationError, match="A07E_raw_run-1 has 2 trials of 'left' instead of 12"):
            open_dataset(self.own_page(tmp_path, "[expect]\ntrials_per_run = { left = 12 }\n"), sessions)


class StimulusChannelDataset:
    """What MOABB's dataset classes offer, as `moabb.datasets.base` states it: subject_list, event_id and get_data(subjects)."""

    subject_list = (1, 2, 3)
    event_id = {"left_hand": 1, "right_hand": 2}  # noqa: RUF012

    def get_data(self, subjects):
        return {subject: {"0train": {"0": self.raw(subject)}, "1test": {"0": self.raw(subject + 10)}} for subject in subjects}

    @staticmethod
    def raw(seed: int) -> mne.io.RawArray:
        values = 1e-5 * np.random.default_rng(seed).standard_normal((4, 2000))
        values[3] = 0
        values[3, 300:1700:200] = [1, 2, 2, 1, 2, 1, 1]
        return mne.io.RawArray(values, mne.create_info(["C3", "Cz", "C4", "stim"], 100.0, ["eeg"] * 3 + ["stim"]), verbose="ERROR")


class TestMoabb:
    def test_stimulus_channels_become_events_at_the_cue(self):
        recordings = list(recordings_of_moabb(StimulusChannelDataset(), "Name", 2.0, lambda subject: subject != "2"))
        assert [(each.name, each.subject, each.session, each.run) for each in recordings] == [
            (f"Name_{subject}_{session}_0", str(subject), session, "0") for subject in (1, 3) for session in ("0train", "1test")
        ]
        annotations = recordings[0].read().annotations
        assert annotations.description.tolist() == ["left_hand", "right_hand", "right_hand", "left_hand", "right_hand", "left_hand", "left_hand"]
        np.testing.assert_allclose(annotations.onset, np.arange(3.0, 17.0, 2.0) + 2.0)

    def test_the_delay_of_the_cue_is_the_pages(self, monkeypatch):
        monkeypatch.setattr(page_sources, "_moabb_dataset", lambda source: StimulusChannelDataset())
        opened, local = read_page(find_page("bci_iv_2a")), []
        moabb = next(source for source in opened.source if isinstance(source, Moabb))
        for delay_s in (0.0, moabb.cue_delay_s):
            found = list_recordings(opened, replace(moabb, cue_delay_s=delay_s), None, lambda subject: subject == "3")
            assert [(each.subject, each.session, each.run) for each in found] == [("3", "0train", "0"), ("3", "1test", "0")]
            local.append(found[0].read().annotations.onset)
        np.testing.assert_allclose(local[1], local[0] + 2.0)

    @pytest.mark.parametrize("date", [None, 10])
    @pytest.mark.parametrize(("said", "name"), [([], "BAD_muscle"), ([1.5], "BAD_muscle"), ([1.5], "EDGE boundary")])
    def test_annotations_of_something_else_hide_no_stimulus_channel_and_reading_again_moves_nothing(self, date, said, name):
        class Annotated(StimulusChannelDataset):
            @staticmethod
            def raw(seed):
                raw = StimulusChannelDataset.raw(seed).crop(1.0)
                return raw.set_meas_date(date).set_annotations(mne.Annotations(said, 0.5, name))

        recording = next(recordings_of_moabb(Annotated(), "Name", 0.25, lambda subject: True))
        cues = ["left_hand", "right_hand", "right_hand", "left_hand", "right_hand", "left_hand", "left_hand"]
        for raw in (recording.read(), recording.read()):
            onsets = dict(zip(raw.annotations.onset - raw.first_time, raw.annotations.description, strict=True))
            assert list(onsets) == [*said, *np.arange(2.25, 15.0, 2.0)]  # the cues move, the bad span and the break don't
            assert list(onsets.values()) == [name] * len(said) + cues

    @pytest.mark.parametrize("code", [0, 7])
    def test_a_stimulus_channel_without_the_datasets_codes_leaves_the_annotations_alone(self, code):
        class Annotated(StimulusChannelDataset):
            @staticmethod
            def raw(seed):
                raw = StimulusChannelDataset.raw(seed).apply_function(lambda values: code * (values > 0), picks=[3])
                return raw.set_annotations(mne.Annotations([1.5, 3.0], 0.5, ["T1", "T2"]))

        annotations = next(recordings_of_moabb(Annotated(), "Name", 0.0, lambda subject: True)).read().annotations
        assert dict(zip(annotations.onset, annotations.description, strict=True)) == {1.5: "T1", 3.0: "T2"}

    def test_a_failed_download_says_what_else_can_be_done(self):
        class Unreachable(StimulusChannelDataset):
            def get_data(self, subjects):
                raise OSError("no route")

        with pytest.raises(ConnectionError, match=r"MOABB couldn't fetch subject 1 of Name \(no route\).*folder=…"):
            list(recordings_of_moabb(Unreachable(), "Name", 0.0, lambda subject: True))

    def test_without_moabb_and_folder_the_page_says_what_it_needs(self, monkeypatch):
        monkeypatch.setattr(page_places, "find_spec", lambda package: None)
        with pytest.raises(FileNotFoundError, match=r"bci_iv_2a isn't here .*moabb isn't installed.*A01T.gdf"):
            open_dataset("bci_iv_2a")


def test_a_check_sum_is_taken_without_holding_the_file_in_memory(tmp_path):
    path = tmp_path / "night.edf"
    path.write_bytes(bytes(2**25))
    recording, expecting = Recording("night", "1", "1", "1", None, (path,)), replace(read_page(find_page("sleep_edf")), checksums={path.name: "0"})
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"night\.edf has the SHA-256 .*, sleep_edf expects 0"):
        check_sha256(recording, expecting)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


class TestFetching:
    def test_an_unknown_fetcher_is_named(self):
        with pytest.raises(PageError, match="it must be eegbci or sleep_physionet_age"):
            _fetch(Fetched("mne", "eegbic", (1,), "*"), [1], None)

    def test_excluded_subjects_are_not_fetched_and_that_is_told(self, tmp_path, monkeypatch):
        from mne.datasets import eegbci

        asked = []
        monkeypatch.setattr(eegbci, "load_data", lambda subjects, runs, **_: asked.append((subjects, runs)) or [])
        source = '[source]\nkind = "mne"\nfetcher = "eegbci"\nsubjects = [86, 88, 90, 91]\nruns = [4]\npattern = "**/S{subject:3}R{run:2}.edf"\n'
        rest = '[[events]]\nlabels = { T1 = "left" }\n[window]\nstart_s = 0\nstop_s = 1\n[[exclude]]\nsubject = "088"\nreason = "128 Hz"\n'
        with pytest.raises(FileNotFoundError, match="No file in what eegbci fetched"):
            open_dataset(page(tmp_path, source + rest), exclude=("sub-90",))
        assert asked == [([86, 91], [4])]

    @pytest.mark.parametrize(("runs", "nights_asked"), [((), [1, 2]), ((2,), [2])])
    def test_of_each_night_the_recording_and_its_hypnogram_are_taken(self, nights, monkeypatch, runs, nights_asked):
        from mne.datasets.sleep_physionet import age

        asked = []
        pairs = [[nights / "SC4001E0-PSG_raw.fif", nights / "SC4001EH-Hypnogram-annot.fif"], [nights / "SC4012G0-PSG_raw.fif", nights / "x.fif"]]
        monkeypatch.setattr(age, "fetch_data", lambda subjects, recording, **_: asked.append((subjects, recording)) or pairs)
        paths = _fetch(Fetched("mne", "sleep_physionet_age", (0, 1), "*", runs), [0, 1], None)
        assert paths == [path for pair in pairs for path in pair]
        assert asked == [([0, 1], nights_asked)]

    def test_a_subject_that_is_not_fetched_is_told_with_the_reason(self):
        selection = Selection(read_page(find_page("physionet_mi")), exclude=("sub-7",))
        assert [subject for subject in map(str, range(1, 110)) if not selection.fetches(subject)] == ["7", "88", "89", "92", "100", "104"]
        assert {each["subject"]: each["by"] for each in selection.excluded} == {"7": "caller"} | dict.fromkeys(("88", "89", "92", "100", "104"), "page")
        assert "128 Hz" in selection.excluded[1]["reason"]

    def test_a_failed_download_says_what_else_can_be_done(self, tmp_path, monkeypatch):
        from mne.datasets import eegbci

        def fails(*_, **__):
            raise OSError("no route")

        monkeypatch.setattr(eegbci, "load_data", fails)
        with pytest.raises(ConnectionError, match=r"couldn't fetch eegbci \(no route\).*folder=…"):
            open_dataset("physionet_mi", only=("sub-1",))


def assert_the_louder_half_is_dropped(whole: Windows, opened: Callable[[str], Windows]) -> Windows:
    swings = np.ptp(whole.values, axis=2).max(axis=1)
    limit = float(np.sort(swings)[len(swings) // 2 - 1 : len(swings) // 2 + 1].mean())
    left = opened(f"[rejection]\npeak_to_peak_v = {limit}\n")
    np.testing.assert_array_equal(left.values, whole.values[swings < limit])
    told = [(row["recording"], row["trial"], row["label"]) for row in left.page["dropped"]["windows"]]
    assert told == list(whole.metadata.loc[swings > limit, ["recording", "trial", "label"]].itertuples(index=False, name=None))
    assert list(left.page["dropped"]["reasons"]) == ["too large"]
    return left


def test_an_electrode_that_stands_still_far_from_zero_is_flat():
    """The spread of 1009 samples of 0.1 V is 1.5e-8 V in single precision."""
    windows = synthetic_windows(n_subjects=1, n_runs=1, n_trials=5, n_times=1009)
    windows.values[3, 1] = 0.1
    rejected = Rejected(flat_v=1e-9)
    np.testing.assert_array_equal(without_rejected(windows, rejected).values, windows.values[[0, 1, 2, 4]])
    assert [row["reason"] for row in rejected.dropped] == ["flat: Cz (below 1e-09 V)"]


class TestArrays:
    names = ("C3", "Cz", "C4", "X", "F7")

    @pytest.fixture
    def folder(self, tmp_path) -> Path:
        generator = np.random.default_rng(0)
        codes = {part: generator.integers(-20, 20, (11, 5, 61)).astype(np.int16) for part in ("train", "test")}
        codes["test"][8] = codes["train"][7]  # a repeat
        for part, values in codes.items():
            trial = np.arange(11) if part == "train" else np.array([*range(11, 19), 7, 19, 20])
            offset = np.full((11, 5), 2.0, np.float32)
            labels = np.array(["a", "b", "z"])[np.arange(11) % 3]
            labels[[7, 8]] = "a"
            everything = {"codes": values, "offset": offset, "step": 0.5, "names": self.names, "rate": [64.0], "who": ["s1"] * 6 + ["s2"] * 5}
            np.savez(tmp_path / f"{part}.npz", trial=trial, what=labels, **everything)
        return tmp_path

    text = (
        '[source]\nkind = "arrays"\nvalues = "codes"\noffset = "offset"\nstep = "step"\nunit = "uV"\nelectrodes = "names"\nsampling_rate = "rate"\n'
        'subject = "who"\ntrial = "trial"\nlabel = "what"\nfiles.train = "train.npz"\nfiles.test = "test.npz"\n'
        '[[events]]\nlabels = { a = "one", b = "two" }\n[electrodes]\ndrop = ["X"]\n'
    )

    def test_values_are_decoded_to_volts_and_unused_labels_left_out(self, folder):
        windows = open_dataset(page(folder, self.text), folder)
        stored = np.load(folder / "train.npz")
        rows = np.flatnonzero(stored["what"] != "z")
        expected = 1e-6 * (2 + 0.5 * np.cumsum(stored["codes"].astype(int), axis=2))[rows][:, [0, 1, 2, 4]]
        np.testing.assert_allclose(windows.values[: len(rows)], expected, rtol=1e-6)  # float32 against float64
        assert windows.electrodes == ("C3", "Cz", "C4", "F7")
        assert windows.classes == ("one", "two")
        assert windows.metadata.start_s.isna().all()
        assert windows.metadata.shipped.value_counts().to_dict() == {"train": len(rows), "test": len(windows) - len(rows)}
        assert windows.metadata.subject.unique().tolist() == windows.metadata.recording.unique().tolist() == ["s1", "s2"]

    def store(self, folder: Path, part: str, **changed) -> dict[str, np.ndarray]:
        stored = dict(np.load(folder / f"{part}.npz")) | changed
        np.savez(folder / f"{part}.npz", **stored)
        return stored

    @pytest.mark.parametrize("scale", [np.int16(1900), np.float64(0.37)])
    def test_running_sums_neither_overflow_nor_lose_what_is_not_whole(self, folder, scale):
        stored = self.store(folder, "train", codes=np.load(folder / "train.npz")["codes"] % 17 * scale, step=0.01)
        windows = open_dataset(page(folder, self.text), folder)
        rows = np.flatnonzero(stored["what"] != "z")
        expected = 1e-6 * (2 + 0.01 * np.cumsum(stored["codes"].astype(float), axis=2))[rows][:, [0, 1, 2, 4]]
        np.testing.assert_allclose(windows.values[: len(rows)], expected, rtol=1e-6)  # float32 against float64

    def test_trials_that_each_session_counts_anew_are_told_apart(self, folder):
        for part in ("train", "test"):
            who, day = [7.0] * 6 + [np.nan] * 5, [1, 2, 2, 1, 2, 1] * 2
            self.store(
                folder, part, who=np.where(np.isnan(who), 8.0, who), day=day[:11], block=np.array(["x", "y"])[np.array(day[:11]) - 1], trial=np.zeros(11)
            )
        text = self.text.replace('subject = "who"', 'subject = "who"\nsession = "day"\nrun = "block"')
        metadata = open_dataset(page(folder, text), folder, only=("sub-7",)).metadata
        assert metadata[["subject", "session", "run", "recording"]].drop_duplicates().to_numpy().tolist() == [
            ["7", "1", "x", "sub-7_ses-1_run-x"],
            ["7", "2", "y", "sub-7_ses-2_run-y"],
        ]
        sessions = open_dataset(page(folder, text.replace('run = "block"', "")), folder, only=("sub-7",)).metadata["recording"]
        assert sessions.unique().tolist() == ["sub-7_ses-1_run-1", "sub-7_ses-2_run-1"]
        assert open_dataset(page(folder, self.text), folder).metadata[["session", "run"]].drop_duplicates().to_numpy().tolist() == [["1", "1"]]

    def test_names_of_electrodes_in_bytes_are_text_spelt_as_elsewhere_and_renamed(self, folder):
        for part in ("train", "test"):
            self.store(folder, part, names=np.array([b"C3.", b"Cz", b"EEG C4", b"X", b"E1"]))
        windows = open_dataset(page(folder, self.text + 'rename = { E1 = "F7" }\n'), folder)
        assert windows.electrodes == ("C3", "Cz", "C4", "F7")
        assert np.isfinite([channel["loc"][:3] for channel in windows.info["chs"]]).all()

    def test_values_that_are_no_windows_of_these_electrodes_are_named(self, folder):
        codes = np.load(folder / "train.npz")["codes"]
        for values, shape in ((codes[:, :4], r"\(11, 4, 61\)"), (codes[:, :, 0], r"\(11, 5\)")):
            self.store(folder, "train", codes=values)
            text = self.text.replace('offset = "offset"\nstep = "step"\n', "")
            with pytest.raises(ValueError, match=rf"example names 5 electrodes, but its values have the shape {shape}: \(trials, electrodes, samples\)"):
                open_dataset(page(folder, text), folder)

    def test_a_file_is_found_below_and_none_is_taken_of_two(self, folder):
        (folder / "below").mkdir()
        (folder / "train.npz").rename(folder / "below" / "train.npz")
        assert len(open_dataset(page(folder, self.text), folder)) > 11
        (folder / "twin").mkdir()
        (folder / "twin" / "train.npz").write_bytes((folder / "below" / "train.npz").read_bytes())
        with pytest.raises(FileNotFoundError, match=r"needs one file train.npz in .*; found 2"):
            open_dataset(page(folder, self.text), folder)

    def test_only_the_parts_of_a_split_are_called_shipped(self, folder):
        windows = open_dataset(page(folder, self.text.replace("files.train", "files.first").replace("files.test", "files.second")), folder)
        assert "shipped" not in windows.metadata

    def test_electrodes_are_picked_in_the_order_of_the_page(self, folder):
        windows = open_dataset(page(folder, self.text.replace('drop = ["X"]', 'pick = ["C4", "F7", "C3"]')), folder)
        whole = open_dataset(page(folder, self.text), folder)
        assert windows.electrodes == ("C4", "F7", "C3")
        np.testing.assert_array_equal(windows.values, whole.values[:, [2, 3, 0]])

    def test_muscles_behind_an_amplifiers_gain_are_read_where_the_page_says_that_they_are_muscles(self, folder):
        for part in ("train", "test"):
            stored = dict(np.load(folder / f"{part}.npz"))
            np.savez(folder / f"{part}.npz", **stored | {"names": ("T3", "FC1", "Biceps", "X", "Triceps")})
        loud = self.text.replace('unit = "uV"', 'unit = "mV"')
        with pytest.raises(ValueError, match=r'can\'t be volts; it looks like millivolts.* type "emg" \(in a page: kind in'):
            open_dataset(page(folder, loud), folder)
        windows = open_dataset(page(folder, loud + 'kind = "emg"\n'), folder)
        assert windows.electrodes == ("T3", "FC1", "Biceps", "Triceps")  # names of muscles aren't those of the scalp
        assert windows.info.get_channel_types() == ["emg"] * 4
        again = Windows.load(saved(windows, folder / "saved"))
        assert again.info.get_channel_types() == ["emg"] * 4

    def test_repeats_and_flat_trials_are_dropped_by_name_or_kept_on_request(self, folder):
        stored = dict(np.load(folder / "train.npz"))
        stored["codes"][4, 2] = 0
        np.savez(folder / "train.npz", **stored)
        path = page(folder, self.text + "[rejection]\nflat_v = 1e-9\nrepeats = true\n")
        windows = open_dataset(path, folder)
        told = windows.page["dropped"]
        assert told["reasons"] == {"flat": 1, "repeat": 1}
        reasons = [(row["trial"], row["reason"]) for row in told["windows"]]
        assert reasons == [(4, "flat: C4 (below 1e-09 V)"), (7, "repeat: the same bytes as s2 trial 7 (train)")]
        kept = open_dataset(path, folder, repeats="keep")
        assert len(kept) == len(windows) + 1
        assert kept.metadata[["recording", "trial"]].duplicated().sum() == 1  # so that nobody can put them into two parts
        with pytest.raises(ValueError, match="repeats is 'twice'"):
            open_dataset(path, folder, repeats="twice")

    def test_trials_that_swing_too_far_are_dropped_by_name(self, folder):
        whole = open_dataset(page(folder, self.text), folder)
        left = assert_the_louder_half_is_dropped(whole, lambda rejection: open_dataset(page(folder, self.text + rejection), folder))
        assert set(left.metadata["shipped"]) == {"train", "test"}

    def test_subjects_inside_a_file_are_excluded_by_name(self, folder):
        windows = open_dataset(page(folder, self.text), folder, exclude=("s1",))
        assert set(windows.metadata.subject) == {"s2"}
        assert {each["recording"] for each in windows.page["excluded"]} == {"s1"}

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ('values = "codes"', 'values = "code"', "train.npz has no array 'code'; it has"),
            ('unit = "uV"', 'unit = "µV"', "unit is 'µV'; it must be one of V, mV, uV, nV"),
            *[
                ('drop = ["X"]', f"{key} = {value}", "speaks of the electrodes EOG; there are C3")
                for key, value in (("drop", '["EOG"]'), ("pick", '["C3", "EOG"]'), ("rename", '{ EOG = "Fpz" }'))
            ],
            ('a = "one", b = "two"', 'c = "one"', "uses the labels c; the train part has none of them, but a, b, z"),
            ("train.npz", "tarin.npz", "needs one file tarin.npz in .*; found 0"),
            ("[electrodes]", "[window]\nstart_s = 0\nstop_s = 1\n[electrodes]", "its source holds finished windows"),
            ("[electrodes]", "[expect]\nsampling_rate_hz = 128\n[electrodes]", "a sampling rate of 64 Hz instead of 128 Hz"),
            ("[electrodes]", "[expect]\nduration_s = [1, 1.1]\n[electrodes]", "windows of 0.953125 s instead of 1 to 1.1 s"),
            ('unit = "uV"', 'unit = "V"', "can't be volts"),
            ("[electrodes]", '[electrodes]\nkind = "muscle"', "kind in .electrodes. is 'muscle'; it must be one of eeg, emg"),
            ('step = "step"\n', "", "names an offset .'offset'., but no step"),
            ("[electrodes]", '[rejection]\npeak_to_peak_v = "autoreject"\n[electrodes]', "rejects by annotations or autoreject, but its source holds finished"),
            ("[electrodes]", '[rejection]\nbad_spans = ["x"]\n[electrodes]', "rejects by annotations or autoreject, but its source holds finished"),
        ],
    )
    def test_mistakes_are_named(self, folder, old, new, message):
        assert old in self.text
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            open_dataset(page(folder, self.text.replace(old, new)), folder)

    def test_a_truncated_file_is_named(self, folder):
        (folder / "test.npz").write_bytes((folder / "test.npz").read_bytes()[:3000])
        with pytest.raises(ValueError, match=r"test.npz can't be read"):
            open_dataset(page(folder, self.text), folder)


class TestTextSeries:
    """Any .ts file of any installed package; here of one that the test makes."""

    text = (
        '[source]\nkind = "package"\npackage = "example_series"\nsampling_rate_hz = 50\nunit = "uV"\nfiles.train = "data/E_TRAIN.ts"\n'
        '[[events]]\nlabels = { yes = "yes", no = "no" }\n'
    )

    @pytest.fixture
    def package(self, tmp_path, monkeypatch) -> Path:
        folder = tmp_path / "example_series"
        (folder / "data").mkdir(parents=True)
        (folder / "__init__.py").write_text("raise ImportError('a page never imports the package')")
        monkeypatch.syspath_prepend(tmp_path)
        values = np.random.default_rng(0).normal(0, 10, (7, 3, 23)).round(2)
        self.write(folder, values, ["yes", "no", "no", "yes", "no", "yes", "yes"])
        np.save(tmp_path / "values.npy", values)
        return folder

    @staticmethod
    def write(folder: Path, values: np.ndarray, labels: list[str]) -> None:
        cases = [":".join(",".join(map(str, channel)) for channel in case) for case in values]
        lines = ["@problemName E", "@timeStamps false", "@seriesLength 99", "@classLabel true yes no", "@data"]
        (folder / "data" / "E_TRAIN.ts").write_text("\n".join([*lines, *(f"{case}:{label}" for case, label in zip(cases, labels, strict=True))]) + "\n")

    def test_the_lines_are_read_whatever_the_header_says_of_their_length(self, package, tmp_path):
        windows = open_dataset(page(tmp_path, self.text))
        np.testing.assert_allclose(windows.values, 1e-6 * np.load(tmp_path / "values.npy"), rtol=1e-6)  # float32 against float64
        assert windows.labels.tolist() == ["yes", "no", "no", "yes", "no", "yes", "yes"]
        assert windows.electrodes == ("electrode 1", "electrode 2", "electrode 3")
        assert windows.metadata[["recording", "trial", "shipped"]].iloc[6].tolist() == ["E_TRAIN", 6, "train"]
        assert windows.metadata[["subject", "session", "run"]].drop_duplicates().to_numpy().tolist() == [["1", "1", "1"]]
        assert windows.sampling_rate == 50.0

    def test_a_page_can_say_whose_the_series_are(self, package, tmp_path):
        windows = open_dataset(page(tmp_path, self.text.replace('unit = "uV"', 'unit = "uV"\nsubject = "3"\nsession = "a"\nrun = "07"')))
        assert windows.metadata[["subject", "session", "run"]].drop_duplicates().to_numpy().tolist() == [["3", "a", "07"]]

    def test_trials_that_swing_too_far_are_dropped_by_name(self, package, tmp_path):
        whole = open_dataset(page(tmp_path, self.text))
        assert_the_louder_half_is_dropped(whole, lambda rejection: open_dataset(page(tmp_path, self.text + rejection)))

    def test_rows_that_repeat_each_other_are_told_and_can_be_laid_out_again(self, package, tmp_path):
        electrodes = np.random.default_rng(1).normal(0, 10, (7, 6, 23)).round(2)
        flat = electrodes.reshape(7, -1)
        self.write(package, np.stack([flat[:, 5 * row : 5 * row + 23] for row in range(9)], axis=1), ["yes", "no"] * 3 + ["no"])
        windows = open_dataset(page(tmp_path, self.text))
        assert windows.values.shape == (7, 9, 23)
        assert any("each row repeats the one before it, shifted by 5 samples" in note for note in windows.page["notes"])
        whole = open_dataset(page(tmp_path, self.text.replace('unit = "uV"', 'unit = "uV"\nrow_step = 5'), name="whole"))
        np.testing.assert_allclose(whole.values, 1e-6 * electrodes[:, :2], rtol=1e-6)  # float32 against float64
        named = 'unit = "uV"\nelectrodes = ["C3"]\nrow_step = 5'  # the file holds whole electrodes beyond those that have a name
        first = open_dataset(page(tmp_path, self.text.replace('unit = "uV"', named), name="first"))
        np.testing.assert_array_equal(first.values, whole.values[:, :1])
        with pytest.raises(ValueError, match="row_step is not 4"):
            open_dataset(page(tmp_path, self.text.replace('unit = "uV"', 'unit = "uV"\nrow_step = 4'), name="wrong"))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("@data\n", "", "has no line @data"),
            ("@timeStamps false", "@timeStamps true", "has time stamps"),
            (":yes\n", ",1.5:yes\n", "case 0 has 70 numbers in 3 channels: its channels aren't equally long|case 1 has"),
            (":no\n", ",?:no\n", "holds what is no number|case 1 has"),
        ],
    )
    def test_damaged_files_are_named(self, package, tmp_path, old, new, message):
        file = package / "data" / "E_TRAIN.ts"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        with pytest.raises(ValueError, match=message):
            open_dataset(page(tmp_path, self.text))

    @pytest.mark.parametrize("value", ["?", "NaN", "", "inf"])
    def test_a_missing_sample_is_no_number(self, package, tmp_path, value):
        file = package / "data" / "E_TRAIN.ts"
        head, data = file.read_text().split("@data\n")
        file.write_text(f"{head}@data\n{data.replace(data.split(',')[1], value, 1)}")
        with pytest.raises(ValueError, match=r"E_TRAIN.ts(: case 0 holds NaN| holds what is no number)"):
            open_dataset(page(tmp_path, self.text))

    def test_a_package_that_is_not_installed_says_how_to_get_it(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"the package example_serie isn't installed.*needs: files"):
            open_dataset(page(tmp_path, self.text.replace("example_series", "example_serie")))

    def test_the_packages_folder_will_do_without_an_installation(self, package, tmp_path):
        path = page(tmp_path, self.text.replace('package = "example_series"', 'package = "not_installed"'))
        assert len(open_dataset(path, package)) == 7

    def test_a_file_that_the_package_lacks_is_named(self, package, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"example_series holds no file data/F_TRAIN.ts: it is another version"):
            open_dataset(page(tmp_path, self.text.replace("E_TRAIN", "F_TRAIN")))


def test_arrays_are_no_recordings(tmp_path):
    opened = read_page(page(tmp_path, TestArrays.text))
    with pytest.raises(TypeError, match="holds arrays"):
        list_recordings(opened, opened.source[0], tmp_path, lambda subject: True)

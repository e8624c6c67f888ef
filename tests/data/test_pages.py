"""Pages: what they may say, what they find, what they refuse; on small recordings written to a temporary folder."""

import json
import os
import shutil
import tomllib
import warnings
from pathlib import Path

import mne
import numpy as np
import pytest

import sigvit
from sigvit.data.page_expectations import ExpectationError
from sigvit.data.page_reading import read_page
from sigvit.data.page_sources import files_below, pattern_expression
from sigvit.data.page_tables import PageError
from sigvit.data.pages import describe_datasets, find_page, open_dataset, page_names, pages_folder
from sigvit.data.synthetic import synthetic_raw

RATE = 97.0
HEAD = 'title = "A"\ntask = "Tell."\nlicence = "none"\ncitation = "nobody"\nneeds = "files"\n'
SOURCE = '[source]\nkind = "files"\npattern = "**/sub-{subject}_run-{run}_raw.fif"\n'
EVENTS = '[[events]]\nlabels = { left = "left", right = "right" }\n'
WINDOW = "[window]\nstart_s = 0.5\nstop_s = 1.5\n"


def recording(folder: Path, subject: str, run: str, *, sampling_rate: float = RATE, electrodes=("C3", "Cz", "C4", "F7", "F8"), trial_s: float = 2.0) -> Path:
    path = folder / f"sub-{subject}_run-{run}_raw.fif"
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int(subject) * 10 + int(run)
    raw = synthetic_raw(n_trials=5, electrodes=electrodes, sampling_rate=sampling_rate, trial_s=trial_s, rest_s=1.0, seed=seed)
    raw.save(path, verbose="ERROR", overwrite=True)
    return path


def page(folder: Path, *tables: str, name: str = "example", head: str = HEAD) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(head + "\n".join(tables))
    return path


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for subject, run in (("02", "2"), ("02", "1"), ("01", "2"), ("01", "1")):
        recording(folder / f"S{subject}", subject, run)
    return folder


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    return page(tmp_path_factory.mktemp("page"), SOURCE, EVENTS, WINDOW)


class TestWhatAPageMaySay:
    @pytest.mark.parametrize(
        ("tables", "message"),
        [
            ((SOURCE, EVENTS, WINDOW + "strat_s = 1\n"), "window has the unknown key 'strat_s'; the nearest right one is 'start_s'"),
            (('tittle = "B"\n', SOURCE, EVENTS, WINDOW), "has the unknown key 'tittle'; the nearest right one is 'title'"),
            ((SOURCE + 'patern = "x"\n', EVENTS, WINDOW), "source has the unknown key 'patern'; the nearest right one is 'pattern'"),
            ((SOURCE, EVENTS, WINDOW, "[expect]\nsampling_rate = 3\n"), "the nearest right one is 'sampling_rate_hz'"),
            (('name = "another"\n', SOURCE, EVENTS, WINDOW), "has the unknown key 'name'"),
            ((SOURCE, EVENTS, '[window]\nstart_s = "0"\nstop_s = 1\n'), r"window: start_s is a text \('0'\); a number is needed"),
            ((SOURCE, EVENTS, WINDOW, "[processing]\nband_hz = 8\n"), r"band_hz is a whole number \(8\); a list is needed"),
            ((SOURCE, EVENTS, "[window]\nstart_s = true\nstop_s = 1\n"), r"window: start_s is true or false \(True\); a number is needed"),
            ((SOURCE, EVENTS, WINDOW, "[processing]\nband_hz = [8, 12, 30]\n"), "band_hz has 3 values; 2 are needed"),
            ((SOURCE, EVENTS, WINDOW, "[processing]\nband_hz = [8]\n"), "band_hz has 1 values; 2 are needed"),
            (("order_is_time = 1\n", SOURCE, EVENTS, WINDOW), r"order_is_time is a whole number \(1\); true or false is needed"),
            ((SOURCE, EVENTS, WINDOW, "[expect]\nrecordings = true\n"), r"recordings is true or false \(True\); a whole number is needed"),
            ((SOURCE, EVENTS, WINDOW, "[electrodes]\ndrop = 'ECG'\n"), "drop is a text"),
            (("source = 3\n", EVENTS, WINDOW), "has the kind None"),
            (('[source]\nkind = "zip"\n', EVENTS, WINDOW), "it must be one of files, bids, mne, moabb, package, arrays"),
            ((EVENTS, WINDOW), r"lacks the table \[source\]"),
            (("events = []\n", SOURCE, WINDOW), r"lacks \[\[events\]\]"),
            ((SOURCE, EVENTS), "it needs start_s and stop_s, or window_s"),
            ((SOURCE, EVENTS, WINDOW + "window_s = 2\n"), "window has start_s, stop_s, window_s; it needs"),
            ((SOURCE, '[[events]]\nlabel = "rest"\n', WINDOW), "labels whole recordings, so window needs window_s"),
            ((SOURCE, '[[events]]\nruns = "1"\n', WINDOW), "needs either labels"),
            ((SOURCE.replace("{subject}", "{person}"), EVENTS, WINDOW), "the field 'person'; the fields are subject, session, run"),
            (("title = [\n", SOURCE), "is no TOML"),
            (
                (SOURCE, EVENTS, WINDOW, "[expect]\ntrials_per_run = { lefft = 5 }\n"),
                "trials_per_run has the label 'lefft', which no .* they give left, right",
            ),
            ((SOURCE, EVENTS, WINDOW, "[expect]\ntrials.rest = [0, 5]\n"), "expect.trials has the label 'rest'"),
            ((SOURCE, EVENTS, '[window]\nwindow_s = 1\nbackground = "Left"\n'), "window.background has the label 'Left'"),
            ((SOURCE, EVENTS, WINDOW, '[electrodes]\nbad = "refused"\n'), "example.toml: bad_electrodes is 'refused'; it must be one of refuse, drop"),
            ((SOURCE, EVENTS, WINDOW, '[electrodes]\nconstant = "kept"\n'), "example.toml: constant_electrodes is 'kept'; it must be one of refuse, keep"),
            ((SOURCE, EVENTS, WINDOW, "[processing]\nband_hz = [38, 4]\n"), r"example.toml: band_hz is \(38.0, 4.0\); it needs a lower"),
        ],
    )
    def test_a_mistake_is_named_with_what_would_be_right(self, tmp_path, recordings, tables, message):
        head = HEAD if not tables[0].startswith(("title", "source")) or tables[0].startswith("source") else ""
        with pytest.raises(PageError, match=message):
            open_dataset(page(tmp_path, *tables, head=head), recordings)

    def test_a_missing_key_is_named(self, tmp_path):
        with pytest.raises(PageError, match="lacks the key 'licence'"):
            read_page(page(tmp_path, SOURCE, EVENTS, WINDOW, head=HEAD.replace('licence = "none"\n', "")))

    def test_an_unknown_name_gets_the_nearest(self):
        with pytest.raises(PageError, match="no page 'scp_1'; the nearest is 'scp1'"):
            open_dataset("scp_1")

    def test_a_page_of_ones_own_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(PageError, match=r"no page .*mine\.toml"):
            open_dataset(tmp_path / "mine.toml")

    def test_its_hash_is_that_of_its_bytes_so_that_an_edit_shows(self, tmp_path):
        first, second = page(tmp_path, SOURCE, EVENTS, WINDOW, name="a"), page(tmp_path, SOURCE, EVENTS, WINDOW + "# edited\n", name="b")
        assert read_page(first).sha256 != read_page(second).sha256


class TestFiles:
    def test_recordings_come_in_order_of_their_names_whatever_the_file_system_says(self, recordings, monkeypatch):
        forwards = list(files_below(recordings))
        walk = os.walk
        monkeypatch.setattr(os, "walk", lambda *a, **k: ((b, d[::-1], f[::-1]) for b, d, f in walk(*a, **k)))
        assert list(files_below(recordings)) == forwards == sorted(forwards)

    def test_a_link_to_a_folder_above_and_hidden_folders_add_no_recordings(self, tmp_path, recordings):
        below = shutil.copytree(recordings, tmp_path / "data")
        files = list(files_below(below))
        (below / "S01" / "latest").symlink_to(below, target_is_directory=True)
        shutil.copytree(recordings, below / ".git")
        assert list(files_below(below)) == files
        assert len(open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW), below)) == 20

    def test_a_folder_of_links_to_its_neighbours_holds_their_recordings(self, tmp_path, recordings):
        below = shutil.copytree(recordings, tmp_path / "data")
        (below / "chosen").mkdir()
        (below / "chosen" / "S01").symlink_to(below / "S01", target_is_directory=True)
        chosen = page(tmp_path, SOURCE.replace("**/", "chosen/*/"), EVENTS, WINDOW)
        assert set(open_dataset(chosen, below).metadata["subject"]) == {"01"}

    def test_rows_carry_whose_they_are_and_where_they_lie_on_the_recordings_clock(self, example, recordings):
        windows = open_dataset(example, recordings)
        assert windows.values.shape == (20, 5, 97)
        assert windows.values.dtype == np.float32
        first = windows.metadata.iloc[0]
        assert (first.subject, first.session, first.run, first.recording, first.trial) == ("01", "1", "1", "sub-01_run-1_raw", 0)
        assert first.stop_s - first.start_s == 1.0
        raw = mne.io.read_raw_fif(recordings / "S01" / "sub-01_run-1_raw.fif", verbose="ERROR")
        assert first.start_s == pytest.approx(raw.annotations.onset[0] + 0.5, abs=0.5 / RATE)  # to the nearest sample
        assert not windows.metadata[["recording", "trial"]].duplicated().any()
        assert windows.metadata.recording.drop_duplicates().tolist() == [f"sub-0{s}_run-{r}_raw" for s in (1, 2) for r in (1, 2)]

    def test_what_it_tells_is_plain_data(self, example, recordings):
        windows = open_dataset(example, recordings)
        told = json.loads(json.dumps(windows.page))
        assert windows.name == told["name"] == "example"
        assert told["task"] == "Tell."
        assert told["page"]["window"] == {"start_s": 0.5, "stop_s": 1.5}
        assert told["sha256"] == read_page(example).sha256

    @pytest.mark.parametrize(
        ("pick", "electrodes", "left_out"),
        [
            ("", ("EMG flexor", "Biceps", "T3"), ["Aux 1"]),
            ('pick = ["Aux 1", "EMG flexor"]\n', ("Aux 1", "EMG flexor"), ["Biceps", "T3"]),
            ('pick = ["arm"]\nrename = { Biceps = "arm" }\n', ("arm",), ["EMG flexor", "Aux 1", "T3"]),
        ],
    )
    def test_a_page_can_say_that_its_channels_are_muscles(self, tmp_path, pick, electrodes, left_out):
        path = recording(tmp_path, "01", "1", electrodes=("EMG flexor", "Biceps", "Aux 1", "T3"))
        raw = mne.io.read_raw_fif(path, preload=True, verbose="ERROR")
        raw._data *= 1e3  # an amplifier's gain
        raw.save(path, verbose="ERROR", overwrite=True)
        windows = open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, f'[electrodes]\nkind = "emg"\n{pick}'), tmp_path)
        assert windows.electrodes == electrodes
        assert set(windows.info.get_channel_types()) == {"emg"}
        assert [note["left_out"] for note in windows.page["recordings"].values()] == [left_out]

    def test_a_page_can_say_whom_a_published_protocol_chooses_by_and_tests_on(self, tmp_path, recordings):
        for subject in ("03", "11"):
            recording(tmp_path / "more", subject, "1")
        for path in recordings.rglob("*_raw.fif"):
            (tmp_path / "more" / path.name).write_bytes(path.read_bytes())
        split = '[split]\nvalidation = "2"\ntest = ["03", "1?"]\n'
        windows = open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, split), tmp_path / "more")
        told = dict(zip(windows.metadata["subject"], windows.metadata["shipped"], strict=True))
        assert told == {"01": "train", "02": "validation", "03": "test", "11": "test"}

    def test_a_split_that_names_nobody_is_refused(self, tmp_path, recordings):
        left_out = '[[exclude]]\nsubject = "5?"\nreason = "moved"\n'
        right = '[split]\nvalidation = "5*"\ntest = ["2", "53"]\n'
        told = open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, right, left_out), recordings).metadata
        assert set(zip(told["subject"], told["shipped"], strict=True)) == {("01", "train"), ("02", "test")}
        for name in ("S02", "53"):
            with pytest.raises(ExpectationError, match=f"no subject '{name}', whom its split names"):
                open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, f'[split]\ntest = ["2", "{name}"]\n'), recordings)

    def test_where_order_is_not_time_nothing_is_said_of_time(self, tmp_path, recordings):
        windows = open_dataset(page(tmp_path, "order_is_time = false\n", SOURCE, EVENTS, WINDOW), recordings)
        assert windows.metadata[["start_s", "stop_s"]].isna().all(axis=None)
        assert windows.page["order_is_time"] is False

    def test_a_label_can_depend_on_the_run_and_runs_can_be_left_out_together(self, tmp_path, recordings):
        events = '[[events]]\nruns = "1"\nlabels = { left = "fists" }\n[[events]]\nlabels = { left = "left" }\n'  # of the other runs
        windows = open_dataset(page(tmp_path, SOURCE, events, WINDOW, '[run_groups]\nboth = ["1", "2"]\n'), recordings)
        assert windows.metadata.groupby("recording").label.unique().map(list).to_dict() == {
            f"sub-0{s}_run-{r}_raw": ["fists" if r == 1 else "left"] for s in (1, 2) for r in (1, 2)
        }
        assert set(windows.metadata.run) == {"both"}

    def test_runs_that_no_events_table_names_are_not_opened(self, tmp_path, recordings):
        windows = open_dataset(page(tmp_path, SOURCE, EVENTS.replace("labels", 'runs = ["2"]\nlabels'), WINDOW), recordings)
        assert set(windows.metadata.run) == {"2"}

    def test_whole_recordings_can_have_a_label(self, tmp_path, recordings):
        events = '[[events]]\nruns = "1"\nlabel = "rest"\n[[events]]\nruns = "2"\nlabel = "task"\n'
        windows = open_dataset(page(tmp_path, SOURCE, events, "[window]\nwindow_s = 2\n", '[electrodes]\ndrop = ["F7", "F8"]\n'), recordings)
        per_recording = int(synthetic_raw(n_trials=5, sampling_rate=RATE, trial_s=2.0, rest_s=1.0).duration // 2)
        assert windows.metadata.groupby("label").size().to_dict() == {"rest": 2 * per_recording, "task": 2 * per_recording}
        assert windows.electrodes == ("C3", "Cz", "C4")

    def test_the_signal_before_the_cue_comes_along_as_control(self, tmp_path, recordings):
        windows = open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW + "control_s = [-1, 0]\n"), recordings)
        assert windows.control_values is not None
        assert windows.control_values.shape == (20, 5, 97)

    def test_a_folder_above_the_pages_own_is_found_too(self, tmp_path, recordings, monkeypatch):
        path = page(tmp_path, SOURCE + f'folder = "{recordings.name}/S01"\n', EVENTS, WINDOW)
        for folder in (recordings.parent, recordings, recordings / "S01"):
            assert set(open_dataset(path, folder).metadata.subject) == {"01"}
        monkeypatch.setenv("SIGVIT_DATA", str(recordings.parent))
        assert len(open_dataset(path)) == 10

    def test_a_missing_folder_says_what_is_needed(self, example, tmp_path, recordings):
        with pytest.raises(FileNotFoundError, match=r"example isn't here .*no folder was given.* It needs: files"):
            open_dataset(example)
        with pytest.raises(FileNotFoundError, match="nowhere"):
            open_dataset(example, tmp_path / "nowhere")
        with pytest.raises(FileNotFoundError, match=r"No file in .* matches the pattern"):
            open_dataset(example, tmp_path)

    def test_one_recording_in_two_folders_is_refused(self, tmp_path, example):
        recording(tmp_path / "a", "01", "1")
        recording(tmp_path / "b", "01", "1")
        with pytest.raises(ValueError, match=r"sub-01_run-1_raw is there twice: .*a.* and .*b"):
            open_dataset(example, tmp_path)

    @pytest.mark.parametrize(("subjects", "gone"), [(("01", "02"), False), (("01",), True)])
    def test_a_label_that_one_recording_lost_is_missed_only_where_no_other_has_it(self, tmp_path, subjects, gone):
        path = page(tmp_path, SOURCE, EVENTS, "[window]\nwindow_s = 1.0\n")
        raw = mne.io.read_raw_fif(recording(tmp_path, "02", "1"), preload=True, verbose="ERROR")
        for subject in subjects:
            lost = (raw.annotations.description == "right") & (subject == "01")
            raw.annotations.duration = np.where(lost, 0.2, 2.0)  # 0.2 s is too short for a window
            raw.save(tmp_path / f"sub-{subject}_run-1_raw.fif", overwrite=True, verbose="ERROR")
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            windows = open_dataset(path, tmp_path, only=[f"sub-{subject}" for subject in subjects])
        assert ("right" in windows.classes) == (not gone)
        found = [str(each.message) for each in warned if "are dropped" in str(each.message)]
        assert any("windows of sub-01_run-1_raw are dropped" in each for each in found)
        assert [each.partition(" windows of ")[2].partition(" are")[0] for each in found if "none labelled right is left" in each] == ["example"] * gone

    def test_files_of_one_name_in_a_folder_for_each_subject_are_told_apart(self, tmp_path):
        for subject in ("01", "02"):
            recording(tmp_path, subject, "1").rename((tmp_path / f"S{subject}").with_suffix(".fif"))
            (tmp_path / f"S{subject}").mkdir()
            (tmp_path / f"S{subject}.fif").rename(tmp_path / f"S{subject}" / "ses3_run2_raw.fif")
        path = page(tmp_path, SOURCE.replace("**/sub-{subject}_run-{run}_raw", "S{subject}/ses{session}_run{run}_raw"), EVENTS, WINDOW)
        windows = open_dataset(path, tmp_path)
        assert windows.metadata["recording"].unique().tolist() == [f"sub-0{subject}_ses-3_run-2_ses3_run2_raw" for subject in (1, 2)]

    def test_a_file_that_is_not_the_one_of_the_checksum_is_refused(self, tmp_path, recordings):
        path = page(tmp_path, SOURCE, EVENTS, WINDOW, f'[checksums]\n"sub-01_run-2_raw.fif" = "{"0" * 64}"\n')
        with pytest.raises(ValueError, match=r"sub-01_run-2_raw\.fif has the SHA-256 .*another version, edited or damaged"):
            open_dataset(path, recordings)

    @pytest.mark.parametrize("pattern", ["S{subject", "S{subject:x}", "{subject}}{"])
    def test_an_unreadable_pattern_is_named(self, pattern):
        with pytest.raises(PageError, match="can't be read from"):
            pattern_expression(pattern)

    def test_a_field_that_comes_twice_has_one_text(self):
        expression = pattern_expression("sub-{subject}/sub-{subject}_run-{run}.edf")
        assert expression.fullmatch("sub-1/sub-1_run-2.edf")
        assert not expression.fullmatch("sub-1/sub-2_run-2.edf")


class TestExpectations:
    @pytest.mark.parametrize(
        ("expect", "message"),
        [
            ("sampling_rate_hz = 160", "example: sub-01_run-1_raw has a sampling rate of 97 Hz instead of 160 Hz"),
            ("sampling_rate_hz = [100, 160]", "a sampling rate of 97 Hz instead of 100 to 160 Hz"),
            ("channels = 6", r"5 channels \(C3, Cz, C4, F7, F8…\) instead of 6"),
            ('channels = ["C3", "Cz", "C4", "F7", "Fz"]', "among its channels no Fz and unexpected F8"),
            ('electrodes = ["C3"]', "among its electrodes unexpected Cz, C4, F7, F8"),
            ("event_duration_s = [4.0, 4.3]", "5 of 5 events lasting 2 to 2 s instead of 4 to 4.3 s"),
            ("duration_s = [60, 61]", "a duration of .* s instead of 60 to 61 s"),
            ("trials_per_run = { left = 3, right = [3, 4] }", "2 trials of 'right' instead of 3 to 4"),
            ("recordings = 3", "the set has 4 recordings instead of 3. It needs: files."),
            ("subjects = [3, 5]", "the set has 2 subjects instead of 3 to 5"),
            ("trials = { left = 100 }", "trials of 'left' instead of 100"),
        ],
    )
    def test_a_mismatch_is_an_error_that_names_it(self, tmp_path, recordings, expect, message):
        with pytest.raises(ExpectationError, match=message):
            open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, f"[expect]\n{expect}\n"), recordings)

    def test_what_is_expected_passes(self, tmp_path, recordings):
        expect = "sampling_rate_hz = 97\nchannels = 5\nrecordings = 4\nsubjects = 2\ntrials = { left = 12, right = 8 }\nevent_duration_s = [2, 2]\n"
        assert len(open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, "[expect]\n" + expect), recordings)) == 20

    def test_events_that_are_not_there_are_named_with_those_that_are(self, tmp_path, recordings):
        with pytest.raises(ExpectationError, match=r"none of the events T1 \(found: left, right\)"):
            open_dataset(page(tmp_path, SOURCE, '[[events]]\nlabels = { T1 = "left" }\n', WINDOW), recordings)


class TestWhatIsLeftOut:
    odd = "[expect]\nsampling_rate_hz = 97\n"

    @pytest.fixture
    def with_odd(self, tmp_path, recordings) -> Path:
        """A folder with a recording of another rate: subject 03, run 1."""
        for subject in ("S01", "S02"):
            (tmp_path / subject).symlink_to(recordings / subject)
        recording(tmp_path / "S03", "03", "1", sampling_rate=89.0)
        return tmp_path

    def test_the_page_excludes_with_a_reason_that_is_told(self, tmp_path, with_odd):
        path = page(tmp_path, SOURCE, EVENTS, WINDOW, self.odd, '[[exclude]]\nsubject = "3"\nreason = "another rate"\n')
        windows = open_dataset(path, with_odd)
        assert set(windows.metadata.subject) == {"01", "02"}
        assert windows.page["excluded"] == [
            {"recording": "sub-03_run-1_raw", "subject": "03", "session": "1", "run": "1", "reason": "another rate", "by": "page"}
        ]
        with pytest.raises(ExpectationError, match="sub-03_run-1_raw has a sampling rate of 89 Hz"):
            open_dataset(path, with_odd, include=("sub-03",))

    @pytest.mark.parametrize("name", ["sub-03", "subject 03", "sub-3/run-1", "03", "sub-03_run-1_raw", "sub-03_*"])
    def test_the_caller_excludes_by_name(self, tmp_path, with_odd, name):
        path = page(tmp_path, SOURCE, EVENTS, WINDOW, self.odd)
        with pytest.raises(ExpectationError, match="89 Hz"):
            open_dataset(path, with_odd)
        windows = open_dataset(path, with_odd, exclude=(name,))
        assert set(windows.metadata.subject) == {"01", "02"}
        assert [each["by"] for each in windows.page["excluded"]] == ["caller"]

    def test_the_caller_picks_by_name(self, example, recordings):
        windows = open_dataset(example, recordings, only=("sub-02/run-1", "sub-01_run-2_raw"))
        assert windows.metadata.recording.unique().tolist() == ["sub-01_run-2_raw", "sub-02_run-1_raw"]

    def test_a_name_that_matches_nothing_is_an_error(self, example, recordings):
        with pytest.raises(ValueError, match="example has no part 'sub-09'; its recordings are sub-01_run-1_raw"):
            open_dataset(example, recordings, exclude=("sub-09",))
        with pytest.raises(TypeError, match=r"exclude=\('sub-01',\)"):
            open_dataset(example, recordings, exclude="sub-01")

    def test_nothing_left_is_an_error(self, example, recordings):
        with pytest.raises(ValueError, match="no window left: 4 parts excluded"):
            open_dataset(example, recordings, exclude=("sub-*",))

    def test_the_others_go_on_if_asked_and_never_silently(self, tmp_path, with_odd):
        path = page(tmp_path, SOURCE, EVENTS, WINDOW, self.odd + "recordings = 5\n")  # what the whole set must hold isn't asked of the rest
        with pytest.warns(UserWarning, match="goes on without sub-03_run-1_raw: .*89 Hz"):
            windows = open_dataset(path, with_odd, failures="exclude")
        assert [(each["recording"], each["by"]) for each in windows.page["excluded"]] == [("sub-03_run-1_raw", "failure")]
        assert "89 Hz" in windows.page["excluded"][0]["reason"]
        with pytest.raises(ValueError, match="failures is 'ignore'"):
            open_dataset(path, with_odd, failures="ignore")

    def test_windows_over_the_limit_are_dropped_by_name(self, tmp_path, recordings):
        whole = open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, name="whole"), recordings)
        sizes = np.ptp(whole.values, axis=2).max(axis=1)
        limit = float(np.median(sizes))
        with pytest.warns(UserWarning, match="dropped"):
            windows = open_dataset(page(tmp_path, SOURCE, EVENTS, WINDOW, f"[rejection]\npeak_to_peak_v = {limit}\n"), recordings)
        np.testing.assert_array_equal(windows.values, whole.values[sizes <= limit])
        told = windows.page["dropped"]
        assert (told["planned"], told["kept"]) == (20, len(windows))
        assert len(told["windows"]) == sum(told["reasons"].values()) == 20 - len(windows)
        dropped = {(row["recording"], row["trial"]) for row in told["windows"]}
        kept = set(windows.metadata[["recording", "trial"]].itertuples(index=False, name=None))
        assert not dropped & kept


class TestListing:
    def test_every_page_is_listed_with_what_it_needs(self):
        text = describe_datasets()
        for name in page_names():
            assert f" {name} " in text
            assert read_page(find_page(name)).title in text

    def test_a_page_that_is_not_here_says_what_it_needs(self, monkeypatch, tmp_path):
        monkeypatch.setenv("SIGVIT_DATA", str(tmp_path))
        lines = describe_datasets().splitlines()
        number = next(number for number, line in enumerate(lines) if " muse_p300 " in line)
        assert lines[number].startswith("○")
        assert lines[number + 1].strip() == f"needs {read_page(find_page('muse_p300')).needs}"

    @pytest.mark.parametrize("name", page_names())
    def test_every_shipped_page_reads_and_says_how_it_may_be_used(self, name):
        shipped = read_page(find_page(name))
        for text in (shipped.title, shipped.task, shipped.licence, shipped.citation, shipped.needs):
            assert len(text) > 5
        json.dumps(shipped.plain)


class TestPackaging:
    def test_the_packages_that_are_installed_are_those_that_are_there(self):
        root = Path(sigvit.__file__).parents[1]
        if not (root / "pyproject.toml").is_file():
            pytest.skip("sigvit runs from an installation, not from a checkout")
        settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
        there = {".".join(path.parent.relative_to(root).parts) for path in (root / "sigvit").rglob("*.py")}
        assert set(settings["packages"]) - {"sigvit.datasets", "sigvit.recipes"} == there
        assert pages_folder() == root / settings["package-dir"]["sigvit.datasets"]
        assert not list((root / "datasets").glob("*.py"))


def test_the_folder_that_is_asked_for_is_read_also_where_the_page_says_another_from_the_root_on(tmp_path):
    for name, scale in (("old", 1.0), ("new", 5.0)):
        (tmp_path / name).mkdir()
        values = scale * np.random.default_rng(0).normal(0, 20, (24, 3, 64))
        who = {"subject": np.repeat(["1", "2"], 12), "trial": np.arange(24), "label": np.array(["a", "b"] * 12)}
        np.savez(tmp_path / name / "set.npz", values=values, rate=64.0, electrodes=np.array(["C3", "Cz", "C4"]), **who)
    head = 'title = "t"\ntask = "t"\nlicence = "l"\ncitation = "c"\nneeds = "set.npz"\n'
    source = f'[source]\nkind = "arrays"\nfolder = "{(tmp_path / "old").as_posix()}"\nvalues = "values"\nlabel = "label"\nunit = "uV"\n'
    rest = 'sampling_rate = "rate"\nelectrodes = "electrodes"\nsubject = "subject"\ntrial = "trial"\nfiles.all = "set.npz"\n'
    rest += '[[events]]\nlabels = {a = "a", b = "b"}\n'
    (tmp_path / "set.toml").write_text(head + source + rest)
    own, asked = open_dataset(tmp_path / "set.toml"), open_dataset(tmp_path / "set.toml", folder=tmp_path / "new")
    np.testing.assert_allclose(asked.values, 5 * own.values, rtol=1e-6)  # float32
    with pytest.raises(FileNotFoundError):
        open_dataset(tmp_path / "set.toml", folder=tmp_path / "nowhere")

"""One recording of a page: cut apart into its runs, cropped, and narrowed to what lies beside a task."""

from __future__ import annotations

from pathlib import Path

import mne
import numpy as np
import pytest

from sigvit.data.electrode_info import make_info
from sigvit.data.page_expectations import ExpectationError
from sigvit.data.pages import open_dataset
from sigvit.data.windows import Windows

RATE, FIRST_SAMP, N_TIMES = 100.0, 211, 3001
HEAD = 'title = "A"\ntask = "Tell."\nlicence = "none"\ncitation = "nobody"\nneeds = "files"\n'
SOURCE = '[source]\nkind = "files"\npattern = "sub-{subject}_raw.fif"\n'
RUNS = SOURCE + 'split_at = "new"\nsplit_margin_s = 0.5\n'
EVENTS = '[[events]]\nlabels = { left = "left", right = "right" }\n'
WINDOW = "[window]\nstart_s = 0.25\nstop_s = 1.25\n"


def opened(folder: Path, events: list[tuple[float, float, str]], *tables: str) -> Windows:
    """Of a recording whose values count its samples, in nanovolts."""
    info = make_info(["C3", "Cz", "C4"], RATE)
    raw = mne.io.RawArray(1e-9 * (np.arange(N_TIMES) + np.array([[0], [10_000], [20_000]])), info, first_samp=FIRST_SAMP, verbose="ERROR")
    onsets, durations, names = zip(*events, strict=True)
    raw.set_meas_date(7).set_annotations(mne.Annotations(np.array(onsets) + FIRST_SAMP / RATE, durations, names, orig_time=raw.info["meas_date"]))
    raw.save(folder / "sub-1_raw.fif", fmt="double", verbose="ERROR")
    (folder / "example.toml").write_text(HEAD + "\n".join(tables))
    return open_dataset(folder / "example.toml", folder)


def first_samples(windows: Windows) -> list[int]:
    return np.rint(windows.values[:, 0, 0] / 1e-9).astype(int).tolist()


NEW = [(0.0, 0.0, "new"), (10.0, 0.0, "new"), (17.0, 0.0, "new")]  # the second without a cue: no run


def test_runs_are_cut_apart_where_they_begin(tmp_path):
    with pytest.warns(UserWarning, match="1 of 2 windows of sub-1_raw_run-1 are dropped"):
        windows = opened(
            tmp_path, [*NEW, (0.5, 0.2, "left"), (8.6, 0.2, "right"), (12.0, 0.2, "BAD_jump"), (18.0, 0.2, "right"), (28.6, 0.2, "left")], RUNS, EVENTS, WINDOW
        )
    assert first_samples(windows) == [75, 1825, 2885]
    assert windows.metadata[["recording", "run"]].to_numpy().tolist() == [["sub-1_raw_run-1", "1"], *[["sub-1_raw_run-2", "2"]] * 2]
    assert windows.labels.tolist() == ["left", "right", "left"]
    assert [(row["recording"], row["label"]) for row in windows.page["dropped"]["windows"]] == [("sub-1_raw_run-1", "right")]  # it reaches into the margin


@pytest.mark.filterwarnings("ignore:1 of 2 windows of .* are dropped")
def test_a_cue_that_lasts_into_the_next_run_is_none_of_that_one(tmp_path):
    windows = opened(tmp_path, [*NEW, (3.0, 1.5, "left"), (9.0, 11.0, "left"), (20.0, 1.5, "right")], RUNS, EVENTS, WINDOW)
    assert (first_samples(windows), windows.metadata["run"].tolist()) == ([325, 2025], ["1", "2"])


@pytest.mark.parametrize("onset", [0.25, 9.75, 17.25])
def test_a_cue_in_the_margin_around_the_beginning_of_a_run_is_named(tmp_path, onset):
    with pytest.raises(ExpectationError, match="1 events of the page before its first 'new', or within split_margin_s of one, so in no run"):
        opened(tmp_path, [*NEW, (3.0, 1.5, "left"), (20.0, 1.5, "right"), (onset, 1.5, "left")], RUNS, EVENTS, WINDOW)


def test_spans_that_begin_with_a_run_or_go_on_in_the_next_count_in_both(tmp_path):
    spans = [(10.0, 3.5, "left"), (15.5, 4.0, "right")]
    windows = opened(tmp_path, [*NEW, *spans], RUNS, EVENTS, "[window]\nwindow_s = 1.0\n")
    assert first_samples(windows) == [1050, 1150, 1250, 1550]
    assert windows.labels.tolist() == ["left", "left", "left", "right"]


def test_where_only_the_rest_is_left_of_a_file_of_runs_that_is_named(tmp_path):
    rest = EVENTS + 'rest = "none"\n'
    with pytest.raises(ExpectationError, match="sub-1_raw has no event of the page after a 'new'"):
        opened(tmp_path, NEW, RUNS, rest, "[window]\nwindow_s = 1.0\n")


def test_without_margins_windows_begin_with_a_run_and_the_rest_beside_events(tmp_path):
    for name in ("cues", "rest"):
        (tmp_path / name).mkdir()
    cues = [(10.0, 0.0, "left"), (15.0, 0.0, "right")]
    windows = opened(tmp_path / "cues", [*NEW, *cues], SOURCE + 'split_at = "new"\n', EVENTS, WINDOW.replace(".25", ".0"))
    assert first_samples(windows) == [1000, 1500]
    rest = opened(tmp_path / "rest", [(1.0, 27.0, "left"), (29.0, 1.0, "right")], SOURCE, EVENTS + 'rest = "none"\n', "[window]\nwindow_s = 1.0\n")
    assert first_samples(rest[rest.labels == "none"]) == [0, 2800]


def test_an_electrode_that_never_moves_is_refused_unless_the_page_keeps_it(tmp_path):
    info = make_info(["C3", "Cz", "C4"], RATE)
    values = np.random.default_rng(0).normal(0, 1e-5, (3, N_TIMES))
    values[1] = 0.0
    raw = mne.io.RawArray(values, info, verbose="ERROR").set_annotations(mne.Annotations([3.0, 20.0], 0.0, ["left", "right"]))
    raw.save(tmp_path / "sub-1_raw.fif", verbose="ERROR")
    path = tmp_path / "example.toml"
    path.write_text(HEAD + SOURCE + EVENTS + WINDOW)
    with pytest.raises(ValueError, match="In sub-1_raw the electrodes Cz never move"):
        open_dataset(path, tmp_path)
    path.write_text(HEAD + SOURCE + EVENTS + WINDOW + '[electrodes]\nconstant = "keep"\n')
    with pytest.warns(UserWarning, match="2 of 2 windows of .* hold electrodes that don't move: rows 0, 1 on Cz"):
        assert open_dataset(path, tmp_path).electrodes == ("C3", "Cz", "C4")


def test_a_file_without_the_event_that_splits_is_one_run(tmp_path):
    windows = opened(tmp_path, [(3.0, 1.5, "left"), (20.0, 1.5, "right")], RUNS, EVENTS, WINDOW)
    assert (windows.metadata["recording"].unique().tolist(), first_samples(windows)) == (["sub-1_raw"], [325, 2025])


def test_the_end_that_a_page_skips_is_in_no_window(tmp_path):
    label, window = '[[events]]\nlabel = "rest"\n', "[window]\nwindow_s = 3.0\n"
    windows = opened(tmp_path, [(3.0, 1.5, "left")], SOURCE, label, window, "[processing]\nskip_end_s = 4.0\n")
    assert first_samples(windows) == list(range(0, 2400, 300))


@pytest.mark.filterwarnings("ignore:The events .* occur in no recording")
def test_of_the_background_what_lies_wholly_within_the_margin_of_other_labels_stays(tmp_path):
    spans = [(0.0, 10.0, "left"), (10.0, 2.0, "right"), (12.0, 2.0, "left"), (14.0, 2.0, "right"), (16.0, 13.0, "left")]
    window = '[window]\nwindow_s = 1.0\nbackground = "left"\nbackground_s = 2.5\n'
    windows = opened(tmp_path, spans, SOURCE, EVENTS, window)
    assert first_samples(windows) == list(range(800, 1800, 100))
    told = windows.page["dropped"]["windows"]
    assert [row["start_s"] for row in told] == [*range(8), *range(18, 29)]
    assert {row["reason"] for row in told} == {"left more than 2.5 s from another label"}
    (tmp_path / "alone").mkdir()
    with pytest.raises(ValueError, match="sub-1_raw has only windows of 'left', which the page keeps only beside others"):
        opened(tmp_path / "alone", spans[:1], SOURCE, EVENTS.replace(', right = "right"', ""), window)


def test_a_new_name_for_a_channel_that_a_recording_lacks_is_no_mistake(tmp_path):
    windows = opened(tmp_path, [(3.0, 1.5, "left"), (20.0, 1.5, "right")], SOURCE, EVENTS, WINDOW, '[electrodes.rename]\n"C3" = "F3"\n"EEG-Fz" = "Fz"\n')
    assert windows.electrodes == ("F3", "Cz", "C4")

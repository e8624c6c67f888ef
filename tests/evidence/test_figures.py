"""Figures are drawn for every shape of experiment; what they choose to show is what differs."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib
import mne
import numpy as np
import pandas as pd
import pytest

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import folds
from sigvit.evidence.data_figures import _telling_names, _window_order, draw_protocol, draw_responses, draw_scalp, where_classes_differ
from sigvit.evidence.figures import draw_calibration, draw_differences, draw_learning, draw_scores, pipeline_colours


def test_every_pipeline_has_its_own_colour_and_the_vit_always_the_same():
    names = [*"abcdefghij", "ViT"]
    colours = pipeline_colours(names)
    assert len(set(colours.values())) == 11
    assert colours["ViT"] == pipeline_colours(["ViT"])["ViT"]


@pytest.mark.parametrize(("n_subjects", "n_runs"), [(1, 2), (3, 2), (40, 1)])
def test_protocol_is_drawn_for_few_and_many_folds(n_subjects, n_runs):
    windows = synthetic_windows(n_subjects, n_runs=n_runs, n_trials=4)
    divided = folds.cross_subject(windows.metadata) if n_subjects > 1 else folds.within_session(windows.metadata)
    ElementTree.fromstring(draw_protocol(windows, divided))


def test_columns_of_the_protocol_are_grouped_as_fine_as_sixteen_groups_allow():
    metadata = synthetic_windows(3, n_sessions=2, n_runs=2, n_trials=5).metadata
    order, level, groups = _window_order(metadata.sample(frac=1, random_state=0))
    assert sorted(order) == list(range(60))
    assert level == "subject/session/run"
    assert groups[:3] == [("01/1/1", 5), ("01/1/2", 5), ("01/2/1", 5)]
    eleven = synthetic_windows(11, n_runs=1, n_trials=2).metadata
    eleven["subject"] = eleven["subject"].str.lstrip("0")
    assert [name for name, _ in _window_order(eleven)[2]] == [str(number) for number in range(1, 12)], "as folds are"
    assert _window_order(synthetic_windows(7, n_sessions=2, n_runs=2, n_trials=2).metadata)[1] == "subject/session"
    assert _window_order(synthetic_windows(1, n_runs=3, n_trials=2).metadata)[1] == "run"


def test_names_of_folds_leave_out_what_all_have_in_common():
    made = [folds.Fold([0], [], [1], number, "within_session", f"subject 01, run {number}") for number in (1, 2)]
    assert _telling_names(made) == ["run 1", "run 2"]
    assert _telling_names(made[:1]) == ["subject 01, run 1"]


def test_long_names_of_folds_keep_what_tells_them_apart():
    made = [folds.Fold([0], [], [1], run, "within_session", f"subject {subject}, session 01, run {run}") for subject in ("04", "05") for run in (1, 2)]
    assert _telling_names(made) == ["subject 04, run 1", "subject 04, run 2", "subject 05, run 1", "subject 05, run 2"]
    made[0] = folds.Fold([0], [], [1], 1, "within_session", "subject 04, session 02, run 1")
    assert _telling_names(made) == ["04, 02, run 1", "04, 01, run 2", "05, 01, run 1", "05, 01, run 2"]
    long = [folds.Fold([0], [], [1], 1, "made", f"{'patient' * 5}, block {block} of 5") for block in (1, 2)]
    assert [_telling_names([fold]) for fold in long] == [["patientpatien…block 1 of 5"], ["patientpatien…block 2 of 5"]]
    sessions = [f"subject {subject}, session {session}, run resting-1" for subject in ("01", "02") for session in ("2024-03-04T1000", "2024-05-06T1000")]
    made = [folds.Fold([0], [], [1], number, "within_session", name) for number, name in enumerate(sessions)]
    assert len(set(_telling_names(made))) == 4


@pytest.mark.parametrize("name", ["$50% of $", "win $5 or $10", "p$_$", "_rest"])
def test_names_are_drawn_as_they_are_written(name):
    """Two dollar signs are no formula, and an underscore in front hides no name from a legend."""
    windows = synthetic_windows(2, classes=(name, "right"), electrodes=(*"ABCDEFG", name), n_trials=6)
    windows.metadata["subject"] = np.where(windows.metadata["subject"] == "01", name, "02")
    row = {"pipeline": name, "score": 0.7, "low": 0.6, "high": 0.8, "difference": 0.1, "chance_line": 0.6, "metric": "roc_auc"}
    colours, judged = {name: "#123456"}, (np.array([True, False]), np.array([0.7, 0.9]))
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        drawn = [
            draw_protocol(windows, folds.cross_subject(windows.metadata)),
            draw_scores(pd.DataFrame([row]), {name: np.array([0.7])}, colours, 0.5),
            draw_differences(pd.DataFrame([row]), colours),
            draw_calibration({name: judged}, colours),
            draw_responses(windows, [7]),
        ]
    for svg in drawn:
        assert name in "".join(ElementTree.fromstring(svg).itertext())
    assert f"{name} (n = " in drawn[-1]


def test_of_windows_in_no_part_it_is_not_said_that_they_are_in_the_guard():
    windows = synthetic_windows(2, n_runs=2, n_trials=6)
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        words = "".join(ElementTree.fromstring(draw_protocol(windows, folds.within_session(windows.metadata))).itertext())
    assert "in no part" in words
    assert "guard" not in words


def test_electrodes_and_sample_shown_are_those_where_classes_differ():
    windows = synthetic_windows(1, n_runs=1, n_trials=30, electrodes=("F3", "Fz", "F4", "C3", "Cz", "C4", "Pz"), effect=0.0)
    windows.values[windows.labels == "right", 5, 23] += 1e-4
    windows.values[:, 3] = 0
    assert where_classes_differ(windows) == ([0, 1, 2, 4, 5, 6], 23)


def test_a_scalp_is_drawn_only_where_positions_are_known():
    nine = ("F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4")
    ElementTree.fromstring(draw_scalp(synthetic_windows(1, electrodes=nine), 11))
    assert draw_scalp(synthetic_windows(1, electrodes=nine[:5]), 11) is None
    assert draw_scalp(synthetic_windows(1, electrodes=[f"X{number}" for number in range(9)]), 11) is None


@pytest.mark.parametrize("kinds", [["eeg"] * 8 + ["eog"], ["emg"] * 9, ["seeg"] * 4 + ["ecog"] * 5, ["grad"] * 9])
def test_no_scalp_is_drawn_of_channels_that_make_no_map(kinds):
    windows = synthetic_windows(1, n_trials=5, electrodes=("F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4"))
    info = mne.create_info([f"MEG{number}" for number in range(9)], windows.sampling_rate, kinds)
    for channel, placed in zip(info["chs"], windows.info["chs"], strict=True):
        channel["loc"][:3] = placed["loc"][:3]
    assert draw_scalp(replace(windows, info=info), 11) is None


def test_learning_curves_of_fits_that_stopped_at_different_steps_are_drawn():
    long = [{"step": step, "train_loss": 1 / step, "validation_loss": 1.0} for step in (10, 20, 30)]
    ElementTree.fromstring(draw_learning([long, long[:1], [{"step": 10, "train_loss": np.float32(0.5), "validation_loss": None}]], "#123456"))

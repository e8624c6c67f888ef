"""Figures are drawn for every shape of experiment; what they choose to show is what differs."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import folds
from sigvit.evidence.figures import (
    _telling_names,
    _window_order,
    draw_learning,
    draw_protocol,
    draw_scalp,
    pipeline_colours,
    telling_electrodes,
    telling_sample,
)


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
    assert _window_order(synthetic_windows(7, n_sessions=2, n_runs=2, n_trials=2).metadata)[1] == "subject/session"
    assert _window_order(synthetic_windows(1, n_runs=3, n_trials=2).metadata)[1] == "run"


def test_names_of_folds_leave_out_what_all_have_in_common():
    made = [folds.Fold([0], [], [1], number, "within_session", f"subject 01, run {number}") for number in (1, 2)]
    assert _telling_names(made) == ["run 1", "run 2"]
    assert _telling_names(made[:1]) == ["subject 01, run 1"]


def test_electrodes_and_sample_shown_are_those_where_classes_differ():
    windows = synthetic_windows(1, n_runs=1, n_trials=30, electrodes=("F3", "Fz", "F4", "C3", "Cz", "C4", "Pz"), effect=0.0)
    windows.values[windows.labels == "right", 5, 23] += 1e-4
    assert 5 in telling_electrodes(windows, most=2)
    assert telling_sample(windows) == 23
    assert telling_electrodes(windows, most=7) == list(range(7))


def test_a_scalp_is_drawn_only_where_positions_are_known():
    nine = ("F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4")
    ElementTree.fromstring(draw_scalp(synthetic_windows(1, electrodes=nine), 11))
    assert draw_scalp(synthetic_windows(1, electrodes=nine[:5]), 11) is None
    assert draw_scalp(synthetic_windows(1, electrodes=[f"X{number}" for number in range(9)]), 11) is None


def test_learning_curves_of_fits_that_stopped_at_different_steps_are_drawn():
    long = [{"step": step, "train_loss": 1 / step, "validation_loss": 1.0} for step in (10, 20, 30)]
    ElementTree.fromstring(draw_learning([long, long[:1], [{"step": 10, "train_loss": np.float32(0.5), "validation_loss": None}]], "#123456"))

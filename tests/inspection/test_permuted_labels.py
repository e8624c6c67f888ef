"""The page's p holds its level where a label belongs to more than one window: what the label was given to is exchanged as a whole."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

import sigvit
from sigvit.data import pages
from sigvit.data.electrode_info import make_info
from sigvit.evaluation.class_maps import class_maps
from sigvit.inspection import attention_sections, class_section
from sigvit.inspection.attention_sections import rollout_table
from sigvit.inspection.inputs import Looked, labelled_units, look_at_recordings
from sigvit.tokenizers import ElectrodeTimePatches

ELECTRODES = ("C3", "Cz", "C4")


def table_of(n_subjects, n_runs, n_windows, label_of, trials_of=1):
    """Metadata of n_windows windows in each run, `trials_of` of them a trial; `label_of` (run, window) is its label."""
    rows = []
    for subject in range(n_subjects):
        for run in range(n_runs):
            recording = f"sub-{subject}_run-{run}"
            for window in range(n_windows):
                rows.append(
                    [str(subject), "1", str(run), recording, window * 1.0, window + 1.0, window // trials_of, ("left", "right")[label_of(run, window) % 2]]
                )
    return pd.DataFrame(rows, columns=["subject", "session", "run", "recording", "start_s", "stop_s", "trial", "label"])


@pytest.mark.parametrize(
    ("table", "unit", "size"),
    [
        (table_of(3, 2, 7, lambda run, window: run), "run", 7),
        (table_of(3, 2, 7, lambda run, window: window), "trial", 1),
        (table_of(3, 2, 6, lambda run, window: window // 3, trials_of=3), "trial", 3),
        (table_of(3, 2, 6, lambda run, window: window, trials_of=3), "window", 1),
    ],
)
def test_a_label_is_given_to_the_largest_part_of_a_recording_that_has_one(table, unit, size):
    name, units = labelled_units(table)
    assert name == unit
    assert set(np.bincount(units)) == {size}


def test_looking_at_runs_of_one_label_exchanges_them(monkeypatch):
    table = table_of(3, 2, 11, lambda run, window: run)
    windows = sigvit.Windows(
        np.random.default_rng(0).standard_normal((66, 3, 67)).astype(np.float32), table["label"].to_numpy(), table, make_info(ELECTRODES, 64.0)
    )
    monkeypatch.setattr(pages, "open_dataset", lambda name, folder=None: windows)
    model = sigvit.signal_vit(3, 67, num_classes=2, tokenizer=ElectrodeTimePatches(3, 1, 16, 16, 12))
    looked = look_at_recordings(model, "planted", None, 31, 5, seed=0)
    assert looked.exchanged == " of whole runs within subjects"
    assert [len(set(looked.labels[looked.units == unit])) for unit in np.unique(looked.units)] == [1] * 6
    few = look_at_recordings(model, "planted", None, 2, 2, seed=0)
    assert few.units is None or len(set(few.units)) < 2  # of two windows of two runs each is its run's only one


@pytest.mark.parametrize("subjects", [13, 3])
def test_what_windows_of_a_recording_have_in_common_is_no_effect(subjects):
    """Every recording has a level of its own, as large as the noise of its windows, and one label; nothing belongs to a class."""
    table = table_of(subjects, 2, 5, lambda run, window: run)
    _, units = labelled_units(table)
    labels, subject = (table["label"] == "right").to_numpy().astype(int), table["subject"].to_numpy()

    def lowest(seed, **more):
        generator = np.random.default_rng(seed)
        values = generator.standard_normal((units.max() + 1, 7))[units] + generator.standard_normal((len(units), 7))
        return class_maps(np.stack([values, values], axis=1), labels, subject, 99, seed, **more).p[0].min()

    called = np.mean([[lowest(seed) <= 0.05, lowest(seed, units=units) <= 0.05] for seed in range(100)], axis=0)
    assert called[0] > 0.25  # windows exchanged for themselves are wrong: the test could fail
    assert called[1] < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)  # three deviations of 100 draws


def rollouts_of_subjects_who_differ():
    """One patch is looked at by one subject, who gave nearly all trials of one class."""
    labels, subjects = np.repeat([0, 1, 0, 1], [10, 2, 2, 10]), np.repeat(["01", "02"], 12)
    rolled = np.random.default_rng(0).uniform(0.9, 1.1, (24, 12))
    rolled[subjects == "02", 5] += 1.0
    return rolled, Looked(torch.zeros(24, 3, 67), labels, ("left", "right"), torch.zeros(24, 3, 67), labels, [], "planted", subjects=subjects)


def test_the_table_of_rollouts_exchanges_labels_within_subjects_and_says_so():
    rolled, looked = rollouts_of_subjects_who_differ()
    grid = sigvit.signal_vit(3, 67, tokenizer=ElectrodeTimePatches(3, 1, 16, 16, 12)).grid
    found = {}
    for told, subjects in ((" within subjects", looked.subjects), ("", None)):
        looked.subjects = subjects
        page = rollout_table(rolled, grid, looked, 199)
        assert f"permutations of the labels{told}, corrected" in page
        found[told] = float(re.findall(r"<t[hd][^>]*>([^<]*)", page)[-1])
    assert found[""] <= 0.01 < 0.05 < found[" within subjects"]


def test_every_map_of_the_page_exchanges_whole_units(monkeypatch):
    labels, units, x = np.arange(8) // 2 % 2, np.arange(8) // 2, torch.randn(8, 3, 67)
    subjects = np.repeat(["01", "02"], 4)
    info = make_info(ELECTRODES, 64.0)
    looked = Looked(x, labels, ("left", "right"), x, labels, [], "planted", info=info, subjects=subjects, units=units, unit="run")
    model = sigvit.signal_vit(3, 67, num_classes=2, tokenizer=ElectrodeTimePatches(3, 1, 16, 16, 12), heads=2).eval()
    seen = []

    def noted(values, own, groups=None, n_permutations=999, seed=0, units=None):
        seen.append((groups, units))
        return class_maps(values, own, groups, n_permutations, seed, units)

    for place in (class_section, attention_sections):
        monkeypatch.setattr(place, "class_maps", noted)
    pages_of = class_section.attribution_section(model, looked, 1, 19), *attention_sections.attention_sections(model, looked, 19)
    assert len(seen) == 5  # rollout; electrodes and bins, electrodes, bins, frequencies
    assert all(groups is subjects and own is units for groups, own in seen)
    assert sum("permutations of the labels of whole runs within subjects" in section for section in pages_of) == 2


def test_subjects_of_one_label_are_said_to_exchange_it():
    _, looked = rollouts_of_subjects_who_differ()
    looked.labels = (looked.subjects == "02").astype(int)
    assert looked.exchanged == " of whole subjects"

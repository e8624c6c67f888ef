"""FineTuned: others first, then the few windows that calibrate, in the folds that say which they are."""

from enum import Enum

import mne
import numpy as np
import pytest
import torch

from sigvit.data.synthetic import synthetic_windows
from sigvit.estimators import SignalViTClassifier
from sigvit.evidence import folds
from sigvit.evidence.cross_validation import cross_validate
from sigvit.fine_tuned import FineTuned


def network(**choices) -> SignalViTClassifier:
    return SignalViTClassifier(**{"training_steps": 30, "width": 8, "heads": 2, "ensemble": False, "classical": None, "dropout": 0.0, **choices})


@pytest.fixture(scope="module")
def windows():
    return synthetic_windows(n_subjects=3, n_runs=2, n_trials=14, effect=3.0)


def test_without_calibration_it_is_the_classifier_itself(windows):
    one = FineTuned(network()).fit(windows, windows.labels)
    other = network().fit(windows, windows.labels)
    np.testing.assert_array_equal(one.predict_proba(windows), other.predict_proba(windows))
    assert one.tuning_history_ == []


def test_a_column_of_a_reordered_table_says_by_its_index_which_windows_calibrate(windows):
    own = windows.metadata["subject"] == "03"
    reordered = windows.metadata.sort_values(["trial", "subject"])["subject"] == "03"
    assert (own.to_numpy() != reordered.to_numpy()).any()
    one, other = (FineTuned(network(), training_steps=3).fit(windows, windows.labels, calibration=each) for each in (own, reordered))
    np.testing.assert_array_equal(one.predict_proba(windows), other.predict_proba(windows))
    with pytest.raises(ValueError, match="another index than the table of 84 rows"):
        FineTuned(network()).fit(windows, windows.labels, calibration=own[7:])


def test_epochs_are_tuned_on_the_channels_that_they_were_fitted_on(windows):
    codes, count = np.unique(windows.labels, return_inverse=True)[1] + 1, len(windows)
    info = mne.create_info([*windows.electrodes, "STI"], windows.sampling_rate, ["eeg"] * len(windows.electrodes) + ["stim"])
    values = np.concatenate([windows.values, np.tile(codes[:, None, None], windows.values.shape[2])], axis=1)
    epochs = mne.EpochsArray(values, info, np.stack([np.arange(count) * 1000, 0 * codes, codes], 1), verbose="error")
    own = (windows.metadata["subject"] == "03").to_numpy()
    one, other = (FineTuned(network(training_steps=3), training_steps=3).fit(X, windows.labels, calibration=own) for X in (epochs, windows))
    np.testing.assert_allclose(one.predict_proba(epochs), other.predict_proba(windows), rtol=1e-4)  # of float64 and of float32 values


@pytest.mark.parametrize("block", [torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_a_fit_is_the_same_in_any_block_of_its_caller(windows, block):
    own = windows.metadata["subject"] == "03"
    inside, outside = (FineTuned(network(training_steps=3), trained="lora", training_steps=3, rank=2) for _ in range(2))
    with block():
        inside.fit(windows, windows.labels, calibration=own)
    outside.fit(windows, windows.labels, calibration=own)
    np.testing.assert_array_equal(inside.predict_proba(windows), outside.predict_proba(windows))


def test_labels_are_read_as_its_classifier_reads_them(windows):
    hand = Enum("hand", {"left": "left hand", "right": "right hand"})
    assert FineTuned(network(training_steps=3)).fit(windows, [hand[label] for label in windows.labels]).classes_.tolist() == ["left hand", "right hand"]
    with pytest.raises(ValueError, match="1 of 84 windows have no label, the first in row 83"):
        FineTuned(network()).fit(windows, [*windows.labels[:-1].tolist(), float("nan")])
    with pytest.raises(ValueError, match="name them apart"):
        FineTuned(network()).fit(windows, [1, "1", *["2"] * 82])


@pytest.mark.parametrize("trained", ["all", "head", "lora"])
def test_it_begins_with_the_network_of_the_others_and_changes_what_was_chosen(windows, trained):
    own = (windows.metadata["subject"] == "03").to_numpy()
    start = network().fit(windows[~own], windows.labels[~own])
    fitted = FineTuned(network(), trained=trained, training_steps=7, rank=2).fit(windows, windows.labels, calibration=own)
    for before, after in zip(start.models_, fitted.classifier_.models_, strict=True):
        assert dict(before.named_parameters()).keys() == dict(after.named_parameters()).keys(), "nothing stays added"
        names = dict(after.named_parameters())
        changed = {name for name, tensor in before.named_parameters() if not torch.equal(tensor, names[name])}
        may = {"head": ("head.weight", "head.bias"), "lora": ("head.weight", "head.bias", "qkv.weight", "out.weight"), "all": ("",)}[trained]
        assert all(name.endswith(may) for name in changed)
        assert len(changed) > 2 or trained == "head"
        assert "head.weight" in changed
    np.testing.assert_array_equal(fitted.classifier_.center_, start.center_)
    assert len(fitted.tuning_history_) == len(start.models_)


def test_the_labels_of_the_few_are_learned(windows):
    """The new person's labels are the others' turned round: only what calibrates can tell."""
    own = (windows.metadata["subject"] == "03").to_numpy()
    labels = windows.labels.copy()
    labels[own] = np.where(labels[own] == "left", "right", "left")
    turned = type(windows)(windows.values, labels, windows.metadata.assign(label=labels), windows.info)
    calibration = own & (windows.metadata["run"] == "1").to_numpy()
    test = own & ~calibration
    fitted = FineTuned(network(training_steps=100), training_steps=100, learning_rate=3e-3).fit(turned[~test], labels[~test], calibration=calibration[~test])
    assert (fitted.predict(turned[test]) == labels[test]).mean() > 0.8
    assert (network(training_steps=100).fit(turned[~own], labels[~own]).predict(turned[test]) == labels[test]).mean() < 0.2


def test_classes_weigh_in_the_second_training_as_in_the_first():
    windows = synthetic_windows(effect=0.0)
    own = (windows.metadata["subject"] == "03").to_numpy()
    weighed = network(class_weight={"left": 1.0, "right": 50.0})
    fitted = FineTuned(weighed, training_steps=300, learning_rate=3e-3).fit(windows, windows.labels, calibration=own)
    assert (fitted.predict(windows) == "right").mean() > 0.9


def test_a_generator_of_numpy_seeds_both_trainings(windows):
    own = (windows.metadata["subject"] == "03").to_numpy()
    first, second = (
        FineTuned(network(random_state=np.random.RandomState(7)), training_steps=3).fit(windows, windows.labels, calibration=own) for _ in range(2)
    )
    np.testing.assert_array_equal(first.predict_proba(windows), second.predict_proba(windows))


@pytest.mark.parametrize(
    ("choices", "calibration", "sentence"),
    [
        ({"trained": "some"}, None, "trained is 'some'"),
        ({}, np.ones(84, bool), "All 84 windows calibrate"),
        ({}, np.ones(3, bool), "There are 84 windows, but calibration has the shape"),
    ],
)
def test_what_cannot_be_is_said(windows, choices, calibration, sentence):
    with pytest.raises(ValueError, match=sentence):
        FineTuned(network(), **choices).fit(windows, windows.labels, calibration=calibration)


def test_cross_validation_calibrates_with_the_tested_subjects_first_trials(windows):
    made = folds.calibrate(windows.metadata, 3, reserve=5)[:1]
    results = cross_validate({"tuned": FineTuned(network(), trained="head", training_steps=3)}, windows, made, seeds=[0, 1])
    assert results.table["log_loss"].nunique() == 2, "the seed reaches the network"
    assert (results.table["samples"] == len(made[0].train) + len(made[0].validation)).all()

"""MixedRecordingClassifier: networks from several caps, lengths and rates, for any other."""

import copy
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone

from sigvit.data.synthetic import synthetic_windows
from sigvit.data.windows import Windows
from sigvit.evidence import folds
from sigvit.evidence.cross_validation import cross_validate
from sigvit.mixed_classifier import MixedRecordingClassifier
from sigvit.tokenizers import ConvStem


def classifier(**choices) -> MixedRecordingClassifier:
    return MixedRecordingClassifier(**{"networks": 1, "training_steps": 3, "width": 8, "depth": 1, "heads": 2, "mlp_width": 16, **choices})


def cap(*electrodes: str, rate: float, n_times: int, seed: int, **choices) -> Windows:
    """60 windows; "left" shows at the first electrode and "right" at the second."""
    return synthetic_windows(electrodes=electrodes, sampling_rate=rate, n_times=n_times, effect=2.0, seed=seed, **choices)


@pytest.fixture(scope="module")
def sets() -> list[Windows]:
    small = cap("C3", "C4", "Fz", rate=64.0, n_times=67, seed=1)
    return [small, cap("EEG CP3-REF", "EEG CP4-REF", "Oz", "my sensor", "Pz", rate=100.0, n_times=131, seed=2)]


@pytest.fixture(scope="module")
def unseen() -> Windows:
    return cap("Cz", "Fp1", "C5", "C6", rate=80.0, n_times=97, seed=3, classes=("nothing", "forehead", "left", "right"), n_trials=20)


def test_two_caps_teach_what_a_third_one_shows_elsewhere_on_the_head(sets, unseen):
    shown = unseen[np.isin(unseen.labels, ["left", "right"])]
    fitted = classifier(training_steps=100, batch_size=16, width=16, networks=3).fit(sets)
    # Only the place of an electrode tells the classes apart, and none of these electrodes was there in training; .5 is chance, its 99.9 % limit here .70;
    # six seeds had .95 or more, single networks .87 or more.
    assert fitted.score(shown, shown.labels) > 0.8
    assert fitted.history_[-1]["train_loss"] < fitted.history_[0]["train_loss"]


def test_a_seed_gives_one_network_and_each_window_its_own_probabilities(sets, unseen):
    fitted, again, other = (classifier(random_state=seed).fit(sets) for seed in (5, 5, 6))
    np.testing.assert_array_equal(fitted.predict_proba(unseen), again.predict_proba(unseen))
    assert (fitted.predict_proba(unseen) != other.predict_proba(unseen)).any()
    together = fitted.predict_proba([*sets, unseen])
    assert together.shape == (120 + len(unseen), 2)
    # float32: the same sums in batches of other sizes
    np.testing.assert_allclose(together, np.concatenate([fitted.predict_proba(each[:]) for each in (*sets, unseen)]), atol=1e-6)
    assert clone(fitted).get_params()["random_state"] == 5


def test_many_windows_are_standardised_part_by_part(sets):
    fitted, several = classifier().fit(sets), sets[1][np.tile(np.arange(60), 67)]
    tracemalloc.start()
    fitted.predict_proba(several)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All at once in float64 they are at least twice their own size; torch's own memory isn't counted.
    assert peak < several.values.nbytes


def test_several_networks_predict_by_the_geometric_mean_of_what_each_says(sets, unseen):
    fitted = classifier(networks=2).fit(sets)
    one, other = (copy.copy(fitted) for _ in range(2))
    one.models_, other.models_ = fitted.models_[:1], fitted.models_[1:]
    np.testing.assert_array_equal(one.predict_proba(unseen), classifier().fit(sets).predict_proba(unseen))
    assert (one.predict_proba(unseen) != other.predict_proba(unseen)).any()
    mean = np.sqrt(one.predict_proba(unseen) * other.predict_proba(unseen))
    np.testing.assert_allclose(fitted.predict_proba(unseen), mean / mean.sum(1, keepdims=True), atol=1e-12)  # double precision behind the logits
    assert fitted.n_parameters_ == 2 * classifier().fit(sets).n_parameters_
    with pytest.raises(ValueError, match="networks is 0"):
        classifier(networks=0).fit(sets)


def test_an_electrode_is_standardised_as_its_name_was_wherever_it_was(sets):
    small, large = sets
    renamed = replace(large, info=cap("FZ", "C1", "C2", "Oz", "Pz", rate=100.0, n_times=131, seed=0).info)
    fitted = classifier().fit([small, renamed])
    both = np.concatenate([small.values[:, 2].ravel(), renamed.values[:, 0].ravel()]).astype(float)
    # sums of squares in float64
    np.testing.assert_allclose((fitted.center_["Fz"], fitted.scale_["Fz"]), (both.mean(), both.std()), rtol=1e-9)
    everything = np.concatenate([small.values.ravel(), renamed.values.ravel()]).astype(float)
    np.testing.assert_allclose((fitted.center_[""], fitted.scale_[""]), (everything.mean(), everything.std()), rtol=1e-9)
    standardised = fitted._set(cap("T3", "FZ", rate=64.0, n_times=67, seed=4), np.zeros(60)).values
    stranger = cap("T3", "FZ", rate=64.0, n_times=67, seed=4).values[:, 0]
    np.testing.assert_allclose(standardised[:, 0], (stranger - fitted.center_[""]) / fitted.scale_[""], rtol=1e-4, atol=1e-6)


def test_bad_electrodes_and_missing_samples_have_no_influence(sets):
    def spoiled(amount: float) -> Windows:
        info, values = sets[1].info.copy(), sets[1].values.copy()
        info["bads"] = ["Oz"]
        values[:, 2] = amount
        values[:20, 3, 50:] = np.nan
        return replace(sets[1], values=values, info=info)

    one, other = (classifier().fit([sets[0], spoiled(amount)]) for amount in (0.0, 1e-3))
    assert one.scale_ == other.scale_
    np.testing.assert_array_equal(one.predict_proba(spoiled(0.0)), other.predict_proba(spoiled(5.0)))
    assert np.isfinite(one.predict_proba(spoiled(0.0))).all()


def test_a_given_tokenizer_is_copied_and_reads_the_electrodes_of_its_list(sets):
    stem = ConvStem.from_info(sets[0].info, width=8)
    weight = stem.weight.detach().clone()
    fitted = classifier(tokenizer=stem).fit([sets[0], cap("C3", "P3", rate=100.0, n_times=131, seed=2)])
    assert type(fitted.model_.tokenizer) is ConvStem
    assert fitted.model_.tokenizer is not stem
    assert (stem.weight == weight).all()
    with pytest.raises(ValueError, match="Recording 0 has none of the electrodes that this tokenizer was built for"):
        fitted.predict(sets[1])


def test_cross_validation_of_one_set_takes_it(sets):
    divided = folds.cross_subject(sets[0].metadata)[:1]
    results = cross_validate({"mixed": classifier()}, sets[0], divided, seeds=[0])
    assert results.table["samples_test"].tolist() == [20]


def test_what_is_no_windows_is_refused(sets):
    with pytest.raises(ValueError, match=r"handed in as sigvit\.Windows or a list of them, but here is ndarray"):
        classifier().fit(sets[0].values, sets[0].labels)
    with pytest.raises(ValueError, match="but here is list"):
        classifier().fit([])
    with pytest.raises(ValueError, match="but here is a set without any"):
        classifier().fit([sets[0], sets[1][:0]])
    with pytest.raises(ValueError, match=r"There are 120 windows, but labels of shape \(60,\)"):
        classifier().fit(sets, sets[0].labels)
    with pytest.raises(ValueError, match=r"Only one class is here \('left'\)"):
        classifier().fit([each[each.labels == "left"] for each in sets])


def test_a_device_is_chosen_as_by_its_sister_and_a_mistyped_one_refused(sets):
    chosen = "cuda" if torch.cuda.is_available() else "cpu"
    assert next(classifier(device="auto", training_steps=1).fit(sets[0]).model_.parameters()).device.type == chosen
    with pytest.raises(ValueError, match=r"device is 'gpu'; it must be \"cpu\", \"auto\" or, where there is a GPU, \"cuda\" \(torch says: "):
        classifier(device="gpu").fit(sets[0])


def test_labels_that_are_missing_or_would_become_one_are_refused(sets):
    for gap in (None, float("nan")):
        with pytest.raises(ValueError, match="30 of 60 windows have no label, the first in row 1"):
            classifier().fit(sets[0], ["left", gap] * 30)
    numbered = [replace(windows, labels=labels) for windows, labels in zip(sets, (np.arange(60) % 2, np.array(["0", "1"] * 30)), strict=True)]
    with pytest.raises(ValueError, match="name them apart"):
        classifier().fit(numbered)


def test_a_class_that_one_cap_lacks_is_said(sets):
    with pytest.warns(UserWarning, match=r"'synthetic' has no window of class 'right': the network can then tell the class by the cap"):
        classifier().fit([sets[0], sets[1][sets[1].labels == "left"]])


def test_a_flat_electrode_with_an_offset_is_flat():
    windows = synthetic_windows(n_trials=6)
    for offset in (1.9e-4, 3.21e-4):
        values = windows.values.copy()
        values[:, 2] = offset
        fitted = MixedRecordingClassifier(training_steps=1, width=8, depth=1, heads=2, networks=1).fit(replace(windows, values=values))
        assert fitted.scale_["C4"] == 1.0
        np.testing.assert_allclose(
            [fitted.center_["C3"], fitted.scale_["C3"]], [values[:, 0].mean(dtype=np.float64), values[:, 0].std(dtype=np.float64)], rtol=1e-9
        )

"""The classifiers as scikit-learn sees them, and what each reads, chooses and keeps."""

import copy
import dataclasses
import gc
import pickle
import re
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError

import mne
import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from sigvit.data.recordings import windows_from_arrays
from sigvit.data.synthetic import synthetic_windows
from sigvit.estimators import SignalViTClassifier
from sigvit.evidence import baselines
from sigvit.evidence.blend import Blend
from sigvit.evidence.convnets import ConvNetClassifier, ShallowConvNet
from sigvit.evidence.fit_job import FitJob
from sigvit.evidence.log_linear_pool import PULL, blend_weights, pooled
from sigvit.fine_tuned import FineTuned
from sigvit.fit_blocks import prepare_all
from sigvit.mixed_classifier import MixedRecordingClassifier
from sigvit.model.vision_transformer import VisionTransformer
from sigvit.network_classifier import mean_history, network_log_probabilities
from sigvit.tokenizers import ConvStem, ElectrodeTimePatches, TimeStepTokens
from sigvit.tokens import Tokens

QUICK = SignalViTClassifier(training_steps=20, ensemble=False, classical=None, width=8, heads=2, mlp_width=16)


@pytest.fixture(scope="module")
def windows():
    return synthetic_windows(n_subjects=3, effect=3.0)


@parametrize_with_checks([SignalViTClassifier(training_steps=10, ensemble=False, width=8, heads=2, mlp_width=16)])
def test_scikit_learns_own_checks_pass(estimator, check):
    check(estimator)


def test_an_effect_is_learned_and_probabilities_sum_to_one(windows):
    train, test = np.arange(0, 40), np.arange(40, 60)
    classifier = SignalViTClassifier(training_steps=150, ensemble=False, classical=None).fit(windows[train], windows.labels[train])
    probabilities = classifier.predict_proba(windows[test])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)  # double-precision softmax
    assert classifier.score(windows[test], windows.labels[test]) > 0.8


def test_a_saved_network_knows_how_its_windows_were_standardised(windows, tmp_path):
    classifier = clone(QUICK).fit(windows[np.arange(40)])
    classifier.model_.save_pretrained(tmp_path)
    model = VisionTransformer.from_pretrained(tmp_path)
    with torch.no_grad():
        probabilities = model(model.scaling(windows.values)).softmax(1)
    np.testing.assert_allclose(probabilities, classifier.predict_proba(windows), atol=1e-6)  # softmax in float32


@pytest.mark.parametrize("block", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)])
@pytest.mark.parametrize("estimator", [QUICK, MixedRecordingClassifier(training_steps=3, width=8, heads=2, networks=1)])
def test_a_fit_is_the_same_in_any_block_of_its_caller(windows, estimator, block):
    with block():
        inside = clone(estimator).fit(windows)
    np.testing.assert_array_equal(inside.predict_proba(windows), clone(estimator).fit(windows).predict_proba(windows))


@pytest.mark.parametrize(("estimator", "method"), [(QUICK, "build"), (MixedRecordingClassifier(training_steps=3, width=8, heads=2, networks=1), "_build")])
def test_fits_in_several_threads_are_those_of_each_alone(windows, monkeypatch, estimator, method):
    alone, both, build = [clone(estimator).set_params(random_state=seed).fit(windows) for seed in (3, 5)], Barrier(2), getattr(type(estimator), method)

    def build_together(self, *arguments):
        with suppress(BrokenBarrierError):
            both.wait(0.2)  # until both have seeded, if they may
        return build(self, *arguments)

    monkeypatch.setattr(type(estimator), method, build_together)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda seed: clone(estimator).set_params(random_state=seed).fit(windows), (3, 5)))
    for one, other in zip(found, alone, strict=True):
        np.testing.assert_array_equal(one.predict_proba(windows), other.predict_proba(windows))


@pytest.mark.parametrize("estimator", [QUICK, MixedRecordingClassifier(training_steps=3, width=8, heads=2, networks=1)])
def test_a_seed_gives_one_network_whatever_torchs_default_type_is(windows, estimator):
    plain = clone(estimator).fit(windows).predict_proba(windows)
    torch.set_default_dtype(torch.float64)
    try:
        found = clone(estimator).fit(windows).predict_proba(windows)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(found, plain, atol=1e-6)  # what predicts may count in the caller's type


def test_arrays_epochs_and_windows_give_one_answer(windows):
    codes = np.searchsorted(windows.classes, windows.labels)
    events = np.stack([np.arange(len(windows)) * 100, np.zeros(len(windows), int), codes], 1)
    epochs = mne.EpochsArray(windows.values, windows.info, events, event_id={name: number for number, name in enumerate(windows.classes)}, verbose="error")
    # Arrays have no rate, which the default stem reads; with a given one all three are the same.
    quick = clone(QUICK).set_params(tokenizer=ConvStem.for_windows(*windows.values.shape[1:], width=8))
    answers = [
        clone(quick).fit(windows).predict_proba(windows),
        clone(quick).fit(epochs).predict_proba(epochs),
        clone(quick).fit(windows.values, windows.labels).predict_proba(windows.values),
    ]
    np.testing.assert_array_equal(answers[0], answers[2])
    # Epochs hold float64, so that the standardisation rounds in another place.
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-4)


def test_of_epochs_only_the_channels_are_read_that_windows_are_made_of(windows):
    """The stimulus channel holds the labels: with it noise could be told apart."""
    generator, codes = np.random.default_rng(0), np.arange(30) % 2 + 1
    values = np.concatenate([generator.normal(0, 1e-5, (30, 3, 64)), np.zeros((30, 1, 64))], axis=1)
    values[:, 3, :3] = codes[:, None]
    info = mne.create_info(["EEG C3-REF", "Cz", "C4", "STI"], 64.0, ["eeg"] * 3 + ["stim"])
    epochs = mne.EpochsArray(values, info, np.stack([np.arange(30) * 100, 0 * codes, codes], 1), event_id={"left": 1, "right": 2}, verbose="error")
    fitted = clone(QUICK).fit(epochs)
    assert fitted.electrodes_ == ("C3", "Cz", "C4")
    assert fitted.signal_shape_ == (3, 64)
    epochs.info["bads"] = ["Cz"]
    with pytest.raises(ValueError, match=r"X marks the channels \['Cz'\] as bad"):
        clone(QUICK).fit(epochs)


def test_works_inside_pipeline_grid_search_and_cross_val_score(windows):
    X, y = windows.values, windows.labels
    scores = cross_val_score(make_pipeline(FunctionTransformer(), QUICK), X, y, cv=2)
    assert scores.shape == (2,)
    search = GridSearchCV(QUICK, {"width": [4, 8]}, cv=2).fit(X, y)
    assert search.best_params_["width"] in (4, 8)


def test_scikit_learn_divides_windows(windows):
    search = GridSearchCV(clone(QUICK).set_params(training_steps=3), {"dropout": [0.0, 0.2]}, cv=2, error_score="raise").fit(windows, windows.labels)
    assert search.predict_proba(windows).shape == (60, 2)


@pytest.mark.parametrize(
    "given", [SignalViTClassifier(), baselines.shrinkage_lda(), baselines.classical_blend(3, 67), FineTuned(QUICK), MixedRecordingClassifier()]
)
def test_who_was_not_fitted_says_so(windows, given):
    with pytest.raises(NotFittedError):
        given.predict(windows)


def test_pickled_classifier_predicts_the_same(windows):
    classifier = clone(QUICK).fit(windows)
    restored = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(restored.predict_proba(windows), classifier.predict_proba(windows))


def test_a_classifier_that_an_earlier_version_pickled_can_be_shown_cloned_and_fitted_again(windows):
    fitted = clone(QUICK).fit(windows)
    del fitted.__dict__["label_map"]
    restored = pickle.loads(pickle.dumps(fitted))
    assert repr(restored) == repr(QUICK)
    assert clone(restored).get_params() == QUICK.get_params()
    expected = fitted.predict_proba(windows)
    np.testing.assert_array_equal(restored.set_params(label_map=None).fit(windows).predict_proba(windows), expected)


def test_a_classifier_that_an_earlier_version_pickled_predicts(windows):
    fitted = clone(QUICK).set_params(training_steps=1).fit(windows)
    expected = fitted.predict_proba(windows)
    del fitted.electrodes_, fitted.sampling_rate_, fitted.class_shares_
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(windows), expected)


def test_blend_is_the_normalised_geometric_mean_of_both_halves(windows):
    half = baselines.shrinkage_lda()
    both = clone(QUICK).set_params(classical=half).fit(windows)
    network = clone(QUICK).fit(windows).predict_proba(windows)
    classical = clone(half).fit(windows.values, windows.labels).predict_proba(windows.values)
    expected = np.sqrt(np.maximum(network, 1e-6) * np.maximum(classical, 1e-6))  # no source is believed to be surer than that
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(both.predict_proba(windows), expected, atol=1e-9)


@pytest.fixture(scope="module")
def three_classes():
    """Unequally frequent, and weakly told apart by one electrode's level."""
    numbers, values = np.repeat(np.arange(3), [61, 23, 11]), np.random.default_rng(0).normal(0, 1e-5, (95, 3, 67))
    values[np.arange(95), numbers] += 2e-6
    return windows_from_arrays(values, np.array(["left", "rest", "right"])[numbers], ["C3", "Cz", "C4"], 64.0)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("half", [baselines.shrinkage_lda(), Blend({"LDA": baselines.shrinkage_lda()})])
def test_more_than_two_classes_are_answered_for_as_if_equally_frequent(three_classes, half, class_weight):
    model = clone(QUICK).set_params(classical=half, class_weight=class_weight)
    even, learned = (clone(model).set_params(even_classes=each).fit(three_classes).predict_parts(three_classes) for each in ("auto", False))
    shares = np.array([61, 23, 11]) / 95
    weights = 1 / (3 * shares) if class_weight else np.ones(3)
    taught = weights * (0.9 * shares + 0.1 / 3)  # a tenth of each target is smoothed
    expected = {name: learned[name] / prior for name, prior in (("network", taught), ("classical half", shares))}
    expected = {name: each / each.sum(1, keepdims=True) for name, each in expected.items()}
    expected[""] = np.sqrt(expected["network"] * expected["classical half"])  # of a half that has judged nothing, equal weights
    expected[""] /= expected[""].sum(1, keepdims=True)
    assert all(told.min() > 1e-6 for told in (*even.values(), *learned.values()))  # nothing is cut there
    for name, told in even.items():
        np.testing.assert_allclose(told, expected[name], atol=1e-12)  # double precision


def test_a_rare_class_is_found_more_often_where_all_count_alike(three_classes):
    even, learned = (clone(QUICK).set_params(even_classes=each).fit(three_classes) for each in ("auto", False))
    rare = three_classes[np.flatnonzero(three_classes.labels == "right")]
    assert even.score(rare, rare.labels) > learned.score(rare, rare.labels) + 0.2


@pytest.mark.parametrize("rows", [np.arange(61 + 23), np.r_[:11, 61:72, 84:95]], ids=["two classes", "equal ones"])
def test_of_two_classes_and_of_equally_frequent_ones_nothing_is_divided_out(three_classes, rows):
    auto, learned = (clone(QUICK).set_params(even_classes=each, classical="auto").fit(three_classes[rows]) for each in ("auto", False))
    assert auto.class_shares_ == {}
    for part, told in learned.predict_parts(three_classes).items():
        np.testing.assert_array_equal(auto.predict_parts(three_classes)[part], told)


def test_whoever_names_weights_says_what_classes_count(three_classes):
    weights = {"right": 3.0}
    assert clone(QUICK).set_params(class_weight=weights, training_steps=1).fit(three_classes).class_shares_ == {}
    two = three_classes[np.arange(61 + 23)]
    np.testing.assert_allclose(clone(QUICK).set_params(even_classes=True, training_steps=1).fit(two).class_shares_["classical half"], np.array([61, 23]) / 84)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"class_weight": {"right": 3.0}, "even_classes": True}, r"even_classes is True, but class_weight {'right': 3.0} says that"),
        ({"even_classes": "always"}, "even_classes is 'always'; it must be True, False or"),
        ({"epochs": 3, "training_steps": 7}, "epochs is 3 and training_steps 7; .* leave one of the two out"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; it must be above 0"),
    ],
)
def test_what_a_training_can_not_be_is_refused_before_a_half_is_fitted(three_classes, choices, sentence, monkeypatch):
    monkeypatch.setattr(SignalViTClassifier, "_fit_classical", lambda self, part: pytest.fail("The half was fitted."))
    model = clone(QUICK).set_params(classical="auto", **choices)
    with pytest.raises(ValueError, match=sentence):
        model.fit(three_classes)
    with pytest.raises(ValueError, match=f"^fold 3: {sentence}"):
        model.fit_many(three_classes, [FitJob(np.arange(95), [], 0, name="fold 3")])


def test_flipped_hemispheres_are_divided_out_as_the_classes_that_they_show(three_classes):
    found = clone(QUICK).set_params(hemisphere_flip=0.25, label_smoothing=0.0, training_steps=1).fit(three_classes).class_shares_
    shares, mirrored = np.array([61, 23, 11]) / 95, np.array([11, 23, 61]) / 95
    np.testing.assert_allclose(found["network"], 0.75 * shares + 0.25 * mirrored, atol=1e-12)  # double precision
    np.testing.assert_allclose(found["classical half"], shares, atol=1e-12)
    left, rest, right = clone(QUICK).set_params(hemisphere_flip=0.5, training_steps=1).fit(three_classes).class_shares_["network"]
    assert abs(left - right) < 1e-12 < left - rest


def test_classes_that_weights_make_alike_up_to_rounding_are_not_divided_out(three_classes):
    model = clone(QUICK).set_params(class_weight="balanced", label_smoothing=0.0, training_steps=1)
    assert set(model.fit(three_classes).class_shares_) == {"classical half"}


@pytest.mark.parametrize("rhythm", [True, False])
def test_the_stem_whitens_where_rhythms_tell_more_on_inner_folds(windows, rhythm):
    labels, values = np.arange(40) % 2, np.random.default_rng(0).normal(0, 1e-5, (40, 3, 67))
    if rhythm:
        values[labels == 1, 1] *= 1.3  # power alone tells
    else:
        values += 5e-6 * labels[:, None, None]  # the course alone tells
    given = dataclasses.replace(windows[np.arange(40)], values=values.astype(np.float32), labels=labels)
    classifier = clone(QUICK).set_params(classical="auto", training_steps=1).fit(given)
    assert classifier.whitened_ == rhythm
    measured = ConvStem(3, whiten=True).set_reference(classifier._standardise(given.values)).whitening
    assert torch.equal(classifier.model_.tokenizer.whitening, measured if rhythm else torch.eye(3))


def test_whitening_can_be_asked_for_and_nothing_else(windows):
    asked = clone(QUICK).set_params(whiten=True, training_steps=1).fit(windows)
    assert not torch.equal(asked.model_.tokenizer.whitening, torch.eye(3))
    assert clone(QUICK).set_params(whiten=False, training_steps=1).fit(windows).model_.tokenizer.whitening is None
    assert not clone(QUICK).set_params(training_steps=1).fit(windows).whitened_  # no classical half says what rhythms tell
    with pytest.raises(ValueError, match="only the default stem reads it"):
        clone(QUICK).set_params(whiten=True, tokenizer=ConvStem(3, width=8)).fit(windows)
    with pytest.raises(ValueError, match='it must be True, False or "auto"'):
        clone(QUICK).set_params(whiten="always").fit(windows)


def test_each_network_of_the_ensemble_leaves_one_inner_fold_out(windows):
    groups = np.repeat(["a", "b", "c", "d"], 15)
    classifier = clone(QUICK).set_params(ensemble=True).fit(windows, groups=groups)
    assert len(classifier.models_) == 4
    for rows in classifier._left_out(classifier._prepare(windows, None, groups, None)):
        assert len(set(groups[rows])) == 1
    changed = windows.values.copy()
    changed[groups == groups[0]] = changed[groups == groups[0]][::-1]  # the same mean and deviation, so the same standardisation
    again = clone(QUICK).set_params(ensemble=True).fit(dataclasses.replace(windows, values=changed), groups=groups)
    same = [torch.equal(one.head.weight, other.head.weight) for one, other in zip(classifier.models_, again.models_, strict=True)]
    assert sorted(same) == [False, False, False, True]


def test_copies_are_left_out_with_their_windows(windows):
    order = np.random.default_rng(0).permutation(120) % 60
    classifier = clone(QUICK).set_params(ensemble=True)
    left_out = classifier._left_out(classifier._prepare(windows.values[order], windows.labels[order], None, None))
    assert len(left_out) == 5
    assert sorted(np.concatenate(left_out)) == list(range(120))
    for rows in left_out:
        assert not set(order[rows]) & set(np.delete(order, rows))


def test_with_few_groups_networks_that_saw_every_window_predict(windows):
    groups = windows.metadata["subject"].to_numpy()
    classifier = clone(QUICK).set_params(ensemble=True).fit(windows, groups=groups)
    left_out = classifier._left_out(classifier._prepare(windows, None, groups, None))
    assert [rows is None for rows in left_out] == [False, False, False, True, True]
    assert len(classifier.models_) == 2
    assert classifier.n_parameters_ == 2 * sum(parameter.numel() for parameter in classifier.model_.parameters())


def test_the_ensemble_predicts_the_geometric_mean_of_its_networks(windows):
    classifier = clone(QUICK).set_params(ensemble=True).fit(windows)
    values = classifier._standardise(windows.values)
    with torch.no_grad():
        mean = torch.stack([model(values).double().log_softmax(1) for model in classifier.models_]).mean(0)
    np.testing.assert_allclose(classifier.predict_proba(windows), mean.softmax(1).numpy(), atol=1e-6)  # batches of other sizes round float32 logits elsewhere


def test_windows_are_standardised_in_parts_and_once_for_all_networks(windows, monkeypatch):
    classifier = clone(QUICK).set_params(ensemble=True, training_steps=1).fit(windows)
    whole, standardise, sizes = classifier.predict_proba(windows), type(classifier)._standardise, []
    monkeypatch.setattr("sigvit.network_classifier.AT_ONCE", 17)
    monkeypatch.setattr(type(classifier), "_standardise", lambda self, signals: sizes.append(len(signals)) or standardise(self, signals))
    np.testing.assert_allclose(classifier.predict_proba(windows), whole, atol=1e-6)  # batches of other sizes round float32 logits elsewhere
    assert sizes == [17, 17, 17, 9]


def test_standardising_holds_no_float64_copy_of_all_windows(windows):
    classifier = clone(QUICK).set_params(training_steps=1).fit(windows)
    values = np.tile(windows.values, (53, 1, 1))
    tracemalloc.start()
    standardised = classifier._standardise(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes  # a few parts of 256 of 3180 windows, twice as wide; tensors aren't counted
    expected = ((values - classifier.center_[:, None]) / classifier.scale_[:, None]).astype(np.float32)
    np.testing.assert_array_equal(standardised.numpy(), expected)


def test_the_weights_of_the_halves_are_chosen_on_windows_that_neither_was_fitted_on(windows, monkeypatch):
    seen = []
    monkeypatch.setattr("sigvit.estimators.blend_weights", lambda told, numbers: seen.append((told, numbers)) or blend_weights(told, numbers))
    classifier = clone(QUICK).set_params(ensemble=True, classical="auto", training_steps=60).fit(windows)
    ((told, numbers),) = seen
    np.testing.assert_array_equal(told[:, 1], classifier.classical_.out_of_fold_)
    values = classifier._standardise(windows.values)
    for model, rows in zip(classifier.models_, classifier._left_out(classifier._prepare(windows, None, None, None)), strict=True):
        expected = network_log_probabilities(model, values[torch.as_tensor(rows)])
        np.testing.assert_allclose(told[rows, 0], np.maximum(expected, np.log(1e-6)), atol=1e-6)  # float32 logits in other batches
    losses = -told[np.arange(60), :, numbers].mean(0)
    assert -pooled(told, classifier.weights_)[np.arange(60), numbers].mean() < losses.min() + PULL / 60  # what the pull towards equal weights may cost


MANY = {
    "ViT": (
        clone(QUICK).set_params(ensemble=True, classical=baselines.shrinkage_lda(), training_steps=10),
        [{"dropout": 0.1}, {"dropout": 0.0, "learning_rate": 1e-3}, {"early_stopping": True, "patience": 1}],
    ),
    "EEGNet": (ConvNetClassifier("EEGNet", epochs=20, batch_size=11), [{}, {"learning_rate": 1e-2}, {"patience": 1}]),
    "ShallowConvNet": (ConvNetClassifier("ShallowConvNet", epochs=5, batch_size=11), [{}, {"learning_rate": 1e-2}, {}]),
}


@pytest.mark.parametrize("name", MANY)
def test_fit_many_equals_one_by_one(windows, name):
    model, parameters = MANY[name]
    rows, groups = np.arange(60), windows.metadata["subject"].to_numpy()
    folds = [(rows[:40], rows[40:50]), (rows[:40], rows[40:50]), (rows[7:], rows[:0])]
    jobs = [FitJob(*fold, seed, changed, groups[fold[0]]) for seed, (fold, changed) in enumerate(zip(folds, parameters, strict=True))]
    for job, fitted in zip(jobs, model.fit_many(windows, jobs), strict=True):
        single = clone(model).set_params(random_state=job.seed, **job.parameters)
        held_out = windows[job.validation] if len(job.validation) else None
        single.fit(windows[job.train], groups=job.groups, validation=None if held_out is None else (held_out, held_out.labels))
        # float32: what training in other company changes by rounding.
        np.testing.assert_allclose(fitted.predict_proba(windows), single.predict_proba(windows), atol=1e-5)
        assert vars(fitted).keys() == vars(single).keys()
        assert [entry["step"] for entry in fitted.history_] == [entry["step"] for entry in single.history_]
        assert (fitted.selection_, fitted.n_parameters_) == (single.selection_, single.n_parameters_)


def test_the_history_of_networks_of_unequal_length_is_their_mean_by_step():
    # Three networks that look every 25 steps and at their ends, as `epochs` has it on inner folds of unequal size.
    losses = [{25: 4.0, 50: 2.0, 53: 1.0}, {25: 2.0, 47: 7.0}, {25: 3.0, 50: 6.0, 53: 2.0}]
    histories = [[{"step": step, "train_loss": loss} for step, loss in network.items()] for network in losses]
    assert [(entry["step"], entry["train_loss"]) for entry in mean_history(histories)] == [(25, 3.0), (47, 7.0), (50, 4.0), (53, 1.5)]


def test_jobs_may_come_one_by_one_and_bring_a_seed_of_their_own(windows):
    jobs = (FitJob(np.arange(40), [], seed, changed) for seed, changed in enumerate(({}, {"random_state": 7}), 3))
    fitted = clone(QUICK).set_params(training_steps=2).fit_many(windows, jobs)
    assert [each.random_state for each in fitted] == [3, 7]
    assert all(hasattr(each, "model_") for each in fitted)


class Half(ClassifierMixin, BaseEstimator):
    """Gives every window the shares of the classes at the middle of a long list, which its text leaves out."""

    def __init__(self, shares=None):
        self.shares = shares

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.tile(self.shares[len(self.shares) // 2], (len(X), 1))


def test_fits_of_different_halves_share_none(windows):
    shares = np.full((3001, 2), 0.5)
    other = shares.copy()
    other[1500] = 0.9, 0.1
    model = clone(QUICK).set_params(classical=Half(shares), training_steps=2)
    jobs = [FitJob(np.arange(40), [], 0, {"classical__shares": each}) for each in (shares, other)]
    assert [fitted.classical_.shares[1500, 0] for fitted in model.fit_many(windows, jobs)] == [0.5, 0.9]


def test_a_given_half_that_judges_itself_knows_the_groups(windows):
    groups = windows.metadata["subject"].to_numpy()
    judged = [
        clone(QUICK).set_params(classical=half).fit(windows, groups=groups).classical_ for half in (baselines.shrinkage_lda(4), Half(np.full((1, 2), 0.5)))
    ]
    alone = baselines.shrinkage_lda(4).fit(windows.values, windows.labels, groups=groups)
    np.testing.assert_array_equal(judged[0].out_of_fold_, alone.out_of_fold_)


class Heard(nn.Module):
    """Somebody's tokenizer: patches in which an electrode is flat are padding."""

    def __init__(self):
        super().__init__()
        self.patches, self.width = ElectrodeTimePatches(3, 1, 16, 16, 8), 8

    def forward(self, signal):
        tokens = self.patches(signal)
        return Tokens(tokens.values, tokens.grid, signal.unfold(-1, 16, 16).std(-1).flatten(1) > 1e-6)


class Noisy(Heard):
    """One that draws at random."""

    def forward(self, signal):
        return self.patches(signal + 0.1 * torch.randn_like(signal))


def test_somebody_s_tokenizer_is_trained_as_it_predicts(windows):
    values = windows.values[..., :64].copy()
    values[::2, 1, 16:] = 0
    model = clone(QUICK).set_params(tokenizer=Heard(), dtype="float64")
    given = dataclasses.replace(windows, values=values)
    for job, fitted in zip(jobs := [FitJob(np.arange(40), [], seed) for seed in range(3)], model.fit_many(given, jobs), strict=True):
        single = clone(model).set_params(random_state=job.seed).fit(given[job.train])
        np.testing.assert_allclose(fitted.predict_proba(given), single.predict_proba(given), atol=1e-9)  # float64
    assert np.isfinite(clone(QUICK).set_params(tokenizer=Noisy(), ensemble=True).fit(given).predict_proba(given)).all()


def test_fit_many_in_several_blocks_is_the_same(windows, monkeypatch):
    rows = np.arange(60)
    jobs = [FitJob(rows[seed : seed + 40], rows[:0], seed) for seed in (0, 0, 5)]
    together = QUICK.fit_many(windows, jobs)
    monkeypatch.setattr("sigvit.fit_blocks.BLOCK_BYTES", 1)
    for one, other in zip(together, QUICK.fit_many(windows, jobs), strict=True):
        np.testing.assert_allclose(one.predict_proba(windows), other.predict_proba(windows), atol=1e-4)  # float32, as above


def test_fit_many_names_the_job_that_came_to_no_end(windows):
    rows = np.arange(60)
    jobs = [FitJob(rows[:40], rows[:0], 0, name="fold 3"), FitJob(rows[:40], rows[:0], 1, {"learning_rate": 1e30}, name="fold 7")]
    with pytest.raises(ValueError, match=r"^fold 7: The .* became .* values\. That ended 1 of 2 trainings\.$"):
        QUICK.fit_many(windows, jobs)
    one_class = np.flatnonzero(windows.labels == "left")
    for wrong in (FitJob(one_class, rows[:0], 0, name="fold 5"), FitJob(rows[:40], rows[:0], 0, {"heads": 3}, name="fold 5")):
        with pytest.raises(ValueError, match=r"^fold 5: "):
            QUICK.fit_many(windows, [jobs[0], wrong])


def test_all_blocks_are_trained_before_fit_many_says_which_jobs_came_to_no_end(windows, monkeypatch):
    ended, ours = [], SignalViTClassifier._complete
    monkeypatch.setattr(SignalViTClassifier, "_complete", lambda self, *asked: ended.append(self.random_state) or ours(self, *asked))
    monkeypatch.setattr("sigvit.fit_blocks.BLOCK_BYTES", 1)
    rows = np.arange(60)
    jobs = [FitJob(rows[seed : seed + 40], rows[:0], seed, {"learning_rate": 1e30} if seed % 2 else {}, name=f"fold {seed}") for seed in range(5)]
    with pytest.raises(ValueError, match=r"^fold 1: The .* became .* fold 3: The .* became") as raised:
        QUICK.fit_many(windows, jobs)
    assert ended == [0, 2, 4]
    assert "fold 4" not in str(raised.value)
    assert re.findall("That ended.*", str(raised.value)) == ["That ended 2 of 5 trainings."]
    one_class = FitJob(np.flatnonzero(windows.labels == "left"), rows[:0], 0, name="fold 6")
    with pytest.raises(ValueError, match=r"^fold 6: Only one class") as refused:
        QUICK.fit_many(windows, [*jobs, one_class])
    assert [note.partition(":")[0] for note in refused.value.__notes__] == ["fold 1", "fold 3"]


def test_all_trainings_are_counted_whose_networks_only_told_a_weight(windows, monkeypatch):
    """Of two groups two networks tell how much the networks weigh, and three others are kept."""
    monkeypatch.setattr("sigvit.fit_blocks.BLOCK_BYTES", 1)
    groups = np.arange(60) % 2
    jobs = [FitJob(np.arange(60), [], 0, changed, groups, name) for name, changed in (("fold 3", {}), ("fold 7", {"learning_rate": 1e30}))]
    with pytest.raises(ValueError, match=r" That ended 5 of 10 trainings\.$"):
        clone(QUICK).set_params(ensemble=True, training_steps=3).fit_many(windows, jobs)


@pytest.mark.parametrize("classical", [None, "auto"])
def test_a_block_holds_no_windows_of_the_one_before(windows, monkeypatch, classical):
    alive, ours = [], prepare_all

    def prepare(*asked):
        gc.collect()  # torch's modules are in cycles
        assert [part() for part in alive] == [None] * len(alive)
        parts = ours(*asked)
        alive.extend(weakref.ref(part) for part in parts)
        return parts

    monkeypatch.setattr("sigvit.network_classifier.prepare_all", prepare)
    monkeypatch.setattr("sigvit.fit_blocks.BLOCK_BYTES", 1)
    rows = np.arange(60)
    parameters = [{}, {"learning_rate": 1e30}, {}]
    jobs = [FitJob(rows[seed : seed + 40], rows[:0], seed, changed) for seed, changed in enumerate(parameters)]
    with pytest.raises(ValueError, match="became"):
        clone(QUICK).set_params(classical=classical).fit_many(windows, jobs)
    assert len(alive) == 3


def test_early_stopping_holds_out_whole_groups(windows):
    groups = windows.metadata["subject"].to_numpy()
    classifier = clone(QUICK).set_params(early_stopping=True, training_steps=100, patience=1)
    classifier.fit(windows, groups=groups)
    assert classifier.selection_ == "validation"
    assert all("validation_loss" in entry for entry in classifier.history_)


def test_without_early_stopping_validation_windows_are_trained_on(windows):
    rows = np.arange(60)
    joined = clone(QUICK).fit(windows[rows[:40]], validation=(windows[rows[40:]], None))
    whole = clone(QUICK).fit(windows)
    np.testing.assert_array_equal(joined.predict_proba(windows), whole.predict_proba(windows))
    assert joined.selection_ == "none"


def test_progress_is_shown_when_asked_for_and_changes_nothing(windows, capsys):
    quiet = clone(QUICK).fit(windows).predict_proba(windows)
    assert capsys.readouterr().out == ""
    shown = clone(QUICK).set_params(progress=True).fit(windows).predict_proba(windows)
    assert "training" in capsys.readouterr().out
    np.testing.assert_array_equal(shown, quiet)


def test_a_given_tokenizer_is_used_and_left_as_it_is(windows):
    tokenizer = TimeStepTokens(3, window=7, width=8, leftover="drop")
    before = copy.deepcopy(tokenizer.state_dict())
    fitted = clone(QUICK).set_params(tokenizer=tokenizer).fit(windows)
    assert isinstance(fitted.model_.tokenizer, TimeStepTokens)
    assert all(torch.equal(before[name], tensor) for name, tensor in tokenizer.state_dict().items())


def test_class_weights_move_the_decision(windows):
    plain = clone(QUICK).set_params(training_steps=100).fit(windows).predict_proba(windows)[:, 1].mean()
    weighted = clone(QUICK).set_params(training_steps=100, class_weight={windows.classes[1]: 10.0}).fit(windows).predict_proba(windows)[:, 1].mean()
    assert weighted > plain + 0.1


def test_epochs_count_passes_over_the_windows():
    assert SignalViTClassifier(epochs=3, batch_size=32).recipe(65).steps == 3 * 2  # 65 // 32 whole batches a pass


def test_large_sets_are_trained_on_for_longer_where_nobody_says_how_long():
    assert [SignalViTClassifier(batch_size=13).recipe(count).steps for count in (17, 406, 407, 5003)] == [1000, 1000, 1002, 12316]  # 32 times each
    assert SignalViTClassifier(training_steps=7).recipe(5003).steps == 7


@pytest.mark.parametrize("network", ["EEGNet", "ShallowConvNet"])
def test_convolutional_baselines_learn_and_choose_by_validation(windows, network):
    classifier = ConvNetClassifier(network, epochs=40, batch_size=11).fit(windows, groups=windows.metadata["subject"].to_numpy())
    assert classifier.selection_ == "validation"
    assert classifier.score(windows, windows.labels) > 0.6


def test_convolutional_parameter_counts_are_the_papers():
    # EEGNet-8,2 on 64 electrodes × 128 samples: Keras' summary of the authors' model with 4 classes gives 2 100 trainable parameters.
    network = ConvNetClassifier("EEGNet", sampling_rate=128.0).build(64, 128, 4)
    convolutions = 8 * 64 + 16 * 64 + 16 * 16 + 16 * 16
    assert sum(parameter.numel() for parameter in network.parameters()) == convolutions + 2 * (8 + 16 + 16) + 4 * (16 * 4) + 4


def test_joint_filters_are_the_spatial_after_the_temporal_convolution():
    network = ShallowConvNet(5, 101, 3, sampling_rate=250.0).double()
    values = torch.randn(2, 5, 101, dtype=torch.float64)
    expected = network.spatial(network.temporal(values[:, None]))[:, :, 0]
    torch.testing.assert_close(torch.nn.functional.conv1d(values, *network.joint_filters()), expected)


def turned(windows):
    return windows_from_arrays(windows.values[:, ::-1], windows.labels, windows.electrodes[::-1], windows.sampling_rate)


def at_another_rate(windows):
    return windows_from_arrays(windows.values, windows.labels, windows.electrodes, 4 * windows.sampling_rate)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda w: clone(QUICK).fit(w.values, np.zeros(60)), "Only one class"),
        (lambda w: clone(QUICK).fit(w).predict(w.values[:, :, :11]), "fitted on"),
        (lambda w: clone(QUICK).fit(w.values[:, None], w.labels), "has 4 axes"),
        (lambda w: clone(QUICK).fit(np.where(w.values == w.values.max(), np.nan, w.values), w.labels), "NaN"),
        (lambda w: clone(QUICK).set_params(class_weight="heavy").fit(w), "class_weight"),
        (
            lambda w: clone(QUICK).set_params(class_weight=np.ones(2)).fit(w),
            r"class_weight is array\(\[1., 1.\]\); it must be None, \"balanced\" or a dictionary",
        ),
        (lambda w: clone(QUICK).set_params(batch_size=0).fit(w), "batch_size is 0; it must be at least 1"),
        (lambda w: ConvNetClassifier("EEGNet", batch_size=0).fit(w), "batch_size is 0; it must be at least 1"),
        (lambda w: clone(QUICK).set_params(ensemble="no").fit(w), "ensemble is 'no'; it must be True or False"),
        (lambda w: clone(QUICK).set_params(early_stopping="no").fit(w), "early_stopping is 'no'; it must be True or False"),
        (lambda w: clone(QUICK).set_params(classical=pytest.fail, device="gpu").fit(w), 'device is \'gpu\'; it must be "cpu", "auto" or'),
        (lambda w: clone(QUICK).set_params(classical=pytest.fail, device="meta").fit(w), 'device is \'meta\'; it must be "cpu", "auto" or'),
        (lambda w: clone(QUICK).set_params(classical=pytest.fail, device="hpu").fit(w), 'device is \'hpu\'; it must be "cpu", "auto" or'),
        (lambda w: QUICK.fit_many(w, [(np.arange(9), [])]), r"fit_many takes jobs, sigvit.FitJob\(train, validation, seed\), but here is tuple"),
        (lambda w: clone(QUICK).set_params(class_weight={"Right": 3.0}).fit(w), r"class_weight names Right; .* classes \['left', 'right'\]"),
        (lambda w: clone(QUICK).set_params(class_weight={"right": -3.0}).fit(w), "class_weight is {'right': -3.0}"),
        (lambda w: clone(QUICK).fit(w, groups=np.zeros(61)), "inconsistent numbers of samples"),
        (lambda w: clone(QUICK).fit(w, validation=(w.values, w.labels[:20])), "inconsistent numbers of samples"),
        (lambda w: clone(QUICK).fit(w).predict(turned(w)), "Electrode 1 of X is C4, but the classifier was fitted on C3 there"),
        (lambda w: clone(QUICK).fit(w, validation=(turned(w), None)), "Electrode 1 of X is C4"),
        (lambda w: clone(QUICK).fit(w).predict(at_another_rate(w)), "X is sampled at 256 Hz, but the classifier was fitted on 64 Hz"),
        (lambda w: FitJob(np.array([-1, 3]), [], 0), "train holds the row -1; rows are numbered from 0"),
        (lambda w: FitJob(np.arange(9), [8, 9], 0), "Row 8 is to be trained on and to be validated on; 1 rows are"),
        (lambda w: QUICK.fit_many(w, [FitJob([3, 67], [], 0, name="a job")]), "a job: train holds the row 67, but there are 60 windows"),
        (lambda w: QUICK.fit_many(w, [FitJob([3, 5], [60], 0, name="a job")]), "a job: validation holds the row 60"),
        (lambda w: QUICK.fit_many(w, [FitJob([3, 5], [], 0, {"foo": 1}, name="a job")]), "a job: Invalid parameter 'foo'"),
        (lambda w: FineTuned(QUICK).fit(w, w.labels[:50]), "inconsistent numbers of samples"),
        (lambda w: FitJob(np.arange(60) > 30, [], 0), "train holds bool .* np.flatnonzero makes them of a mask"),
        (lambda w: clone(QUICK).set_params(classical="best").fit(w), "classical is 'best'"),
        (lambda w: clone(QUICK).fit(w, validation=(w, np.full(60, "elsewhere"))), "which the training part lacks"),
        (lambda w: ConvNetClassifier().fit(w.values, w.labels), "sampling rate"),
        (lambda w: ConvNetClassifier("DeepNet").fit(w), "must be one of"),
    ],
)
def test_bad_input_is_a_sentence(windows, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(windows)


@pytest.mark.parametrize(("names", "label_map"), [(["left", "right"], None), ([1, 2], {1: 2, 2: 1}), (["T1", "T2"], {"T1": "T2", "T2": "T1"})])
def test_a_map_says_which_class_a_flipped_window_has(names, label_map):
    generator, sides = np.random.default_rng(0), np.arange(40) % 2
    values = generator.normal(0, 1e-5, (40, 3, 61))
    values[np.arange(40), 2 * sides] += 3e-5 * np.sin(np.arange(61) / 3)
    windows = windows_from_arrays(values, np.array(names)[sides], ["C3", "Cz", "C4"], 64.0)
    flipping = clone(QUICK).set_params(hemisphere_flip=0.5, training_steps=60, mixup=0.0, label_map=label_map)
    assert flipping.fit(windows).score(windows, windows.labels) > 0.9  # unchanged labels teach that either side is either class: about .5
    if label_map:
        with pytest.raises(ValueError, match="give a label_map"):
            clone(flipping).set_params(label_map=None).fit(windows)


def test_electrodes_are_told_apart_by_what_their_names_mean():
    generator, labels = np.random.default_rng(0), np.arange(18) % 2
    values = generator.normal(0, 1e-5, (18, 5, 61))
    named = {names: windows_from_arrays(values, labels, names.split(","), 64.0) for names in ("T3,C3,Cz,C4,EOG", "t7,C3.,CZ,EEG C4-REF,EOG", "T7,C3,Cz,C4,eog")}
    own, written, other = named.values()
    classifier = clone(QUICK).set_params(training_steps=1).fit(own)
    np.testing.assert_array_equal(classifier.predict_proba(written), classifier.predict_proba(own))
    with pytest.raises(ValueError, match="Electrode 5 of X is eog, but the classifier was fitted on EOG there"):
        classifier.predict(other)


@pytest.mark.parametrize("shape", [(20, 5, 1), (20, 1, 1), (18, 1, 211), (18, 2, 3)])
def test_windows_as_small_as_can_be_are_fitted_by_both_halves(shape):
    labels = np.arange(shape[0]) % 2
    values = np.random.default_rng(0).normal(0, 1e-5, shape) + 5e-5 * labels[:, None, None]
    classifier = SignalViTClassifier(training_steps=20).fit(values, labels)
    assert classifier.score(values, labels) > 0.7
    assert np.isfinite(classifier.predict_proba(values)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_flat_electrode_with_an_offset_is_flat(windows, dtype):
    """Its deviation is rounding alone, and dividing by that would make anything of it."""
    values = windows.values.astype(dtype)
    values[:, 2] = 1e-3
    fitted = clone(QUICK).fit(values, windows.labels)
    assert fitted.scale_[2] == 1
    values[:, 2] += 1e-6
    assert fitted.score(values, windows.labels) > 0.9

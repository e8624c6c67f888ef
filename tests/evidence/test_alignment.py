"""Alignment: groups end with one covariance, and each mode reads the windows that its name allows, no others."""

from functools import partial

import numpy as np
import pytest
import sklearn
from pyriemann.geometry.mean import mean_riemann
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sigvit.data.synthetic import synthetic_windows
from sigvit.estimators import SignalViTClassifier
from sigvit.evidence import baselines
from sigvit.evidence.alignment import METRICS, MODES, Alignment, inverse_root
from sigvit.evidence.certificate import certify
from sigvit.evidence.cross_validation import cross_validate
from sigvit.evidence.fitting import Fit, fits_many
from sigvit.evidence.folds import cross_session, cross_subject
from sigvit.evidence.judging import judge_fits
from sigvit.evidence.scaling import ChannelScaler
from sigvit.evidence.window_steps import alignment_of, origin_of, takes_windows, uses_test_windows

N, E, S = 29, 3, 101


def group(seed: int) -> np.ndarray:
    """Windows of one person: a mixture of electrodes of their own."""
    generator = np.random.default_rng(seed)
    return np.einsum("ij,njs->nis", generator.normal(0, 1e-5, (E, E)), generator.normal(0, 1, (N, E, S)))


def groups_of(*seeds: int) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([group(seed) for seed in seeds]), np.repeat([f"{seed:02d}" for seed in seeds], N)


def moments(signals: np.ndarray) -> np.ndarray:
    return signals @ signals.swapaxes(1, 2) / signals.shape[2]


@pytest.mark.parametrize("mode", ["inductive", "transductive", "online"])
def test_training_groups_end_with_the_same_mean_covariance(mode):
    signals, groups = groups_of(1, 2, 3)
    step = Alignment(mode=mode)
    aligned = step.fit_transform(signals, groups=groups)
    for name in np.unique(groups):
        # float64; the inverse of a matrix with a condition of a few hundred.
        np.testing.assert_allclose(moments(aligned[groups == name]).mean(axis=0), step.scale_**2 * np.eye(E), atol=1e-9 * step.scale_**2)


def test_the_riemannian_reference_is_the_riemannian_mean_of_shrunken_covariances():
    signals, groups = groups_of(1, 2)
    step = Alignment("riemann").fit(signals, groups=groups)
    covariances = step._covariances(signals[groups == "02"])
    np.testing.assert_array_equal(step.references_["02",], mean_riemann(covariances))
    white = inverse_root(step.references_["02",])
    np.testing.assert_allclose(mean_riemann(white @ covariances @ white), np.eye(E), atol=1e-6)  # pyriemann iterates to 1e-8


@pytest.mark.parametrize("metric", METRICS)
def test_a_transductive_group_is_whitened_by_itself_whatever_the_other_mixtures(metric):
    signals, groups = groups_of(1, 2)
    test, test_groups = groups_of(5, 6)
    mixed = test.copy()
    mixed[test_groups == "05"] = np.einsum("ij,njs->nis", np.diag([3.0, 0.5, 7.0]), test[test_groups == "05"])
    step = Alignment(metric, "transductive").fit(signals, groups=groups)
    one, other = step.transform(test, test_groups), step.transform(mixed, test_groups)
    np.testing.assert_array_equal(one[test_groups == "06"], other[test_groups == "06"])
    if metric == "euclidean":
        expected = np.broadcast_to(step.scale_**2 * np.eye(E), (2, E, E))
        found = [moments(each[test_groups == "05"]).mean(axis=0) for each in (one, other)]
        np.testing.assert_allclose(found, expected, atol=1e-9 * step.scale_**2)  # float64


def test_an_inductive_window_is_changed_by_training_windows_alone():
    signals, groups = groups_of(1, 2)
    test, test_groups = groups_of(2, 5)
    step = Alignment().fit(signals, groups=groups)
    together = step.transform(test, test_groups)
    np.testing.assert_array_equal(step.transform(test[:1], test_groups[:1]), together[:1])
    np.testing.assert_allclose(together[:N], step.scale_ * inverse_root(step.references_["02",]) @ test[:N], rtol=1e-12)  # float64
    np.testing.assert_allclose(together[N:], step.scale_ * inverse_root(step.reference_) @ test[N:], rtol=1e-12)


def test_an_unknown_session_of_a_known_subject_takes_the_subjects_others():
    signals, _ = groups_of(1, 2, 3)
    origin = np.array([["01", "1"]] * N + [["01", "2"]] * N + [["02", "1"]] * N, dtype=object)
    step = Alignment().fit(signals, groups=origin)
    own = (step.references_["01", "1"] + step.references_["01", "2"]) / 2
    found = step.transform(signals[:3], np.array([["01", "9"]] * 3, dtype=object))
    np.testing.assert_allclose(found, step.scale_ * inverse_root(own) @ signals[:3], rtol=1e-12)  # float64
    by_subject = Alignment(by="subject").fit(signals, groups=origin)
    assert set(by_subject.references_) == {("01",), ("02",)}


@pytest.mark.parametrize("metric", METRICS)
def test_online_reads_nothing_that_comes_later_and_ends_near_the_transductive_reference(metric):
    signals, groups = groups_of(1, 2)
    test, names = np.concatenate([group(5)] * 13), np.repeat("05", 13 * N)
    step = Alignment(metric, "online").fit(signals, groups=groups)
    changed = test.copy()
    changed[200:] = 3e-5 * np.random.default_rng(0).normal(0, 1, changed[200:].shape)
    before, after = step.transform(test, names), step.transform(changed, names)
    np.testing.assert_array_equal(before[:201] != after[:201], np.arange(201)[:, None, None] >= np.full((1, E, S), 200))
    final = step._running(test, step._covariances(test), step.reference_)[-1]
    expected = step.scale_ * inverse_root(step._mean(step._covariances(test))) @ test[-1]
    start = step.scale_ * inverse_root(step.reference_) @ test[-1]
    # The start still counts 10 of 387 windows.
    assert np.linalg.norm(final - expected) < 0.3 * np.linalg.norm(start - expected)
    if metric == "euclidean":
        running = (10 * step.reference_ + step._covariances(test[:-1]).sum(axis=0)) / (10 + len(test) - 1)
        np.testing.assert_allclose(final, step.scale_ * inverse_root(running) @ test[-1], rtol=1e-9)  # float64, summed in another order


def test_lists_are_aligned_as_arrays_are():
    signals = np.random.default_rng(0).normal(0, 1e-5, (11, 3, 37))
    aligned = Alignment().fit_transform(signals)
    np.testing.assert_array_equal(Alignment().fit_transform(signals.tolist()), aligned)
    np.testing.assert_array_equal(Alignment().fit(signals).transform(signals.tolist()), aligned)


def test_without_alignment_nothing_changes():
    signals, groups = groups_of(1)
    np.testing.assert_array_equal(Alignment(mode="none").fit_transform(signals, groups=groups), signals)


def test_an_average_reference_leaves_its_empty_direction_empty():
    signals, groups = groups_of(1, 2)
    signals -= signals.mean(axis=1, keepdims=True)
    aligned = Alignment().fit_transform(signals, groups=groups)
    assert np.isfinite(aligned).all()
    assert np.abs(aligned).max() < 1e-3, "no rounding was blown up"


@pytest.mark.parametrize(
    ("parameters", "sentence"), [({"metric": "log"}, "metric is 'log'"), ({"mode": "auto"}, "mode is 'auto'"), ({"by": "run"}, "by is 'run'; it must be")]
)
def test_unknown_choices_are_named(parameters, sentence):
    with pytest.raises(ValueError, match=sentence):
        Alignment(**parameters).fit(group(1))


def test_groups_must_be_given_to_both_or_neither_and_to_every_window():
    signals, groups = groups_of(1, 2)
    with pytest.raises(ValueError, match="fitted with groups, but these windows come without them"):
        Alignment().fit(signals, groups=groups).transform(signals)
    with pytest.raises(ValueError, match="fitted without groups, but these windows come with them"):
        Alignment().fit(signals).transform(signals, groups)
    with pytest.raises(ValueError, match="There are 58 windows, but groups of shape"):
        Alignment().fit(signals, groups=groups[:-1])


def aligned_pipelines() -> dict:
    made = {f"{metric} {mode}": make_pipeline(Alignment(metric, mode), baselines.tangent_space()) for metric in METRICS for mode in MODES}
    network = SignalViTClassifier(training_steps=3, ensemble=False, width=8, heads=2, mlp_width=16, classical=None)
    return {**made, "scaled": make_pipeline(ChannelScaler(), baselines.csp_lda()), "ViT": make_pipeline(Alignment(), ChannelScaler(), network)}


@pytest.fixture(scope="module")
def windows():
    return synthetic_windows(n_subjects=3, n_sessions=2, n_runs=1, effect=2.0)


@pytest.mark.parametrize("name", list(aligned_pipelines()))
def test_test_rows_change_no_fitted_artefact(windows, name, monkeypatch):
    fold = cross_subject(windows.metadata)[1]
    values = windows.values.copy()
    values[fold.test] = np.random.default_rng(7).normal(0, 3e-5, values[fold.test].shape)
    kept = []
    monkeypatch.setattr("sigvit.evidence.judging._predict", lambda estimator, w, f: kept.append(estimator) or {"": np.full((len(f.test), 2), 0.5)})
    for each in (windows, type(windows)(values, windows.labels, windows.metadata, windows.info)):
        list(judge_fits(name, aligned_pipelines()[name], each, [Fit(fold, 3)]))
    one, other = (fitted_numbers(estimator) for estimator in kept)
    assert one == other
    assert len(one) > 100


def fitted_numbers(step) -> str:
    """Every fitted attribute of a pipeline's steps, with all digits."""
    if isinstance(step, Pipeline):
        return "".join(fitted_numbers(inner) for _, inner in step.steps)
    with np.printoptions(precision=17, threshold=10**6, floatmode="maxprec_equal"):
        return _written(step)


def _written(step) -> str:
    weights = [tensor.tolist() for tensor in step.model_.state_dict().values()] if hasattr(step, "model_") else []
    fitted = {name: value for name, value in vars(step).items() if name.endswith("_") and name not in ("model_", "classical_", "history_")}
    return repr(fitted) + repr(weights)


@pytest.mark.parametrize(("mode", "changes"), [("none", False), ("inductive", False), ("online", True), ("transductive", True)])
def test_only_online_and_transductive_predictions_depend_on_other_test_windows(windows, mode, changes):
    fold = cross_subject(windows.metadata)[1]
    values = windows.values.copy()
    values[fold.test[0]] = 3e-5 * np.random.default_rng(0).normal(0, 1, values[0].shape)
    pipeline, answers = make_pipeline(Alignment(mode=mode), baselines.tangent_space()), []
    for each in (windows, type(windows)(values, windows.labels, windows.metadata, windows.info)):
        answers.append(next(judge_fits("each", pipeline, each, [Fit(fold, 0)]))["parts"][0]["predictions"][1:])
    assert (answers[0] != answers[1]) == changes


def test_the_mode_is_stamped_on_table_and_certificate(windows):
    folds = cross_subject(windows.metadata)
    pipelines = {name: aligned_pipelines()[name] for name in ("euclidean none", "euclidean inductive", "euclidean online", "ViT")}
    results = cross_validate(pipelines, windows, folds)
    assert results.table.groupby("pipeline")["alignment"].unique().str[0].to_dict() == {
        "euclidean none": "none",
        "euclidean inductive": "inductive",
        "euclidean online": "online",
        "ViT": "inductive",
    }
    assert results.certificate.verdict == "proved"
    assert [(each.pipeline, each.mode) for each in results.certificate.alignment] == [
        ("euclidean inductive", "inductive"),
        ("euclidean online", "online"),
        ("ViT", "inductive"),
    ]
    assert any("'euclidean online' was aligned online" in sentence for sentence in results.certificate.warnings)
    assert results.histories["ViT", 0, 0], "the network of a pipeline keeps its history"


def test_a_transductive_pipeline_is_tolerated_with_a_sentence(windows):
    folds = cross_session(windows.metadata)
    certificate = certify(windows, folds)
    results = cross_validate({"aligned": aligned_pipelines()["riemann transductive"]}, windows, folds, certificate=certificate)
    assert certificate.verdict == "proved"
    assert (results.certificate.verdict, results.certificate.tolerated) == ("tolerated", ("alignment",))
    assert any("read all of them, unlabelled, before it judged the first" in sentence for sentence in results.certificate.warnings)
    assert results.certificate.reason == "test windows were read, unlabelled, before they were judged"
    again = results.certificate.with_alignment(results.certificate.alignment)
    assert again == results.certificate


def test_windows_reach_a_network_behind_steps_with_their_electrodes(windows):
    pipeline = aligned_pipelines()["ViT"]
    assert takes_windows(pipeline)
    assert not takes_windows(aligned_pipelines()["scaled"])
    pipeline.fit(windows, windows.labels)
    assert pipeline[-1].model_.tokenizer.sampling_rate == windows.sampling_rate


@pytest.mark.parametrize("off", ["passthrough", None])
def test_a_network_behind_a_step_that_is_switched_off_is_handed_windows(windows, off):
    pipeline = Pipeline([("alignment", off), ("vit", aligned_pipelines()["ViT"][-1])])
    assert fits_many(pipeline)
    (record,) = judge_fits("ViT", pipeline, windows, [Fit(cross_subject(windows.metadata)[0], 0)])
    (alone,) = judge_fits("ViT", make_pipeline(Alignment(mode="none"), pipeline[-1]), windows, [Fit(cross_subject(windows.metadata)[0], 0)])
    assert record["parts"][0]["predictions"] == alone["parts"][0]["predictions"]


def test_all_seeds_of_a_fold_at_once_are_those_of_one_fit_each(windows):
    made, pipeline = cross_subject(windows.metadata)[:2], aligned_pipelines()["ViT"]
    assert fits_many(pipeline)
    assert not fits_many(aligned_pipelines()["scaled"])
    together = [record["parts"][0] for record in judge_fits("ViT", pipeline, windows, [Fit(fold, seed) for fold in made for seed in (0, 5)])]
    alone = [record["parts"][0] for fold in made for seed in (0, 5) for record in judge_fits("ViT", pipeline, windows, [Fit(fold, seed)])]
    assert [each["row"]["seed"] for each in together] == [0, 5, 0, 5]
    for one, other in zip(together, alone, strict=True):
        # float32 networks after three steps: sums in another order.
        np.testing.assert_allclose(one["predictions"], other["predictions"], atol=1e-4)
        assert one["provenance"] == other["provenance"]
    assert together[0]["predictions"] != together[1]["predictions"]


class Asking(ClassifierMixin, BaseEstimator):
    """Keeps the groups that it was told."""

    def fit(self, X, y, groups=None):
        self.classes_, self.groups_ = np.unique(y), groups
        return self

    def predict_proba(self, X):
        return np.tile([1.0, 0.0], (len(X), 1))


def test_the_last_step_of_a_pipeline_is_told_the_groups_of_its_inner_folds(windows, monkeypatch):
    kept = []
    monkeypatch.setattr("sigvit.evidence.judging._predict", lambda estimator, w, f: kept.append(estimator) or {"": np.full((len(f.test), 2), 0.5)})
    fold = cross_subject(windows.metadata)[0]
    list(judge_fits("deep", make_pipeline(Alignment(), make_pipeline(ChannelScaler(), Asking())), windows, [Fit(fold, 0)]))
    assert set(kept[0][-1][-1].groups_) == {"02", "03"}


def test_by_windows_and_by_arrays_with_origin_is_the_same(windows):
    pipeline = make_pipeline(Alignment(mode="transductive"), ChannelScaler())
    by_windows = clone(pipeline).fit(windows, windows.labels).transform(windows).values
    with sklearn.config_context(enable_metadata_routing=True):
        fitted = clone(pipeline).fit(windows.values, windows.labels, origin=origin_of(windows))
        np.testing.assert_array_equal(fitted.transform(windows.values, origin=origin_of(windows)), by_windows)


def test_the_mode_of_a_pipeline_is_that_of_its_steps_however_deep():
    deep = make_pipeline(ChannelScaler(), make_pipeline(Alignment(mode="online"), Alignment(mode="inductive")))
    assert alignment_of(deep) == "inductive+online"
    assert alignment_of(baselines.tangent_space()) == "none"
    assert not uses_test_windows(deep)
    assert uses_test_windows(make_pipeline(Alignment(mode="transductive")))


@pytest.mark.parametrize(
    "held",
    [
        lambda alignment: [alignment],
        lambda alignment: {"first": (alignment,)},
        lambda alignment: alignment.fit_transform,
        lambda alignment: partial(dict, step=alignment),
    ],
    ids=["list", "dictionary of tuples", "method", "partial"],
)
def test_an_alignment_inside_lists_dictionaries_and_functions_is_found(held):
    hidden = make_pipeline(FunctionTransformer(held(Alignment(mode="transductive"))), baselines.tangent_space())
    assert alignment_of(hidden) == "transductive"
    assert uses_test_windows(hidden)

"""Cross-validation: fitted inside the fold, test rows read once, finished fits kept and never confused."""

import copy
import dataclasses
import importlib
import io
import json
import pickle
import sys
from functools import cache, partial
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import scipy.special
import torch
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from torch import nn

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.estimators import SignalViTClassifier
from sigvit.evidence import baselines
from sigvit.evidence.convnets import ConvNetClassifier
from sigvit.evidence.cross_validation import TABLE_COLUMNS, cross_validate
from sigvit.evidence.fingerprint import fingerprint
from sigvit.evidence.fit_job import FitJob
from sigvit.evidence.fit_store import FitStore
from sigvit.evidence.fitting import Fit
from sigvit.evidence.judging import judge_fits
from sigvit.evidence.machine import package_versions
from sigvit.evidence.shares import shares_out_itself
from sigvit.tokenizers import Composite, ElectrodeTimePatches
from sigvit.training.many import Plan, _train_stacked

QUICK = {
    "ViT": SignalViTClassifier(training_steps=7, ensemble=False, width=8, heads=2, mlp_width=16),
    "EEGNet": ConvNetClassifier("EEGNet", epochs=3),
    "ShallowConvNet": ConvNetClassifier("ShallowConvNet", epochs=3),
}


@pytest.fixture(scope="module")
def windows():
    return synthetic_windows(n_subjects=3, n_runs=2, effect=2.0)


@pytest.fixture(scope="module")
def folds(windows):
    return sigvit.folds.cross_subject(windows.metadata)


def everything(windows) -> dict:
    return {**QUICK, **baselines.everything(windows)}


def other_test_values(windows, fold):
    """The same set with quite other signals in the test rows."""
    values = windows.values.copy()
    values[fold.test] = np.random.default_rng(7).normal(0, 3e-5, values[fold.test].shape)
    return sigvit.Windows(values, windows.labels, windows.metadata, windows.info)


@pytest.mark.parametrize("name", list(everything(synthetic_windows())))
def test_test_rows_change_no_fitted_artefact(windows, folds, name, monkeypatch):
    """Every pipeline is fitted by cross_validate's own path; what it became must not depend on a bit of the test rows."""
    artefacts = []
    for each in (windows, other_test_values(windows, folds[1])):
        kept = []
        monkeypatch.setattr("sigvit.evidence.judging._predict", lambda estimator, w, f, kept=kept: _keep(kept, estimator, w, f))
        list(judge_fits(name, everything(windows)[name], each, [Fit(folds[1], 3)]))
        artefacts.append(every_bit(kept[0]))
    assert artefacts[0] == artefacts[1]


class ByValue(pickle.Pickler):
    """Pickles tensors by their numbers: torch names their storages by address."""

    def reducer_override(self, obj):
        return (torch.tensor, (obj.detach().tolist(),)) if isinstance(obj, torch.Tensor) else NotImplemented


def every_bit(estimator) -> bytes:
    with io.BytesIO() as file:
        ByValue(file).dump(estimator)
        return file.getvalue()


def _keep(kept, estimator, windows, fold):
    kept.append(estimator)
    return {"": np.full((len(fold.test), 2), 0.5)}


def test_training_rows_do_change_the_fitted_artefact(windows, folds, monkeypatch):
    """Negative control: the comparison sees what reaches a fit, by one changed sample of one training row."""
    artefacts = []
    for factor in (1.0, 1.001):
        values, kept = windows.values.copy(), []
        values[folds[1].train[0], 0, 0] *= np.float32(factor)
        each = sigvit.Windows(values, windows.labels, windows.metadata, windows.info)
        monkeypatch.setattr("sigvit.evidence.judging._predict", lambda estimator, w, f, kept=kept: _keep(kept, estimator, w, f))
        list(judge_fits("LDA", baselines.shrinkage_lda(), each, [Fit(folds[1], 3)]))
        artefacts.append(every_bit(kept[0]))
    assert artefacts[0] != artefacts[1]


@pytest.mark.parametrize("name", ["ViT", "EEGNet"])
def test_folds_that_train_at_once_share_no_bit_of_their_test_rows(windows, folds, name, monkeypatch):
    """The test rows of one fold are training rows of the others, in the same stack: the others change, this one doesn't."""
    artefacts = []
    for each in (windows, other_test_values(windows, folds[1])):
        kept = []
        monkeypatch.setattr("sigvit.evidence.judging._predict", lambda estimator, w, f, kept=kept: _keep(kept, estimator, w, f))
        list(judge_fits(name, QUICK[name], each, [Fit(fold, 3) for fold in folds]))
        artefacts.append([every_bit(estimator) for estimator in kept])
    assert [one == other for one, other in zip(*artefacts, strict=True)] == [False, True, False]


def test_one_row_a_pipeline_fold_and_seed(windows, folds):
    results = cross_validate({"ViT": QUICK["ViT"], "LDA": baselines.shrinkage_lda()}, windows, folds, seeds=[0, 5])
    assert list(results.table.columns) == list(TABLE_COLUMNS)
    assert set(results.table["pipeline"]) == {"ViT", "ViT: network", "ViT: classical half", "LDA"}
    assert len(results.table) == 4 * 3 * 2
    assert not results.table.duplicated(["pipeline", "fold", "seed"]).any()
    assert set(results.table["metric"]) == {"roc_auc"}
    assert len(results.predictions) == 4 * 2 * len(windows)
    assert set(results.histories) == {("ViT", fold, seed) for fold in range(3) for seed in (0, 5)}
    assert results.certificate.verdict == "proved"
    assert {"pipeline", "score", "low", "high"} <= set(results.summary().columns)


def test_seeds_change_networks_and_leave_seedless_pipelines(windows, folds):
    table = cross_validate({"ViT": QUICK["ViT"], "LDA": baselines.shrinkage_lda()}, windows, folds[:1], seeds=[0, 1]).table
    losses = table.pivot(index="pipeline", columns="seed", values="log_loss")
    assert losses.loc["LDA", 0] == losses.loc["LDA", 1]
    assert losses.loc["ViT", 0] != losses.loc["ViT", 1]


class Counting(ClassifierMixin, BaseEstimator):
    """Counts what is asked of it; a real classifier that also writes a diary."""

    diary: list = []  # noqa: RUF012

    def fit(self, X, y, groups=None, validation=None):
        self.diary.append(("fit", len(X), None if validation is None else len(validation[0]), sorted(set(groups))))
        self.classes_, self.inner_ = np.unique(y), LogisticRegression().fit(X.mean(2) * 1e5, y)
        self.selection_ = "validation"
        return self

    def predict_proba(self, X):
        self.diary.append(("predict", len(X)))
        return self.inner_.predict_proba(X.mean(2) * 1e5)


class Parts(Counting):
    def predict_parts(self, X):
        return {"": self.predict_proba(X), "half": self.predict_proba(X)}


def test_training_rows_alone_reach_fit_and_test_rows_are_predicted_once(windows, folds):
    Counting.diary.clear()
    results = cross_validate({"counting": Counting()}, windows, folds[:1], seeds=[0, 1, 2])
    fold = folds[0]
    subjects = sorted(set(windows.metadata["subject"].to_numpy()[fold.train]))
    assert Counting.diary == [("fit", len(fold.train), len(fold.validation), subjects), ("predict", len(fold.test))]
    assert [entry["test_reads"] for entry in results.provenance] == [1, 1, 1]
    assert [entry["selection"] for entry in results.provenance] == ["validation"] * 3
    assert [entry["n_fit_rows"] for entry in results.provenance] == [len(fold.train)] * 3


def test_of_all_rows_no_text_is_made_and_no_class_is_looked_for_one_by_one(windows, folds, monkeypatch):
    """Of a set of 400 000 windows each fit would take seconds for it; the classes are taken thrice a fit, however many there are."""
    lengths, taken, astype, classes = [], [], pd.Series.astype, type(windows).classes.fget
    for kind in (pd.Series, pd.DataFrame):
        monkeypatch.setattr(kind, "astype", lambda self, *to, **options: lengths.append(len(self)) or astype(self, *to, **options))
    monkeypatch.setattr(type(windows), "classes", property(lambda self: taken.append(len(self)) or classes(self)))
    list(judge_fits("Counting", Counting(), windows, [Fit(folds[0], 0)]))
    assert lengths
    assert max(lengths) < len(windows)
    assert taken.count(len(windows)) == 3


class Silent(Counting):
    """Takes validation windows, chooses or not, and doesn't say."""

    def fit(self, X, y, groups=None, validation=None):
        super().fit(X, y, groups, validation)
        del self.selection_
        return self


class Reading(ClassifierMixin, BaseEstimator):
    """Answers by what stands beside the windows that it is asked about."""

    takes_windows = True

    def __init__(self, read=None):
        self.read = read

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        assert X.control_values is None
        return np.eye(len(self.classes_))[np.searchsorted(self.classes_, self.read(X))]


@pytest.mark.parametrize("kind", [str, int])
@pytest.mark.parametrize("read", [lambda X: X.labels, lambda X: X.metadata["label"]], ids=["labels", "metadata"])
def test_labels_of_test_windows_reach_nobody(folds, kind, read):
    made = synthetic_windows(n_subjects=3, n_runs=2, classes=("left", "right") if kind is str else (2, 3))
    labelled = dataclasses.replace(made, control_values=made.values[:, :, :7])
    table = cross_validate({"reading": Reading(read)}, labelled, folds[:1]).table
    assert table["score"].tolist() == [0.5]


def test_of_who_takes_validation_rows_silently_it_is_not_said_that_they_were_fitted_on(windows, folds):
    results = cross_validate({"silent": Silent(), "searched": sigvit.GridSearch(Silent(), [{}])}, windows, folds[:1])
    assert [(entry["selection"], entry["n_fit_rows"]) for entry in results.provenance] == [("validation", len(folds[0].train))] * 2
    assert results.table["samples_validation"].tolist() == [len(folds[0].validation)] * 2


class Recording(Counting):
    """Keeps a history of numbers that aren't Python's."""

    def fit(self, X, y, groups=None, validation=None):
        super().fit(X, y, groups, validation)
        self.history_ = [{"step": np.int64(7), "train_loss": np.float32(0.5), "best": np.bool_(True), "norms": torch.ones(2)}]
        return self


def test_a_history_of_other_numbers_is_kept(windows, folds, tmp_path):
    for _ in range(2):
        histories = cross_validate({"recording": Recording()}, windows, folds[:1], folder=tmp_path).histories
    assert histories["recording", 0, 0] == [{"step": 7, "train_loss": 0.5, "best": True, "norms": [1.0, 1.0]}]


def test_what_a_fit_can_not_keep_is_a_sentence(tmp_path):
    with pytest.raises(TypeError, match=r"A fit holds .*\(object\), which JSON has no form for"):
        FitStore(tmp_path).save("a", {"history": [object()]})


def test_without_a_validation_argument_validation_rows_are_trained_on(windows, folds):
    table = cross_validate({"LDA": baselines.shrinkage_lda()}, windows, folds[:1]).table
    assert table["samples"].tolist() == [len(folds[0].train) + len(folds[0].validation)]
    assert table["samples_validation"].tolist() == [0]


@pytest.mark.slow
def test_processes_give_the_table_of_one_process(windows, folds):
    pipelines = {"LDA": baselines.shrinkage_lda(), "TS": baselines.tangent_space()}
    tables = [cross_validate(pipelines, windows, folds, n_jobs=n_jobs).table.drop(columns="time") for n_jobs in (1, 2)]
    assert tables[0].to_csv() == tables[1].to_csv()


def test_finished_fits_are_not_fitted_again_and_give_the_same_table(windows, folds, tmp_path):
    first = cross_validate({"counting": Counting()}, windows, folds, folder=tmp_path)
    Counting.diary.clear()
    second = cross_validate({"counting": Counting()}, windows, folds, folder=tmp_path)
    assert Counting.diary == []
    assert second.table.to_csv() == first.table.to_csv()
    assert second.predictions.to_csv() == first.predictions.to_csv()


def test_a_fit_that_another_process_kept_meanwhile_is_the_tables(windows, folds, tmp_path, monkeypatch):
    """The report's times are those of the kept fits, by which `sigvit verify` judges them."""
    ours = judge_fits

    def while_another_is_faster(*asked):
        for (fit,), record in zip([asked[3]], ours(*asked), strict=True):
            slower = copy.deepcopy(record)
            slower["parts"][0]["row"]["time"] = 17.0
            FitStore(tmp_path).save(fit.key, slower)
            yield record

    monkeypatch.setattr("sigvit.evidence.shares.judge_fits", while_another_is_faster)
    results = cross_validate({"Majority": baselines.majority()}, windows, folds, folder=tmp_path)
    assert results.table["time"].tolist() == [17.0] * 3


def test_a_relative_folder_is_meant_where_the_call_is_made(windows, folds, tmp_path, monkeypatch):
    """Workers that joblib kept are where the first call was made."""
    monkeypatch.chdir(tmp_path)
    told = []
    ours = judge_fits
    spy = lambda name, pipeline, windows, fits, folder, processes: told.append(folder) or ours(name, pipeline, windows, fits)  # noqa: E731
    monkeypatch.setattr("sigvit.evidence.shares.judge_fits", spy)
    cross_validate({"Majority": baselines.majority()}, windows, folds[:1], folder="results")
    assert told == [tmp_path / "results" / "fits" / "training"]


def test_nothing_that_lies_beside_the_fits_is_removed(windows, folds, tmp_path):
    own = tmp_path / "training" / "sub-01_eeg.edf"
    own.parent.mkdir()
    own.write_text("the only copy")
    cross_validate({"ViT": QUICK["ViT"]}, windows, folds[:1], folder=tmp_path)
    assert own.read_text() == "the only copy"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fits", "training"]
    assert [path.suffix for path in (tmp_path / "fits").iterdir()] == [".json"]


def test_samples_are_hashed_once_and_no_more_than_again_for_a_certificate_that_is_given(windows, folds, tmp_path, monkeypatch):
    hashed, hashes = [], sigvit.Windows.row_hashes
    monkeypatch.setattr(sigvit.Windows, "row_hashes", lambda self: hashed.append(len(self)) or hashes(self))
    results = cross_validate({"Majority": baselines.majority()}, windows, folds[:1], folder=tmp_path)
    assert hashed == [len(windows)]
    cross_validate({"Majority": baselines.majority()}, windows, folds[:1], certificate=results.certificate, folder=tmp_path)
    assert hashed == [len(windows)] * 2
    assert len(list((tmp_path / "fits").iterdir())) == 1, "one key, whoever made the certificate"


def test_other_parameters_page_windows_or_folds_are_other_fits(windows, folds, tmp_path):
    lda = baselines.shrinkage_lda()
    cross_validate({"LDA": lda}, windows, folds[:1], folder=tmp_path)
    edited = sigvit.Windows(windows.values, windows.labels, windows.metadata, windows.info, page={"sha256": "edited"})
    louder = sigvit.Windows(windows.values * np.float32(1.5), windows.labels, windows.metadata, windows.info)
    cross_validate({"LDA": clone(lda).set_params(segments=4)}, windows, folds[:1], folder=tmp_path)
    cross_validate({"LDA": lda}, edited, folds[:1], folder=tmp_path)
    cross_validate({"LDA": lda}, louder, folds[:1], folder=tmp_path)
    cross_validate({"LDA": lda}, windows, folds[1:2], folder=tmp_path)
    moved = windows.info.copy()
    moved["chs"][0]["loc"] = moved["chs"][0]["loc"] + 0.01
    cross_validate({"LDA": lda}, dataclasses.replace(windows, info=moved), folds[:1], folder=tmp_path)
    marked = windows.info.copy()
    for bads in (marked["ch_names"][:1], marked["ch_names"][:2], marked["ch_names"][1::-1]):  # the same two in another order are the same marks
        marked["bads"] = bads
        cross_validate({"LDA": lda}, dataclasses.replace(windows, info=marked), folds[:1], folder=tmp_path)
    cross_validate({"LDA": lda}, dataclasses.replace(windows, name="renamed"), folds[:1], folder=tmp_path)
    # What stands in the table decides as well.
    for changed in ({"number": 7}, {"protocol": "index_pairs"}, {"left_out": "somebody"}):
        fold = dataclasses.replace(folds[0], **changed)
        row = cross_validate({"LDA": lda}, windows, [fold], folder=tmp_path).table.iloc[0]
        assert (row["fold"], row["protocol"], row["left_out"]) == (fold.number, fold.protocol, fold.left_out)
    assert len(list((tmp_path / "fits").iterdir())) == 12


@pytest.mark.slow
@pytest.mark.parametrize(("package", "fits"), [("scikit-learn", 2), ("torch", 2), ("matplotlib", 1)])
def test_fits_of_another_version_of_what_computes_are_other_fits(windows, folds, tmp_path, monkeypatch, package, fits):
    for version in ("7.11", "7.13"):
        monkeypatch.setattr("sigvit.evidence.fit_keys.package_versions", (package_versions() | {package: version}).copy)
        cross_validate({"LDA": baselines.shrinkage_lda(4)}, windows, folds[:1], folder=tmp_path)
    assert len(list((tmp_path / "fits").iterdir())) == fits


def test_fit_many_and_fit_give_one_table(windows, folds):
    model = QUICK["ViT"]
    together = cross_validate({"ViT": model}, windows, folds[:2], seeds=[0, 1]).table
    fold = folds[1]
    single = clone(model).set_params(random_state=1)
    held_out = windows[fold.validation]
    single.fit(windows[fold.train], groups=windows.metadata["subject"].to_numpy()[fold.train], validation=(held_out, held_out.labels))
    expected = single.predict_proba(windows[fold.test])
    row = together[(together["pipeline"] == "ViT") & (together["fold"] == 1) & (together["seed"] == 1)].iloc[0]
    accuracy = (single.classes_[expected.argmax(1)] == windows.labels[fold.test]).mean()
    assert row["accuracy"] == accuracy
    assert row["log_loss"] == pytest.approx(log_loss(windows.labels[fold.test], expected), rel=1e-4)  # float32 in other company
    assert model.fit_many(windows, [FitJob(fold.train, fold.validation, 1, groups=windows.metadata["subject"].to_numpy()[fold.train])])


def test_a_function_inside_a_pipeline_is_told_apart_by_its_code():
    assert fingerprint(FunctionTransformer(lambda x: x + 1)) != fingerprint(FunctionTransformer(lambda x: x + 2))
    assert fingerprint(FunctionTransformer(np.abs)) != fingerprint(FunctionTransformer(np.negative))
    assert fingerprint(FunctionTransformer(scipy.special.expit)) != fingerprint(FunctionTransformer(scipy.special.logit))


def cropped(first: int, last: int):
    return lambda x: x[:, :, first:last]


class Shortly:
    """Doesn't say what it holds, and refers to itself."""

    def __init__(self, number):
        self.number, self.itself = number, self

    def __repr__(self):
        return "Shortly()"


@dataclasses.dataclass(slots=True)
class Unsaid:
    said: int
    unsaid: int = dataclasses.field(repr=False)


class Gain(nn.Module):
    """A module of the user's, with what torch keeps nothing of."""

    def __init__(self, gain):
        super().__init__()
        self.width = 7
        if isinstance(gain, torch.Tensor):
            self.register_buffer("_gain", gain, persistent=False)
        else:
            self._gain = gain


def attention(heads: int):
    torch.manual_seed(0)
    return nn.MultiheadAttention(6, heads)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (cropped(0, 7), cropped(0, 11)),
        (lambda x, k=1: x * k, lambda x, k=2: x * k),
        (lambda x, *, k=1: x * k, lambda x, *, k=2: x * k),
        (partial(np.clip, a_min=0), partial(np.clip, a_min=1)),
        (np.clip, np.round),
        ("a".join, "b".join),
        (pd.Series(range(211)), pd.Series([*range(100), -1, *range(101, 211)])),
        (pd.Index(range(211)), pd.Index([*range(100), -1, *range(101, 211)])),
        (csr_matrix(np.eye(211)), csr_matrix(np.diag(np.arange(211.0) != 100))),
        (torch.arange(2003), torch.arange(2003).flip(0)),
        (pd.array(range(211)), pd.array([*range(100), -1, *range(101, 211)])),
        (np.ma.array([2, 3], mask=[False, True]), np.ma.array([2, 3], mask=[False, False])),
        (Shortly(2), Shortly(3)),
        (Unsaid(2, 3), Unsaid(2, 5)),
        (nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(label_smoothing=0.3)),
        (attention(heads=2), attention(heads=3)),
        (nn.Sequential(Gain(2.0)), nn.Sequential(Gain(3.0))),
        (Gain([Gain(2.0)]), Gain([Gain(3.0)])),
        (Composite([Gain(2.0)]), Composite([Gain(3.0)])),
        (Gain(torch.tensor(2.0)), Gain(torch.tensor(3.0))),
        (np.zeros(7), np.zeros(7, np.int64)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.array([["a", 1], ["b", 2]], object), np.array([["a", 1, "b", 2]], object)),
        (np.array(["a", 1], object), np.array(["a", 2], object)),
        (np.ma.array([2, 3], mask=[False, True]), np.ma.array([2, 5], mask=[False, True])),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 3]})),
        (pd.Series([1, 2]), pd.Series([1, 2], index=[1, 0])),
        (pd.Series([1, 2], name="a"), pd.Series([1, 2], name="b")),
        (csr_matrix(np.eye(7)), csr_matrix(np.eye(7)[::-1])),
        (csr_matrix(np.eye(7)), csr_matrix(np.eye(7, 11))),
        (csr_matrix(np.eye(7)), csr_matrix(2 * np.eye(7))),
        (np.arange(9).reshape(3, 3), np.arange(9).reshape(3, 3).T),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ([1, 2], [2, 1]),
        ([1, 2], (1, 2)),
        (partial(np.clip, 0), partial(np.clip, 1)),
        (partial(np.clip, 0), partial(np.round, 0)),
        (cache(lambda x: x + 1), cache(lambda x: x + 2)),
        (Shortly(2).__repr__, Shortly(3).__repr__),
    ],
    ids=[
        *("closure", "default", "keyword", "partial", "in C", "method", "series", "index", "sparse", "tensor"),
        *("extension array", "mask", "attribute", "field", "loss", "heads", "module", "modules in a list", "composite", "buffer outside the state"),
        *("type of numbers", "shape", "shape of objects", "objects", "behind a mask", "table", "rows of a series", "name", "places", "columns"),
        *("cells", "turned", "keys"),
        *("order", "tuple", "argument", "function of a partial", "cached", "whose method"),
    ],
)
def test_parameters_are_told_apart_by_all_that_they_hold(one, other):
    assert fingerprint(one) == fingerprint(copy.deepcopy(one))
    assert fingerprint(FunctionTransformer(kw_args={"given": one})) != fingerprint(FunctionTransformer(kw_args={"given": other}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.array([float("1.5")], object), np.array([float("1.5")], object)),
        (np.asfortranarray(np.eye(3, 5)), np.eye(3, 5)),
        (set([0, 8]), set([8, 0])),  # they lie in another order in memory
    ],
    ids=["objects", "order in memory", "set"],
)
def test_equal_parameters_are_one_wherever_they_lie(one, other):
    assert fingerprint(one) == fingerprint(other)


def test_a_function_that_calls_itself_is_described():
    def halved(x, times):
        return halved(x / 2, times - 1) if times else x

    assert fingerprint(halved) == fingerprint(halved)


SCRIPT = """
import functools, math
import numpy as np
from scipy.signal import hilbert
KEEP, DEPTH, UNREAD = 7, 3, object()
def helper(x):
    return x[:, :, :KEEP]
@functools.cache
def even(n):
    return n == 0 or odd(n - 1)
def odd(n):
    return n != 0 and even(n - 1)
def function(x):
    return [np.abs(hilbert(helper(x))) for _ in range(DEPTH) if odd(math.isqrt(DEPTH))]
"""


def function_of(script: str):
    namespace = {"__name__": "__main__"}
    exec(script, namespace)
    return namespace["function"]


@pytest.mark.parametrize("change", [("KEEP, DEPTH", "DEPTH, KEEP"), (":KEEP]", ":-KEEP]"), ("n != 0", "n > 0"), ("np.abs", "np.square")])
def test_a_function_is_told_apart_by_the_globals_that_it_reads(change):
    """Constants and helpers, those of helpers too; functions that call each other end, and libraries' are named."""
    kept = fingerprint(function_of(SCRIPT))
    assert fingerprint(function_of(SCRIPT + "\nOTHER = 1\n")) == kept
    assert fingerprint(function_of(SCRIPT.replace(*change))) != kept


@pytest.mark.parametrize(
    "held",
    ["rng = np.random.default_rng(0)", "rng = __import__('threading').Lock()", "class Settings:\n    low = 8\nrng = Settings()", "rng = [object()]"],
    ids=["generator", "lock", "instance", "list"],
)
def test_what_a_function_reads_and_nothing_describes_stands_as_its_kind(held):
    script = f"import numpy as np\n{held}\ndef function(x):\n    return rng, x"
    assert fingerprint(function_of(script)) == fingerprint(function_of(script))


@pytest.mark.parametrize(
    "change", [("low = 8", "low = 30"), ("x * self.high", "x + self.high"), ("return 5", "return 7"), ("return 11", "return 13"), ("Filter()", "Base()")]
)
def test_a_class_that_a_function_reads_is_told_apart_by_what_it_holds(change):
    script = """
class Base:
    low = 8
    calls = []
    @property
    def high(self):
        return 5
    @classmethod
    def most(cls):
        return 11
class Filter(Base):
    def __call__(self, x):
        self.calls.append(x)
        return x * self.high + self.low + self.most()
def function(x):
    return Filter()(x)
"""
    function = function_of(script)
    kept = fingerprint(function)
    function(3)  # a list that a class counts in says nothing of its code
    assert fingerprint(function) == fingerprint(function_of(script)) == kept
    assert fingerprint(function_of(script.replace(*change))) != kept


def test_functions_that_call_each_other_are_each_described_once():
    calls = " + ".join(f"f{k}(x)" for k in range(20))
    script = "\n".join(f"def f{k}(x):\n    return {calls}" for k in range(20)) + "\nfunction = f0"
    assert fingerprint(function_of(script)) == fingerprint(function_of(script))  # by every path from one to another it would never end


def test_a_memo_that_fills_up_hides_no_fit(windows, folds, tmp_path):
    script = "memo = {}\ndef function(x):\n    memo[len(memo)] = len(x)\n    return x"
    for _ in range(2):
        pipelines = {"LDA": make_pipeline(FunctionTransformer(function_of(script)), baselines.shrinkage_lda(4))}
        cross_validate(pipelines, windows, folds[:2], folder=tmp_path)
    assert len(list((tmp_path / "fits").iterdir())) == 2


def test_a_module_of_the_users_is_told_apart_by_its_file(tmp_path):
    function, module = function_of("def function(x):\n    return own_steps.step(x)"), ModuleType("own_steps")
    function.__globals__["own_steps"], module.__file__ = module, str(tmp_path / "own_steps.py")
    found = []
    for text in ("step = abs", "step = len", "step = abs"):
        (tmp_path / "own_steps.py").write_text(text)
        found.append(fingerprint(function))
    assert found[0] == found[2] != found[1]


def test_a_package_of_the_users_is_told_apart_by_its_files_as_they_were_loaded(tmp_path, monkeypatch):
    (package := tmp_path / "ownlab").mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two files of one length and second would be one to Python

    def written(text: str) -> None:
        step = f"class Step:\n    def __call__(self, x):\n        return {text}\n    def __repr__(self):\n        return 'Step()'\n"
        (package / "steps.py").write_text(f"{step}step = lambda x: x\n")

    written("x")
    steps = importlib.import_module("ownlab.steps")
    before = steps.Step()
    first = fingerprint(before)
    written("2 * x")
    assert fingerprint(steps.Step()) == first  # what was loaded still runs
    assert fingerprint(importlib.reload(steps).Step()) != first
    assert fingerprint(before) != fingerprint(steps.Step()), "made before it was loaded again, it still runs the old code"
    written("x")
    assert fingerprint(importlib.reload(steps).Step()) == first
    function = fingerprint(steps.step)
    (package / "later.py").write_text("")  # not loaded, but a step may load it
    assert fingerprint(steps.Step()) != first
    assert fingerprint(steps.step) != function


@pytest.mark.slow
def test_processes_agree_on_what_a_function_reads(windows, folds, tmp_path):
    pipelines = {"LDA": make_pipeline(FunctionTransformer(function_of("KEEP = 97\ndef function(x):\n    return x[:, :, :KEEP]")), baselines.shrinkage_lda(4))}
    for n_jobs in (1, 2):
        cross_validate(pipelines, windows, folds[:2], folder=tmp_path, n_jobs=n_jobs)
    assert len(list((tmp_path / "fits").iterdir())) == 2


def test_without_a_folder_nothing_needs_a_description(windows, folds):
    unnamed = type("Unnamed", (), {"__call__": lambda self, x: x})()
    for function in (unnamed, partial(np.clip, a_min=-1.0, a_max=1.0)):
        assert len(cross_validate({"LDA": make_pipeline(FunctionTransformer(function), baselines.shrinkage_lda(4))}, windows, folds[:1]).table) == 1


def test_modules_are_told_apart_by_weights_and_arguments():
    torch.manual_seed(0)
    first, other = (ElectrodeTimePatches(3, "all", 8, 8, 8) for _ in range(2))
    overlapping = ElectrodeTimePatches(3, "all", 8, 4, 8)
    overlapping.load_state_dict(first.state_dict())
    assert len({fingerprint(module) for module in (first, other, overlapping)}) == 3
    assert fingerprint(copy.deepcopy(first)) == fingerprint(first)


def test_fits_of_other_code_are_not_taken(tmp_path, monkeypatch):
    keys = []
    for number, (name, text) in enumerate([("a.py", "x = 1\n"), ("a.py", "x = 2\n"), ("b.py", "x = 1\n"), ("a.py", "x = 1\n")]):
        package = tmp_path / str(number)
        (package / "part").mkdir(parents=True)
        (package / "part" / name).write_text(text)
        (package / "page.toml").write_text(str(number))  # no code
        monkeypatch.setattr(sigvit, "__file__", str(package / "__init__.py"))
        keys.append(fingerprint("one and the same fit"))
    assert len(set(keys)) == 3
    assert keys[0] == keys[3]


def test_few_fits_that_leave_a_process_idle_are_shared_out_network_by_network(windows, folds, monkeypatch):
    told = []
    ours = SignalViTClassifier.fit_many
    spy = lambda self, windows, jobs, folder=None, processes=None: told.append((len(jobs), processes)) or ours(self, windows, jobs, folder, processes)  # noqa: E731
    monkeypatch.setattr(SignalViTClassifier, "fit_many", spy)
    several = clone(QUICK["ViT"]).set_params(ensemble=True, classical=None)
    alone = cross_validate({"ViT": several}, windows, folds, n_jobs=1).table.drop(columns="time")
    shared = cross_validate({"ViT": several}, windows, folds, n_jobs=2).table.drop(columns="time")
    assert told == [(3, None), (3, 2)]
    # stacks of other sizes round otherwise in float32
    pd.testing.assert_frame_equal(alone, shared, rtol=1e-3)
    # Even shares, many fits, single networks, and pipelines that fit one after the other go to the processes whole.
    assert [shares_out_itself(several, count, n_jobs=2) for count in (1, 6, 7, 9)] == [True, False, True, False]
    assert not any(shares_out_itself(each, 3, n_jobs=2) for each in (QUICK["ViT"], QUICK["EEGNet"], baselines.shrinkage_lda()))


def test_one_process_trains_with_its_own_threads_and_keeps_them(windows, folds, monkeypatch):
    threads, seen = [2], []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr("sigvit.training.many.choose_plan", lambda members, processes: Plan(2, processes=2))
    spy = lambda members, *others: seen.append((len(members), threads[-1])) or _train_stacked(members, *others)  # noqa: E731
    monkeypatch.setattr("sigvit.training.many._train_stacked", spy)
    cross_validate({"ViT": clone(QUICK["ViT"]).set_params(classical=None)}, windows, folds)
    assert (seen, threads[-1]) == ([(3, 2)], 2)


def test_what_has_no_stable_description_is_refused():
    with pytest.raises(TypeError, match="address in memory"):
        fingerprint(object())


def test_a_damaged_fit_is_named(tmp_path):
    store = FitStore(tmp_path)
    store.save("a", {"row": 1})
    (tmp_path / "fits" / "a.json").write_text(json.dumps({"row": 1})[:-3])
    with pytest.raises(ValueError, match="not a whole fit"):
        store.load("a")


def test_stacking_that_names_no_last_estimator_is_judged(windows, folds):
    def stacked(last):
        return make_pipeline(FunctionTransformer(lambda values: 1e5 * values.mean(axis=2)), StackingClassifier([("SVC", LinearSVC())], last))

    table = cross_validate({"unnamed": stacked(None), "named": stacked(LogisticRegression())}, windows, folds[:1]).table
    assert table["log_loss"].nunique() == 1


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda w, f: cross_validate({}, w, f), "0 pipelines"),
        (lambda w, f: cross_validate({"LDA": baselines.shrinkage_lda()}, w, f, seeds=[]), "0 seeds"),
        (lambda w, f: cross_validate({"LDA": baselines.shrinkage_lda()}, w, f, seeds=[3, 0, 3]), "The seed 3 stands 2 times in seeds"),
        (lambda w, f: cross_validate({"LDA": baselines.shrinkage_lda()}, w, f, seeds=[0.2]), r"seeds are \[0.2\]; they must be whole numbers"),
        (lambda w, f: cross_validate({"LDA": baselines.shrinkage_lda()}, w, f, seeds=["a"]), r"seeds are \['a'\]; they must be whole numbers"),
        (lambda w, f: cross_validate([baselines.shrinkage_lda()], w, f), "pipelines are a list; give each a name"),
        (lambda w, f: cross_validate({"a": Parts(), "a: half": Parts()}, w, f), "The pipeline 'a: half' has the name of a part of 'a'"),
        (lambda w, f: cross_validate({"SVC": make_pipeline(FunctionTransformer(lambda x: x[:, 0]), LinearSVC())}, w, f), "no predict_proba"),
        (lambda w, f: cross_validate({"LDA": baselines.shrinkage_lda()}, w, f, certificate=sigvit.certify(w, f[:2])), "certificate"),
    ],
)
def test_bad_input_is_a_sentence(windows, folds, call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call(windows, folds)


class Broken(ClassifierMixin, BaseEstimator):
    """Predicts no probabilities under seed 1, and raises what it is told to under seed 2."""

    def __init__(self, error=None, random_state=0):
        self.error = error
        self.random_state = random_state

    def fit(self, X, y):
        if self.random_state == 2:
            raise self.error
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), 2), np.nan if self.random_state == 1 else 0.5)


def test_errors_say_in_which_fit_they_came_up(windows, folds):
    with pytest.raises(ValueError, match=r"^odd, fold 0, seed 1: Row 0 of the predictions is \[nan, nan\]"):
        cross_validate({"LDA": baselines.shrinkage_lda(), "odd": Broken()}, windows, folds, seeds=(0, 1))
    with pytest.raises(RuntimeError, match=r"^odd, fold 0, seed 2: out of order$"):
        cross_validate({"odd": Broken(RuntimeError("out of order"))}, windows, folds, seeds=(0, 2))
    with pytest.raises(OSError, match="no such thing") as found:
        cross_validate({"odd": Broken(OSError(2, "no such thing"))}, windows, folds[:1], seeds=(0, 2))
    assert "odd, fold 0, seed 2." in found.value.__notes__


def test_a_network_that_diverges_alone_says_in_which_fit(windows, folds):
    network = SignalViTClassifier(learning_rate=1e30, training_steps=3, width=8, heads=2, ensemble=False, classical=None)
    with pytest.raises(ValueError, match=r"^net, fold 1, seed 7: The loss became nan at step \d"):
        cross_validate({"net": network}, windows, folds[1:2], seeds=[7])


def test_pairs_of_any_splitter_are_folds(windows):
    pairs = list(GroupKFold(3).split(windows.values, groups=windows.metadata["subject"]))
    results = cross_validate({"LDA": baselines.shrinkage_lda(4)}, windows, iter(pairs))
    as_folds = [sigvit.Fold(train, [], test, number) for number, (train, test) in enumerate(pairs)]
    expected = cross_validate({"LDA": baselines.shrinkage_lda(4)}, windows, as_folds)
    pd.testing.assert_frame_equal(results.predictions, expected.predictions)
    assert results.table["protocol"].unique().tolist() == ["index_pairs"]


def test_pairs_promise_what_is_said(windows):
    pairs = list(GroupKFold(3).split(windows.values, groups=windows.metadata["subject"]))
    certificate = sigvit.certify(windows, pairs, protocol="cross_subject")
    results = cross_validate({"LDA": baselines.shrinkage_lda(4)}, windows, pairs, certificate=certificate, protocol="cross_subject")
    assert set(results.table["protocol"]) == {"cross_subject"}
    with pytest.raises(ValueError, match="was made of other windows or folds"):
        cross_validate({"LDA": baselines.shrinkage_lda(4)}, windows, pairs, certificate=certificate)


def test_six_classes_of_two_training_windows_are_fitted_by_the_default():
    windows = synthetic_windows(n_subjects=1, n_runs=1, n_trials=24, classes=tuple("abcdef"))
    train = np.sort(np.concatenate([np.flatnonzero(windows.labels == label)[:2] for label in windows.classes]))
    folds = [sigvit.Fold(train, [], np.setdiff1d(np.arange(24), train))]
    small = SignalViTClassifier(training_steps=2, width=8, heads=2, mlp_width=16)
    assert np.isfinite(cross_validate({"ViT": small}, windows, folds).table["log_loss"]).all()

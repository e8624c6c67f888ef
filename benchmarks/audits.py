"""An audit of the field: what splits that published work makes are worth, beside a strict protocol, on real recordings.

    python benchmarks/audits.py

Every habit is judged by `certify`, and scored (mean ROC-AUC over folds) with one fixed classical pipeline beside folds that certify proves to share nothing.
Writes results/benchmarks/audits.md. A few minutes on one core; needs the recordings in SIGVIT_DATA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from page import keep, markdown, where
from sklearn.base import BaseEstimator, clone
from sklearn.feature_selection import SelectKBest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sigvit
from sigvit.evidence import baselines
from sigvit.evidence.alignment import Alignment
from sigvit.evidence.leak_checks import CHECKS
from sigvit.evidence.linear_discriminant import segment_means

Pairs = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Audit:
    """One habit: what it is and who has it, on which set, what certify says of it, and the mean ROC-AUC as claimed and strictly."""

    habit: str
    found_in: str
    data: str
    verdict: str
    claimed: float
    strict: float
    strict_protocol: str

    def row(self) -> list[str]:
        """One line of the table."""
        numbers = [f"{self.claimed:.3f}", f"{self.strict:.3f}", f"**{self.claimed - self.strict:+.3f}**"]
        return [self.habit, self.found_in, self.data, self.verdict, *numbers, self.strict_protocol]


def scored(pipeline: BaseEstimator, windows: sigvit.Windows, folds: Iterable) -> tuple[float, str]:
    """Mean ROC-AUC over folds that have one, and what certify finds."""
    divided = as_folds(folds)
    certificate = sigvit.certify(windows, divided, tolerate=tuple(CHECKS))
    results = sigvit.cross_validate({"": pipeline}, windows, divided, certificate=certificate)
    return float(results.table["score"].mean()), verdict_words(results.certificate)


def as_folds(folds: Iterable) -> list[sigvit.Fold]:
    """Folds as they are; pairs (train, test) as folds that promise nothing."""
    return [
        fold
        if isinstance(fold, sigvit.Fold)
        else sigvit.Fold(np.sort(fold[0]), np.empty(0, np.int64), np.sort(fold[1]), number, "index_pairs", f"part {number + 1}")
        for number, fold in enumerate(folds)
    ]


def verdict_words(certificate) -> str:
    if certificate.verdict == "proved":
        return "proved"
    counts = {check.name: check for check in certificate.checks}
    found = [f"{name} ({counts[name].found})" for name in certificate.tolerated if name in counts]
    return f"leak: {', '.join(found)}" if found else "tolerated: test windows were read before they were judged"


def shuffled_within_session(windows: sigvit.Windows) -> Pairs:
    """MOABB's WithinSessionSplitter: five stratified, shuffled folds in each session of each subject."""
    pairs = []
    for _, table in windows.metadata.groupby(["subject", "session"], sort=False):
        rows = table.index.to_numpy()
        splitter = StratifiedKFold(5, shuffle=True, random_state=42)
        pairs += [(rows[train], rows[test]) for train, test in splitter.split(rows, windows.labels[rows])]
    return pairs


def fold_within_trial(windows: sigvit.Windows) -> Pairs:
    """torcheeg's KFoldGroupbyTrial: the windows of every trial, here a recording, are cut into five parts; four fifths of each trial train."""
    parts: list[list[list[np.ndarray]]] = [[[], []] for _ in range(5)]
    for _, table in windows.metadata.groupby("recording", sort=False):
        rows = table.index.to_numpy()
        for fold, (train, test) in enumerate(KFold(5).split(rows)):
            parts[fold][0].append(rows[train])
            parts[fold][1].append(rows[test])
    return [(np.concatenate(train), np.concatenate(test)) for train, test in parts]


def overlapping(windows: sigvit.Windows, length_s: float, stride_s: float) -> sigvit.Windows:
    """Every window cut into shorter ones that overlap; they stay windows of its trial."""
    length, stride = round(length_s * windows.sampling_rate), round(stride_s * windows.sampling_rate)
    starts = range(0, windows.values.shape[2] - length + 1, stride)
    values = np.concatenate([windows.values[:, :, start : start + length] for start in starts])
    tables = [
        windows.metadata.assign(
            start_s=windows.metadata["start_s"] + start / windows.sampling_rate,
            stop_s=windows.metadata["start_s"] + (start + length) / windows.sampling_rate,
        )
        for start in starts
    ]
    table = pd.concat(tables, ignore_index=True)
    return sigvit.Windows(values, np.tile(windows.labels, len(starts)), table, windows.info, windows.filter_support_s, windows.name, windows.page)


def moabb_within_session() -> Audit:
    """Epochs of 0.8 s every 0.6 s, in shuffled folds, against the same number of blocks in time."""
    windows = sigvit.open_dataset("muse_p300")
    pipeline = baselines.shrinkage_lda(16)
    claimed, verdict = scored(pipeline, windows, shuffled_within_session(windows))
    folds = sigvit.folds.within_session(windows.metadata, 5, by="block", undividable="leave out", filter_support_s=windows.filter_support_s)
    strict, _ = scored(pipeline, windows, folds)
    return Audit("shuffled k-fold of overlapping epochs", "MOABB, within-session", "Muse P300", verdict, claimed, strict, "5 blocks in time a session")


def torcheeg_group_by_trial() -> Audit:
    """Each recording is in train and in test, and each holds one class."""
    windows = sigvit.open_dataset("eegmat")
    pipeline = baselines.band_power(windows.sampling_rate)
    claimed, verdict = scored(pipeline, windows, fold_within_trial(windows))
    strict, _ = scored(pipeline, windows, sigvit.folds.cross_subject(windows.metadata, 6, filter_support_s=windows.filter_support_s))
    return Audit("the same trials in train and test", "torcheeg, KFoldGroupbyTrial", "EEGMAT", verdict, claimed, strict, "6 groups of subjects")


def random_windows() -> Audit:
    """Windows of 1 s, half overlapping, cut from trials and shuffled."""
    windows = overlapping(sigvit.open_dataset("eegmmidb_left_right"), 1.0, 0.5)
    pipeline = baselines.csp_lda()
    claimed, verdict = scored(pipeline, windows, KFold(5, shuffle=True, random_state=0).split(windows.labels))
    strict, _ = scored(pipeline, windows, sigvit.folds.within_session(windows.metadata, by="run", filter_support_s=windows.filter_support_s))
    return Audit("random split of overlapping windows", "many papers on motor imagery", "EEGMMIDB S001", verdict, claimed, strict, "a run left out")


def skorch_validation() -> Audit:
    """The validation score that training prints: a fifth of each class in row order, whoever it is of."""
    windows = sigvit.open_dataset("muse_p300")
    pipeline = baselines.shrinkage_lda(16)
    claimed, verdict = scored(pipeline, windows, StratifiedKFold(5).split(windows.labels, windows.labels))
    strict, _ = scored(pipeline, windows, sigvit.folds.cross_subject(windows.metadata, filter_support_s=windows.filter_support_s))
    return Audit("validation score of the default split", "skorch, ValidSplit(5)", "Muse P300", verdict, claimed, strict, "a subject left out")


def normalised_before() -> Audit:
    """Band powers standardised with the means and deviations of all rows."""
    windows = sigvit.open_dataset("eegmat")
    folds = sigvit.folds.cross_subject(windows.metadata, 6, filter_support_s=windows.filter_support_s)
    features = baselines.BandPower(windows.sampling_rate).fit_transform(windows.values)
    claimed = mean_auc(windows, folds, StandardScaler().fit_transform(features), baselines.LogisticClassifier())
    strict = mean_auc(windows, folds, features, make_pipeline(StandardScaler(), baselines.LogisticClassifier()))
    return Audit("features standardised before the split", "many scripts", "EEGMAT", "can't see it: rows are apart", claimed, strict, "scaled in the fold")


def aligned_by_test() -> Audit:
    """Each person's covariance, of all their windows, test windows too, against what is known of others."""
    windows = sigvit.open_dataset("eegmat")
    folds = sigvit.folds.cross_subject(windows.metadata, 6, filter_support_s=windows.filter_support_s)
    claimed, verdict = scored(make_pipeline(Alignment(mode="transductive"), baselines.tangent_space()), windows, folds)
    strict, _ = scored(make_pipeline(Alignment(mode="inductive"), baselines.tangent_space()), windows, folds)
    return Audit("people aligned by their own test windows", "Euclidean alignment as usually run", "EEGMAT", verdict, claimed, strict, "aligned by others")


def selected_before() -> Audit:
    """The 20 most telling of 512 features, chosen with the labels of all rows."""
    windows = sigvit.open_dataset("eegmmidb_left_right")
    folds = sigvit.folds.within_session(windows.metadata, by="run", filter_support_s=windows.filter_support_s)
    features = segment_means(windows.values, 8)
    chosen = SelectKBest(k=20).fit_transform(features, windows.labels)
    classifier = make_pipeline(StandardScaler(), baselines.LogisticClassifier())
    claimed = mean_auc(windows, folds, chosen, classifier)
    strict = mean_auc(windows, folds, features, make_pipeline(SelectKBest(k=20), classifier))
    return Audit(
        "features chosen before the split", "papers on small sets", "EEGMMIDB S001", "can't see it: rows are apart", claimed, strict, "chosen in the fold"
    )


def stopped_on_test() -> Audit:
    """Of 50 epochs the one that is best on the test part, against the one that is best on the fold's validation part."""
    windows = sigvit.open_dataset("eegmmidb_left_right")
    folds = sigvit.folds.within_session(windows.metadata, by="run", filter_support_s=windows.filter_support_s)
    features = baselines.BandPower(windows.sampling_rate).fit_transform(windows.values)
    curves = np.array([epochs(features, windows.labels == windows.classes[0], fold, seed) for fold in folds for seed in range(10)])
    validation, test = curves[:, 0], curves[:, 1]
    strict = test[np.arange(len(test)), validation.argmax(axis=1)].mean()
    return Audit(
        "stopped where the test part is best",
        "papers without a validation part",
        "EEGMMIDB S001",
        "can't see it: rows are apart",
        float(test.max(axis=1).mean()),
        float(strict),
        "stopped by the validation part",
    )


def epochs(features: np.ndarray, targets: np.ndarray, fold: sigvit.Fold, seed: int, n_epochs: int = 50) -> np.ndarray:
    """(2, epochs): ROC-AUC on validation and test after each epoch of a perceptron with 16 hidden units."""
    scaler = StandardScaler().fit(features[fold.train])
    classifier = MLPClassifier((16,), random_state=seed)
    curve = np.empty((2, n_epochs))
    for epoch in range(n_epochs):
        classifier.partial_fit(scaler.transform(features[fold.train]), targets[fold.train], classes=[False, True])
        for part, rows in enumerate((fold.validation, fold.test)):
            curve[part, epoch] = roc_auc_score(targets[rows], classifier.predict_proba(scaler.transform(features[rows]))[:, 1])
    return curve


def mean_auc(windows: sigvit.Windows, folds: list[sigvit.Fold], features: np.ndarray, classifier: BaseEstimator) -> float:
    """Mean ROC-AUC over folds, trained on train and validation rows."""
    targets = windows.labels == windows.classes[0]
    scores = []
    for fold in folds:
        rows = np.concatenate([fold.train, fold.validation])
        fitted = clone(classifier).fit(features[rows], targets[rows])
        scores.append(roc_auc_score(targets[fold.test], fitted.predict_proba(features[fold.test])[:, 1]))
    return float(np.mean(scores))


AUDITS: tuple[Callable[[], Audit], ...] = (
    *(moabb_within_session, torcheeg_group_by_trial, random_windows, skorch_validation),
    *(normalised_before, aligned_by_test, selected_before, stopped_on_test),
)
HEAD = ["habit", "found in", "recordings", "what certify says", "claimed", "strict", "gap", "strict means"]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    start, rows = time.process_time(), []
    for audit in AUDITS:
        rows.append(audit().row())
        print(" | ".join(rows[-1]), f"({time.process_time() - start:.0f} s)", flush=True)
    words = (
        "# What the field's habits are worth\n\n"
        "`python benchmarks/audits.py`: mean ROC-AUC over folds of one fixed classical pipeline a row, as the habit claims it and strictly.\n"
        "Numbers in brackets: rows of test or validation that share something, over all folds. One set a habit: the gap is that set's, no law.\n\n"
        f"{where('scikit-learn')}; {time.process_time() - start:.0f} s of processor time.\n\n"
    )
    keep("audits", words + markdown(pd.DataFrame(rows, columns=HEAD)))


if __name__ == "__main__":
    main()

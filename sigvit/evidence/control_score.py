"""Control score: how well the signal before the cue, which can't know the class yet, names it in the same folds."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from sigvit.evidence.fold import Fold
from sigvit.evidence.groups import Groups
from sigvit.evidence.metrics import shared_variance

SEGMENTS, PERMUTATIONS = 8, 999


def control_score(control_values: np.ndarray, groups: Groups, folds: list[Fold]) -> dict | None:
    """Shrinkage LDA on segment means of the signal before the cue, judged in the same folds; None where no fold can be judged.

    Parameters
    ----------
    control_values : float32 (windows, electrodes, samples), volts.

    Returns
    -------
    dict : `score` (mean over folds), `metric` ("roc_auc" for two classes, "balanced_accuracy" for more), `p` of a one-sided permutation test that shuffles
        the labels inside each test part, with twice the variance over several folds (their test parts train each other, see `metrics.chance_line`), `n_folds`.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = _segment_means(control_values)
    binary = len(groups.classes) == 2
    judged = []
    for fold in folds:
        rows = np.union1d(fold.train, fold.validation)
        held = np.unique(groups.label[fold.test])
        if len(held) < 2 or len(np.unique(groups.label[rows])) < 2:
            continue
        model = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"))
        model.fit(features[rows], groups.label[rows])
        judged.append((groups.label[fold.test], (model.decision_function if binary else model.predict)(features[fold.test])))
    if not judged:
        return None
    generator = np.random.default_rng(0)
    score = _mean_score(judged, binary)
    shuffled = np.array([_mean_score([(generator.permutation(labels), answers) for labels, answers in judged], binary) for _ in range(PERMUTATIONS)])
    chance = shuffled.mean() + np.sqrt(shared_variance(len(judged))) * (shuffled - shuffled.mean())
    # the dust of sums in another order must not tell equal scores apart
    p = float(1 + np.sum(chance >= score - 1e-12)) / (1 + PERMUTATIONS)
    return {"score": score, "metric": "roc_auc" if binary else "balanced_accuracy", "p": p, "n_folds": len(judged)}


def control_warnings(control: dict | None) -> list[str]:
    """One sentence where the control score lies above chance.

    >>> control_warnings({"score": 0.71, "metric": "roc_auc", "p": 0.001, "n_folds": 3})
    ['The signal before the cue already tells the class: roc_auc 0.71 over 3 folds (permutation p = 0.001); part of any score is not the task.']
    """
    if control is None or control["p"] >= 0.05:
        return []
    found = f"{control['metric']} {control['score']:.2f} over {control['n_folds']} folds (permutation p = {control['p']:.3f})"
    return [f"The signal before the cue already tells the class: {found}; part of any score is not the task."]


def _segment_means(values: np.ndarray) -> np.ndarray:
    """(windows, electrodes × segments) means in microvolts; as many segments as there are samples, at most 8."""
    segments = np.array_split(np.arange(values.shape[2]), min(SEGMENTS, values.shape[2]))
    means = [np.asarray(values[:, :, part[0] : part[-1] + 1], np.float64).mean(axis=2) for part in segments]
    return 1e6 * np.concatenate(means, axis=1)


def _mean_score(judged: list[tuple[np.ndarray, np.ndarray]], binary: bool) -> float:
    return float(np.mean([(_auc if binary else _balanced_accuracy)(labels, answers) for labels, answers in judged]))


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve from mean ranks (Mann and Whitney, 1947); the higher label is the positive one."""
    ranks = rankdata(scores)
    positive = labels == labels.max()
    n_positive, n_negative = positive.sum(), (~positive).sum()
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _balanced_accuracy(labels: np.ndarray, answers: np.ndarray) -> float:
    return float(np.mean([(answers[labels == label] == label).mean() for label in np.unique(labels)]))

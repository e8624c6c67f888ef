"""Means with intervals, paired tests with Holm's correction, and what they are taken over.

The unit is the largest thing that repeats: subjects (or groups of subjects), else folds (of one subject, or whose subjects overlap), else the windows of the
one test part.
Seeds are averaged first: more seeds steady a score, but are no further evidence.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t

from sigvit.evidence.metrics import chance_line
from sigvit.evidence.paired_windows import DRAWS, influence, interval_from_influence, score_interval, swap_test

# Up to here every pattern of signs is tried; beyond, a random draw of patterns.
LARGEST_EXACT_UNITS = 14
ROUNDING = 1e-9  # of the largest score: far above the rounding of means, far below a window's weight in a score


def confidence_interval(values: ArrayLike, level: float = 0.95, overlap: float = 0.0) -> tuple[float, float]:
    """Student's t interval of a mean.

    Parameters
    ----------
    values : one number a unit. One alone has no spread to judge by: then (NaN, NaN).
    overlap : for folds, whose training parts overlap, test windows per training window: Nadeau and Bengio (2003), "Inference for the
        generalization error", enlarge the variance of the mean from s²/k to s² (1/k + overlap). 0 for independent units.

    >>> [round(limit, 3) for limit in confidence_interval([0.6, 0.7, 0.8])]
    [0.452, 0.948]
    """
    numbers = _finite(values)
    if len(numbers) < 2:
        return float("nan"), float("nan")
    half = t.ppf(0.5 + level / 2, len(numbers) - 1) * numbers.std(ddof=1) * np.sqrt(1 / len(numbers) + overlap)
    return float(numbers.mean() - half), float(numbers.mean() + half)


def paired_permutation(first: ArrayLike, second: ArrayLike, n: int = DRAWS, seed: int = 0) -> float:
    """Two-sided p of the mean paired difference under random signs (Fisher 1935); exact for up to 14 pairs, else from ``n`` random patterns of signs.

    With k pairs no p is below 2 / 2ᵏ: see `smallest_p`.

    >>> paired_permutation([0.9, 0.8, 0.7], [0.5, 0.6, 0.4])
    0.25
    """
    differences = _finite(first) - _finite(second)
    signs = _signs(len(differences), n, seed)
    found = np.abs(signs @ differences)
    # Ties count as reached; the tolerance is rounding in the sum.
    return float(np.mean(found >= found[0] - 1e-10 * max(1.0, found[0])))


def smallest_p(n_units: int, n: int = DRAWS) -> float:
    """The smallest p that `paired_permutation` can give for that many pairs.

    >>> smallest_p(5)
    0.0625
    """
    return 2 / 2**n_units if n_units <= LARGEST_EXACT_UNITS else 1 / (n + 1)


def corrected_t(first: ArrayLike, second: ArrayLike, overlap: float) -> float:
    """Two-sided p of Nadeau and Bengio's corrected resampled t test for folds whose training parts overlap; ``overlap`` as in `confidence_interval`.

    NaN where all differences are equal up to rounding, but not zero: there is no spread to judge by.

    >>> round(corrected_t([0.9, 0.8, 0.7], [0.5, 0.6, 0.4], overlap=0.5), 3)
    0.081
    """
    one, other = _finite(first), _finite(second)
    differences, rounding = one - other, ROUNDING * np.abs([one, other]).max()
    if np.ptp(differences) <= rounding:
        return 1.0 if np.abs(differences).max() <= rounding else float("nan")
    spread = differences.std(ddof=1)
    return float(2 * t.sf(abs(differences.mean()) / (spread * np.sqrt(1 / len(differences) + overlap)), len(differences) - 1))


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's (1979) step-down correction; NaN stays NaN and isn't counted.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, dtype=float)
    corrected = np.full(len(given), np.nan)
    order = np.argsort(given, kind="stable")[: np.isfinite(given).sum()]  # NaN sorts last
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)))
    return corrected


def unit_of(table: pd.DataFrame) -> str:
    """What the scores of this table are averaged and tested over: "subject", "group of subjects", "fold" or "window".

    Groups of subjects that are drawn anew for every fold, and so have some in common, are no units: their folds are.

    >>> unit_of(pd.DataFrame({"pipeline": "ViT", "subject": ["01", "02"], "fold": [0, 1], "seed": 0}))
    'subject'
    """
    groups = [set(re.split(r"(?<!\+)\+(?:\+\+)*(?!\+)", names)) for names in table["subject"].astype(str).unique()]  # "++" is a plus inside a name
    if len(groups) > 1 and sum(map(len, groups)) == len(set.union(*groups)):
        return "group of subjects" if any(len(group) > 1 for group in groups) else "subject"
    return "fold" if table["fold"].nunique() > 1 else "window"


def unit_scores(table: pd.DataFrame, column: str = "score") -> pd.DataFrame:
    """Scores averaged over seeds, then over the folds of a subject: units × pipelines (for the unit "window" the one fold's row).

    A fold whose test part holds one class has no score and is passed over; a unit without any score is NaN.

    Raises
    ------
    ValueError : rows of several datasets or protocols, or a pipeline that lacks a fold which another has.

    >>> rows = [("ViT", "01", 0, 0, 0.6), ("ViT", "01", 0, 1, 0.8), ("LDA", "01", 0, 0, 0.5), ("LDA", "01", 0, 1, 0.5)]
    >>> unit_scores(pd.DataFrame(rows, columns=["pipeline", "subject", "fold", "seed", "score"])).round(2).to_dict("index")
    {0: {'ViT': 0.7, 'LDA': 0.5}}
    """
    _require_one_experiment(table)
    folds = table.groupby(["pipeline", "subject", "fold"])[column].mean().reset_index()
    units = folds.groupby(["pipeline", "subject" if _by_subject(table) else "fold"])[column].mean()
    return units.unstack("pipeline")[list(dict.fromkeys(table["pipeline"]))]


def summarise(table: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """One row per pipeline, in the table's order.

    Columns: `pipeline`, `metric`, `score` (mean over units), `low`, `high` (its interval), `seed_sd` (spread of the mean between seeds), `unit`, `n` (units),
    `chance_line` (what guessing exceeds in 5 % of sets), then the means of `accuracy`, `balanced_accuracy` (of folds that have a score), `log_loss`,
    `calibration_error` over units, `time` (mean seconds of a fit) and `parameters`.

    The interval is Student's over subjects, Nadeau and Bengio's over folds, DeLong's in the logit over the windows of one test part.
    """
    scores, unit, line = unit_scores(table), unit_of(table), chance(table, predictions)
    # Of a test part of one class recall is accuracy, and no balanced one.
    scored = table.assign(balanced_accuracy=table["balanced_accuracy"].where(table["score"].notna()))
    means = {column: unit_scores(scored, column).mean() for column in ("accuracy", "balanced_accuracy", "log_loss", "calibration_error")}
    rows = []
    for pipeline in scores.columns:
        own, predicted = table[table["pipeline"] == pipeline], predictions[predictions["pipeline"] == pipeline]
        mean = float(scores[pipeline].mean())
        low, high = np.clip(_score_interval(scores[pipeline], predicted, unit, _overlap(table)), 0.0, 1.0).tolist()
        row = {"pipeline": pipeline, "metric": own["metric"].iloc[0], "score": mean, "low": low, "high": high, "seed_sd": _seed_sd(own)}
        n = predicted["row"].nunique() if unit == "window" else int(scores[pipeline].notna().sum())
        row |= {"unit": unit, "n": n, "chance_line": line}
        row |= {column: float(values[pipeline]) for column, values in means.items()}
        rows.append({**row, "time": float(own["time"].mean()), "parameters": own["parameters"].iloc[0]})
    return pd.DataFrame(rows)


def compare(table: pd.DataFrame, predictions: pd.DataFrame, reference: str = "ViT") -> pd.DataFrame:
    """The reference against each other pipeline: one row each, in the table's order.

    Columns: `pipeline`, `difference` (reference minus pipeline), `low`, `high`, `p` (two-sided: over subjects `paired_permutation`, over windows
    `paired_windows.swap_test`, over folds `corrected_t`, since their training parts overlap, or what equal signs allow where all differences are equal),
    `p_holm` (corrected for all rows), `smallest_p` (what the number of units allows; 0 for a t test), `p_corrected_t` (for folds only; NaN where p is that of
    equal signs), `unit`, `n`.

    Raises
    ------
    ValueError : the reference isn't in the table.
    """
    scores, unit = unit_scores(table), unit_of(table)
    if reference not in scores.columns:
        raise ValueError(f"There is no pipeline {reference!r} to compare with; the table has {list(scores.columns)}.")
    rows = [_comparison(scores, predictions, reference, other, unit, _overlap(table)) for other in scores.columns if other != reference]
    columns = ["pipeline", "difference", "low", "high", "p", "smallest_p", "p_corrected_t", "unit", "n"]
    compared = pd.DataFrame(rows, columns=columns)
    compared.insert(5, "p_holm", holm(compared["p"]))
    return compared


def chance(table: pd.DataFrame, predictions: pd.DataFrame, level: float = 0.95) -> float:
    """The score that guessing exceeds with probability 1 - ``level``, from the classes of every fold's test windows: a mean over units of their folds."""
    names = [column.removeprefix("probability_") for column in predictions.columns if column.startswith("probability_")]
    one_fit = predictions.drop_duplicates(["fold", "row"])
    counts = pd.crosstab(one_fit["fold"], one_fit["label"].astype(str)).reindex(columns=names, fill_value=0)
    units = table.drop_duplicates("fold").set_index("fold")["subject"] if _by_subject(table) else counts.index.to_series()
    return chance_line(counts.to_numpy(), 1 - level, units.loc[counts.index].astype(str))


def _comparison(scores: pd.DataFrame, predictions: pd.DataFrame, reference: str, other: str, unit: str, overlap: float) -> dict:
    pair = scores[[reference, other]].dropna()
    difference = float((pair[reference] - pair[other]).mean())
    row = {"pipeline": other, "difference": difference, "unit": unit, "n": len(pair)}
    row |= dict.fromkeys(("low", "high", "p", "smallest_p", "p_corrected_t"), np.nan)
    if unit == "window":
        ours, theirs = (predictions[predictions["pipeline"] == name] for name in (reference, other))
        row["n"] = ours["row"].nunique()
    if pair.empty:
        return row
    if unit == "window":
        low, high = interval_from_influence(difference, influence(ours) - influence(theirs))
        return row | {"low": low, "high": high, "p": swap_test(ours, theirs), "smallest_p": 1 / (DRAWS + 1)}
    low, high = confidence_interval(pair[reference] - pair[other], overlap=overlap if unit == "fold" else 0.0)
    row |= {"low": low, "high": high}
    if unit == "fold":
        t_test = corrected_t(pair[reference], pair[other], overlap)
        # Equal differences have no spread that a t could be told from; signs that are all one way still say something.
        signs = smallest_p(len(pair))
        told = {"p": signs, "smallest_p": signs} if np.isnan(t_test) else {"p": t_test, "smallest_p": 0.0 if len(pair) > 1 else 1.0}
        return row | told | {"p_corrected_t": t_test}
    return row | {"p": paired_permutation(pair[reference], pair[other]), "smallest_p": smallest_p(len(pair))}


def _score_interval(scores: pd.Series, predictions: pd.DataFrame, unit: str, overlap: float) -> tuple[float, float]:
    known = scores.dropna().to_numpy(dtype=float)
    if not len(known):
        return float("nan"), float("nan")
    if unit == "window":
        return score_interval(known[0], predictions)
    return confidence_interval(known, overlap=overlap if unit == "fold" else 0.0)


def _by_subject(table: pd.DataFrame) -> bool:
    """Whether folds are averaged first, over a subject or a group of subjects."""
    return unit_of(table) in ("subject", "group of subjects")


def _overlap(table: pd.DataFrame) -> float:
    """Test windows per training window, the mean over fits."""
    return float((table["samples_test"] / (table["samples"] + table["samples_validation"])).mean())


def _seed_sd(table: pd.DataFrame) -> float:
    """NaN for one seed."""
    by_seed = [float(unit_scores(own).mean().iloc[0]) for _, own in table.groupby("seed")]
    return float(np.std(by_seed, ddof=1)) if len(by_seed) > 1 else float("nan")


def _signs(count: int, n: int, seed: int) -> np.ndarray:
    """Patterns of signs (patterns, units), the unchanged one first."""
    if count <= LARGEST_EXACT_UNITS:
        return 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    drawn = 1 - 2 * np.random.default_rng(seed).integers(0, 2, (n, count))
    return np.vstack([np.ones(count, dtype=int), drawn])


def _require_one_experiment(table: pd.DataFrame) -> None:
    for column in ("dataset", "protocol"):
        if column in table and table[column].nunique() > 1:
            raise ValueError(f"The table mixes {column}s {sorted(table[column].unique())}; take each apart, their units differ.")
    folds = set(table["fold"])
    for pipeline, own in table.groupby("pipeline", sort=False):
        missing = sorted(folds - set(own["fold"]))
        if missing:
            raise ValueError(f"Pipeline {pipeline!r} lacks folds {missing}; scores are compared over the same folds.")


def _finite(values: ArrayLike) -> np.ndarray:
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"Scores must be one finite number a unit, at least one, but are {numbers.tolist()}.")
    return numbers

"""The report's sections on scores: the table with its tests, confusion matrices, calibration and learning curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from sigvit.evidence import figures, statistics
from sigvit.evidence.cross_validation import Results
from sigvit.evidence.html_parts import confusion, counted, listed, paragraph, picture, section, side_by_side, table, text
from sigvit.evidence.window_steps import NO_ALIGNMENT, joined_modes

OWN = "ViT"


def scores_section(results: Results, summary: pd.DataFrame, comparison: pd.DataFrame | None, colours: dict[str, str]) -> str:
    unit, metric = summary["unit"].iloc[0], figures.metric_words(summary["metric"].iloc[0])
    columns, rows = _score_rows(summary, comparison, results.table.groupby("pipeline")["alignment"].agg(joined_modes))
    certificate = results.certificate
    stamp = "" if certificate.verdict == "proved" else f" ({certificate.verdict.upper()}: {certificate.reason})"
    drawn = [_scores_picture(results.table, summary, colours)]
    if comparison is not None:
        differences = "; ".join(f"{row['pipeline']} {signed_words(row['difference'])}" for row in comparison.to_dict("records"))
        caption = f"Differences of {metric} with 95 % intervals; right of zero the {OWN} is better, left of it the other."
        drawn.append(picture(figures.draw_differences(comparison, colours), f"{OWN} minus other: {differences}.", caption))
    scored = table(columns, rows, f"{metric[0].upper()}{metric[1:]}{stamp}", OWN)
    return section("Scores", scored, _method(results.table, summary, comparison), side_by_side(*drawn), _unit_table(results.table, unit))


def _scores_picture(scores: pd.DataFrame, summary: pd.DataFrame, colours: dict[str, str]) -> str:
    means = "; ".join(f"{row['pipeline']} {text(row['score'])}" for row in summary.to_dict("records"))
    scored = scores[scores["score"].notna()]
    chance = float(statistics.unit_scores(scored if len(scored) else scores, "chance").mean().iloc[0])
    small = {"window": "seeds", "subject": "subjects", "fold": "folds"}.get(summary["unit"].iloc[0], "groups of subjects")
    caption = f"Large marks: means, with 95 % intervals. Small marks: {small}."
    return picture(figures.draw_scores(summary, _unit_values(scores), colours, chance), f"Scores with intervals: {means}; chance {chance:.2f}.", caption)


def _score_rows(summary: pd.DataFrame, comparison: pd.DataFrame | None, alignment: pd.Series) -> tuple[list[str], list[list[Any]]]:
    """Column names and cells; the comparison stands between the score and the further metrics; a column on alignment where one is aligned."""
    aligned = ["Alignment"] if (alignment != NO_ALIGNMENT).any() else []
    tested = [] if comparison is None else [f"{OWN} minus it [95 %]", "p", "p (Holm)"]
    columns = ["Pipeline", "Score [95 %]", "Seed SD", "Above chance", *tested]
    columns += [*aligned, "Accuracy", "Balanced accuracy", "Log-loss (nats)", "Calibration error"]
    against = {} if comparison is None else {row["pipeline"]: _against(row) for row in comparison.to_dict("records")}
    rows = []
    for row in summary.to_dict("records"):
        cells = [row["pipeline"], f"{text(row['score'])} {interval_words(row)}", row["seed_sd"], bool(row["score"] > row["chance_line"])]
        cells += against.get(row["pipeline"], [""] * len(tested))
        cells += [alignment[row["pipeline"]] for _ in aligned]
        rows.append([*cells, row["accuracy"], row["balanced_accuracy"], row["log_loss"], row["calibration_error"]])
    return columns, rows


def _against(row: dict) -> list[Any]:
    return [f"{signed_words(row['difference'])} {interval_words(row)}", p_words(row["p"]), p_words(row["p_holm"])]


def _method(scores: pd.DataFrame, summary: pd.DataFrame, comparison: pd.DataFrame | None) -> str:
    """What the intervals and tests are taken over, and what that can show."""
    unit, n = summary["unit"].iloc[0], int(summary["n"].max())
    kind = "DeLong's in the logit" if summary["metric"].iloc[0] == "roc_auc" else "normal in the logit, by the spread of hits inside each class,"
    means = {
        "subject": f"Means are over {n} subjects (seeds and folds averaged first); intervals are Student's t.",
        "group of subjects": f"Means are over {n} groups of subjects (seeds averaged first); intervals are Student's t.",
        "fold": f"Means are over {n} folds (seeds averaged first); intervals are Nadeau and Bengio's, since training parts overlap.",
        "window": f"There is one test part: intervals are {kind} over its {n} windows, with the training part as it is.",
    }
    if unit == "window" and summary["score"].notna().any() and summary["low"].isna().all():
        means["window"] = (
            f"There is one test part, of {n} windows, and a class has one of them: nothing tells how far that one varies, so there are no intervals."
        )
    line = text(float(summary["chance_line"].iloc[0]))
    guessing = f'Guessing exceeds {line} in 5 of 100 sets; "above chance" is above that.'
    return paragraph(means[unit], _unscored_words(scores), guessing) + (_test_words(comparison, unit) if comparison is not None else "")


def _unscored_words(scores: pd.DataFrame) -> str:
    """Where folds have no score, what is a mean over others than the score."""
    folds = scores.drop_duplicates("fold")["score"]
    if not folds.isna().any() or folds.isna().all():
        return ""
    have = "has" if folds.isna().sum() == 1 else "have"
    without = f"{folds.isna().sum()} of {len(folds)} test parts {have} one class, and so neither score nor balanced accuracy"
    return f"{without}; accuracy, log-loss and calibration error are means over all {len(folds)}."


def _test_words(comparison: pd.DataFrame, unit: str) -> str:
    tests = {
        "window": "a two-sided permutation test, where two pipelines' predictions are swapped window by window",
        "fold": "Nadeau and Bengio's corrected t test, two-sided, since training parts overlap",
    }
    test = tests.get(unit, f"a two-sided permutation test, where signs of paired differences are flipped, {unit} by {unit}")
    words = [f"p is that of {test}; Holm's correction counts all {len(comparison)} comparisons."]
    alike = comparison["pipeline"][comparison["p"].notna() & comparison["p_corrected_t"].isna()] if unit == "fold" else comparison["pipeline"][:0]
    if len(alike):
        words.append(f"Against {listed(alike.tolist())} all folds differ alike, which leaves no spread for a t: p is that of their signs.")
    few = comparison[comparison["smallest_p"] * len(comparison) > 0.05]
    if len(few):
        n, smallest, here = int(few["n"].min()), float(few["smallest_p"].max()), "here" if len(few) == len(comparison) else "there"
        words.append(f"With {n} of them no p lies below {smallest:.3g}, so Holm's can't reach .05 {here}, whatever the difference: look at the intervals.")
    return paragraph(*words)


def _unit_values(scores: pd.DataFrame) -> dict[str, np.ndarray]:
    """What the small marks show: the units' scores, or the seeds' where there is one test part."""
    if statistics.unit_of(scores) == "window":
        return {str(name): own["score"].dropna().to_numpy() for name, own in scores.groupby("pipeline")}
    units = statistics.unit_scores(scores)
    return {name: units[name].dropna().to_numpy() for name in units.columns}


def _unit_table(scores: pd.DataFrame, unit: str) -> str:
    """The score of every unit, folded away; nothing where there is one test part."""
    if unit == "window":
        return ""
    units, names = statistics.unit_scores(scores), scores.drop_duplicates("fold").set_index("fold")["left_out"]
    rows = [
        [names[key] or f"fold {key}" if unit == "fold" else str(key).replace("++", "+"), *map(float, values)]
        for key, values in zip(units.index, units.to_numpy(), strict=True)
    ]
    return f"<details><summary>Score of every {text(unit)}</summary>{table([unit.capitalize(), *units.columns], rows)}</details>"


def confusions_section(predictions: pd.DataFrame, summary: pd.DataFrame, classes: tuple) -> str:
    parts = []
    for pipeline in summary["pipeline"]:
        numbers, probabilities = _judged(predictions[predictions["pipeline"] == pipeline], classes)
        counts = np.zeros((len(classes), len(classes)))
        np.add.at(counts, (numbers, probabilities.argmax(axis=1)), 1 / predictions["seed"].nunique())
        parts.append(confusion(classes, counts, pipeline))
    words = paragraph(
        "Test windows of all folds, averaged over seeds. Rows are the true classes; each cell gives the share of its row and the number of windows."
    )
    return section("Confusion matrices", words, side_by_side(*parts))


def calibration_section(predictions: pd.DataFrame, summary: pd.DataFrame, classes: tuple, colours: dict[str, str]) -> str:
    judged = {}
    for pipeline in _own_and_best(summary):
        numbers, probabilities = _judged(predictions[predictions["pipeline"] == pipeline], classes)
        judged[pipeline] = (probabilities.argmax(axis=1) == numbers, probabilities.max(axis=1))
    errors = summary.set_index("pipeline")["calibration_error"]
    found = ", ".join(f"{name} {errors[name]:.3f}" for name in judged)
    unit = summary["unit"].iloc[0]
    over = {"window": "of the one test part", "group of subjects": "mean over groups of subjects"}.get(unit, f"mean over {unit}s")
    words = f"Expected calibration error (Guo et al. 2017, ten bins, {over}): {found}. Bins with less than 1 % of the windows aren't drawn."
    alternative = f"Reliability diagram of {listed(list(judged))}: accuracy against confidence. {words}"
    return section("Calibration", picture(figures.draw_calibration(judged, colours), alternative, words))


def learning_section(histories: dict[tuple[str, int, int], list[dict]], colours: dict[str, str]) -> str:
    pipelines = [name for name in colours if any(key[0] == name and history for key, history in histories.items())]
    parts = []
    for name in pipelines:
        own = [history for key, history in histories.items() if key[0] == name and history]
        words = f"{name}: mean loss of {counted(len(own), 'fit')} by step, with standard deviation"
        parts.append(picture(figures.draw_learning(own, colours[name]), f"Learning curves. {words}.", f"{words}."))
    return section("Learning curves", side_by_side(*parts) if parts else paragraph("No pipeline here keeps a history of its training."))


def _judged(predictions: pd.DataFrame, classes: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers (predictions,) and probabilities (predictions, classes) of one pipeline, all folds and seeds."""
    names = [str(label) for label in classes]
    numbers = predictions["label"].astype(str).map({name: number for number, name in enumerate(names)}).to_numpy()
    return numbers, predictions[[f"probability_{name}" for name in names]].to_numpy(dtype=float)


def _own_and_best(summary: pd.DataFrame) -> list[str]:
    """The ViT and the best of the others; without a ViT the two best."""
    ranked = summary.sort_values("score", ascending=False, kind="stable")["pipeline"].tolist()
    return [OWN, *[name for name in ranked if name != OWN][:1]] if OWN in ranked else ranked[:2]


def interval_words(row: Any) -> str:
    return f"[{row['low']:.3f}, {row['high']:.3f}]" if np.isfinite(row["low"]) else "–"


def signed_words(value: float) -> str:
    return f"{value:+.3f}" if np.isfinite(value) else "–"


def p_words(value: float) -> str:
    return "–" if not np.isfinite(value) else "< .001" if value < 0.001 else f"{value:.3f}"

"""Statistics against brute force, hand-computed values and their behaviour under the null."""

import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, kstest, ttest_1samp, ttest_rel

from sigvit.evidence.metrics import chance_line
from sigvit.evidence.paired_windows import influence, interval_from_influence, score_interval, swap_test
from sigvit.evidence.statistics import (
    chance,
    compare,
    confidence_interval,
    corrected_t,
    holm,
    paired_permutation,
    smallest_p,
    summarise,
    unit_of,
    unit_scores,
)


def test_t_interval_is_that_of_scipy():
    values = [0.61, 0.73, 0.58, 0.8, 0.66]
    expected = ttest_1samp(values, 0).confidence_interval(0.9)
    assert confidence_interval(values, level=0.9) == pytest.approx(tuple(expected), rel=1e-12)  # rounding


def test_overlapping_training_parts_widen_the_interval():
    values, plain = [0.6, 0.7, 0.9], confidence_interval([0.6, 0.7, 0.9])
    wide = confidence_interval(values, overlap=0.5)
    assert (wide[1] - wide[0]) / (plain[1] - plain[0]) == pytest.approx(np.sqrt((1 / 3 + 1 / 2) / (1 / 3)))  # rounding


def test_one_unit_has_no_interval():
    assert np.isnan(confidence_interval([0.7])).all()


def test_t_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(0.7, 0.1, (2000, 7))
    covered = [low <= 0.7 <= high for low, high in map(confidence_interval, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)  # three standard errors of 2000 draws


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_permutation_p_is_that_of_brute_force(n):
    first, second = np.random.default_rng(n).random((2, n)).round(1)
    signed = [abs(np.dot(signs, first - second)) for signs in itertools.product([1, -1], repeat=n)]
    observed = abs((first - second).sum())
    expected = np.mean([value >= observed - 1e-9 for value in signed])
    assert paired_permutation(first, second) == expected


def test_permutation_p_is_uniform_under_the_null():
    generator = np.random.default_rng(0)
    p_values = [paired_permutation(*generator.normal(size=(2, 10))) for _ in range(1000)]
    assert kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 0.021  # three standard errors of 1000 draws


def test_drawn_signs_agree_with_all_signs():
    first, second = np.random.default_rng(0).normal(0.4, 1, (2, 15))
    every = 1 - 2 * ((np.arange(2**15)[:, None] >> np.arange(15)) & 1)
    sums = np.abs(every @ (first - second))
    exact = np.mean(sums >= abs((first - second).sum()) - 1e-9)
    assert paired_permutation(first, second, n=20_000) == pytest.approx(exact, abs=3 * np.sqrt(exact / 20_000))  # three standard errors


def test_permutation_p_is_never_zero_and_never_below_its_smallest():
    for n in (3, 14, 29):
        assert paired_permutation(np.full(n, 0.9), np.full(n, 0.5), n=999) >= smallest_p(n, 999)
    assert paired_permutation([0.9] * 3, [0.5] * 3) == smallest_p(3) == 0.25


def test_permutation_p_needs_no_order_of_pairs_or_pipelines():
    first, second = np.random.default_rng(0).normal(size=(2, 9))
    order = np.random.default_rng(1).permutation(9)
    assert paired_permutation(first, second) == paired_permutation(first[order], second[order]) == paired_permutation(second, first)


def test_equal_scores_have_p_one():
    assert paired_permutation([0.5, 0.6], [0.5, 0.6]) == 1
    assert corrected_t([0.5, 0.6], [0.5, 0.6], overlap=0.2) == 1
    assert corrected_t([0.3, 0.6], [0.1 + 0.2, 0.6], overlap=0.2) == 1


def test_corrected_t_without_overlap_is_the_paired_t_test():
    first, second = np.random.default_rng(0).normal(size=(2, 7))
    assert corrected_t(first, second, overlap=0) == pytest.approx(ttest_rel(first, second).pvalue, rel=1e-9)  # rounding


def test_corrected_t_keeps_its_level_for_folds_with_a_shared_training_part():
    """Fold scores that share a part of their noise: ρ = test / (test + train), as Nadeau and Bengio assume, makes the plain test reject too often."""
    generator, folds, rho = np.random.default_rng(0), 5, 0.2
    shared = generator.normal(0, np.sqrt(rho), (1200, 1))
    differences = shared + generator.normal(0, np.sqrt(1 - rho), (1200, folds))
    zeros = np.zeros(folds)
    rejected = np.mean([corrected_t(row, zeros, overlap=rho / (1 - rho)) < 0.05 for row in differences])
    plain = np.mean([ttest_1samp(row, 0).pvalue < 0.05 for row in differences])
    assert rejected <= 0.05 + 0.019 < plain  # three standard errors of 1200 draws


def test_holm_of_a_hand_computed_case():
    # Sorted .005 · 4, .01 · 3, .03 · 2, .04 · 1, each at least the one before: .02, .03, .06, .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_leaves_unknown_values_out_of_the_count():
    assert holm([0.02, np.nan, 0.9]) == pytest.approx([0.04, np.nan, 0.9], nan_ok=True)
    assert holm([0.7, 0.8]).tolist() == [1, 1]


@pytest.mark.parametrize("scores", [[], [0.5, np.nan], [[0.5]]])
def test_scores_that_are_not_finite_numbers_get_a_sentence(scores):
    with pytest.raises(ValueError, match="one finite number a unit"):
        paired_permutation(scores, scores)


def made(scores, subjects=("01",), n_folds=1, seeds=(0, 1), windows=40, classes=("left", "right"), seed=0):
    """A table and predictions of pipelines whose logits for the right class are noise plus `scores`[name]; several folds a subject."""
    generator, table, predictions = np.random.default_rng(seed), [], []
    for number, (subject, _) in enumerate(itertools.product(subjects, range(n_folds))):
        labels = np.array(classes)[np.arange(windows) % len(classes)]
        shared = generator.normal(size=(windows, len(classes)))
        for (name, strength), random_state in itertools.product(scores.items(), seeds):
            logits = shared + 0.5 * generator.normal(size=shared.shape) + strength * (labels[:, None] == np.array(classes))
            probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            fit = {"pipeline": name, "fold": number, "seed": random_state}
            predictions.append(pd.DataFrame({**fit, "row": number * windows + np.arange(windows), "label": labels}))
            predictions[-1][[f"probability_{label}" for label in classes]] = probabilities
            score = np.mean(probabilities.argmax(axis=1) == np.arange(windows) % len(classes)) if len(classes) > 2 else auc(probabilities[:, 1], labels)
            sizes = {"samples": 3 * windows, "samples_validation": 0, "samples_test": windows, "parameters": None, "time": 0.5}
            measured = {"score": score, "accuracy": 0.7, "balanced_accuracy": 0.6, "log_loss": 0.5, "calibration_error": 0.1, "metric": "roc_auc"}
            table.append({**fit, "dataset": "made", "protocol": "cross_subject", "subject": subject, **sizes, **measured})
    return pd.DataFrame(table), pd.concat(predictions, ignore_index=True)


def auc(scores, labels):
    positive, negative = scores[labels == max(labels)], scores[labels != max(labels)]
    return (positive[:, None] > negative).mean()


UNITS = [
    (("01", "02", "03"), 2, "subject", 3),
    (("01+02", "03+04"), 1, "group of subjects", 2),
    (("01+02", "03+04"), 2, "group of subjects", 2),
    (("01++ctrl", "02++ctrl", "03++ctrl"), 1, "subject", 3),
    (("01++ctrl+02++ctrl", "03++ctrl"), 1, "group of subjects", 2),
    (("a+++b", "c"), 1, "group of subjects", 2),
    (("01+02", "02+03", "01+04"), 1, "fold", 3),
    (("01", "01+02"), 1, "fold", 2),
    (("01",), 5, "fold", 5),
    (("01",), 1, "window", 40),
]


@pytest.mark.parametrize(("subjects", "n_folds", "unit", "n"), UNITS)
def test_unit_is_the_largest_thing_that_repeats(subjects, n_folds, unit, n):
    table, predictions = made({"ViT": 1.0, "LDA": 0.2}, subjects, n_folds)
    assert unit_of(table) == unit
    summary, comparison = summarise(table, predictions), compare(table, predictions)
    assert summary["unit"].tolist() == [unit] * 2
    assert summary["n"].tolist() == [n] * 2
    assert comparison[["unit", "n"]].to_numpy().tolist() == [[unit, n]]


def test_seeds_are_averaged_before_folds_and_folds_before_subjects():
    rows = [("A", "01", 0, 0, 0.2), ("A", "01", 0, 1, 0.4), ("A", "01", 1, 0, 0.5), ("A", "02", 2, 0, 0.9)]
    table = pd.DataFrame(rows, columns=["pipeline", "subject", "fold", "seed", "score"])
    assert unit_scores(table)["A"].to_dict() == pytest.approx({"01": 0.4, "02": 0.9})  # rounding


def test_order_of_rows_changes_nothing_but_the_order_of_pipelines():
    table, predictions = made({"ViT": 1.0, "LDA": 0.3, "CSP": 0.1}, ("01", "02", "03", "04"), 2)
    mixed = compare(table.sample(frac=1, random_state=0), predictions.sample(frac=1, random_state=1)).set_index("pipeline")
    straight = compare(table, predictions).set_index("pipeline")
    pd.testing.assert_frame_equal(mixed.loc[straight.index], straight, rtol=1e-9)  # sums in another order


def test_order_of_windows_changes_nothing():
    table, predictions = made({"ViT": 0.6, "LDA": 0.3})
    pd.testing.assert_frame_equal(compare(table, predictions.sample(frac=1, random_state=1)), compare(table, predictions))


@pytest.mark.parametrize("subjects", [("01",), ("01", "02", "03", "04", "05", "06")])
def test_a_better_pipeline_is_told_from_a_worse_one_and_equal_ones_are_not(subjects):
    table, predictions = made({"ViT": 1.5, "poor": 0.0, "equal": 1.5}, subjects, windows=60)
    comparison = compare(table, predictions).set_index("pipeline")
    assert comparison.loc["poor", "low"] > 0
    assert comparison.loc["poor", "p_holm"] < 0.1 < comparison.loc["equal", "p"]
    assert comparison.loc["equal", "low"] < 0 < comparison.loc["equal", "high"]


def test_two_pipelines_of_the_same_answers_differ_by_nothing_whatever_the_unit():
    """Windows that both get wrong say nothing of their difference."""
    for subjects, n_folds in ((("01",), 1), (("01",), 3), (("01", "02", "03"), 1)):
        table, predictions = (pd.concat([own, own.assign(pipeline="copy")]) for own in made({"ViT": 0.6}, subjects, n_folds))
        assert compare(table, predictions)[["difference", "low", "high"]].to_numpy().tolist() == [[0.0, 0.0, 0.0]]


def test_only_folds_of_one_subject_have_wider_intervals_for_the_windows_that_they_share_in_training():
    for subjects, n_folds, overlap in ((("01", "02", "03"), 1, 0.0), (("01",), 3, 40 / (120 + 17))):
        table, predictions = made({"ViT": 0.9, "LDA": 0.3}, subjects, n_folds)
        table["samples_validation"] = 17
        row, scores = compare(table, predictions).iloc[0], unit_scores(table)
        assert (row["low"], row["high"]) == confidence_interval(scores["ViT"] - scores["LDA"], overlap=overlap)
        summary = summarise(table, predictions).set_index("pipeline").loc["ViT"]
        assert (summary["low"], summary["high"]) == confidence_interval(scores["ViT"], overlap=overlap)


def test_five_subjects_can_not_be_significant_and_the_table_says_so():
    comparison = compare(*made({"ViT": 2.0, "LDA": 0.0}, tuple("12345"))).iloc[0]
    assert comparison["p"] == comparison["smallest_p"] == 0.0625


def test_folds_are_compared_by_the_corrected_t_which_five_of_them_can_show():
    table, predictions = made({"ViT": 2.0, "LDA": 0.0}, n_folds=5)
    comparison, scores = compare(table, predictions).iloc[0], unit_scores(table)
    assert comparison["p"] == comparison["p_holm"] == comparison["p_corrected_t"] == corrected_t(scores["ViT"], scores["LDA"], overlap=1 / 3) < 0.05
    assert comparison["smallest_p"] == 0


@pytest.mark.parametrize(("n_folds", "p"), [(2, 0.5), (7, 2 / 2**7)])
def test_folds_that_all_differ_alike_say_what_their_signs_say(n_folds, p):
    table, predictions = made({"ViT": 1.0, "LDA": 0.0}, n_folds=n_folds)
    table["score"] = table["pipeline"].map({"ViT": 1.0, "LDA": 0.5})
    comparison = compare(table, predictions).iloc[0]
    assert comparison["p"] == comparison["smallest_p"] == p
    assert np.isnan(comparison["p_corrected_t"])


@pytest.mark.parametrize(("better", "worse"), [([0.9, 0.8, 0.7], [0.8, 0.7, 0.6]), ([0.9, 0.8, 0.7, 0.6, 0.5], [0.8, 0.7, 0.6, 0.5, 0.4])])
def test_folds_that_differ_alike_up_to_rounding_are_those_that_differ_alike(better, worse):
    table, predictions = made({"ViT": 1.0, "LDA": 0.0}, n_folds=len(better))
    table["score"] = [{"ViT": better, "LDA": worse}[name][fold] for name, fold in zip(table["pipeline"], table["fold"], strict=True)]
    comparison = compare(table, predictions).iloc[0]
    assert comparison["p"] == comparison["p_holm"] == smallest_p(len(better))
    assert np.isnan(comparison["p_corrected_t"])
    assert comparison[["low", "high"]].tolist() == pytest.approx([0.1, 0.1], abs=1e-12)  # rounding


@pytest.mark.slow
def test_pipelines_that_know_nothing_seldom_differ_over_folds_that_share_their_training_windows():
    """Nearest class means of noise of their own, over ten folds of eighty windows."""
    generator, labels, p_values = np.random.default_rng(0), np.arange(80) % 2, []
    for _ in range(200):
        rows = []
        for name in ("ViT", "LDA"):
            signals, order = generator.normal(size=(80, 5)), generator.permutation(80).reshape(10, 8)
            for fold, test in enumerate(order):
                train = np.setdiff1d(np.arange(80), test)
                means = [signals[train][labels[train] == label].mean(axis=0) for label in (0, 1)]
                score = np.mean((signals[test] @ (means[1] - means[0]) > 0) == labels[test])
                rows.append(
                    {"pipeline": name, "subject": "01", "fold": fold, "seed": 0, "score": score, "samples": 72, "samples_validation": 0, "samples_test": 8}
                )
        p_values.append(compare(pd.DataFrame(rows), pd.DataFrame())["p_holm"].iloc[0])
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 0.046  # three standard errors of 200 draws


def test_a_fold_of_one_class_is_passed_over():
    table, predictions = made({"ViT": 1.0, "LDA": 0.0}, ("01", "02", "03"))
    table.loc[table["subject"] == "02", "score"] = np.nan
    assert summarise(table, predictions)["n"].tolist() == [2, 2]
    assert compare(table, predictions)["n"].tolist() == [2]
    table.loc[table["subject"] == "02", ["accuracy", "balanced_accuracy"]] = 1.0
    summary = summarise(table, predictions)
    assert summary["balanced_accuracy"].tolist() == pytest.approx([0.6] * 2)  # rounding
    assert summary["accuracy"].tolist() == pytest.approx([0.8] * 2)  # rounding


@pytest.mark.parametrize("subjects", [("01",), ("01", "02")])
def test_no_scores_at_all_end_in_unknowns_not_in_numbers(subjects):
    table, predictions = made({"ViT": 1.0, "LDA": 0.0}, subjects)
    table["score"] = np.nan
    assert summarise(table, predictions)[["score", "low", "high"]].isna().all(axis=None)
    assert compare(table, predictions)[["difference", "low", "high", "p", "p_holm"]].isna().all(axis=None)


def test_a_table_without_the_reference_gets_a_sentence():
    with pytest.raises(ValueError, match=r"no pipeline 'ViT'.*\['LDA'\]"):
        compare(*made({"LDA": 0.0}))


def test_a_missing_fold_gets_a_sentence():
    table, _ = made({"ViT": 1.0, "LDA": 0.0}, n_folds=3)
    with pytest.raises(ValueError, match=r"'LDA' lacks folds \[1\]"):
        unit_scores(table[(table["pipeline"] == "ViT") | (table["fold"] != 1)])


def test_two_experiments_in_one_table_get_a_sentence():
    table, _ = made({"ViT": 1.0}, n_folds=2)
    table.loc[0, "protocol"] = "shipped"
    with pytest.raises(ValueError, match="mixes protocols"):
        unit_scores(table)


def test_chance_counts_the_classes_of_every_fold_once():
    table, predictions = made({"ViT": 1.0, "LDA": 0.0}, n_folds=3, windows=14)
    assert chance(table, predictions) == chance_line([[7, 7]] * 3)


def test_chance_weighs_folds_as_the_score_does():
    """Three folds of subject 01 and one of 02: a mean over two subjects, in which the one fold counts as much as the three."""
    table, predictions = made({"ViT": 1.0}, ("01", "02"), n_folds=2, windows=14)
    table.loc[table["fold"] == 2, "subject"] = "01"
    assert unit_scores(table).index.tolist() == ["01", "02"]
    assert chance(table, predictions) == chance_line([[7, 7]] * 4, units=["01", "01", "01", "02"]) > chance_line([[7, 7]] * 4)
    assert chance(table.assign(subject="01"), predictions) == chance_line([[7, 7]] * 4)


def test_spread_of_seeds_stands_beside_the_interval():
    table, predictions = made({"ViT": 1.0}, seeds=(0,))
    assert np.isnan(summarise(table, predictions)["seed_sd"].iloc[0])
    table, predictions = made({"ViT": 1.0}, ("01", "02"), seeds=(0, 1, 2))
    by_seed = table.groupby("seed")["score"].mean()
    assert summarise(table, predictions)["seed_sd"].iloc[0] == pytest.approx(by_seed.std())  # rounding


@pytest.mark.parametrize("classes", [("left", "right"), ("left", "right", "feet")])
def test_influence_gives_the_standard_error_of_the_bootstrap(classes):
    _, predictions = made({"ViT": 0.8}, seeds=(0,), windows=150, classes=classes)
    analytic = np.sqrt(np.sum(influence(predictions) ** 2))
    generator, scores = np.random.default_rng(0), []
    rows = [np.flatnonzero(predictions["label"] == label) for label in classes]
    probabilities = predictions.filter(like="probability_").to_numpy()
    for _ in range(1500):
        drawn = np.concatenate([generator.choice(own, len(own)) for own in rows])
        numbers = np.repeat(np.arange(len(classes)), [len(own) for own in rows])
        hits = probabilities[drawn].argmax(axis=1) == numbers
        scores.append(hits.mean() if len(classes) > 2 else auc(probabilities[drawn, 1], numbers))
    assert analytic == pytest.approx(np.std(scores), rel=0.1)  # 1500 draws give a standard deviation within 2 %, ties in resampling a few more


def test_interval_over_windows_covers_the_true_score_about_as_often_as_it_says():
    generator, covered = np.random.default_rng(0), []
    true = 0.760  # two unit Gaussians a distance of 1 apart: Φ(1 / √2) = .7602
    for _ in range(400):
        values = generator.normal(np.repeat([0.0, 1.0], 40))
        frame = pd.DataFrame({"seed": 0, "row": range(80), "label": np.repeat([0, 1], 40), "probability_0": -values, "probability_1": values})
        low, high = interval_from_influence(auc(values, frame["label"].to_numpy()), influence(frame))
        covered.append(low <= true <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)  # three standard errors of 400 draws


def test_interval_of_a_score_near_1_covers_the_true_one_as_often_as_it_says():
    """Ten windows a class of unit Gaussians a distance of 2.904 apart: four sets in ten have all pairs right."""
    generator, covered, true = np.random.default_rng(0), [], 0.980
    for _ in range(150):
        values = generator.normal(np.repeat([0.0, 2.904], 10))
        frame = pd.DataFrame({"seed": 0, "row": range(20), "label": np.repeat([0, 1], 10), "probability_0": -values, "probability_1": values})
        low, high = score_interval(auc(values, frame["label"].to_numpy()), frame)
        covered.append(low <= true <= high)
    assert np.mean(covered) >= 0.95 - 0.053  # three standard errors of 150 draws


@pytest.mark.parametrize("classes", [("left", "right"), ("left", "right", "feet")])
def test_a_score_without_a_mistake_has_an_interval_with_a_width(classes):
    table, predictions = made({"ViT": 9.0}, windows=35, classes=classes)
    summary = summarise(table, predictions).iloc[0]
    assert (summary["score"], summary["high"]) == (1.0, 1.0)
    fewest = predictions[predictions["seed"] == 0]["label"].value_counts().min()
    assert summary["low"] == pytest.approx(0.025 ** (1 / fewest), rel=1e-12)  # rounding
    flipped = score_interval(0.0, predictions)
    assert flipped == pytest.approx((0.0, 1 - summary["low"]), rel=1e-12)  # rounding


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_score_of_classes_always_right_and_always_wrong_has_an_interval_with_a_width(seeds):
    numbers = np.repeat([0, 1, 2], [7, 11, 13])
    told = np.eye(3)[np.where(numbers == 2, 0, numbers)]  # recalls 1, 1, 0
    one = pd.DataFrame({"row": range(31), "label": numbers} | {f"probability_{number}": told[:, number] for number in range(3)})
    low, high = score_interval(2 / 3, pd.concat([one.assign(seed=seed) for seed in range(seeds)]))
    limits = [binomtest(hits, count).proportion_ci() for hits, count in ((7, 7), (11, 11), (0, 13))]
    expected = np.mean([limit.low for limit in limits]), np.mean([limit.high for limit in limits])
    assert (low, high) == pytest.approx(expected, rel=1e-9)  # scipy searches for its limits to 1e-12
    assert low < 2 / 3 < high


@pytest.mark.parametrize("labels", [[0] * 7 + [1], [0] * 7 + [1] * 5 + [2], [0, 1, 2, 3, 3]])
def test_a_class_of_one_window_leaves_no_interval(labels):
    """It would count as one that never varies; an interval of the difference of two guessers left 0 out in 74 of 100 sets."""
    n_classes, numbers = max(labels) + 1, np.array(labels)
    _, predictions = made({"ViT": 1.0, "LDA": 0.2}, windows=len(labels), classes=tuple(range(n_classes)))
    predictions["label"] = predictions["row"].map(dict(enumerate(labels)))
    ours, theirs = (predictions[predictions["pipeline"] == name] for name in ("ViT", "LDA"))
    assert np.isnan(score_interval(0.5, ours)).all()
    assert np.isnan(score_interval(1.0, ours)).all()
    assert np.isnan(interval_from_influence(0.1, influence(ours) - influence(theirs))).all()
    assert np.isfinite(influence(ours))[np.bincount(numbers)[numbers] > 1].all()
    assert 0 < swap_test(ours, theirs, n=99) <= 1


@pytest.mark.parametrize("classes", [("left", "right"), ("left", "right", "feet")])
def test_no_table_of_all_pairs_of_windows_nor_of_all_swaps_is_held(classes, monkeypatch):
    """Of 1009 windows and 999 swaps: 2 MB of pairs a seed, 8 MB of swaps."""
    _, predictions = made({"ViT": 0.7, "LDA": 0.6}, seeds=(0, 1), windows=1009, classes=classes)
    ours, theirs = (predictions[predictions["pipeline"] == name] for name in ("ViT", "LDA"))
    whole = swap_test(ours, theirs, n=999)
    monkeypatch.setattr("sigvit.evidence.paired_windows.MOST_NUMBERS", 10_000)
    tracemalloc.start()
    influence(ours)
    in_chunks = swap_test(ours, theirs, n=999)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert in_chunks == whole  # the draws are the same
    assert peak < 2**20


@pytest.mark.parametrize("classes", [("left", "right"), ("left", "right", "feet")])
def test_swap_p_is_that_of_brute_force(classes):
    """All 2⁶ swaps of six windows, scores computed from scratch from ranks; many random swaps come near."""
    from scipy.stats import rankdata

    _, predictions = made({"ViT": 1.2, "LDA": 0.1}, seeds=(0, 1), windows=6, classes=classes, seed=5)
    ours, theirs = (predictions[predictions["pipeline"] == name] for name in ("ViT", "LDA"))
    columns, numbers = predictions.filter(like="probability_").columns, np.arange(6) % len(classes)
    both = [[own[own["seed"] == seed][columns].to_numpy() for seed in (0, 1)] for own in (ours, theirs)]
    if len(classes) == 2:
        both = [[rankdata(values[:, 1]) for values in own] for own in both]

    def difference(swapped):
        scores = []
        for first, second in zip(*both, strict=True):
            chosen = [np.where(swapped if first.ndim == 1 else swapped[:, None], *pair) for pair in ((second, first), (first, second))]
            scores.append(np.subtract(*[half_auc(values, numbers) if first.ndim == 1 else np.mean(values.argmax(axis=1) == numbers) for values in chosen]))
        return abs(np.mean(scores))

    patterns = np.array(list(itertools.product([False, True], repeat=6)))
    expected = np.mean([difference(pattern) >= difference(patterns[0]) - 1e-9 for pattern in patterns])
    assert 0 < expected < 1
    assert swap_test(ours, theirs, n=20_000) == pytest.approx(expected, abs=0.012)  # three standard errors of 20 000 draws


def half_auc(scores, numbers):
    above = scores[numbers == 1][:, None] - scores[numbers == 0]
    return np.mean(0.5 + 0.5 * np.sign(above))


@pytest.mark.slow
def test_swap_p_is_uniform_under_the_null():
    p_values = []
    for seed in range(200):
        _, predictions = made({"ViT": 0.7, "LDA": 0.7}, seeds=(0,), windows=30, seed=seed)
        p_values.append(swap_test(*(predictions[predictions["pipeline"] == name] for name in ("ViT", "LDA")), n=399))
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_swap_test_of_other_windows_gets_a_sentence():
    _, predictions = made({"ViT": 0.7, "LDA": 0.7}, seeds=(0, 1))
    ours, theirs = (predictions[predictions["pipeline"] == name] for name in ("ViT", "LDA"))
    with pytest.raises(ValueError, match="same windows and seeds"):
        swap_test(ours, theirs[theirs["seed"] == 0])

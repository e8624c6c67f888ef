"""Metrics against hand-computed values and scikit-learn; chance lines against simulated guessing."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from sigvit.evidence.metrics import calibration_error, chance_line, score_predictions


def random_predictions(n_windows, classes, seed=0):
    generator = np.random.default_rng(seed)
    return generator.choice(classes, n_windows), generator.dirichlet(np.ones(len(classes)), n_windows)


def test_two_classes_are_scored_by_roc_auc_of_the_second_class():
    labels, probabilities = random_predictions(53, ["left", "right"])
    scored = score_predictions(labels, probabilities, ("left", "right"))
    assert scored["metric"] == "roc_auc"
    assert scored["score"] == roc_auc_score(labels == "right", probabilities[:, 1])
    assert scored["chance"] == 0.5


def test_more_classes_are_scored_by_balanced_accuracy():
    labels, probabilities = random_predictions(101, [3, 5, 7])
    scored = score_predictions(labels, probabilities, (3, 5, 7))
    assert scored["metric"] == "balanced_accuracy"
    # The mean of three recalls, summed in another order.
    assert scored["score"] == pytest.approx(balanced_accuracy_score(labels, np.array([3, 5, 7])[probabilities.argmax(axis=1)]), abs=1e-12)
    assert scored["n_classes"] == 3


def test_log_loss_is_that_of_scikit_learn_where_nothing_is_clipped():
    labels, probabilities = random_predictions(97, ["a", "b", "c"])
    # Sums in another order, double precision.
    assert score_predictions(labels, probabilities, "abc")["log_loss"] == pytest.approx(log_loss(labels, probabilities, labels=list("abc")), rel=1e-12)


def test_a_certain_mistake_costs_a_bounded_log_loss():
    assert score_predictions(["a", "b"], [[1.0, 0.0], [1.0, 0.0]], "ab")["log_loss"] == pytest.approx(-np.log(1e-7) / 2)  # one of two windows is wrong


def test_calibration_error_of_a_hand_made_case():
    # Bins (.6, .7]: confidence .65, accuracy ½, two windows; (.9, 1]: confidence .95, accuracy 1, one window.
    error = calibration_error(np.array([True, False, True]), np.array([0.65, 0.65, 0.95]))
    assert error == pytest.approx((2 * 0.15 + 0.05) / 3)  # rounding of the three decimals


def test_a_test_part_of_one_class_has_no_score_but_an_accuracy():
    scored = score_predictions(["left"] * 3, [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], ("left", "right"))
    assert np.isnan(scored["score"])
    assert scored["accuracy"] == pytest.approx(2 / 3)  # rounding


@pytest.mark.parametrize(
    ("labels", "probabilities", "classes", "message"),
    [
        ([], np.zeros((0, 2)), "ab", "at least one row"),
        (["a"], [[1.0]], "a", "at least two classes"),
        (["a", "b"], [[0.5, 0.5]], "ab", r"need \(2, 2\)"),
        (["a"], [[0.5, 0.6]], "ab", "Row 0"),
        (["a"], [[np.nan, 0.6]], "ab", "Row 0"),
        (["c"], [[0.5, 0.5]], "ab", r"\['c'\] are not among"),
    ],
)
def test_what_is_not_a_prediction_gets_a_sentence(labels, probabilities, classes, message):
    with pytest.raises(ValueError, match=message):
        score_predictions(labels, probabilities, classes)


FEWER_CLASSES = [[11, 29, 0], [[11, 29, 0], [7, 0, 31], [13, 17, 19]]]


@pytest.mark.parametrize("counts", [[50, 43], [11, 37], [[13, 11], [7, 17], [19, 5]], [17, 17, 17, 17], [[11, 29, 13], [7, 31, 11]], *FEWER_CLASSES])
def test_guessing_exceeds_the_chance_line_about_as_often_as_it_says(counts):
    generator = np.random.default_rng(0)
    means = np.mean([guessed_scores(generator, np.array(fold)) for fold in np.atleast_2d(counts)], axis=0)
    # 5000 draws have a standard error of .003; a discrete score stays below .05, the normal approximation may pass it by a little.
    assert 0.005 <= np.mean(means > chance_line(counts)) <= 0.065


@pytest.mark.parametrize("counts", [[40, 3, 3], [30, 30, 2], [50, 4, 4, 4], [20, 20, 20, 1], [200, 3, 3, 3, 3], [7, 11, 13, 17, 19, 23]])
def test_the_chance_line_of_one_part_of_unequal_classes_is_exact(counts):
    scores, line = guessed_scores(np.random.default_rng(1), np.array(counts), n_draws=40_000), chance_line(counts)
    # 40 000 draws have a standard error of .0011; three of them. The line lies up to a step a class above the score that it stands for, of 100 000.
    assert np.mean(scores > line) <= 0.0533
    assert np.mean(scores > line - 1e-4) >= 0.0467


def guessed_scores(generator, counts, n_draws=5000):
    """Scores of random guessing, from the definitions: the Mann–Whitney statistic of ranks, or the mean of recalls."""
    if len(counts) == 2:
        ranks = generator.random((n_draws, counts.sum())).argsort(axis=1).argsort(axis=1)[:, : counts[1]] + 1
        return (ranks.sum(axis=1) - counts[1] * (counts[1] + 1) / 2) / counts.prod()
    return np.mean([generator.binomial(count, 1 / np.sum(counts > 0), n_draws) / count for count in counts[counts > 0]], axis=0)


def test_folds_of_one_class_have_no_part_in_the_chance_line():
    assert chance_line([[10, 10], [7, 0]]) == chance_line([10, 10])
    assert np.isnan(chance_line([[0, 7]]))


@pytest.mark.parametrize("counts", [[5], [[3], [4]]])
def test_a_chance_line_of_one_class_is_refused(counts):
    with pytest.raises(ValueError, match="at least two classes"):
        chance_line(counts)


@pytest.mark.parametrize("n_folds", [2, 5])
def test_the_line_of_folds_that_train_each_other_holds_for_pipelines_that_know_nothing(n_folds):
    """Of independent guesses' line 12 % of such sets are beyond."""
    generator, above, n_sets = np.random.default_rng(0), 0, 400
    for _ in range(n_sets):
        y, x = np.tile([0, 1], 20), generator.normal(size=(40, 7))
        folds = [np.arange(40) // (40 // n_folds) == fold for fold in range(n_folds)]
        scores = [
            roc_auc_score(y[test], LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5).fit(x[~test], y[~test]).decision_function(x[test]))
            for test in folds
        ]
        above += np.mean(scores) > chance_line([np.bincount(y[test]) for test in folds])
    # A share of .05 of 400 sets is off by .011 (one standard deviation).
    assert above / n_sets <= 0.05 + 3 * 0.011


@pytest.mark.parametrize("n_folds", [2, 5])
def test_the_line_of_such_folds_holds_for_more_classes_too(n_folds):
    """Of independent guesses' line 8 % of such sets are beyond."""
    generator, above, n_sets = np.random.default_rng(0), 0, 2000
    for _ in range(n_sets):
        y, x = generator.permutation(np.tile(np.arange(4), 30)), generator.normal(size=(120, 7))
        folds = [np.arange(120) // (120 // n_folds) == fold for fold in range(n_folds)]
        scores = [mean_recall(y[test], nearest_mean(x[~test], y[~test], x[test])) for test in folds]
        above += np.mean(scores) > chance_line([np.bincount(y[test], minlength=4) for test in folds])
    # A share of .05 of 2000 sets is off by .005 (one standard deviation).
    assert above / n_sets <= 0.05 + 3 * 0.005


@pytest.mark.parametrize(("layout", "n_classes"), [((4, 4), 2), ((11, 2), 2), ((11, 2), 3)])
def test_the_line_of_means_over_subjects_holds_for_equally_and_unequally_many_folds(layout, n_classes):
    """Linear discriminants of noise. Of the line that takes all folds alike 12 and 9 % of the unequal sets are beyond."""
    generator, above, n_sets, units = np.random.default_rng(0), 0, 1000, np.repeat(np.arange(len(layout)), layout)
    counts = [np.bincount(np.arange(18) % n_classes)] * sum(layout)
    line = chance_line(counts, units=units)
    for _ in range(n_sets):
        means = []
        for n_folds in layout:
            y, x = np.tile(np.arange(18) % n_classes, (n_folds, 1)), generator.normal(size=(n_folds, 18, 5))
            rest = [np.arange(n_folds) != fold for fold in range(n_folds)]
            means.append(np.mean([discriminant_score(x[own].reshape(-1, 5), y[own].ravel(), x[~own][0], y[~own][0]) for own in rest]))
        above += np.mean(means) > line
    # A share of .05 of 1000 sets is off by .007 (one standard deviation).
    assert above / n_sets <= 0.05 + 3 * 0.007


def discriminant_score(x, y, more, labels):
    """ROC-AUC, or the mean recall of more than two classes, of linear discriminants whose covariance is shrunk by half."""
    means = np.stack([x[y == label].mean(axis=0) for label in np.unique(y)])
    covariance = np.cov((x - means[y]).T, bias=True)
    weights = np.linalg.solve(covariance / 2 + np.eye(x.shape[1]) * np.trace(covariance) / (2 * x.shape[1]), means.T)
    answers = more @ weights - (means * weights.T).sum(axis=1) / 2
    if len(means) > 2:
        return mean_recall(labels, answers.argmax(axis=1))
    scores = answers[:, 1] - answers[:, 0]
    return (scores[labels == 1][:, None] > scores[labels == 0]).mean()


def test_folds_that_lack_classes_are_guessed_among_those_that_they_hold():
    """Always naming one of two classes that a fold holds has a balanced accuracy of ½ there, and no more than chance."""
    labels, probabilities = np.array(["a"] * 7 + ["b"] * 3), np.tile([1.0, 0.0, 0.0], (10, 1))
    scored = score_predictions(labels, probabilities, "abc")
    assert scored["score"] == scored["chance"] == 0.5
    assert score_predictions(labels[:7], probabilities[:7], "abc")["chance"] == 1 / 3
    for counts in ([7, 3, 0], [5, 5, 0], [[7, 3, 0], [7, 0, 5]], [[7, 3, 0]] * 41):
        assert chance_line(counts) > 0.5
    assert chance_line([[7, 3, 0], [7, 0, 5]] * 29) < 0.6
    # one in two and one in three of a mean over two folds
    assert 5 / 12 < chance_line([[50, 50, 0], [50, 50, 50]]) < 5 / 12 + 0.15


def nearest_mean(x, y, more):
    means = np.stack([x[y == label].mean(axis=0) for label in range(4)])
    return (more @ means.T - (means**2).sum(axis=1) / 2).argmax(axis=1)


def mean_recall(y, answers):
    return np.mean([np.mean(answers[y == label] == label) for label in np.unique(y)])

"""Order warnings speak where a class is told by where, when or after what it was recorded, and are silent where order is random."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, kstest

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.folds import cross_subject, within_session
from sigvit.evidence.groups import read_groups
from sigvit.evidence.order_warnings import _guesses, _stratified_independence, order_warnings


def table(labels: np.ndarray, n_runs: int = 2) -> pd.DataFrame:
    """Runs of one session with these labels in time."""
    metadata = synthetic_windows(n_subjects=1, n_runs=n_runs, n_trials=len(labels) // n_runs).metadata
    return metadata.assign(label=labels)


def warned(metadata: pd.DataFrame, **by: object) -> list[str]:
    return order_warnings(read_groups(metadata), within_session(metadata, **by))


def test_random_order_gives_no_warning() -> None:
    """Each warning asks for p < .001, the Markov test for p < .01: 30 random sets give one or none."""
    generator = np.random.default_rng(0)
    sentences = [sentence for _ in range(30) for sentence in warned(table(generator.permutation(np.repeat(["a", "b", "c"], 40)))) if sentence]
    assert len(sentences) <= 1


def test_classes_in_blocks_are_told_by_blocks_previous_label_and_time() -> None:
    labels = np.tile(np.repeat(["rest", "task"], 20), 4)
    sentences = warned(table(labels), k=10, by="block")
    assert any(sentence.startswith("Classes come in blocks: the class changes 6 times within the recordings") for sentence in sentences)
    assert any("Time alone tells the class" in sentence for sentence in sentences)
    assert any("repeated classes" in sentence for sentence in sentences)


def test_the_same_order_in_every_run_is_told_by_time_even_when_runs_are_left_out() -> None:
    labels = np.tile(np.repeat(["rest", "task", "rest", "task"], 11), 3)
    assert any("Time alone tells the class" in sentence for sentence in warned(table(labels, n_runs=3)))


def test_alternating_classes_are_told_by_the_label_before() -> None:
    generator = np.random.default_rng(0)
    flips = np.cumsum(generator.random(60) < 0.77)
    (sentence,) = warned(table(np.array(["left", "right"])[flips % 2]))
    assert "The label before tells the next" in sentence
    assert "alternating classes" in sentence


def test_runs_with_other_classes_are_told_by_recording_and_not_by_the_label_before() -> None:
    """Motor imagery of four classes where each run holds two: the pair is known from the run, the order inside it is random."""
    generator = np.random.default_rng(1)
    labels = np.concatenate([generator.permutation(np.repeat(pair, 11)) for pair in (["left", "right"], ["fists", "feet"]) * 3])
    sentences = warned(table(labels, n_runs=6))
    assert [sentence.split(":")[0] for sentence in sentences] == ["Classes are confounded with recordings"]
    assert "6 of 6 recordings lack a class" in sentences[0]


def test_windows_of_one_trial_count_once() -> None:
    """Five windows a trial repeat its label: that is no Markov chain of trials."""
    generator = np.random.default_rng(2)
    metadata = table(np.repeat(generator.permutation(np.repeat(["a", "b"], 30)), 5))
    assert warned(metadata.assign(trial=metadata.index // 5)) == []
    assert any("repeated classes" in sentence for sentence in warned(metadata))


def test_without_a_clock_nothing_is_said_of_order() -> None:
    metadata = table(np.repeat(["a", "b"], 40), n_runs=1).assign(start_s=np.nan, stop_s=np.nan)
    assert warned(metadata) == []


def test_one_class_has_no_order() -> None:
    metadata = synthetic_windows().metadata
    assert order_warnings(read_groups(metadata.assign(label="a")), cross_subject(metadata)) == []


def test_stratified_test_of_one_stratum_is_the_chi_squared_test() -> None:
    """With one stratum the statistic is Pearson's times (n - 1) / n."""
    counts = np.random.default_rng(0).integers(5, 30, (3, 3)).astype(float)
    scale = (counts.sum() - 1) / counts.sum()
    pearson = chi2_contingency(counts, correction=False)
    scaled = chi2_contingency(counts * scale, correction=False)
    assert _stratified_independence(counts[None]) == pytest.approx(scaled.pvalue, rel=1e-9)  # both are float64 sums of nine numbers
    assert pearson.pvalue < scaled.pvalue


@pytest.mark.slow
def test_markov_test_is_right_about_its_error_rate() -> None:
    """Random orders of unlike recordings: p is uniform (chance of failing a right test 1 in 1000)."""
    generator = np.random.default_rng(0)
    p = []
    for _ in range(400):
        tables = np.zeros((6, 3, 3))
        for stratum, counts in zip(tables, ([20, 20, 0], [0, 20, 20], [40, 10, 10]) * 2, strict=True):
            order = generator.permutation(np.repeat([0, 1, 2], counts))
            np.add.at(stratum, (order[:-1], order[1:]), 1)
        p.append(_stratified_independence(tables))
    assert kstest(p, "uniform").pvalue > 0.001


def many_warned(labels: np.ndarray) -> list[str]:
    """The folds are those of two classes: of many each fold's training part lacks some."""
    return order_warnings(read_groups(table(labels)), within_session(table(np.resize(["a", "b"], len(labels)))))


def test_many_classes_take_no_memory_of_all_pairs_of_pairs() -> None:
    """Of 31 classes a covariance of all pairs alone has 31⁴ numbers, 7.4 MB."""
    labels = np.random.default_rng(0).permutation(np.repeat([f"c{number:02d}" for number in range(31)], 8))
    tracemalloc.start()
    sentences = many_warned(labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sentences == []
    assert peak < 2**20  # a few copies of 248 rows


@pytest.mark.parametrize("labels", [np.tile(np.random.default_rng(0).permutation(37), 6), np.repeat(np.random.default_rng(0).permutation(74) // 2, 3)])
def test_the_label_before_tells_the_next_of_many_classes(labels: np.ndarray) -> None:
    """The same order again and again, or each class three times in a row; in random order 1 of 37 labels is named right."""
    sentences = [sentence for sentence in many_warned(labels.astype(str)) if sentence.startswith("The label before tells the next")]
    assert len(sentences) == 1
    assert "in random order; p < .0001" in sentences[0]


def test_random_order_of_many_classes_gives_no_warning() -> None:
    generator = np.random.default_rng(0)
    sentences = [sentence for _ in range(10) for sentence in many_warned(generator.permutation(np.repeat([f"c{number}" for number in range(37)], 6)))]
    assert len(sentences) <= 1  # each test asks for p < .01, as above


def test_a_tie_between_neighbours_in_time_goes_to_the_first_class() -> None:
    """Votes are counted per class that is near: the same guesses as from a table of all classes."""
    generator = np.random.default_rng(3)
    metadata = table(generator.choice(["a", "b", "c", "d", "e"], 120))
    groups = read_groups(metadata)
    fold = within_session(metadata)[0]
    seconds = groups.start_s - groups.start_s.min()
    truth, guess = _guesses(groups, seconds, fold)
    train = np.union1d(fold.train, fold.validation)
    weight = 1 / np.bincount(groups.label[train])
    for row, guessed in zip(fold.test, guess, strict=True):
        first = np.clip(np.searchsorted(seconds[train], seconds[row]) - 2, 0, len(train) - 5)
        votes = np.bincount(groups.label[train[first : first + 5]], minlength=5) * weight
        assert guessed == votes.argmax()
    assert (truth == groups.label[fold.test]).all()

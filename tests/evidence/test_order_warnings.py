"""Order warnings speak where a class is told by where, when or after what it was recorded, and are silent where order is random."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, kstest

from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence.fold import Fold
from sigvit.evidence.folds import cross_subject, within_session
from sigvit.evidence.groups import read_groups
from sigvit.evidence.order_warnings import _balanced_accuracy, _changes, _guesses, _stratified_independence, order_warnings


def table(labels: np.ndarray, n_runs: int = 2) -> pd.DataFrame:
    """Runs of one session with these labels in time."""
    metadata = synthetic_windows(n_subjects=1, n_runs=n_runs, n_trials=len(labels) // n_runs).metadata
    return metadata.assign(label=labels)


def warned(metadata: pd.DataFrame, **by: object) -> list[str]:
    return order_warnings(read_groups(metadata), within_session(metadata, **by))


def recorded(*recordings: Iterable[object]) -> pd.DataFrame:
    """One person's recordings with these labels in time, a trial every two seconds."""
    found = [(str(number), 2.0 * trial, str(label)) for number, labels in enumerate(recordings) for trial, label in enumerate(labels)]
    metadata = pd.DataFrame(found, columns=["run", "start_s", "label"])
    return metadata.assign(subject="1", session="1", recording=metadata["run"], stop_s=metadata["start_s"] + 1, trial=metadata.index)


def told(metadata: pd.DataFrame, beginning: str) -> list[str]:
    """The warnings that begin so, where every second trial is tested."""
    rows = np.arange(len(metadata))
    return [sentence for sentence in order_warnings(read_groups(metadata), [Fold(rows[::2], [], rows[1::2])]) if sentence.startswith(beginning)]


def test_random_order_gives_no_warning() -> None:
    """Each warning asks for p < .001, the Markov test for p < .01: 30 random sets give one or none."""
    generator = np.random.default_rng(0)
    sentences = [sentence for _ in range(30) for sentence in warned(table(generator.permutation(np.repeat(["a", "b", "c"], 40)))) if sentence]
    assert len(sentences) <= 1


def test_classes_in_blocks_are_told_by_blocks_previous_label_and_time() -> None:
    labels = np.tile(np.repeat(["rest", "task"], 20), 4)
    sentences = warned(table(labels), k=10, by="block")
    assert any(
        sentence.startswith("Classes come in blocks: the class changes 6 times within the recordings, in random order it would 80 times")
        for sentence in sentences
    )
    assert any("Time alone tells the class" in sentence for sentence in sentences)
    assert any("repeated classes" in sentence for sentence in sentences)


def test_the_order_of_rows_tells_nothing() -> None:
    metadata = table(np.tile(np.repeat(["rest", "task"], 11), 4))
    sentences = warned(metadata, by="run")
    assert len(sentences) == 3
    assert warned(metadata.sample(frac=1, random_state=0, ignore_index=True), by="run") == sentences


@pytest.mark.parametrize("later_s", [0.0, 977.0])
def test_the_same_order_in_every_run_is_told_by_time_even_when_runs_are_left_out(later_s: float) -> None:
    """Whatever the clock of a run begins with."""
    metadata = table(np.tile(np.repeat(["rest", "task", "rest", "task"], 11), 3), n_runs=3)
    shift = later_s * metadata["run"].astype(int)
    metadata = metadata.assign(start_s=metadata["start_s"] + shift, stop_s=metadata["stop_s"] + shift)
    assert any("Time alone tells the class" in sentence for sentence in warned(metadata))


@pytest.mark.parametrize("n_runs", [2, 12])
def test_alternating_classes_are_told_by_the_label_before(n_runs: int) -> None:
    """In two long recordings as in twelve of five trials."""
    generator = np.random.default_rng(0)
    flips = np.cumsum(generator.random(60) < 0.77)
    (sentence,) = warned(table(np.array(["left", "right"])[flips % 2], n_runs))
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


def test_changes_of_class_have_the_moments_of_all_orders() -> None:
    changes = [np.count_nonzero(np.diff(order)) for order in itertools.permutations([0, 0, 0, 1, 1, 2, 2])]
    assert _changes(np.array([3.0, 2.0, 2.0])) == pytest.approx((np.mean(changes), np.var(changes)), rel=1e-12)  # sums of 5040 small whole numbers


def test_balanced_accuracy_of_guessing_has_the_moments_of_all_guesses() -> None:
    """Of 7 trials 2 of 4, 1 of 2 and 1 of 1 are named right, one is named a class that none has."""
    truth, guess = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 3, 1, 0, 2])
    every = np.indices((4,) * 7).reshape(7, -1)
    share = (np.array([3, 2, 1, 1]) / 7)[every].prod(axis=0)
    balanced = np.mean([(every[truth == label] == label).mean(axis=0) for label in range(3)], axis=0)
    mean = share @ balanced
    assert _balanced_accuracy(truth, guess) == pytest.approx((2 / 3, mean, np.sqrt(share @ (balanced - mean) ** 2)), rel=1e-9)  # sums of 4**7 shares


def test_recordings_of_few_trials_are_told_where_each_holds_one_class() -> None:
    """Shuffled, 11 recordings of two trials of two about equally common classes all hold one class less than once in a thousand times."""
    (sentence,) = told(recorded(*["aa", "bb"] * 5, "aa", *"abababb"), "")
    assert sentence.startswith("Every one of 18 recordings holds one class")
    (sentence,) = told(recorded(*["aa", "bb"] * 20, "ab"), "Classes are confounded")
    assert "names 99% of classes right (the commonest class 50%; p = 0.0002); 40 of 41 recordings lack a class" in sentence


def test_recordings_of_one_trial_are_not_counted() -> None:
    """Of ten trials of rare classes nine are alone, as 22 others are: with those p is .00001, and below .001 in 1 of 70 shuffled sets."""
    alone = "b" * 4 + "c" * 5 + "a" * 22
    for metadata in (recorded("a" * 12 + "b", "a" * 13, "a" * 13, *alone), recorded(*alone)):
        assert told(metadata, "Classes are confounded") == []


def test_how_well_the_recording_names_the_class() -> None:
    """29 + 11 + 13 of 68 by the commonest class of each recording, 41 by the commonest of all; trials that are alone don't count."""
    alone = "b" * 4 + "c" * 5 + "a" * 22
    (sentence,) = told(recorded("a" * 29 + "b" * 3, "a" * 5 + "b" * 11, "a" * 7 + "b" * 13, *alone), "Classes are confounded")
    assert "names 78% of classes right (the commonest class 60%; p < .0001); 0 of 3 recordings lack a class" in sentence


@pytest.mark.parametrize(("n", "n_sentences"), [(76, 1), (80, 0)])
def test_what_the_recording_tells_matters_from_a_twentieth(n: int, n_sentences: int) -> None:
    """Of n + 21 trials 5 more are named right by the recording than by the commonest class; p is below .0001 in both."""
    assert len(told(recorded("a" * n + "bb", "a" * 7 + "b" * 12), "Classes are confounded")) == n_sentences


def test_changes_are_summed_over_recordings() -> None:
    """11 of two classes each: 11 changes with variance 242 × 220 / (22² × 21) in each recording (Wald and Wolfowitz, 1940); 11 of 22 are 3.40 deviations."""
    (sentence,) = told(recorded("aaabbbaaaabbbbaaaabbbb", "aaabbbbaabbbbaaabbbaaa"), "Classes come in blocks")
    assert "changes 11 times within the recordings, in random order it would 22 times (p = 0.0003)" in sentence


@pytest.mark.parametrize(("n_doubled", "n_sentences"), [(18, 0), (19, 1)])
def test_fewer_changes_matter_from_a_twentieth(n_doubled: int, n_sentences: int) -> None:
    """37 classes 7 times each change 252 times in random order, here 258 - n_doubled times; 239.4 is a twentieth less."""
    labels = [*np.repeat(range(n_doubled), 2), *range(n_doubled, 37), *range(n_doubled, 37), *np.tile(range(37), 5)]
    assert len(told(recorded(labels), "Classes come in blocks")) == n_sentences


def test_how_well_the_label_before_names_the_next() -> None:
    """Pairs of both recordings: ab 15, ac 26, ba 22, bc 6, ca 19, cb 14. The commonest next labels are 29 a of 64 and 17 c of 38."""
    order = "abababacacacb"
    (sentence,) = told(recorded(order * 5, order.translate(str.maketrans("abc", "cab")) * 3), "The label before")
    assert "66% of 102 labels are named right by the one before (45% by the commonest; Markov test p < .0001; alternating classes, 100% changes)" in sentence


@pytest.mark.parametrize(("n", "n_sentences"), [(18, 1), (19, 0)])
def test_the_label_before_matters_from_a_twentieth(n: int, n_sentences: int) -> None:
    """11 × n times a and three times b: of 11 (n + 3) - 1 labels 12 more are named right than by the commonest, 5.2 or 4.98 of a hundred."""
    assert len(told(recorded(("a" * n + "bbb") * 11), "The label before")) == n_sentences


def test_how_well_earlier_pairs_of_many_classes_name_the_next() -> None:
    """All 61 + 14 next labels; by chance 121/61 of the first, where each of 1 … 30 is guessed twice and once 0, and 14 of the second.

    What follows 0 and 2 in the second recording is rarer than what follows them in the first.
    """
    (sentence,) = told(recorded([*range(31)] * 4, [0, 2, *["x"] * 27]), "The label before")
    assert "100% of 75 labels are named right by what followed the one before earlier on (21% in random order; p < .0001)" in sentence


@pytest.mark.parametrize(("n", "hits", "n_sentences"), [(37, 5, 0), (37, 6, 1), (181, 14, 0), (181, 15, 1)])
def test_pairs_of_many_classes_matter_where_rare_and_from_a_twentieth(n: int, hits: int, n_sentences: int) -> None:
    """Of 31 classes in a circle each is n times followed by the next one, then `hits` times, then by the one after it.

    By chance 1.3 of 37 are right, 5 or more with p = .011; of 181 5.8, and a twentieth above that is 14.9.
    """
    steps = np.repeat([1, 2], [n + hits, n - hits])
    assert len(told(recorded(np.cumsum([0, *steps]) % 31), "The label before")) == n_sentences


@pytest.mark.parametrize(("n_right", "n_sentences"), [(17, 0), (18, 1)])
def test_what_time_tells_matters_from_a_twentieth(n_right: int, n_sentences: int) -> None:
    """31 times 7 tested trials among 5 of one class, each class 7 times: by chance 1 of 31 is right, a twentieth more is 17.9 of 217."""
    near, other = np.arange(31), np.roll(np.arange(31), 1)
    first = np.concatenate([near[:n_right], np.roll(near[n_right:], 1)])
    columns = np.stack([near, near, first, *[other] * 6, near, near, near], axis=1)
    tested = np.isin(np.arange(columns.size) % 12, np.arange(2, 9))
    fold = Fold(np.flatnonzero(~tested), [], np.flatnonzero(tested))
    sentences = order_warnings(read_groups(recorded(columns.ravel())), [fold])
    assert sum(sentence.startswith("Time alone") for sentence in sentences) == n_sentences


def guessed(metadata: pd.DataFrame, fold: Fold) -> str:
    groups = read_groups(metadata)
    return "".join(groups.classes[code] for code in _guesses(groups, groups.start_s, fold)[1])


@pytest.mark.parametrize(("n_own", "expected"), [(4, "b"), (5, "a")])
def test_neighbours_in_time_are_of_the_same_recording_where_it_has_five(n_own: int, expected: str) -> None:
    """The first trial is tested; in order of time the other recording has 3 of the 5 nearest."""
    metadata = recorded("a" + "a" * n_own, "b" * n_own)
    assert guessed(metadata, Fold(np.arange(1, len(metadata)), [], [0])) == expected


def test_fewer_than_five_neighbours_vote_once_each() -> None:
    """By shares of the classes a and both b weigh the same, and the first class wins."""
    assert guessed(recorded("aabb"), Fold([1, 2, 3], [], [0])) == "a"


def test_trials_without_a_clock_are_no_neighbours_and_not_guessed() -> None:
    metadata = recorded("aaaaabbbbbb", "aaaaabbbbbb", "b" * 13)
    clocked = metadata["run"] != "2"
    metadata = metadata.assign(start_s=metadata["start_s"].where(clocked), stop_s=metadata["stop_s"].where(clocked))
    tested = [*range(11), 22, 23]
    assert guessed(metadata, Fold(np.setdiff1d(np.arange(35), tested), [], tested)) == "aaaaabbbbbb"
    assert guessed(metadata, Fold(np.arange(22, 35), [], np.arange(11))) == ""

"""Classical halves are fitted once for all fits that have them in common, and once for all starts of a run that is killed."""

import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
from joblib import Parallel

from sigvit.data.synthetic import synthetic_windows
from sigvit.estimators import FitJob, SignalViTClassifier
from sigvit.evidence import baselines
from sigvit.evidence.fingerprint import fingerprint
from sigvit.halves import Halves
from sigvit.training.many import Plan
from sigvit.training_part import TrainingPart


class OtherVersion:
    """Warns when it is read again, as scikit-learn's estimators do in another version."""

    def __setstate__(self, state):
        warnings.warn("made by another version", UserWarning, stacklevel=1)

    def __getstate__(self):
        return {"is": "here"}


def part(seed: int = 0, groups: np.ndarray | None = None) -> TrainingPart:
    return TrainingPart(np.random.default_rng(seed).normal(size=(7, 3, 11)), np.arange(7) % 2, groups, None, 3)


def numbered(fits: list):
    """Fits a new half each time it is asked."""
    return lambda part: fits.append(part) or f"half {len(fits)}"


def test_fits_on_one_part_share_a_half_and_other_starts_find_it(tmp_path):
    fits, one, same = [], part(), part()
    halves = Halves(tmp_path)
    assert [halves.once(each, numbered(fits)) for each in (one, one, same)] == ["half 1"] * 3
    assert Halves(tmp_path).once(part(), numbered(fits)) == "half 1"
    assert [path.suffix for path in tmp_path.iterdir()] == [".pickle"]
    kept_nowhere = Halves()
    assert [kept_nowhere.once(each, numbered(fits)) for each in (one, one, same)] == ["half 2", "half 2", "half 3"]


OTHERS = [part(1), part(0, np.arange(7) % 3), replace(part(), targets=np.arange(7) % 3), replace(part(), electrodes={"sfreq": 100.0})]


@pytest.mark.parametrize("other", OTHERS)
def test_other_windows_groups_labels_or_rates_have_another_half(tmp_path, other):
    fits = []
    for each in (part(), other):
        Halves(tmp_path).once(each, numbered(fits))
    assert len(fits) == 2


def told_where(part: TrainingPart) -> tuple[int, str]:
    """The process that fits it, and what it was fitted on."""
    if part.targets.all():
        raise ValueError("A part of one class.")
    return os.getpid(), fingerprint(part.signals)


def test_halves_are_fitted_side_by_side_and_read_by_the_fits_that_ask(tmp_path):
    """Each part once, in other processes, under its own name in errors, and kept for who starts again."""
    halves, one, other = Halves(tmp_path), part(0), part(1)
    wanted = [("first", one, told_where), ("another seed of it", one, told_where), ("second", other, told_where)]
    halves.ahead(wanted, processes=2)
    assert len(list(tmp_path.iterdir())) == 2
    found = [halves.once(each, numbered([])) for each in (one, other)]
    assert [text for _, text in found] == [fingerprint(each.signals) for each in (one, other)]
    assert os.getpid() not in dict(found)
    one_class = TrainingPart(part(2).signals, np.ones(7, int), None, None, 3)
    with pytest.raises(ValueError, match="third: A part of one class"):
        halves.ahead([("third", one_class, told_where), ("fourth", part(3), told_where)], processes=2)


class Restarting(Parallel):
    """Warns as joblib does where it takes torch in a worker for a leak of memory."""

    def __call__(self, calls):
        warnings.warn("A worker stopped while some jobs were given to the executor.", stacklevel=1)
        return super().__call__(calls)


def test_workers_that_joblib_starts_afresh_are_not_told(monkeypatch):
    monkeypatch.setattr("sigvit.halves.Parallel", Restarting)
    halves, one, other = Halves(), part(0), part(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        halves.ahead([("first", one, told_where), ("another seed of it", one, told_where), ("second", other, told_where)], processes=2)
        with pytest.raises(UserWarning, match="A worker stopped"):
            Restarting(n_jobs=1)([])
    # Also without a folder they are given to who asks.
    assert [halves.once(each, numbered([]))[1] for each in (one, other)] == [fingerprint(each.signals) for each in (one, other)]


class OfNumberedProcess(SignalViTClassifier):
    """Its half, a quick one, knows the process that fitted it."""

    def _fit_classical(self, part):
        half = baselines.shrinkage_lda().fit(part.signals, part.targets)
        half.process = os.getpid()
        return half


def test_fit_many_fits_halves_in_as_many_processes_as_it_is_given(monkeypatch):
    monkeypatch.setattr("sigvit.training.many.choose_plan", lambda members, processes: Plan(1))  # what is faster isn't the same each time
    windows = synthetic_windows(n_subjects=3)
    classifier = OfNumberedProcess(training_steps=3, width=8, heads=2, ensemble=False)
    jobs = [FitJob(np.arange(rows), [], 0) for rows in (40, 50)]
    beside, here = classifier.fit_many(windows, jobs, processes=2), classifier.fit_many(windows, jobs)
    assert {each.classical_.process for each in here} == {os.getpid()}
    assert os.getpid() not in {each.classical_.process for each in beside}
    for one, other in zip(beside, here, strict=True):
        np.testing.assert_array_equal(one.predict_proba(windows), other.predict_proba(windows))


@pytest.mark.filterwarnings("default:made by another version")
def test_what_can_not_be_read_as_it_was_written_is_fitted_again(tmp_path):
    Halves(tmp_path).once(part(), numbered([]))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert Halves(tmp_path).once(part(), lambda part: "another") == "another"
    path.unlink()
    Halves(tmp_path).once(part(), lambda part: OtherVersion())
    assert Halves(tmp_path).once(part(), lambda part: "a new one") == "a new one"


class KilledError(Exception):
    pass


def test_a_killed_training_does_not_fit_its_halves_again(tmp_path, monkeypatch):
    windows, fits = synthetic_windows(n_subjects=3), []
    half = lambda self, part: fits.append(part) or baselines.shrinkage_lda().fit(part.signals, part.targets)  # noqa: E731
    monkeypatch.setattr(SignalViTClassifier, "_fit_classical", half)
    classifier = SignalViTClassifier(training_steps=3, width=8, heads=2, ensemble=False)
    jobs = [FitJob(np.arange(rows), [], seed, key=f"{rows}-{seed}") for rows in (40, 50) for seed in (0, 1)]
    with monkeypatch.context() as during:
        during.setattr("sigvit.network_classifier.train_many", killed)
        with pytest.raises(KilledError):
            classifier.fit_many(windows, jobs, tmp_path)
    assert len(fits) == 2
    found = classifier.fit_many(windows, jobs, tmp_path)
    assert len(fits) == 2
    for one, other in zip(found, classifier.fit_many(windows, jobs), strict=True):
        np.testing.assert_array_equal(one.predict_proba(windows), other.predict_proba(windows))


def killed(*_, **__):
    raise KilledError

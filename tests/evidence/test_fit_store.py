"""Who finishes removes the state of its own trainings, and nobody else's."""

import pytest

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.evidence import baselines
from sigvit.evidence.cross_validation import cross_validate
from sigvit.evidence.fit_store import TRAINING, remove_finished

KEYS = ["a" * 64, "b" * 64, "c" * 64]


@pytest.fixture
def training(tmp_path):
    """Two that ran together, one of them in several networks, and one alone; a classical half and the claims are anybody's."""
    folder = tmp_path / TRAINING
    for name in ("together-0123", f"alone-{KEYS[2]}-1", "halves"):
        (folder / name).mkdir(parents=True)
    (folder / "together-0123" / "members.txt").write_text(f"{KEYS[0]}\n{KEYS[0]}-1\n{KEYS[1]}")
    (folder / "claims").touch()
    return folder


def names(folder) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_state_stays_while_one_of_its_fits_is_not_finished(training, tmp_path):
    remove_finished(tmp_path, [])
    remove_finished(tmp_path, ["d" * 64])
    remove_finished(tmp_path, KEYS[:1])
    assert names(training) == {"together-0123", f"alone-{KEYS[2]}-1", "halves", "claims"}
    remove_finished(tmp_path, KEYS[:2])
    assert names(training) == {f"alone-{KEYS[2]}-1", "halves", "claims"}
    remove_finished(tmp_path, KEYS[2:])
    assert not training.exists()
    remove_finished(tmp_path, KEYS)


def test_another_pipeline_in_the_same_folder_leaves_the_state_of_a_killed_one(training, tmp_path):
    windows = synthetic_windows(n_subjects=3)
    folds = sigvit.folds.cross_subject(windows.metadata)
    quick = sigvit.SignalViTClassifier(training_steps=2, ensemble=False, width=8, heads=2, classical=None)
    for pipeline in (baselines.majority(), quick):
        cross_validate({"other": pipeline}, windows, folds[:1], folder=tmp_path)
        assert names(training) == {"together-0123", f"alone-{KEYS[2]}-1", "halves", "claims"}


def test_without_state_of_others_a_pipeline_that_trains_nothing_leaves_what_anybody_may_need(tmp_path):
    (tmp_path / TRAINING / "halves").mkdir(parents=True)
    windows = synthetic_windows(n_subjects=3)
    cross_validate({"Majority": baselines.majority()}, windows, sigvit.folds.cross_subject(windows.metadata)[:1], folder=tmp_path)
    assert names(tmp_path / TRAINING) == {"halves"}

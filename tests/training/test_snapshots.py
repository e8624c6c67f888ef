"""Snapshots are taken as often as asked for, also by workers, and the newest of a training is read."""

from types import SimpleNamespace

import pytest

from sigvit.training import snapshots
from sigvit.training.snapshots import Snapshots


def members(*keys: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(key=key) for key in keys]


def test_a_snapshot_is_due_so_many_seconds_after_the_last(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(snapshots, "time", SimpleNamespace(monotonic=lambda: now[0]))
    both = members("a", "b")
    with Snapshots(tmp_path, seconds=7) as kept:
        kept.load(both)
        due = []
        for now[0] in (101.0, 106.9, 107.0, 113.9, 114.0):
            due.append(kept.due(both))
            if due[-1]:
                kept.save(both, {"a": {"step": 1}})
    assert due == [False, False, True, False, True]


def test_workers_save_as_often_and_claim_nothing_again(tmp_path):
    sent = Snapshots(tmp_path, seconds=7).for_worker()
    assert (sent.folder, sent.seconds, sent._claims) == (tmp_path, 7, None)


@pytest.mark.parametrize("companies", [("a", "ab"), ("ab", "a"), ("ab", "abc"), ("abc", "ab")])
def test_the_newest_state_of_a_training_is_read_whatever_its_company_was(tmp_path, companies):
    with Snapshots(tmp_path) as kept:
        for step, keys in zip((3, 5), companies, strict=True):
            kept.save(members(*keys), {key: {"step": step} for key in keys})
    with Snapshots(tmp_path) as again:
        assert again.load(members("a")) == {"a": {"step": 5}}


def test_a_later_snapshot_of_the_same_trainings_takes_the_place_of_the_first_whatever_their_order(tmp_path):
    with Snapshots(tmp_path) as kept:
        for step, keys in ((3, "ab"), (5, "ba")):
            kept.save(members(*keys), {key: {"step": step} for key in keys})
    assert len(list(tmp_path.glob("together-*"))) == 1
    assert len(list(tmp_path.glob("together-*/step_*"))) == 1
    with Snapshots(tmp_path) as again:
        assert again.load(members("a", "b")) == {"a": {"step": 5}, "b": {"step": 5}}

"""The fastest way is measured once, remembered, and never slower than one after the other."""

import json

import joblib
import pytest
import torch

import sigvit
from sigvit.training import plan
from sigvit.training.many import Member, train_many
from sigvit.training.plan import Plan, Seconds, choose_plan
from sigvit.training.recipe import Recipe


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(plan, "_remembered", {})
    return tmp_path / "sigvit" / "seconds.json"


def members(count: int = 5, steps: int = 3) -> list[Member]:
    values, targets = torch.randn(23, 3, 83), torch.arange(23) % 2
    models = [sigvit.signal_vit(3, 83, width=8, heads=2) for _ in range(count)]
    return [Member(model, values, targets, Recipe(steps=steps, batch_size=7), seed) for seed, model in enumerate(models)]


def measured_as(monkeypatch, *answers: list[float]) -> list[int]:
    """Seconds of a step instead of a clock, in the order in which they are asked for; returns the list of how many were asked for at a time."""
    asked = []

    def measure(steps):
        asked.append(len(steps))
        return answers[len(asked) - 1]

    monkeypatch.setattr(plan, "_measure", measure)
    return asked


@pytest.mark.parametrize(
    ("alone", "stacked", "single", "expected"),
    [
        (1.0, [1.5, 2.0], [2.1, 3.0, 9.0], Plan(10)),
        (1.0, [1.5, 8.0], [2.1, 3.0, 19.0], Plan(3)),
        (1.0, [2.7, 8.0], [2.1, 1.5, 9.0], Plan(3, processes=2)),
        (1.0, [2.7, 8.0], [1.2, 4.5, 15.0], Plan(1, processes=2)),
        (1.0, [3.0, 11.0], [2.1, 6.1, 21.0], Plan(1)),
        (1.0, [2.95, 9.9], [2.1, 6.1, 21.0], Plan(1)),
    ],
)
def test_the_fastest_is_taken_and_one_after_the_other_where_nothing_is_clearly_faster(monkeypatch, alone, stacked, single, expected):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    measured_as(monkeypatch, [alone, stacked[1]], [alone, *stacked], single)
    assert choose_plan(members(20, steps=100)) == expected


@pytest.mark.parametrize(("stacked", "expected"), [(5e-3, Plan(10)), (12e-3, Plan(1))])
def test_a_short_training_is_stacked_only_if_that_was_found_faster(monkeypatch, cache, stacked, expected):
    asked = measured_as(monkeypatch, [1e-3, stacked])
    assert choose_plan(members(11)) == expected
    assert choose_plan(members(11)) == expected
    assert asked == [2], "measured once"
    assert [told["complete"] for told in json.loads(cache.read_text()).values()] == [False]


def test_a_short_measure_is_of_several_rounds_too(monkeypatch):
    """One round alone is whatever else the machine did."""
    steps, ours = [], plan.Group.step
    monkeypatch.setattr(plan.Group, "step", lambda group: steps.append(len(group)) or ours(group))
    monkeypatch.setattr(plan, "A_TURN", 0.0)
    plan._measure_short(members(11))
    assert steps == [10] * (2 + plan.ROUNDS)


@pytest.mark.parametrize("alone", [5e-3, 9e-3])
def test_what_cannot_be_is_measured_again_and_kept_only_if_it_then_can(monkeypatch, cache, alone):
    """A step of ten models in less than half the time of one: other work went on beside the one."""
    asked = measured_as(monkeypatch, [9e-3, 4e-3], [alone, 4e-3])
    assert choose_plan(members(11)) == Plan(10)
    assert choose_plan(members(11)) == Plan(10)
    assert asked == [2, 2]
    assert cache.exists() == (alone == 5e-3)


def test_sizes_and_processes_that_can_not_be_are_measured_again_too(monkeypatch):
    """Stacks of one thread in a fifth of the time of one model with two: other work went on beside that."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    stacks, single = [1.0, 1.5, 8.0], [2.1, 3.0, 19.0]
    asked = measured_as(monkeypatch, [1.0, 8.0], stacks, [0.2, 0.6, 2.0], stacks, single)
    assert choose_plan(members(20, steps=100)) == Plan(3)
    assert asked == [2, 3, 3, 3, 3]


@pytest.mark.parametrize(("single", "possible"), [(0.13, True), (0.12, False)])
def test_one_thread_is_not_many_times_as_fast_as_two(single, possible):
    assert Seconds(alone=1.0, stacked={3: 0.9}, shared={1: single}, processes=2).is_possible == possible


def test_seconds_of_another_processor_version_or_library_are_not_taken(monkeypatch):
    asked = measured_as(monkeypatch, *[[1e-3, 5e-3]] * 4)
    choose_plan(members(11))
    for holder, name, value in ((plan, "processor_name", lambda: "another"), (sigvit, "__version__", "0.0.7"), (plan, "SLOW_IN_MKL", not plan.SLOW_IN_MKL)):
        with monkeypatch.context() as changed:
            changed.setattr(holder, name, value)
            choose_plan(members(11))
    choose_plan(members(11))
    assert len(asked) == 4


def test_of_ways_that_are_alike_the_smallest_stacks_are_taken():
    found = Seconds(alone=1.0, stacked={3: 0.52, 10: 0.5}, shared={1: 0.33, 5: 0.31, 10: 0.3}, processes=2)
    assert found.plan(steps=10_000) == Plan(5, processes=2)
    assert found.plan(steps=20) == Plan(3)
    assert Seconds(alone=1.0, stacked={3: 0.955, 10: 0.91}).plan(steps=100) == Plan(10), "the one that is clearly faster"


def test_starting_processes_must_pay_in_the_training_that_is_asked_for():
    found = Seconds(alone=1.0, stacked={10: 0.8}, shared={5: 0.4}, processes=2)
    assert found.plan(steps=10_000) == Plan(5, processes=2)
    assert found.plan(steps=15) == Plan(10)


def test_what_was_measured_is_remembered_on_disk_too_and_a_damaged_file_is_measured_again(monkeypatch, cache):
    monkeypatch.setattr(plan, "WORTH_MEASURING_S", 0.0)
    first = choose_plan(members())
    assert [told["complete"] for told in json.loads(cache.read_text()).values()] == [True]
    monkeypatch.setattr(plan, "_measure_short", lambda members: Seconds(1.0, {77: 0.5}))
    monkeypatch.setattr(plan, "_measure_all", lambda members, processes: Seconds(1.0, {77: 0.5}, complete=True))
    assert choose_plan(members()) == first
    plan._remembered.clear()
    assert choose_plan(members()) == first
    plan._remembered.clear()
    cache.write_text(cache.read_text()[:-5])
    assert choose_plan(members()) == Plan(77)


def test_as_many_processes_are_measured_as_are_asked_for(monkeypatch, cache):
    monkeypatch.setattr(plan, "WORTH_MEASURING_S", 0.0)
    choose_plan(members(), processes=3)
    choose_plan(members(), processes=1)
    assert sorted((told["processes"], bool(told["shared"])) for told in json.loads(cache.read_text()).values()) == [(1, False), (3, True)]


@pytest.mark.parametrize("backend", ["sequential", "threading"])
def test_where_joblib_has_no_other_process_none_is_chosen(monkeypatch, cache, backend):
    monkeypatch.setattr(plan, "WORTH_MEASURING_S", 0.0)
    monkeypatch.setattr("sigvit.training.many._train_in_processes", None)
    with joblib.parallel_config(backend):
        assert choose_plan(members(), processes=2).processes == 1
        assert [(told["processes"], told["shared"]) for told in json.loads(cache.read_text()).values()] == [(1, {})]
        assert [history[-1]["step"] for history in train_many(members(), Plan(3, processes=2))] == [3] * 5


def test_measuring_leaves_models_and_the_callers_random_state_alone(monkeypatch):
    monkeypatch.setattr(plan, "WORTH_MEASURING_S", 0.0)
    asked = members()
    before = [{name: tensor.clone() for name, tensor in member.model.state_dict().items()} for member in asked]
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    choose_plan(asked)
    assert torch.equal(torch.rand(3), expected)
    for member, state in zip(asked, before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in member.model.state_dict().items())


def test_train_many_follows_the_choice(monkeypatch):
    sizes = []

    def train_stacked(kind, size, snapshots, outcome):
        sizes.append(size)
        outcome.found |= {member: [] for member in kind}

    monkeypatch.setattr("sigvit.training.many.choose_plan", lambda kind, processes: Plan(2))
    monkeypatch.setattr("sigvit.training.many._train_stacked", train_stacked)
    train_many(members())
    assert sizes == [2]


@pytest.mark.parametrize("home", ["none", "file"])
def test_without_a_home_nothing_is_remembered_on_disk(monkeypatch, tmp_path, home):
    monkeypatch.delenv("XDG_CACHE_HOME")
    (tmp_path / "file").write_text("")

    def own_home():
        if home == "none":
            raise RuntimeError("Could not determine home directory.")
        return tmp_path / "file"

    monkeypatch.setattr(plan.Path, "home", own_home)
    measured_as(monkeypatch, [1e-3, 5e-3])
    assert choose_plan(members(11)) == Plan(10)

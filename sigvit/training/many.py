"""K trainings at once: models of one architecture on different rows, with different seeds and recipes, in one stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sigvit.training.group import Group
from sigvit.training.measured import NotFiniteError
from sigvit.training.member import Member, train_alone
from sigvit.training.snapshots import Snapshots, described, require_same
from sigvit.training.stacked import architecture, can_stack

__all__ = ["Member", "Snapshots", "train_many"]

# Recipes whose fields have these values have a stacked form; the others are trained one after the other.
STACKED = {"optimizer": "adamw", "layer_decay": 1.0, "loss": "softmax", "accumulation": 1}


def train_many(
    members: Sequence[Member],
    size: int | None = None,
    snapshots: Snapshots | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[list[dict[str, float]]]:
    """Train every member's model in place, equal to training one after the other, and leave them in evaluation mode; returns their histories.

    Parameters
    ----------
    members : of any number of architectures; those of one architecture, batch size and number format are stacked.
    size : so many are stacked at most; 1 trains one after the other.
    snapshots : where every member's state is kept, and from where training goes on where it ended.
    on_step : called with the number of steps done by all members together.

    Raises
    ------
    ValueError : a loss or gradient is not finite. The other members are trained to their end first; the message names those that weren't.

    >>> import torch
    >>> from torch import nn
    >>> import sigvit
    >>> from sigvit.training.recipe import Recipe
    >>> values, targets, recipe = torch.randn(12, 3, 80), torch.arange(12) % 2, Recipe(steps=5, batch_size=4)
    >>> members = [Member(sigvit.signal_vit(3, n_times=80), values[rows], targets[rows], recipe, seed) for seed, rows in enumerate((slice(0, 9), slice(3, 12)))]
    >>> [history[-1]["step"] for history in train_many(members)]
    [5, 5]
    """
    members = list(members)
    if snapshots is not None:
        snapshots.require_keys(members)
    outcome = _Outcome(on_step)
    for kind in _kinds(members):
        if size != 1 and len(kind) > 1 and is_stackable(kind[0]):
            _train_stacked(kind, size or len(kind), snapshots, outcome)
        else:
            _train_one_by_one(kind, snapshots, outcome)
    return outcome.histories(members)


def is_stackable(member: Member) -> bool:
    """Whether this member's training has a stacked form; the others go one after the other."""
    return all(getattr(member.recipe, name) == value for name, value in STACKED.items()) and can_stack(member.model)


class _Outcome:
    """What has become of each member."""

    def __init__(self, on_step: Callable[[int], None] | None) -> None:
        self._found: dict[Member, list[dict[str, float]]] = {}
        self._faults: list[str] = []
        self._on_step, self._steps = on_step, 0

    def add(self, member: Member, history: list[dict[str, float]]) -> None:
        self._found[member] = history

    def add_fault(self, member: Member, fault: str) -> None:
        self._faults.append(f"{member.name}: {fault}" if member.name else fault)

    def add_steps(self, count: int) -> None:
        self._steps += count
        if self._on_step is not None:
            self._on_step(self._steps)

    def restore(self, members: Sequence[Member], saved: dict[str, dict[str, Any]]) -> list[Member]:
        """Give those that had ended their final weights; returns the others, those that were in training first, side by side as they were."""
        for member in members:
            if saved.get(member.key, {}).get("ended"):
                require_same(member, saved[member.key])
                member.model.load_state_dict(saved[member.key]["model"])
                member.model.eval()
                self._found[member] = saved[member.key]["history"]
        running = {key: number for number, key in enumerate(saved)}
        return sorted((member for member in members if member not in self._found), key=lambda member: running.get(member.key, len(running)))

    def states(self, members: Sequence[Member]) -> dict[str, dict[str, Any]]:
        """For a snapshot: key → final state of those of these members that have ended."""
        found = {member: self._found[member] for member in members if member in self._found}
        return {
            member.key: {"ended": True, "step": history[-1]["step"], "model": member.model.state_dict(), "history": history, "recipe": described(member)}
            for member, history in found.items()
        }

    def histories(self, members: Sequence[Member]) -> list[list[dict[str, float]]]:
        if self._faults:
            told = "; ".join(self._faults)
            raise NotFiniteError(f"{told}. Lower the learning rate or look for extreme values ({len(self._faults)} of {len(members)} trainings).")
        return [self._found[member] for member in members]


def _kinds(members: Sequence[Member]) -> list[list[Member]]:
    """Members that one stack could hold, together."""
    kinds: dict[tuple, list[Member]] = {}
    for member in members:
        recipe = member.recipe
        fixed = (recipe.dtype, recipe.betas, recipe.compile, is_stackable(member), member.batch_size, tuple(member.values.shape[1:]))
        kinds.setdefault((architecture(member.model), fixed), []).append(member)
    return list(kinds.values())


def _train_one_by_one(members: Sequence[Member], snapshots: Snapshots | None, outcome: _Outcome) -> None:
    for member in members:
        try:
            checkpoints = None if snapshots is None else snapshots.alone(member)
            outcome.add(member, train_alone(member, checkpoints, lambda step: outcome.add_steps(1)))
        except NotFiniteError as error:
            outcome.add_fault(member, str(error))


def _train_stacked(members: Sequence[Member], size: int, snapshots: Snapshots | None, outcome: _Outcome) -> None:
    """A stack of at most `size` members; where some end, those that wait take their places."""
    saved = {} if snapshots is None else snapshots.load(members)
    waiting = outcome.restore(members, saved)
    group: Group | None = None
    while waiting or group:
        if waiting and (not group or len(group) < size):
            count = size - len(group or ())
            group = _joined(group, Group(waiting[:count], saved))
            waiting = waiting[count:]
        assert group is not None
        _to_the_next_look(group, outcome)
        for place in group.leave():
            if place.fault:
                outcome.add_fault(place.member, place.fault)
            else:
                outcome.add(place.member, place.history)
        if snapshots is not None and (snapshots.due() or not (waiting or group)):
            snapshots.save(members, outcome.states(members) | {place.member.key: group.state(k) for k, place in enumerate(group.places)})


def _joined(group: Group | None, other: Group) -> Group:
    if not group:
        return other
    group.join(other)
    return group


def _to_the_next_look(group: Group, outcome: _Outcome) -> None:
    looked = False
    while not looked:
        group.step()
        outcome.add_steps(len(group))
        looked = group.look()

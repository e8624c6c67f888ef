"""K trainings at once: models of one architecture on different rows, with different seeds and recipes, in one stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from joblib import Parallel, delayed
from torch import distributed

from sigvit.training.group import Group
from sigvit.training.measured import NotFiniteError
from sigvit.training.member import Member, train_alone
from sigvit.training.memory import LARGE_BLOCKS
from sigvit.training.plan import Plan, choose_plan, threads
from sigvit.training.settings import exact_convolutions, own_gradients
from sigvit.training.snapshots import Snapshots
from sigvit.training.stackable import architecture, can_stack
from sigvit.training.stacked_optimizer import KERNELS
from sigvit.workers import Parent, no_leak_told, parent_of_workers, possible_processes, work_for

__all__ = ["Member", "Plan", "Snapshots", "train_many"]

# Recipes whose fields have one of these values have a stacked form; the others are trained one after the other.
STACKED: dict[str, tuple] = {"optimizer": tuple(KERNELS), "layer_decay": (1.0,), "loss": ("softmax",), "accumulation": (1,)}

# So long do processes of torch.distributed wait for each other.
LONGEST_TRAINING = timedelta(days=30)


@own_gradients()
def train_many(
    members: Sequence[Member],
    plan: Plan | None = None,
    snapshots: Snapshots | None = None,
    on_step: Callable[[int], None] | None = None,
    processes: int | None = None,
) -> list[list[dict[str, float]]]:
    """Train every member's model in place, equal to training one after the other, and leave them in evaluation mode; returns their histories.

    Parameters
    ----------
    members : of any number of architectures; those of one architecture, batch size and number format are stacked.
    plan : how many are stacked, and in how many processes, where joblib's backend has so many; None takes the fastest way on this machine
        (`sigvit.training.plan.choose_plan`).
    snapshots : where every member's state is kept, and from where training goes on where it ended.
    on_step : called with the number of steps done by all members together.
    processes : at most so many where no plan is given; None: as many as torch has threads.

    Within an initialised process group of torch.distributed (torchrun) each process trains its share and all end with all members; every process must make
    this call with the same members, each on a device of its own.

    Raises
    ------
    ValueError : a loss or gradient is not finite. The other members are trained to their end first; the message names those that weren't. Or a snapshot is of
        another recipe, seed, architecture or tokenizer.
    BlockingIOError : another process trains the same members into the folder of the snapshots.
    RuntimeError : another process of the group couldn't train its share; that one raises the error itself.

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
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        _train_spread(members, plan, snapshots, outcome)
    else:
        _train_here(members, plan, snapshots, outcome, processes)
    return outcome.histories(members)


def _train_here(members: Sequence[Member], plan: Plan | None, snapshots: Snapshots | None, outcome: _Outcome, processes: int | None = None) -> None:
    for kind in _kinds(members):
        if is_stackable(kind[0]):
            _train_kind(kind, plan, snapshots, outcome, processes)
        else:
            _train_one_by_one(kind, snapshots, outcome)


def is_stackable(member: Member) -> bool:
    """Whether this member's training has a stacked form; the others go one after the other."""
    return all(getattr(member.recipe, name) in values for name, values in STACKED.items()) and can_stack(member.model)


@dataclass
class _Outcome:
    """What has become of each member: the history of those that have ended, and what went wrong with the others."""

    on_step: Callable[[int], None] | None = None
    found: dict[Member, list[dict[str, float]]] = field(default_factory=dict)
    faults: dict[Member, str] = field(default_factory=dict)
    steps: int = 0

    def add_steps(self, count: int) -> None:
        self.steps += count
        if self.on_step is not None:
            self.on_step(self.steps)

    def restore(self, members: Sequence[Member], saved: dict[str, dict[str, Any]]) -> list[Member]:
        """Give those that had ended their final weights; returns the others, those that were in training first, side by side as they were."""
        for member in members:
            state = saved.get(member.key, {})
            if state.get("ended"):
                member.require_same(state)
                self._take(member, state)
        running = {key: number for number, key in enumerate(saved)}
        return sorted((member for member in members if member not in self.found), key=lambda member: running.get(member.key, len(running)))

    def final(self, member: Member) -> dict[str, Any]:
        """The final state of a member that has ended, on the CPU, for a snapshot or another process."""
        history, model = self.found[member], {name: tensor.cpu() for name, tensor in member.model.state_dict().items()}
        return {"ended": True, "step": history[-1]["step"], "model": model, "history": history, **member.described()}

    def told(self, members: Sequence[Member]) -> list[dict[str, Any] | str]:
        """For another process: each member's final state, or what went wrong."""
        return [self.final(member) if member in self.found else self.faults[member] for member in members]

    def adopt(self, members: Sequence[Member], told: Sequence[dict[str, Any] | str]) -> None:
        """What another process told of the members that it trained."""
        for member, each in zip(members, told, strict=True):
            if isinstance(each, str):
                self.faults[member] = each
            else:
                self._take(member, each)
                self.add_steps(int(each["step"]))

    def _take(self, member: Member, final: dict[str, Any]) -> None:
        member.model.load_state_dict(final["model"])
        member.model.eval()
        self.found[member] = final["history"]

    def histories(self, members: Sequence[Member]) -> list[list[dict[str, float]]]:
        if self.faults:
            told = [f"{member.name}: {fault}" if member.name else fault for member, fault in self.faults.items()]
            raise NotFiniteError.of_several(told, len(members))
        return [self.found[member] for member in members]


def _kinds(members: Sequence[Member]) -> list[list[Member]]:
    """Members that one stack could hold, together."""
    kinds: dict[tuple, list[Member]] = {}
    for member in members:
        recipe = member.recipe
        fixed = (recipe.dtype, recipe.optimizer, recipe.betas, recipe.compile, is_stackable(member), member.batch_size, tuple(member.values.shape[1:]))
        kinds.setdefault((architecture(member.model), fixed), []).append(member)
    return list(kinds.values())


def _train_kind(members: Sequence[Member], plan: Plan | None, snapshots: Snapshots | None, outcome: _Outcome, processes: int | None) -> None:
    """Members that one stack could hold, on the way that is chosen for them."""
    saved = {} if snapshots is None else snapshots.load(members)
    waiting = outcome.restore(members, saved)
    if not waiting:
        return
    everyone = members
    begun = [] if snapshots is None else [member for member in waiting if member.key not in saved and snapshots.has_alone(member)]
    if begun:
        _train_one_by_one(begun, snapshots, outcome)
        members = waiting = [member for member in waiting if member not in begun]
        if not waiting:
            return
    # By all of them, also those that have ended: another plan than before the kill would round the others' last bits otherwise.
    chosen = plan or (choose_plan(everyone, processes) if len(everyone) > 1 else Plan(1))
    count = possible_processes(min(chosen.processes, len(members)))
    if count > 1:
        _train_in_processes(members, Plan(chosen.size, count), snapshots, outcome)
    elif chosen.size > 1 or any(member.key in saved for member in waiting):
        _train_stacked(members, chosen.size, snapshots, outcome)
    else:
        _train_one_by_one(waiting, snapshots, outcome)


def _train_one_by_one(members: Sequence[Member], snapshots: Snapshots | None, outcome: _Outcome) -> None:
    for member in members:
        checkpoints = None if snapshots is None else snapshots.alone(member)
        try:
            outcome.found[member] = train_alone(member, checkpoints, lambda step: outcome.add_steps(1))
        except NotFiniteError as error:
            outcome.faults[member] = str(error)
        finally:
            if checkpoints is not None:
                checkpoints.let_go()  # the traceback that a notebook keeps of an interrupted training keeps this object too


@LARGE_BLOCKS.kept()
def _train_stacked(members: Sequence[Member], size: int, snapshots: Snapshots | None, outcome: _Outcome) -> None:
    """A stack of at most `size` members; where some end, those that wait take their places."""
    saved = {} if snapshots is None else snapshots.load(members)
    waiting = outcome.restore(members, saved)
    group: Group | None = None
    while waiting or group:
        if waiting and (not group or len(group) < size):
            count = size - len(group or ())
            joining, waiting = Group(waiting[:count], saved), waiting[count:]
            if group:
                group.join(joining)
            else:
                group = joining
        assert group is not None
        _to_the_next_look(group, outcome)
        for place in group.leave():
            if place.fault:
                outcome.faults[place.member] = place.fault
            else:
                outcome.found[place.member] = place.history
        if snapshots is not None and (snapshots.due(members) or not (waiting or group)):
            ended = {member.key: outcome.final(member) for member in members if member in outcome.found}
            running = {place.member.key: group.state(k) for k, place in enumerate(group.places)}
            # Those that were in training before a kill, and for whom this plan has no place yet.
            waits = {member.key: saved[member.key] for member in waiting if member.key in saved}
            snapshots.save(members, ended | running | waits)


def _train_in_processes(members: Sequence[Member], plan: Plan, snapshots: Snapshots | None, outcome: _Outcome) -> None:
    """Stacks in several processes, each with a share of the members; joblib's backend may reach other machines."""
    shares = [members[part :: plan.processes] for part in range(plan.processes)]
    parent, sent = parent_of_workers(), None if snapshots is None else snapshots.for_worker()
    calls = (delayed(_train_share)(number, share, plan.size, sent, parent) for number, share in enumerate(shares))
    with no_leak_told():
        for number, told in Parallel(n_jobs=plan.processes, return_as="generator_unordered")(calls):
            outcome.adopt(shares[number], told)


def _train_spread(members: Sequence[Member], plan: Plan | None, snapshots: Snapshots | None, outcome: _Outcome) -> None:
    """This process' share, and from the others theirs; every kind is shared out evenly."""
    world, rank = distributed.get_world_size(), distributed.get_rank()
    sorted_out = [member for kind in _kinds(members) for member in kind]
    shares = [sorted_out[part::world] for part in range(world)]
    distributed.barrier()  # who doesn't come at all is an error after the caller's own timeout
    # Who is done first waits for the others' training; the caller's group would call that an error after half an hour, or ten minutes.
    gathering = distributed.new_group(backend="gloo", timeout=LONGEST_TRAINING)
    told: list[Any] = [None] * world
    try:
        own = _told_of_share(shares[rank], plan, snapshots)
        distributed.all_gather_object(told, f"{type(own).__name__}: {own}" if isinstance(own, Exception) else own, group=gathering)
    finally:
        distributed.destroy_process_group(gathering)
    if isinstance(own, Exception):
        raise own
    for number, (share, each) in enumerate(zip(shares, told, strict=True)):
        if isinstance(each, str):
            raise RuntimeError(f"Process {number} of the {world} that share the trainings couldn't train its part: {each}")
        outcome.adopt(share, each)


def _told_of_share(members: Sequence[Member], plan: Plan | None, snapshots: Snapshots | None) -> list[dict[str, Any] | str] | Exception:
    """What is told of a process' share, or what ended its training: the other processes wait for either."""
    outcome = _Outcome()
    try:
        _train_here(members, plan, snapshots, outcome)
    except Exception as error:
        return error
    return outcome.told(members)


def _train_share(
    number: int, members: Sequence[Member], size: int, snapshots: Snapshots | None, parent: Parent | None
) -> tuple[int, list[dict[str, Any] | str]]:
    """The share's number, and what is told of its members."""
    work_for(parent)
    outcome = _Outcome()
    with threads(1), exact_convolutions():
        _train_stacked(members, size, snapshots, outcome)
    return number, outcome.told(members)


def _to_the_next_look(group: Group, outcome: _Outcome) -> None:
    looked = False
    while not looked:
        group.step()
        outcome.add_steps(len(group))
        looked = group.look()

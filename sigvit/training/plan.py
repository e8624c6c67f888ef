"""How many trainings go at once, and in how many processes: by seconds measured once on this machine and remembered, so as never to be slower than serial."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import sigvit
from sigvit.model.random_state import borrowed_random_state
from sigvit.processor import processor_name
from sigvit.products import SLOW_IN_MKL
from sigvit.timing import step_seconds
from sigvit.training.distributed import Processes
from sigvit.training.group import Group
from sigvit.training.loop import update
from sigvit.training.member import Member
from sigvit.training.memory import LARGE_BLOCKS
from sigvit.training.stackable import architecture
from sigvit.training.state import TrainingState
from sigvit.whole_file import write_atomically
from sigvit.workers import possible_processes

# Below so many seconds of training all sizes are not worth measuring: then SHORT_SIZE against one after the other.
WORTH_MEASURING_S = 20.0
SHORT_SIZE = 10
SIZES = (3, 10, 25)
ROUNDS, A_TURN = 3, 0.02
# A way must be so much faster than one model after the other, or than smaller stacks, to be preferred to it, since measured seconds spread.
MARGIN = 0.95
# A step of several models takes at least such a share of one model's, and where it has one thread instead of n, an n-th of that share, since threads wait for
# each other; what says otherwise was measured beside other work.
LEAST_SHARE = 0.5
# What it takes to start processes and to load torch in each.
START_S = 8.0
# On a GPU the stack may fill so much of the free memory.
MEMORY_SHARE = 0.7


@dataclass(frozen=True)
class Plan:
    """Stacks of `size` members, 1 meaning one after the other, in so many `processes` with one thread each (1: in this process, with its threads)."""

    size: int
    processes: int = 1


@dataclass(frozen=True)
class Seconds:
    """What one step of one member took: alone, in stacks of several sizes with all threads, and in stacks with one thread in as many processes at a time.

    >>> Seconds(alone=1.0, stacked={10: 0.5}).plan(steps=100)
    Plan(size=10, processes=1)
    >>> Seconds(alone=1.0, stacked={10: 0.99}).plan(steps=100)
    Plan(size=1, processes=1)
    """

    alone: float
    stacked: dict[int, float]
    shared: dict[int, float] = field(default_factory=dict)
    processes: int = 1
    complete: bool = False

    @property
    def is_possible(self) -> bool:
        """Whether no way is faster than it can be, beside one model after the other.

        >>> Seconds(alone=1.0, stacked={10: 0.1}).is_possible, Seconds(alone=1.0, stacked={10: 0.02}).is_possible
        (True, False)
        """
        steps = [size * seconds for size, seconds in self.stacked.items()]
        steps += [size * seconds * self.processes * self.processes for size, seconds in self.shared.items()]
        return min(steps) >= LEAST_SHARE * self.alone

    def plan(self, steps: int) -> Plan:
        """The fastest way for so many steps of all members together; one after the other unless another is clearly faster."""
        times = {Plan(size): seconds * steps for size, seconds in self.stacked.items()}
        times |= {Plan(size, self.processes): seconds * steps + START_S for size, seconds in self.shared.items()}
        times = {plan: seconds for plan, seconds in times.items() if seconds < MARGIN * self.alone * steps}
        if not times:
            return Plan(1)
        fastest = min(times, key=lambda plan: times[plan])
        # Of ways that are alike the one that needs the least memory: it was measured alone, but will share the caches with the other processes.
        alike = (plan for plan in times if plan.processes == fastest.processes and MARGIN * times[plan] <= times[fastest])
        return min(alike, key=lambda plan: plan.size)


_remembered: dict[str, Seconds] = {}


def choose_plan(members: Sequence[Member], processes: int | None = None) -> Plan:
    """The fastest way to train members that one stack could hold, in up to so many processes of joblib's backend; None: as many as torch has threads.

    Measured: one model after the other against stacks; for a training of more than a few seconds stacks of several sizes, with all threads, and with one
    thread for each of as many processes. What was measured is remembered in this process and in a file of the user's cache folder (`XDG_CACHE_HOME`, else
    ~/.cache), by processor, versions, architecture and shapes.
    """
    first, steps = members[0], sum(member.recipe.steps for member in members)
    if first.values.device.type == "cuda":
        return Plan(min(len(members), _largest_in_memory(members)))
    processes = possible_processes(min(processes or torch.get_num_threads(), len(members)))
    key = _key(members, processes)
    known = _remembered.get(key) or _read_seconds(key)
    with borrowed_random_state():
        if known is None:
            known = _remember(key, _possible(partial(_measure_short, members)))
        if not known.complete and known.alone * steps >= WORTH_MEASURING_S:
            known = _remember(key, _possible(partial(_measure_all, members, processes)))
    _remembered[key] = known
    return known.plan(steps)


@LARGE_BLOCKS.kept()
def _possible(measure: Callable[[], Seconds]) -> Seconds:
    """What is measured; once more where that can't be."""
    found = measure()
    return found if found.is_possible else measure()


def _measure_short(members: Sequence[Member]) -> Seconds:
    size = min(len(members), SHORT_SIZE)
    alone, stacked = _measure([_alone(members[0]), Group(members[:size]).step])
    return Seconds(alone, {size: stacked / size})


def _measure_all(members: Sequence[Member], processes: int) -> Seconds:
    sizes = [size for size in SIZES if size <= len(members)] or [len(members)]
    # A stack in a process is never larger than the process' share; where one model fills the cache, one after the other is best there too.
    shares = sorted({min(size, -(-len(members) // processes)) for size in (1, *sizes)}) if processes > 1 else []
    groups = {size: Group(members[:size]) for size in {*sizes, *shares}}
    alone, *stacked = _measure([_alone(members[0])] + [groups[size].step for size in sizes])
    shared: list[float] = []
    if shares:
        with threads(1):
            shared = _measure([groups[size].step for size in shares])
    each = {size: seconds / size / processes for size, seconds in zip(shares, shared, strict=True)}
    return Seconds(alone, {size: seconds / size for size, seconds in zip(sizes, stacked, strict=True)}, each, processes, complete=True)


def _alone(member: Member) -> Callable[[], None]:
    """One step of one model as the loop does it, on a copy."""
    state = TrainingState.begin(copy.deepcopy(member.model).train(), replace(member.recipe, compile=False), member.seed, Processes.alone())
    batches = member.batches()
    return lambda: update(state, batches, member.class_weights)


def _measure(steps: Sequence[Callable[[], None]]) -> list[float]:
    """Median seconds of each, in turns: a step that follows another of its kind finds its memory as it left it."""
    return step_seconds(steps, rounds=ROUNDS, turn=A_TURN)


def _largest_in_memory(members: Sequence[Member]) -> int:
    """How many members' step fits into the device's free memory, from the peak of a step of two."""
    device = members[0].values.device
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    Group(members[:2]).step()
    each = (torch.cuda.max_memory_allocated(device) - before) / min(2, len(members))
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(MEMORY_SHARE * free / each))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Torch with so many threads; at the end it has as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _key(members: Sequence[Member], processes: int) -> str:
    """Of everything that the speed depends on; more members than the largest stack are all the same."""
    first = members[0]
    told = (
        *(processor_name(), platform.machine(), os.cpu_count(), torch.get_num_threads(), processes, first.recipe.dtype),
        *(torch.__version__, sigvit.__version__, SLOW_IN_MKL),
        *(architecture(first.model), first.batch_size, tuple(first.values.shape[1:]), min(len(members), max(SIZES)), (1, *SIZES), A_TURN),
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:24]


def _file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sigvit" / "seconds.json"


def _read_file() -> dict[str, dict[str, Any]]:
    """What is remembered on disk; a file that can't be read is forgotten, since all of it can be measured again."""
    try:
        found = json.loads(_file().read_text())
    except (OSError, RuntimeError, ValueError):  # a user without a home
        return {}
    return found if isinstance(found, dict) else {}


def _read_seconds(key: str) -> Seconds | None:
    try:
        told = _read_file()[key]
        stacked, shared = ({int(size): float(seconds) for size, seconds in told[name].items()} for name in ("stacked", "shared"))
        return Seconds(float(told["alone"]), stacked, shared, int(told["processes"]), bool(told["complete"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _remember(key: str, seconds: Seconds) -> Seconds:
    """Where the folder can't be written, or this can't be, the next process measures again."""
    if not seconds.is_possible:
        return seconds
    with suppress(OSError, RuntimeError):
        path = _file()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(_read_file() | {key: asdict(seconds)}))
    return seconds

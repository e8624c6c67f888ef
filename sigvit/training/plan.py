"""How many trainings go at once, and in how many processes: measured once on this machine, remembered, and never slower than one after the other."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from sigvit.training.distributed import Processes
from sigvit.training.group import Group
from sigvit.training.loop import update
from sigvit.training.member import Member
from sigvit.training.stacked import architecture
from sigvit.training.state import TrainingState

# Below so many seconds of training the measurement would not pay: then groups of DEFAULT_SIZE.
WORTH_MEASURING_S = 20.0
DEFAULT_SIZE = 10
SIZES = (3, 10, 25)
ROUNDS = 3
# A stack must be so much faster than one model after the other to be preferred, since measured seconds spread.
MARGIN = 0.95
# What it takes to start processes and to load torch in each.
START_S = 8.0
# On a GPU the stack may fill so much of the free memory.
MEMORY_SHARE = 0.7


@dataclass(frozen=True)
class Plan:
    """Stacks of `size` members, 1 meaning one after the other, in so many `processes` with one thread each (1: in this process, with its threads)."""

    size: int
    processes: int = 1


_remembered: dict[str, Plan] = {}


def choose_plan(members: Sequence[Member]) -> Plan:
    """The fastest way to train members that one stack could hold.

    Measured: one model after the other and stacks of several sizes, with all threads, and with one thread for each of as many processes. The choice is
    remembered in this process and in a file of the user's cache folder (`XDG_CACHE_HOME`, else ~/.cache), by machine, architecture and shapes.
    """
    first = members[0]
    if first.values.device.type == "cuda":
        return Plan(min(len(members), _largest_in_memory(members)))
    with torch.random.fork_rng(devices=[]):
        (alone,) = _measure([_alone(first)], rounds=1)
        seconds = alone * sum(member.recipe.steps for member in members)
        if seconds < WORTH_MEASURING_S:
            return Plan(min(len(members), DEFAULT_SIZE))
        key = _key(members)
        if key not in _remembered:
            _remembered[key] = _read_plan(key) or _fastest(members, seconds)
            _write_plan(key, _remembered[key])
    return _remembered[key]


def _fastest(members: Sequence[Member], seconds: float) -> Plan:
    """The plan with the shortest measured time for `seconds` of one model after the other."""
    processes = min(torch.get_num_threads(), len(members))
    sizes = [size for size in SIZES if size <= len(members)] or [len(members)]
    # A stack in a process is never larger than the process' share.
    shares = sorted({min(size, -(-len(members) // processes)) for size in sizes}) if processes > 1 else []
    groups = {size: Group(members[:size]) for size in {*sizes, *shares}}
    alone, *stacked = _measure([_alone(members[0])] + [groups[size].step for size in sizes])
    times = {Plan(size): step / size / alone * seconds / MARGIN for size, step in zip(sizes, stacked, strict=True)}
    if shares:
        with _threads(1):
            single = _measure([groups[size].step for size in shares])
        times |= {Plan(size, processes): step / size / alone * seconds / processes / MARGIN + START_S for size, step in zip(shares, single, strict=True)}
    best = min(times, key=lambda plan: times[plan])
    return best if times[best] < seconds else Plan(1)


def _alone(member: Member) -> Callable[[], None]:
    """One step of one model as the loop does it, on a copy."""
    state = TrainingState.begin(copy.deepcopy(member.model).train(), replace(member.recipe, compile=False), member.seed, Processes.alone())
    batches = member.batches()
    return lambda: update(state, batches, member.class_weights)


def _measure(steps: Sequence[Callable[[], None]], rounds: int = ROUNDS) -> list[float]:
    """Median seconds of each, taken in turn, so that whatever else the machine does meets all of them."""
    for step in steps:
        step()
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, found in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]


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
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _key(members: Sequence[Member]) -> str:
    """Of everything that the speed depends on; more members than the largest stack are all the same."""
    first = members[0]
    told = (
        *(platform.processor(), platform.machine(), os.cpu_count(), torch.get_num_threads(), torch.__version__, first.recipe.dtype),
        *(architecture(first.model), first.batch_size, tuple(first.values.shape[1:]), min(len(members), max(SIZES)), SIZES),
    )
    return hashlib.sha256(repr(told).encode()).hexdigest()[:24]


def _file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sigvit" / "many.json"


def _read_plans() -> dict[str, dict[str, int]]:
    """What is remembered on disk; a file that can't be read is forgotten, since all of it can be measured again."""
    try:
        found = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_plan(key: str) -> Plan | None:
    try:
        told = _read_plans()[key]
        return Plan(int(told["size"]), int(told["processes"]))
    except (KeyError, TypeError, ValueError):
        return None


def _write_plan(key: str, plan: Plan) -> None:
    """Written beside and renamed. Where the folder can't be written the next process measures again."""
    path = _file()
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(_read_plans() | {key: asdict(plan)}))
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)

"""One optimiser step of K small models: one after the other, in processes, in stacks, in processes with stacks, compiled, and as the engine chooses.

    python benchmarks/many_models.py [TEXT …] [--eager]

TEXT is part of a case's name: only those are measured then, and printed alone. All ways take turns in every round, each on members of its own; the table
has medians and the gain over the serial loop (eager, float32, all threads). Prints it and, after every case, writes results/benchmarks/many_models_cpu.md or
_cuda.md. --eager: nothing compiled.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection

import mne
import torch
from page import keep, where
from torch import nn

import sigvit
from sigvit.evidence.convnets import EEGNet
from sigvit.timing import step_times
from sigvit.tokenizers import ElectrodeTimePatches
from sigvit.training.distributed import Processes
from sigvit.training.group import Group
from sigvit.training.loop import update
from sigvit.training.many import Member
from sigvit.training.memory import LARGE_BLOCKS, keep_freed_memory
from sigvit.training.plan import SIZES, choose_plan
from sigvit.training.recipe import Recipe
from sigvit.training.settings import exact_convolutions
from sigvit.training.state import TrainingState

WINDOWS = 288
ROUNDS = 7
Step = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """A model by its sizes; without tokens it is a network at 22 electrodes × 1000 samples of 250 Hz: EEGNet, or with a width the classifier's default."""

    name: str
    tokens: int = 0
    patch: int = 0
    width: int = 0
    depth: int = 0
    batch_size: int = 64

    def model(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        if not self.tokens:
            return signal_default() if self.width else EEGNet(22, 1000, 2, 250.0)
        tokenizer = ElectrodeTimePatches(1, "all", self.patch, self.patch, self.width)
        return sigvit.signal_vit(1, self.tokens * self.patch, tokenizer=tokenizer, positions="learned", depth=self.depth, pool="mean", dropout=0.2)

    def members(self, numbers: range, device: str, compiled: bool = False) -> list[Member]:
        generator = torch.Generator().manual_seed(0)
        shape = (1, self.tokens * self.patch) if self.tokens else (22, 1000)
        values, targets = torch.randn(WINDOWS, *shape, generator=generator).to(device), (torch.arange(WINDOWS) % 2).to(device)
        recipe = Recipe(batch_size=self.batch_size, time_shift=0.1, mixup=1.0, compile=compiled)
        return [Member(self.model(number).to(device), values, targets, recipe, number, 2) for number in numbers]


def signal_default() -> nn.Module:
    """The network of `SignalViTClassifier`: 17 tokens × width 32, depth 2, behind 16 filters."""
    return sigvit.SignalViTClassifier().build(mne.create_info(22, 250.0, "eeg"), 1000, 2)


CASES = (
    Case("25 tokens × width 32, depth 2, batch 32", 25, 84, 32, 2, 32),
    Case("25 tokens × width 32, depth 4, batch 32", 25, 84, 32, 4, 32),
    Case("84 tokens × width 32, depth 4, batch 32", 84, 64, 32, 4, 32),
    Case("96 tokens × width 64, depth 4, batch 64", 96, 56, 64, 4, 64),
    Case("176 tokens × width 64, depth 4, batch 64", 176, 125, 64, 4, 64),
    Case("the classifier's default, 22 × 1000, batch 32", width=32, batch_size=32),
    Case("EEGNet, 22 × 1000, batch 64"),
)


def serial(members: list[Member]) -> Step:
    """One step of every member by the loop that trains one model."""
    keep_freed_memory()
    trained = [(TrainingState.begin(member.model.train(), member.recipe, member.seed, Processes.alone()), member.batches()) for member in members]

    def step() -> None:
        for state, batches in trained:
            update(state, batches)

    return step


def stacked(members: list[Member], size: int) -> Step:
    """One step of every member in stacks of `size`, one stack after the other."""
    groups = [Group(members[start : start + size]) for start in range(0, len(members), size)]

    def step() -> None:
        for group in groups:
            group.step()

    return step


@LARGE_BLOCKS.kept()
def serve(connection: Connection, case: Case, numbers: range, size: int) -> None:
    """A process with one thread: a step whenever it is asked, until it is told to end."""
    torch.set_num_threads(1)
    members = case.members(numbers, "cpu")
    step = serial(members) if size == 1 else stacked(members, size)
    while connection.recv():
        step()
        connection.send(True)


class InProcesses:
    """Members shared out to processes that stay alive between the rounds; call it for a step of all."""

    def __init__(self, case: Case, count: int, processes: int, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connections = []
        for part in range(processes):
            ours, theirs = context.Pipe()
            context.Process(target=serve, args=(theirs, case, range(part, count, processes), size), daemon=True).start()
            self.connections.append(ours)

    def __call__(self) -> None:
        for connection in self.connections:
            connection.send(True)
        for connection in self.connections:
            connection.recv()

    def end(self) -> None:
        for connection in self.connections:
            connection.send(False)


def ways(case: Case, count: int, device: str, eager: bool) -> dict[str, Step]:
    """Name → one step of all members, each way with members of its own."""
    everyone = range(count)
    sizes = [size for size in SIZES if size <= count] if device == "cpu" else [count]
    found: dict[str, Step] = {"serial": serial(case.members(everyone, device))}
    found |= {f"stacks of {size}": stacked(case.members(everyone, device), size) for size in sizes}
    if not eager:
        found[f"compiled stacks of {sizes[-1]}"] = stacked(case.members(everyone, device, compiled=True), sizes[-1])
    processes = torch.get_num_threads()
    if device == "cpu" and processes > 1:
        found[f"{processes} processes"] = InProcesses(case, count, processes, 1)
        # As the engine has it: a stack in a process is never larger than the process' share.
        shares = sorted({min(size, -(-count // processes)) for size in sizes})
        found |= {f"{processes} processes, stacks of {size}": InProcesses(case, count, processes, size) for size in shares}
    return found


@exact_convolutions()
@LARGE_BLOCKS.kept()
def measure(case: Case, count: int, device: str, eager: bool) -> dict[str, list[float]]:
    """Way → seconds of every round."""
    steps = ways(case, count, device, eager)
    times = step_times(steps, device, ROUNDS)
    for step in steps.values():
        if isinstance(step, InProcesses):
            step.end()
    return times


def chosen(case: Case, count: int, device: str) -> str:
    """What the engine takes for a training of 1000 steps."""
    plan = choose_plan([replace(member, recipe=replace(member.recipe, steps=1000)) for member in case.members(range(count), device)])
    inside = "one after the other" if plan.size == 1 else f"stacks of {plan.size}"
    return inside if plan.processes == 1 else f"{plan.processes} processes, {inside}"


def lines(case: Case, count: int, device: str, eager: bool) -> list[str]:
    """The rows of the table for one case."""
    times = measure(case, count, device, eager)
    rows = []
    for name, found in times.items():
        ratios = [base / seconds for base, seconds in zip(times["serial"], found, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(f"| {case.name} | {count} | {name} | {statistics.median(found) * 1e3:.0f} | {middle:.2f} ({low:.2f} – {high:.2f}) |")
    return [*rows, f"| {case.name} | {count} | chosen: {chosen(case, count, device)} | | |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", metavar="TEXT")
    parser.add_argument("--eager", action="store_true")
    options = parser.parse_args()
    cases = [case for case in CASES if any(text in case.name for text in options.texts or [""])]
    if not cases:
        parser.error(f"no case has any of {options.texts} in its name; there are: {'; '.join(case.name for case in CASES)}.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    head = [
        "# Many models at once: one optimiser step of K models",
        "",
        f"Medians of {ROUNDS} rounds in which all ways take turns; the gain over the serial loop has its quartiles over the rounds. "
        f"{WINDOWS} windows, AdamW, dropout .2, time shift and mixup.",
        f"{where(device=device)}.",
        "",
        "| model | K | way | ms | gain (quartiles) |",
        "|---|---|---|---|---|",
    ]
    print("\n".join(head), flush=True)
    found = []
    for case in cases:
        for count in (10, 50):
            rows = lines(case, count, device, options.eager)
            print("\n".join(rows), flush=True)
            found += rows
            if not options.texts:
                keep(f"many_models_{device}", "\n".join([*head, *found]) + "\n")


if __name__ == "__main__":
    main()

"""A training that is killed at any moment, or told to end, and started again ends with the bits of one that never was."""

import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from sigvit.training.checkpoint import Checkpoints

PROGRAM = Path(__file__).with_name("killed_training.py")
TORCHRUN = ["-m", "torch.distributed.run"]
TWO = [*TORCHRUN, "--standalone", "--nproc-per-node", "2"]
# A start takes seconds, on a busy machine a minute; three without a sign of life are a fault.
PATIENCE_S = 180


def load_program() -> ModuleType:
    specification = importlib.util.spec_from_file_location("killed_training", PROGRAM)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


program = load_program()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders with 29 small pictures in files."""
    folder, generator = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(29):
        place = folder / f"class {number % 3}"
        place.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (13 + number % 5, 17, 3), dtype=np.uint8)).save(place / f"{number}.png")
    return folder


def in_this_process(folder: Path, pictures: Path, *options: str) -> dict[str, Tensor]:
    """What the program trains where nothing befalls it."""
    program.main(program.parse([str(folder), str(pictures), *options]))
    return weights(folder)


def weights(folder: Path) -> dict[str, Tensor]:
    return torch.load(folder / "weights.pt", weights_only=True)


def journal(folder: Path) -> str:
    """The lines of metrics, times aside."""
    return pd.read_csv(folder / "metrics.csv", dtype=str).drop(columns=["samples_per_s", "share_of_peak", "seconds"]).to_csv()


def distance(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    assert list(left) == list(right)
    return max(float((left[name] - right[name]).abs().max()) for name in left)


def start(folder: Path, pictures: Path, *options: str, launcher: list[str] | None = None) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *(launcher or []), str(PROGRAM), str(folder), str(pictures), *options]
    with open(folder / "errors.txt", "ab") as errors:
        return subprocess.Popen(command, stdout=errors, stderr=errors, env=os.environ | {"OMP_NUM_THREADS": "1"})


def finish(process: subprocess.Popen, folder: Path) -> None:
    """Until the process has ended, well; it may take any time as long as there is another checkpoint now and then."""
    checkpoints, seen, until = Checkpoints(folder / "checkpoints"), [-1], 0.0
    while process.poll() is None:
        if (steps := checkpoints.steps()) != seen:
            seen, until = steps, time.monotonic() + PATIENCE_S
        assert time.monotonic() < until, (folder / "errors.txt").read_text()
        time.sleep(0.05)
    assert process.returncode == 0, (folder / "errors.txt").read_text()


def wait_for_step(process: subprocess.Popen, folder: Path, step: int) -> None:
    """Until there is a checkpoint of this step or a later one, or the process has ended."""
    checkpoints, until = Checkpoints(folder / "checkpoints"), time.monotonic() + PATIENCE_S
    while process.poll() is None and (checkpoints.steps() or [0])[-1] < step:
        assert time.monotonic() < until, (folder / "errors.txt").read_text()
        time.sleep(0.002)


def wait_for_metrics(process: subprocess.Popen, folder: Path) -> None:
    """Until the journal has its first line: the training is on its way."""
    until = time.monotonic() + PATIENCE_S
    while not (folder / "metrics.csv").exists() or len((folder / "metrics.csv").read_text().splitlines()) < 2:
        assert process.poll() is None, (folder / "errors.txt").read_text()
        assert time.monotonic() < until
        time.sleep(0.002)


def wait_for_writing(process: subprocess.Popen, folder: Path) -> None:
    """Until a checkpoint is being written, or the process has ended."""
    while process.poll() is None and not list((folder / "checkpoints").glob(".*.part")):
        pass


def kill_and_restart(folder: Path, pictures: Path, kills: int, options: list[str], steps: int, launcher: list[str], seed: int = 0) -> tuple[int, int]:
    """Start, kill with SIGKILL, start again, in turn at a random moment and inside the writing of a checkpoint; at last run to the end.

    Returns how many kills met a living process, and how many of them left half a checkpoint behind.
    """
    generator, met, inside = random.Random(seed), 0, 0
    for number in range(kills):
        process = start(folder, pictures, *options, launcher=launcher)
        wait_for_step(process, folder, int(steps * (number + generator.random()) / (kills + 1)))
        if number % 2:
            wait_for_writing(process, folder)
        else:
            time.sleep(generator.uniform(0, 0.03))
        met += process.poll() is None
        process.kill()
        process.wait()
        inside += bool(list((folder / "checkpoints").glob(".*.part")))
    finish(start(folder, pictures, *options, launcher=launcher), folder)
    return met, inside


@pytest.mark.slow
def test_killed_twice_a_training_ends_with_the_bits_of_one_that_never_was(tmp_path: Path, pictures: Path):
    expected = in_this_process(tmp_path / "whole", pictures)
    met, _ = kill_and_restart(tmp_path / "killed", pictures, 2, ["--workers", "2"], 60, [])
    assert met == 2
    assert distance(weights(tmp_path / "killed"), expected) == 0
    assert journal(tmp_path / "killed") == journal(tmp_path / "whole")


def test_sigterm_saves_and_exits_with_zero_and_a_forgotten_average_would_be_seen(tmp_path: Path, pictures: Path):
    options = ["--every", "1000"]
    expected = in_this_process(tmp_path / "whole", pictures, *options)
    process = start(tmp_path / "ended", pictures, *options)
    wait_for_metrics(process, tmp_path / "ended")
    process.send_signal(signal.SIGTERM)
    finish(process, tmp_path / "ended")
    (step,) = Checkpoints(tmp_path / "ended" / "checkpoints").steps()
    assert 0 < step < 60
    shutil.copytree(tmp_path / "ended", tmp_path / "forgetful")
    assert distance(in_this_process(tmp_path / "ended", pictures, *options), expected) == 0
    # The negative control: had the moving average begun anew at the resume, the end would be another.
    forgetful = Checkpoints(tmp_path / "forgetful" / "checkpoints")
    found = forgetful.latest()
    assert found is not None
    forgetful.save(step, found[1] | {"average": [average + 1e-6 for average in found[1]["average"]]})
    assert distance(in_this_process(tmp_path / "forgetful", pictures, *options), expected) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "steps", "options"),
    [
        pytest.param([], 420, ["--workers", "0"], id="one process without workers"),
        pytest.param([], 420, ["--workers", "2"], id="one process with workers"),
        pytest.param(TWO, 147, ["--workers", "2"], id="two processes with workers"),
        pytest.param(TWO, 147, ["--workers", "0", "--kind", "fsdp2"], id="two sharded processes without workers"),
    ],
)
def test_killed_twenty_times_a_training_ends_with_the_bits_of_one_that_never_was(
    tmp_path: Path, pictures: Path, launcher: list[str], steps: int, options: list[str]
):
    options = [*options, "--steps", str(steps)]
    finish(start(tmp_path / "whole", pictures, *options, launcher=launcher), tmp_path / "whole")
    met, inside = kill_and_restart(tmp_path / "killed", pictures, 20, options, steps, launcher)
    assert met == 20, (tmp_path / "killed" / "errors.txt").read_text()
    assert inside > 0
    assert distance(weights(tmp_path / "killed"), weights(tmp_path / "whole")) == 0
    assert journal(tmp_path / "killed") == journal(tmp_path / "whole")
    finish(start(tmp_path / "other", pictures, *options, "--seed", "1", launcher=launcher), tmp_path / "other")
    assert distance(weights(tmp_path / "other"), weights(tmp_path / "whole")) > 0, "the negative control: another seed must differ"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_sigterm_to_torchrun_saves_in_both_processes_and_the_rest_is_bit_equal(tmp_path: Path, pictures: Path, kind: str):
    options = ["--steps", "200", "--kind", kind, "--every", "20"]
    finish(start(tmp_path / "whole", pictures, *options, launcher=TWO), tmp_path / "whole")
    process = start(tmp_path / "ended", pictures, *options, launcher=TWO)
    wait_for_step(process, tmp_path / "ended", 40)
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE_S)
    errors = (tmp_path / "ended" / "errors.txt").read_text()
    # torchrun itself ends with an error of its own (SignalException); its two processes must not.
    assert "SignalException" in errors
    assert "[rank" not in errors
    assert Checkpoints(tmp_path / "ended" / "checkpoints").steps()[-1] % 20, errors
    finish(start(tmp_path / "ended", pictures, *options, launcher=TWO), tmp_path / "ended")
    assert distance(weights(tmp_path / "ended"), weights(tmp_path / "whole")) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_nodes_on_one_machine_give_the_weights_of_one_process(tmp_path: Path, pictures: Path, kind: str):
    expected = in_this_process(tmp_path / "alone", pictures, "--accumulation", "2")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The command of docs/scale.md, with a free port and the same machine for both.
    node = [*TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-id", "digits", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}"]
    nodes = [start(tmp_path / "nodes", pictures, "--kind", kind, launcher=node) for _ in range(2)]
    for process in nodes:
        finish(process, tmp_path / "nodes")
    # Sums of shares round otherwise than sums over the whole batch, by some 1e-16 a step.
    assert distance(weights(tmp_path / "nodes"), expected) <= 1e-10

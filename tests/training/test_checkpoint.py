"""Checkpoints: what is saved comes back, what is damaged is noticed, what is refused leaves the last good one."""

import errno
import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from sigvit.training.checkpoint import FORMAT, Checkpoints, Stopped, stop_on_sigterm

# For every event of the operating system while a checkpoint is written, a process that dies at it without any cleaning up, as by SIGKILL.
DYING_WRITER = """
import os, sys, torch
from sigvit.training.checkpoint import Checkpoints
folder, state = sys.argv[1], {"weight": torch.arange(8191.0)}
events = 0
def die(limit):
    def hook(event, arguments):
        global events
        if armed and event.split(".")[0] in ("open", "os", "shutil"):
            events += 1
            if events == limit:
                os._exit(9)
    return hook
limit = 0
while True:
    limit += 1
    child = os.fork()
    if child == 0:
        checkpoints = Checkpoints(f"{folder}/{limit}", keep=2)
        for step in (1, 2, 3):
            checkpoints.save(step, state | {"step": step})
        armed = False
        sys.addaudithook(die(limit))
        armed = True
        checkpoints.save(4, state | {"step": 4})
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(limit - 1)
        break
"""


def state(step: int) -> dict:
    generator = torch.Generator().manual_seed(step)
    return {
        "model": {"weight": torch.randn(5, 7, generator=generator), "bias": torch.randn(5, generator=generator).bfloat16()},
        "optimizer": {"state": {0: {"step": torch.tensor(float(step))}}, "param_groups": [{"betas": (0.9, 0.999), "params": [0]}]},
        "average": [torch.randn(5, 7, generator=generator, dtype=torch.float64)],
        "history": [{"step": step, "train_loss": 0.1}],
        "keeper": None,
        "best": float("inf"),
    }


def same(left: object, right: object) -> bool:
    """Equal in structure, kinds, number formats and every bit."""
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    return type(left) is type(right) and left == right


@pytest.fixture
def three(tmp_path: Path) -> Checkpoints:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3, every=10)
    for step in (10, 20, 30):
        checkpoints.save(step, state(step))
    return checkpoints


def written(path: Path, saved: object) -> None:
    """A checkpoint that holds this."""
    torch.save(saved, path)
    data = path.read_bytes()
    path.write_bytes(data + hashlib.sha256(data).digest())


def damage(checkpoints: Checkpoints, kind: str) -> None:
    newest = checkpoints.path(checkpoints.steps()[-1])
    data = newest.read_bytes()
    newest.write_bytes({"truncated": data[:-1], "one bit changed": data[:500] + bytes([data[500] ^ 1]) + data[501:], "empty": b""}[kind])


DAMAGES = ("truncated", "one bit changed", "empty")


def test_what_is_saved_comes_back_with_every_bit_and_kind(three: Checkpoints):
    found = three.latest()
    assert found is not None
    assert found[0] == 30
    assert same(found[1], state(30))
    assert not same(found[1], state(20))


def test_the_newest_are_kept_and_nothing_else_lies_there(three: Checkpoints):
    three.save(40, state(40))
    assert sorted(path.name for path in three.folder.iterdir()) == ["claims", *(f"step_{step:08d}.pt" for step in (20, 30, 40))]


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_warned_of_and_the_checkpoint_before_is_used(three: Checkpoints, kind: str):
    damage(three, kind)
    with pytest.warns(UserWarning, match="another SHA-256"):
        found = three.latest()
    assert found is not None
    assert found[0] == 20
    assert same(found[1], state(20))


def test_where_all_are_damaged_training_begins_anew(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, state(7))
    damage(checkpoints, "truncated")
    with pytest.warns(UserWarning, match="or the beginning"):
        assert checkpoints.latest() is None


def test_a_damaged_checkpoint_is_replaced_and_later_ones_fall(three: Checkpoints):
    damage(three, "truncated")
    three.save(25, state(25))
    assert three.steps() == [10, 20, 25]
    three.save(25, state(31))
    found = three.latest()
    assert found is not None
    assert same(found[1], state(31))


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path: Path):
    assert Checkpoints(tmp_path / "nowhere").latest() is None


def test_a_folder_of_an_earlier_version_is_refused_in_a_sentence(tmp_path: Path):
    (tmp_path / "step_00000120").mkdir()
    with pytest.raises(ValueError, match=r"step_00000120 is a checkpoint of an earlier version of sigvit, a folder"):
        Checkpoints(tmp_path).latest()
    Checkpoints(tmp_path).save(7, state(7))  # begun anew beside it
    found = Checkpoints(tmp_path).latest()
    assert found is not None
    assert found[0] == 7


def test_what_a_kill_left_is_never_read_and_goes_with_the_next_save(three: Checkpoints):
    (three.folder / ".0123.part").write_bytes(three.path(30).read_bytes())
    found = three.latest()
    assert found is not None
    assert found[0] == 30
    three.save(40, state(40))
    assert three.steps() == [20, 30, 40]
    assert len(list(three.folder.iterdir())) == 4, "three checkpoints and the claims"


def test_a_death_at_any_moment_of_the_writing_leaves_a_whole_checkpoint(tmp_path: Path):
    command = [sys.executable, "-c", DYING_WRITER, str(tmp_path)]
    events = int(subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}).stdout)
    assert events > 8  # 10 with Python 3.11: folder, leftovers, file, rename and the like of one save; pathlib asks for others elsewhere
    found = [Checkpoints(tmp_path / str(number)).latest() for number in range(1, events + 1)]
    steps = [step for step, _ in filter(None, found)]
    assert len(steps) == events
    assert set(steps) == {3, 4}
    assert steps == sorted(steps)
    assert all(kept["step"] == step and torch.equal(kept["weight"], torch.arange(8191.0)) for step, kept in filter(None, found))


def test_a_full_disk_is_an_error_that_names_the_last_good_checkpoint(three: Checkpoints):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = sorted(three.folder.rglob("*"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(OSError, match=r"step 40 couldn't be written .*the last good checkpoint is .*step_00000030") as caught:
            three.save(40, {"weight": torch.zeros(2**15)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    # The limit on a file's size is what a test may set; a full disk differs in the number alone (ENOSPC).
    assert caught.value.errno == errno.EFBIG
    assert isinstance(caught.value.__cause__, OSError)
    assert sorted(three.folder.rglob("*")) == before
    found = three.latest()
    assert found is not None
    assert same(found[1], state(30))


def test_a_full_file_system_is_an_error_and_the_last_good_checkpoint_survives(tmp_path: Path):
    script = """
import sys, torch
from sigvit.training.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
checkpoints.save(1, {"weight": torch.ones(3)})
try:
    checkpoints.save(2, {"weight": torch.zeros(2**20)})
except OSError as error:
    print(error.errno, error.strerror)
print(checkpoints.latest())
"""
    mounted = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"', "sh", str(tmp_path)]
    if subprocess.run([*mounted, "true"], capture_output=True).returncode:
        pytest.skip("this machine doesn't let a test mount a small file system")
    said = subprocess.run([*mounted, sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"{errno.ENOSPC} The checkpoint of step 2 couldn't be written (No space left on device); the last good checkpoint is {tmp_path}")
    assert "(1, {'weight': tensor([1., 1., 1.])})" in said


def test_two_processes_that_write_into_one_folder_are_told(three: Checkpoints):
    script = "import sys; from sigvit.training.checkpoint import Checkpoints; Checkpoints(sys.argv[1]).save(40, {})"
    second = subprocess.run([sys.executable, "-c", script, str(three.folder)], capture_output=True, text=True)
    assert f"Another process trains the same into {three.folder}" in second.stderr
    assert three.steps() == [10, 20, 30]


class Trap:
    """What runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def test_a_booby_trapped_checkpoint_is_refused_and_nothing_in_it_runs(three: Checkpoints, tmp_path: Path):
    mark = tmp_path / "sprung"
    torch.save({"model": Trap(mark)}, tmp_path / "trap")
    torch.load(tmp_path / "trap", weights_only=False)
    assert mark.exists(), "the trap works where it is let"
    mark.unlink()
    written(three.path(30), {"format": FORMAT, "state": {"model": Trap(mark)}})
    with pytest.raises(ValueError, match="holds more than tensors and plain data"):
        three.latest()
    assert not mark.exists()


def test_another_format_is_refused_in_a_sentence(three: Checkpoints):
    written(three.path(30), {"format": 2, "state": state(30)})
    with pytest.raises(ValueError, match="has the format 2, but this version of sigvit reads format 1"):
        three.latest()


@pytest.mark.parametrize(("keep", "every"), [(0, 1), (1, 0)])
def test_numbers_below_one_are_refused(keep: int, every: int):
    with pytest.raises(ValueError, match="is 0; it must be at least 1"):
        Checkpoints("unused", keep, every)


def test_sigterm_is_told_and_the_former_handler_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_sigterm() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_signals_are_left_alone():
    said = []

    def work() -> None:
        with stop_on_sigterm() as stop:
            said.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == [False]


def test_stopped_ends_a_program_with_zero():
    with pytest.raises(SystemExit) as caught:
        raise Stopped(12)
    assert (caught.value.code, Stopped(12).step) == (0, 12)

"""Several processes give the weights of one with the same batches, in either kind, from one kind's checkpoint to the other's."""

import importlib.util
import os
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from sigvit.training import process_groups
from sigvit.training.checkpoint import Checkpoints, Stopped
from sigvit.training.distributed import Processes
from sigvit.training.optimizer import MovingAverage, make_optimizer

PROGRAM = Path(__file__).with_name("shared_training.py")
KINDS = ("ddp", "fsdp2")
# Sums of shares round otherwise than sums over the whole batch, by some 1e-16 a step in float64.
FLOAT64 = 1e-10
# Adam divides by the size of the gradient, so that rounding where a gradient is zero moves float32 weights that no logit depends on; hence logits.
FLOAT32_LOGITS = 1e-5


def load_program() -> ModuleType:
    specification = importlib.util.spec_from_file_location("shared_training", PROGRAM)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    # dataclasses and pickles look their module up.
    sys.modules["shared_training"] = module
    specification.loader.exec_module(module)
    return module


program = load_program()


def alone(name: str = "float64", seed: int = 0, checkpoints: Checkpoints | None = None, end_at: int | None = None, **changes: int) -> dict[str, Tensor]:
    dropout, differs = program.CASES[name]
    return program.trained(replace(program.RECIPE, **(differs | changes)), dropout, Processes.alone(), checkpoints, end_at, seed)


def distance(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """The largest difference of any weight or logit."""
    assert list(left) == list(right)
    return max(float((left[name] - right[name]).abs().max()) for name in left)


pytestmark = pytest.mark.slow  # half a minute of processes that start


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where two processes have left what they trained."""
    folder = tmp_path_factory.mktemp("two")
    for kind in KINDS:
        alone(checkpoints=Checkpoints(folder / f"alone begins, {kind} ends", every=5), end_at=13)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(PROGRAM), str(folder)]
    done = subprocess.run(torchrun, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def read(path: Path) -> dict:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_the_weights_of_one(two: Path, kind: str):
    found = read(two / f"{kind} float64.pt")
    assert distance(found, alone()) <= FLOAT64
    assert distance(found, alone(seed=1)) > 1e-2, "another seed must differ, or nothing was compared"


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_the_logits_of_one_in_float32(two: Path, kind: str):
    found = read(two / f"{kind} float32.pt")
    torch.testing.assert_close(found["logits"], alone("float32")["logits"], rtol=0, atol=FLOAT32_LOGITS)


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_drop_out_as_one_that_accumulates_twice(two: Path, kind: str):
    assert distance(read(two / f"{kind} dropout.pt"), alone("dropout", accumulation=2)) <= FLOAT64


@pytest.mark.parametrize("kind", KINDS)
def test_sgd_that_accumulates_in_two_processes_gives_the_weights_of_one_that_does_not(two: Path, kind: str):
    assert distance(read(two / f"{kind} accumulated.pt"), alone("accumulated", accumulation=1)) <= FLOAT64


@pytest.mark.parametrize("kind", KINDS)
def test_lamb_of_shares_takes_the_norms_of_whole_weights(two: Path, kind: str):
    assert distance(read(two / f"{kind} lamb.pt"), alone("lamb")) <= FLOAT64


@pytest.mark.parametrize("kind", KINDS)
def test_what_two_processes_began_one_ends(two: Path, kind: str, tmp_path: Path):
    shutil.copytree(two / f"{kind} begins", tmp_path / "begun")
    checkpoints = Checkpoints(tmp_path / "begun", every=5)
    assert checkpoints.steps() == [5, 10]
    assert distance(alone(checkpoints=checkpoints), alone()) <= FLOAT64


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_process_began_two_end(two: Path, kind: str):
    assert distance(read(two / f"{kind} ended.pt"), alone()) <= FLOAT64


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_state_is_plain_whatever_the_kind(two: Path, kind: str):
    found = Checkpoints(two / f"{kind} begins").latest()
    one = Checkpoints(two / f"alone begins, {kind} ends").folder
    expected = Checkpoints(one).latest()
    assert found is not None
    assert expected is not None
    for part in ("model", "optimizer", "average", "keeper"):
        assert shapes(found[1][part]) == shapes(expected[1][part])


def shapes(tree: object) -> object:
    if isinstance(tree, dict):
        return {key: shapes(value) for key, value in tree.items() if key not in ("fused", "foreach")}
    if isinstance(tree, list):
        return [shapes(value) for value in tree]
    return (type(tree), tree.shape, tree.dtype) if isinstance(tree, Tensor) else type(tree)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_processes_agree(two: Path, kind: str, rank: int):
    said = read(two / f"{kind} agreements {rank}.pt")
    assert (said["rank"], said["world"], said["any"], float(said["mean"])) == (rank, 2, [True, False], 0.5)
    assert torch.equal(said["told"]["whole"], torch.arange(3))
    assert said["told"]["plain"] == [0, None, (1.5, "word")]


@pytest.mark.parametrize("kind", KINDS)
def test_batch_normalisation_is_refused_where_a_process_sees_a_share(two: Path, kind: str):
    assert "['1'] normalise over the batch" in read(two / f"{kind} agreements 0.pt")["refusal"]


def test_one_process_alone_gathers_and_puts_back_every_bit():
    recipe = program.RECIPE
    processes, model = Processes.alone(), program.network(recipe, 0.0)
    optimizer, average = make_optimizer(model, recipe), MovingAverage(model, 0.9)
    values, _ = program.recordings(recipe.dtype)

    def step() -> None:
        optimizer.zero_grad()
        model(values).square().sum().backward()
        processes.clip(model.parameters(), 0.5)
        optimizer.step()
        average.update(3)

    step()
    state = processes.full_state(model, optimizer, average.averages)
    step()
    other, expected = program.network(recipe, 0.0, seed=1), processes.full(model.state_dict())
    model, optimizer, average = other, make_optimizer(other, recipe), MovingAverage(other, 0.9)
    assert state is not None
    processes.load_full_state(state, model, optimizer, average.averages)
    step()
    assert distance(expected, dict(model.state_dict())) == 0


def test_a_checkpoint_of_another_architecture_is_refused_by_name():
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    weights = nn.Sequential(nn.Linear(3, 7), nn.Linear(7, 2, bias=False)).state_dict() | {"head": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"another architecture .* 0.bias is \(7,\) instead of \(5,\); .*1.bias is missing; .*head is too many"):
        Processes.alone().load_weights(weights, model)


def test_an_optimiser_of_other_groups_is_refused():
    model, processes = nn.Linear(3, 5), Processes.alone()
    one, two = torch.optim.SGD(model.parameters()), torch.optim.SGD([{"params": [model.weight]}, {"params": [model.bias]}])
    state = processes.full_state(model, one, [])
    assert state is not None
    with pytest.raises(ValueError, match=r"groups of \[2\] parameters, this one has \[1, 1\]"):
        processes.load_full_state(state, model, two, [])


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind is 'dp'; there are 'ddp'"), Processes.from_torchrun("dp"):
        pass


@pytest.mark.parametrize("how", ["to its end", "stopped", "an error after an error"])
def test_no_wrapped_model_outlives_its_group(monkeypatch: pytest.MonkeyPatch, how: str):
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "MASTER_ADDR": "localhost", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(process_groups, "_end_with_parent", lambda: None)  # this process is no child of torchrun
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    wrapped: list[weakref.ref[nn.Module]] = []
    outlived: list[bool] = []
    destroy = process_groups.distributed.destroy_process_group

    def look_and_destroy() -> None:
        outlived.append(wrapped[0]() is not None)
        destroy()

    def step(processes: Processes) -> None:
        module = processes.wrap(nn.Linear(3, 5))
        wrapped.append(weakref.ref(module))
        module(torch.ones(2, 3)).sum().backward()
        if how != "to its end":
            raise Stopped(1)

    def end() -> None:
        with Processes.from_torchrun() as processes:
            try:
                step(processes)
            except Stopped as error:
                raise error if how == "stopped" else ValueError("after a step") from None

    monkeypatch.setattr(process_groups.distributed, "destroy_process_group", look_and_destroy)
    if how == "to its end":
        end()
    else:
        with pytest.raises(Stopped if how == "stopped" else ValueError):
            end()
    assert outlived == [False]

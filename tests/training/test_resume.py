"""Exact resume: a training that ended anywhere and was started again ends with the same bits, in its weights, history and journal."""

import csv
import signal
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import sigvit
from sigvit.tokenizers import Composite, CovarianceTokens, TimeStepTokens
from sigvit.training.batches import RecordingBatches
from sigvit.training.checkpoint import Checkpoints, Stopped
from sigvit.training.journal import COLUMNS, TIMES, Journal
from sigvit.training.loop import train
from sigvit.training.member import validation_loss
from sigvit.training.recipe import Recipe

N, E, S, C = 31, 3, 17, 2
# Everything that has state or chance: moments, average, keeper, dropout, order, augmentation; saved at 7, 14, …, looked at 5, 10, ….
RECIPE = Recipe(steps=43, batch_size=6, warmup_steps=5, time_shift=0.2, noise=0.1, mixup=0.4, ema_decay=0.9, validate_every=5, learning_rate=1e-2)


class KilledError(Exception):
    """Stands for SIGKILL."""


def windows(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    targets = torch.arange(N) % C
    return torch.randn(N, E, S, generator=torch.Generator().manual_seed(seed)) + 0.3 * targets[:, None, None], targets


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(E * S, 5), nn.BatchNorm1d(5), nn.GELU(), nn.Dropout(0.3), nn.Linear(5, C))


def run(folder: Path, recipe: Recipe = RECIPE, kill_at: int | None = None, seed: int = 3) -> tuple[nn.Module, list[dict[str, float]]]:
    def killer(step: int) -> None:
        if step == kill_at:
            raise KilledError

    model = network()
    other, other_targets = windows(seed=1)
    history = train(
        model,
        RecordingBatches(*windows(seed=0), recipe, seed),
        recipe,
        seed,
        validation=lambda judged: validation_loss(judged, other, other_targets),
        checkpoints=Checkpoints(folder / "checkpoints", keep=3, every=7),
        journal=Journal(folder, every=4, samples_per_step=6, console=Console(file=StringIO())),
        on_step=killer,
    )
    return model, history


def run_killed(folder: Path, recipe: Recipe, *kills: int) -> tuple[nn.Module, list[dict[str, float]]]:
    for kill_at in kills:
        with pytest.raises(KilledError):
            run(folder, recipe, kill_at)
    return run(folder, recipe)


def lines(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without what a clock says."""
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == set(COLUMNS)
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def same(first: nn.Module, second: nn.Module) -> bool:
    return all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return *run(folder), lines(folder)


@pytest.mark.parametrize("kills", [(3,), (14,), (15,), (43,), (9, 9, 30)])
def test_killed_and_resumed_is_bit_equal(tmp_path, whole, kills):
    model, history = run_killed(tmp_path, RECIPE, *kills)
    assert same(model, whole[0])
    assert history == whole[1]
    assert lines(tmp_path) == whole[2]


def test_a_training_with_numbers_of_numpy_is_resumed(tmp_path, whole):
    recipe = replace(RECIPE, steps=np.int64(43), learning_rate=np.float64(1e-2), ema_decay=np.float64(0.9))
    with pytest.raises(KilledError):
        run(tmp_path, recipe, kill_at=15, seed=np.int64(3))
    model, history = run(tmp_path, recipe, seed=np.int64(3))
    assert same(model, whole[0])
    assert history == whole[1]


@pytest.mark.parametrize("changes", [{"ema_decay": 0.0, "optimizer": "sgd"}, {"accumulation": 3, "optimizer": "lamb"}, {"patience": 1, "learning_rate": 0.3}])
def test_killed_and_resumed_is_bit_equal_with_other_recipes(tmp_path, changes):
    recipe = replace(RECIPE, **changes)
    model, history = run(tmp_path / "whole", recipe)
    again, history_again = run_killed(tmp_path / "killed", recipe, 9)
    assert same(model, again)
    assert history == history_again
    assert lines(tmp_path / "whole") == lines(tmp_path / "killed")


def test_patience_really_ended_the_case_above(tmp_path):
    _, history = run(tmp_path, replace(RECIPE, patience=1, learning_rate=0.3))
    assert history[-1]["step"] < RECIPE.steps


def test_a_finished_training_is_returned_as_it_was(tmp_path, whole):
    run(tmp_path)
    model, history = run(tmp_path, kill_at=RECIPE.steps)  # would be killed if it took its last step again
    assert same(model, whole[0])
    assert history == whole[1]
    assert lines(tmp_path) == whole[2]


HOLDER = "import fcntl, sys; lock = open(sys.argv[1], 'a'); fcntl.lockf(lock, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no locks of this kind")
def test_a_second_start_of_a_running_training_is_refused_before_it_writes_and_a_killed_one_blocks_nobody(tmp_path, whole):
    with pytest.raises(KilledError):
        run(tmp_path, kill_at=13)
    before = (tmp_path / "metrics.csv").read_bytes()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "checkpoints" / "claims")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match=r"Another process trains the same into .*; end it first, or train into another folder"):
            run(tmp_path, kill_at=1)
        assert (tmp_path / "metrics.csv").read_bytes() == before
        running.kill()
    model, history = run(tmp_path)
    assert same(model, whole[0])
    assert history == whole[1]


def without_moments(optimizer):
    zeroed = {number: {name: torch.zeros_like(tensor) for name, tensor in moments.items()} for number, moments in optimizer["state"].items()}
    return {**optimizer, "state": zeroed}


# Negative control: a resume that forgot one part of the state must be noticed by the comparisons above.
FORGET = {
    "model": lambda state: {"model": network().state_dict()},
    "optimizer": lambda state: {"optimizer": without_moments(state["optimizer"])},
    "average": lambda state: {"average": [tensor + 1e-3 for tensor in state["average"]]},
    "keeper": lambda state: {"keeper": {**state["keeper"], "best": -1.0}},
    "history": lambda state: {"history": []},
    "measured": lambda state: {"measured": {name: numbers[:-1] for name, numbers in state["measured"].items()}},
}


@pytest.mark.parametrize("part", FORGET)
def test_a_forgotten_part_of_the_state_would_be_seen(tmp_path, whole, part):
    with pytest.raises(KilledError):
        run(tmp_path, kill_at=20)
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3, every=7)
    step, state = checkpoints.latest()
    checkpoints.save(step, state | FORGET[part](state))
    model, history = run(tmp_path)
    assert not (same(model, whole[0]) and history == whole[1] and lines(tmp_path) == whole[2])


def test_another_step_of_the_batches_would_be_seen(tmp_path, whole):
    with pytest.raises(KilledError):
        run(tmp_path, kill_at=20)
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3, every=7)
    step, state = checkpoints.latest()
    checkpoints.save(step + 1, state)
    assert not same(run(tmp_path)[0], whole[0])


def test_another_recipe_or_seed_is_refused_with_what_differs(tmp_path):
    with pytest.raises(KilledError):
        run(tmp_path, kill_at=9)
    with pytest.raises(ValueError, match=r"another recipe: learning_rate was 0\.01 and is 0\.5; noise was 0\.1 and is 0\.3\."):
        run(tmp_path, replace(RECIPE, learning_rate=0.5, noise=0.3))
    with pytest.raises(ValueError, match="seed was 3 and is 4"):
        run(tmp_path, seed=4)


def test_another_architecture_is_refused_with_what_differs(tmp_path):
    with pytest.raises(KilledError):
        run(tmp_path, kill_at=9)
    model = nn.Sequential(nn.Flatten(), nn.Linear(E * S, 7), nn.BatchNorm1d(7), nn.GELU(), nn.Dropout(0.3), nn.Linear(7, C))
    with pytest.raises(ValueError, match=r"another architecture.*1\.weight"):
        train(model, RecordingBatches(*windows(0), RECIPE, 3), RECIPE, 3, checkpoints=Checkpoints(tmp_path / "checkpoints", every=7))


def image_model(**choices):
    torch.manual_seed(0)
    return sigvit.vit("Ti/5", **({"image_size": 5, "num_classes": C, "in_channels": 1, "width": 6, "depth": 1, "heads": 2, "mlp_width": 7} | choices))


def train_images(folder: Path, model: nn.Module, compiled: bool = False) -> None:
    recipe = replace(RECIPE, steps=1, time_shift=0.0, compile=compiled)
    targets = torch.arange(N) % C
    values = torch.randn(N, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    train(model, RecordingBatches(values, targets, recipe, 3), recipe, 3, checkpoints=Checkpoints(folder))


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"heads": 3}, "heads was 2 and is 3"),
        ({"gelu": "tanh"}, "gelu was 'erf' and is 'tanh'"),
        ({"eps": np.float64(1e-2)}, r"eps was 1e-06 and is 0\.01"),
        ({"pool": "mean", "class_token": True}, "pool was 'class' and is 'mean'"),
    ],
)
def test_an_architecture_of_the_same_shapes_is_refused_with_what_differs(tmp_path, choices, sentence):
    train_images(tmp_path, image_model(width=np.int64(6)))
    with pytest.raises(ValueError, match=rf"step_00000001\.pt is of another architecture: {sentence}\. Train with the architecture it was made with"):
        train_images(tmp_path, image_model(**choices))
    train_images(tmp_path, image_model(checkpointing=True))  # the same numbers


class Halves(nn.Module):
    """A tokenizer of somebody's own: what it calls `arguments` is none of a checkpoint's business, and neither is one that a composite lacks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.arguments, self.weight = width, object(), nn.Parameter(torch.ones(width, S // 2))

    def forward(self, recording: torch.Tensor) -> sigvit.Tokens:
        cut = recording.mean(1)[:, : S // 2 * 2].unflatten(1, (2, -1))
        return sigvit.Tokens(cut @ self.weight.mT, sigvit.Grid((sigvit.Axis.regular("time", "samples", 2, 0.0, S // 2),)))


class Rhythms(TimeStepTokens):
    """A tokenizer of somebody's own whose arguments have keys that json has not."""

    def __init__(self, low: int) -> None:
        super().__init__(E, 10, 8)
        self.low = low

    def arguments(self):
        return {"rhythms": {(self.low, 12): "mu"}}


def in_band(low: float) -> CovarianceTokens:
    return CovarianceTokens(E, 16, 16, 8, ((low, low + 8),), sampling_rate=64.0)


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (lambda: in_band(8), lambda: in_band(16), r"bands was \[\[8\.0, 16\.0\]\] and is \[\[16\.0, 24\.0\]\]"),
        (lambda: Composite([Halves(8), in_band(8)]), lambda: Composite([Halves(8), in_band(16)]), r"part 1 was .*\[\[8\.0, 16\.0\]\].* and is .*"),
        (lambda: Rhythms(8), lambda: Rhythms(9), r"rhythms was \{'\(8, 12\)': 'mu'\} and is \{'\(9, 12\)': 'mu'\}"),
        (lambda: Halves(8), lambda: TimeStepTokens(E, 10, 8), r"class was 'Halves' and is 'TimeStepTokens'.*"),
    ],
)
def test_another_tokenizer_is_refused_with_what_differs(tmp_path, first, second, sentence):
    recipe = replace(RECIPE, steps=1)

    def start(tokenizer: nn.Module) -> None:
        torch.manual_seed(0)
        model = sigvit.signal_vit(E, S, num_classes=C, tokenizer=tokenizer, depth=1, heads=2)
        train(model, RecordingBatches(*windows(0), recipe, 3), recipe, 3, checkpoints=Checkpoints(tmp_path))

    start(first())
    with pytest.raises(ValueError, match=rf"step_00000001\.pt is of another tokenizer: {sentence}\. Train with the tokenizer it was made with"):
        start(second())
    start(first())


class Sites(TimeStepTokens):
    """Somebody's own tokenizers: one doesn't know where an electrode sits, the others say their arguments in their own way."""

    def __init__(self) -> None:
        super().__init__(E, 10, 8)

    def arguments(self):
        return {"sites": np.array([[0.0, 0.1, 0.0], [np.nan] * 3, [0.0, -0.1, np.inf]])}


class Bands(Sites):
    def arguments(self):
        return {"bands": {(8, 12): "mu"}, "dtype": np.float32}


class Asking(Sites):
    def arguments(self, deep):
        return {"deep": deep}


class Listing(Sites):
    def arguments(self):
        return [E, 10, 8]


@pytest.mark.parametrize("tokenizer", [Sites, Bands, Asking, Listing])
def test_a_training_with_a_tokenizer_that_says_its_arguments_in_its_own_way_is_resumed(tmp_path, tokenizer):
    recipe = replace(RECIPE, steps=3)

    def start(folder: str, kill_at: int | None = None) -> nn.Module:
        def killer(step: int) -> None:
            if step == kill_at:
                raise KilledError

        torch.manual_seed(0)
        model = sigvit.signal_vit(E, S, num_classes=C, tokenizer=tokenizer(), depth=1, heads=2)
        train(model, RecordingBatches(*windows(0), recipe, 3), recipe, 3, checkpoints=Checkpoints(tmp_path / folder, every=1), on_step=killer)
        return model

    with pytest.raises(KilledError):
        start("killed", kill_at=2)
    assert same(start("killed"), start("whole"))


@pytest.mark.parametrize("drawn", [{"dropout": 0.1}, {"stochastic_depth": (0.1, 0.1)}])
def test_a_training_that_draws_masks_does_not_go_on_compiled(tmp_path, monkeypatch, drawn):
    monkeypatch.setattr(torch, "compile", lambda module: module)  # a compiler takes long
    train_images(tmp_path / "drawn", image_model(**drawn))
    with pytest.raises(ValueError, match="another recipe: compile was False and is True"):
        train_images(tmp_path / "drawn", image_model(**drawn), compiled=True)
    train_images(tmp_path / "same", image_model())
    train_images(tmp_path / "same", image_model(), compiled=True)


def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint_and_none_is_written_after_it(tmp_path):
    class Spoilt(RecordingBatches):
        def batch(self, step, share=(0, 1)):
            inputs, targets = super().batch(step)
            return inputs * (float("nan") if step == 9 else 1.0), targets

    checkpoints = Checkpoints(tmp_path, every=4)
    with pytest.raises(ValueError, match=r"loss became nan at step 10: .* last good checkpoint is .*step_00000008\.pt\."):
        train(network(), Spoilt(*windows(0), RECIPE, 3), replace(RECIPE, validate_every=100), 3, checkpoints=checkpoints)
    assert checkpoints.steps() == [4, 8]


def test_sigterm_saves_and_stops_and_the_rest_is_bit_equal(tmp_path, whole):
    def terminate(step: int) -> None:
        if step == 11:
            signal.raise_signal(signal.SIGTERM)

    other, other_targets = windows(seed=1)
    with pytest.raises(Stopped) as stopped:
        train(
            network(),
            RecordingBatches(*windows(0), RECIPE, 3),
            RECIPE,
            3,
            validation=lambda judged: validation_loss(judged, other, other_targets),
            checkpoints=Checkpoints(tmp_path / "checkpoints", every=1000),
            on_step=terminate,
        )
    assert (stopped.value.step, stopped.value.code) == (11, 0)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [11]
    model, history = run(tmp_path)
    assert same(model, whole[0])
    assert history == whole[1]

"""The training loop: one visible step, repeated."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext

import torch
from torch import Tensor, nn

from sigvit.model.random_state import borrowed_random_state, shared_random_state
from sigvit.training.batches import Batches, Share
from sigvit.training.checkpoint import Checkpoints, Stopped, stop_on_sigterm
from sigvit.training.distributed import Processes
from sigvit.training.journal import Journal, NotWrittenError
from sigvit.training.losses import cross_entropy
from sigvit.training.measured import NotFiniteError
from sigvit.training.memory import keep_freed_memory
from sigvit.training.optimizer import set_learning_rate
from sigvit.training.randomness import derive_seed, seed_dropout
from sigvit.training.recipe import Recipe
from sigvit.training.schedule import learning_rate_factor
from sigvit.training.settings import deterministic_algorithms, own_gradients
from sigvit.training.state import TrainingState

# The journal's columns that are means over steps.
MEANS = ("loss", "accuracy", "gradient_norm")


@own_gradients()
def train(
    model: nn.Module,
    batches: Batches,
    recipe: Recipe,
    seed: int = 0,
    *,
    class_weights: Tensor | None = None,
    validation: Callable[[nn.Module], float] | None = None,
    checkpoints: Checkpoints | None = None,
    processes: Processes | None = None,
    journal: Journal | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[dict[str, float]]:
    """Train `model` in place and leave it in evaluation mode; returns the history.

    Parameters
    ----------
    model : inputs (rows, …) → logits (rows, classes), on the batches' device, in the recipe's number format; or → its own loss, a mean over rows, where the
        batches have no targets, as the objectives that pre-train without labels (`MaskedPatches`, `MaskedAutoencoder`).
    batches : the inputs and targets of each step; see `sigvit.training.batches.Batches`.
    seed : of dropout; batches have their own.
    class_weights : (classes,) weights of the loss.
    validation : the loss of a model on the part that chooses the returned weights and, with `recipe.patience`, the end; never trained on. It is handed
        the model with its averaged weights, in evaluation mode and without gradients; may train others, also in threads of its own. One that draws
        random numbers (a DataLoader does) should have a generator of its own where other threads train: it draws out of theirs otherwise.
    checkpoints : where the state is saved and from where training goes on: killed at any moment and started again, it ends with the same bits (on a CPU; a
        GPU is asked for them, see docs/scale.md). SIGTERM saves and raises `Stopped`, which ends a program with exit code 0.
    processes : those that share the steps; None is this one alone.
    journal : gets a line of metrics every `journal.every` steps, at each look at the validation part and at the end.
    on_step : called with the number of steps done.

    Returns
    -------
    A list of {"step", "train_loss"[, "validation_loss"]}, one entry every `recipe.validate_every` steps and at the end.

    Raises
    ------
    ValueError : the loss or the gradient is not finite (the message says at which step, and which checkpoint is the last good one); a batch that can't be
        cut into equal shares; a checkpoint of another recipe or architecture; a model of another number format than the recipe's, or
        made under `torch.inference_mode`.
    OSError : a checkpoint or a line of metrics can't be written; the message names the last good checkpoint. BlockingIOError, before the first step: another
        process trains into the folder of the checkpoints.

    >>> from sigvit.training.batches import RecordingBatches
    >>> recipe = Recipe(steps=30, batch_size=4)
    >>> batches = RecordingBatches(torch.eye(8)[:, None], torch.arange(8) // 4, recipe, seed=0)
    >>> history = train(nn.Sequential(nn.Flatten(), nn.Linear(8, 2)), batches, recipe)
    >>> [entry["step"] for entry in history]
    [25, 30]
    """
    keep_freed_memory()
    state = TrainingState.begin(model, recipe, seed, Processes.alone() if processes is None else processes)
    if checkpoints is not None:
        state.resume(checkpoints)
    if journal is not None:
        journal.open(state.step, recipe.steps, state.processes.first)
    model.train()
    with (
        deterministic_algorithms(state.device),
        nullcontext(lambda: False) if checkpoints is None else stop_on_sigterm() as stop,
        nullcontext() if journal is None else closing(journal),
    ):
        try:
            while not state.ended:
                with borrowed_random_state(state.device):  # step by step: trainings in several threads take turns
                    update(state, batches, class_weights, with_accuracy=journal is not None)
                _report(state, validation, journal)
                if on_step is not None:
                    on_step(state.step)
                stopped = checkpoints is not None and state.processes.any(stop())
                if checkpoints is not None and (stopped or state.ended or checkpoints.due(state.step)):
                    with _outside(journal):
                        state.save(checkpoints)
                if stopped and not state.ended:
                    raise Stopped(state.step)
        except (NotFiniteError, NotWrittenError) as error:
            raise type(error)(f"{error}{_last_good(checkpoints)}") from None
    state.average.exchange()
    state.keeper.restore(model, state.processes)
    model.eval()
    return state.history


def update(state: TrainingState, batches: Batches, class_weights: Tensor | None = None, with_accuracy: bool = False) -> None:
    """One step: forward and backward for each part of the batch, clip, update, average."""
    recipe, processes, parts = state.recipe, state.processes, state.recipe.accumulation
    set_learning_rate(state.optimizer, recipe.learning_rate * learning_rate_factor(recipe, state.step))
    state.optimizer.zero_grad()
    losses, accuracies = [], []
    for part in range(parts):
        share = Share(part * processes.world + processes.rank, parts * processes.world)
        seed_dropout(derive_seed(state.seed, "dropout" if share.of == 1 else f"dropout {share.number}", state.step), state.device)
        inputs, targets = batches.batch(state.step, share)
        with processes.accumulating(state.module, last=part + 1 == parts):
            with torch.autocast(inputs.device.type, torch.bfloat16, enabled=recipe.dtype == "bfloat16"):
                outputs = state.forward(inputs)
                loss = outputs if targets is None else cross_entropy(outputs, targets, class_weights, recipe.label_smoothing, recipe.loss)
            # The gradient of the mean over equal parts.
            loss.backward(torch.full_like(loss, 1 / parts))
        losses.append(loss.detach())
        if with_accuracy and targets is not None:
            accuracies.append((outputs.detach().argmax(1) == targets.argmax(1)).float().mean())
    gradient_norm = processes.clip(state.parameters, recipe.clip_norm)
    state.optimizer.step()
    state.average.update(state.step)
    state.step += 1
    state.measured.add({"loss": _mean(losses), "gradient_norm": gradient_norm} | ({"accuracy": _mean(accuracies)} if accuracies else {}))


def _report(state: TrainingState, validation: Callable[[nn.Module], float] | None, journal: Journal | None) -> None:
    """What is due after this step: an entry of the history with a look at the validation part, and a line of the journal."""
    ends = state.step == state.recipe.steps
    looks = ends or state.step % state.recipe.validate_every == 0
    writes = journal is not None and (ends or journal.due(state.step) or (looks and validation is not None))
    if looks or writes:
        state.measured.read(state.step)
    if looks:
        state.history.append({"step": state.step, "train_loss": state.measured.mean("loss", state.step - state.looked)})
        state.ended = ends
        if validation is not None:
            # Out of the turn: it may wait for threads of its own that train.
            with _outside(journal), shared_random_state(derive_seed(state.seed, "validation", state.step), state.device):
                state.look(validation)
    if journal is not None and writes:
        journal.write(state.step, _line(state, looked=looks))
        state.reported = state.step
    if looks or writes:
        state.measured.keep(state.step - min(state.looked, state.step if journal is None else state.reported))


def _line(state: TrainingState, looked: bool) -> dict[str, float]:
    """The metrics since the journal's last line."""
    steps = state.step - state.reported
    rate = state.recipe.learning_rate * learning_rate_factor(state.recipe, state.step - 1)
    means = {name: state.measured.mean(name, steps) for name in MEANS if name in state.measured.numbers}
    validated = {"validation_loss": state.history[-1]["validation_loss"]} if looked and "validation_loss" in state.history[-1] else {}
    return means | {"learning_rate": rate} | validated


def _mean(scalars: list[Tensor]) -> Tensor:
    return scalars[0] if len(scalars) == 1 else torch.stack(scalars).mean()


def _outside(journal: Journal | None) -> AbstractContextManager[None]:
    return nullcontext() if journal is None else journal.outside()


def _last_good(checkpoints: Checkpoints | None) -> str:
    if checkpoints is None:
        return ""
    steps = checkpoints.steps()
    return f" The last good checkpoint is {checkpoints.path(steps[-1])}." if steps else " No checkpoint was written before."

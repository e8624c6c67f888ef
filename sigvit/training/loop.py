"""The training loop: one visible step, repeated."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.training.batches import RecordingBatches
from sigvit.training.optimizer import MovingAverage, make_optimizer
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe
from sigvit.training.schedule import cosine


def train(
    model: nn.Module,
    values: Tensor,
    targets: Tensor,
    recipe: Recipe,
    seed: int = 0,
    class_weights: Tensor | None = None,
    validation: tuple[Tensor, Tensor] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> list[dict[str, float]]:
    """Train `model` in place on windows that lie on its device; returns the history.

    Parameters
    ----------
    values : (windows, electrodes, samples), standardised; targets : (windows,) int64 class numbers.
    class_weights : (classes,) weights of the loss.
    validation : values and targets that choose the returned weights and, with `recipe.patience`, the end; never trained on.
    on_step : called with the number of steps done.

    Returns
    -------
    A list of {"step", "train_loss"[, "validation_loss"]}, one entry every `recipe.validate_every` steps and at the end.

    Raises
    ------
    ValueError : the loss is not finite; the message says at which step.
    """
    optimizer = make_optimizer(model, recipe)
    average = MovingAverage(model, recipe.ema_decay)
    keeper = _BestWeights(recipe.patience)
    history: list[dict[str, float]] = []
    losses: list[Tensor] = []
    n_classes = int(targets.max()) + 1 if class_weights is None else len(class_weights)
    batches = RecordingBatches(values, targets, recipe, seed, n_classes)
    model.train()
    with torch.random.fork_rng(devices=[]):
        for step in range(recipe.steps):
            batch, batch_targets = batches.batch(step)
            _set_learning_rate(optimizer, recipe.learning_rate * cosine(step, recipe.steps, recipe.warmup_steps))
            torch.manual_seed(derive_seed(seed, "dropout", step))
            losses.append(update(model, optimizer, batch, batch_targets, recipe, class_weights))
            average.update(step)
            if on_step is not None:
                on_step(step + 1)
            if (step + 1) % recipe.validate_every and step + 1 < recipe.steps:
                continue
            history.append({"step": step + 1, "train_loss": _mean_loss(losses, step)})
            losses = []
            if validation is not None:
                average.exchange()
                history[-1]["validation_loss"] = evaluate(model, *validation, recipe, class_weights)
                stop = keeper.look(model, history[-1]["validation_loss"])
                average.exchange()
                if stop:
                    break
    average.exchange()
    keeper.restore(model)
    model.eval()
    return history


def update(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Tensor, targets: Tensor, recipe: Recipe, class_weights: Tensor | None = None) -> Tensor:
    """One step: forward, loss, backward, clip, update. `targets` are shares of the classes, (batch, classes). Returns the loss, a detached scalar."""
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=recipe.dtype == "bfloat16"):
        logits = model(batch)
        loss = functional.cross_entropy(logits, targets, class_weights, label_smoothing=recipe.label_smoothing)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def evaluate(model: nn.Module, values: Tensor, targets: Tensor, recipe: Recipe, class_weights: Tensor | None = None) -> float:
    """Mean cross-entropy without dropout, augmentation or label smoothing."""
    model.eval()
    logits = torch.cat([model(part) for part in values.split(256)])
    model.train()
    return float(functional.cross_entropy(logits.float(), targets, class_weights))


def _set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def _mean_loss(losses: list[Tensor], step: int) -> float:
    mean = float(torch.stack(losses).mean())
    if not mean < float("inf"):
        raise ValueError(f"The loss became {mean} between steps {step + 2 - len(losses)} and {step + 1}: lower the learning rate or look for extreme values.")
    return mean


class _BestWeights:
    """Keeps the weights of the lowest validation loss and says when patience is at its end."""

    def __init__(self, patience: int) -> None:
        self.patience, self.best, self.waited = patience, float("inf"), 0
        self.weights: dict[str, Tensor] | None = None

    def look(self, model: nn.Module, loss: float) -> bool:
        self.waited += 1
        if loss < self.best:
            self.best, self.weights, self.waited = loss, copy.deepcopy(model.state_dict()), 0
        return bool(self.patience) and self.waited >= self.patience

    def restore(self, model: nn.Module) -> None:
        if self.weights is not None:
            model.load_state_dict(self.weights)

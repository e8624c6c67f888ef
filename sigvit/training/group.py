"""Members in training at once: one step for all of them, each with its own data, chance, schedule and end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.training.distributed import Processes
from sigvit.training.member import Member
from sigvit.training.member_draws import Asked, MemberDraws
from sigvit.training.memory import keep_freed_memory
from sigvit.training.place import Place
from sigvit.training.schedule import learning_rate_factor
from sigvit.training.stacked import Stack
from sigvit.training.stacked_optimizer import StackedAdam, clip_

# K = members, N = trainable numbers of one model, B = batch, C = classes

# Windows of one look that are evaluated at a time.
LOOK_BATCH = 64


class Group:
    """Members of one architecture in training; their weights are the rows of matrices.

    Parameters
    ----------
    members : of one architecture, batch size and number format. Everything else of their recipes may differ.
    saved : key → what `state` gave of a member, which then goes on from there.

    Members may join and leave between steps (after a `look`), at any step of their own.
    """

    _asked: list[Asked] | None

    def __init__(self, members: Sequence[Member], saved: Mapping[str, dict[str, Any]] | None = None) -> None:
        keep_freed_memory()
        self.places = [Place(member) for member in members]
        self.stack = Stack([member.model for member in members])
        self.average = self.stack.weights.clone()
        self._settle(torch.zeros_like(self.stack.weights), torch.zeros_like(self.stack.weights))
        for k, member in enumerate(members):
            if saved and member.key in saved:
                self.load_state(k, saved[member.key])

    def __len__(self) -> int:
        """How many are in training; an empty group is over."""
        return len(self.places)

    def step(self) -> None:
        """One step of every member."""
        recipes, steps = [place.member.recipe for place in self.places], [place.step for place in self.places]
        inputs, targets = (torch.stack(parts) for parts in zip(*(place.batches.batch(place.step) for place in self.places), strict=True))
        draw = MemberDraws([place.member.seed for place in self.places], steps)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=recipes[0].dtype == "bfloat16"):
            losses = member_losses(self._logits(inputs, draw), targets, self._smoothing, self._class_weights)
        # No member's loss is in another's, so the gradient of their sum is that of each.
        gradients = torch.autograd.grad(losses.sum(), self.stack.parameters(), allow_unused=True)
        unused = [(weights, weights.clone()) for weights in self.stack.scatter(gradients, self.optimizer.gradient)]
        norms = clip_(self.optimizer.gradient, self._largest)
        rates = [recipe.learning_rate * learning_rate_factor(recipe, step) for recipe, step in zip(recipes, steps, strict=True)]
        self.optimizer.update(rates, [recipe.weight_decay for recipe in recipes], steps)
        for weights, before in unused:
            weights.copy_(before)
        self._average(steps)
        for place, loss, norm in zip(self.places, losses.detach().unbind(), norms.unbind(), strict=True):
            place.step += 1
            place.measured.add({"loss": loss, "gradient_norm": norm})

    def _logits(self, inputs: Tensor, draw: MemberDraws) -> Tensor:
        """Compiled where the recipe says so: after a first step that tells what is drawn, since no generator runs inside a compiled function."""
        if not self.places[0].member.recipe.compile:
            return self.stack.logits(inputs, draw)
        if self._asked is not None:
            return self._compiled(inputs, [draw.draw(asked) for asked in self._asked])
        logits = self.stack.logits(inputs, draw)
        self._asked = draw.asked
        return logits

    def look(self) -> bool:
        """What is due after this step: entries of the histories, looks at the validation parts; False where nothing was."""
        due = [k for k, place in enumerate(self.places) if place.looks]
        for k in due:
            self.places[k].report()
        judged = [k for k in due if self.places[k].member.validation is not None and not self.places[k].fault]
        for k, loss in zip(judged, self._validation_losses(judged) if judged else [], strict=True):
            self.places[k].judge(loss, self.average[k], self._state(k))
        return bool(due)

    def leave(self) -> list[Place]:
        """Members that have ended, or can't go on, leave; the models of those that have ended hold their final weights."""
        gone = [k for k, place in enumerate(self.places) if place.ended or place.fault]
        for k in gone:
            place = self.places[k]
            if place.fault:
                continue
            self.stack.write(place.member.model, *self.result(k))
            place.member.model.eval()
        left = [self.places[k] for k in gone]
        stay = [k for k in range(len(self)) if k not in gone]
        if gone and stay:
            self.places = [self.places[k] for k in stay]
            at = torch.as_tensor(stay, device=self.average.device)
            self.stack.select(stay)
            self.average = self.average[at]
            self._settle(self.optimizer.first[at], self.optimizer.second[at])
        elif gone:
            self.places = []
        return left

    def join(self, other: Group) -> None:
        """Take in the members of another group of the same kind."""
        self.places += other.places
        self.stack.join(other.stack)
        self.average = torch.cat([self.average, other.average])
        self._settle(*(torch.cat(pair) for pair in ((self.optimizer.first, other.optimizer.first), (self.optimizer.second, other.optimizer.second))))

    def state(self, k: int) -> dict[str, Any]:
        """All that member k's training needs to go on, as tensors of its own and plain data."""
        place = self.places[k]
        own = {name: matrix[k] for name, matrix in self._matrices().items()}
        copied = Processes.alone().full({**own, **place.told(), "state": self._state(k)})
        return {**copied, **place.member.described(), "ended": False}

    def result(self, k: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Member k's weights (N,) as training returns them, and the rest of its model's state: of its best look, else of now."""
        return self.places[k].keeper.weights or (self.average[k], self._state(k))

    @torch.no_grad()
    def load_state(self, k: int, saved: dict[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises
        ------
        ValueError : it is of another recipe, seed, architecture or tokenizer.
        """
        member = self.places[k].member
        member.require_same(saved)
        if saved["weights"].shape != self.average[k].shape:
            raise ValueError(f"The snapshot of {member.name or member.key} has {len(saved['weights'])} weights, but the model {len(self.average[k])}.")
        for name, matrix in self._matrices().items():
            matrix[k].copy_(saved[name])
        for name, tensor in self._state(k).items():
            tensor.copy_(saved["state"][name])
        self.places[k].recall(saved)

    def _matrices(self) -> dict[str, Tensor]:
        return {"weights": self.stack.weights, "average": self.average, "first": self.optimizer.first, "second": self.optimizer.second}

    def _state(self, k: int) -> dict[str, Tensor]:
        return {name: tensor[k] for name, tensor in self.stack.state.items()}

    def _settle(self, first: Tensor, second: Tensor) -> None:
        """What follows from who is here."""
        recipes = [place.member.recipe for place in self.places]
        like = self.stack.weights
        self._asked = None
        self._compiled = torch.compile(self._logits_given, dynamic=False) if recipes[0].compile else self._logits_given
        self.optimizer = StackedAdam(like, first, second, self.stack.n_decayed, recipes[0].betas, recipes[0].optimizer)
        self._largest = torch.tensor([recipe.clip_norm for recipe in recipes], dtype=like.dtype, device=like.device)
        self._smoothing = torch.tensor([recipe.label_smoothing for recipe in recipes], dtype=like.dtype, device=like.device)[:, None, None]
        given = [place.member.class_weights for place in self.places]
        some = next((weights for weights in given if weights is not None), None)
        self._class_weights = None if some is None else torch.stack([torch.ones_like(some) if weights is None else weights for weights in given])[:, None]

    def _logits_given(self, inputs: Tensor, factors: list[Tensor]) -> Tensor:
        given = iter(factors)
        return self.stack.logits(inputs, lambda x, rate: next(given))

    @torch.no_grad()
    def _average(self, steps: list[int]) -> None:
        """The moving average of every member's weights, warmed up as `sigvit.training.optimizer.MovingAverage`; without a decay it is the weights."""
        shares = [1 - min(place.member.recipe.ema_decay, (1 + step) / (10 + step)) for place, step in zip(self.places, steps, strict=True)]
        if len(set(shares)) == 1:
            self.average.lerp_(self.stack.weights, shares[0])
        else:
            self.average.lerp_(self.stack.weights, torch.tensor(shares, dtype=self.average.dtype, device=self.average.device)[:, None])

    @torch.no_grad()
    def _validation_losses(self, members: list[int]) -> list[float]:
        """Of the averaged weights of these members, each on its own part; parts of unequal size are filled up with silence that nobody reads."""
        looking = [self.places[k].member for k in members]
        parts = [member.validation for member in looking if member.validation is not None]
        logits = []
        with self.stack.using(self.average, members):
            for start in range(0, max(len(values) for values, _ in parts), LOOK_BATCH):
                logits.append(self.stack.logits(_filled([values[start : start + LOOK_BATCH] for values, _ in parts])))
        losses = []
        for member, (values, targets), own in zip(looking, parts, torch.cat(logits, dim=1).float(), strict=True):
            weights = member.class_weights
            losses.append(float(functional.cross_entropy(own[: len(values)], targets, None if weights is None else weights.float())))
        return losses


def member_losses(logits: Tensor, targets: Tensor, label_smoothing: Tensor, class_weights: Tensor | None) -> Tensor:
    """Each member's cross-entropy, (K,), of logits and target shares, both (K, B, C); smoothing (K, 1, 1), weights (K, 1, C) or None.

    >>> logits, targets = torch.randn(2, 5, 3), torch.eye(3)[torch.tensor([[0, 1, 2, 0, 1], [2, 1, 0, 2, 1]])]
    >>> one = functional.cross_entropy(logits[1], targets[1], label_smoothing=0.1)
    >>> torch.allclose(member_losses(logits, targets, torch.tensor([0.3, 0.1])[:, None, None], None)[1], one)
    True
    """
    smoothed = targets * (1 - label_smoothing) + label_smoothing / targets.shape[-1]
    weighted = smoothed if class_weights is None else smoothed * class_weights
    return -(logits.log_softmax(-1) * weighted).sum(-1).mean(-1)


def _filled(parts: list[Tensor]) -> Tensor:
    """Parts of unequal length as one tensor, zeros at the end of the shorter ones."""
    length = max(len(part) for part in parts)
    return torch.stack([functional.pad(part, (0,) * (2 * (part.ndim - 1)) + (0, length - len(part))) for part in parts])

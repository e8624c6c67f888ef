"""A member's own part of a stack's training: what no matrix holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from sigvit.training.batches import RecordingBatches
from sigvit.training.member import Member

# What a snapshot holds of a place as plain data, and as lists of scalars.
TOLD = ("step", "history", "best", "waited")
UNREPORTED = ("losses", "norms")


@dataclass
class Place:
    """How far a member's training is, and what it has found."""

    member: Member
    batches: RecordingBatches
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float = float("inf")
    waited: int = 0
    kept: tuple[Tensor, dict[str, Tensor]] | None = None
    ended: bool = False
    fault: str = ""
    losses: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)

    @property
    def looks(self) -> bool:
        """Whether an entry of the history is due."""
        return self.step % self.member.recipe.validate_every == 0 or self.step == self.member.recipe.steps

    def report(self) -> None:
        """An entry of the history from the steps since the last one; a number that isn't finite ends this member."""
        for name, numbers in (("loss", self.losses), ("norm of the gradient", self.norms)):
            values = torch.stack(numbers).cpu()
            bad = (~values.isfinite()).nonzero().flatten().tolist()
            if bad:
                self.fault = f"The {name} became {float(values[bad[0]])} at step {self.step - len(values) + bad[0] + 1}"
                return
        self.history.append({"step": self.step, "train_loss": float(torch.stack(self.losses).cpu().mean())})
        self.losses, self.norms = [], []
        self.ended = self.step == self.member.recipe.steps

    def judge(self, loss: float, weights: Tensor, state: dict[str, Tensor]) -> None:
        """Remember the weights if this validation loss is the lowest so far; end where patience does."""
        self.history[-1]["validation_loss"] = loss
        self.waited += 1
        if loss < self.best:
            self.best, self.waited, self.kept = loss, 0, (weights.clone(), {name: tensor.clone() for name, tensor in state.items()})
        self.ended |= bool(self.member.recipe.patience) and self.waited >= self.member.recipe.patience

    def told(self) -> dict[str, Any]:
        """For a snapshot: all but the tensors of the model."""
        return {name: getattr(self, name) for name in TOLD} | {name: [float(number) for number in getattr(self, name)] for name in UNREPORTED}

    def recall(self, told: dict[str, Any]) -> None:
        for name in TOLD:
            setattr(self, name, told[name])
        for name in UNREPORTED:
            values = self.batches.values
            setattr(self, name, [torch.tensor(number, dtype=values.dtype, device=values.device) for number in told[name]])

"""A member's own part of a stack's training: what no matrix holds."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from torch import Tensor

from sigvit.training.distributed import Processes
from sigvit.training.measured import Measured, NotFiniteError
from sigvit.training.member import Member
from sigvit.training.state import BestWeights


class Place:
    """How far a member's training is, and what it has found."""

    def __init__(self, member: Member) -> None:
        self.member, self.batches = member, member.batches()
        self.measured, self.keeper = Measured(Processes.alone()), BestWeights(member.recipe.patience)
        self.history: list[dict[str, float]] = []
        self.step, self.ended, self.fault = 0, False, ""

    @property
    def looks(self) -> bool:
        """Whether an entry of the history is due."""
        return self.step % self.member.recipe.validate_every == 0 or self.step == self.member.recipe.steps

    def report(self) -> None:
        """An entry of the history from the steps since the last one; a number that isn't finite ends this member."""
        try:
            self.measured.read(self.step)
        except NotFiniteError as error:
            self.fault = str(error)
            return
        before = int(self.history[-1]["step"]) if self.history else 0
        self.history.append({"step": self.step, "train_loss": self.measured.mean("loss", self.step - before)})
        self.measured.keep(0)
        self.ended = self.step == self.member.recipe.steps

    def judge(self, loss: float, weights: Tensor, state: dict[str, Tensor]) -> None:
        """Remember the weights if this validation loss is the lowest so far; end where patience does."""
        self.history[-1]["validation_loss"] = loss
        self.ended |= self.keeper.look(loss, lambda: (weights.clone(), {name: tensor.clone() for name, tensor in state.items()}))

    def told(self) -> dict[str, Any]:
        """For a snapshot: all but the tensors of the model as it is."""
        with suppress(NotFiniteError):  # the next report says it
            self.measured.read(self.step)
        return {"step": self.step, "history": self.history, "keeper": self.keeper.told(), "measured": self.measured.numbers}

    def recall(self, told: dict[str, Any]) -> None:
        self.step, self.history, self.measured.numbers = told["step"], told["history"], told["measured"]
        self.keeper.recall(told["keeper"])

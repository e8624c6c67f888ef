"""What a training carries from step to step: all of it goes into a checkpoint.

Schedule and randomness are functions of the step and carry nothing; bfloat16 has the range of float32, so there is no scale of the loss to carry either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.training.checkpoint import Checkpoints
from sigvit.training.distributed import Processes
from sigvit.training.measured import Measured
from sigvit.training.optimizer import MovingAverage, make_optimizer
from sigvit.training.recipe import Recipe
from sigvit.training.same_training import described, free_fields, require_same


class BestWeights:
    """Keeps the weights of the lowest validation loss and says when patience is at its end."""

    def __init__(self, patience: int) -> None:
        self.patience, self.best, self.waited = patience, float("inf"), 0
        self.weights: Any = None

    def look(self, loss: float, weights: Callable[[], Any]) -> bool:
        """Remember a copy of the weights if this validation loss is the lowest so far; True where training should end."""
        self.waited += 1
        if loss < self.best:
            self.best, self.waited, self.weights = loss, 0, weights()
        return bool(self.patience) and self.waited >= self.patience

    def restore(self, model: nn.Module, processes: Processes) -> None:
        """Put the best weights into the model, where there was a look."""
        if self.best < float("inf"):
            processes.load_weights(processes.from_first(self.weights), model)

    def told(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "weights": self.weights}

    def recall(self, told: dict[str, Any]) -> None:
        self.best, self.waited, self.weights = told["best"], told["waited"], told["weights"]


@dataclass
class TrainingState:
    """The moving parts of one training.

    Attributes
    ----------
    module : what forward is called on: the model, or what holds it together with those of other processes.
    forward : `module`, compiled where the recipe says so.
    step : steps done. reported : the step of the journal's last line. ended : whether the last step was the last.
    """

    recipe: Recipe
    seed: int
    processes: Processes
    model: nn.Module
    module: nn.Module
    forward: Callable[[Tensor | RecordingBatch], Tensor]
    optimizer: torch.optim.Optimizer
    average: MovingAverage
    keeper: BestWeights
    measured: Measured
    step: int = 0
    reported: int = 0
    ended: bool = False
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.device = self.parameters[0].device

    @classmethod
    def begin(cls, model: nn.Module, recipe: Recipe, seed: int, processes: Processes) -> TrainingState:
        """Before the first step. ValueError: the model's weights can't learn, or have another number format than the recipe's."""
        _require_format(model, recipe)
        module = processes.wrap(model)
        forward = torch.compile(module) if recipe.compile else module
        optimizer, average = make_optimizer(model, recipe), MovingAverage(model, recipe.ema_decay)
        return cls(recipe, int(seed), processes, model, module, forward, optimizer, average, BestWeights(recipe.patience), Measured(processes))

    @property
    def looked(self) -> int:
        """The step of the last history entry."""
        return int(self.history[-1]["step"]) if self.history else 0

    def look(self, validation: Callable[[nn.Module], float]) -> None:
        """Let the averaged weights be judged and, where they are the best so far, kept; patience may end the training."""
        self.average.exchange()
        self.model.eval()
        with torch.no_grad():
            loss = torch.tensor(validation(self.model), dtype=torch.float64)
        self.model.train()
        # All processes go by one number.
        self.history[-1]["validation_loss"] = float(self.processes.mean(loss.to(self.device)))
        self.ended |= self.keeper.look(self.history[-1]["validation_loss"], lambda: self.processes.full(self.model.state_dict()))
        self.average.exchange()

    def save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint; every process must call it. NotFiniteError: the weights aren't worth it."""
        self.measured.read(self.step)
        tensors = self.processes.full_state(self.model, self.optimizer, self.average.averages)
        if tensors is not None:
            checkpoints.save(self.step, tensors | self._plain())
        self.processes.barrier()

    def resume(self, checkpoints: Checkpoints) -> None:
        """Claim the folder, and go on from the newest whole checkpoint, if there is one.

        Raises
        ------
        BlockingIOError : another process trains into the folder.
        ValueError : it is of another recipe, seed, architecture or tokenizer; the message names what differs.
        """
        if self.processes.first:
            checkpoints.claim()
        found = self.processes.from_first(checkpoints.latest() if self.processes.first else None)
        if found is None:
            return
        self.step, saved = found
        own = described(self.model, self.recipe, self.seed)
        require_same(f"The checkpoint {checkpoints.path(self.step)}", saved, own, free_fields(self.model))
        self.processes.load_full_state(saved, self.model, self.optimizer, self.average.averages)
        self.keeper.recall(saved["keeper"])
        self.reported, self.ended, self.history = saved["reported"], saved["ended"], saved["history"]
        self.measured.numbers = saved["measured"]

    def _plain(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "keeper": self.keeper.told(),
            "history": self.history,
            **described(self.model, self.recipe, self.seed),
            "measured": self.measured.numbers,
            "reported": self.reported,
            "ended": self.ended,
        }


def _require_format(model: nn.Module, recipe: Recipe) -> None:
    expected = torch.float64 if recipe.dtype == "float64" else torch.float32
    frozen = [name for name, parameter in model.named_parameters() if parameter.is_inference()]
    if frozen:
        raise ValueError(f"The model was made under torch.inference_mode(), so {frozen[0]} can't learn; make it outside, or train copy.deepcopy(model).")
    others = [name for name, parameter in model.named_parameters() if parameter.dtype != expected]
    if others:
        found = model.get_parameter(others[0]).dtype
        raise ValueError(f"The recipe's dtype {recipe.dtype!r} trains weights of {expected}, but {others[0]} is {found}; call model.to({expected}) first.")

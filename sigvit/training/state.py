"""What a training carries from step to step: all of it goes into a checkpoint.

Schedule and randomness are functions of the step and carry nothing; bfloat16 has the range of float32, so there is no scale of the loss to carry either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sigvit.model.transformer import VisionTransformer
from sigvit.tokenizers import Composite
from sigvit.tokenizers.recording_batch import RecordingBatch
from sigvit.training.checkpoint import Checkpoints
from sigvit.training.distributed import Processes
from sigvit.training.measured import Measured
from sigvit.training.optimizer import MovingAverage, make_optimizer
from sigvit.training.recipe import Recipe

# They say how the same training is computed: another number of processes may need other ones. But see `_draws` for `compile`.
FREE_FIELDS = ("accumulation", "compile")


class BestWeights:
    """Keeps the weights of the lowest validation loss, on the CPU of the first process, and says when patience is at its end."""

    def __init__(self, patience: int) -> None:
        self.patience, self.best, self.waited = patience, float("inf"), 0
        self.weights: dict[str, Tensor] | None = None

    def look(self, model: nn.Module, loss: float, processes: Processes) -> bool:
        """Remember the model's weights if this validation loss is the lowest so far; True where training should end."""
        self.waited += 1
        if loss < self.best:
            self.best, self.waited = loss, 0
            self.weights = processes.full(model.state_dict())
        return bool(self.patience) and self.waited >= self.patience

    def restore(self, model: nn.Module, processes: Processes) -> None:
        """Put the best weights into the model, where there was a look."""
        if self.best < float("inf"):
            processes.load_weights(processes.from_first(self.weights), model)


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
        self.ended |= self.keeper.look(self.model, self.history[-1]["validation_loss"], self.processes)
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
        self._require_same(checkpoints.path(self.step), saved)
        self.processes.load_full_state(saved, self.model, self.optimizer, self.average.averages)
        self.keeper.best, self.keeper.waited, self.keeper.weights = (saved["keeper"][name] for name in ("best", "waited", "weights"))
        self.reported, self.ended, self.history = saved["reported"], saved["ended"], saved["history"]
        self.measured.numbers = saved["measured"]

    def _require_same(self, path: Path, saved: dict[str, Any]) -> None:
        own = {"seed": self.seed} | plain(self.recipe)
        free = FREE_FIELDS if not _draws(self.model) else [name for name in FREE_FIELDS if name != "compile"]
        _require_equal(path, "recipe", saved["recipe"], own, free)
        for kind, told in plain_model(self.model).items():
            before = saved.get(kind)  # checkpoints of earlier versions don't say it
            if before is not None and told is not None:
                _require_equal(path, kind, before, told, ())

    def _plain(self) -> dict[str, Any]:
        keeper = {"best": self.keeper.best, "waited": self.keeper.waited, "weights": self.keeper.weights}
        return {
            "step": self.step,
            "keeper": keeper,
            "history": self.history,
            "recipe": {"seed": self.seed} | plain(self.recipe),
            **plain_model(self.model),
            "measured": self.measured.numbers,
            "reported": self.reported,
            "ended": self.ended,
        }


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as numbers, words and lists.

    >>> plain(Recipe())["betas"]
    [0.9, 0.999]
    """
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}


def _transformer(model: nn.Module) -> VisionTransformer | None:
    """The model, or the one inside an objective or a compiler's wrapper."""
    return next((module for module in model.modules() if isinstance(module, VisionTransformer)), None)


def plain_model(model: nn.Module) -> dict[str, dict[str, Any] | None]:
    """What decides the model's numbers, also where shapes don't tell, as a checkpoint gives it back; None where the model doesn't say."""
    found = _transformer(model)
    if found is None:
        return {"architecture": None, "tokenizer": None}
    told = {"architecture": asdict(found.config), "tokenizer": _plain_tokenizer(found.tokenizer)}
    del told["architecture"]["checkpointing"]
    return json.loads(json.dumps(_plain_value(told)))


def _plain_tokenizer(tokenizer: nn.Module) -> dict[str, Any]:
    """Class and arguments, of a composite those of each part; somebody's own needn't say its arguments, or not in our way."""
    told: dict[str, Any] = {"class": type(tokenizer).__name__}
    if isinstance(tokenizer, Composite):
        return told | {f"part {number}": _plain_tokenizer(part) for number, part in enumerate(tokenizer.tokenizers)}
    try:
        arguments = tokenizer.arguments()  # type: ignore[operator]
    except Exception:  # somebody's own may be no method, ask for something or fail: no reason to end a training
        return told
    return told | (dict(arguments) if isinstance(arguments, Mapping) else {})


def _plain_value(value: Any) -> Any:
    """Numbers, arrays and tables of anybody's as Python's, with words for keys and for what is not finite: NaN equals NaN. Of anything else what it is."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(key): _plain_value(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(held) for held in value]
    return _plain_value(value.tolist()) if hasattr(value, "tolist") and not isinstance(value, type) else type(value).__name__


def _draws(model: nn.Module) -> bool:
    """Whether a step draws masks: compiled, it draws others."""
    found = _transformer(model)
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    return any(rates) or (found is not None and (found.config.dropout > 0 or any(block.stochastic_depth for block in found.encoder.blocks)))


def differences(before: dict[str, Any], own: dict[str, Any], free: Sequence[str] = ()) -> str:
    """What was saved and is now another, named with both values; "" where all but the free names agree.

    >>> differences({"heads": 2, "gain": float("nan")}, {"heads": 3, "gain": float("nan")})
    'heads was 2 and is 3'
    """
    before, own = _plain_value(before), _plain_value(own)
    names = [name for name in own | before if name not in free and own.get(name) != before.get(name)]
    return "; ".join(f"{name} was {before.get(name)!r} and is {own.get(name)!r}" for name in names)


def _require_equal(path: Path, kind: str, before: dict[str, Any], own: dict[str, Any], free: Sequence[str]) -> None:
    differ = differences(before, own, free)
    if differ:
        raise ValueError(f"The checkpoint {path} is of another {kind}: {differ}. Train with the {kind} it was made with, or into another folder.")


def _require_format(model: nn.Module, recipe: Recipe) -> None:
    expected = torch.float64 if recipe.dtype == "float64" else torch.float32
    frozen = [name for name, parameter in model.named_parameters() if parameter.is_inference()]
    if frozen:
        raise ValueError(f"The model was made under torch.inference_mode(), so {frozen[0]} can't learn; make it outside, or train copy.deepcopy(model).")
    others = [name for name, parameter in model.named_parameters() if parameter.dtype != expected]
    if others:
        found = model.get_parameter(others[0]).dtype
        raise ValueError(f"The recipe's dtype {recipe.dtype!r} trains weights of {expected}, but {others[0]} is {found}; call model.to({expected}) first.")

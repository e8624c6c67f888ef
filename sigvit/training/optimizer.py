"""AdamW with the right parameter groups, and the moving average of the weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sigvit.training.recipe import Recipe


def undecayed_names(model: nn.Module) -> set[str]:
    """Parameters that weight decay leaves alone: those the model names, else every vector and scalar (biases and norms)."""
    named_by_model = getattr(model, "no_decay_names", None)
    if callable(named_by_model):
        return named_by_model()
    return {name for name, parameter in model.named_parameters() if parameter.ndim < 2}


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the trainable parameters in two groups, decayed and not."""
    spared = undecayed_names(model)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for name, parameter in named if name not in spared], "weight_decay": recipe.weight_decay},
        {"params": [parameter for name, parameter in named if name in spared], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate, fused=True)


class MovingAverage:
    """Exponential moving average of a model's parameters, warmed up so that early steps count (decay at step t: min(decay, (1 + t) / (10 + t)))."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.averages: list[Tensor] = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)

    @torch.no_grad()
    def exchange(self) -> None:
        """Swap averages and weights; a second call swaps them back."""
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)

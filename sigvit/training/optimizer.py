"""Optimisers with the right parameter groups, and the moving average of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sigvit.training.lamb import Lamb
from sigvit.training.recipe import Recipe

# Where torch 2.6 and later run AdamW, Adam and SGD as one kernel.
FUSED_DEVICES = ("cpu", "cuda")
# What stands before the blocks; what stands behind them (final norm, pool, representation, head) learns at the full rate.
EMBEDDING = ("tokenizer.", "positions.", "class_token", "register_tokens")


def undecayed_names(model: nn.Module) -> set[str]:
    """Parameters that weight decay leaves alone: those the model names, else every vector and scalar (biases and norms)."""
    named_by_model = getattr(model, "no_decay_names", None)
    if callable(named_by_model):
        return named_by_model()
    return {name for name, parameter in model.named_parameters() if parameter.ndim < 2}


def layer_factors(model: nn.Module, layer_decay: float) -> dict[str, float]:
    """Each parameter's share of the learning rate: last block `layer_decay`, the one before its square, and so on down to the embedding; the head 1.

    Bao et al. (2022), "BEiT", arXiv:2106.08254. Blocks are those of `model.encoder.blocks`, by name.

    Raises
    ------
    ValueError : a layer decay for a model without such blocks.
    """
    names = [name for name, _ in model.named_parameters()]
    if layer_decay == 1:
        return dict.fromkeys(names, 1.0)
    encoder = getattr(model, "encoder", None)
    blocks = getattr(encoder, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        raise ValueError(f"layer_decay is {layer_decay}, but {type(model).__name__} has no encoder.blocks to tell apart; use layer_decay=1.")
    below = {f"encoder.blocks.{number}.": len(blocks) - number for number in range(len(blocks))} | dict.fromkeys(EMBEDDING, len(blocks) + 1)
    return {name: layer_decay ** next((power for start, power in below.items() if name.startswith(start)), 0) for name in names}


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The trainable parameters by learning rate and decay: {"params", "weight_decay", "factor"} (of the learning rate)."""
    model = getattr(model, "_orig_mod", model)  # torch.compile's wrapper puts a word before the names that decay and rate go by
    spared, factors = undecayed_names(model), layer_factors(model, recipe.layer_decay)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = []
    for factor in sorted({factors[name] for name, _ in named}):
        for decay, is_spared in ((recipe.weight_decay, False), (0.0, True)):
            parameters = [parameter for name, parameter in named if factors[name] == factor and (name in spared) == is_spared]
            groups.append({"params": parameters, "weight_decay": decay, "factor": factor})
    return [group for group in groups if group["params"]]


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over `parameter_groups`, fused where the device can.

    Raises
    ------
    ValueError : the model has nothing to train.
    """
    groups = parameter_groups(model, recipe)
    if not groups:
        raise ValueError(f"{type(model).__name__} has no parameter that requires a gradient; there is nothing to train.")
    parameters = [parameter for group in groups for parameter in group["params"]]
    # None leaves torch its own choice, several tensors at a time.
    fused = True if all(parameter.device.type in FUSED_DEVICES for parameter in parameters) else None
    if recipe.optimizer == "sgd":
        # torch has no fused SGD for the sharded tensors of FSDP2.
        fused = None if any(hasattr(parameter, "full_tensor") for parameter in parameters) else fused
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, fused=fused)
    if recipe.optimizer == "lamb":
        return Lamb(groups, lr=recipe.learning_rate, betas=recipe.betas)
    adam = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return adam(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give each group its share of the step's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["factor"]


class MovingAverage:
    """Exponential moving average of a model's parameters, warmed up so that early steps count (decay at step t: min(decay, (1 + t) / (10 + t))).

    With a decay of 0 the average is the weights themselves and costs nothing. `averages` is all of its state.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad and decay > 0]
        self.averages: list[Tensor] = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        if self.averages:
            torch._foreach_lerp_(self.averages, self.parameters, 1 - min(self.decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def exchange(self) -> None:
        """Swap averages and weights; a second call swaps them back."""
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(kept)

"""LAMB, which torch doesn't have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Lamb(torch.optim.Optimizer):
    """Adam's direction, each decayed tensor's step scaled to the length of its weights: for batches of thousands.

    You et al. (2020), "Large Batch Optimization for Deep Learning", arXiv:1904.00962; undecayed tensors (biases, norms) take Adam's step as it is, as in the
    training of DeiT III.

    Parameters
    ----------
    params : parameters or groups of them.
    lr, betas, eps, weight_decay : as of AdamW; the decay is part of the direction, so it is scaled with it.

    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> weight.grad = torch.tensor([1.0, -1.0])
    >>> Lamb([weight], lr=0.1, weight_decay=1e-9).step()
    >>> round((weight.detach() - torch.tensor([3.0, 4.0])).norm().item(), 4)  # a tenth of the weight's length of 5
    0.5
    """

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of all parameters that have a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(self._step_of(parameter, group))
        return loss

    def _step_of(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        direction = self._direction(parameter, group)
        if group["weight_decay"] == 0:
            return direction * group["lr"]
        direction = direction + group["weight_decay"] * parameter
        weight_norm, direction_norm = parameter.norm(), direction.norm()
        ratio = torch.where((weight_norm > 0) & (direction_norm > 0), weight_norm / direction_norm, torch.ones_like(weight_norm))
        return direction * (ratio * group["lr"])

    def _direction(self, parameter: Tensor, group: dict[str, Any]) -> Tensor:
        """Adam's, with both moments corrected for their start at zero."""
        state, (first, second) = self.state[parameter], group["betas"]
        if not state:
            state.update(step=torch.zeros(()), mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        state["mean"].lerp_(parameter.grad, 1 - first)  # type: ignore[arg-type]
        state["square"].mul_(second).addcmul_(parameter.grad, parameter.grad, value=1 - second)  # type: ignore[arg-type]
        steps = float(state["step"])
        return state["mean"] / (1 - first**steps) / ((state["square"] / (1 - second**steps)).sqrt() + group["eps"])

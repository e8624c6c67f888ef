"""Clipping and AdamW or Adam for K models at once: torch's own kernels, with a number for each model where theirs may differ."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.adamw import adamw

# K = models, N = trainable numbers of one model

# torch.optim's own.
EPSILON = 1e-8
KERNELS = {"adamw": adamw, "adam": adam}


def clip_(gradient: Tensor, largest: Tensor) -> Tensor:
    """Scale each row of (K, N) to a norm of at most `largest`, (K,), as `torch.nn.utils.clip_grad_norm_` does for one model; returns the norms before, (K,).

    >>> gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    >>> [round(norm, 3) for norm in clip_(gradient, torch.tensor([1.0, 1.0])).tolist()], [round(number, 3) for number in gradient[:, 1].tolist()]
    ([5.0, 0.5], [0.8, 0.4])
    """
    norms = torch.linalg.vector_norm(gradient, dim=1)
    gradient.mul_((largest / (norms + 1e-6)).clamp(max=1)[:, None])
    return norms


class StackedAdam:
    """AdamW (Loshchilov & Hutter 2019) or Adam (Kingma & Ba 2015; the decay is an L2 term) for the rows of (K, N) weights.

    Each row has its own learning rate, decay and step.

    Parameters
    ----------
    weights : updated in place. first, second : (K, N) running means of the gradient and of its square.
    n_decayed : the first so many columns decay. kind : "adamw" or "adam".

    >>> weights = torch.ones(2, 3)
    >>> optimizer = StackedAdam(weights, torch.zeros(2, 3), torch.zeros(2, 3), n_decayed=2, betas=(0.9, 0.999))
    >>> optimizer.gradient.fill_(5.0).shape
    torch.Size([2, 3])
    >>> optimizer.update(rates=[0.1, 0.0], decays=[1.0, 1.0], steps=[0, 7])
    >>> [[round(number, 3) for number in row] for row in weights.tolist()]
    [[0.8, 0.8, 0.9], [1.0, 1.0, 1.0]]
    """

    def __init__(self, weights: Tensor, first: Tensor, second: Tensor, n_decayed: int, betas: tuple[float, float], kind: str = "adamw") -> None:
        self.gradient = torch.zeros_like(weights)
        self.first, self.second, self.betas, self.kernel = first, second, betas, KERNELS[kind]
        columns = (slice(0, n_decayed), slice(n_decayed, None))
        # Slices made once: there are eight for each member.
        self.parts = [[[matrix[k, part] for matrix in (weights, self.gradient, first, second)] for k in range(len(weights))] for part in columns]

    def update(self, rates: Sequence[float], decays: Sequence[float], steps: Sequence[int]) -> None:
        """One step of every member by `gradient`; `steps` counts each member's steps before this one."""
        together: dict[tuple[float, float, int], list[int]] = {}
        for member, told in enumerate(zip(rates, decays, steps, strict=True)):
            together.setdefault(told, []).append(member)
        for (rate, decay, step), members in together.items():
            for part, share in zip(self.parts, (decay, 0.0), strict=True):
                self._update([part[member] for member in members], rate, share, step)

    def _update(self, rows: list[list[Tensor]], rate: float, decay: float, step: int) -> None:
        """One kernel for all members that share these numbers."""
        weights, gradients, first, second = (list(column) for column in zip(*rows, strict=True))
        if not weights[0].numel():
            return
        counts = list(torch.full((len(rows),), float(step), device=weights[0].device).unbind())
        self.kernel(
            weights,
            gradients,
            first,
            second,
            [],
            counts,
            fused=True,
            amsgrad=False,
            beta1=self.betas[0],
            beta2=self.betas[1],
            lr=rate,
            weight_decay=decay,
            eps=EPSILON,
            maximize=False,
        )

"""Mixing of whole samples and their targets, for images and recordings alike."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sigvit.training.randomness import derive_seed, generator


def mixup(values: Tensor, targets: Tensor, alpha: float, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """Each sample mixed with another of its batch, each with its own weight from Beta(alpha, alpha); targets (batch, classes) likewise.

    Zhang et al. (2018), "mixup: Beyond Empirical Risk Minimization". alpha 0 leaves both as they are.

    >>> values, targets = mixup(torch.eye(3), torch.eye(3), 1.0, seed=0, step=0)
    >>> torch.equal(values, targets), targets.sum(1).tolist()
    (True, [1.0, 1.0, 1.0])
    """
    if alpha == 0:
        return values, targets
    batch = len(values)
    weights = np.random.default_rng(derive_seed(seed, "mixup", step)).beta(alpha, alpha, batch)
    own = torch.as_tensor(weights, dtype=values.dtype).to(values.device)
    partner = torch.randperm(batch, generator=generator(seed, "partner", step)).to(values.device)
    spread = own.view(-1, *[1] * (values.ndim - 1))
    return torch.lerp(values[partner], values, spread), torch.lerp(targets[partner], targets, own[:, None])

"""What one fit of a network sees of the windows, and what it holds out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigvit.evidence.inner_folds import with_validation_group
from sigvit.model.scaling import Scaling

VALIDATION_SHARE = 0.2


@dataclass
class TrainingPart:
    """What one fit sees: signals (windows, electrodes, samples), class numbers, groups or None, a held-out part or None, and the electrodes (Info or count)."""

    signals: np.ndarray
    targets: np.ndarray
    groups: np.ndarray | None
    held_out: tuple[np.ndarray, np.ndarray] | None
    electrodes: Any
    _tensors: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor | None]] = field(default_factory=dict, repr=False)

    @property
    def sampling_rate(self) -> float | None:
        """Hertz, where the electrodes say it."""
        return None if isinstance(self.electrodes, int) else float(self.electrodes["sfreq"])

    @cached_property
    def scaling(self) -> Scaling:
        """That of the signals."""
        return Scaling.of(self.signals)

    def standardised(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Signals and held-out signals as tensors, made once for all fits on this part."""
        if (dtype, device) not in self._tensors:
            held_out = None if self.held_out is None else self.scaling(self.held_out[0], dtype, device)
            self._tensors[dtype, device] = self.scaling(self.signals, dtype, device), held_out
        return self._tensors[dtype, device]


def join(part: TrainingPart) -> TrainingPart:
    """A validation part that nothing is chosen by is trained on as well."""
    assert part.held_out is not None
    signals = np.concatenate([part.signals, part.held_out[0]])
    targets = np.concatenate([part.targets, part.held_out[1]])
    return TrainingPart(signals, targets, with_validation_group(part.groups, len(part.held_out[1])), None, part.electrodes)


def hold_out(part: TrainingPart, seed: int) -> TrainingPart:
    """A validation part of whole groups where there are several, else the last fifth of each class."""
    chosen = np.zeros(len(part.targets), dtype=bool)
    names = np.unique(part.groups) if part.groups is not None else np.array([])
    if part.groups is not None and len(names) > 1:
        shuffled = np.random.default_rng(seed).permutation(names)
        chosen = np.isin(part.groups, shuffled[: max(1, round(VALIDATION_SHARE * len(names)))])
    else:
        for number in np.unique(part.targets):
            rows = np.flatnonzero(part.targets == number)
            chosen[rows[len(rows) - max(1, int(VALIDATION_SHARE * len(rows))) :]] = True
    if set(part.targets[~chosen]) != set(part.targets):
        raise ValueError("Holding out a validation part left a class without training windows; give `validation`, more windows, or early_stopping=False.")
    groups = None if part.groups is None else part.groups[~chosen]
    return TrainingPart(part.signals[~chosen], part.targets[~chosen], groups, (part.signals[chosen], part.targets[chosen]), part.electrodes)

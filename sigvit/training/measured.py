"""Numbers of each step, kept on the device as they come: reading waits for the device, so it is done at intervals only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from sigvit.training.distributed import Processes


class NotFiniteError(ValueError):
    """A number of a step was NaN or infinite; `faults` tells it of each training that came to no end, where there were several."""

    faults: Sequence[str] = ()

    @classmethod
    def of_several(cls, faults: Sequence[str], count: int) -> Self:
        """Of so many trainings these came to no end."""
        error = cls(f"{' '.join(faults)} That ended {len(faults)} of {count} trainings.")
        error.faults = faults
        return error


class Measured:
    """Loss, gradient norm and the like of the steps that aren't reported yet, as means over the processes.

    >>> measured = Measured(Processes.alone())
    >>> for loss in (3.0, 1.0, 2.0):
    ...     measured.add({"loss": torch.tensor(loss)})
    >>> measured.read(step=3)
    >>> measured.mean("loss", steps=2)
    1.5
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._fresh: dict[str, list[Tensor]] = {}
        self.numbers: dict[str, Tensor] = {}

    def add(self, numbers: dict[str, Tensor]) -> None:
        """The scalars of one step."""
        for name, number in numbers.items():
            self._fresh.setdefault(name, []).append(number)

    def read(self, step: int) -> None:
        """Bring what is new after `step` steps to the CPU. Every process must call it at the same step.

        Raises
        ------
        NotFiniteError : says which number it was, and after how many steps.
        """
        for name, fresh in self._fresh.items():
            new = self._processes.mean(torch.stack(fresh)).cpu()
            self.numbers[name] = torch.cat([self.numbers[name], new]) if name in self.numbers else new
        self._fresh = {}
        for name, numbers in self.numbers.items():
            bad = (~numbers.isfinite()).nonzero().flatten().tolist()
            if bad:
                told, value, at = name.replace("_", " "), float(numbers[bad[0]]), step - len(numbers) + bad[0] + 1
                raise NotFiniteError(f"The {told} became {value} at step {at}: lower the learning rate or look for extreme values.")

    def mean(self, name: str, steps: int) -> float:
        """The mean over the last `steps` that were read."""
        return float(self.numbers[name][-steps:].mean())

    def keep(self, steps: int) -> None:
        """Forget all but the last `steps`."""
        self.numbers = {name: numbers[max(0, len(numbers) - steps) :].clone() for name, numbers in self.numbers.items()}

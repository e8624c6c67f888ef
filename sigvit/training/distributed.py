"""Several processes that train one model: what one process does, shared out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only


class Processes:
    """One process alone; the kinds with company answer the same calls."""

    def __init__(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> None:
        self.rank, self.world, self.device = rank, world, torch.device(device)

    @classmethod
    def alone(cls, device: torch.device | str = "cpu") -> Processes:
        """This process and no other."""
        return Processes(0, 1, device)

    @property
    def first(self) -> bool:
        """Whether this process writes checkpoints and the journal."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module to call forward on. Make optimiser and moving average afterwards, from `model`."""
        return model

    @contextmanager
    def accumulating(self, module: nn.Module, last: bool) -> Iterator[None]:
        """Around one forward and backward of several whose gradients add up; `module` is what `wrap` gave. Only the last one needs the other processes."""
        yield

    def clip(self, parameters: Iterable[Tensor], norm: float) -> Tensor:
        """Scale the whole model's gradient down to `norm` where it is longer; returns its length before, a scalar."""
        return nn.utils.clip_grad_norm_(parameters, norm).detach()

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, on each."""
        return value

    def any(self, value: bool) -> bool:
        """Whether it is so in any process."""
        return value

    def barrier(self) -> None:
        """Return when every process has come here."""

    def full(self, tree: Any) -> Any:
        """A copy on the CPU of a tree (dicts, lists, tuples) whose tensors may be spread over the processes; in the first process, None in the others."""
        return tree_map_only(Tensor, lambda tensor: tensor.detach().to("cpu", copy=True), tree)

    def from_first(self, tree: Any) -> Any:
        """What the first process holds, in every process: tensors on the CPU and plain data."""
        return tree

    def full_state(self, model: nn.Module, optimizer: torch.optim.Optimizer, average: list[Tensor]) -> dict[str, Any] | None:
        """{"model", "optimizer", "average"} as plain CPU tensors, the same for any number of processes; in the first process, None in the others."""
        return self.full({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average})

    def load_full_state(self, state: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, average: list[Tensor]) -> None:
        """Put back what `full_state` gave, in every process; the state may come from another number and kind of processes."""
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            for tensor, saved in zip(average, state["average"], strict=True):
                tensor.copy_(saved)

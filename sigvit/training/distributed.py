"""Several processes that train one model: what one process does, shared out over all that `torchrun` started.

Every process computes an equal share of each step's batch; the gradient is the mean over the shares, so that w processes give the weights of one: equal to
rounding, where the model has neither dropout nor stochastic depth, which draw other masks for another number of shares (processes × accumulation).
`process_groups` has the kinds with company; they are loaded when they are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only


class Processes:
    """One process alone; `DataParallel` and `FullySharded` answer the same calls for several.

    Attributes
    ----------
    rank, world : number of this process, and how many there are.
    device : where this process computes.

    >>> processes = Processes.alone()
    >>> processes.rank, processes.world, processes.first, processes.any(True)
    (0, 1, True, True)
    """

    def __init__(self, rank: int = 0, world: int = 1, device: torch.device | str = "cpu") -> None:
        self.rank, self.world, self.device = rank, world, torch.device(device)

    @classmethod
    def alone(cls, device: torch.device | str = "cpu") -> Processes:
        """This process and no other."""
        return Processes(0, 1, device)

    @staticmethod
    @contextmanager
    def from_torchrun(kind: str = "ddp") -> Iterator[Processes]:
        """The processes that `torchrun` started, each on its own GPU, or all on the CPU where there is none; without `torchrun`, this one alone.

        Parameters
        ----------
        kind : "ddp", the whole model in each process, or "fsdp2", a share of it in each.

        Raises
        ------
        ValueError : another kind.
        RuntimeError : more processes on this machine than GPUs.

        >>> with Processes.from_torchrun("fsdp2") as processes:
        ...     processes.world
        1
        """
        if kind not in ("ddp", "fsdp2"):
            raise ValueError(f"kind is {kind!r}; there are 'ddp' (the whole model in each process) and 'fsdp2' (a share of it in each).")
        if "RANK" not in os.environ:
            yield Processes.alone("cuda" if torch.cuda.is_available() else "cpu")
            return
        from sigvit.training.process_groups import join_group

        with join_group(kind) as processes:
            yield processes

    @property
    def first(self) -> bool:
        """Whether this is the process that writes checkpoints and the journal."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module to call forward on; every process begins with the first one's weights. Make optimiser and moving average afterwards, from `model`.

        Raises
        ------
        ValueError : several processes and a batch normalisation, whose statistics would be those of a share of the batch.
        """
        return model

    @contextmanager
    def accumulating(self, module: nn.Module, last: bool) -> Iterator[None]:
        """Around forward and backward of one of several parts whose gradients add up; `module` is what `wrap` gave. Only the last needs the others."""
        yield

    def clip(self, parameters: Iterable[Tensor], norm: float) -> Tensor:
        """Scale the whole model's gradient down to `norm` where it is longer; returns its length before, a scalar."""
        return self._whole(nn.utils.clip_grad_norm_(parameters, norm).detach())

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, in each."""
        return value

    def any(self, value: bool) -> bool:
        """Whether it is so in any process; the same answer in each."""
        return value

    def barrier(self) -> None:
        """Return when every process has come here."""

    def full(self, tree: Any) -> Any:
        """A copy on the CPU of a tree (dicts, lists, tuples) whose tensors may be shared out: in the first process; None in the others, which must call too."""
        copied = tree_map_only(Tensor, self._copy, tree)
        return copied if self.first else None

    def from_first(self, tree: Any) -> Any:
        """What the first process holds, in every process: plain data, and tensors on the CPU. What the others give is ignored."""
        return tree

    def full_state(self, model: nn.Module, optimizer: torch.optim.Optimizer, average: list[Tensor]) -> dict[str, Any] | None:
        """{"model", "optimizer", "average"} as plain tensors on the CPU, whatever the kind and number of processes: in the first; None in the others."""
        return self.full({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average})

    def load_full_state(self, state: dict[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer, average: list[Tensor]) -> None:
        """Put back, in every process, what `full_state` gave, be it to another kind or number of processes (see `from_first`).

        Raises
        ------
        ValueError : the state is of another architecture or optimiser; the message lists what differs.
        """
        self.load_weights(state["model"], model)
        self._load_optimizer(state["optimizer"], optimizer)
        with torch.no_grad():
            for tensor, saved in zip(average, state["average"], strict=True):
                tensor.copy_(self._share(tensor, saved))

    def load_weights(self, weights: dict[str, Tensor], model: nn.Module) -> None:
        """Put a whole state dict into a model that may be shared out. ValueError lists names and shapes that don't belong to the model."""
        own = model.state_dict()
        _check_architecture({name: tuple(tensor.shape) for name, tensor in own.items()}, {name: tuple(tensor.shape) for name, tensor in weights.items()})
        model.load_state_dict({name: self._share(tensor, weights[name]) for name, tensor in own.items()})

    def _load_optimizer(self, saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
        """The saved state with the optimiser's own groups: these follow from recipe and step, and say how this machine computes (fused or not)."""
        groups = optimizer.state_dict()["param_groups"]
        found, expected = ([len(group["params"]) for group in each] for each in (saved["param_groups"], groups))
        if found != expected:
            raise ValueError(f"The checkpoint's optimiser has groups of {found} parameters, this one has {expected}; it is of another architecture or recipe.")
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state = {
            number: {name: self._share(parameters[number], value) if _is_of(parameters[number], value) else value for name, value in values.items()}
            for number, values in saved["state"].items()
        }
        optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _copy(self, tensor: Tensor) -> Tensor | None:
        whole = self._whole(tensor.detach())
        return whole.to("cpu", copy=True) if self.first else None

    def _whole(self, tensor: Tensor) -> Tensor:
        """The tensor of which this process may hold a share."""
        return tensor

    def _share(self, like: Tensor, whole: Tensor) -> Tensor:
        """This process's share of a tensor that every process has whole, cut as `like` is."""
        return whole


def _is_of(parameter: Tensor, value: Any) -> bool:
    """Whether it has a number for each of the parameter's, as moments have and the count of steps has not."""
    return isinstance(value, Tensor) and value.shape == parameter.shape


def _check_architecture(own: dict[str, tuple[int, ...]], saved: dict[str, tuple[int, ...]]) -> None:
    if own == saved:
        return
    differ = [f"{name} is {saved[name]} instead of {own[name]}" for name in own if name in saved and saved[name] != own[name]]
    differ += [f"{name} is missing" for name in own.keys() - saved.keys()] + [f"{name} is too many" for name in saved.keys() - own.keys()]
    raise ValueError(f"The checkpoint is of another architecture than the model: {'; '.join(sorted(differ))}.")

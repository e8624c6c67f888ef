"""The two ways to share a training out over processes. Those on CPUs speak over gloo, those on GPUs over NCCL.

`DataParallel` keeps the whole model in each process (Li et al. 2020, arXiv:2006.15704); `FullySharded` keeps a w-th of weights, gradients and optimiser
state in each of w processes and gathers one block at a time (Rajbhandari et al. 2020, arXiv:1910.02054; `torch.distributed.fsdp.fully_shard`).
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves, tree_map_only

from sigvit.model.encoder import Block
from sigvit.training.distributed import Processes

# Numbers the groups that this process joins, one after the other.
GROUPS = itertools.count()


class DataParallel(Processes):
    """Processes that each hold the whole model; gradients are averaged while they are computed."""

    def wrap(self, model: nn.Module) -> nn.Module:
        self._refuse_batch_norm(model)
        device_ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model.to(self.device), device_ids=device_ids, gradient_as_bucket_view=True)

    @contextmanager
    def accumulating(self, module: nn.Module, last: bool) -> Iterator[None]:
        with nullcontext() if last else module.no_sync():  # type: ignore[operator]
            yield

    def mean(self, value: Tensor) -> Tensor:
        summed = value.detach().clone()
        distributed.all_reduce(summed)
        return summed / self.world

    def any(self, value: bool) -> bool:
        # On the CPU also where gradients are not, so that the GPU needn't be waited for.
        count = torch.tensor(int(value))
        distributed.all_reduce(count)
        return bool(count)

    def barrier(self) -> None:
        self.any(False)

    def from_first(self, tree: Any) -> Any:
        announced: list[Any] = [tree_map_only(Tensor, _Announced, tree) if self.first else None]
        distributed.broadcast_object_list(announced, src=0, device=torch.device("cpu"))
        received = tree if self.first else tree_map_only(_Announced, _Announced.empty, announced[0])
        for leaf in tree_leaves(received):
            if isinstance(leaf, Tensor):
                distributed.broadcast(leaf, src=0)
        return received

    def _refuse_batch_norm(self, model: nn.Module) -> None:
        found = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
        if found and self.world > 1:
            raise ValueError(f"{found} normalise over the batch, of which a process sees a share; train in one process, or take a LayerNorm or GroupNorm.")


class FullySharded(DataParallel):
    """Processes that each hold a share of every weight and gather one block's weights at a time."""

    def wrap(self, model: nn.Module) -> nn.Module:
        self._refuse_batch_norm(model)
        model.to(self.device)
        for tensor in (*model.parameters(), *model.buffers()):
            distributed.broadcast(tensor.detach(), src=0)
        mesh = init_device_mesh(self.device.type, (self.world,))
        for block in [module for module in model.modules() if isinstance(module, Block)]:
            fully_shard(block, mesh=mesh)
        # By default the outermost weights would stay gathered after a forward without backward, and the moving average's exchange would pass them by.
        fully_shard(model, mesh=mesh, reshard_after_forward=True)
        return model

    @contextmanager
    def accumulating(self, module: nn.Module, last: bool) -> Iterator[None]:
        module.set_requires_gradient_sync(last)  # type: ignore[operator]
        yield

    def _whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def _share(self, like: Tensor, whole: Tensor) -> Tensor:
        if not isinstance(like, DTensor):
            return whole
        return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


@contextmanager
def join_group(kind: str) -> Iterator[Processes]:
    """Meet the other processes, as `torchrun` says in the environment, and leave them at the end; `kind` as in `Processes.from_torchrun`."""
    _end_with_parent()
    device = _own_device(int(os.environ["LOCAL_RANK"]))
    backend, bound = ("cpu:gloo,cuda:nccl", device) if device.type == "cuda" else ("gloo", None)
    store, rank, world = next(distributed.rendezvous("env://"))
    # Under a prefix of its own: the addresses of an earlier group of the same processes are still in the store.
    distributed.init_process_group(backend, store=distributed.PrefixStore(f"group {next(GROUPS)}", store), rank=rank, world_size=world, device_id=bound)
    try:
        yield {"ddp": DataParallel, "fsdp2": FullySharded}[kind](rank, world, device)
    except BaseException as error:
        _empty_frames(error)
        raise
    finally:
        # A wrapped model that outlives its group joins gloo's threads while it holds Python's lock, which they may wait for.
        gc.collect()
        distributed.destroy_process_group()


def _empty_frames(error: BaseException | None) -> None:
    """Let go of what the functions held that an error came through, the wrapped model among it."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


class _Announced:
    """Shape and number format of a tensor that is sent afterwards."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape, self.dtype = tensor.shape, tensor.dtype

    def empty(self) -> Tensor:
        return torch.empty(self.shape, dtype=self.dtype)


def _end_with_parent() -> None:
    """Die when `torchrun` is killed. Its processes would otherwise go on without it, beside those of the next start."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # from <linux/prctl.h>
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _own_device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise RuntimeError(f"Process {local_rank} of this machine has no GPU of its own; there are {torch.cuda.device_count()}: lower --nproc-per-node.")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)

"""Randomness as a function of (seed, purpose, step): nothing has to be saved for a resume to be exact."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor


def derive_seed(seed: int, purpose: str, step: int = 0) -> int:
    """A 63-bit seed that depends on all three arguments.

    >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3)
    True
    >>> len({derive_seed(s, p, t) for s in range(3) for p in ("order", "dropout") for t in range(3)})
    18
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A CPU generator for one purpose at one step."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, step))


def seed_dropout(seed: int, device: torch.device) -> None:
    """Set the generators that dropout on this device draws from.

    `torch.manual_seed` would seed every kind of device: where a GPU could be but isn't used, that keeps a stack trace a call, 6 % of a small model's step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)


def batch_rows(n_rows: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Row numbers of the batch of step `step`, (batch,) int64: a pure function of its arguments.

    Every epoch is a fresh permutation cut into equal batches; the rows left over when the batch size does not divide wait for the
    next epoch's permutation, so that all batches are equally large. A batch is never larger than the set.

    >>> sorted(torch.cat([batch_rows(6, 2, 0, t) for t in range(3)]).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    batch_size = min(batch_size, n_rows)
    batches = n_rows // batch_size
    epoch, number = divmod(step, batches)
    order = torch.randperm(n_rows, generator=generator(seed, "order", epoch))
    return order[number * batch_size : (number + 1) * batch_size]


def on_rows(values: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`values` (B, …) with `change`, of the chosen rows and their numbers, on the chosen rows; the others bit for bit as they were.

    `chosen` (B,) bool lies on the CPU, so that nothing waits for a device.

    >>> on_rows(torch.ones(3), torch.tensor([True, False, True]), lambda values, rows: 10 * rows.float())
    tensor([ 0.,  1., 20.])
    """
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return values
    there = rows.to(values.device, non_blocking=True)
    return values.index_copy(0, there, change(values[there], rows))

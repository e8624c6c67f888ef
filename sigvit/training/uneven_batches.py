"""Batches of unequal size in one stack: filled up to the largest, so that what fills them up counts for nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.training.member import Member
from sigvit.training.stacked import takes_uneven_batches

# K = members, B = rows of a batch

# A batch that is at least this part of the largest in its stack is filled up to it: at most a third more arithmetic, and a stack more is worse than that.
FULL = 0.75


def of_like_batches(members: Sequence[Member]) -> list[list[Member]]:
    """Parts whose batches may be filled up to the largest of the part: small folds differ in size, and so then do their batches."""
    least = FULL if takes_uneven_batches(members[0].model) else 1.0
    parts: list[list[Member]] = []
    for member in sorted(members, key=lambda member: -member.batch_size):
        if not parts or member.batch_size < least * parts[-1][0].batch_size:
            parts.append([])
        parts[-1].append(member)
    return parts


def row_shares(sizes: Sequence[int], like: Tensor) -> Tensor:
    """(K, B): 1 / size for a batch's own rows, nothing for those that fill it up."""
    return torch.stack([functional.pad(like.new_full((size,), 1 / size), (0, max(sizes) - size)) for size in sizes])


def repeated(part: Tensor, rows: int) -> Tensor:
    """Filled up with its first row, (B, …) → (rows, …)."""
    missing = rows - len(part)
    return torch.cat([part, part[:1].expand(missing, *part.shape[1:])]) if missing else part


def filled(parts: list[Tensor]) -> Tensor:
    """Parts of unequal length as one tensor, zeros at the end of the shorter ones."""
    length = max(len(part) for part in parts)
    return torch.stack([functional.pad(part, (0,) * (2 * (part.ndim - 1)) + (0, length - len(part))) for part in parts])

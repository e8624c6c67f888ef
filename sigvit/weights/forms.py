"""How a tensor is laid out in a file, and how here: each form is read and written by a pair of functions that undo each other, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

# D = width, H = heads, d = D / H, P = patch, C = channels, R = rows of a table


class Form(NamedTuple):
    """How many axes a file's tensor has (None: any), and the two ways; `write` is also given the number of heads."""

    axes: tuple[int, ...] | None
    read: Callable[[Tensor], Tensor]
    write: Callable[[Tensor, int], Tensor]


FORMS = {
    "same": Form(None, lambda x: x, lambda x, heads: x),
    # (1, 1, D) or (1, D) → (D,)
    "token": Form((1, 2, 3), lambda x: x.flatten(), lambda x, heads: x[None, None]),
    # (1, R, D) → (R, D)
    "rows": Form((2, 3), lambda x: x.reshape(-1, x.shape[-1]), lambda x, heads: x[None]),
    # flax's kernels put outputs last
    "dense": Form((2,), lambda x: x.T, lambda x, heads: x.T),
    # (P, P, C, D) → (D, C, P, P)
    "convolution": Form((4,), lambda x: x.permute(3, 2, 0, 1), lambda x, heads: x.permute(2, 3, 1, 0)),
    # (D, H, d) → (D, D)
    "heads_in": Form((3,), lambda x: x.flatten(1).T, lambda x, heads: x.T.unflatten(1, (heads, -1))),
    # (H, d) → (D,)
    "heads_bias": Form((2,), lambda x: x.flatten(), lambda x, heads: x.unflatten(0, (heads, -1))),
    # (H, d, D) → (D, D)
    "heads_out": Form((3,), lambda x: x.flatten(0, 1).T, lambda x, heads: x.T.unflatten(0, (heads, -1))),
    # group norms of old files are (1, 1, 1, C)
    "channels": Form((1, 4), lambda x: x.flatten(), lambda x, heads: x),
}

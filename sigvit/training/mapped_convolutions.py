"""Convolutions of many models at once, in the number format that autocast asks for."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (functional.conv1d, functional.conv2d)


class AutocastConvolutions(TorchFunctionMode):
    """Casts what convolutions read, as autocast does for one model: those that `vmap` maps over models escape it on a CPU, and on a GPU their bias does.

    Torch refuses one that reads a product's bfloat16 beside float32 weights.

    >>> signal, filters = torch.ones(2, 3, 7, 5), torch.ones(2, 4, 7, 3)
    >>> with torch.autocast("cpu", torch.bfloat16), AutocastConvolutions():
    ...     torch.vmap(functional.conv1d)(signal, filters).dtype
    torch.bfloat16
    """

    def __torch_function__(self, function: Callable, types: Sequence, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        if function in CONVOLUTIONS and torch.is_autocast_enabled(args[0].device.type):
            wanted = torch.get_autocast_dtype(args[0].device.type)
            args = tuple(each.to(wanted) if isinstance(each, Tensor) and each.dtype == torch.float32 else each for each in args)
        return function(*args, **(kwargs or {}))

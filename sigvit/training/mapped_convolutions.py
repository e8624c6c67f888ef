"""Convolutions of many models at once: on a CPU one after the other, and in the number format that autocast asks for."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (functional.conv1d, functional.conv2d)


class MappedConvolutions(TorchFunctionMode):
    """Within it, `vmap` over models computes a CPU's convolutions model by model: as one with groups they take half as long again, or twice as long.

    What they read is cast as autocast does it for one model: those that are mapped escape it on a CPU, and on a GPU their bias does. Torch refuses one that
    reads a product's bfloat16 beside float32 weights.

    >>> signal, filters = torch.ones(2, 3, 7, 5), torch.ones(2, 4, 7, 3)
    >>> with torch.autocast("cpu", torch.bfloat16), MappedConvolutions():
    ...     torch.vmap(functional.conv1d)(signal, filters).dtype
    torch.bfloat16
    """

    def __torch_function__(self, function: Callable, types: Sequence, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        if function not in CONVOLUTIONS:
            return function(*args, **(kwargs or {}))
        device = args[0].device.type
        if torch.is_autocast_enabled(device):
            wanted = torch.get_autocast_dtype(device)
            args = tuple(each.to(wanted) if isinstance(each, Tensor) and each.dtype == torch.float32 else each for each in args)
        if device != "cpu" or torch.compiler.is_compiling():
            return function(*args, **(kwargs or {}))
        return OneByOne.apply(lambda *own: function(*own, **(kwargs or {})), *args)


class OneByOne(torch.autograd.Function):
    """A function of tensors, which `vmap` calls for each model by itself.

    >>> torch.vmap(lambda each: OneByOne.apply(torch.cumsum, each, 0))(torch.ones(2, 3)).tolist()
    [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    """

    @staticmethod
    def forward(function: Callable[..., Tensor], *args: Any) -> Tensor:  # type: ignore[override]
        return function(*args)

    @staticmethod
    def setup_context(context: Any, inputs: tuple, output: Tensor) -> None:  # type: ignore[override]
        context.function, *args = inputs
        context.at = [place for place, each in enumerate(args) if isinstance(each, Tensor)]
        context.others = [None if isinstance(each, Tensor) else each for each in args]
        context.save_for_backward(*(args[place] for place in context.at))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Where nothing is mapped; else torch has the way back of every model's own call."""
        args = list(context.others)
        for place, each in zip(context.at, context.saved_tensors, strict=True):
            args[place] = each.detach().requires_grad_(context.needs_input_grad[place + 1])
        asked = [place for place in context.at if context.needs_input_grad[place + 1]]
        with torch.enable_grad():
            found = torch.autograd.grad(context.function(*args), [args[place] for place in asked], gradient)
        gradients = dict(zip(asked, found, strict=True))
        return None, *(gradients.get(place) for place in range(len(args)))

    @staticmethod
    def vmap(info: Any, axes: tuple, function: Callable[..., Tensor], *args: Any) -> tuple[Tensor, int]:  # type: ignore[override]
        stacks = [each.unbind(axis) if axis is not None else [each] * info.batch_size for each, axis in zip(args, axes[1:], strict=True)]
        return torch.stack([function(*own) for own in zip(*stacks, strict=True)]), 0

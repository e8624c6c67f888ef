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
        ordered = _in_order(*args, **(kwargs or {}))
        device = ordered[0].device.type
        if torch.is_autocast_enabled(device):
            wanted = torch.get_autocast_dtype(device)
            ordered = tuple(each.to(wanted) if isinstance(each, Tensor) and each.dtype == torch.float32 else each for each in ordered)
        if device == "cpu" and not torch.compiler.is_compiling() and any(map(_is_mapped, ordered)):
            return OneByOne.apply(function, *ordered)
        return function(*ordered)


def _in_order(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> tuple:
    """The arguments of a convolution, however they were given."""
    return input, weight, bias, stride, padding, dilation, groups


def _is_mapped(each: Any) -> bool:
    return isinstance(each, Tensor) and torch._C._functorch.is_batchedtensor(each)


class OneByOne(torch.autograd.Function):
    """A function of tensors that `vmap` maps, which is called for each model by itself; derivatives are those of the calls.

    >>> torch.vmap(lambda each: OneByOne.apply(torch.cumsum, each, 0))(torch.ones(2, 3)).tolist()
    [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    """

    @staticmethod
    def forward(function: Callable[..., Tensor], *args: Any) -> Tensor:  # type: ignore[override]
        return function(*args)

    @staticmethod
    def setup_context(context: Any, inputs: tuple, output: Tensor) -> None:  # type: ignore[override]
        """Nothing is kept: a call that isn't mapped doesn't come here."""

    @staticmethod
    def vmap(info: Any, axes: tuple, function: Callable[..., Tensor], *args: Any) -> tuple[Tensor, int]:  # type: ignore[override]
        stacks = (
            each.unbind(axis) if isinstance(each, Tensor) and axis is not None else [each] * info.batch_size for each, axis in zip(args, axes[1:], strict=True)
        )
        return torch.stack([function(*own) for own in zip(*stacks, strict=True)]), 0

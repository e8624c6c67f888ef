"""A GPU that isn't there: numbers are computed on the CPU, but each tensor remembers the device that it claims, and what CUDA would refuse is refused.

It finds tensors of two devices in one operation, a NumPy view of a tensor on the GPU, indices and random generators on the wrong side. It knows nothing of
speed or autocast's choice of formats, and of kernels only what `flex_attention` refuses. Where torch makes tensors below Python (`CREATED_BELOW`), the claim is
handed on by name.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from sigvit.model import packing

GPU = torch.device("cuda", 0)
TRUE_DEVICE = torch._C.TensorBase.device.__get__
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"}
COPYING = {"aten::copy_", "aten::_to_copy", "aten::_foreach_copy_", "aten::set_"}
# Beside what works number by number: operations that take a number, of no axes, from the CPU.
TAKING_NUMBERS = {
    *("aten::masked_fill", "aten::masked_fill_", "aten::fill_", "aten::where", "aten::full_like", "aten::lerp", "aten::lerp_", "aten::clamp"),
    *("aten::_foreach_mul_", "aten::_local_scalar_dense", "aten::select_backward", "aten::baddbmm"),
}
CREATED_BELOW = {"one_hot", "pad_sequence", "new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"}


REFUSED = "CUDA would refuse "


def is_on_gpu(tensor: Tensor) -> bool:
    with torch._C.DisableTorchFunction():
        return getattr(_bare(tensor).untyped_storage(), "claims_gpu", False) if TRUE_DEVICE(_bare(tensor)).type == "cpu" else False


def claimed(tensor: Tensor, gpu: bool) -> Tensor:
    with torch._C.DisableTorchFunction():
        if TRUE_DEVICE(_bare(tensor)).type == "cpu":
            _bare(tensor).untyped_storage().claims_gpu = gpu
    return tensor


def moved(tensor: Tensor, device: Any) -> Tensor:
    gpu = torch.device(device).type == "cuda"
    return tensor if is_on_gpu(tensor) == gpu else claimed(tensor.clone(), gpu)


def _bare(tensor: Tensor) -> Tensor:
    """What `vmap` and its like have wrapped."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def _device(tensor: Tensor) -> torch.device:
    with torch._C.DisableTorchFunction():
        return GPU if is_on_gpu(tensor) else TRUE_DEVICE(tensor)


class _Operations(TorchDispatchMode):
    """Looks at every operation's tensors, and hands the claim on to what it makes."""

    def __torch_dispatch__(self, function: Any, types: Sequence, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs, name = kwargs or {}, function._schema.name
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        gpu = [is_on_gpu(each) for each in tensors]
        told = f"{name} of {[(tuple(each.shape), 'GPU' if there else 'CPU') for each, there in zip(tensors, gpu, strict=True)]}"
        if name in COPYING or name in INDEXING:
            result = bool(gpu) and gpu[0]
            if name in INDEXING and not result and any(gpu):
                raise RuntimeError(REFUSED + told)  # a CPU's indices into a GPU's tensor are allowed, not the other way round
        else:
            result = any(gpu)
            takes = name in TAKING_NUMBERS or torch.Tag.pointwise in function.tags
            if result and any(not there and (each.dim() or not takes) for each, there in zip(tensors, gpu, strict=True)):
                raise RuntimeError(REFUSED + told)
        if result and kwargs.get("generator") is not None:
            raise RuntimeError(f"{REFUSED}{told} with the CPU's generator")
        made = function(*args, **kwargs)
        return tree_map_only(Tensor, lambda each: claimed(each, True), made) if result else made


class _Functions(TorchFunctionMode):
    """Takes devices out of calls, which this torch may not have, and puts the claim in."""

    def __torch_function__(self, function: Callable, types: Sequence, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is not None and name == "to":
            return _to(first, *args[1:], **kwargs)
        if first is not None and name in ("cpu", "cuda"):
            return moved(first, name)
        if first is not None and name in ("numpy", "__array__") and is_on_gpu(first):
            raise RuntimeError(f"{REFUSED}a NumPy view of a tensor on the GPU")
        if name == "pin_memory":
            if is_on_gpu(args[0]):
                raise RuntimeError(f"{REFUSED}to pin a tensor on the GPU")
            return first
        device = kwargs.get("device")
        if device is not None and torch.device(device).type != "meta":
            return self._made_on(function, args, kwargs)
        if name in CREATED_BELOW:
            sources = [each for each in tree_leaves(args) if isinstance(each, Tensor)]
            there = {is_on_gpu(each) for each in sources}
            if len(there) == 2:
                raise RuntimeError(f"{REFUSED}{name} of tensors on both devices")
            return claimed(function(*tree_map_only(Tensor, lambda each: moved(each, "cpu"), args), **kwargs), True in there)
        return function(*args, **kwargs)

    def _made_on(self, function: Callable, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        device = torch.device(kwargs.pop("device"))
        if device.type == "cuda" and kwargs.get("generator") is not None:
            raise RuntimeError(f"{REFUSED}{function.__name__} on the GPU with the CPU's generator")
        like = bool(args) and isinstance(args[0], Tensor) and TRUE_DEVICE(_bare(args[0])).type != "meta"
        made = function(*args, **kwargs) if like else function(*args, **kwargs, device="cpu")
        return moved(made, device)


def _to(tensor: Tensor, *args: Any, device: Any = None, dtype: Any = None, copy: bool = False, **_: Any) -> Tensor:
    for each in args:
        if isinstance(each, Tensor):
            device, dtype = _device(each), each.dtype
        elif isinstance(each, torch.dtype):
            dtype = each
        elif isinstance(each, str | torch.device):
            device = each
    if device is not None and torch.device(device).type == "meta":
        return torch.empty_like(tensor, device="meta")
    tensor = tensor if dtype is None else tensor.type(dtype)
    return tensor if device is None else moved(tensor, device)


def flex_attention(query: Tensor, key: Tensor, value: Tensor, block_mask: Any) -> Tensor:
    """What stands for the kernel, which refuses heads of fewer than 16 numbers: the softmax of every score, and a mask from the blocks' function."""
    if not is_on_gpu(query) or min(query.shape[-1], value.shape[-1]) < 16:
        raise RuntimeError(f"{REFUSED}FlexAttention of heads of {query.shape[-1]} numbers")
    at = torch.arange(query.shape[2], device=query.device)
    mask = block_mask.mask_mod(at.new_zeros(()), at.new_zeros(()), at[:, None], at)
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """Within it torch says that it has one GPU, and `device="cuda"` is taken; autocast there is the CPU's, which an operation may not ask for by that name."""
    autocast, is_autocast, autocast_dtype, rng_state = torch.autocast.__init__, torch.is_autocast_enabled, torch.get_autocast_dtype, torch.get_rng_state

    def cpu_autocast(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        autocast(self, "cpu", *args, **kwargs)

    def cpu_is_autocast(device_type: str = "cuda") -> bool:
        return device_type == "cuda" and is_autocast("cpu")

    def cpu_autocast_dtype(device_type: str) -> torch.dtype:
        return autocast_dtype("cpu")

    def cpu_rng_state(*_: Any) -> Tensor:
        return rng_state()

    answers = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "set_device": None,
        "_lazy_init": None,
        "synchronize": None,
        "manual_seed_all": None,
        "set_rng_state": None,
        "mem_get_info": (2**33, 2**34),
        "reset_peak_memory_stats": None,
        "max_memory_allocated": 2**21,
        "memory_allocated": 2**20,
    }
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *_, answer=answer: answer))
        stack.enter_context(mock.patch.object(torch.cuda, "get_rng_state", cpu_rng_state))
        stack.enter_context(mock.patch.object(torch.cuda, "default_generators", (torch.Generator(),)))
        stack.enter_context(mock.patch.object(torch.autocast, "__init__", cpu_autocast))
        stack.enter_context(mock.patch.object(torch, "is_autocast_enabled", cpu_is_autocast))
        stack.enter_context(mock.patch.object(torch, "get_autocast_dtype", cpu_autocast_dtype))
        stack.enter_context(mock.patch.object(packing, "_compiled_flex_attention", return_value=flex_attention))
        for name, answer in (("device", _device), ("is_cuda", is_on_gpu), ("is_cpu", lambda tensor: not is_on_gpu(tensor))):
            stack.enter_context(mock.patch.object(Tensor, name, property(answer), create=True))
        stack.enter_context(_Operations())
        stack.enter_context(_Functions())
        yield


@pytest.fixture
def gpu() -> Any:
    """`with gpu():`, within which there is one."""
    return pretended_gpu

"""What a model's step does, read from shapes alone: every operation's arithmetic and traffic, and the memory that is alive meanwhile.

The step runs on PyTorch's fake tensors, so that H/14 with a batch of 4096 takes seconds and no memory.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sigvit.mode import in_mode
from sigvit.products import TRACED_HERE

EXPONENTIAL = ("gelu", "tanh", "sigmoid", "softmax", "exp", "erf", "silu", "elu")
# Held while dropout is another function: of two threads the last would put back the other's, and dropout would stay replaced.
DROPOUT_LOCK = RLock()


@dataclass(frozen=True)
class Work:
    """What a processor has to do, summed over operations.

    Attributes
    ----------
    matmul_flops : of matrix products and convolutions, two a multiply-add.
    attention_flops : of the two products of fused attention, and of the five of its backward pass.
    exponentials : elements that GELU, tanh, sigmoid or softmax is taken of, but for fused attention's.
    matmul_bytes : what those products read and write.
    bytes : what all other operations read and write.
    operations : how many; each has a price of its own.

    >>> (Work(bytes=3.0) + Work(operations=2.0) * 5).operations
    10.0
    """

    matmul_flops: float = 0.0
    attention_flops: float = 0.0
    exponentials: float = 0.0
    matmul_bytes: float = 0.0
    bytes: float = 0.0
    operations: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __mul__(self, factor: float) -> Work:
        return Work(*(getattr(self, field.name) * factor for field in fields(self)))

    @property
    def flops(self) -> float:
        """Of products alone, as papers count them."""
        return self.matmul_flops + self.attention_flops


@dataclass(frozen=True)
class Trace:
    """One step: its work, and bytes of the tensors that it made: the most alive at once, and those alive between forward and backward."""

    work: Work
    peak_bytes: int
    kept_bytes: int


def trace_forward(model: nn.Module, input_shape: tuple[int, ...], batch: int = 1, dtype: str = "float32", gpu: bool = False) -> Trace:
    """Inference on a batch of so many inputs of this shape (without its batch axis); no gradients. `gpu` : as for `trace_training`.

    >>> trace_forward(nn.Linear(5, 7), (3, 5), batch=2).work.flops
    420.0
    """
    return _trace(model, (batch, *input_shape), dtype, False, gpu)


def trace_training(model: nn.Module, input_shape: tuple[int, ...], batch: int = 1, dtype: str = "float32", gpu: bool = False) -> Trace:
    """Forward and backward of cross-entropy, without the optimiser. Activations, gradients and temporaries count for the peak; weights and input don't.

    `gpu` : count dropout as the one operation that it is on a GPU, not as three, and the bytes of a GPU's fused attention. Else the bytes are those of this
    CPU, which keeps the weights of all pairs where it attends in products. The work is that of fused attention on both, so that FLOPs are the same everywhere.

    >>> trace_training(nn.Linear(5, 7), (5,), batch=2).work.flops  # the input wants no gradient
    280.0
    """
    return _trace(model, (batch, *input_shape), dtype, True, gpu)


def _trace(model: nn.Module, shape: tuple[int, ...], dtype: str, train: bool, gpu: bool) -> Trace:
    fused = _record(model, shape, dtype, train, gpu)
    if gpu:
        return fused
    token = TRACED_HERE.set(True)
    try:
        here = _record(model, shape, dtype, train, gpu)
    finally:
        TRACED_HERE.reset(token)
    return replace(here, work=fused.work)


def _record(model: nn.Module, shape: tuple[int, ...], dtype: str, train: bool, gpu: bool) -> Trace:
    with in_mode(model, train), FakeTensorMode(allow_non_fake_inputs=True), torch.set_grad_enabled(train):
        inputs = torch.empty(shape, dtype=torch.float64 if dtype == "float64" else torch.float32)
        recorder = _Recorder()
        step = _Step(model, dtype, train, recorder)
        state = dict(_fake_state(step, train))
        with recorder, _one_kernel_dropout() if gpu else nullcontext():
            kept_bytes = torch.func.functional_call(step, state, (inputs,))
        return Trace(recorder.work, recorder.peak, kept_bytes)


class _Step(nn.Module):
    """Forward and backward in one call, so that activations which are computed again on the way back meet the fake weights too."""

    def __init__(self, model: nn.Module, dtype: str, train: bool, recorder: _Recorder) -> None:
        super().__init__()
        self.model, self.dtype, self.train_too, self.recorder = model, dtype, train, recorder

    def forward(self, inputs: Tensor) -> int:
        """Returns the bytes that are alive between forward and backward."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == "bfloat16"):
            outputs = self.model(inputs)
            loss = functional.cross_entropy(outputs, torch.ones_like(outputs)) if self.train_too else None
        kept_bytes = self.recorder.alive
        if loss is not None:
            loss.backward()
        return kept_bytes


def _fake_state(model: nn.Module, train: bool) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers as fake tensors on a CPU."""
    for name, parameter in model.named_parameters():
        yield name, torch.empty(parameter.shape, dtype=parameter.dtype, device="cpu", requires_grad=train and parameter.requires_grad)
    for name, buffer in model.named_buffers():
        yield name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cpu")


@contextmanager
def _one_kernel_dropout() -> Iterator[None]:
    """Dropout as GPUs do it, in one operation; CPUs draw, divide and multiply."""

    def one_kernel(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return torch.native_dropout(input, p, True)[0] if training else input

    with DROPOUT_LOCK:
        several = functional.dropout
        # In its place and not by a mode for functions, which backward lifts from what checkpointing computes again.
        functional.dropout = one_kernel
        try:
            yield
        finally:
            functional.dropout = several


class _Recorder(TorchDispatchMode):
    """Adds up the work of every operation and follows the bytes of every storage until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.work, self.alive, self.peak = Work(), 0, 0
        self.seen: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: tuple = (), keywords: dict | None = None) -> Any:
        if function is torch.ops.prim.device.default:  # a question, asked more often than anything is computed
            return function(*arguments, **(keywords or {}))
        inputs = [leaf for leaf in _pytree.tree_leaves((arguments, keywords)) if isinstance(leaf, Tensor)]
        before = {id(tensor.untyped_storage()) for tensor in inputs}
        outputs = function(*arguments, **(keywords or {}))
        results = [leaf for leaf in _pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
        fresh = [tensor for tensor in results if id(tensor.untyped_storage()) not in before]
        written = [argument for argument in _written(function, arguments) if isinstance(argument, Tensor)]
        if fresh or written:
            self.work += operation_work(function, arguments, inputs, fresh + written)
        for tensor in fresh:
            self._follow(tensor.untyped_storage())
        return outputs

    def _follow(self, storage: torch.UntypedStorage) -> None:
        if storage in self.seen:
            return
        self.seen.add(storage)
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size: int) -> None:
        self.alive -= size


def operation_work(function: Any, arguments: tuple, inputs: list[Tensor], outputs: list[Tensor]) -> Work:
    """What one operation of PyTorch's dispatcher costs."""
    name = function._schema.name.partition("::")[2]
    traffic = float(sum(tensor.numel() * tensor.element_size() for tensor in (*inputs, *outputs)))
    if name in _MATMULS:
        return Work(matmul_flops=_MATMULS[name](arguments, outputs), matmul_bytes=traffic, operations=1.0)
    if "scaled_dot_product" in name:
        query, key = _query_and_key(name, inputs)
        scores = float(math.prod(query[:-1]) * key[-2])
        products = 5 if "backward" in name else 2  # backward computes the scores again
        return Work(attention_flops=2 * products * scores * query[-1], matmul_bytes=traffic, operations=1.0)
    exponentials = float(outputs[0].numel()) if any(part in name for part in EXPONENTIAL) else 0.0
    return Work(bytes=traffic, exponentials=exponentials, operations=1.0)


def _query_and_key(name: str, inputs: list[Tensor]) -> tuple[torch.Size, torch.Size]:
    """Shapes (…, H, Q, d) and (…, H, T, d); backward has the output's gradient in front."""
    first = 1 if "backward" in name else 0
    return inputs[first].shape, inputs[first + 1].shape


def _written(function: Any, arguments: tuple) -> list[Any]:
    """The arguments that the operation writes into, as its schema says; lists are opened."""
    marked = [argument for argument, slot in zip(arguments, function._schema.arguments, strict=False) if slot.alias_info and slot.alias_info.is_write]
    return _pytree.tree_leaves(marked)


def _product(left: Tensor, right: Tensor) -> float:
    """(…, m, k) @ (…, k, n)."""
    return 2.0 * left.numel() * right.shape[-1]


def _convolution(inputs: Tensor, weight: Tensor, outputs: Tensor) -> float:
    """Every output element sums over the weight's inputs."""
    return 2.0 * outputs.numel() * weight[0].numel()


_MATMULS: dict[str, Callable[[tuple, list[Tensor]], float]] = {
    "mm": lambda arguments, _: _product(arguments[0], arguments[1]),
    "bmm": lambda arguments, _: _product(arguments[0], arguments[1]),
    "addmm": lambda arguments, _: _product(arguments[1], arguments[2]),
    "baddbmm": lambda arguments, _: _product(arguments[1], arguments[2]),
    "convolution": lambda arguments, outputs: _convolution(arguments[0], arguments[1], outputs[0]),
    # One product for each of the two gradients that are asked for; the bias is no product.
    "convolution_backward": lambda arguments, _: sum(arguments[10][:2]) * _convolution(arguments[1], arguments[2], arguments[0]),
}

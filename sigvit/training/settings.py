"""Torch's settings that a training relies on, whatever block its caller stands in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from threading import Lock
from typing import Any

import torch
from torch.utils import deterministic


@contextmanager
def own_gradients() -> Iterator[None]:
    """Inside, gradients are kept and nothing is cast, as outside of `no_grad`, `inference_mode` and `autocast`, and convolutions are exact; also a decorator.

    >>> with torch.no_grad(), own_gradients():
    ...     torch.ones(2, requires_grad=True).sum().requires_grad
    True
    """
    with torch.inference_mode(False), torch.enable_grad(), exact_convolutions(), ExitStack() as stack:
        for device in ("cpu", "cuda") if _is_inside_autocast() else ():
            # An inner autocast would keep its weights, cast once, until the outer one ends: through all steps.
            stack.enter_context(torch.autocast(device, enabled=False, cache_enabled=False))
        yield


@contextmanager
def default_settings() -> Iterator[None]:
    """The same, and new numbers are float32: a seed's weights don't depend on `torch.set_default_dtype`, which is as before when all threads are through."""
    with own_gradients(), _FLOAT32:
        yield


def _is_inside_autocast() -> bool:
    """In any block of it, one that is off included."""
    nesting = torch.autocast_increment_nesting()
    torch.autocast_decrement_nesting()
    return nesting > 1


class _OfTheProcess:
    """A setting that all threads share, as trainings want it while any thread is inside: the first in remembers what it was, the last out restores it."""

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], object], wanted: Callable[[Any], Any]) -> None:
        self._read, self._write, self._wanted = read, write, wanted
        self._lock, self._inside, self._before = Lock(), 0, None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = self._read()
                self._write(self._wanted(self._before))
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._write(self._before)


def _exact() -> list[tuple[Any, str, Any]]:
    """Whose attribute has which value where cuDNN repeats its bits and rounds nothing to 10 bits (TF32), as it does unless asked."""
    cudnn = torch.backends.cudnn
    # The older switch as well, and first: torch refuses to read it where the newer ones say something else.
    kinds = [(each, "fp32_precision", "ieee") for each in (cudnn.conv, cudnn.rnn)] if hasattr(cudnn, "conv") else []
    return [(cudnn, "deterministic", True), (cudnn, "benchmark", False), (cudnn, "allow_tf32", False), *kinds]


def _inexact() -> list[tuple[Any, str, Any]]:
    """What of these is otherwise now, and how."""
    found = []
    for owner, name, wanted in _exact():
        with suppress(RuntimeError):  # the older switch, where the newer ones were set without it
            if getattr(owner, name) != wanted:
                found.append((owner, name, getattr(owner, name)))
    return found


def _write_attributes(told: list[tuple[Any, str, Any]]) -> None:
    for owner, name, value in told:
        setattr(owner, name, value)


def _algorithms() -> tuple[bool, bool, bool]:
    """Whether torch shall take deterministic algorithms, only warns where there is none, and fills new memory."""
    fills = deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # its module is made at run time
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(), fills


def _set_algorithms(told: tuple[bool, bool, bool]) -> None:
    torch.use_deterministic_algorithms(told[0], warn_only=told[1])
    deterministic.fill_uninitialized_memory = told[2]  # type: ignore[attr-defined]


_FLOAT32 = _OfTheProcess(torch.get_default_dtype, torch.set_default_dtype, lambda before: torch.float32)
_CUDNN = _OfTheProcess(_inexact, _write_attributes, lambda before: [each for each in _exact() if each[:2] in [told[:2] for told in before]])
# Who asked for them himself, and perhaps for an error where there is none, keeps what he asked for.
_ALGORITHMS = _OfTheProcess(_algorithms, _set_algorithms, lambda before: before if before[0] else (True, True, False))


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Inside, cuDNN's convolutions give the same bits each time, and float32 is float32; also a decorator. On a CPU it changes nothing.

    >>> with exact_convolutions():
    ...     torch.backends.cudnn.deterministic
    True
    """
    with _CUDNN:
        yield


@contextmanager
def deterministic_algorithms(device: torch.device) -> Iterator[None]:
    """Inside, torch takes deterministic algorithms on a GPU where it has them, and warns where not; on a CPU it changes nothing.

    Only warned of, attention's backward isn't deterministic: torch makes it so for who has called `torch.use_deterministic_algorithms(True)`, which stays.
    """
    with _ALGORITHMS if device.type == "cuda" else nullcontext():
        yield

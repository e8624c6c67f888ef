"""Finished fits on disk, each under a key made of everything that decides its outcome."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse

import sigvit
from sigvit.evidence.globals_read import globals_read

# Of functions in C the name is all there is; numpy's own are of two kinds.
IN_C = (BuiltinFunctionType, MethodDescriptorType, np.ufunc, type(np.clip))
# Functions whose description is under way: they may call themselves, and each other.
UNDER_WAY: ContextVar[frozenset[FunctionType]] = ContextVar("UNDER_WAY", default=frozenset())


class FitStore:
    """One JSON file a fit, written beside and renamed, so that a kill at any moment leaves whole files only."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder) / "fits"
        self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, key: str) -> dict | None:
        """The fit under this key, or None where there is none."""
        path = self.folder / f"{key}.json"
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path} is not a whole fit ({error}); something else changed it. Delete it and start again.") from error

    def save(self, key: str, record: dict) -> None:
        write_atomically(self.folder / f"{key}.json", json.dumps(record, default=_plain))


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch, which histories of other libraries hold."""
    if not hasattr(value, "tolist"):
        raise TypeError(f"A fit holds {value!r} ({type(value).__name__}), which JSON has no form for; keep numbers and texts in history_.")
    return value.tolist()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside and rename: readers see the old file or the whole new one, never a part."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OSError(error.errno, f"{path} could not be written ({error.strerror}); what was there before is untouched.") from error


def fingerprint(value: Any) -> str:
    """SHA-256 of a value and all it is made of, and of sigvit's source; equal values have equal fingerprints in every process.

    >>> fingerprint({"a": 1, "b": [2.0]}) == fingerprint({"b": [2.0], "a": 1})
    True

    Raises
    ------
    TypeError : something in it has no description that is the same in every process.
    """
    return hashlib.sha256(f"{source_hash(Path(sigvit.__file__).parent)}{describe(value)}".encode()).hexdigest()


@cache
def source_hash(package: Path) -> str:
    """SHA-256 of every Python file of a package: a fit is as old as its code, and a version stays while code is changed."""
    files = [(path.relative_to(package).as_posix(), path.read_bytes()) for path in sorted(package.rglob("*.py"))]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def describe(value: Any) -> str:
    """A text that tells values apart: parameters of estimators, bytes of arrays, weights of modules, code of functions and what it works with."""
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return f"array:{value.shape}{describe(value.ravel().tolist())}"
        return f"array:{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if isinstance(value, pd.DataFrame):
        return f"frame:{value.to_csv(index=False)}"
    if isinstance(value, pd.Series | pd.Index):
        index = describe(value.index) if isinstance(value, pd.Series) else ""
        return f"{type(value).__name__}:{value.name}{index}{value.dtype}{describe(value.to_numpy())}"
    if issparse(value):
        cells = value.tocoo()
        return f"{type(value).__name__}:{value.shape}{describe([*cells.coords, cells.data])}"
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{describe(key)}={describe(item)}" for key, item in value.items())) + "}"
    if isinstance(value, Sequence | set | frozenset | range):
        items = [describe(item) for item in value]
        return f"{type(value).__name__}(" + ",".join(sorted(items) if isinstance(value, set | frozenset) else items) + ")"
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if callable(value) and not hasattr(value, "get_params") and not hasattr(value, "state_dict"):
        return _describe_function(value)
    if isinstance(value, CodeType):
        return f"code:{hashlib.sha256(value.co_code).hexdigest()}{describe(value.co_names)}{describe(value.co_consts)}"
    return _describe_object(value)


def _describe_function(function: Any) -> str:
    """Its code and what that works with: default arguments, the values that it closes over, reads in its module, or that are bound to it."""
    if isinstance(function, partial):
        return f"partial:{describe([function.func, function.args, function.keywords])}"
    if isinstance(function, MethodType):
        return f"method:{describe([function.__func__, function.__self__])}"
    if isinstance(function, FunctionType):
        return _describe_python(function)
    if isinstance(function, IN_C):
        owner = getattr(function, "__self__", None)
        return f"{function.__module__}.{function.__qualname__}" + ("" if owner is None or isinstance(owner, ModuleType) else describe(owner))
    if hasattr(function, "__wrapped__"):  # such as functools.cache makes
        return describe(function.__wrapped__)
    return _describe_object(function)


def _describe_python(function: FunctionType) -> str:
    name, under_way = f"{function.__module__}.{function.__qualname__}", UNDER_WAY.get()
    if function in under_way:
        return name
    token = UNDER_WAY.set(under_way | {function})
    try:
        bound = [function.__defaults__, function.__kwdefaults__, inspect.getclosurevars(function).nonlocals]
        read = globals_read(function)
        own = hashlib.sha256(describe(read).encode()).hexdigest() if read else ""
        return f"{name}:{describe(function.__code__)}{describe(bound)}{own}"
    finally:
        UNDER_WAY.reset(token)


def _describe_object(value: Any) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if hasattr(value, "get_params"):
        return f"{kind}{describe(value.get_params(deep=False))}"
    if hasattr(value, "detach"):
        return f"{kind}{describe(np.asarray(value.detach().cpu()))}"
    if hasattr(value, "state_dict"):
        weights = {name: np.asarray(tensor) for name, tensor in value.state_dict().items()}
        return f"{kind}{describe(weights)}{describe(value.arguments() if hasattr(value, 'arguments') else repr(value))}"
    text = repr(value)
    if " at 0x" in text:
        raise TypeError(f"{kind} describes itself by its address in memory ({text}), so its fits could not be told apart; give it a __repr__ or get_params.")
    return f"{kind}:{text}"

"""Fingerprints of whatever decides a fit: parameters, data, weights and code."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodDescriptorType, MethodType, ModuleType
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse

import sigvit
from sigvit.evidence.source_code import globals_read, source_hash, source_of

# Of functions in C the name is all there is; numpy's own are of two kinds.
IN_C = (BuiltinFunctionType, MethodDescriptorType, np.ufunc, type(np.clip))
# Functions and classes that the description under way has met, by their ids.
MET: ContextVar[dict[int, Any] | None] = ContextVar("MET", default=None)
# What classes hold that says nothing of their code; the last is there once an object was copied or pickled.
NO_CODE = ("__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__firstlineno__", "__static_attributes__", "__slotnames__")


def fingerprint(value: Any) -> str:
    """SHA-256 of a value and all it is made of, and of sigvit's source; equal values have equal fingerprints in every process.

    >>> fingerprint({"a": 1, "b": [2.0]}) == fingerprint({"b": [2.0], "a": 1})
    True

    Raises
    ------
    TypeError : something in it has no description that is the same in every process.
    """
    source_of.cache_clear()  # of a package that was loaded again since
    return hashlib.sha256(f"{_own_source(Path(sigvit.__file__).parent)}{describe(value)}".encode()).hexdigest()


@cache
def _own_source(package: Path) -> str:
    return source_hash(package)


def describe(value: Any) -> str:
    """A text that tells values apart: parameters of estimators, bytes of arrays, weights of modules, code of functions and what it works with."""
    if value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, np.ma.MaskedArray):
        return f"masked:{describe([value.data, np.ma.getmaskarray(value), value.fill_value])}"
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return f"array:{value.shape}{describe(value.ravel().tolist())}"
        return f"array:{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
    if isinstance(value, pd.DataFrame):
        return f"frame:{value.to_csv(index=False)}"
    if isinstance(value, pd.Series | pd.Index):
        index = describe(value.index) if isinstance(value, pd.Series) else ""
        return f"{type(value).__name__}:{value.name}{index}{value.dtype}{describe(value.to_numpy())}"
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return f"{type(value).__name__}:{value.dtype!r}{describe(np.asarray(value, dtype=object))}"
    if issparse(value):
        cells = value.tocoo()
        return f"{type(value).__name__}:{value.shape}{describe([*cells.coords, cells.data])}"
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{describe(key)}={describe(item)}" for key, item in value.items())) + "}"
    if isinstance(value, Sequence | set | frozenset | range):
        items = [describe(item) for item in value]
        return f"{type(value).__name__}(" + ",".join(sorted(items) if isinstance(value, set | frozenset) else items) + ")"
    if isinstance(value, type):
        return _describe_class(value)
    if callable(value) and not hasattr(value, "get_params") and not hasattr(value, "named_modules"):
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
    name = getattr(function, "__name__", "")
    for module in ("numpy", "scipy.special"):  # scipy's ufuncs don't say themselves where they are from, nor do numpy 2.0's
        if isinstance(function, np.ufunc) and getattr(sys.modules.get(module), name, None) is function:
            return f"{module}.{name}"
    if isinstance(function, IN_C):
        owner = getattr(function, "__self__", None)
        return f"{function.__module__}.{function.__qualname__}" + ("" if owner is None or isinstance(owner, ModuleType) else describe(owner))
    if hasattr(function, "__wrapped__"):  # such as functools.cache makes
        return describe(function.__wrapped__)
    return _describe_object(function)


def _describe_python(function: FunctionType) -> str:
    name, source = f"{function.__module__}.{function.__qualname__}", source_of(function.__module__)
    with _first_meeting(function) as first:
        if not first:
            return name
        bound = [function.__defaults__, function.__kwdefaults__, inspect.getclosurevars(function).nonlocals]
        read = {} if source is not None else {name: _or_kind(value) for name, value in globals_read(function).items()}
        own = hashlib.sha256(describe(read).encode()).hexdigest() if read else ""
        return f"{name}:{describe(function.__code__)}{describe(bound)}{own}{source or ''}"


def _describe_class(kind: type) -> str:
    """Its name, and where a script of the user's holds it, its bases, constants and methods; of what it holds and may fill, such as a list, its kind."""
    name, source = f"{kind.__module__}.{kind.__qualname__}", source_of(kind.__module__)
    if source is not None and not (source and _is_replaced(kind)):
        return f"{name}{source}"
    with _first_meeting(kind) as first:
        if not first:
            return name
        held = {attribute: _or_kind(_unwrapped(value)) for attribute, value in sorted(vars(kind).items()) if attribute not in NO_CODE}
        return f"{name}:{hashlib.sha256(describe([kind.__bases__, held]).encode()).hexdigest()}"


def _is_replaced(kind: type) -> bool:
    """Whether its module holds another class of this name: it was loaded again since, and its files say what that one does."""
    now: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        now = getattr(now, part, None)
    return isinstance(now, type) and now is not kind


@contextmanager
def _first_meeting(value: Any) -> Iterator[bool]:
    """Whether the description under way meets a function or class for the first time: later its name is enough, so that those that call each other end."""
    outer = MET.get()
    met = {} if outer is None else outer
    token = MET.set(met)
    first = id(value) not in met
    met[id(value)] = value
    try:
        yield first
    finally:
        MET.reset(token)


def _or_kind(value: Any) -> str:
    """The description of something that a function reads; of what has none, such as a lock or a generator, that of its class."""
    try:
        return describe(value)
    except TypeError:
        return describe(type(value))


def _unwrapped(member: Any) -> Any:
    """A class's member without what wraps its functions; a list or dictionary as its kind, since many a class counts in one."""
    if isinstance(member, property):
        return (member.fget, member.fset, member.fdel)
    if isinstance(member, list | dict | set):
        return type(member)
    return member.__func__ if isinstance(member, classmethod | staticmethod) else member


def _describe_object(value: Any) -> str:
    kind = describe(type(value))
    if hasattr(value, "get_params"):
        return f"{kind}{describe(value.get_params(deep=False))}"
    if hasattr(value, "detach"):
        return f"{kind}{describe(np.asarray(value.detach().cpu()))}"
    if hasattr(value, "named_modules"):
        return f"{kind}{_describe_held(value, _held_by_modules)}"
    text = repr(value)
    if " at 0x" in text:
        raise TypeError(f"{kind} describes itself by its address in memory ({text}), so its fits could not be told apart; give it a __repr__ or get_params.")
    # Python's own objects, such as loggers, say in their repr what they are, and lead to everything else.
    return f"{kind}:{text}" + ("" if type(value).__module__.partition(".")[0] in sys.stdlib_module_names else _describe_held(value, _fields))


def _describe_held(holder: Any, held: Callable[[Any], Any]) -> str:
    """A hash of what an object holds; nothing where the description under way has met the object, so that those that refer to each other end."""
    with _first_meeting(holder) as first:
        return hashlib.sha256(describe(held(holder)).encode()).hexdigest() if first else ""


def _fields(value: Any) -> dict[str, str]:
    """An object's attributes, and the fields of a dataclass with slots: a repr may leave some out, or shorten them."""
    slots = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else {}
    return {name: _or_kind(each) for name, each in (slots | getattr(value, "__dict__", {})).items()}


def _held_by_modules(module: Any) -> list[Any]:
    """Of a network: every part's class and attributes, and all weights. Buffers stand beside them, since some are no part of the state."""
    (base,) = (kind for kind in type(module).__mro__ if f"{kind.__module__}.{kind.__qualname__}" == "torch.nn.modules.module.Module")
    torchs = vars(base())  # the tables of weights, parts and hooks
    parts = [(name, type(part), {own: _or_kind(each) for own, each in vars(part).items() if own not in torchs}) for name, part in module.named_modules()]
    return [parts, module.state_dict(), dict(module.named_buffers())]

"""Code that a fit is as old as: files of packages, and what functions of a script read in it."""

from __future__ import annotations

import dis
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

# File → the spec that it was loaded by, of which every load makes another, and what the file held then.
LOADED: dict[str | None, tuple[ModuleSpec, bytes]] = {}


def source_hash(package: Path) -> str:
    """SHA-256 of every Python file of a package, as far as it's loaded as it was when it was first asked for: a fit is as old as the code that runs.

    A version stays while code is changed, and a notebook may load a file again, or not yet have done so.
    """
    loaded = {spec.origin: spec for module in list(sys.modules.values()) if (spec := getattr(module, "__spec__", None))}
    files = [(path.relative_to(package).as_posix(), _content(path, loaded.get(str(path)))) for path in sorted(package.rglob("*.py"))]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _content(path: Path, spec: ModuleSpec | None) -> bytes:
    if spec is None:
        return path.read_bytes()
    if spec.origin not in LOADED or LOADED[spec.origin][0] is not spec:
        LOADED[spec.origin] = spec, path.read_bytes()
    return LOADED[spec.origin][1]


@cache  # which `fingerprint` clears
def source_of(module: str | None) -> str | None:
    """What tells a module's code apart: nothing where it is Python's, installed or ours, the hash of its package where that is the user's.

    None for a script and a module of one file: there it is what a function reads that counts.
    """
    package = (module or "__main__").partition(".")[0]
    if package == "__main__":  # in a process that joblib started, the file of that name is joblib's
        return None
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    if package in {*sys.stdlib_module_names, "sigvit"} or {"site-packages", "dist-packages"} & set(Path(file).parts):
        return ""
    top = sys.modules.get(package)
    start = getattr(top, "__file__", None)
    return source_hash(Path(start).parent) if start and hasattr(top, "__path__") else None


def globals_read(function: FunctionType) -> dict[str, Any]:
    """Name → value of the globals in a function's code. Modules stand as their names and sources, functions and classes of libraries as their names."""
    there = function.__globals__
    return {name: _by_name(there[name]) for name in sorted({name for name in _names(function.__code__) if name in there})}


def _names(code: CodeType) -> Iterator[str]:
    """Of the globals that are loaded, also by the functions and comprehensions inside."""
    yield from (instruction.argval for instruction in dis.get_instructions(code) if instruction.opname == "LOAD_GLOBAL")
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _by_name(value: Any) -> Any:
    """The value, or its name where its code is a library's: that is large, and changes with a version only."""
    if isinstance(value, ModuleType):
        source = source_of(value.__name__)
        return f"module {value.__name__} {_file_hash(value) if source is None else source}"
    module = getattr(value, "__module__", None)
    # A bound method is made of its object as well.
    if not hasattr(value, "__qualname__") or isinstance(value, MethodType) or getattr(value, "__self__", None) is not None or not module:
        return value
    return f"{module}.{value.__qualname__}" if source_of(module) == "" else value


def _file_hash(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).exists() else ""

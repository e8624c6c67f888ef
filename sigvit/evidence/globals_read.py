"""What functions of the user's read in their modules: a fit is as old as that, too."""

from __future__ import annotations

import dis
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any


def globals_read(function: FunctionType) -> dict[str, Any]:
    """Name → value of the globals in a function's code; empty where the function is a library's or ours, whose code a fit is told apart by already.

    Modules and functions of libraries stand as their names, modules of the user's with the SHA-256 of their file.
    """
    there = function.__globals__
    names = {name for name in _names(function.__code__) if name in there} if _is_the_users(function.__module__) else set()
    return {name: _by_name(there[name]) for name in names}


def _names(code: CodeType) -> Iterator[str]:
    """Of the globals that are loaded, also by the functions and comprehensions inside."""
    yield from (instruction.argval for instruction in dis.get_instructions(code) if instruction.opname == "LOAD_GLOBAL")
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _by_name(value: Any) -> Any:
    """The value, or its name where its code is a library's: that is large, and changes with a version only."""
    if isinstance(value, ModuleType):
        return f"module {value.__name__} {_file_hash(value) if _is_the_users(value.__name__) else ''}"
    module = getattr(value, "__module__", None)
    # A bound method is made of its object as well.
    if not hasattr(value, "__qualname__") or isinstance(value, MethodType) or getattr(value, "__self__", None) is not None or not module:
        return value
    return value if _is_the_users(module) else f"{module}.{value.__qualname__}"


def _file_hash(module: ModuleType) -> str:
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).exists() else ""


@cache
def _is_the_users(module: str) -> bool:
    """Neither Python's, nor installed, nor ours."""
    package = module.partition(".")[0]
    if package == "__main__":  # in a process that joblib started, the file of that name is joblib's
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return package not in {*sys.stdlib_module_names, "sigvit"} and not {"site-packages", "dist-packages"} & set(Path(file).parts)

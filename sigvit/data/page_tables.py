"""Typed tables: plain data (as `tomllib` gives it) into frozen dataclasses, with every unknown key and wrong type named."""

from __future__ import annotations

import difflib
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class PageError(ValueError):
    """A page says something that it can't say; the message names the page, the place and what would be right."""


def read_table(kind: type[T], table: Any, place: str) -> T:
    """An instance of the dataclass `kind` from a table.

    Parameters
    ----------
    kind : a dataclass whose fields are str, bool, int, float, tuples or dicts of these, dataclasses, or None.
    table : a dict.
    place : where the table stands, for the message: "scp1.toml".

    Raises
    ------
    PageError : an unknown key (with the nearest right one), a missing key, or a value of the wrong type.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Cut:
    ...     start_s: float
    ...     stop_s: float = 1.0
    >>> read_table(Cut, {"start_s": 0}, "example.toml")
    Cut(start_s=0.0, stop_s=1.0)
    >>> read_table(Cut, {"strat_s": 0}, "example.toml")
    Traceback (most recent call last):
    sigvit.data.page_tables.PageError: example.toml has the unknown key 'strat_s'; the nearest right one is 'start_s'. Known here: start_s, stop_s.
    """
    if not isinstance(table, dict):
        raise PageError(f"{place} is {_described(table)}; a table is needed there.")
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind) if field.metadata.get("in_page", True)]  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise PageError(_unknown_key(key, known, place))
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name not in table and field.default is MISSING and field.default_factory is MISSING:
            raise PageError(f"{place} lacks the key '{field.name}'.")
    return kind(**{key: read_value(hints[key], value, f"{place}: {key}") for key, value in table.items()})


def read_value(hint: Any, value: Any, place: str) -> Any:
    """The value as the type `hint` says (numbers widened, lists as tuples), or a PageError that names the place."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _read_either(arguments, value, place)
    if is_dataclass(hint):
        return read_table(hint, value, place)  # type: ignore[arg-type]
    if origin is tuple:
        return _read_list(arguments, value, place)
    if origin is dict:
        if not isinstance(value, dict):
            raise PageError(f"{place} is {_described(value)}; a table is needed there.")
        return {str(key): read_value(arguments[1], item, f"{place}.{key}") for key, item in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # A bool is an int for Python, not for the writer of a page.
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise PageError(f"{place} is {_described(value)}; {_NAMES[hint]} is needed there.")
    return value


_NAMES = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", dict: "a table", list: "a list"}


def _described(value: Any) -> str:
    kind = next((name for known, name in _NAMES.items() if type(value) is known), type(value).__name__)
    return f"{kind} ({value!r})"


def _read_either(choices: tuple, value: Any, place: str) -> Any:
    messages = []
    for choice in choices:
        if choice is type(None):
            continue
        try:
            return read_value(choice, value, place)
        except PageError as error:
            messages.append(str(error))
    raise PageError(messages[0] if len(messages) == 1 else " Or: ".join(messages))


def _read_list(arguments: tuple, value: Any, place: str) -> tuple:
    if not isinstance(value, list | tuple):
        raise PageError(f"{place} is {_described(value)}; a list is needed there.")
    if arguments[-1] is Ellipsis:
        return tuple(read_value(arguments[0], item, f"{place}[{number}]") for number, item in enumerate(value))
    if len(value) != len(arguments):
        raise PageError(f"{place} has {len(value)} values; {len(arguments)} are needed.")
    return tuple(read_value(hint, item, f"{place}[{number}]") for number, (hint, item) in enumerate(zip(arguments, value, strict=True)))


def _unknown_key(key: str, known: list[str], place: str) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"the nearest right one is '{nearest[0]}'. Known here: " if nearest else "known here: "
    return f"{place} has the unknown key '{key}'; {hint}{', '.join(known)}."

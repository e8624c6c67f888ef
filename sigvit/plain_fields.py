"""Fields of a dataclass as Python's own numbers, words and tuples: a checkpoint is read back as plain data alone."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import Field
from math import isfinite
from typing import Any

import numpy as np


def plain_value(settings: Any, field: Field, infinite: bool = False) -> Any:
    """What a field holds, without numpy's numbers and TOML's lists; `infinite` : whether a number may be.

    Raises
    ------
    ValueError : it is of another kind than the field says, of another length, or not finite.

    >>> from dataclasses import dataclass, fields
    >>> @dataclass
    ... class Window:
    ...     edges: tuple[float, float]
    >>> plain_value(Window([np.float64(0.5), 3]), fields(Window)[0])
    (0.5, 3.0)
    """
    value, (plain, words) = getattr(settings, field.name), PLAIN[str(field.type)]
    try:
        found = plain(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch's, of a row that is no number
        raise ValueError(f"{field.name} is {value}; it must be {words}.") from None
    numbers = found if isinstance(found, tuple) else (found,)
    if not infinite and any(isinstance(number, float) and not isfinite(number) for number in numbers):
        raise ValueError(f"{field.name} is {value}; it must be {words}, and finite.")
    return found


def _truth(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):  # "no" would be true
        raise TypeError
    return bool(value)


def whole_number(name: str, number: Any) -> int:
    """A count as Python's own, 2.0 as 2; ValueError for anything else, which `name` names.

    >>> whole_number("width", np.int64(3)), whole_number("width", 2.0)
    (3, 2)
    """
    try:
        return _whole(number)
    except TypeError:
        raise ValueError(f"{name} is {number!r}; it must be a whole number.") from None


def _whole(number: Any) -> int:
    _refuse_truth(number)
    return operator.index(int(number) if isinstance(number, float) and number.is_integer() else number)


def _number(number: Any) -> float:
    _refuse_truth(number)
    if isinstance(number, str):  # "0.5" is a word
        raise TypeError
    return float(number)


def _refuse_truth(value: Any) -> None:
    if isinstance(value, bool | np.bool_):  # which would be 1 or 0
        raise TypeError


def _pair(values: Any) -> tuple[float, float]:
    first, second = map(_number, values)
    return first, second


def _whole_numbers(values: Any) -> tuple[int, ...]:
    return tuple(map(_whole, values))


def _one_or_several(values: Any) -> tuple[float, ...]:
    try:
        several = iter(values)
    except TypeError:  # also of an array that holds one number
        return (_number(values),)
    return tuple(map(_number, several))


def _one_or_pair(value: Any) -> float | tuple[float, float]:
    try:
        return _number(value)
    except TypeError:
        return _pair(value)


def _or_none(plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else plain(value)


# For each kind of field: how its value becomes Python's own, and what it must be.
PLAIN: dict[str, tuple[Callable[[Any], Any], str]] = {
    "int": (_whole, "a whole number"),
    "float": (_number, "a number"),
    "bool": (_truth, "True or False"),
    "str": (str, "a word"),
    "int | None": (_or_none(_whole), "None or a whole number"),
    "tuple[int, ...]": (_whole_numbers, "whole numbers"),
    "tuple[float, float]": (_pair, "two numbers"),
    "tuple[float, ...]": (_one_or_several, "a number or several"),
    "float | tuple[float, float]": (_one_or_pair, "a number or two numbers"),
    "float | tuple[float, float] | None": (_or_none(_one_or_pair), "None, a number or two numbers"),
    "float | None": (_or_none(_number), "None or a number"),
    "tuple[float, float] | None": (_or_none(_pair), "None or two numbers"),
}

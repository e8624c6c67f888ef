"""Labels and names as people give them, read in one way by every room; numpy only."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def plain_labels(labels: ArrayLike, whose: str) -> np.ndarray:
    """Labels as an array of this machine's numbers or of text; members of an `Enum` and scalar tensors are their values. `whose` says in errors what they
    belong to.

    Raises
    ------
    ValueError : a label that is missing (None, NaN, NaT, pandas' NA, masked), or different labels that are one as text, as 1 and "1".

    >>> plain_labels(["left", "right", "left"], "windows")
    array(['left', 'right', 'left'], dtype='<U5')
    """
    given = np.atleast_1d(np.asarray(labels, dtype=object))
    unknown = np.flatnonzero(np.ma.getmask(labels) | np.frompyfunc(is_missing, 1, 1)(given).astype(bool))  # before numpy makes a name of a gap
    if len(unknown):
        raise ValueError(f"{len(unknown)} of {len(given)} {whose} have no label, the first in row {unknown[0]}; name it, or leave them out.")
    told = given.tolist()
    values, plain = [value_of(label) for label in told], np.asarray(labels)
    if plain.dtype.kind in "OT" or any(value is not label for value, label in zip(values, told, strict=True)):
        plain = np.array(values)
    _refuse_merged(values, plain, whose)
    return plain.astype(plain.dtype.newbyteorder("="), copy=False)


def _refuse_merged(values: list, plain: np.ndarray, whose: str) -> None:
    if plain.ndim != 1 or plain.dtype == object:
        return
    first: dict[Any, Any] = {}
    for label, written in dict(zip(values, plain.tolist(), strict=True)).items():
        if first.setdefault(written, label) != label:
            raise ValueError(f"Of the {whose} some have the label {first[written]!r}, others {label!r}; as {written!r} they would be one: name them apart.")


def value_of(label: Any) -> Any:
    """What a member of an `Enum` stands for, or the number in a scalar tensor; any other label is itself."""
    return label.value if isinstance(label, Enum) else _number_of(label)


def _number_of(value: Any) -> Any:
    # numpy's own scalars stay as they are: the number in one of its dates is a count of nanoseconds.
    is_tensor = getattr(value, "ndim", None) == 0 and hasattr(value, "item") and not isinstance(value, np.generic)
    return value.item() if is_tensor else value


def is_missing(label: Any) -> bool:
    """Whether it says nothing: None, or what isn't equal to itself; of a member of an `Enum` and a scalar tensor, what is in it.

    >>> is_missing(None), is_missing(float("nan")), is_missing("nan")
    (True, True, False)
    """
    label = value_of(label)
    return label is None or not isinstance(label == label, bool | np.bool_) or bool(label != label)


def legend_name(name: object) -> str:
    """The name behind a space of no width where it begins with an underscore: matplotlib leaves such names out of legends.

    >>> legend_name("rest"), legend_name("_rest")
    ('rest', '\\u200b_rest')
    """
    return f"\u200b{name}" if str(name).startswith("_") else str(name)


def text_of(value: object) -> str:
    """Whole floats are written as integers: a column of numbers with a gap in it is read by pandas as floats.

    >>> text_of(7.0), text_of(7), text_of("7.0")
    ('7', '7', '7.0')
    """
    value = _number_of(value)
    return str(int(value)) if isinstance(value, float | np.floating) and float(value).is_integer() else str(value)

"""What a file or dictionary holds, as dense tensors by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sigvit.weights.layout import Layout, match
from sigvit.weights.sources import bare


def unwrapped(content: Any, known: Sequence[Layout], where: str) -> tuple[Any, tuple[str, ...]]:
    """The weights of a training's checkpoint, which lie under one of the layouts' wrappers, and the names of what lies beside them.

    Raises
    ------
    ValueError : other weights lie beside them: under a second wrapper, as arrays with names of tensors, or in a dictionary with such names that they lack.
    """
    beside: list[str] = []
    wrappers = known[0].wrappers if known else ()
    while isinstance(content, Mapping) and (found := [key for key in wrappers if isinstance(content.get(key), Mapping) and content[key]]):
        others = {str(name): value for name, value in content.items() if name != found[0]}
        weights = [repr(name) for name, value in others.items() if name in found or _are_weights(name, value, content[found[0]], known)]
        if weights:
            raise ValueError(f"{where} holds weights under {found[0]!r} and beside it under {', '.join(weights)}; give the dictionary of the right ones alone.")
        beside += others
        content = content[found[0]]
    return content, tuple(beside)


def _are_weights(name: str, value: Any, chosen: Iterable[Any], known: Sequence[Layout]) -> bool:
    """Whether what lies beside the chosen weights belongs to them; means of images, weights of classes, states of optimizers and averages don't."""
    if not isinstance(value, Mapping):
        return _may_be_weights(value) and ("." in name or _has_place(name, known))
    have = {bare(str(own), known[0]) for own in chosen}
    names = [each for inner, array in value.items() if _may_be_weights(array) for each in (str(inner), f"{name}.{inner}")]
    return any(_has_place(each, known) and bare(each, known[0]) not in have for each in names)


def _may_be_weights(value: Any) -> bool:
    """An array, but of other numbers than counts and the states of random generators."""
    return isinstance(value, Tensor | np.ndarray) and value.ndim > 0 and "int" not in str(value.dtype)


def _has_place(name: str, known: Sequence[Layout]) -> bool:
    """Whether a rule of the layouts is about tensors of this name; that of ours which is about all of them tells nothing."""
    rules = [(rule.theirs, layout) for layout in known for rule in layout.rules if rule.theirs != "{any}"]
    return any(match(theirs, bare(name, layout)) is not None for theirs, layout in rules)


def plain_tensors(content: Any, where: str) -> dict[str, Tensor]:
    """Every tensor by its name; names of nested dictionaries are joined by slashes, as flax joins them.

    Raises
    ------
    ValueError : something is no dictionary of dense arrays of numbers; it is named.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{where} holds a {type(content).__name__}, not a dictionary of tensors.")
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            tensors |= {f"{name}/{inner}": tensor for inner, tensor in plain_tensors(value, f"{where}, {name!r}").items()}
        else:
            tensors[str(name)] = _tensor(value, str(name), where)
    return tensors


def _tensor(value: Any, name: str, where: str) -> Tensor:
    if isinstance(value, Tensor):
        return _dense(value, name, where).detach().cpu()
    if not hasattr(value, "__array__"):
        raise ValueError(f"{where} holds {name!r}, a {type(value).__name__}, among the tensors; give the dictionary of the weights alone.")
    array = np.asarray(value)
    if array.dtype.name == "bfloat16" or (array.dtype.kind == "V" and array.dtype.itemsize == 2):
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where} holds {name!r} of dtype {array.dtype}, which isn't numbers.")
    return torch.from_numpy(array.copy())


def _dense(tensor: Tensor, name: str, where: str) -> Tensor:
    """The tensor itself, where it is an array in memory and not sparse, quantised, empty (meta) or distributed."""
    if type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized):
        return tensor
    kind = f"{type(tensor).__name__}, {tensor.layout}, {tensor.dtype}, on {tensor.device}"
    raise ValueError(f"{where} holds {name!r}, which is no dense array of numbers ({kind}); give the weights as plain tensors.")

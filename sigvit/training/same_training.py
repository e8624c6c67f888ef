"""Whether a training that goes on is the one that was saved: by recipe, seed, architecture and tokenizer, also where shapes don't tell."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from sigvit.model.transformer import VisionTransformer
from sigvit.tokenizers import Composite
from sigvit.training.recipe import Recipe

# Fields of a recipe that say how the same training is computed: another number of processes may need other ones. But see `free_fields`.
FREE_FIELDS = ("accumulation", "compile")


def described(model: nn.Module, recipe: Recipe, seed: int) -> dict[str, dict[str, Any]]:
    """What decides a training's numbers, as json gives it back: arrays as lists, and words for NaN and infinity, so that they equal themselves.

    >>> described(nn.Linear(2, 3), Recipe(), seed=5)["recipe"]["betas"]
    [0.9, 0.999]
    """
    told: dict[str, dict[str, Any]] = {"recipe": {"seed": int(seed)} | asdict(recipe), "architecture": {}, "tokenizer": {}}
    found = _transformer(model)
    if found is not None:
        told |= {"architecture": asdict(found.config), "tokenizer": _tokenizer(found.tokenizer)}
        del told["architecture"]["checkpointing"]
    return json.loads(json.dumps(_with_words(told), default=_plain), parse_constant=str)


def require_same(what: str, saved: Mapping[str, Any], own: dict[str, dict[str, Any]], free: Collection[str] = ()) -> None:
    """ValueError: what was saved, which holds `described`, is of another recipe, architecture or tokenizer, the free names aside.

    >>> require_same("The checkpoint", {"recipe": {"seed": 2}}, {"recipe": {"seed": 3}})
    Traceback (most recent call last):
    ValueError: The checkpoint is of another recipe: seed was 2 and is 3. Train with the recipe it was made with, or into another folder.
    """
    for kind, now in own.items():
        before = saved.get(kind, {})
        names = [name for name in now | before if name not in free and now.get(name) != before.get(name)]
        if names:
            differ = "; ".join(f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in names)
            raise ValueError(f"{what} is of another {kind}: {differ}. Train with the {kind} it was made with, or into another folder.")


def free_fields(model: nn.Module) -> list[str]:
    """Those of `FREE_FIELDS` that change no bit of this model's training: masks that a compiled step draws are others."""
    found = _transformer(model)
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    draws = any(rates) or (found is not None and (found.config.dropout > 0 or any(block.stochastic_depth for block in found.encoder.blocks)))
    return [name for name in FREE_FIELDS if name != "compile" or not draws]


def _transformer(model: nn.Module) -> VisionTransformer | None:
    """The model, or the one inside an objective or a compiler's wrapper."""
    return next((module for module in model.modules() if isinstance(module, VisionTransformer)), None)


def _tokenizer(tokenizer: nn.Module) -> dict[str, Any]:
    """Class and arguments, of a composite those of each part."""
    told: dict[str, Any] = {"class": type(tokenizer).__name__}
    if isinstance(tokenizer, Composite):
        return told | {f"part {number}": _tokenizer(part) for number, part in enumerate(tokenizer.tokenizers)}
    try:
        return told | dict(tokenizer.arguments())  # type: ignore[operator]
    except Exception:  # somebody's own may be no method, ask for something or fail: no reason to end a training
        return told


def _with_words(value: Any) -> Any:
    """Dictionaries of any kind with words for keys: json has no others, and would leave such an entry out of the comparison."""
    if isinstance(value, Mapping):
        return {str(key): _with_words(held) for key, held in value.items()}
    return [_with_words(held) for held in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    """Anybody's numbers and arrays as Python's; of anything else what it is."""
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, type) else type(value).__name__

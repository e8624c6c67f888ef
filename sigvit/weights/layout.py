"""What a layout is: a table of names, theirs and ours, that is read in both directions, and what its source does otherwise than others."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

# What the places in a name may hold; "{stage+1}" is a number that is one higher in the file than here.
PLACES = {"i": r"\d+", "chunk": r"\d+", "stage": r"\d+", "unit": r"\d+", "n": r"\d", "k": "weight|bias", "any": ".+"}


class Rule(NamedTuple):
    """One kind of tensor: its name in the file, its name here, its form (`sigvit.weights.forms`), and what part of ours it is: from, to, of so many."""

    theirs: str
    ours: str
    form: str = "same"
    part: tuple[int, int, int] = (0, 1, 1)


class Refusal(NamedTuple):
    """Tensors that no rule can place, and why, as the end of a sentence."""

    theirs: str
    why: str


@dataclass(frozen=True)
class Layout:
    """A foreign layout.

    Attributes
    ----------
    rules : the table; where several rules end at one name of ours, the first is the one that is written.
    gelu, eps : what the source computes with, where its file says nothing else; None where that is the model's own.
    standardisation : how it standardises a hybrid's filters (`ResNetPatches`).
    resize : method of `sigvit.resize_positions` for tables of another grid.
    table_rows : which special tokens may have rows in front of the position table, the usual case first: "all", "class" or "none".
    grids : "square" where the source knows no others, "any", or "own" where a table with as many rows as the model's is taken to be the model's.
    prefixes : what may stand in front of a name.
    wrappers : keys that may hold the weights among other parts of a checkpoint.
    dropped : tensors of the source's training that no model here needs.
    refused : tensors of models that can't be built here.
    stacked : names in the file whose first axis counts blocks, and the names of single blocks.
    without_table : the positions of a file that has no table; None where it must have one.
    config : what names in a config.json (or an entry "sigvit" of an .npz) say `heads`, `depth`, `image_size`,
        `given_size` (of which only whole patches are seen), `gelu`, `eps`, `pool`, `global_pool` (timm's word for it), `standardisation` and `scaling`.
    needs : what a config.json must say of things that models here do in one way alone.
    head_width : numbers of an attention head, where that is the same in all models of the source.
    marker : a name that tells this layout from the others of its source.
    """

    rules: tuple[Rule, ...]
    gelu: str | None = "erf"
    eps: float | None = 1e-6
    standardisation: str = "google"
    resize: str = "timm"
    table_rows: tuple[str, ...] = ("class",)
    grids: str = "square"
    prefixes: tuple[str, ...] = ("module.", "_orig_mod.")
    wrappers: tuple[str, ...] = ("model", "state_dict")
    dropped: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    stacked: tuple[str, str] | None = None
    without_table: str | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, object] = field(default_factory=dict)
    head_width: int | None = None
    marker: str = "{any}"


def match(template: str, name: str) -> dict[str, str] | None:
    """What stands in the template's places, or None where the name isn't of its kind.

    >>> match("block{stage+1}.conv{n}.{k}", "block3.conv1.weight")
    {'stage': '2', 'n': '1', 'k': 'weight'}
    """
    found = _pattern(template).fullmatch(name)
    if found is None:
        return None
    higher = set(re.findall(r"\{(\w+)\+1\}", template))
    return {place: str(int(text) - 1) if place in higher else text for place, text in found.groupdict().items()}


def fill(template: str, places: Mapping[str, str]) -> str:
    """The name that the template makes of these places.

    >>> fill("block{stage+1}.conv{n}.{k}", {"stage": "2", "n": "1", "k": "weight"})
    'block3.conv1.weight'
    """
    return re.sub(r"\{(\w+)(\+1)?\}", lambda place: str(int(places[place[1]]) + 1) if place[2] else places[place[1]], template)


def grouped(names: Iterable[str]) -> list[str]:
    """Names of blocks, once for all that differ in a block's number alone.

    >>> grouped(["blocks.0.mlp.w3.bias", "blocks.1.mlp.w3.bias", "blocks.11.mlp.w3.bias", "norm_pre.bias"])
    ['blocks.{0, 1, 11}.mlp.w3.bias', 'norm_pre.bias']
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        number = re.search(r"(?<=[._])\d+(?=[./])", name)
        kind = name if number is None else f"{name[: number.start()]}\0{name[number.end() :]}"
        kinds[kind].append("" if number is None else number[0])
    return [kind.replace("\0", numbers[0] if len(numbers) == 1 else f"{{{', '.join(numbers)}}}") for kind, numbers in kinds.items()]


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?:\+1)?\})", template)
    names = (re.fullmatch(r"\{(\w+)(?:\+1)?\}", part) for part in parts)
    return re.compile("".join(f"(?P<{name[1]}>{PLACES[name[1]]})" if name else re.escape(part) for name, part in zip(names, parts, strict=True)))

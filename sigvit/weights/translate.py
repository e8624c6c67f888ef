"""A foreign checkpoint under our names, with an account of every tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

import torch
from torch import Tensor

from sigvit.weights.facts import Facts, read_facts
from sigvit.weights.forms import FORMS
from sigvit.weights.layout import Layout, fill, grouped, match
from sigvit.weights.read import Checkpoint
from sigvit.weights.sources import SIGVIT, bare, choose, likely_source

# From where to where in one tensor of ours.
Span = tuple[Fraction, Fraction]
HEADS_AXIS = {"heads_in": 1, "heads_bias": 0, "heads_out": 0}  # of the forms that count heads


@dataclass
class Account:
    """What doesn't fit, gathered so that one error lists all of it."""

    problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, problem: str, line: str) -> None:
        self.problems[problem].append(line)

    def settle(self, where: str) -> None:
        """ValueError, if there is any problem, with every name; those that differ in numbers alone share a line."""
        if not self.problems:
            return
        listed = "\n".join(f"- {problem}:\n    " + "\n    ".join(grouped(lines)) for problem, lines in self.problems.items())
        raise ValueError(f"The weights of {where} don't fit; nothing was loaded.\n{listed}")


@dataclass
class Found:
    """A checkpoint under our names: tensors ("positions" is the table with its front rows), names that were dropped, and facts from names and config."""

    layout: Layout
    where: str
    tensors: dict[str, Tensor]
    dropped: list[str]
    account: Account
    distilled: bool
    facts: Facts


def translate(checkpoint: Checkpoint, source: str) -> Found:
    """Every tensor of a checkpoint under our name, in our form, or in the account of what doesn't fit."""
    layout = choose(source, checkpoint.tensors)
    account, dropped, heads = Account(), list(checkpoint.beside), set()
    parts: dict[str, dict[Span, Tensor]] = defaultdict(dict)
    for name, tensor in _unstacked(checkpoint.tensors, layout):
        if any(match(template, name) is not None for template in layout.dropped):
            dropped.append(name)
            continue
        placed = _place(name, tensor, layout, account)
        if placed is None:
            continue
        ours, form, span, value = placed
        if layout is not SIGVIT and not value.is_floating_point():  # joined to others below, it would become floating point
            account.add(f"tensors of the file that hold {value.dtype} instead of floating-point numbers", name)
            value = torch.zeros(value.shape)  # with a problem nothing is loaded
        if form in HEADS_AXIS:
            heads.add(tensor.shape[HEADS_AXIS[form]])
        if span in parts[ours]:
            account.add("two tensors of the file are for one place", f"{name} for {ours}")
        parts[ours][span] = value
    if len(heads) > 1:
        account.add("the attentions have unlike heads", ", ".join(map(str, sorted(heads))))
    tensors = _joined(parts, account)
    distilled = _join_distillation(tensors, account)
    _hint(account, checkpoint.tensors, source)
    facts = read_facts(checkpoint, layout, tensors, next(iter(heads), None), distilled)
    _check_depth(tensors, facts.depth, account)
    return Found(layout, checkpoint.where, tensors, dropped, account, distilled, facts)


def _unstacked(tensors: dict[str, Tensor], layout: Layout) -> Iterator[tuple[str, Tensor]]:
    """Bare names and tensors; arrays of all blocks are taken apart."""
    for full, tensor in tensors.items():
        name = bare(full, layout)
        if layout.stacked is None or not name.startswith(layout.stacked[0]):
            yield name, tensor
            continue
        rest = name[len(layout.stacked[0]) :]
        yield from ((fill(layout.stacked[1], {"i": str(i)}) + rest, each) for i, each in enumerate(tensor))


def _place(name: str, tensor: Tensor, layout: Layout, account: Account) -> tuple[str, str, Span, Tensor] | None:
    """Where a tensor belongs, or None with an entry in the account."""
    for refusal in layout.refused:
        if match(refusal.theirs, name) is not None:
            account.add(f"tensors that {refusal.why}", name)
            return None
    for rule in layout.rules:
        places = match(rule.theirs, name)
        if places is None:
            continue
        form = FORMS[rule.form]
        if form.axes is not None and tensor.ndim not in form.axes:
            account.add("tensors of the file with the wrong shape", f"{name} is {tuple(tensor.shape)}, but should have {_or(form.axes)} axes")
            return None
        start, stop, parts = rule.part
        return fill(rule.ours, places), rule.form, (Fraction(start, parts), Fraction(stop, parts)), form.read(tensor)
    account.add("tensors of the file that have no place here", name)
    return None


def _joined(parts: dict[str, dict[Span, Tensor]], account: Account) -> dict[str, Tensor]:
    """Queries, keys and values in one tensor each, and gates and what they open."""
    tensors = {}
    for ours, pieces in parts.items():
        spans = sorted(pieces)
        *some, last = ("gate", "values") if ".mlp." in ours else ("query", "key", "value")
        if spans[0][0] != 0 or spans[-1][1] != 1 or any(before[1] != after[0] for before, after in pairwise(spans)):
            account.add(f"{', '.join(some)} or {last} is missing in the file", ours)
        elif len(spans) > 1 and not _alike(pieces):
            account.add(f"{', '.join(some)} and {last} of unlike shapes", f"{ours} of {' and '.join(str(tuple(pieces[span].shape)) for span in spans)}")
        else:
            tensors[ours] = torch.cat([pieces[span] for span in spans]) if len(spans) > 1 else pieces[spans[0]]
    return tensors


def _alike(pieces: dict[Span, Tensor]) -> bool:
    """Whether they are parts of one tensor."""
    shapes = {(len(piece) / (stop - start), *piece.shape[1:]) if piece.ndim else () for (start, stop), piece in pieces.items()}
    return len(shapes) == 1 and () not in shapes


def _join_distillation(tensors: dict[str, Tensor], account: Account) -> bool:
    """DeiT's second token is a register, and its two heads are halves of one that reads both tokens."""
    token = tensors.pop("distillation", None)
    second = {kind: tensors.pop(f"head_distillation.{kind}", None) for kind in ("weight", "bias")}
    if token is None and all(each is None for each in second.values()):
        return False
    if token is None:
        account.add("a head for distillation, but no token", "head_dist without dist_token")
        return False
    tensors["register_tokens"] = token[None]
    for kind, join in (("weight", lambda a, b: torch.cat([a, b], dim=1)), ("bias", lambda a, b: a + b)):
        first, other = tensors.get(f"head.{kind}"), second[kind]
        if first is not None and other is not None and first.shape != other.shape:
            account.add("the two heads of a distilled model have unlike shapes", f"{kind} is {tuple(first.shape)} in head, {tuple(other.shape)} in head_dist")
        elif first is not None and other is not None:
            tensors[f"head.{kind}"] = join(first, other) / 2
        elif first is not None or other is not None:
            account.add("a distilled model has two heads or none", f"{'head' if other is None else 'head_dist'}.{kind} stands alone")
    return True


def _check_depth(tensors: dict[str, Tensor], said: int | None, account: Account) -> None:
    """A file that lost its last blocks describes a shallower model as well."""
    blocks = len({name.split(".")[2] for name in tensors if name.startswith("encoder.blocks.")})
    if said is not None and blocks != said:
        account.add("another number of blocks than config.json says", f"{blocks} in the file, {said} in config.json")


def _hint(account: Account, names: Iterable[str], source: str) -> None:
    """Where the names are rather those of another source, the error says so."""
    strangers = account.problems.get("tensors of the file that have no place here", [])
    if strangers and (likely := likely_source(names)) not in (None, source):
        account.add("the names look like those of another source", f"source={likely!r}")


def _or(numbers: tuple[int, ...]) -> str:
    return " or ".join(map(str, numbers))

"""The sections of `sigvit inspect`'s page on attention: how far it reaches, and what it carries to the output."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sigvit.evaluation import figures, scalp_figures
from sigvit.evaluation.attention import attention_distance, attention_rollout
from sigvit.evaluation.class_maps import class_maps
from sigvit.evidence.html_parts import listed, paragraph, section, side_by_side, table
from sigvit.grid import Axis, Grid, JoinedGrid
from sigvit.inspection.inputs import Looked
from sigvit.inspection.parts import PICTURES, axis_words, drawn, place_words, ticks
from sigvit.model.pooling import AttentionPool
from sigvit.model.vision_transformer import VisionTransformer

# n = inputs, T = tokens, N = patch tokens

MAP_NUMBERS = 2**26  # attention weights held at once
DISTANCES = {"px": ("pixels", 1.0), "m": ("centimetres on the head", 100.0), "s": ("seconds", 1.0), "Hz": ("hertz", 1.0), "samples": ("samples", 1.0)}
READ = {
    "class": "the class token",
    "mean": "the mean of the patch tokens",
    "mean_then_norm": "the mean of the patch tokens",
    "map": "what the pooling's probe takes of the patch tokens",
    "class_and_mean": "the class token and the mean of the patch tokens, half each,",
    "class_and_register": "the class token and the first register, half each,",
}


def attention_sections(model: VisionTransformer, looked: Looked, n_permutations: int) -> Iterator[str]:
    """Attention distance and attention rollout, in one pass over the inputs."""
    tokens = model.embed(looked.x[:1])
    assert tokens.grid is not None  # one input of one shape
    kinds = {name: (tokens.coordinates[..., columns], factor) for name, columns, factor in distance_columns(tokens.grid, tokens.coordinates)}
    size = max(1, MAP_NUMBERS // (model.config.depth * model.config.heads * tokens.values.shape[1] ** 2))
    sums = {name: np.zeros((model.config.depth, model.config.heads)) for name in kinds}
    rolled = []
    for part in looked.x.split(size):
        maps = model.attention_maps(part)
        for name, (places, factor) in kinds.items():
            sums[name] += len(part) * factor * attention_distance(maps, places)
        rolled.append(reaching_output(attention_rollout(maps), read_by_head(model, part), len(tokens.special)))
    yield distance_section({name: total / len(looked.x) for name, total in sums.items()}, kinds, looked)
    yield rollout_section(np.concatenate(rolled), tokens.grid, model, looked, n_permutations)


def distance_columns(grid: Grid, coordinates: Tensor) -> Iterator[tuple[str, slice, float]]:
    """Name, columns of the coordinates and factor of every kind of distance on a grid; rows and columns make one, and so do equal axes of joined grids."""
    axes = axes_with_columns(grid)
    names, found = [axis.name for axis in axes], set()
    first = 0
    for number, axis in enumerate(axes):
        columns = slice(first, first + axis.dimension)
        first = columns.stop
        if names[max(number - 1, 0) : number + 1] == ["row", "column"]:
            continue
        if names[number : number + 2] == ["row", "column"]:
            columns = slice(columns.start, columns.stop + 1)
        name, factor = DISTANCES.get(axis.unit, (axis.unit, 1.0))
        if (axis.size > 1 or axis.name == "row") and not bool(coordinates[..., columns].isnan().any(-1).all()):
            name = f"{name}, by {axis.name}" if name in found else name  # electrodes and scalp pictures are both in metres
            found.add(name)
            yield name, columns, factor


def axes_with_columns(grid: Grid) -> list[Axis]:
    """The axes in the order of the coordinates' columns; of joined grids the longest of each name, in `JoinedGrid.columns`' order."""
    if not isinstance(grid, JoinedGrid):
        return list(grid.axes)
    every = [axis for part in grid.parts for axis in part.axes]
    return [max((axis for axis in every if axis.name == name), key=lambda axis: axis.size) for name in dict.fromkeys(axis.name for axis in every)]


def distance_section(distances: dict[str, np.ndarray], kinds: dict[str, tuple[Tensor, float]], looked: Looked) -> str:
    title = "How far attention reaches"
    if not distances:
        return section(title, paragraph("No axis of the tokens has more than one step at a known place, so that there is no distance to measure."))
    uniform = {}
    for name, (places, factor) in kinds.items():
        count = places.shape[-2]
        uniform[name] = factor * float(attention_distance(np.full((1, 1, count, count), 1 / count), places).squeeze())
    words = (
        "How far the tokens lie, on average, that a token looks at, weighted by attention: one dot a head (figure 7, right, of Dosovitskiy et al. 2021). "
        "Distances are straight lines between the centres of patches; class and register tokens, which sit nowhere, are left out and the weights of the rest "
        "scaled to sum to one."
    )
    return section(title, paragraph(words), drawn(figures.draw_attention_distance(distances, uniform), f"Mean over {len(looked.x)} inputs."))


@torch.no_grad()
def read_by_head(model: VisionTransformer, x: Tensor) -> np.ndarray:
    """(n, T): each token's share, behind the last layer, of what the head reads; of two vectors side by side each counts half."""
    tokens, pool = model.encode(x), model.config.pool
    special = len(tokens.special)
    shares = torch.zeros(tokens.values.shape[:2], dtype=torch.float64)
    parts = pool.removesuffix("_then_norm").split("_and_")
    for part in parts:
        if part == "mean":
            shares[:, special:] += 1 / (len(parts) * (shares.shape[1] - special))
        elif part == "map":
            assert isinstance(model.pool, AttentionPool)
            shares[:, special:] += model.pool.weights(tokens.values[:, special:]).double().mean(1)
        else:
            shares[:, tokens.special.index({"register": "register 0"}.get(part, part))] += 1 / len(parts)
    return shares.numpy()


def reaching_output(rollout: np.ndarray, read: np.ndarray, n_special: int) -> np.ndarray:
    """Rollout (n, T, T) and what the head reads of each token, (n, T) → (n, N): of which patches that is made, as multiples of an equal share."""
    patches = np.einsum("nq,nqt->nt", read, rollout)[:, n_special:]
    return patches / patches.mean(1, keepdims=True)


def rollout_section(rolled: np.ndarray, grid: Grid, model: VisionTransformer, looked: Looked, n_permutations: int) -> str:
    title, label = "What attention carries to the output", "share of the patch,\n1 = equal"
    words = (
        f"How much of each patch reaches {READ[model.config.pool]} behind the last layer, if attention and residual connections were all that mixes tokens "
        "(attention rollout, Abnar & Zuidema 2020; figure 6 of Dosovitskiy et al. 2021); 1 is an equal share. It asks for no class, and it is no proof that a "
        "patch mattered: see the attribution below."
    )
    if looked.pictures is not None:
        some = slice(0, PICTURES)
        titles = [looked.classes[number] for number in looked.labels[some]]
        figure = figures.draw_below_pictures(looked.pictures[some], rolled[some].reshape(-1, *grid.shape), titles, label)
        return section(title, paragraph(words), drawn(figure, "Above the image with its class, below its rollout."))
    return section(
        title, paragraph(words), rollout_table(rolled, grid, looked, n_permutations), side_by_side(*rollout_figures(rolled.mean(0), grid, label, looked))
    )


def rollout_table(rolled: np.ndarray, grid: Grid, looked: Looked, n_permutations: int) -> str:
    """Where attention differs most between a class' inputs and the others', against permuted labels."""
    values = np.broadcast_to(rolled[:, None], (len(rolled), len(looked.classes), rolled.shape[1]))
    maps = class_maps(values, looked.labels, looked.groups, n_permutations, units=looked.units)
    rows = []
    for number in np.unique(looked.labels):
        at = int(maps.excess[number].argmax())
        own = maps.mean[number, at]
        rows.append([looked.classes[number], place_words(grid, at), float(own), float(own - maps.excess[number, at]), float(maps.p[number].min())])
    baseline = f"p by {n_permutations} permutations of the labels{looked.exchanged}, corrected over all patches"
    caption = f"The patch whose share grows most in a class' own inputs; {baseline}"
    return table(["Class", "Patch", "Share in its inputs", "in the others", "p"], rows, caption)


def rollout_figures(mean: np.ndarray, grid: Grid, label: str, looked: Looked) -> list[str]:
    """The mean over all inputs, (N,), over at most two axes, and over the scalp."""
    axes = [axis for axis in grid.axes if axis.size > 1] or [grid.axes[-1]]
    mean = mean.reshape([axis.size for axis in axes])
    kept = axes if len(axes) <= 2 else [axes[0], axes[-1]]
    if len(axes) > 2:
        mean = mean.mean(tuple(range(1, len(axes) - 1)))
    others = listed([f"{len(looked.x)} inputs", *(axis.name for axis in axes if axis not in kept)])
    shown = [drawn(figures.draw_grid_map(mean, [(axis_words(axis), ticks(axis)) for axis in kept], label), f"Mean over {others}.")]
    if kept[0].name == "electrode" and kept[0].size == len(looked.info["chs"]) and looked.has_scalp:
        by_electrode = mean.reshape(len(mean), -1).mean(1)
        limits = (float(by_electrode.min()), float(by_electrode.max()))
        over = f"mean over {listed([axis.name for axis in axes[1:]])}" if len(axes) > 1 else "one patch an electrode"
        scalp = scalp_figures.draw_topographies(by_electrode[None], looked.info, [over], label, limits)
        shown.insert(0, drawn(scalp, "Over the scalp, in colours from the least to the most."))
    return shown

"""The sections of `sigvit inspect`'s page that images and recordings share: what was looked at, filters, positions, attention."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from sigvit.evaluation import figures, scalp_figures
from sigvit.evaluation.attention import attention_distance, attention_rollout
from sigvit.evaluation.filters import filter_patterns, principal_filters, space_and_time
from sigvit.evaluation.position_similarity import position_similarity, position_vectors
from sigvit.evidence.html_parts import bullets, counted, paragraph, section, side_by_side, table
from sigvit.grid import Axis, Grid
from sigvit.inspection.class_section import attribution_section
from sigvit.inspection.inputs import Looked
from sigvit.inspection.parts import PICTURES, answers, axis_words, drawn, ticks
from sigvit.model.vision_transformer import VisionTransformer

# n = inputs, T = tokens, N = patch tokens

MAP_NUMBERS = 2**26  # attention weights held at once
DISTANCES = {"px": ("pixels", 1.0), "m": ("centimetres on the head", 100.0), "s": ("seconds", 1.0), "Hz": ("hertz", 1.0), "samples": ("samples", 1.0)}


def lead(model: VisionTransformer, looked: Looked) -> str:
    """How good the model is on what is looked at: a map of a model that guesses shows nothing."""
    right, chance = float((answers(model, looked.x) == looked.labels).mean()), float(np.bincount(looked.labels).max() / len(looked.labels))
    margin = 1.64 * np.sqrt(chance * (1 - chance) / len(looked.labels))
    words = f"The model names {right:.0%} of the {len(looked.labels)} inputs shown here right; always the same class would be {chance:.0%}."
    doubt = " That is no better than guessing, so that the maps below show what the model does, not what tells the classes apart."
    return words + (doubt if right <= chance + margin else "") + " If it was trained on them, that says nothing about new ones."


def sections(model: VisionTransformer, looked: Looked, n_references: int, n_permutations: int) -> list[str]:
    """All sections, in the order of the signal's way through the model."""
    with torch.no_grad():
        shared = [facts_section(model, looked), filters_section(model, looked), positions_section(model, looked)]
        shared += [*attention_sections(model, looked)]
    return [*shared, attribution_section(model, looked, n_references, n_permutations)]


def facts_section(model: VisionTransformer, looked: Looked) -> str:
    config = model.config
    tokens = " × ".join(f"{axis.size} {axis.name}s" if axis.size > 1 else f"1 {axis.name}" for axis in model.grid.axes)
    rows = [
        ("Model", f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters, {counted(config.depth, 'layer')} of {config.heads} heads"),
        ("Tokens", f"{tokens} ({type(model.tokenizer).__name__}), width {config.width}, positions {config.positions}, pool {config.pool}"),
        ("Data", looked.name),
        ("Classes", ", ".join(f"{name}: {(looked.labels == number).sum()}" for number, name in enumerate(looked.classes))),
    ]
    return section("What was looked at", table(["What", "Value"], rows), bullets(looked.told))


def filters_section(model: VisionTransformer, looked: Looked) -> str:
    title, tokenizer = "What the patch projection looks for", model.tokenizer
    words = (
        "The principal components of the projection's filters, strongest first, each with its share of the squared weights (figure 7, left, of "
        "Dosovitskiy et al. 2021). What all filters have in common is left out: it shifts a token as a whole, which every LayerNorm undoes."
    )
    if looked.pictures is not None:
        if not hasattr(tokenizer, "unfold") or model.config.input_shape[0] not in (1, 3):
            return section(title, paragraph(f"The tokens of {type(tokenizer).__name__} aren't patches of pixels, so that their projection is no picture."))
        filters, shares = principal_filters(tokenizer.weight, 28)  # type: ignore[arg-type]
        return section(title, paragraph(words), drawn(figures.draw_filter_pictures(filters, shares), "Each picture is one filter; grey is no weight."))
    weight = recording_filters(model)
    if weight is None:
        return section(title, paragraph(f"The tokens of {type(tokenizer).__name__} are no linear projection of samples, so that there are no filters to draw."))
    return section(title, paragraph(words), *recording_filter_figures(model, looked, weight))


def recording_filters(model: VisionTransformer) -> Tensor | None:
    """Filters (D, electrodes of a token in the recording's order, samples), or None where the tokenizer has none."""
    tokenizer, kind = model.tokenizer, type(model.tokenizer).__name__
    if kind == "ConvStem":
        return tokenizer.joint_filters()  # type: ignore[operator]
    if kind == "TimeStepTokens":
        return tokenizer.weight[..., None]  # type: ignore[index]
    if kind != "ElectrodeTimePatches":
        return None
    weight = tokenizer.weight.unflatten(1, (-1, tokenizer.window))  # type: ignore[union-attr,operator]
    return weight[:, torch.as_tensor(tokenizer.groups[0]).argsort()] if len(tokenizer.groups) == 1 else weight  # type: ignore[arg-type,index]


def recording_filter_figures(model: VisionTransformer, looked: Looked, weight: Tensor, count: int = 6) -> list[str]:
    """Scalp maps where a token sees all electrodes, time courses and spectra where it sees several samples."""
    filters, shares = principal_filters(weight, count)
    parts = [space_and_time(each) for each in filters]
    shown = []
    if weight.shape[1] == len(looked.info["chs"]) and looked.has_scalp:
        titles = [f"{number + 1}: {share:.0%}" for number, share in enumerate(shares)]
        maps = np.stack([topography for topography, _, _ in parts])
        caption = f"Filters over the scalp; {one_map(parts)}."
        shown.append(drawn(scalp_figures.draw_topographies(maps, looked.info, titles, "weight", across=3), caption))
        cut = getattr(model.tokenizer, "unfold", getattr(model.tokenizer, "averages", None))
        if cut is not None:
            patterns = filter_patterns(filters, cut(looked.x).flatten(0, 1).unflatten(1, filters.shape[1:]))
            maps = np.stack([space_and_time(each)[0] for each in patterns])
            words = "Patterns: where a source lies that drives each filter's answer. A filter also weighs electrodes to cancel noise (Haufe et al. 2014)."
            shown.append(drawn(scalp_figures.draw_topographies(maps, looked.info, titles, "standardised signal\na unit of the answer", across=3), words))
    if weight.shape[2] > 1:
        rate = float(looked.info["sfreq"])
        courses = np.stack([course for _, course, _ in parts])
        shown.append(drawn(figures.draw_courses(courses, shares, rate), f"Time courses of the filters and their amplitude spectra ({rate:g} Hz)."))
    why = "no map is drawn: too few electrodes have a known place, or they are of several kinds"
    return shown or [paragraph(f"Each filter is a weight an electrode, and {why}.")]


def one_map(parts: list[tuple[np.ndarray, np.ndarray, float]]) -> str:
    """How much of the filters a single map each accounts for."""
    shares = [share for _, _, share in parts]
    return f"one map each accounts for {min(shares):.0%} to {max(shares):.0%} of its squares"


def positions_section(model: VisionTransformer, looked: Looked) -> str:
    title = "What the positions tell apart"
    vectors, grid = position_vectors(model), model.grid
    if not bool(vectors.any()):
        return section(title, paragraph(f"Positions are {model.config.positions!r}: no vector is added to the tokens that could be compared."))
    words = "Cosine similarity of the vectors that are added to the tokens."
    similarity = position_similarity(vectors, grid.shape)
    if grid.names == ("row", "column") and min(grid.shape) > 1:
        about = "The tile at a row and column compares the patch that sits there with all patches (figure 7, centre, of Dosovitskiy et al. 2021)."
        return section(title, paragraph(words), drawn(figures.draw_position_tiles(similarity), about))
    shown = [figure for number, axis in enumerate(grid.axes) if axis.size > 1 for figure in axis_similarity(similarity, grid, number, axis, looked)]
    return section(title, paragraph(words), side_by_side(*shown))


def axis_similarity(similarity: np.ndarray, grid: Grid, number: int, axis: Axis, looked: Looked) -> Iterator[str]:
    """One axis of the grid: similarity of its steps at equal places on the other axes, averaged over those."""
    letters = "abcdefgh"[: len(grid.axes)]
    other = letters[number].upper()
    matrix = np.einsum(f"{letters}{letters.replace(letters[number], other)}->{letters[number]}{other}", similarity) * axis.size / np.prod(grid.shape)
    others = [each.name for each in grid.axes if each is not axis and each.size > 1]
    equal = f", at equal {' and '.join(others)}" if others else ""
    if axis.name == "electrode" and axis.size == len(looked.info["chs"]) and looked.has_scalp:
        chosen = scalp_figures.spread_electrodes(looked.info, 6)
        limits = (float(np.quantile(matrix, 0.02)), float(np.quantile(matrix[~np.eye(len(matrix), dtype=bool)], 0.98)))
        maps = scalp_figures.draw_topographies(matrix[chosen], looked.info, [looked.info["ch_names"][k] for k in chosen], "cosine similarity", limits, across=3)
        caption = f"Similarity of the electrode in each title to all{equal}; colours end at the 2nd and 98th of 100, so that it doesn't set them itself."
        yield drawn(maps, caption)
    yield drawn(figures.draw_matrix(matrix, ticks(axis), axis_words(axis)), f"Similarity along the axis {axis.name}{equal}.")


def attention_sections(model: VisionTransformer, looked: Looked) -> Iterator[str]:
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
        rolled.append(reaching_output(attention_rollout(maps), tokens.special, model.config.pool))
    yield distance_section({name: total / len(looked.x) for name, total in sums.items()}, kinds, looked)
    yield rollout_section(np.concatenate(rolled), tokens.grid, model, looked)


def distance_columns(grid: Grid, coordinates: Tensor) -> Iterator[tuple[str, slice, float]]:
    """Name, columns of the coordinates and factor of every kind of distance on a grid; rows and columns make one."""
    first = 0
    for number, axis in enumerate(grid.axes):
        columns = slice(first, first + axis.dimension)
        first = columns.stop
        if grid.names[max(number - 1, 0) : number + 1] == ("row", "column"):
            continue
        if grid.names[number : number + 2] == ("row", "column"):
            columns = slice(columns.start, columns.stop + 1)
        name, factor = DISTANCES.get(axis.unit, (axis.unit, 1.0))
        if (axis.size > 1 or axis.name == "row") and not bool(coordinates[..., columns].isnan().any(-1).all()):
            yield name, columns, factor


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


def reaching_output(rollout: np.ndarray, special: tuple[str, ...], pool: str) -> np.ndarray:
    """(n, T, T) → (n, N): of what the pooled tokens are made, as multiples of an equal share."""
    rows = rollout[:, special.index("class")] if pool.startswith("class") else rollout[:, len(special) :].mean(1)
    patches = rows[:, len(special) :]
    return patches / patches.mean(1, keepdims=True)


def rollout_section(rolled: np.ndarray, grid: Grid, model: VisionTransformer, looked: Looked) -> str:
    read = "the class token" if model.config.pool.startswith("class") else "the mean of the patch tokens"
    words = (
        f"How much of each patch reaches {read} behind the last layer, if attention and residual connections were all that mixes tokens (attention rollout, "
        "Abnar & Zuidema 2020; figure 6 of Dosovitskiy et al. 2021); 1 is an equal share. It doesn't tell classes apart, and it is no proof that a patch "
        "mattered: see the attribution below."
    )
    label = "share of the patch,\n1 = equal"
    if looked.pictures is not None:
        some = slice(0, PICTURES)
        titles = [looked.classes[number] for number in looked.labels[some]]
        figure = figures.draw_over_pictures(looked.pictures[some], rolled[some].reshape(-1, *grid.shape), titles, label)
        return section("What attention carries to the output", paragraph(words), drawn(figure, "Above the image with its class, below its rollout."))
    axes = [axis for axis in grid.axes if axis.size > 1] or [grid.axes[-1]]
    mean = rolled.mean(0).reshape([axis.size for axis in axes])
    kept = axes if len(axes) <= 2 else [axes[0], axes[-1]]
    if len(axes) > 2:
        mean = mean.mean(tuple(range(1, len(axes) - 1)))
    shown = [drawn(figures.draw_grid_map(mean, [(axis_words(axis), ticks(axis)) for axis in kept], label), f"Mean over {len(rolled)} inputs.")]
    if kept[0].name == "electrode" and kept[0].size == len(looked.info["chs"]) and looked.has_scalp:
        over_time = mean.reshape(len(mean), -1).mean(1)
        limits = (float(over_time.min()), float(over_time.max()))
        shown.insert(0, drawn(scalp_figures.draw_topographies(over_time[None], looked.info, ["mean over time"], label, limits), "The same over the scalp."))
    return section("What attention carries to the output", paragraph(words), side_by_side(*shown))

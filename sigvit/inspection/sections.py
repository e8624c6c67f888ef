"""The sections of `sigvit inspect`'s page in their order, and those on what was looked at and on positions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from sigvit.evaluation import figures, scalp_figures
from sigvit.evaluation.position_similarity import position_similarity, position_vectors, similarity_by_distance
from sigvit.evidence.html_parts import bullets, counted, paragraph, section, side_by_side, table
from sigvit.grid import Axis, Grid
from sigvit.inspection.attention_sections import attention_sections
from sigvit.inspection.class_section import attribution_section
from sigvit.inspection.filter_section import filters_section
from sigvit.inspection.inputs import Looked
from sigvit.inspection.parts import answers, axis_words, drawn, ticks
from sigvit.model.vision_transformer import VisionTransformer


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
        shared += [*attention_sections(model, looked, n_permutations)]
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
        placed = scalp_figures.placed_electrodes(looked.info)
        alike = similarity_by_distance(matrix[np.ix_(placed, placed)], [looked.info["chs"][channel]["loc"][:3] for channel in placed])
        caption = (
            f"Similarity of the electrode in each title to all{equal}; the colours span 96 of 100 of the similarities between different electrodes. "
            f"Over all pairs the rank correlation of similarity with distance is {alike:.2f}; where neighbours are alike, it is far below 0."
        )
        yield drawn(scalp_figures.draw_similarity(matrix, looked.info), caption)
    yield drawn(figures.draw_matrix(matrix, ticks(axis), axis_words(axis)), f"Similarity along the axis {axis.name}{equal}.")

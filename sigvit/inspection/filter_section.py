"""The section of `sigvit inspect`'s page on filters: what the patch projection looks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigvit.evaluation import figures, scalp_figures
from sigvit.evaluation.filters import filter_patterns, principal_filters, space_and_time
from sigvit.evidence.html_parts import paragraph, section
from sigvit.inspection.inputs import Looked
from sigvit.inspection.parts import drawn, parts_of
from sigvit.model.vision_transformer import VisionTransformer
from sigvit.tokenizers import ConvStem, ElectrodeTimePatches, ScalpMapPatches, SpectrogramPatches, TimeStepTokens

# D = width

FEW = 6  # filters of recordings
ALIKE = "All {} are read by the same filters. Grey is no weight."


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
    parts = parts_of(tokenizer)
    drawn_of = [filter_figures(part, looked) for part in parts]
    shown = []
    for number, (part, own) in enumerate(zip(parts, drawn_of, strict=True), 1):
        shown += [paragraph(f"Part {number}, {type(part).__name__}:")] if len(parts) > 1 else []
        shown += own or [paragraph(why_none(part))]
    return section(title, *([paragraph(words)] if any(drawn_of) else []), *shown)


def filter_figures(tokenizer: Any, looked: Looked) -> list[str]:
    """The figures of one tokenizer's filters; none where it has no filters, or filters of one sample and no map can be drawn."""
    if isinstance(tokenizer, ScalpMapPatches):
        return [scalp_picture_filters(tokenizer)]
    if isinstance(tokenizer, SpectrogramPatches):
        return [spectrogram_filters(tokenizer, tokenizer(looked.x[:1]).grid.axis("frequency").size)]
    weight = recording_filters(tokenizer)
    return [] if weight is None else recording_filter_figures(tokenizer, looked, weight)


def why_none(tokenizer: Any) -> str:
    if recording_filters(tokenizer) is None:
        return f"The tokens of {type(tokenizer).__name__} are no linear projection of samples, of pictures or of power, so that there are no filters to draw."
    return "Each filter is a weight an electrode, and no map is drawn: too few electrodes have a known place, or they are of several kinds."


def scalp_picture_filters(tokenizer: ScalpMapPatches) -> str:
    """Filters (D, frames, rows, columns) of `ScalpMapPatches`."""
    filters, shares = principal_filters(tokenizer.weight, FEW)
    samples = f"{tokenizer.frame} samples" if tokenizer.sampling_rate is None else f"{1000 * tokenizer.frame / tokenizer.sampling_rate:.3g} ms"
    rows, columns = tokenizer.patch_size
    caption = (
        f"Each picture is one filter: {rows} × {columns} pixels of the scalp, the nose above, in {tokenizer.frames} frames of {samples}, the first on the "
        "left. " + ALIKE.format("patches of the scalp")
    )
    return drawn(figures.draw_filter_pictures(frames_side_by_side(filters), shares, across=3), caption)


def frames_side_by_side(filters: np.ndarray) -> np.ndarray:
    """(n, frames, rows, columns) → (n, 1, rows, all columns), NaN between frames.

    >>> frames_side_by_side(np.ones((2, 3, 5, 7))).shape
    (2, 1, 5, 23)
    """
    framed = np.pad(filters, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    return np.concatenate(list(framed.swapaxes(0, 1)), axis=2)[:, None, :, :-1]


def spectrogram_filters(tokenizer: SpectrogramPatches, n_steps: int) -> str:
    """Filters (D, frequencies, frames) of `SpectrogramPatches`, upright: the first frequency below; `n_steps` patches lie above each other."""
    filters, shares = principal_filters(tokenizer.weight.unflatten(1, tokenizer.patch), FEW)
    rows = "neighbouring frequencies" if tokenizer.bands is None else "bands"
    caption = (
        f"Each picture is one filter of the logarithm of power: {tokenizer.patch[0]} {rows}, the first below, × {tokenizer.patch[1]} frames "
        f"{1000 * tokenizer.stride / tokenizer.sampling_rate:.3g} ms apart, the first on the left. "
        + ALIKE.format(f"electrodes and all {rows.split()[-1]}" if n_steps > 1 else "electrodes")
    )
    return drawn(figures.draw_filter_pictures(filters[:, None, ::-1], shares), caption)


def recording_filters(tokenizer: Any) -> Tensor | None:
    """Filters (D, electrodes of a token in the recording's order, samples), or None where the tokenizer has none."""
    if isinstance(tokenizer, ConvStem):
        return tokenizer.joint_filters()
    if isinstance(tokenizer, TimeStepTokens):
        return tokenizer.weight[..., None]
    if not isinstance(tokenizer, ElectrodeTimePatches):
        return None
    weight = tokenizer.weight.unflatten(1, (-1, tokenizer.window))
    return weight[:, torch.as_tensor(tokenizer.groups[0]).argsort()] if len(tokenizer.groups) == 1 else weight


def recording_filter_figures(tokenizer: Any, looked: Looked, weight: Tensor) -> list[str]:
    """Scalp maps where a token sees all electrodes, time courses and spectra where it sees several samples."""
    filters, shares = principal_filters(weight, FEW)
    parts = [space_and_time(each) for each in filters]
    shown = []
    if weight.shape[1] == len(looked.info["chs"]) and looked.has_scalp:
        titles = [f"{number + 1}: {share:.0%}" for number, share in enumerate(shares)]
        maps = np.stack([topography for topography, _, _ in parts])
        caption = f"Filters over the scalp; {one_map(parts)}."
        shown.append(drawn(scalp_figures.draw_topographies(maps, looked.info, titles, "weight", across=3), caption))
        cut = getattr(tokenizer, "unfold", getattr(tokenizer, "averages", None))
        if cut is not None:
            patterns = filter_patterns(filters, cut(looked.x).flatten(0, 1).unflatten(1, filters.shape[1:]))
            maps = np.stack([space_and_time(each)[0] for each in patterns])
            words = "Patterns: where a source lies that drives each filter's answer. A filter also weighs electrodes to cancel noise (Haufe et al. 2014)."
            shown.append(drawn(scalp_figures.draw_topographies(maps, looked.info, titles, "standardised signal\na unit of the answer", across=3), words))
    if weight.shape[2] > 1:
        rate = float(looked.info["sfreq"])
        courses = np.stack([course for _, course, _ in parts])
        shown.append(drawn(figures.draw_courses(courses, shares, rate), f"Time courses of the filters and their amplitude spectra ({rate:g} Hz)."))
    return shown


def one_map(parts: list[tuple[np.ndarray, np.ndarray, float]]) -> str:
    """How much of the filters a single map each accounts for."""
    shares = [share for _, _, share in parts]
    return f"one map each accounts for {min(shares):.0%} to {max(shares):.0%} of its squares"

"""Figures over the scalp, drawn with mne, which is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from sigvit.evaluation.figures import SIGNED, STYLE, UNSIGNED, WIDTH_INCHES

FEWEST_ELECTRODES = 4  # a map between fewer is an invention


def placed_electrodes(info: Any) -> list[int]:
    """Numbers of the electrodes of an `mne.Info` whose place is known."""
    return [number for number, channel in enumerate(info["chs"]) if np.isfinite(channel["loc"][:3]).all() and np.any(channel["loc"][:3])]


def can_draw_scalp(info: Any) -> bool:
    """Whether enough electrodes have a place, each its own, and triangles can be laid between them: not where all lie on one circle or line.

    Nor where those that are placed are of several kinds, such as EEG and EOG, or of one that isn't mapped, such as EMG.
    """
    placed = placed_electrodes(info)
    sites = np.array([info["chs"][number]["loc"][:3] for number in placed])
    if len(sites) < FEWEST_ELECTRODES or len(np.unique(sites.round(6), axis=0)) < len(sites):
        return False
    if "grad" in info.get_channel_types(placed):
        return False  # of two gradiometers mne draws one length
    import mne
    from scipy.spatial import QhullError

    try:  # mne projects the sites and adds points of its own, so that nothing but a map tells
        mne.viz.plot_topomap(np.zeros(len(placed)), mne.pick_info(info, placed), axes=Figure().subplots(), show=False, vlim=(-1, 1), contours=0)
    except (QhullError, ValueError):  # no triangles; kinds that mne draws on no map or on maps of their own
        return False
    return True


@matplotlib.rc_context(STYLE)
def draw_topographies(
    maps: np.ndarray, info: Any, titles: Sequence[str], label: str, limits: tuple[float, float] | None = None, marked: np.ndarray | None = None, across: int = 6
) -> Figure:
    """Maps (n, electrodes) over the scalp, all in one scale with zero in the middle; between `limits`, colours that have no middle.

    Parameters
    ----------
    info : `mne.Info` of the electrodes; those without a place are left out.
    label : of the colour bar, with the unit.
    marked : (n, electrodes) bool: electrodes that get a ring.
    """
    import mne

    placed = placed_electrodes(info)
    chosen, values = mne.pick_info(info, placed), maps[:, placed]
    largest = float(np.nanmax(np.abs(values))) or 1.0
    colours = SIGNED if limits is None else UNSIGNED
    limits = limits or (-largest, largest)
    across = min(across, len(maps))
    down = -(-len(maps) // across)
    figure = Figure(figsize=(max(2.6, min(WIDTH_INCHES, 1.25 * across + 0.8)), 1.45 * down + 0.25), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    dots = "k." if len(placed) <= 24 else "k,"
    ring = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": "black", "markersize": 6, "markeredgewidth": 1.2, "linestyle": "none"}
    for number, (panel, title) in enumerate(zip(panels, titles, strict=False)):
        rings = None if marked is None else marked[number, placed]
        image, _ = mne.viz.plot_topomap(
            np.nan_to_num(values[number]), chosen, axes=panel, show=False, vlim=limits, cmap=colours, contours=0, sensors=dots, mask=rings, mask_params=ring
        )
        panel.set_title(title, fontsize=9)
    for panel in panels[len(maps) :]:
        panel.remove()
    figure.colorbar(image, ax=list(panels[: len(maps)]), label=label, shrink=0.8)
    return figure


def draw_similarity(similarity: np.ndarray, info: Any) -> Figure:
    """Similarity (electrodes, electrodes) of up to six electrodes, named in the titles, to all.

    The colours span 96 of 100 of the similarities between different electrodes: an electrode's to itself is 1, and would set the scale alone.
    """
    chosen = spread_electrodes(info, 6)
    others = similarity[~np.eye(len(similarity), dtype=bool)]
    limits = (float(np.quantile(others, 0.02)), float(np.quantile(others, 0.98)))
    return draw_topographies(similarity[chosen], info, [info["ch_names"][number] for number in chosen], "cosine similarity", limits, across=3)


def spread_electrodes(info: Any, count: int) -> list[int]:
    """Electrodes that lie far apart: the one nearest to the vertex, then each time the one farthest from all chosen."""
    placed = placed_electrodes(info)
    sites = np.array([info["chs"][number]["loc"][:3] for number in placed])
    chosen = [int(sites[:, 2].argmax())]
    while len(chosen) < min(count, len(placed)):
        nearest = np.linalg.norm(sites[:, None] - sites[chosen], axis=2).min(1)
        chosen.append(int(nearest.round(9).argmax()))
    return [placed[number] for number in chosen]

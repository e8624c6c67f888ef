"""The report's figures of the data: which windows train and test, and what the classes look like."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sigvit.data.windows import Windows
from sigvit.evaluation.scalp_figures import can_draw_scalp, placed_electrodes
from sigvit.evidence.figures import PARTS, STYLE, empty_figure, svg_of
from sigvit.evidence.folds import Fold
from sigvit.evidence.groups import read_groups
from sigvit.labels import legend_name

MOST_STRIP_COLUMNS = 3000
MOST_LABELLED_FOLDS = 24
MOST_ELECTRODES = 6


@matplotlib.rc_context(STYLE)
def draw_protocol(windows: Windows, folds: Sequence[Fold]) -> str:
    """Which windows train, choose and judge in every fold: a row a fold, a column a window, in the order of subject, session and run."""
    order, level, groups = _window_order(windows.metadata)
    parts = _part_table(len(windows), folds)[:, order]
    figure, axes = empty_figure(height=1.5 + 0.24 * min(len(folds), MOST_LABELLED_FOLDS))
    columns = np.linspace(0, parts.shape[1] - 1, min(parts.shape[1], MOST_STRIP_COLUMNS)).astype(int)
    colours = matplotlib.colors.ListedColormap(list(PARTS.values()))
    axes.imshow(
        parts[:, columns], cmap=colours, vmin=-0.5, vmax=3.5, aspect="auto", interpolation="nearest", extent=(0, parts.shape[1], len(folds) - 0.5, -0.5)
    )
    _mark_groups(axes, groups, level)
    shown = np.linspace(0, len(folds) - 1, min(len(folds), MOST_LABELLED_FOLDS)).astype(int)
    names = _telling_names(folds)
    axes.set_yticks(shown, [names[number] for number in shown])
    axes.hlines(np.arange(len(folds) - 1) + 0.5, 0, parts.shape[1], color="white", linewidth=1.5 if len(folds) <= MOST_LABELLED_FOLDS else 0.2)
    there = [name for number, name in enumerate(PARTS) if (parts == number).any()]
    handles = [matplotlib.patches.Patch(color=PARTS[name], label=name if name != "neither" else "in no part") for name in there]
    figure.legend(handles=handles, loc="outside upper right", ncols=4, columnspacing=1, handlelength=1)
    return svg_of(figure)


@matplotlib.rc_context(STYLE)
def draw_responses(windows: Windows, electrodes: Sequence[int]) -> str:
    """Average signal of every class at some electrodes, with its standard error over windows."""
    rows = int(np.ceil(len(electrodes) / 2))
    figure, panels = empty_figure(rows, min(2, len(electrodes)), height=0.9 + 1.7 * rows, sharex=True)
    seconds = np.arange(windows.values.shape[2]) / windows.sampling_rate
    panels = np.atleast_1d(panels).ravel()
    for panel, electrode in zip(panels, electrodes, strict=False):
        for number, label in enumerate(windows.classes):
            own = 1e6 * np.asarray(windows.values[np.asarray(windows.labels) == label, electrode], dtype=np.float64)
            mean, error = own.mean(axis=0), own.std(axis=0, ddof=min(1, len(own) - 1)) / np.sqrt(len(own))
            panel.plot(seconds, mean, color=_class_colour(number), linewidth=1.4, label=legend_name(f"{label} (n = {len(own)})"))
            panel.fill_between(seconds, mean - error, mean + error, color=_class_colour(number), alpha=0.25, linewidth=0)
        panel.set_title(windows.electrodes[electrode], loc="left")
        panel.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    for panel in panels[len(electrodes) :]:
        panel.remove()
    figure.supxlabel("seconds from the start of the window", fontsize=11)
    figure.supylabel("µV", fontsize=11)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2)
    return svg_of(figure)


@matplotlib.rc_context(STYLE)
def draw_scalp(windows: Windows, sample: int) -> str | None:
    """Each class's average, less the mean of all classes, over the scalp at one sample; None where fewer than eight electrodes have a position, or their places
    or kinds make no map (`can_draw_scalp`)."""
    placed = placed_electrodes(windows.info)
    if len(placed) < 8 or len(windows.classes) > 4 or not can_draw_scalp(windows.info):
        return None
    import mne

    means = np.array([np.asarray(windows.values[np.asarray(windows.labels) == label][:, placed, sample]).mean(axis=0) for label in windows.classes]) * 1e6
    contrasts = means - means.mean(axis=0)
    info, limit = mne.pick_info(windows.info, placed), float(np.abs(contrasts).max())
    figure, panels = empty_figure(1, len(windows.classes), height=2.6)
    for panel, contrast, label in zip(panels, contrasts, windows.classes, strict=True):
        image, _ = mne.viz.plot_topomap(contrast, info, axes=panel, show=False, vlim=(-limit, limit), cmap="RdBu_r", contours=4)
        panel.set_title(_shortened(str(label), 18))
    figure.colorbar(image, ax=list(panels), shrink=0.7, label="µV")
    return svg_of(figure)


def where_classes_differ(windows: Windows) -> tuple[list[int], int]:
    """Up to six electrodes where the classes' averages lie farthest apart, in montage order, and the sample where they do over all electrodes."""
    labels = np.asarray(windows.labels)
    # between the classes' averages: (electrodes, samples), volts
    deviation = np.std([np.asarray(windows.values[labels == label]).mean(axis=0, dtype=np.float64) for label in windows.classes], axis=0)
    electrodes = np.argsort(-deviation.max(axis=1), kind="stable")[:MOST_ELECTRODES]
    return sorted(electrodes.tolist()), int((deviation**2).mean(axis=0).argmax())


def _window_order(metadata: pd.DataFrame) -> tuple[np.ndarray, str, list[tuple[str, int]]]:
    """Rows in the natural order of subject, session and run; what the columns are grouped by, and the groups in that order as (name, windows).

    Groups are as fine as sixteen of them allow; a level with one member says nothing and is left out of their names.
    """
    groups = read_groups(metadata)
    order = np.lexsort((groups.start_s, groups.run))
    telling = [level for level in ("subject", "session", "run") if metadata[level].nunique() > 1] or ["subject"]
    while len(telling) > 1 and metadata.groupby(telling).ngroups > 16:
        telling = telling[:-1]
    names = metadata[telling].astype(str).agg("/".join, axis=1).iloc[order]
    sizes = names.groupby((names != names.shift()).cumsum(), sort=True).agg(["first", "size"])
    return order, "/".join(telling), list(zip(sizes["first"], sizes["size"].tolist(), strict=True))


def _telling_names(folds: Sequence[Fold], most: int = 26) -> list[str]:
    """What every fold leaves out, without what all of them have in common: "run 2" for "subject 1, run 2" where there is one subject.

    Where that is longer than ``most`` letters, subjects and sessions stand as names alone, and of each a beginning and an end, or the folds' numbers where
    these are alike.
    """
    parts = [(fold.left_out or f"fold {fold.number}").split(", ") for fold in folds]
    common = set.intersection(*map(set, parts)) if len(folds) > 1 else set()
    names = [", ".join(part for part in own if part not in common) or ", ".join(own) for own in parts]
    if max(map(len, names)) > most:
        names = [name.replace("subject ", "").replace("session ", "") for name in names]
    short = [name if len(name) <= most else f"{name[: most // 2]}…{name[1 - most + most // 2 :]}" for name in names]
    return short if len(set(short)) == len(set(names)) else [f"fold {fold.number}" for fold in folds]


def _mark_groups(axes: Axes, groups: list[tuple[str, int]], level: str) -> None:
    edges = np.cumsum([0, *(size for _, size in groups)])
    shown = range(0, len(groups), int(np.ceil(len(groups) / 16)))
    axes.set_xticks([(edges[number] + edges[number + 1]) / 2 for number in shown], [_shortened(groups[number][0], 8) for number in shown])
    axes.tick_params(axis="x", length=0, rotation=0 if len(groups) <= 10 else 60)
    if len(groups) <= 120:
        axes.vlines(edges[1:-1], -0.5, axes.get_ylim()[0], color="white", linewidth=1)
    axes.set_xlabel(f"{level} ({edges[-1]} windows)")


def _part_table(n_windows: int, folds: Sequence[Fold]) -> np.ndarray:
    """(folds, windows): 0 in no part, 1 train, 2 validation, 3 test."""
    parts = np.zeros((len(folds), n_windows), dtype=int)
    for number, fold in enumerate(folds):
        for code, rows in enumerate((fold.train, fold.validation, fold.test), start=1):
            parts[number, rows] = code
    return parts


def _class_colour(number: int) -> str:
    return ("#c2452d", "#4878a8", "#117733", "#b8860b", "#882255", "#44aa99")[number % 6]


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"

"""The report's figures, each an SVG text; drawn without a screen, with one colour a pipeline throughout."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sigvit.data.windows import Windows
from sigvit.evaluation.scalp_figures import can_draw_scalp, placed_electrodes
from sigvit.evidence.folds import Fold
from sigvit.evidence.metrics import calibration_bins
from sigvit.labels import legend_name

# Narrow enough that letters stay legible on a telephone, where a figure takes the whole width.
WIDTH_INCHES = 5.2
STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,  # a name with two dollar signs is no formula
    "svg.hashsalt": "sigvit",
}
PARTS = {"neither": "#e8e8e8", "train": "#4878a8", "validation": "#e3b23c", "test": "#c2452d"}
OWN_COLOUR = "#12355b"
# Paul Tol's muted scheme: told apart by colour-blind readers too.
OTHER_COLOURS = ("#cc6677", "#44aa99", "#999933", "#882255", "#88ccee", "#117733", "#aa4499", "#b8860b", "#332288", "#777777")
MOST_STRIP_COLUMNS = 3000
MOST_LABELLED_FOLDS = 24


def pipeline_colours(pipelines: Sequence[str]) -> dict[str, str]:
    """A colour for every pipeline: the ViT's is its own, the others' follow the table's order.

    >>> pipeline_colours(["ViT", "Majority"])["ViT"]
    '#12355b'
    """
    others = [name for name in pipelines if name != "ViT"]
    colours = {name: OTHER_COLOURS[number % len(OTHER_COLOURS)] for number, name in enumerate(others)}
    return {name: colours.get(name, OWN_COLOUR) for name in pipelines}


@matplotlib.rc_context(STYLE)
def draw_protocol(windows: Windows, folds: Sequence[Fold]) -> str:
    """Which windows train, choose and judge in every fold: a row a fold, a column a window, in the order of subject, session and run."""
    order, level, groups = _window_order(windows.metadata)
    parts = _part_table(len(windows), folds)[:, order]
    figure, axes = _figure(height=1.5 + 0.24 * min(len(folds), MOST_LABELLED_FOLDS))
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
    return _svg(figure)


@matplotlib.rc_context(STYLE)
def draw_scores(summary: pd.DataFrame, units: Mapping[str, np.ndarray], colours: Mapping[str, str], chance: float) -> str:
    """Mean and interval of every pipeline over the scores of its units, with chance and the line that guessing rarely exceeds."""
    figure, axes = _figure(height=1.4 + 0.4 * len(summary))
    for height, row in enumerate(summary.to_dict("records")):
        colour, values = colours[row["pipeline"]], units[row["pipeline"]]
        spread = 0.09 * np.where(np.arange(len(values)) % 2, 1, -1) if len(values) > 1 else np.zeros(len(values))
        axes.scatter(values, height + spread, s=20, color=colour, alpha=0.4, linewidths=0)
        axes.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=2.5, solid_capstyle="butt")
        axes.plot([row["score"]], [height], marker="D" if row["pipeline"] == "ViT" else "o", markersize=8, color=colour, markeredgecolor="white")
    axes.axvline(chance, color="#555555", linestyle="--", linewidth=1, label=f"chance {chance:.2f}")
    axes.axvline(summary["chance_line"].iloc[0], color="#555555", linestyle=":", linewidth=1.5, label="5 % line of guessing")
    axes.set_yticks(range(len(summary)), summary["pipeline"])
    axes.set_ylim(len(summary) - 0.4, -0.6)
    axes.set_xlabel(metric_words(summary["metric"].iloc[0]))
    figure.legend(loc="outside upper right", ncols=2)
    return _svg(figure)


@matplotlib.rc_context(STYLE)
def draw_differences(comparison: pd.DataFrame, colours: Mapping[str, str]) -> str:
    """The ViT's score minus every other pipeline's, with intervals; right of zero the ViT is better."""
    figure, axes = _figure(height=1.3 + 0.4 * len(comparison))
    for height, row in enumerate(comparison.to_dict("records")):
        axes.plot([row["low"], row["high"]], [height, height], color=colours[row["pipeline"]], linewidth=2.5, solid_capstyle="butt")
        axes.plot([row["difference"]], [height], "o", markersize=8, color=colours[row["pipeline"]], markeredgecolor="white")
    axes.axvline(0, color="#555555", linewidth=1)
    axes.set_yticks(range(len(comparison)), comparison["pipeline"])
    axes.set_ylim(len(comparison) - 0.4, -0.6)
    reach = 1.1 * np.nanmax(np.abs([0.01, *comparison["difference"], *comparison["low"], *comparison["high"]]))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("ViT minus other")
    return _svg(figure)


@matplotlib.rc_context(STYLE)
def draw_calibration(judged: Mapping[str, tuple[np.ndarray, np.ndarray]], colours: Mapping[str, str]) -> str:
    """Accuracy against confidence in ten bins; the area of a mark is its share of windows, and bins with less than 1 % of them are left out.

    ``judged`` has hits and confidence of every pipeline.
    """
    figure, axes = _figure(height=4.2)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, label="perfectly calibrated")
    for name, (hits, confidence) in judged.items():
        bins = np.array(calibration_bins(hits, confidence))
        sure, accuracy, count = bins[bins[:, 2] >= 0.01 * len(hits)].T
        axes.plot(sure, accuracy, color=colours[name], linewidth=1.5, label=legend_name(name))
        axes.scatter(sure, accuracy, s=15 + 300 * count / count.sum(), color=colours[name], alpha=0.6, linewidths=0)
    lowest = min(float(confidence.min()) for _, confidence in judged.values())
    axes.set_xlim(max(0.0, lowest - 0.05), 1.03)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("confidence (largest probability)")
    axes.set_ylabel("accuracy (share right)")
    figure.legend(loc="outside upper right", ncols=1)
    return _svg(figure)


@matplotlib.rc_context(STYLE)
def draw_learning(histories: Sequence[Sequence[dict]], colour: str) -> str:
    """Losses by step, the mean over fits with their standard deviation; steps that a single fit reached alone have no band."""
    figure, axes = _figure(height=3.1)
    for column, style, name in (("train_loss", "-", "training"), ("validation_loss", "--", "validation")):
        curve = pd.DataFrame([entry for history in histories for entry in history if entry.get(column) is not None])
        if column not in curve:
            continue
        by_step = curve.groupby("step")[column]
        mean, spread = by_step.mean(), by_step.std(ddof=0)
        shade = colour if column == "train_loss" else PARTS["test"]
        axes.plot(mean.index, mean, style, color=shade, label=name, marker="o" if len(mean) == 1 else None)
        axes.fill_between(mean.index, mean - spread, mean + spread, color=shade, alpha=0.18, linewidth=0)
    axes.set_xlabel("step of the optimiser")
    axes.set_ylabel("loss (nats a window)")
    figure.legend(loc="outside upper right", ncols=2)
    return _svg(figure)


@matplotlib.rc_context(STYLE)
def draw_responses(windows: Windows, electrodes: Sequence[int]) -> str:
    """Average signal of every class at some electrodes, with its standard error over windows."""
    rows = int(np.ceil(len(electrodes) / 2))
    figure, panels = _figure(rows, min(2, len(electrodes)), height=0.9 + 1.7 * rows, sharex=True)
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
    return _svg(figure)


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
    figure, panels = _figure(1, len(windows.classes), height=2.6)
    for panel, contrast, label in zip(panels, contrasts, windows.classes, strict=True):
        image, _ = mne.viz.plot_topomap(contrast, info, axes=panel, show=False, vlim=(-limit, limit), cmap="RdBu_r", contours=4)
        panel.set_title(_shortened(str(label), 18))
    figure.colorbar(image, ax=list(panels), shrink=0.7, label="µV")
    return _svg(figure)


def telling_electrodes(windows: Windows, most: int = 6) -> list[int]:
    """Up to six electrodes where the classes' averages lie farthest apart, in montage order; all where there are no more."""
    apart = _class_spread(windows).max(axis=1)
    return sorted(np.argsort(-apart, kind="stable")[:most].tolist())


def telling_sample(windows: Windows) -> int:
    """The sample where the classes' averages lie farthest apart, over all electrodes."""
    return int((_class_spread(windows) ** 2).mean(axis=0).argmax())


def _class_spread(windows: Windows) -> np.ndarray:
    """Standard deviation between the classes' averages: (electrodes, samples), volts."""
    labels = np.asarray(windows.labels)
    return np.std([np.asarray(windows.values[labels == label]).mean(axis=0, dtype=np.float64) for label in windows.classes], axis=0)


def _window_order(metadata: pd.DataFrame) -> tuple[np.ndarray, str, list[tuple[str, int]]]:
    """Rows sorted by subject, session and run; what the columns are grouped by, and the groups in that order as (name, windows).

    Groups are as fine as sixteen of them allow; a level with one member says nothing and is left out of their names.
    """
    levels = ["subject", "session", "run"]
    order = metadata.reset_index(drop=True).sort_values([*levels, "start_s"], kind="stable").index.to_numpy()
    telling = [level for level in levels if metadata[level].nunique() > 1] or ["subject"]
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


def metric_words(metric: str) -> str:
    return {"roc_auc": "area under the ROC curve", "balanced_accuracy": "balanced accuracy"}.get(metric, metric)


def _class_colour(number: int) -> str:
    return ("#c2452d", "#4878a8", "#117733", "#b8860b", "#882255", "#44aa99")[number % 6]


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _figure(rows: int = 1, columns: int = 1, height: float = 3.0, sharex: bool = False) -> tuple[Figure, Any]:
    """A figure outside of pyplot, so that nothing is kept after it is drawn, and its axes (an array where there are several)."""
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=sharex)


def _svg(figure: Figure) -> str:
    """Letters become paths, so that the page needs no font; no date, so that the same numbers give the same bytes."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()

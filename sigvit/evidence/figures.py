"""The report's figures of scores, each an SVG text; drawn without a screen, with one colour a pipeline throughout."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sigvit.evaluation import figures as evaluation_figures
from sigvit.evidence.metrics import calibration_bins
from sigvit.labels import legend_name

# Narrow enough that letters stay legible on a telephone, where a figure takes the whole width.
WIDTH_INCHES = 5.2
STYLE: Any = {**evaluation_figures.STYLE, "font.size": 11, "axes.titlesize": 11}
PARTS = {"neither": "#e8e8e8", "train": "#4878a8", "validation": "#e3b23c", "test": "#c2452d"}
OWN_COLOUR = "#12355b"
# Paul Tol's muted scheme: told apart by colour-blind readers too.
OTHER_COLOURS = ("#cc6677", "#44aa99", "#999933", "#882255", "#88ccee", "#117733", "#aa4499", "#b8860b", "#332288", "#777777")


def pipeline_colours(pipelines: Sequence[str]) -> dict[str, str]:
    """A colour for every pipeline: the ViT's is its own, the others' follow the table's order.

    >>> pipeline_colours(["ViT", "Majority"])["ViT"]
    '#12355b'
    """
    others = [name for name in pipelines if name != "ViT"]
    colours = {name: OTHER_COLOURS[number % len(OTHER_COLOURS)] for number, name in enumerate(others)}
    return {name: colours.get(name, OWN_COLOUR) for name in pipelines}


@matplotlib.rc_context(STYLE)
def draw_scores(summary: pd.DataFrame, units: Mapping[str, np.ndarray], colours: Mapping[str, str], chance: float) -> str:
    """Mean and interval of every pipeline over the scores of its units, with chance and the line that guessing rarely exceeds."""
    figure, axes = empty_figure(height=1.4 + 0.4 * len(summary))
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
    return svg_of(figure)


@matplotlib.rc_context(STYLE)
def draw_differences(comparison: pd.DataFrame, colours: Mapping[str, str]) -> str:
    """The ViT's score minus every other pipeline's, with intervals; right of zero the ViT is better."""
    figure, axes = empty_figure(height=1.3 + 0.4 * len(comparison))
    for height, row in enumerate(comparison.to_dict("records")):
        axes.plot([row["low"], row["high"]], [height, height], color=colours[row["pipeline"]], linewidth=2.5, solid_capstyle="butt")
        axes.plot([row["difference"]], [height], "o", markersize=8, color=colours[row["pipeline"]], markeredgecolor="white")
    axes.axvline(0, color="#555555", linewidth=1)
    axes.set_yticks(range(len(comparison)), comparison["pipeline"])
    axes.set_ylim(len(comparison) - 0.4, -0.6)
    reach = 1.1 * np.nanmax(np.abs([0.01, *comparison["difference"], *comparison["low"], *comparison["high"]]))
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("ViT minus other")
    return svg_of(figure)


@matplotlib.rc_context(STYLE)
def draw_calibration(judged: Mapping[str, tuple[np.ndarray, np.ndarray]], colours: Mapping[str, str]) -> str:
    """Accuracy against confidence in ten bins; the area of a mark is its share of windows, and bins with less than 1 % of them are left out.

    ``judged`` has hits and confidence of every pipeline.
    """
    figure, axes = empty_figure(height=4.2)
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
    return svg_of(figure)


@matplotlib.rc_context(STYLE)
def draw_learning(histories: Sequence[Sequence[dict]], colour: str) -> str:
    """Losses by step, the mean over fits with their standard deviation; steps that a single fit reached alone have no band."""
    figure, axes = empty_figure(height=3.1)
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
    return svg_of(figure)


def metric_words(metric: str) -> str:
    return {"roc_auc": "area under the ROC curve", "balanced_accuracy": "balanced accuracy"}.get(metric, metric)


def empty_figure(rows: int = 1, columns: int = 1, height: float = 3.0, sharex: bool = False) -> tuple[Figure, Any]:
    """A figure outside of pyplot, so that nothing is kept after it is drawn, and its axes (an array where there are several)."""
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
    return figure, figure.subplots(rows, columns, sharex=sharex)


def svg_of(figure: Figure) -> str:
    """Letters become paths, so that the page needs no font; no date, so that the same numbers give the same bytes."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()

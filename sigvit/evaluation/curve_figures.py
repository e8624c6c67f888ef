"""Figures of scores over amounts of data or compute, with intervals; each returns a matplotlib `Figure` that no window shows."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sigvit.evaluation.figures import COLOURS, STYLE, WIDTH_INCHES
from sigvit.labels import legend_name

APART = 1.06  # along x, all curves together


@matplotlib.rc_context(STYLE)
def draw_scaling_curve(points: Mapping[str, np.ndarray], fits: Mapping[str, np.ndarray], xlabel: str, ylabel: str) -> Figure:
    """Scores against training data or compute, logarithmic: `points` and `fits` name → (n, 4): x, value, and the ends of its interval.

    Points are measured and have bars; fits are curves in a band, and may lack where none was fitted.
    """
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    for number, (name, measured) in enumerate(points.items()):
        colour = COLOURS[number % len(COLOURS)]
        x, value, low, high = np.asarray(measured, dtype=float).T
        bars = np.maximum([value - low, high - value], 0)  # the mean of equal numbers may lie a rounding step outside them
        axes.errorbar(x, value, bars, fmt="o", markersize=4, color=colour, capsize=2, linewidth=1, label=legend_name(name))
        if name in fits:
            x, value, low, high = np.asarray(fits[name], dtype=float).T
            axes.plot(x, value, color=colour, linewidth=1.4)
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _mark_measured(axes, points)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@matplotlib.rc_context(STYLE)
def draw_learning_curves(points: Mapping[str, np.ndarray], xlabel: str, ylabel: str) -> Figure:
    """Scores over numbers of labelled examples, logarithmic: `points` name → (n, 4): x, score, and the ends of its interval; a line and bars a name.

    Names share their x: they are drawn a little apart, up to 3 % beside it however many they are, so that bars hide each other less; the axis says so.
    """
    figure = Figure(figsize=(WIDTH_INCHES, 4.0), layout="constrained")
    axes = figure.subplots()
    for number, (name, told) in enumerate(points.items()):
        x, score, low, high = np.asarray(told, dtype=float).T
        beside = x * APART ** ((number + 0.5) / len(points) - 0.5)
        bars = np.maximum([score - low, high - score], 0)  # a mean may lie a rounding step outside
        colour = COLOURS[number % len(COLOURS)]
        axes.errorbar(beside, score, bars, fmt="o-", markersize=4, color=colour, capsize=2, linewidth=1.2, elinewidth=0.8, label=legend_name(name))
    axes.set(xlabel=f"{xlabel}, drawn a little apart" if len(points) > 1 else xlabel, ylabel=ylabel)
    _mark_measured(axes, points)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _mark_measured(axes: Axes, points: Mapping[str, np.ndarray]) -> None:
    """A logarithmic axis of x with a tick at every x that was measured."""
    measured = np.unique(np.concatenate([np.asarray(each, dtype=float)[:, 0] for each in points.values()]))
    axes.set_xscale("log")
    axes.set_xticks(measured, [f"{x:,.0f}" if x < 1e5 else f"{x:.1e}" for x in measured])
    axes.set_xticks([], minor=True)

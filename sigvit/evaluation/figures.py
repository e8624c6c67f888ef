"""Figures of what a model learned, as the ViT paper draws them; each returns a matplotlib `Figure` that no window shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sigvit.labels import legend_name

STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.hashsalt": "sigvit",
    "text.parse_math": False,  # a name with two dollar signs is no formula
}
WIDTH_INCHES = 7.0
HEAD_COLOUR, LINE_COLOUR = "#12355b", "#c2452d"
# Paul Tol's muted scheme: told apart by colour-blind readers too.
COLOURS = ("#12355b", "#cc6677", "#44aa99", "#999933", "#882255", "#88ccee", "#117733", "#aa4499", "#b8860b", "#332288")
SIGNED, UNSIGNED = "RdBu_r", "viridis"


@matplotlib.rc_context(STYLE)
def draw_filter_pictures(filters: np.ndarray, shares: np.ndarray, across: int = 7) -> Figure:
    """Principal filters (n, channels, rows, columns) as pictures, each scaled by its largest weight; grey is no weight, NaN a gap."""
    channels = filters.shape[1]
    if channels not in (1, 3):
        raise ValueError(f"These filters have {channels} channels; pictures have 1 (grey) or 3 (red, green, blue).")
    across = min(across, len(filters))
    down = -(-len(filters) // across)
    wide = filters.shape[3] > 2 * filters.shape[2]
    figure = Figure(figsize=(WIDTH_INCHES, (0.7 if wide else 1.12) * down + 0.3), layout="constrained")
    panels = np.atleast_1d(figure.subplots(down, across, gridspec_kw={"wspace": 0.12} if wide else None)).ravel()
    for panel, filter_, share in zip(panels, filters, shares, strict=False):
        scaled = filter_ / max(float(np.nanmax(np.abs(filter_))), 1e-12)
        panel.set_title(f"{share:.1%}", fontsize=8, pad=2)
        image = panel.imshow(scaled[0], cmap="gray", vmin=-1, vmax=1) if channels == 1 else panel.imshow((0.5 + 0.5 * scaled).transpose(1, 2, 0))
        panel.set_axis_off()
    for panel in panels[len(filters) :]:
        panel.remove()
    scale = image if channels == 1 else matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(-1, 1), "gray")
    figure.colorbar(scale, ax=list(panels[: len(filters)]), label="weight / largest" if channels == 1 else "weight / largest,\nof each colour", shrink=0.8)
    return figure


@matplotlib.rc_context(STYLE)
def draw_position_tiles(similarity: np.ndarray) -> Figure:
    """Similarity (rows, columns, rows, columns) as the paper's tiles: the tile at row r and column c compares that patch with all patches."""
    rows, columns = similarity.shape[:2]
    figure = Figure(figsize=(WIDTH_INCHES, 0.8 + 5.4 * rows / columns), layout="constrained")
    axes = figure.subplots()
    # One picture with a gap between tiles: hundreds of small axes would take minutes.
    gaps = np.full((rows, rows + 1, columns, columns + 1), np.nan)
    gaps[:, :rows, :, :columns] = similarity.transpose(0, 2, 1, 3)
    whole = gaps.reshape(rows * (rows + 1), columns * (columns + 1))[:-1, :-1]
    image = axes.imshow(whole, cmap=UNSIGNED, vmin=-1, vmax=1, interpolation="nearest")
    axes.set_xticks(np.arange(columns) * (columns + 1) + (columns - 1) / 2, [str(number + 1) for number in range(columns)])
    axes.set_yticks(np.arange(rows) * (rows + 1) + (rows - 1) / 2, [str(number + 1) for number in range(rows)])
    axes.set(xlabel="patch column of the tile", ylabel="patch row of the tile")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, label="cosine similarity", shrink=0.8)
    return figure


@matplotlib.rc_context(STYLE)
def draw_attention_distance(distances: Mapping[str, np.ndarray], uniform: Mapping[str, float]) -> Figure:
    """A panel for each kind of distance ("centimetres on the head" → (layers, heads)): a dot a head; `uniform` is what equal attention to all gives."""
    figure = Figure(figsize=(min(WIDTH_INCHES, 1.6 + 3.2 * len(distances)), 3.2), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(distances))).ravel()
    for panel, (name, heads) in zip(panels, distances.items(), strict=True):
        layers = np.arange(1, len(heads) + 1)
        panel.scatter(np.repeat(layers, heads.shape[1]), heads.ravel(), s=22, color=HEAD_COLOUR, alpha=0.65, linewidths=0, label="a head")
        panel.plot(layers, heads.mean(1), color=LINE_COLOUR, linewidth=1.2, marker="_", label="mean of heads")
        panel.axhline(uniform[name], color="#555555", linestyle="--", linewidth=1, label="equal attention to all")
        panel.set(xlabel="layer", ylabel=f"mean attention distance\n({name})", xticks=layers if len(layers) <= 12 else layers[::4])
        panel.set_ylim(0, 1.08 * max(float(np.nanmax(heads)), uniform[name]))
        panel.set_xlim(0.5, len(heads) + 0.5)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3)
    return figure


@matplotlib.rc_context(STYLE)
def draw_below_pictures(pictures: np.ndarray, maps: np.ndarray, titles: Sequence[str], label: str, signed: bool = False) -> Figure:
    """Pictures (n, rows, columns, 1 or 3), 0 … 1, and below each its map, of any number of rows and columns, stretched to the same frame.

    Not laid over it: a colour that lets the picture through is none of the colour bar's. The scale of signed maps ends at the 98th of 100 sizes, as the
    bar's arrows say: a few pixels would set it alone.
    """
    across = len(pictures)
    size = pictures.shape[1:3]
    width = max(3.0, min(WIDTH_INCHES + 1, 1.15 * across + 0.6))
    figure = Figure(figsize=(width, 0.5 + 2 * (width - 1) / across * size[0] / size[1]), layout="constrained")
    panels = figure.subplots(2, across, squeeze=False)
    limit = float(np.nanquantile(np.abs(maps), 0.98 if signed else 1.0)) or 1.0
    scale: Any = {"cmap": SIGNED, "vmin": -limit, "vmax": limit} if signed else {"cmap": "inferno", "vmin": 0, "vmax": limit}
    for number in range(across):
        above, below = panels[:, number]
        picture = pictures[number] if pictures.shape[3] == 3 else np.repeat(pictures[number], 3, axis=2)
        above.imshow(picture, extent=(0, size[1], size[0], 0), vmin=0, vmax=1)
        above.set_title(titles[number], fontsize=8)
        shown = below.imshow(maps[number], extent=(0, size[1], size[0], 0), interpolation="nearest", **scale)
        for panel in (above, below):
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set(visible=True, color="#bbbbbb", linewidth=0.6)  # where a map is white, its frame tells where it is
    figure.colorbar(shown, ax=list(panels.ravel()), label=label, shrink=0.8, extend="both" if signed else "neither")
    return figure


@matplotlib.rc_context(STYLE)
def draw_matrix(matrix: np.ndarray, ticks: Sequence[float] | Sequence[str], name: str) -> Figure:
    """Similarity (n, n) along one axis of the grid, such as time."""
    figure = Figure(figsize=(4.4, 3.5), layout="compressed")  # "constrained" cuts the name off beside square panels
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap=UNSIGNED, vmin=-1, vmax=1, interpolation="nearest")
    _mark(axes, ticks)
    axes.set(xlabel=name, ylabel=name)
    figure.colorbar(image, ax=axes, label="cosine similarity")
    return figure


@matplotlib.rc_context(STYLE)
def draw_courses(courses: np.ndarray, shares: np.ndarray, sampling_rate: float) -> Figure:
    """Time courses (n, samples) and their amplitude spectra, a colour each; shares say which matters how much."""
    figure = Figure(figsize=(WIDTH_INCHES, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    samples = courses.shape[1]
    padded = max(samples, 256)  # zeros behind: a smooth line of the same resolution
    hertz = np.fft.rfftfreq(padded, 1 / sampling_rate)
    for number, (course, share) in enumerate(zip(courses, shares, strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        spectrum = np.abs(np.fft.rfft(course, padded))
        left.plot(np.arange(samples) / sampling_rate, course / max(np.abs(course).max(), 1e-12), color=colour, linewidth=1.3)
        right.plot(hertz, spectrum / max(spectrum.max(), 1e-12), color=colour, linewidth=1.3, label=f"{number + 1}: {share:.0%}")
    left.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    left.set(xlabel="time in the patch (s)", ylabel="weight / largest")
    right.set(xlabel="frequency (Hz)", ylabel="amplitude / largest", ylim=(0, 1.05))
    figure.legend(loc="outside upper center", ncols=min(6, len(courses)), title="principal filter: share of the squared weights", title_fontsize=9, fontsize=9)
    return figure


@matplotlib.rc_context(STYLE)
def draw_grid_map(values: np.ndarray, axes_ticks: Sequence[tuple[str, Sequence]], label: str) -> Figure:
    """A map over one axis of a grid as a line, or over two as shades: values (n,) or (rows, columns) with (name, ticks) of each axis."""
    if values.ndim == 1:
        figure = Figure(figsize=(5.2, 2.6), layout="constrained")
        axes = figure.subplots()
        axes.plot(np.arange(len(values)), values, color=HEAD_COLOUR, marker="o", markersize=4)
        positions, words = _ticks(axes_ticks[0][1])
        axes.set_xticks(positions, words)
        axes.set(xlabel=axes_ticks[0][0], ylabel=label, ylim=(0, None))
        return figure
    figure = Figure(figsize=(5.6, min(7.5, 1.6 + 0.17 * len(values))), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="inferno", aspect="auto", interpolation="nearest", vmin=0)
    _mark(axes, axes_ticks[1][1], axes_ticks[0][1])
    axes.set(xlabel=axes_ticks[1][0], ylabel=axes_ticks[0][0])
    figure.colorbar(image, ax=axes, label=label)
    return figure


@matplotlib.rc_context(STYLE)
def draw_class_maps(maps: Mapping[str, np.ndarray], p: Mapping[str, np.ndarray], electrodes: Sequence[str], edges: np.ndarray, label: str) -> Figure:
    """A panel a class: attribution over electrodes × bins between `edges`; what permuted labels rarely reach (p ≤ .05) has an outline."""
    across = min(2, len(maps))
    down = -(-len(maps) // across)
    tall = min(8.0, 1.3 + 0.15 * len(electrodes))
    figure = Figure(figsize=(WIDTH_INCHES if across > 1 else 5.0, max(2.4, tall) * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    limit = float(np.nanmax(np.abs(np.stack(list(maps.values()))))) or 1.0
    for panel, (title, values) in zip(panels, maps.items(), strict=False):
        image = panel.pcolormesh(edges, np.arange(len(electrodes) + 1) - 0.5, values, cmap=SIGNED, vmin=-limit, vmax=limit)
        _outline(panel, p[title] <= 0.05, edges)
        panel.set_title(title)
        panel.set_ylim(len(electrodes) - 0.5, -0.5)
        panel.set_yticks(*_ticks(electrodes, 70), fontsize=9 if len(electrodes) <= 24 else 6)
    for panel in panels[len(maps) :]:
        panel.remove()
    figure.supxlabel("time in the window (s)", fontsize=10)
    figure.colorbar(image, ax=list(panels[: len(maps)]), label=label, shrink=min(1.0, 2.2 / (tall * down) + 0.4))
    return figure


@matplotlib.rc_context(STYLE)
def draw_lines(x: np.ndarray, lines: Mapping[str, np.ndarray], thresholds: Mapping[str, float], xlabel: str, ylabel: str) -> Figure:
    """A line a class over x, as far as anything happens, and dotted in its colour what permuted labels stay below in 95 of 100 sets."""
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    axes = figure.subplots()
    for number, (name, line) in enumerate(lines.items()):
        axes.plot(x, line, color=COLOURS[number % len(COLOURS)], label=legend_name(name), linewidth=1.4)
        axes.axhline(thresholds[name], color=COLOURS[number % len(COLOURS)], linestyle=":", linewidth=1.2)
    size = np.cumsum(np.abs(np.stack(list(lines.values()))).sum(0))
    last = min(len(x) - 1, max(10, int(np.searchsorted(size, 0.99 * size[-1])) + 2))
    axes.set_xlim(x[0], x[last])
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _outline(panel: Axes, inside: np.ndarray, edges: np.ndarray) -> None:
    """A line around the cells that are inside."""
    padded = np.pad(inside, 1)
    for row, column in np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1]):
        panel.plot([edges[column]] * 2, [row - 0.5, row + 0.5], color="black", linewidth=1.1, solid_capstyle="butt")
    for row, column in np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1]):
        panel.plot([edges[column], edges[column + 1]], [row - 0.5] * 2, color="black", linewidth=1.1, solid_capstyle="butt")


def _mark(axes: Axes, ticks: Sequence, rows: Sequence | None = None) -> None:
    positions, words = _ticks(ticks)
    axes.set_xticks(positions, words, rotation=90 if any(len(word) > 3 for word in words) else 0)
    row_positions, row_words = (positions, words) if rows is None else _ticks(rows, 64)
    axes.set_yticks(row_positions, row_words, fontsize=9 if len(row_words) <= 24 else 6)


def _ticks(ticks: Sequence, most: int = 8) -> tuple[np.ndarray, list[str]]:
    """At most so many places along an axis, equally far apart, with their words."""
    shown = range(0, len(ticks), max(1, -(-len(ticks) // most)))
    return np.array(shown), [tick if isinstance(tick, str) else f"{tick:.2g}" for tick in (ticks[number] for number in shown)]

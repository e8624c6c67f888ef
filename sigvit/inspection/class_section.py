"""The section of `sigvit inspect`'s page on what speaks for a class."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track

from sigvit.evaluation import figures, scalp_figures
from sigvit.evaluation.attribution import Attribution, attribution
from sigvit.evaluation.class_maps import ClassMaps, class_maps, in_bins
from sigvit.evidence.html_parts import paragraph, section, side_by_side, table
from sigvit.inspection.inputs import Looked
from sigvit.inspection.parts import PICTURES, answers, drawn
from sigvit.model.vision_transformer import VisionTransformer

# n = inputs, K = classes, E = electrodes, S = samples, F = frequencies

TITLE = "What speaks for a class"
MOST_BINS = 48
POINTS = 16  # on the way from each reference
MOST_CLASSES = 8
HOW = (
    "Integrated gradients of the class score (its logit less the mean of all), from {count} inputs of other classes to each input, averaged "
    "(Sundararajan et al. 2017; Erion et al. 2021): what each place adds to the score, so that the places sum to the difference between this input's score and "
    "theirs. "
    "The integral misses {missing:.1%} of the scores' size."
)


def attribution_section(model: VisionTransformer, looked: Looked, n_references: int, n_permutations: int) -> str:
    if looked.pictures is not None:
        return picture_section(model, looked, n_references)
    found = with_progress(model, looked, n_references)
    bins = max(bin_size(model), -(-looked.x.shape[2] // MOST_BINS))

    def maps(values: np.ndarray) -> ClassMaps:
        return class_maps(values, looked.labels, looked.groups, n_permutations, units=looked.units)

    places = maps(in_bins(found.values, bins))
    words = paragraph(
        HOW.format(count=compared_with(looked, n_references), missing=missing_share(found)),
        "The mean over the trials of each class; what is outlined is larger than in other classes' trials at p ≤ .05, corrected over one whole map by the "
        f"largest values that {n_permutations} permutations of the labels{looked.exchanged} give.",
        "What a class lacks and others have speaks for it too.",
    )
    per_time, per_electrode, per_frequency = maps(in_bins(found.values, bins).sum(2)), maps(found.values.sum(3)), maps(found.spectrum.sum(2))
    return section(
        TITLE,
        words,
        peaks_table(places, per_frequency, looked, bins),
        drawn(over_electrodes_and_time(places, looked, bins), "Electrodes × time, a panel a class: red speaks for it, blue against it."),
        side_by_side(*over_scalp(per_electrode, looked), *along_time_and_frequency(per_time, per_frequency, looked, bins)),
    )


def with_progress(model: VisionTransformer, looked: Looked, n_references: int) -> Attribution:
    """One input after the other, with a bar on the error stream."""
    console = Console(stderr=True)
    rows = track(range(len(looked.x)), "attribution", console=console, disable=not console.is_terminal)
    parts = [
        attribution(model, looked.x[row : row + 1], looked.references, n_references, POINTS, reference_labels=looked.reference_labels, seed=row) for row in rows
    ]
    return Attribution(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def compared_with(looked: Looked, n_references: int) -> int:
    """How many references of other classes every input has at least."""
    counts = np.bincount(looked.reference_labels)
    return min(n_references, len(looked.reference_labels) - int(counts.max()))


def missing_share(found: Attribution) -> float:
    return float(np.sqrt((found.missing**2).mean()) / max(np.sqrt((found.scores**2).mean()), 1e-12))


def bin_size(model: VisionTransformer) -> int:
    """Samples from one token to the next, or a sixteenth of the window."""
    stride = getattr(model.tokenizer, "stride", getattr(model.tokenizer, "window", None))
    return stride if isinstance(stride, int) and stride > 1 else max(1, model.config.input_shape[1] // 16)


def peaks_table(places: ClassMaps, frequencies: ClassMaps, looked: Looked, bins: int) -> str:
    """Where and when each class' trials differ most from the others', and at which frequency."""
    rate = float(looked.info["sfreq"])
    hertz = np.fft.rfftfreq(looked.x.shape[2], 1 / rate)
    rows = []
    for number in classes_there(looked):
        electrode, step = np.unravel_index(places.excess[number].argmax(), places.excess[number].shape)
        span = f"{step * bins / rate:.3f} … {min((step + 1) * bins, looked.x.shape[2]) / rate:.3f}"
        at = int(frequencies.excess[number].argmax())
        rows.append(
            [
                looked.classes[number],
                int((looked.labels == number).sum()),
                looked.info["ch_names"][electrode],
                span,
                float(places.p[number].min()),
                f"{hertz[at]:.3g}",
                float(frequencies.p[number].min()),
            ]
        )
    return table(
        ["Class", "Trials", "Peak at electrode", "in seconds", "p", "Peak at Hz", "p of that"],
        rows,
        "Where each class' own trials differ most from the others'",
    )


def over_electrodes_and_time(places: ClassMaps, looked: Looked, bins: int) -> Figure:
    rate, samples = float(looked.info["sfreq"]), looked.x.shape[2]
    edges = np.append(np.arange(0, samples, bins), samples) / rate
    names = {number: looked.classes[number] for number in classes_there(looked)[:MOST_CLASSES]}
    mean, p = ({name: values[number] for number, name in names.items()} for values in (places.mean, places.p))
    label = f"logit a bin of {bins / rate * 1000:.0f} ms"
    return figures.draw_class_maps(mean, p, looked.info["ch_names"], edges, label)


def over_scalp(electrodes: ClassMaps, looked: Looked) -> list[str]:
    """Sums over time as scalp maps, a ring where they are more than permuted labels give; nothing where no map can be drawn."""
    if not looked.has_scalp:
        return []
    there = classes_there(looked)[:MOST_CLASSES]
    titles = [looked.classes[number] for number in there]
    figure = scalp_figures.draw_topographies(electrodes.mean[there], looked.info, titles, "logit", marked=electrodes.p[there] <= 0.05, across=3)
    return [drawn(figure, "Summed over time, over the scalp; rings: p ≤ .05, corrected over electrodes.")]


def along_time_and_frequency(times: ClassMaps, frequencies: ClassMaps, looked: Looked, bins: int) -> list[str]:
    rate, samples = float(looked.info["sfreq"]), looked.x.shape[2]
    there = classes_there(looked)[:MOST_CLASSES]
    names = [looked.classes[number] for number in there]
    at = (np.minimum(np.arange(times.mean.shape[1]) * bins + bins / 2, samples)) / rate
    hertz = np.fft.rfftfreq(samples, 1 / rate)
    lines_drawn = []
    for x, maps, xlabel in ((at, times, "time in the window (s)"), (hertz, frequencies, "frequency (Hz)")):
        lines, limits = (dict(zip(names, values[there], strict=True)) for values in (maps.excess, maps.threshold))
        lines_drawn.append((figures.draw_lines(x, lines, limits, xlabel, "logit, own trials\nless other trials"), xlabel))
    words = (
        "Summed over electrodes, {}: the mean over a class' own trials less that over the others; dotted: what 95 of 100 sets of permuted labels stay below "
        "everywhere."
    )
    return [drawn(figure, words.format("along time" if "time" in xlabel else "by frequency")) for figure, xlabel in lines_drawn]


def picture_section(model: VisionTransformer, looked: Looked, n_references: int) -> str:
    """Some pictures with what speaks for the class that the model names; pictures aren't aligned, so that they aren't averaged."""
    assert looked.pictures is not None
    x, labels = looked.x[:PICTURES], looked.labels[:PICTURES]
    said = answers(model, x)
    found = attribution(model, x, looked.references, n_references, POINTS, said, looked.reference_labels)
    titles = [looked.classes[own] if own == label else f"{looked.classes[own]}\n(is {looked.classes[label]})" for own, label in zip(said, labels, strict=True)]
    figure = figures.draw_below_pictures(looked.pictures[:PICTURES], found.values[:, 0].sum(1), titles, "logit a pixel", signed=True)
    words = HOW.format(count=compared_with(looked, n_references), missing=missing_share(found))
    caption = (
        "Above the image and the class that the model names, below what speaks for it (red) and against it (blue), summed over colours; "
        "the scale ends at the 98th of 100 sizes."
    )
    return section(TITLE, paragraph(words, "Images aren't aligned with each other, so that they are shown one by one."), drawn(figure, caption))


def classes_there(looked: Looked) -> list[int]:
    """Numbers of the classes that are among the inputs."""
    return np.unique(looked.labels).tolist()

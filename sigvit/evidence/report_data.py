"""The report's sections on the data: the task in words, which windows train and test, the average response of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sigvit.data.windows import Windows
from sigvit.evidence import figures
from sigvit.evidence.folds import Fold
from sigvit.evidence.html_parts import bullets, counted, listed, paragraph, picture, section, side_by_side, table


def task_section(windows: Windows) -> str:
    page = windows.page
    asked = page.get("task") or f"Tell the class of each window: {listed([str(label) for label in windows.classes])}."
    notes = bullets(page["notes"]) if page.get("notes") else ""
    return section("The task and the data", paragraph(asked), table(["What", "Value"], _facts(windows)), notes)


def _facts(windows: Windows) -> list[tuple[str, str]]:
    page, metadata = windows.page, windows.metadata
    _, electrodes, samples = windows.values.shape
    duration = f"{samples / windows.sampling_rate:.3g} s at {windows.sampling_rate:g} Hz"
    counts = pd.Series(np.asarray(windows.labels)).value_counts().sort_index()
    subjects, recordings = metadata["subject"].nunique(), metadata["recording"].nunique()
    sessions = len(metadata[["subject", "session"]].drop_duplicates())
    return [
        ("Dataset", f"{windows.name}: {page['title']}" if page.get("title") else windows.name),
        (
            "Windows",
            f"{len(windows)}, each {electrodes} electrodes × {samples} samples ({duration})",
        ),
        ("Classes", ", ".join(f"{label}: {count}" for label, count in counts.items())),
        ("Recorded", ", ".join([counted(subjects, "subject"), counted(sessions, "session"), counted(recordings, "recording")])),
        ("Electrodes", ", ".join(windows.electrodes)),
        ("Filter support", f"{windows.filter_support_s:g} s to each side of a sample"),
        ("Licence", page.get("licence") or "not stated"),
        ("Citation", page.get("citation") or "not stated"),
    ]


def protocol_section(windows: Windows, folds: Sequence[Fold], scores: pd.DataFrame) -> str:
    train, validation, test = (_range([len(getattr(fold, part)) for fold in folds]) for part in ("train", "validation", "test"))
    words = f"{counted(len(folds), 'fold')} ({folds[0].protocol}), {counted(scores['seed'].nunique(), 'seed')}."
    parts = f"In each, {train} windows train, {validation} choose (the stopping point, where a pipeline has one) and {test} test."
    fitted = "Everything that is fitted is fitted without the test part, which each fit reads once."
    alternative = f"Strip chart of {len(folds)} folds over {len(windows)} windows: {train} train, {validation} choose, {test} test in each."
    drawn = picture(
        figures.draw_protocol(windows, folds), alternative, "A row a fold, named by its test part; a column a window, in the order of subject, session and run."
    )
    return section("The protocol", paragraph(words, parts, fitted), drawn)


def _range(sizes: Sequence[int]) -> str:
    return f"{sizes[0]}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"


def responses_section(windows: Windows) -> str:
    chosen, sample = figures.telling_electrodes(windows), figures.telling_sample(windows)
    names = listed([windows.electrodes[number] for number in chosen])
    words = "Mean ± standard error over all windows, at the electrodes where the classes differ most. No pipeline saw this and nothing was chosen by it."
    drawn = [picture(figures.draw_responses(windows, chosen), f"Average response of each class at {names}, in microvolts over seconds.", words)]
    scalp = figures.draw_scalp(windows, sample)
    if scalp is not None:
        words = f"Class average less the mean of all classes at {sample / windows.sampling_rate:.3f} s from the start of the window, where they differ most."
        drawn.append(picture(scalp, f"Scalp maps. {words}", words))
    return section("Average response of each class", side_by_side(*drawn))

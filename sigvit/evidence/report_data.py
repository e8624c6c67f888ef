"""The report's sections on the data: the task in words, which windows train and test, the average response of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from sigvit.data.windows import Windows
from sigvit.evidence import data_figures
from sigvit.evidence.certificate import Certificate
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


def protocol_section(windows: Windows, folds: Sequence[Fold], scores: pd.DataFrame, certificate: Certificate) -> str:
    train, validation, test = (_range([len(getattr(fold, part)) for fold in folds]) for part in ("train", "validation", "test"))
    words = f"{counted(len(folds), 'fold')} ({folds[0].protocol}), {counted(scores['seed'].nunique(), 'seed')}."
    read = [repr(each.pipeline) for each in certificate.alignment if each.uses_test_windows]
    but = f", but for {listed(read)}, aligned by the test windows without their labels" if read else ""
    fitted = f"Everything that is fitted is fitted without the test part{but}; each fit is judged on it once."
    alternative = f"Strip chart of {len(folds)} folds over {len(windows)} windows: {train} train, {validation} validation, {test} test in each."
    caption = "A row a fold, named by its test part; a column a window, in the order of subject, session and run."
    drawn = picture(data_figures.draw_protocol(windows, folds), alternative, caption)
    return section("The protocol", paragraph(words, _sizes_words(scores), fitted), drawn)


def _sizes_words(scores: pd.DataFrame) -> str:
    """How many windows train, choose and test in a fold, as the table has it: who chooses nothing is fitted on the validation part as well."""
    test, choosing = _range(scores["samples_test"].tolist()), scores["samples_validation"] > 0
    chosen, whole = scores[choosing], scores[~choosing]
    if chosen.empty:
        return f"In each, {_range(whole['samples'].tolist())} windows train and {test} test; no pipeline here sets windows apart to choose by."
    parts = f"{_range(chosen['samples'].tolist())} windows train, {_range(chosen['samples_validation'].tolist())} choose the stopping point and {test} test"
    if whole.empty:
        return f"In each, {parts}."
    if set(chosen["pipeline"]) & set(whole["pipeline"]):
        where = f"{chosen['fold'].nunique()} of {scores['fold'].nunique()} folds"
        return f"In {where}, {parts} for {listed(chosen['pipeline'].unique().tolist())}; else {_range(whole['samples'].tolist())} train and none choose."
    return f"In each, {parts} for {listed(chosen['pipeline'].unique().tolist())}; the others choose nothing and train on {_range(whole['samples'].tolist())}."


def _range(sizes: Sequence[int]) -> str:
    return f"{sizes[0]}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"


def responses_section(windows: Windows) -> str:
    chosen, sample = data_figures.where_classes_differ(windows)
    names = listed([windows.electrodes[number] for number in chosen])
    words = "Mean ± standard error over all windows, at the electrodes where the classes differ most. No pipeline saw this and nothing was chosen by it."
    drawn = [picture(data_figures.draw_responses(windows, chosen), f"Average response of each class at {names}, in microvolts over seconds.", words)]
    scalp = data_figures.draw_scalp(windows, sample)
    if scalp is not None:
        words = f"Class average less the mean of all classes at {sample / windows.sampling_rate:.3f} s from the start of the window, where they differ most."
        drawn.append(picture(scalp, f"Scalp maps. {words}", words))
    return section("Average response of each class", side_by_side(*drawn))

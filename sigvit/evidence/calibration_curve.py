"""The calibration curve: how a score grows with the trials of the new person or session that are trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sigvit.data.windows import Windows
from sigvit.evidence.calibration_folds import calibrate
from sigvit.evidence.certificate import certify
from sigvit.evidence.cross_validation import Results, cross_validate


@dataclass(frozen=True)
class CalibrationCurve:
    """What `calibration_curve` measured.

    Attributes
    ----------
    table : a row per pipeline and n: n, and the columns of `Results.summary` (score with its interval: `low`, `high`), and the verdict of its certificate.
    results : n → the results of its folds.
    """

    table: pd.DataFrame
    results: dict[int, Results]


def calibration_curve(
    pipelines: dict[str, Any],
    windows: Windows,
    numbers: Sequence[int] = (0, 5, 10, 20, 50),
    *,
    by: str = "subject",
    undividable: str = "refuse",
    seeds: Iterable[int] = (0,),
    folder: str | Path | None = None,
    n_jobs: int = 1,
) -> CalibrationCurve:
    """Cross-validate pipelines with n trials a class of the tested subject (or session) in the training part, for each n, on the same test windows.

    Parameters
    ----------
    pipelines, windows, seeds, n_jobs : as for `cross_validate`; `sigvit.fine_tuned.FineTuned` learns from others first.
    numbers : trials of each class that calibrate; the largest is set apart before the test part of every n.
    by, undividable : as for `sigvit.folds.calibrate`.
    folder : where finished fits are kept; each n in a folder of its own.

    Raises
    ------
    ValueError : no numbers, or what `calibrate` refuses.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import baselines
    >>> curve = calibration_curve({"LDA": baselines.shrinkage_lda(4)}, synthetic_windows(), numbers=(0, 3))
    >>> curve.table[["pipeline", "n", "verdict"]].to_numpy().tolist()
    [['LDA', 0, 'proved'], ['LDA', 3, 'proved']]
    """
    numbers, seeds = [int(n) for n in numbers], list(seeds)
    if not numbers:
        raise ValueError("There are no numbers of calibration trials; give at least one, such as 0.")
    results: dict[int, Results] = {}
    for n in sorted(set(numbers)):
        made = calibrate(windows.metadata, n, by=by, reserve=max(numbers), undividable=undividable, filter_support_s=windows.filter_support_s)
        own = None if folder is None else Path(folder) / f"n-{n}"
        results[n] = cross_validate(pipelines, windows, made, seeds, certify(windows, made), own, n_jobs=n_jobs)
    rows = [found.summary().assign(n=n, verdict=found.certificate.verdict) for n, found in results.items()]
    return CalibrationCurve(pd.concat(rows, ignore_index=True), results)

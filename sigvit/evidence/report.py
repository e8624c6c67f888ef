"""The report: one HTML page that carries its figures and styles, asks nothing of any server, and says also where the ViT loses."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sigvit.data.windows import Windows
from sigvit.evidence import figures, statistics
from sigvit.evidence.certificate import Certificate
from sigvit.evidence.cross_validation import Results
from sigvit.evidence.folds import Fold
from sigvit.evidence.html_parts import bullets, listed, page, paragraph, section, side_by_side, stamp, table, text
from sigvit.evidence.machine import describe_machine, package_versions
from sigvit.evidence.report_data import protocol_section, responses_section, task_section
from sigvit.evidence.report_scores import OWN, calibration_section, confusions_section, interval_words, learning_section, scores_section
from sigvit.whole_file import write_atomically

VERDICTS = {
    "proved": "Proved: in every fold, train, validation and test share nothing of what the checks below compare.",
    "tolerated": "Tolerated: {reason}, as was asked for by name, for comparison with published protocols that do so. These scores are optimistic.",
}


def write_report(results: Results, windows: Windows, folds: Sequence[Fold], path: str | Path, configuration: dict[str, Any] | None = None) -> None:
    """Write the report of a cross-validation as one self-contained HTML page.

    Parameters
    ----------
    results : what `cross_validate` returned for these windows and folds; a pipeline called "ViT" is compared with all others, and the verdict of its
        certificate stands in the heading and on the score table.
    path : the HTML file; the name of its folder stands in the words on verification.
    configuration : what was asked for, nested tables of plain values; shown as it is.

    Raises
    ------
    ValueError : no folds or no rows of results.

    >>> from sigvit.data.synthetic import synthetic_windows
    >>> from sigvit.evidence import baselines, cross_validation, folds
    >>> windows = synthetic_windows()
    >>> made = folds.cross_subject(windows.metadata)
    >>> results = cross_validation.cross_validate({"Majority": baselines.majority(), "LDA": baselines.shrinkage_lda()}, windows, made)
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_report(results, windows, made, Path(folder) / "report.html")
    ...     Path(folder, "report.html").read_text(encoding="utf-8").count("<h1>")
    1
    """
    path = Path(path)
    # A name may be bytes that aren't text, or an umlaut in a locale without any.
    folder = os.fsencode(path.resolve().parent.name).decode(errors="replace")
    write_atomically(path, render_report(results, windows, folds, folder, configuration))


def render_report(results: Results, windows: Windows, folds: Sequence[Fold], folder: str, configuration: dict[str, Any] | None = None) -> str:
    """The page as text; ``folder`` is the results folder's name."""
    if not folds or results.table.empty:
        raise ValueError(f"There is nothing to report: {len(folds)} folds and {len(results.table)} rows of results.")
    certificate = results.certificate
    summary = statistics.summarise(results.table, results.predictions)
    compared = OWN in set(summary["pipeline"]) and len(summary) > 1
    comparison = statistics.compare(results.table, results.predictions, OWN) if compared else None
    colours = figures.pipeline_colours(summary["pipeline"].tolist())
    sections = [
        _verdict_section(certificate),
        task_section(windows),
        protocol_section(windows, folds, results.table, certificate),
        scores_section(results, summary, comparison, colours),
        confusions_section(results.predictions, summary, windows.classes),
        calibration_section(results.predictions, summary, windows.classes, colours),
        learning_section(results.histories, colours),
        responses_section(windows),
        _run_section(results, configuration),
        _verification_section(folder),
    ]
    title = f"{windows.name}: {folds[0].protocol.replace('_', ' ')} cross-validation"
    return page(title, stamp(_stamp_words(certificate), certificate.verdict), _headline(summary, comparison), sections)


def _stamp_words(certificate: Certificate) -> str:
    return "proved: no leak" if certificate.verdict == "proved" else f"{certificate.verdict}: {certificate.reason}"


def _headline(summary: pd.DataFrame, comparison: pd.DataFrame | None) -> str:
    """The result in words; better and worse are said only where Holm's p is at most .05."""
    metric, by_name = figures.metric_words(summary["metric"].iloc[0]), summary.set_index("pipeline")
    if summary["score"].isna().all():
        return "No test part holds two classes, so there is no score."
    best = summary.sort_values("score", ascending=False, kind="stable").iloc[0]
    if comparison is None:
        return f"The highest {metric} is {best['score']:.3f}, of {best['pipeline']}; guessing stays below {best['chance_line']:.3f} in 95 of 100 sets."
    own = by_name.loc[OWN]
    parts = [f"The {OWN} reaches {metric} {own['score']:.3f} (95 % interval {interval_words(own)}); guessing stays below {own['chance_line']:.3f}."]
    parts += _decided(comparison)
    parts += [f"The highest mean is {best['score']:.3f}, of {best['pipeline']}."] if best["pipeline"] != OWN else []
    return " ".join(parts)


def _decided(comparison: pd.DataFrame) -> list[str]:
    """Sentences on who is better; where the units are too few for any corrected p to reach .05, on the intervals that leave zero out."""
    decisive = comparison["smallest_p"] * len(comparison) <= 0.05
    has_width = comparison["high"] - comparison["low"] > statistics.ROUNDING  # folds that differ alike give none
    leaves_zero_out = has_width & (comparison["low"] * comparison["high"] > 0)
    told = (comparison["p_holm"] <= 0.05).where(decisive, leaves_zero_out)
    undecided = comparison[~decisive]
    here = f"against {listed(undecided['pipeline'].tolist())}" if decisive.any() else "here"
    too_few = f"A paired test of {undecided['n'].min()} differences can't reach .05 {here}; by the intervals of the differences:"
    sentences = [] if decisive.all() else [too_few]
    for verdict, found in (("better than", told & (comparison["difference"] > 0)), ("worse than", told & (comparison["difference"] < 0))):
        sentences += [f"It is {verdict} {listed(comparison['pipeline'][found].tolist())}."] if found.any() else []
    rest = comparison["pipeline"][~told].tolist()
    sentences += [f"No difference from {listed(rest)} is shown."] if rest else []
    tests = "Corrected t tests" if (comparison["unit"] == "fold").all() else "Paired permutation tests"
    return [*sentences, f"({tests} with Holm's correction at .05.)"] if decisive.any() else sentences


def _verdict_section(certificate: Certificate) -> str:
    words = paragraph(VERDICTS.get(certificate.verdict, certificate.verdict).format(reason=certificate.reason))
    tolerated = paragraph(f"Tolerated by name: {listed(list(certificate.tolerated))}.") if certificate.tolerated else ""
    warnings = f'<div class="warnings"><p><strong>Warnings</strong></p>{bullets(certificate.warnings)}</div>' if certificate.warnings else ""
    checked = [[check.name, check.meaning, check.compared, check.found] for check in certificate.checks]
    checks = table(["Check", "What it says", "Compared", "Found"], checked)
    gap = f"Windows are widened to both sides by {certificate.filter_support_s:g} s of filter support; the guard between parts is {certificate.guard_s:g} s."
    verdict = f'<div class="verdict {text(certificate.verdict)}">{words}{tolerated}</div>'
    control = paragraph(_control_words(certificate.control)) if certificate.control else ""
    compared = paragraph(gap, "0 compared: not possible here, or not asked for.")
    return section("Verdict of the certificate", verdict, warnings, checks, compared, _pretraining_table(certificate.pretraining), control)


def _pretraining_table(models: Sequence[dict]) -> str:
    """Which pre-trained models the folds started from, and what each had seen; nothing where there are none."""
    rows = []
    for model in models:
        seen = listed([f"{count} of {name}" for name, count in model["windows"].items()]) if model["windows"] else "no recordings"
        rows.append([model["folder"], model["objective"], listed([str(number) for number in model["folds"]]), seen, len(model["rows"])])
    head = ["Pre-trained model", "How", "Folds", "Windows that it has seen", "Of these in this set"]
    return table(head, rows, "What the folds started from") if rows else ""


def _control_words(control: dict) -> str:
    metric = figures.metric_words(control["metric"])
    return (
        f"The signal before the cue, judged alike, gives {metric} {control['score']:.3f} over {control['n_folds']} folds (permutation p = {control['p']:.3f})."
    )


def _run_section(results: Results, configuration: dict[str, Any] | None) -> str:
    reads = max((entry["test_reads"] for entry in results.provenance), default=0)
    words = paragraph(f"The test rows of a fold were read {'once' if reads == 1 else f'up to {reads} times'} by each fit.") if reads else ""
    timed = table(["Pipeline", "Rows", "Fits", "Seconds a fit", "Seconds in all", "Parameters"], _fit_rows(results.table))
    machine = table(["Machine", "Value"], describe_machine().items())
    versions = table(["Package", "Version"], package_versions().items())
    asked = table(["Setting", "Value"], [(name, str(value)) for name, value in entries(configuration)], "Configuration") if configuration else ""
    return section("How it was run", words, side_by_side(timed, machine, versions), asked)


def _fit_rows(scores: pd.DataFrame) -> list[list[Any]]:
    """What the fits of every pipeline took: one that stands for all seeds counts once, and parts of a pipeline (see `cross_validate`) aren't fits."""
    times = {str(name): own["time"].tolist() for name, own in scores.groupby("pipeline", sort=False)}
    rows: list[list[Any]] = []
    for name, own in scores.groupby("pipeline", sort=False):
        if any(str(name).startswith(f"{whole}: ") and times[whole] == times[str(name)] for whole in times):
            rows.append([str(name), len(own), *[None] * 4])
            continue
        # Those that train at once share their seconds, but not their predictions.
        fits = own.drop_duplicates(["fold", "time", "log_loss"])
        rows.append([str(name), len(own), len(fits), float(fits["time"].mean()), float(fits["time"].sum()), _parameters(own)])
    return rows


def _parameters(fits: pd.DataFrame) -> int | None:
    known = fits["parameters"].dropna()
    return int(known.iloc[0]) if len(known) else None


def _verification_section(folder: str) -> str:
    words = (
        "The tables and the certificate lie beside this page. A single file, which needs nothing else of sigvit, reads them again and confirms or refutes them:"
    )
    return section("Verify it yourself", paragraph(words), f"<pre><code>sigvit verify {text(shlex.quote(folder))}</code></pre>")


def entries(configuration: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """What stands in nested tables, each under its whole name.

    >>> entries({"asked": {"seeds": 5}})
    [('asked.seeds', 5)]
    """
    found = []
    for name, value in configuration.items():
        found += entries(value, f"{above}{name}.") if isinstance(value, dict) else [(f"{above}{name}", value)]
    return found

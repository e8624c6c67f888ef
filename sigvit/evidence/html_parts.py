"""Pieces of an HTML page: every text that goes in is escaped here, so that no name can become markup."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

STYLE = """
:root { color: #1b1b1b; background: #fff; font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
body { margin: 0 auto; max-width: 1330px; padding: 0 20px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 1.6rem 0 .6rem; }
h2 { font-size: 1.3rem; border-bottom: 2px solid #12355b; margin: 2.6rem 0 .8rem; }
p, li { max-width: 46rem; overflow-wrap: anywhere; }
.lead { font-size: 1.12rem; }
.stamp { display: inline-block; border: 2px solid; border-radius: 4px; font-size: 1rem; padding: .1rem .5rem; vertical-align: middle; }
.proved { color: #1c6b3c; }
.tolerated { color: #a14400; }
.verdict { border-left: 6px solid; padding: .2rem 1rem; background: #f5f7f9; }
.verdict * { color: #1b1b1b; }
.warnings { border-left: 6px solid #d98a00; background: #fff7e6; padding: .2rem 1rem; margin: .8rem 0; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .92rem; }
caption { text-align: left; font-weight: 600; padding: .2rem 0 .4rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #dde1e6; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid #8a96a3; vertical-align: bottom; }
tbody th { font-weight: 500; }
td { min-width: 9rem; max-width: 60rem; }
td.number, td.brief { min-width: 0; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.number { text-align: right; }
tbody th { white-space: nowrap; }
tr.own { background: #e9eff6; }
tr.own th { font-weight: 700; }
figure { margin: .8rem 0; }
img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .9rem; color: #444; max-width: 36rem; }
.beside { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start; }
.beside > * { flex: 0 1 auto; max-width: 100%; }
table.confusion td { text-align: center; min-width: 3rem; border: 1px solid #fff; }
table.confusion th { padding: .3rem .4rem; }
table.confusion td.corner { font-size: .8rem; color: #555; }
small { display: block; opacity: .85; }
code, pre { font-family: ui-monospace, "Liberation Mono", Consolas, monospace; font-size: .88rem; }
pre { background: #f5f7f9; padding: .7rem 1rem; overflow-x: auto; }
summary { cursor: pointer; padding: .3rem 0; }
"""


def text(value: Any) -> str:
    """Escaped text; floats to three places, unknown numbers as a dash.

    >>> text("<b>"), text(0.12345), text(float("nan")), text(1234567)
    ('&lt;b&gt;', '0.123', '–', '1 234 567')
    """
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}".replace(",", " ")
    return html.escape(f"{value:.3f}" if isinstance(value, float) else str(value))


def page(title: str, mark: str, lead: str, sections: Sequence[str]) -> str:
    """A whole page: heading with a mark beside it, a leading paragraph, sections."""
    head = f'<h1>{text(title)} {mark}</h1><p class="lead">{text(lead)}</p>'
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n<body><main>{head}{''.join(sections)}</main></body></html>\n"
    )


def stamp(words: str, kind: str) -> str:
    return f'<span class="stamp {text(kind)}">{text(words)}</span>'


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "fold"), counted(3, "fold")
    ('1 fold', '3 folds')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def paragraph(*sentences: str) -> str:
    return f"<p>{text(' '.join(sentence for sentence in sentences if sentence))}</p>"


def section(title: str, *parts: str) -> str:
    name = "".join(letter if letter.isalnum() else "-" for letter in title.lower())
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{text(title)}</h2>{"".join(parts)}</section>'


def bullets(items: Iterable[Any]) -> str:
    return f"<ul>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "", emphasised: str | None = None) -> str:
    """A table inside a scrolling frame; the first cell of each row names the row, and the row called ``emphasised`` stands out."""
    return _frame("", caption, "", columns, [_row(row, emphasised) for row in rows])


def picture(svg: str, alternative: str, caption: str = "") -> str:
    """A figure as an image of its own, so that no name inside one SVG meets a name in another."""
    encoded = base64.b64encode(svg.encode()).decode()
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{text(alternative)}" src="data:image/svg+xml;base64,{encoded}">{below}</figure>'


def side_by_side(*parts: str) -> str:
    return f'<div class="beside">{"".join(parts)}</div>'


def confusion(classes: Sequence[Any], counts: np.ndarray, title: str) -> str:
    """A confusion matrix as a table: rows are the true classes, shades the share of the row."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    rows = []
    for label, numbers, parts in zip(classes, counts, shares, strict=True):
        cells = "".join(_shaded(number, share) for number, share in zip(numbers, parts, strict=True))
        rows.append(f'<tr><th scope="row">{text(label)}</th>{cells}</tr>')
    return _frame(' class="confusion"', title, '<td class="corner">true ↓ &nbsp;said →</td>', classes, rows)


def _frame(kind: str, caption: str, corner: str, columns: Sequence[Any], rows: Sequence[str]) -> str:
    stamp = f"<caption>{text(caption)}</caption>" if caption else ""
    head = corner + "".join(f'<th scope="col">{text(column)}</th>' for column in columns)
    return f'<div class="scroll" tabindex="0"><table{kind}>{stamp}<thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _row(cells: Sequence[Any], emphasised: str | None) -> str:
    first, *others = cells
    mark = ' class="own"' if emphasised is not None and str(first) == emphasised else ""
    numbers = "".join(f"<td{_kind(cell)}>{text(cell)}</td>" for cell in others)
    return f'<tr{mark}><th scope="row">{text(first)}</th>{numbers}</tr>'


def _kind(cell: Any) -> str:
    """Numbers stand right; neither they nor a few words are broken into lines."""
    if not isinstance(cell, str):
        return ' class="number"'
    return ' class="brief"' if len(cell) <= 24 else ""


def _shaded(number: float, share: float) -> str:
    ink = "#fff" if share > 0.55 else "#1b1b1b"
    shown = f"{number:.1f}".removesuffix(".0")
    return f'<td style="background:rgba(18,53,91,{share:.2f});color:{ink}">{share:.0%}<small>{shown}</small></td>'

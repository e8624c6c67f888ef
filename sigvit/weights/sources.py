"""Where weights may come from, by name."""

from __future__ import annotations

from collections.abc import Iterable

from sigvit.weights import deit3, dinov2, google, hugging_face, mae, timm, torchvision
from sigvit.weights.layout import Layout, Rule, match

# Our own names, with nothing to rename; what a state dict doesn't say stays as it is in the model.
SIGVIT = Layout(
    rules=(Rule("positions.table", "positions"), Rule("{any}", "{any}")),
    gelu=None,
    eps=None,
    resize="sigvit",
    table_rows=("none",),
    grids="own",
    config={"heads": "heads", "image_size": "image_size", "gelu": "gelu", "eps": "eps", "scaling": "scaling"},
)

# Where a source has several layouts, the first whose marker is found in the file.
SOURCES: dict[str, tuple[Layout, ...]] = {
    "google": (google.PAPER, google.BIG_VISION),
    "timm": (timm.LAYOUT,),
    "hugging_face": (hugging_face.DINOV2_WITH_REGISTERS, hugging_face.DINOV2, hugging_face.VIT),
    "torchvision": (torchvision.LAYOUT,),
    "mae": (mae.LAYOUT,),
    "dinov2": (dinov2.WITH_REGISTERS, dinov2.PLAIN),
    "deit": (deit3.DEIT,),
    "deit3": (deit3.DEIT3,),
    "sigvit": (SIGVIT,),
}


def layouts(source: str) -> tuple[Layout, ...]:
    """The layouts of a source; ValueError names the sources there are."""
    if source not in SOURCES:
        raise ValueError(f"There is no source {source!r}; there are {', '.join(map(repr, SOURCES))}.")
    return SOURCES[source]


def choose(source: str, names: Iterable[str]) -> Layout:
    """The layout of a source that a file with these names has."""
    known = layouts(source)
    for layout in known:
        if any(match(layout.marker, bare(name, layout)) is not None for name in names):
            return layout
    return known[-1]


def bare(name: str, layout: Layout) -> str:
    """A name without what may stand in front of it."""
    for prefix in layout.prefixes:
        if name.startswith(prefix):
            return bare(name[len(prefix) :], layout)
    return name


def likely_source(names: Iterable[str]) -> str | None:
    """The foreign source whose tables know the most of these names, where that is more than half of them."""
    kept = list(names)
    shares = {source: max(_known(kept, layout) for layout in known) for source, known in SOURCES.items() if source != "sigvit"}
    best = max(shares, key=lambda source: shares[source])
    return best if shares[best] > len(kept) / 2 else None


def _known(names: list[str], layout: Layout) -> int:
    return sum(any(match(rule.theirs, bare(name, layout)) is not None for rule in layout.rules) for name in names)

"""What the pages of all benchmarks have in common: where a run was, its table, and a file that no published page is lost by.

A run writes results/benchmarks/NAME.md. The pages in benchmarks/results are such files with notes, or put together from several, and are changed by hand.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from sigvit.evidence.machine import describe_machine

PAGES = Path("results/benchmarks")


def where(*packages: str, device: str = "cpu") -> str:
    """Processor or GPU, cores and threads, and versions of Python, torch, sigvit and these packages."""
    machine = describe_machine()
    processor = torch.cuda.get_device_name() if device == "cuda" else machine["Processor"]
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", *packages, "sigvit"))
    return f"{processor}, {machine['Cores']} cores, {torch.get_num_threads()} threads; Python {machine['Python']}, {versions}"


def markdown(table: pd.DataFrame) -> str:
    """Its columns and rows, without the index; what is missing is a dash."""
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(object).where(table.notna(), "–").astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def keep(name: str, text: str) -> None:
    """Write results/benchmarks/NAME.md."""
    PAGES.mkdir(parents=True, exist_ok=True)
    (PAGES / f"{name}.md").write_text(text, encoding="utf-8")

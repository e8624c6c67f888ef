"""Every labelled set at hand under every protocol that it allows: the ViT beside each classical baseline, in the same folds.

    python benchmarks/eeg_datasets.py [PAGE …]

One seed; goes on where it was stopped (results/benchmark), and writes benchmarks/results/eeg_datasets.md from all rows that are done.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import pandas as pd
import torch

import sigvit
from sigvit.evidence import statistics
from sigvit.evidence.results_folder import claim_folder, write_results

RESULTS = Path("results/benchmark")
TABLE = Path(__file__).parent / "results" / "eeg_datasets.md"
# Page → protocol → number of groups (None: one run, session or subject left out at a time).
PLAN: dict[str, dict[str, int | None]] = {
    "finger_movements": {"shipped": None, "within_session": 5},
    "finger_movements_repaired": {"shipped": None, "within_session": 5},
    "scp1": {"shipped": None, "within_session": 5},
    "scp1_repaired": {"shipped": None, "within_session": 5},
    "eegmmidb_left_right": {"within_session": None},
    "eegmmidb_fists_feet": {"within_session": None},
    "eegmmidb_four_classes": {"within_session": None},
    "muse_ssvep": {"cross_subject": None, "cross_session": None, "within_session": None},
    "muse_n170": {"cross_subject": None, "cross_session": None, "within_session": None},
    "eegmat": {"cross_subject": 6},
    "smni_s1_s2match": {"cross_subject": 4},
    "eegmmidb_rest_move": {"within_session": None},
    "muse_p300": {"cross_subject": None, "cross_session": None, "within_session": None},
    "smni_s1_s2nomatch": {"cross_subject": 4},
    "smni_s2match_s2nomatch": {"cross_subject": 4},
    "smni_group": {"cross_subject": 4},
}


PROTOCOLS = ("shipped", "within_session", "cross_session", "cross_subject")


def make_folds(windows: sigvit.Windows, protocol: str, k: int | None) -> list[sigvit.Fold]:
    metadata, support_s = windows.metadata, windows.filter_support_s
    if protocol == "shipped":
        return sigvit.folds.shipped(metadata, filter_support_s=support_s)
    if protocol == "within_session":
        return sigvit.folds.within_session(metadata, k, undividable="leave out", filter_support_s=support_s)
    if protocol not in PROTOCOLS:
        raise ValueError(f"There is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}.")
    maker = sigvit.folds.cross_session if protocol == "cross_session" else sigvit.folds.cross_subject
    return maker(metadata, k, filter_support_s=support_s)


def run(page: str, protocol: str, k: int | None) -> None:
    """Cross-validate one page under one protocol into its own folder."""
    windows = sigvit.open_dataset(page)
    folds = make_folds(windows, protocol, k)
    pipelines = {"ViT": sigvit.SignalViTClassifier(), **sigvit.baselines.everything(windows)}
    folder = RESULTS / f"{page}-{protocol}"
    asked = {"page": page, "sha256": windows.page["sha256"], "protocol": protocol, "k": str(k)}
    claim_folder(folder, asked)
    results = sigvit.cross_validate(pipelines, windows, folds, folder=folder, n_jobs=2)
    print(page, protocol, len(folds), "folds done", flush=True)
    write_results(folder, results, windows, folds, asked)
    results.predictions.to_csv(folder / "predictions.csv", index=False)


def row(folder: Path) -> dict[str, str]:
    """One line of the table: mean scores, the chance line, and the ViT against the best baseline."""
    table, predictions = pd.read_csv(folder / "results.csv", dtype={"subject": str, "session": str}), pd.read_csv(folder / "predictions.csv")
    summary = statistics.summarise(table, predictions).set_index("pipeline")
    compared = statistics.compare(table, predictions).set_index("pipeline")
    best = summary["score"][[name for name in summary.index if not name.startswith("ViT")]].idxmax()
    difference = f"{compared.loc[best, 'difference']:+.3f} (p {compared.loc[best, 'p']:.2f})"
    page, protocol = folder.name.rsplit("-", 1)
    line = {"set, protocol": f"{page}, {protocol}", "folds": str(table["fold"].nunique()), "5 % line of guessing": f"{summary['chance_line'].iloc[0]:.3f}"}
    return {**line, **{name: f"{score:.3f}" for name, score in summary["score"].items()}, "ViT − best": difference}


def write_table() -> None:
    folders = [RESULTS / f"{page}-{protocol}" for page, protocols in PLAN.items() for protocol in protocols]
    done = pd.DataFrame([row(folder) for folder in folders if (folder / "predictions.csv").exists()])
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, sigvit {sigvit.__version__}"
    words = (
        "# Every labelled set under every protocol that it allows\n\n"
        "`python benchmarks/eeg_datasets.py`: ROC-AUC, for four classes balanced accuracy; mean over subjects, else over folds; one seed.\n"
        "The last column is the ViT (with its classical half) less the best baseline of the row, picked after the fact, with the paired\n"
        "test's uncorrected p. Sets and traps: `datasets/*.toml`.\n\n"
        f"{platform.machine()}, one thread a process, {versions}\n\n"
    )
    TABLE.write_text(words + to_markdown(done))


def to_markdown(table: pd.DataFrame) -> str:
    lines = [list(table.columns), ["---"] * table.shape[1], *table.astype(object).where(table.notna(), "–").astype(str).to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", choices=[*PLAN, []], metavar="PAGE", help="left out: all")
    pages = parser.parse_args().pages or list(PLAN)
    torch.set_num_threads(1)
    for page in pages:
        for protocol, k in PLAN[page].items():
            run(page, protocol, k)
            write_table()


if __name__ == "__main__":
    main()

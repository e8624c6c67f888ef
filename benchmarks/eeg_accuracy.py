"""How accurate: the default ViT pipeline beside every baseline and the published networks, in the same folds.

    python benchmarks/eeg_accuracy.py [PAGE:PROTOCOL[:K] …] [--seeds 10] [--networks none | ours | published] [--jobs 2] [--output FOLDER]

PAGE is a name of datasets/ or a path to a page of your own; PROTOCOL is shipped, within_session, cross_session or cross_subject, with K groups, else with
one run, session or subject left out at a time, such as smni_group:cross_subject:4. Without rows: those that the project is judged by. Goes on where it was
stopped, also with more seeds or networks. --networks says what stands beside the classical pipelines: nothing, EEGNet and ShallowConvNet of this library, or
these and braindecode's (the extra "benchmark"); --jobs, how many processes share the fits, each with memory of its own. Prints what each certificate warns
of and the table, and for the project's own rows writes results/benchmarks/eeg_accuracy.md. A row that is refused or fails says so under its name; the others
go on, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from braindecode_networks import BraindecodeClassifier, can_read
from joblib.externals.loky.process_executor import TerminatedWorkerError
from page import keep, markdown, where

import sigvit
from sigvit.evidence import statistics
from sigvit.evidence.convnets import ConvNetClassifier
from sigvit.evidence.cross_validation import Results
from sigvit.evidence.protocols import PROTOCOLS, folds_of
from sigvit.evidence.results_folder import claim_folder, write_results

ROWS = (
    "scp1:shipped",
    "finger_movements:shipped",
    "eegmmidb_left_right:within_session",
    "eegmmidb_fists_feet:within_session",
    "eegmmidb_rest_move:within_session",
    "muse_ssvep:cross_session",
    "muse_ssvep:cross_subject",
    "muse_n170:cross_session",
    "muse_n170:cross_subject",
    "eegmat:cross_subject:6",
    "finger_movements:within_session:5",
    "scp1:within_session:5",
    "smni_s1_s2match:cross_subject:4",
    "smni_s1_s2nomatch:cross_subject:4",
    "smni_s2match_s2nomatch:cross_subject:4",
    "muse_p300:cross_subject",
    "muse_p300:cross_session",
    "muse_ssvep:within_session",
    "muse_n170:within_session",
    "muse_p300:within_session",
)
PUBLISHED = ("EEGConformer", "EEGNet", "ShallowFBCSPNet", "Deep4Net", "ATCNet")
OURS = ("EEGNet", "ShallowConvNet")
NETWORKS = (*OURS, *(f"braindecode {name}" for name in PUBLISHED))
HALVES = ("ViT: network", "ViT: classical half")


def pipelines(windows: sigvit.Windows, networks: str) -> dict[str, Any]:
    named: dict[str, Any] = {"ViT": sigvit.SignalViTClassifier(), **sigvit.baselines.everything(windows)}
    if networks != "none":
        named |= {name: ConvNetClassifier(name) for name in OURS}
    if networks == "published":
        named |= {f"braindecode {name}": BraindecodeClassifier(name) for name in PUBLISHED if can_read(BraindecodeClassifier(name), windows)}
    return named


def read_row(row: str) -> tuple[str, str, int | None]:
    """Page, protocol and number of groups; ValueError for what isn't PAGE:PROTOCOL[:K]."""
    found = re.fullmatch(rf"(.+):({'|'.join(PROTOCOLS)})(?::([0-9]+))?", row)  # a path may have colons of its own
    if found is None or (found[3] and int(found[3]) < 2):
        raise ValueError(f"{row} is no row; write PAGE:PROTOCOL or PAGE:PROTOCOL:K with a protocol of {', '.join(PROTOCOLS)} and a whole number K from 2 on.")
    return found[1], found[2], int(found[3]) if found[3] else None


def run(row: str, seeds: int, networks: str, jobs: int, output: Path) -> Results:
    """Cross-validate one row into its own folder; fits that are there already are kept."""
    page, protocol, k = read_row(row)
    windows = sigvit.open_dataset(page)
    folds = folds_of(windows, protocol, k)
    folder = output / row.replace(":", "-").replace("/", "_")
    asked = {"page": page, "sha256": windows.page["sha256"], "protocol": row}
    claim_folder(folder, asked)
    results = sigvit.cross_validate(pipelines(windows, networks), windows, folds, seeds=range(seeds), folder=folder, n_jobs=jobs)
    write_results(folder, results, windows, folds, asked)
    return results


def scores(row: str, results: Results) -> pd.Series:
    """Mean score of every pipeline, and the line that in 95 of 100 sets without signal none of them exceeds: each has its share of the 5 %."""
    scored = results.summary().set_index("pipeline")["score"]
    guessing = statistics.chance(results.table, results.predictions, level=1 - 0.05 / len(scored))
    return pd.concat([pd.Series({"guessing": guessing}), scored]).rename(row)


def line(found: pd.Series) -> dict[str, str]:
    """A row of the table: the ViT, its halves, and the best of the classical pipelines and of the networks, picked after the fact."""
    baselines = found.drop(["guessing", "ViT", *HALVES]).dropna()
    networks = baselines[[name for name in baselines.index if name in NETWORKS]]
    classical = baselines.drop(networks.index)
    kinds = {"best classical": classical, "best network": networks}
    best = {kind: f"{group.max():.3f} ({group.idxmax()})" for kind, group in kinds.items() if len(group)}
    named = {"set, protocol": str(found.name), **{name: f"{found[name]:.3f}" for name in ("guessing", "ViT", *HALVES)}}
    return {**named, **best, "ViT − best": f"{found['ViT'] - baselines.max():+.3f}"}


def verdict(table: pd.DataFrame) -> str:
    """What the rows show together, and which of them show nothing."""
    scored, without = table[table["guessing"].notna()], table.index[table["guessing"].isna()]
    cause = "has no score: every test part holds one class"
    return " ".join([*([lead(scored)] if len(scored) else []), *(f"{row} {cause}; {other_parts(row)}." for row in without)])


def other_parts(row: str) -> str:
    """What to ask for where every test part of a row holds one class."""
    page, protocol, k = read_row(row)
    if protocol == "shipped" or k == 2:
        return "ask for another protocol"
    return f"ask for K groups ({page}:{protocol}:K{'' if k is None else f', K below {k}'}), or for another protocol"


def why(error: Exception) -> str:
    """A fault as a sentence, and which fit it was."""
    if isinstance(error, TerminatedWorkerError):
        return "a process that shared the work was killed, likely for want of memory; start again with fewer --jobs, and it goes on with what is missing."
    kind = "" if isinstance(error, ValueError | OSError | sigvit.Leak) else f"{type(error).__name__}: "
    return " ".join([f"{kind}{error}", *getattr(error, "__notes__", [])])


def show_way(error: Exception) -> None:
    """On the error output the way through the code, but for what sigvit refused itself, files and killed processes: their sentence says it."""
    last = last_frame(error)
    # A refusal is raised in a line of ours; a ValueError may also come of a wrong line.
    ours = Path(last.filename).is_relative_to(Path(sigvit.__file__).parent) and (last.line or "").startswith("raise ")
    refused = ours and isinstance(error, ValueError | sigvit.Leak)
    if not (refused or isinstance(error, OSError | TerminatedWorkerError)):
        traceback.print_exception(error)


def last_frame(error: Exception) -> traceback.FrameSummary:
    """Where it was raised, also where joblib brought it from another process, which tells the way through the code as a text."""
    told = re.findall(r'File "(.+)", line (\d+), in (.+)\n +(.+)', str(error.__cause__))
    if not told:
        return traceback.extract_tb(error.__traceback__)[-1]
    file, number, function, text = told[-1]
    return traceback.FrameSummary(file, int(number), function, line=text)


def lead(table: pd.DataFrame) -> str:
    """Over all rows above chance: how often the ViT is first, and its lead over the classical pipeline with the highest mean, picked after the fact."""
    others = table.drop(columns=["guessing", "ViT", *HALVES])
    above = table[table.drop(columns="guessing").max(axis=1) > table["guessing"]].index
    if above.empty:
        return "No pipeline is above chance in any row."
    first = int((table.loc[above, "ViT"] >= others.loc[above].max(axis=1)).sum())
    classical = others.drop(columns=[name for name in others if name in NETWORKS]).loc[above]
    best = classical.dropna(axis=1).mean().idxmax()  # some windows are too slow or of too few electrodes for some pipelines
    difference = table.loc[above, "ViT"] - classical[best]
    p = statistics.paired_permutation(table.loc[above, "ViT"], classical[best])
    chance = "above what the best of all pipelines reaches in 95 of 100 sets without signal"
    places = f"The ViT is first in {first} of the {len(above)} rows above chance ({chance})"
    return f"{places}; over these it is {difference.mean():+.3f} beside {best} (permutation test over rows, p {p:.4f})."


def report(found: list[pd.Series], command: str, failed: Sequence[str] = ()) -> str:
    """The table in markdown, with what became of the rows that have none."""
    table = pd.DataFrame(found)
    words = " ".join([*([verdict(table)] if found else []), *failed])
    rows = markdown(pd.DataFrame([line(one) for one in found]))
    every = markdown(table.round(3).rename_axis("set, protocol").reset_index())
    return (
        "# How accurate: the default ViT pipeline beside every baseline\n\n"
        f"`{command}`: ROC-AUC, for more than two classes balanced accuracy;\nmean over seeds, then over subjects, else folds.\n"
        f"Sets and traps: `datasets/*.toml`. {where()}.\n\n{words}\n\n"
    ) + (f"{rows}\n## Every pipeline\n\n{every}" if found else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="PAGE:PROTOCOL[:K]")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--networks", choices=("none", "ours", "published"), default="ours")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("results/accuracy"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    for row in options.rows:
        try:
            read_row(row)
        except ValueError as error:
            parser.error(str(error))
    command = " ".join(["python benchmarks/eeg_accuracy.py", *options.rows, f"--seeds {options.seeds} --networks {options.networks}"])
    found: list[pd.Series] = []
    failed: list[str] = []
    for row in options.rows or ROWS:
        print(row, flush=True)  # before it is run, so that what fits and warnings say stands under it
        try:
            results = run(row, options.seeds, options.networks, options.jobs, options.output)
            found.append(scores(row, results))
            told = [f"warning {warning}" for warning in results.certificate.warnings]
        except Exception as error:
            told = [why(error)]
            failed.append(f"{row} has no result: {why(error)}")
            show_way(error)
        words = report(found, command, failed)
        print("\n".join([*told, words]), flush=True)
        if not options.rows:
            keep("eeg_accuracy", words)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

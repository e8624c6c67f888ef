"""What helps a model of recordings: starts × tunings × numbers of labelled trials, in the same folds and seeds; ends in a table with intervals.

    python experiments/transfer.py --dataset muse_p300                                            # scratch against the training part's own recordings
    python experiments/transfer.py --dataset muse_p300 --others muse_n170 eegmat                  # and other recordings, without and with their labels
    python experiments/transfer.py --dataset smni_s1_s2match --image-model results/mnist/model    # and an image model's weights, by three tokenizers

Every model that has seen recordings says which (pretraining.json), and `certify` compares them with each fold's test part before anything is judged.
Killed and started again with the same command, it goes on. Where nothing helps, that is the result.
"""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import transfer_starts as starts
import tyro
from rich.console import Console
from torch import Tensor

import sigvit
from sigvit.evaluation.few_shot import draw, fit_ridge
from sigvit.evidence.metrics import score_predictions
from sigvit.evidence.results_folder import claim_folder
from sigvit.training.batches import RecordingBatches
from sigvit.training.fine_tuning import choose_trained, merge
from sigvit.training.loop import train
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe

COLUMNS = ("start", "tuning", "shots", "fold", "seed", "labelled", "score", "metric")
THROUGH = ("electrode_time", "scalp_map", "spectrogram")
ALL = 0  # shots: every labelled trial of the training part
RESAMPLES = 10_000

Start = Callable[[sigvit.Fold, int], sigvit.VisionTransformer]


@dataclass(frozen=True)
class Configuration:
    """Compare what a model of recordings starts from."""

    dataset: str = "muse_p300"
    """A page's name, or the path of a TOML page."""
    others: tuple[str, ...] = ()
    """Pages of other recordings to pre-train on, any caps and rates; none of a tested person (certify refuses them)."""
    image_model: Path | None = None
    """Folder of an image model (`experiments/image_training.py`, `experiments/pretraining.py`); left out, no start from images."""
    folder: Path | None = None
    """Where the recordings lie, for pages that need local files."""
    protocol: Literal["cross_subject", "cross_session", "within_session"] = "cross_subject"
    """What is left out."""
    k: int | None = None
    """Number of groups; left out, one subject, session or run at a time."""
    shots: tuple[int, ...] = (5, 10, 25, ALL)
    """Labelled trials of each class; 0 for all there are."""
    tunings: tuple[Literal["full", "lora", "ridge"], ...] = ("full", "lora", "ridge")
    """All weights, head and low-rank additions, or closed-form ridge on frozen features."""
    objective: Literal["masked_patches", "masked_autoencoder"] = "masked_autoencoder"
    """Of pre-training."""
    seeds: int = 3
    """Weights, order and draws of labelled trials."""
    pretraining_steps: int = 1000
    """Steps of each pre-training, without or with labels."""
    steps: int = 200
    """Steps of each fine-tuning."""
    width: int = 32
    depth: int = 2
    window_s: float = 0.1
    """Seconds of a token, which is of one electrode."""
    batch_size: int = 32
    learning_rate: float = 1e-3
    output: Path | None = None
    """Results folder; left out, results/transfer-DATASET-PROTOCOL."""


def main(configuration: Configuration) -> pd.DataFrame:
    """Write certificate.json, cells.csv and transfer.md; returns the cells."""
    console = Console(soft_wrap=True)
    windows = sigvit.open_dataset(configuration.dataset, folder=configuration.folder)
    folds = getattr(sigvit.folds, configuration.protocol)(windows.metadata, configuration.k, validation=0, filter_support_s=windows.filter_support_s)
    output = configuration.output or Path("results") / f"transfer-{windows.name}-{configuration.protocol}"
    claim_folder(output, describe(configuration, windows))
    folders = pretrain(configuration, windows, folds, output / "models")
    certificate = sigvit.certify(windows, folds, pretrained={fold.number: sorted(set(folders[fold.number].values())) for fold in folds})
    certificate.write(output / "certificate.json")
    console.print(f"{windows.name}: {len(windows)} windows, {len(folds)} folds; the certificate says: {certificate.verdict}.")
    made = make_starts(configuration, windows, folders)
    done = read_cells(output / "cells.csv")
    for cell in missing_cells(configuration, folds, made, done):
        scores = judge(configuration, windows, *cell, made[cell[0]])
        append(output / "cells.csv", scores)
    cells = read_cells(output / "cells.csv")
    (output / "transfer.md").write_text(report(cells, configuration, certificate.verdict), encoding="utf-8")
    console.print((output / "transfer.md").read_text(), highlight=False)
    return cells


def pretrain(configuration: Configuration, windows: sigvit.Windows, folds: list[sigvit.Fold], folder: Path) -> dict[int, dict[tuple[str, int], str]]:
    """Fold number → (start, seed) → folder of the model; those of other recordings serve all folds."""
    sizes = starts.Sizes(configuration.width, configuration.depth, configuration.window_s)
    how = starts.Training(configuration.objective, configuration.pretraining_steps, configuration.batch_size, configuration.learning_rate)
    others = [sigvit.open_dataset(name, folder=configuration.folder) for name in configuration.others]
    found: dict[int, dict[tuple[str, int], str]] = {fold.number: {} for fold in folds}
    for seed in range(configuration.seeds):
        elsewhere = {}
        if others:
            elsewhere["other recordings"] = starts.pretrained(windows, others, sizes, how, seed, folder / f"others-{seed}")
            elsewhere["other labels"] = starts.supervised(windows, others, sizes, how, seed, folder / f"labels-{seed}")
        for fold in folds:
            own = starts.pretrained(windows, [windows[fold.train]], sizes, how, seed, folder / f"training-part-{fold.number}-{seed}")
            for name, path in ({"training part": own} | elsewhere).items():
                found[fold.number][name, seed] = str(path)
    return found


def make_starts(configuration: Configuration, windows: sigvit.Windows, folders: dict[int, dict[tuple[str, int], str]]) -> dict[str, Start]:
    """Name → the model that a fold's training begins with."""
    sizes = starts.Sizes(configuration.width, configuration.depth, configuration.window_s)
    made: dict[str, Start] = {"scratch": lambda fold, seed: starts.fresh(windows, sizes, seed)}
    for name in dict.fromkeys(name for names in folders.values() for name, _ in names):
        made[name] = lambda fold, seed, name=name: sigvit.VisionTransformer.from_pretrained(folders[fold.number][name, seed])  # type: ignore[misc]
    image = configuration.image_model
    for through in THROUGH if image is not None else ():
        assert image is not None
        for random in (True, False):
            name = f"image {'shape, scratch' if random else 'weights'} ({through})"
            made[name] = lambda fold, seed, through=through, random=random: starts.of_image(  # type: ignore[misc]
                image, windows, through, configuration.window_s, random, seed
            )
    return made


def missing_cells(
    configuration: Configuration, folds: list[sigvit.Fold], made: dict[str, Start], done: pd.DataFrame
) -> Iterator[tuple[str, sigvit.Fold, int, int]]:
    """(start, fold, seed, shots) that aren't judged yet; its tunings are written at once."""
    there = set(zip(done["start"], done["fold"], done["seed"], done["shots"], strict=True))
    for fold in folds:
        for seed in range(configuration.seeds):
            for name in made:
                for shots in configuration.shots:
                    if (name, fold.number, seed, shots) not in there:
                        yield name, fold, seed, shots


def judge(configuration: Configuration, windows: sigvit.Windows, name: str, fold: sigvit.Fold, seed: int, shots: int, start: Start) -> list[dict[str, Any]]:
    """Each tuning's score on the fold's test part, from the same labelled trials; the scale is that of the whole training part, which needs no labels."""
    numbers = np.unique(windows.labels, return_inverse=True)[1]
    # The same draws for every start and tuning, smaller ones inside larger ones.
    rows = fold.train if shots == ALL else fold.train[draw(torch.as_tensor(numbers[fold.train]), shots, derive_seed(seed, "labelled", fold.number)).numpy()]
    by = windows.values[fold.train]
    labelled, tested = (starts.standardised(windows.values[part], by) for part in (rows, fold.test))
    targets = torch.as_tensor(numbers[rows], dtype=torch.int64)
    scores = []
    for tuning in configuration.tunings:
        probabilities = tune(configuration, start(fold, seed), tuning, labelled, targets, tested, seed)
        told = score_predictions(windows.labels[fold.test], probabilities.double().numpy(), windows.classes)
        row = {"start": name, "tuning": tuning, "shots": shots, "fold": fold.number, "seed": seed, "labelled": len(rows)}
        scores.append(row | {"score": told["score"], "metric": told["metric"]})
    return scores


def tune(configuration: Configuration, model: sigvit.VisionTransformer, tuning: str, labelled: Tensor, targets: Tensor, tested: Tensor, seed: int) -> Tensor:
    """(test windows, classes) probabilities; of ridge the softmax of its scores."""
    n_classes = model.config.num_classes
    model = copy.deepcopy(model)
    if tuning == "ridge":
        model.eval()
        with torch.no_grad():
            known, asked = (torch.cat([model.features(part) for part in values.split(256)]).double() for values in (labelled, tested))
        return fit_ridge(known, targets, n_classes).scores(asked).softmax(1)
    choose_trained(model, "all" if tuning == "full" else "lora", seed=seed)
    recipe = Recipe(
        steps=configuration.steps,
        batch_size=configuration.batch_size,
        learning_rate=configuration.learning_rate,
        warmup_steps=configuration.steps // 10,
        ema_decay=0.9,
        time_shift=0.05,
    )
    train(model, RecordingBatches(labelled, targets, recipe, seed, n_classes), recipe, seed)
    merge(model).eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in tested.split(256)]).softmax(1)


def report(cells: pd.DataFrame, configuration: Configuration, verdict: str) -> str:
    """Per tuning a table: a row a start, a column a number of trials; the mean score, and the gain over scratch with its interval."""
    metric, n_folds = cells["metric"].iloc[0], cells["fold"].nunique()
    lines = [
        f"# Transfer: {configuration.dataset}, {configuration.protocol}",
        "",
        f"Mean {metric} over {n_folds} folds and {configuration.seeds} seeds; in brackets the gain over the same model from scratch, same folds, seeds and "
        f"labelled trials, with its 95 % interval (bootstrap over folds, {RESAMPLES:,} resamples, seeds averaged first). One that holds 0 shows no gain.",
        f"Pre-training: {configuration.objective}, {configuration.pretraining_steps} steps; fine-tuning: {configuration.steps} steps. Certificate: {verdict}.",
    ]
    for tuning in configuration.tunings:
        table = cells[cells["tuning"] == tuning].groupby(["start", "shots", "fold"])["score"].mean().sort_index()
        lines += [
            "",
            f"## {tuning}",
            "",
            f"| start | {' | '.join(words(shots) for shots in configuration.shots)} |",
            "|---" * (len(configuration.shots) + 1) + "|",
        ]
        for start in cells["start"].unique():
            entries = [entry(table, start, shots) for shots in configuration.shots]
            lines.append(f"| {start} | {' | '.join(entries)} |")
    return "\n".join(lines) + "\n"


def entry(table: pd.Series, start: str, shots: int) -> str:
    """A cell of the table."""
    own, reference = table[start, shots], table[scratch_of(start), shots]
    if start == scratch_of(start):
        low, high = interval(own.to_numpy())
        return f"{own.mean():.3f} [{low:.3f}, {high:.3f}]"
    gains = (own - reference).to_numpy()
    low, high = interval(gains)
    return f"{own.mean():.3f} ({gains.mean():+.3f} [{low:+.3f}, {high:+.3f}])"


def scratch_of(start: str) -> str:
    """The same model without what it started from."""
    return start.replace("weights", "shape, scratch") if start.startswith("image") else "scratch"


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % percentile bootstrap of a mean over folds; NaN with fewer than three."""
    known = values[np.isfinite(values)]
    if len(known) < 3:
        return float("nan"), float("nan")
    means = known[np.random.default_rng(0).integers(len(known), size=(RESAMPLES, len(known)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def words(shots: int) -> str:
    return "all trials" if shots == ALL else f"{shots} a class"


def describe(configuration: Configuration, windows: sigvit.Windows) -> dict[str, Any]:
    """What decides the cells, for config.toml, which has no None."""
    asked = {name: str(value) for name, value in asdict(configuration).items() if name not in ("output", "folder")}
    return {"sigvit": sigvit.__version__, "asked": asked, "windows": len(windows)}


def read_cells(path: Path) -> pd.DataFrame:
    """What was judged before."""
    if not path.is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.read_csv(path)


def append(path: Path, scores: list[dict[str, Any]]) -> None:
    """Beside and renamed: a kill leaves the cells of before or all of these as well."""
    before: list[dict[str, Any]] = [dict(zip(COLUMNS, row, strict=True)) for row in read_cells(path).itertuples(index=False)]
    beside = path.with_name(f"{path.name}.part")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([*before, *scores])
    beside.replace(path)


if __name__ == "__main__":
    main(tyro.cli(Configuration))

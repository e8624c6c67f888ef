"""What helps a model of recordings: starts × tunings × numbers of labelled trials, in the same folds and seeds; ends in a table with intervals.

    python experiments/transfer.py --dataset muse_p300                                            # scratch against the training part's own recordings
    python experiments/transfer.py --dataset muse_p300 --others muse_n170 eegmat                  # and other recordings, without and with their labels
    python experiments/transfer.py --dataset smni_s1_s2match --image-model results/mnist/model    # and an image model's weights, by three tokenizers

Every model that has seen recordings says which (pretraining.json), and `certify` compares them with each fold's test part before anything is judged.
Killed and started again with the same command, or with more seeds, it goes on. Where nothing helps, that is the result.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import transfer_starts as starts
import tyro
from faults import faults_in_a_sentence
from matplotlib.figure import Figure
from recording_sets import has_places
from rich.console import Console
from torch import Tensor, nn

import sigvit
from sigvit.evaluation import few_shot
from sigvit.evaluation.curve_figures import draw_learning_curves
from sigvit.evidence.metrics import score_predictions
from sigvit.evidence.pretraining import windows_sha256
from sigvit.evidence.protocols import folds_of
from sigvit.evidence.results_folder import claim_folder
from sigvit.evidence.statistics import confidence_interval
from sigvit.model.scaling import Scaling
from sigvit.training.claims import Claims
from sigvit.training.fine_tuning import choose_trained, merge
from sigvit.training.many import Member, train_many
from sigvit.training.randomness import derive_seed
from sigvit.training.recipe import Recipe, require_unset
from sigvit.whole_file import write_atomically

COLUMNS = ("start", "tuning", "shots", "fold", "seed", "labelled", "score", "metric")
ALL = 0  # shots: every labelled trial of the training part

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
    through: tuple[Literal["electrode_time", "scalp_map", "spectrogram"], ...] = ("electrode_time", "scalp_map", "spectrogram")
    """What an image model reads recordings through; spectrograms have by far the most tokens."""
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
    """How pre-training learns without labels: predict corrupted patches (the ViT paper), or drop most of them and rebuild them (MAE)."""
    seeds: int = 3
    """How many; each draws weights, order and labelled trials anew."""
    pretraining_steps: int = 1000
    """Steps of each pre-training, without or with labels."""
    steps: int = 1000
    """Steps of each fine-tuning."""
    width: int = 32
    """Length of a token."""
    depth: int = 2
    """Blocks of the encoder."""
    window_s: float = 0.1
    """Seconds of a token, which is of one electrode."""
    batch_size: int = 32
    """Windows a step."""
    learning_rate: float = 3e-3
    """At the top of the schedule, of pre-training and of fine-tuning."""
    output: Path | None = None
    """Results folder; left out, results/transfer-DATASET-PROTOCOL."""


def main(configuration: Configuration) -> pd.DataFrame:
    """Write certificate.json, cells.csv, transfer.md and a figure a tuning; returns the cells."""
    console = Console(soft_wrap=True)
    require_named(configuration)
    windows = sigvit.open_dataset(configuration.dataset, folder=configuration.folder)
    folds = folds_of(windows, configuration.protocol, configuration.k, validation=0)
    check_shots(configuration, windows, folds)
    others = [sigvit.open_dataset(name, folder=configuration.folder) for name in configuration.others]
    output = configuration.output or Path("results") / f"transfer-{windows.name}-{configuration.protocol}"
    require_possible(configuration, windows, others)
    # After all that may refuse it, so that a mended command finds the folder free.
    claim_folder(output, describe(configuration, windows, others), free=("seeds",))
    claims = Claims(output)
    claims.take(["cells"])  # until this ends
    folders = pretrain(configuration, windows, others, folds, output / "models")
    certificate = sigvit.certify(windows, folds, pretrained={fold.number: sorted(set(folders[fold.number].values())) for fold in folds})
    certificate.write(output / "certificate.json")
    console.print(f"{windows.name}: {len(windows)} windows, {len(folds)} folds; the certificate says: {certificate.verdict}.")
    made = make_starts(configuration, windows, folders)
    done = read_cells(output / "cells.csv")
    for fold, shots, runs in missing_cells(configuration, folds, made, done):
        append(output / "cells.csv", judge(configuration, windows, fold, shots, {run: made[run[0]](fold, run[1]) for run in runs}))
    cells = read_cells(output / "cells.csv").query("seed < @configuration.seeds")
    overlap = overlap_of(configuration, folds)
    (output / "transfer.md").write_text(report(cells, configuration, certificate.verdict, overlap), encoding="utf-8")
    for tuning in configuration.tunings:
        draw(cells, configuration.shots, tuning, overlap).savefig(output / f"curves_{tuning}.png", dpi=150)
    console.print((output / "transfer.md").read_text(encoding="utf-8"), highlight=False)
    return cells


def require_named(configuration: Configuration) -> None:
    """ValueError for a comparison of nothing, and for an option that nothing reads."""
    if not configuration.shots or not configuration.tunings or not configuration.through or configuration.seeds < 1:
        told = f"--shots are {configuration.shots}, --tunings {configuration.tunings}, --through {configuration.through} and --seeds {configuration.seeds}"
        raise ValueError(f"{told}: each names at least one.")
    if configuration.image_model is None:
        require_unset(configuration, ("through",), "it is for image models, and --image-model names none")


def check_shots(configuration: Configuration, windows: sigvit.Windows, folds: list[sigvit.Fold]) -> None:
    """ValueError where a fold has fewer labelled trials of a class than a column of the table would say."""
    counts = {fold.number: pd.Series(windows.labels[fold.train]).value_counts().reindex(windows.classes, fill_value=0) for fold in folds}
    number = min(counts, key=lambda each: counts[each].min())
    fewest = int(counts[number].min())
    if min(configuration.shots) < 0 or max(configuration.shots) > fewest:
        raise ValueError(
            f"--shots are numbers of labelled trials of each class, or {ALL} for all, but are {configuration.shots}; "
            f"in fold {number} training has {fewest} of {counts[number].idxmin()!r}."
        )


def require_possible(configuration: Configuration, windows: sigvit.Windows, others: list[sigvit.Windows]) -> None:
    """ValueError or OSError for what would be refused after the folder is claimed: a model that can't be made of these windows, or a recipe."""
    starts.fresh(windows, sizes_of(configuration), seed=0)
    if others and not has_places(windows):
        raise ValueError(f"None of the electrodes of {windows.name} has a known place, so that no model of other caps can start one; leave --others out.")
    if configuration.image_model is not None:
        for through in configuration.through:
            starts.of_image(configuration.image_model, windows, through, configuration.window_s, random=False, seed=0)
    pretraining(configuration).recipe()
    fine_tuning(configuration)


def sizes_of(configuration: Configuration) -> starts.Sizes:
    return starts.Sizes(configuration.width, configuration.depth, configuration.window_s)


def pretraining(configuration: Configuration) -> starts.Training:
    return starts.Training(configuration.objective, configuration.pretraining_steps, configuration.batch_size, configuration.learning_rate)


def fine_tuning(configuration: Configuration) -> Recipe:
    return Recipe(
        steps=configuration.steps,
        batch_size=configuration.batch_size,
        learning_rate=configuration.learning_rate,
        warmup_steps=configuration.steps // 10,
        ema_decay=0.9,
        time_shift=0.05,
    )


def pretrain(
    configuration: Configuration, windows: sigvit.Windows, others: list[sigvit.Windows], folds: list[sigvit.Fold], folder: Path
) -> dict[int, dict[tuple[str, int], str]]:
    """Fold number → (start, seed) → folder of the model; those of other recordings serve all folds."""
    sizes, how = sizes_of(configuration), pretraining(configuration)
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
    sizes = sizes_of(configuration)
    made: dict[str, Start] = {"scratch": lambda fold, seed: starts.fresh(windows, sizes, seed)}
    for name in dict.fromkeys(name for names in folders.values() for name, _ in names):
        made[name] = lambda fold, seed, name=name: sigvit.VisionTransformer.from_pretrained(folders[fold.number][name, seed])  # type: ignore[misc]
    image = configuration.image_model
    for through in configuration.through if image is not None else ():
        assert image is not None
        for random in (True, False):
            name = f"image {'shape, scratch' if random else 'weights'} ({through})"
            made[name] = lambda fold, seed, through=through, random=random: starts.of_image(  # type: ignore[misc]
                image, windows, through, configuration.window_s, random, seed
            )
    return made


def missing_cells(
    configuration: Configuration, folds: list[sigvit.Fold], made: dict[str, Start], done: pd.DataFrame
) -> Iterator[tuple[sigvit.Fold, int, list[tuple[str, int]]]]:
    """Fold, shots, and the (start, seed) that aren't judged there yet, all of which are trained at once."""
    there = set(zip(done["fold"], done["shots"], done["start"], done["seed"], strict=True))
    for fold in folds:
        for shots in configuration.shots:
            runs = [(name, seed) for seed in range(configuration.seeds) for name in made if (fold.number, shots, name, seed) not in there]
            if runs:
                yield fold, shots, runs


def judge(
    configuration: Configuration, windows: sigvit.Windows, fold: sigvit.Fold, shots: int, models: dict[tuple[str, int], sigvit.VisionTransformer]
) -> list[dict[str, Any]]:
    """Each (start, seed)'s and tuning's score on the fold's test part. The scale is that of the whole training part, which needs no labels."""
    scaling = Scaling.of(windows.values[fold.train])
    tested = scaling(windows.values[fold.test])
    # The same draws for every start and tuning, smaller ones inside larger ones.
    labelled = {seed: labelled_windows(windows, fold, shots, seed, scaling) for seed in {seed for _, seed in models}}
    scores = []
    for tuning in configuration.tunings:
        for (name, seed), model in tune(configuration, models, tuning, labelled).items():
            told = score_predictions(windows.labels[fold.test], model(tested).double().numpy(), windows.classes)
            row = {"start": name, "tuning": tuning, "shots": shots, "fold": fold.number, "seed": seed, "labelled": len(labelled[seed][1])}
            scores.append(row | {"score": told["score"], "metric": told["metric"]})
    return scores


def labelled_windows(windows: sigvit.Windows, fold: sigvit.Fold, shots: int, seed: int, scaling: Scaling) -> tuple[Tensor, Tensor]:
    """Values and class numbers of so many windows of each class of the training part, or of all of it."""
    numbers = torch.as_tensor(np.unique(windows.labels, return_inverse=True)[1], dtype=torch.int64)
    rows = fold.train if shots == ALL else fold.train[few_shot.draw(numbers[fold.train], shots, derive_seed(seed, "labelled", fold.number)).numpy()]
    return scaling(windows.values[rows]), numbers[rows]


def tune(
    configuration: Configuration, models: dict[tuple[str, int], sigvit.VisionTransformer], tuning: str, labelled: dict[int, tuple[Tensor, Tensor]]
) -> dict[tuple[str, int], Callable[[Tensor], Tensor]]:
    """What gives (windows, classes) probabilities for each model, which is copied; of ridge the softmax of its scores."""
    copies = {run: copy.deepcopy(model) for run, model in models.items()}
    if tuning == "ridge":
        return {run: ridge(model.eval(), *labelled[run[1]]) for run, model in copies.items()}
    for (_, seed), model in copies.items():
        choose_trained(model, "all" if tuning == "full" else "lora", seed=seed)
    recipe = fine_tuning(configuration)
    train_many([Member(model, *labelled[seed], recipe, seed, model.config.num_classes) for (_, seed), model in copies.items()])
    return {run: partial(probabilities_of, merge(model).eval()) for run, model in copies.items()}


def ridge(model: sigvit.VisionTransformer, values: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
    """Closed form, on frozen features."""
    fitted = few_shot.fit_ridge(in_parts(model.features, values).double(), targets, model.config.num_classes)
    return lambda tested: fitted.scores(in_parts(model.features, tested).double()).softmax(1)


def probabilities_of(model: nn.Module, tested: Tensor) -> Tensor:
    return in_parts(model, tested).softmax(1)


@torch.no_grad()
def in_parts(function: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    return torch.cat([function(part) for part in values.split(256)])


def report(cells: pd.DataFrame, configuration: Configuration, verdict: str, overlap: float) -> str:
    """Per tuning a table: a row a start, a column a number of trials; the mean score, and the gain over scratch with its interval."""
    metric, n_folds = cells["metric"].iloc[0], cells["fold"].nunique()
    lines = [
        f"# Transfer: {configuration.dataset}, {configuration.protocol}",
        "",
        f"Mean {metric} over {n_folds} folds and {configuration.seeds} seeds; in brackets the gain over the same model from scratch, same folds, seeds and "
        f"labelled trials, with its 95 % interval (Student's t over folds, seeds averaged first"
        f"{f', the variance enlarged for training parts that overlap by {overlap:.2f} (Nadeau & Bengio 2003)' if overlap else ''}). "
        "One that holds 0 shows no gain.",
        f"Pre-training: {configuration.objective}, {configuration.pretraining_steps} steps; fine-tuning: {configuration.steps} steps. Certificate: {verdict}.",
    ]
    for tuning in configuration.tunings:
        table = scores_of(cells, tuning)
        lines += [
            "",
            f"## {tuning}",
            "",
            f"| start | {' | '.join(words(shots) for shots in configuration.shots)} |",
            "|---" * (len(configuration.shots) + 1) + "|",
        ]
        for start in cells["start"].unique():
            entries = [entry(table, start, shots, overlap) for shots in configuration.shots]
            lines.append(f"| {start} | {' | '.join(entries)} |")
    return "\n".join(lines) + "\n"


def scores_of(cells: pd.DataFrame, tuning: str) -> pd.Series:
    """By start, shots and fold, seeds averaged."""
    return cells[cells["tuning"] == tuning].groupby(["start", "shots", "fold"])["score"].mean().sort_index()


def draw(cells: pd.DataFrame, shots: tuple[int, ...], tuning: str, overlap: float) -> Figure:
    """Learning curves: of every start the mean score over labelled trials, with the 95 % interval of the score itself, not of a gain."""
    table, labelled = scores_of(cells, tuning), cells.groupby("shots")["labelled"].mean()
    points = {}
    for start in cells["start"].unique():
        told = [(table[start, each], labelled[each]) for each in sorted(shots, key=labelled.get)]
        points[start] = np.array([[count, own.mean(), *np.clip(confidence_interval(own, overlap=overlap), 0, 1)] for own, count in told])
    return draw_learning_curves(points, "labelled trials (mean of folds)", f"{cells['metric'].iloc[0]}, {tuning}")


def entry(table: pd.Series, start: str, shots: int, overlap: float) -> str:
    """A cell of the table."""
    own, reference = table[start, shots], table[scratch_of(start), shots]
    if start == scratch_of(start):
        low, high = np.clip(confidence_interval(own, overlap=overlap), 0, 1)  # of scores
        return f"{own.mean():.3f} [{low:.3f}, {high:.3f}]"
    gains = (own - reference).to_numpy()
    low, high = confidence_interval(gains, overlap=overlap)
    return f"{own.mean():.3f} ({gains.mean():+.3f} [{low:+.3f}, {high:+.3f}])"


def overlap_of(configuration: Configuration, folds: list[sigvit.Fold]) -> float:
    """Test windows per training window, where folds are of the same people; other people's folds count as independent."""
    return 0.0 if configuration.protocol == "cross_subject" else float(np.mean([len(fold.test) / len(fold.train) for fold in folds]))


def scratch_of(start: str) -> str:
    """The same model without what it started from."""
    return start.replace("weights", "shape, scratch") if start.startswith("image") else "scratch"


def words(shots: int) -> str:
    return "all trials" if shots == ALL else f"{shots} a class"


def describe(configuration: Configuration, windows: sigvit.Windows, others: list[sigvit.Windows]) -> dict[str, Any]:
    """What decides the cells, for config.toml, which has no None: other windows or weights under the same name have other ones."""
    asked = {name: str(value) for name, value in asdict(configuration).items() if name not in ("output", "folder")}
    names, image = (configuration.dataset, *configuration.others), configuration.image_model
    hashes = dict(zip(names, map(windows_sha256, (windows, *others)), strict=True))
    files = [] if image is None else [image / "model.safetensors", image / "config.json"]
    image_hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {"sigvit": sigvit.__version__, "asked": asked, "windows": len(windows), "data_sha256": hashes, "image_model_sha256": image_hashes}


def read_cells(path: Path) -> pd.DataFrame:
    """What was judged before."""
    if not path.is_file():
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.read_csv(path)


def append(path: Path, scores: list[dict[str, Any]]) -> None:
    """After a kill either none or all of these are there."""
    write_atomically(path, pd.DataFrame([*read_cells(path).to_dict("records"), *scores], columns=COLUMNS).to_csv(index=False))


if __name__ == "__main__":
    with faults_in_a_sentence():
        main(tyro.cli(Configuration))

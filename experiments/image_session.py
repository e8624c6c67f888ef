"""What image_training.py and image_finetuning.py share: train a model on images, judge it once on the test part, save it."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

import torch
import tyro
from rich.console import Console
from torch import nn
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

import sigvit
from sigvit.data.images import Images, open_images, require_same_classes
from sigvit.evaluation.measure import measured_peak
from sigvit.evaluation.trace import trace_forward
from sigvit.evidence.results_folder import claim_folder
from sigvit.training.augment_images import ImageAugmentation
from sigvit.training.batches import Share
from sigvit.training.checkpoint import Checkpoints
from sigvit.training.distributed import Processes
from sigvit.training.evaluate import Evaluation, ImageEvaluation
from sigvit.training.image_batches import ImageBatches
from sigvit.training.image_run import FineTuning, ImageRun, ImageTask, ModelChoice, open_recipe, recipe_names
from sigvit.training.journal import Journal
from sigvit.training.loop import train
from sigvit.training.optimizer import make_optimizer
from sigvit.training.recipe import Recipe
from sigvit.training.same_training import FREE_FIELDS
from sigvit.whole_file import write_atomically

# Entries of config.toml that decide no weights: how the work is shared out, and where the start lies (its bytes are hashed).
FREE_ENTRIES = (*FREE_FIELDS, "start")
# The fields of the recipe and of the session stand on the command line without a prefix.
Unprefixed = tyro.conf.arg(name="")
# What --help says of the library's dataclasses: tyro would take the text behind "name :" in their docstrings for a type.
DESCRIBED = ConstructorRegistry()


@DESCRIBED.struct_rule
def described(found: StructTypeInfo) -> StructConstructorSpec | None:
    """The options of a task and of its parts, each with its line of the docstring."""
    if found.type not in (ImageRun, FineTuning, ModelChoice, ImageAugmentation, Recipe):
        return None
    kinds, said = get_type_hints(found.type), attributes(found.type)
    return StructConstructorSpec(
        found.type,
        tuple(StructFieldSpec(field.name, kinds[field.name], getattr(found.default, field.name), said.get(field.name, "")) for field in fields(found.type)),
    )


def attributes(kind: type) -> dict[str, str]:
    """What the docstrings of a class and of those above it say of each attribute: `name : text`, or `name, other : text`."""
    said: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        for names, text in re.findall(r"^(\w+(?:, \w+)*) : (.+(?:\n +.+)*)", inspect.getdoc(each) or "", re.MULTILINE):
            said |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return said


@dataclass(frozen=True)
class Session:
    """Where a training writes, and how it is shared out; nothing here changes the weights."""

    output: Path | None = None
    """Results folder; left out, results/RECIPE. Killed and started again with the same command, training goes on."""
    processes: Literal["ddp", "fsdp2"] = "ddp"
    """Under torchrun: the whole model in each process, or a share of it."""
    every: int = 100
    """Steps from one line of metrics to the next."""
    checkpoint_every: int = 1000
    """Steps from one checkpoint to the next."""
    keep: int = 3
    """Checkpoints that are kept."""
    workers: int = 4
    """Threads that decode images which aren't in memory."""
    tensorboard: bool = False
    """Write for TensorBoard as well."""


def recipe_and_rest(default: str, kind: type[ImageTask]) -> tuple[Any, list[str]]:
    """The task of the recipe named first on the command line, or the default one, and the other arguments."""
    first, *rest = [*sys.argv[1:], ""]
    name, arguments = (first, rest[:-1]) if first and not first.startswith("-") else (default, sys.argv[1:])
    try:
        task = open_recipe(name)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if not isinstance(task, kind):
        kinds = f"is of the kind {type(task).__name__}, but this script runs the kind {kind.__name__}"
        raise SystemExit(f"The recipe {name} {kinds}; the recipes are {', '.join(recipe_names())}.")
    return task, arguments


def fit(
    task: ImageTask, session: Session, make_model: Callable[[], sigvit.VisionTransformer], describe_start: Callable[[], dict[str, Any]] = dict
) -> Evaluation:
    """Train on the training part, judge once on the test part, and write config.toml, metrics.csv, checkpoints/, model/, classes.json and scores.json.

    `describe_start` says, for config.toml, what `make_model` begins from; nothing for a model from scratch.
    """
    folder = session.output or Path("results") / task.name.replace(":", "-").replace("/", "-")
    training, test = open_parts(task)
    with Processes.from_torchrun(session.processes) as processes:
        console = Console(quiet=not processes.first, soft_wrap=True)
        dtype = torch.float64 if task.recipe.dtype == "float64" else torch.float32
        model = make_model().to(processes.device, dtype)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        sizes = f"{parameters:,} parameters, {len(training):,} training images, {len(test):,} test images"
        console.print(f"{task.name}: {sizes}. {task.expectation}", *model.changes, sep="\n", highlight=False)
        batches = ImageBatches(training, task.augmentation, task.recipe, task.seed, processes.device, session.workers, task.image_size)
        require_possible(task, model, processes)
        journal = make_journal(task, session, model, folder, processes, console)
        checkpoints = Checkpoints(folder / "checkpoints", session.keep, session.checkpoint_every)
        if processes.first:
            # after all that may refuse the task, so that a mended one finds the folder free
            images = {"training_images_sha256": training.fingerprint(), "test_images_sha256": test.fingerprint()}
            claim_folder(folder, describe(task) | describe_start() | images, FREE_ENTRIES)
        train(model, batches, task.recipe, task.seed, checkpoints=checkpoints, processes=processes, journal=journal)
        recipe = task.recipe
        judge = ImageEvaluation(test, task.augmentation, task.image_size, dtype=recipe.dtype, loss=recipe.loss, processes=processes, workers=session.workers)
        score = judge(model)
        weights = processes.full(model.state_dict())
        if processes.first:
            save(folder, make_model().to(dtype), weights, training.classes, score)
            console.print(f"{len(test):,} test images: accuracy {score.accuracy:.2%}, loss {score.loss:.4f}. Model: {folder / 'model'}", highlight=False)
    return score


def open_parts(task: ImageTask) -> tuple[Images, Images]:
    """The task's training and test images; other classes than each other's, or another number than the recipe's, are an error."""
    training, test = (open_images(task.data, split, task.in_channels) for split in ("train", "test"))
    require_same_classes(training.classes, test.classes, task.data)
    if len(training.classes) != task.num_classes:
        raise ValueError(f"The recipe {task.name} is for {task.num_classes} classes, but {training.source} has {len(training.classes)}; set --num-classes.")
    return training, test


def require_possible(task: ImageTask, model: nn.Module, processes: Processes) -> None:
    """ValueError for what training would refuse after the folder is claimed: a batch that can't be cut into equal shares, an optimiser that can't be made."""
    Share(of=task.recipe.accumulation * processes.world).rows(task.recipe.batch_size)
    make_optimizer(model, task.recipe)


def make_journal(task: ImageTask, session: Session, model: nn.Module, folder: Path, processes: Processes, console: Console) -> Journal:
    """Metrics with the share of this machine's measured peak: the backward pass costs twice the forward pass."""
    flops = 3 * trace_forward(model, (task.in_channels, *task.image_size), 1, task.recipe.dtype, gpu=True).work.flops
    peak = measured_peak(processes.device, task.recipe.dtype) * processes.world
    return Journal(folder, session.every, task.recipe.batch_size, flops, peak, session.tensorboard, console)


def describe(task: ImageTask) -> dict[str, Any]:
    """What decides the weights, for config.toml, which has no None."""
    told = json.dumps(asdict(task), default=lambda number: number.item())  # numpy's, where a recipe computes with it
    return json.loads(told, object_hook=lambda pairs: {name: value for name, value in pairs.items() if value is not None and name not in FREE_FIELDS})


def save(folder: Path, model: sigvit.VisionTransformer, weights: dict[str, torch.Tensor], classes: tuple[str, ...], score: Evaluation) -> None:
    model.load_state_dict(weights)
    write_atomically(folder / "classes.json", json.dumps(classes))
    model.save_pretrained(folder / "model")
    (folder / "scores.json").write_text(json.dumps({"accuracy": score.accuracy, "loss": score.loss}, indent=1))

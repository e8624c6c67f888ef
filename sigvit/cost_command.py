"""`sigvit cost`: what a model or a recipe takes, predicted from its shapes and, where it can run here, measured."""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import dataclass, replace
from typing import Annotated

import torch
import tyro

from sigvit.evaluation.calibration import calibrate
from sigvit.evaluation.cost import Training, TrainingCost, memory_parts, training_cost
from sigvit.evaluation.flops import vit_flops
from sigvit.evaluation.hardware import GPUS_PER_MACHINE, Hardware, published, stated_prices
from sigvit.evaluation.measure import TrainingStep, inference_seconds, measured_peak, peak_memory, resident_memory
from sigvit.evaluation.trace import trace_training
from sigvit.model.families import FAMILIES, hybrid
from sigvit.model.vision_transformer import VisionTransformer, vit
from sigvit.timing import step_seconds
from sigvit.training.image_run import ImageRun, ImageTask, open_recipe
from sigvit.training.recipe import require_unset

OF_OTHER_GPUS = ("gpus", "gpu", "peak_tflops", "memory_gib", "bandwidth_gb_s", "network_gb_s", "sharded")
OWN_NETWORK_GB_S = 50.0


@dataclass(frozen=True)
class Options:
    """Memory, hours and images/s of a recipe on GPUs or on this machine; or parameters, FLOPs, memory and images/s of a model, measured here."""

    target: Annotated[str, tyro.conf.Positional]
    """A recipe ("digits", "vit_imagenet_21k:L/16", a Python file with recipe()) or a model ("B/16")."""
    model: str = ""
    """What a fine-tuning recipe starts from, such as B/16."""
    gpus: int = 1
    """How many share the batch."""
    gpu: str = ""
    """Of the table in sigvit/evaluation/hardware.py: h100, h200, a100 …; without one, this machine."""
    peak_tflops: float = 0.0
    """Dense, in the recipe's number format, of a GPU that isn't in the table."""
    memory_gib: float = 0.0
    """Of that GPU."""
    bandwidth_gb_s: float = 0.0
    """Of that GPU's memory."""
    network_gb_s: float = 0.0
    """A direction, of a GPU's way to those of other machines; 0 takes the table's, or 50 to all others of a GPU that isn't there."""
    sharded: bool = False
    """Weights, gradients and optimiser in shares (FSDP2), else whole on each GPU (DDP)."""
    threads: int = 0
    """Of this CPU; 0 leaves torch's number."""
    image_size: int = 224
    """Of a model; a recipe says its own."""
    batch: int = 0
    """Images a step; 0 takes the recipe's, or 8 of a model."""
    dtype: str = "float32"
    """Of a model: float32 or bfloat16; a recipe says its own."""


def main(arguments: list[str]) -> int:
    """Print the answer; bad input is a sentence on the error stream and exit code 2."""
    options = tyro.cli(Options, args=arguments, prog="sigvit cost", config=(tyro.conf.AvoidSubcommands,))
    try:
        require_range(options)
        if options.threads:
            torch.set_num_threads(options.threads)
        # a recipe's variant may be named as a hybrid is
        is_model = ":" not in options.target and options.target.rpartition("+")[2].partition("/")[0] in FAMILIES
        print(model_report(options) if is_model else recipe_report(options))
    except ValueError as error:
        print(f"sigvit cost: {error}", file=sys.stderr)
        return 2
    return 0


def require_range(options: Options) -> None:
    """ValueError for a number that can't be."""
    for name, least in (("gpus", 1), ("threads", 0), ("batch", 0), ("network_gb_s", 0)):
        if not least <= getattr(options, name) < math.inf:
            raise ValueError(f"{name} is {getattr(options, name)}; it must be at least {least}, and finite.")


def model_report(options: Options) -> str:
    """A model's numbers, measured on this machine's GPU or CPU."""
    require_unset(options, ("model", *OF_OTHER_GPUS), f"{options.target} is a model, which is measured on this machine")
    if hybrid(options.target)[1] is not None:
        raise ValueError(f"{options.target} is a hybrid, but only plain Vision Transformers are measured here, such as {hybrid(options.target)[0]}.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    before = resident_memory() if device.type == "cpu" else 0.0
    training = Training((3, options.image_size, options.image_size), options.batch or 8, dtype=options.dtype)
    model = vit(options.target, options.image_size)
    trace = trace_training(model, training.input_shape, training.batch, training.dtype, gpu=device.type == "cuda")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    predicted = sum(memory_parts(training, trace, parameters, training.batch).values())
    step = TrainingStep(model, training, device)
    step()
    measured = peak_memory(step, device) - before
    seconds = step_seconds([step], device, rounds=5)[0]
    forward = inference_seconds(model, step.inputs, training.dtype, rounds=5)
    peak = measured_peak(device, training.dtype)
    flops = flops_by_module(model)
    lines = [
        f"{options.target} at {options.image_size} px, batch {training.batch}, {training.dtype}, {device.type}, {torch.get_num_threads()} threads",
        f"parameters          {parameters:,}",
        f"forward, one image  {sum(flops.values()) / 1e9:.3f} GFLOP: " + ", ".join(f"{name} {count / 1e9:.3f}" for name, count in flops.items()),
        f"training            {training.batch / seconds:.1f} images/s, {3 * sum(flops.values()) * training.batch / seconds / peak:.0%} of the measured "
        f"peak of {peak / 1e12:.3g} TFLOP/s",
        f"inference           {training.batch / forward:.1f} images/s",
        f"memory of a step    {gib(measured)} measured, {gib(predicted)} predicted",
    ]
    return "\n".join(lines)


def recipe_report(options: Options) -> str:
    """A recipe's prediction, for GPUs or for this machine."""
    run = open_recipe(options.target)
    require_read(options, run)
    training = training_of(run, options.batch)
    hardware, input_s = hardware_of(options, run, training)
    cost = training_cost(meta_model(run, options.model), training, hardware, options.gpus, options.sharded, input_s)
    many = f"{options.gpus} × " if options.gpus > 1 else ""
    lines = [
        f"{run.name}: {training.steps:,} steps of {training.batch} images, {words(training)}",
        f"on {many}{hardware.name} ({hardware.source}; peak {hardware.peak_flops / 1e12:.4g} TFLOP/s each)",
        *cost_lines(cost, training, options.gpus),
    ]
    return "\n".join(lines)


def require_read(options: Options, run: ImageTask) -> None:
    """ValueError for an option that was set although nothing reads it for this recipe and these GPUs."""
    require_unset(options, ("image_size", "dtype"), f"the recipe {run.name} says its own")
    if isinstance(run, ImageRun):
        require_unset(options, ("model",), f"the recipe {run.name} trains a model of its own")
    if options.gpu:
        require_unset(options, ("peak_tflops", "memory_gib", "bandwidth_gb_s"), f"the table has those of {options.gpu}")
    if options.gpus <= (GPUS_PER_MACHINE if options.gpu else 1):
        require_unset(options, ("network_gb_s",), f"it is the way to GPUs of other machines, and --gpus {options.gpus} needs one machine")
    if options.gpu or options.peak_tflops:
        require_unset(options, ("threads",), "nothing is measured on this machine")


def cost_lines(cost: TrainingCost, training: Training, gpus: int) -> list[str]:
    """The prediction as lines."""
    verdict = {True: "fits", False: "DOES NOT FIT: more GPUs, --sharded, checkpointing or accumulation", None: "of a memory that isn't known"}[cost.fits]
    return [
        f"parameters  {cost.parameters:,}; {cost.forward_flops / 1e9:.3f} GFLOP forward, one image",
        f"time        {cost.hours:.3g} hours = {cost.hours * gpus:.3g} device hours; {cost.step_s * 1e3:.3g} ms a step, of it "
        f"{cost.communication_s * 1e3:.3g} waiting for other devices and {cost.input_s * 1e3:.3g} for the batch",
        f"speed       {cost.samples_s:,.0f} images/s, {cost.share_of_peak:.0%} of the peak",
        f"memory      {gib(cost.memory_bytes)} on each ({verdict}): " + ", ".join(f"{name} {gib(size)}" for name, size in cost.memory.items()),
    ]


def training_of(run: ImageTask, batch: int = 0) -> Training:
    """A run in plain numbers; another batch keeps the number of images seen."""
    recipe = run.recipe
    size = batch or recipe.batch_size
    return Training(
        input_shape=(run.in_channels, *run.image_size),
        batch=size,
        steps=max(1, round(recipe.steps * recipe.batch_size / size)),
        dtype=recipe.dtype,
        optimizer=recipe.optimizer,
        average=recipe.ema_decay > 0,
        accumulation=recipe.accumulation,
        compiled=recipe.compile,
    )


def meta_model(run: ImageTask, name: str = "") -> VisionTransformer:
    """The run's model, or the one that it fine-tunes, as shapes alone."""
    with torch.device("meta"):
        if isinstance(run, ImageRun):
            return run.build_model()
        if not name:
            raise ValueError(f"The recipe {run.name} fine-tunes a model that it doesn't name; say which with --model, such as --model B/16.")
        return vit(name, run.image_size, run.num_classes, run.in_channels, patch_size=getattr(run, "patch_size", None))


def hardware_of(options: Options, run: ImageTask, training: Training) -> tuple[Hardware, float]:
    """The processor that was asked for, and how long a step waits for its batch there: measured here, nothing on GPUs, which augment beside."""
    if options.gpu:
        gpu = published(options.gpu, training.dtype)
        return (replace(gpu, network_bytes_s=options.network_gb_s * 1e9) if options.network_gb_s else gpu), 0.0
    if options.peak_tflops or options.memory_gib or options.bandwidth_gb_s:
        if not all(0 < number < math.inf for number in (options.peak_tflops, options.memory_gib, options.bandwidth_gb_s)):
            raise ValueError("A GPU of your own needs --peak-tflops, --memory-gib and --bandwidth-gb-s, each above 0 and finite.")
        prices = stated_prices(options.peak_tflops * 1e12, options.bandwidth_gb_s * 1e9)
        network = (options.network_gb_s or OWN_NETWORK_GB_S) * 1e9
        name = f"a GPU of {options.peak_tflops:g} TFLOP/s"
        return Hardware(name, options.peak_tflops * 1e12, options.memory_gib * 2**30, prices, network, network, "your numbers", gpu=True), 0.0
    if options.gpus > 1:
        raise ValueError("Several GPUs need --gpu, or --peak-tflops, --memory-gib and --bandwidth-gb-s: this machine is calibrated alone.")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    input_s = input_seconds(replace(run, recipe=replace(run.recipe, batch_size=training.batch)), device)
    return calibrate(calibration_cases(training.dtype, large=device.type == "cuda"), device, rounds=3), input_s


def calibration_cases(dtype: str, large: bool = False) -> list[tuple[VisionTransformer, Training]]:
    """Small models that differ in width, depth, heads, hidden units, tokens and batch, so that their steps tell the kinds of work apart."""
    # width, depth, heads, hidden units, patches a side, batch
    small = [
        (32, 4, 2, 64, 4, 64),
        (64, 4, 4, 128, 4, 64),
        (64, 4, 2, 256, 8, 64),
        (128, 4, 4, 256, 7, 64),
        (192, 4, 3, 768, 8, 32),
        (256, 3, 4, 1024, 4, 64),
        (96, 6, 3, 192, 14, 16),
        (128, 2, 8, 512, 5, 128),
        (384, 2, 6, 1536, 7, 16),
        (48, 3, 3, 96, 10, 128),
        (112, 2, 4, 224, 8, 160),
    ]
    factor = 8 if large else 1  # of the batch: a GPU is measured where it is busy
    cases = []
    for width, depth, heads, hidden, side, batch in small:
        model = vit("Ti/2", 2 * side, 10, pool="mean", width=width, depth=depth, heads=heads, mlp_width=hidden)
        cases.append((model, Training((3, 2 * side, 2 * side), batch * factor, dtype=dtype)))
    return cases


def input_seconds(run: ImageTask, device: torch.device) -> float:
    """Median seconds that making a batch takes here; 0 where the run's images aren't here."""
    from sigvit.data.images import open_images
    from sigvit.training.image_batches import ImageBatches

    try:
        images = open_images(run.data)
    except (ValueError, FileNotFoundError, ImportError):
        return 0.0
    batches = ImageBatches(images, run.augmentation, run.recipe, run.seed, device, image_size=run.image_size)
    steps = itertools.count()
    return step_seconds([lambda: batches.batch(next(steps))], device, rounds=9)[0]


def flops_by_module(model: VisionTransformer) -> dict[str, int]:
    """The closed form for a model on images."""
    config = model.config
    patch = config.input_shape[0] * math.prod(model.tokenizer.patch_size)  # type: ignore[arg-type]
    return vit_flops(
        model.grid.n_tokens,
        patch,
        config.width,
        config.depth,
        config.mlp_width,
        config.num_classes,
        config.pool,
        config.registers + config.class_token,
        config.representation,
        config.gelu == "swiglu",
    )


def words(training: Training) -> str:
    """What it sees, how it computes and updates."""
    shape = " × ".join(map(str, training.input_shape))
    parts = [shape, training.dtype, "compiled" * training.compiled, training.optimizer, "moving average" * training.average]
    return ", ".join(filter(None, parts))


def gib(size: float) -> str:
    return f"{size / 2**30:.3g} GiB" if size >= 2**27 else f"{size / 2**20:.3g} MiB"

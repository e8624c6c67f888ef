"""Fine-tune a trained ViT on other images, at another size, patch, number of channels and classes.

    python experiments/image_finetuning.py cifar10_finetuning --start results/mnist/model
    python experiments/image_finetuning.py vit_finetuning --start B_16.npz --source google --data cifar10

The model is adapted first (`sigvit.adapt`), and what that changed is printed; then it is trained and judged as in image_training.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from faults import faults_in_a_sentence
from image_session import DESCRIBED, Session, Unprefixed, fit, recipe_and_rest

import sigvit
from sigvit.model.adapt import drop_representation, set_stochastic_depth
from sigvit.training.image_run import FineTuning
from sigvit.training.randomness import derive_seed
from sigvit.weights.read import files_of


@dataclass(frozen=True)
class Options:
    """Fine-tune a trained ViT on other images."""

    run: Annotated[FineTuning, Unprefixed]
    start: Path
    """Folder that `save_pretrained` wrote, or a file of foreign weights."""
    source: str = "sigvit"
    """Whose layout the start has: sigvit, google, timm, hugging_face, torchvision, mae, dinov2, deit or deit3."""
    made_for: tuple[int, int] | None = None
    """Pixels (rows, columns) that a file of foreign weights was made for, where it can't say them; an error that asks for image_size=… means these."""
    heads: int | None = None
    """Attention heads of foreign weights, where the file can't say them."""
    session: Annotated[Session, Unprefixed] = field(default_factory=Session)


def main(options: Options) -> float:
    return fit(options.run, options.session, lambda: adapted(options), lambda: describe_start(options)).accuracy


def adapted(options: Options) -> sigvit.VisionTransformer:
    """The start, changed into what the task needs."""
    run = options.run
    torch.manual_seed(derive_seed(run.seed, "weights"))
    start = sigvit.VisionTransformer.from_weights(options.start, options.source, options.heads, options.made_for)
    model = sigvit.adapt(start, run.image_size, run.patch_size, run.in_channels)
    if not run.representation:
        drop_representation(model)
    if run.stochastic_depth is not None:
        set_stochastic_depth(model, run.stochastic_depth)
    model.reset_head(run.num_classes)  # another task, though it may have as many classes
    return model


def describe_start(options: Options) -> dict[str, Any]:
    """What the training begins from, for config.toml: a start that was trained anew under the same name is another one."""
    said = {name: getattr(options, name) for name in ("made_for", "heads") if getattr(options, name) is not None}
    return {"start": str(options.start), "source": options.source, "start_sha256": {path.name: sha256(path) for path in files_of(options.start)}, **said}


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    with faults_in_a_sentence():
        run, arguments = recipe_and_rest("vit_finetuning", FineTuning)
        main(tyro.cli(Options, default=Options(run, start=tyro.MISSING), args=arguments, registry=DESCRIBED))

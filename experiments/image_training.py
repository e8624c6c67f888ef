"""Train an image ViT from scratch by a recipe.

    python experiments/image_training.py                                    # digits: a minute of one core
    python experiments/image_training.py mnist --recipe.batch-size 256      # any field of recipe, model and augmentation can be set; --help lists them
    torchrun --nproc-per-node 8 experiments/image_training.py vit_imagenet --data /path/of/imagenet --processes fsdp2

The recipes stand in experiments/recipes; each says what to expect. Killed and started again with the same command, training ends with the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import torch
import tyro
from faults import faults_in_a_sentence
from image_session import DESCRIBED, Session, Unprefixed, fit, recipe_and_rest

import sigvit
from sigvit.training.image_run import ImageRun
from sigvit.training.randomness import derive_seed


@dataclass(frozen=True)
class Options:
    """Train an image ViT from scratch by a recipe."""

    run: Annotated[ImageRun, Unprefixed]
    session: Annotated[Session, Unprefixed] = field(default_factory=Session)


def main(options: Options) -> float:
    return fit(options.run, options.session, lambda: make_model(options.run)).accuracy


def make_model(run: ImageRun) -> sigvit.VisionTransformer:
    torch.manual_seed(derive_seed(run.seed, "weights"))
    return run.build_model()


if __name__ == "__main__":
    with faults_in_a_sentence():
        run, arguments = recipe_and_rest("digits", ImageRun)
        main(tyro.cli(Options, default=Options(run), args=arguments, registry=DESCRIBED))

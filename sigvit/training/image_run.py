"""A run on images: everything that decides it, in one dataclass that is written beside its results."""

from __future__ import annotations

import math
import runpy
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from sigvit.model.vision_transformer import VisionTransformer, vit
from sigvit.plain_fields import plain_value
from sigvit.tokenizers.image import rows_and_columns
from sigvit.training.augment_images import ImageAugmentation
from sigvit.training.recipe import OF_RECORDINGS, Recipe, require_unset

# Of an augmentation, what evaluation needs as well.
PREPROCESSING = ("mean", "std", "evaluation_resize", "interpolation")


@dataclass(frozen=True)
class ModelChoice:
    """The model of a run, in the words of `sigvit.vit`; None leaves what the name says.

    Attributes
    ----------
    name : size and patch, "Ti/16" … "g/14", or a hybrid, "R50+B/16".
    width : length of a token.
    depth : blocks of the encoder.
    heads : of each block's attention.
    mlp_width : hidden units of each block's MLP.
    pool : what the head sees: "class" (a class token), "mean" (of the patch tokens) or "map" (attention pooling).
    class_token : whether there is one; None: only where it is the pool.
    registers : further learned tokens that only attention sees.
    positions : "learned", "factorised", "sincos", "coordinates", "rotary" or "none".
    gelu : "erf" or "tanh"; or "swiglu", a gate in its place.
    representation : a tanh layer before the head, as in the paper's pre-training.
    dropout : after the positions, attention, GELU and MLP.
    stochastic_depth : the last block's rate of skipped branches, to which it rises linearly from 0; or the first block's and the last's.
    layer_scale : start value of LayerScale; None has none.
    checkpointing : compute activations again on the way back, to save memory.
    head_bias : what the head's biases start at, instead of 0: the logarithm of a class's odds, where thousands of yes-no questions would drown the rest.
    """

    name: str = "B/16"
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    mlp_width: int | None = None
    pool: str = "class"
    class_token: bool | None = None
    registers: int = 0
    positions: str = "learned"
    gelu: str = "erf"
    representation: bool = False
    dropout: float = 0.0
    stochastic_depth: float | tuple[float, float] = 0.0
    layer_scale: float | None = None
    checkpointing: bool = False
    head_bias: float | None = None

    def __post_init__(self) -> None:
        field = self.__dataclass_fields__["stochastic_depth"]
        object.__setattr__(self, field.name, plain_value(self, field))  # config.toml has a list


@dataclass(frozen=True)
class ImageTask:
    """Images, what varies them, and how a model is trained on them.

    Attributes
    ----------
    name : of the recipe.
    data : what `sigvit.data.images.open_images` opens: "digits", "mnist", "cifar10", a folder of class folders, an .npz or parquet files.
    image_size : pixels that the model sees: (rows, columns), or an int for both.
    in_channels, num_classes : of the data.
    augmentation, recipe : what the model sees, and how it is trained.
    seed : of everything random.
    expectation : the score to expect, the time, and where both figures are from.

    Raises
    ------
    ValueError : a field of the recipe that training on images doesn't read; a size that is no number of pixels.
    """

    name: str
    data: str
    image_size: tuple[int, int] = (224, 224)
    in_channels: int = 3
    num_classes: int = 1000
    augmentation: ImageAugmentation = field(default_factory=ImageAugmentation)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    expectation: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", rows_and_columns("image_size", self.image_size))
        require_unset(self.recipe, OF_RECORDINGS, "it varies recordings; images are varied by the augmentation")
        require_unset(self.recipe, ("patience",), "images have no validation part; the test part is looked at once, at the end")


@dataclass(frozen=True)
class ImageRun(ImageTask):
    """A model trained from scratch on images.

    Attributes
    ----------
    model : which one; its images and classes are the task's.

    >>> run = ImageRun("two words", data="digits", image_size=(8, 8), in_channels=1, num_classes=10, model=ModelChoice("Ti/4", depth=1))
    >>> run.build_model().grid.shape
    (2, 2)
    """

    model: ModelChoice = field(default_factory=ModelChoice)

    def build_model(self) -> VisionTransformer:
        """A fresh model; its weights follow torch's global seed."""
        choice = self.model
        model = vit(
            choice.name,
            self.image_size,
            self.num_classes,
            self.in_channels,
            width=choice.width,
            depth=choice.depth,
            heads=choice.heads,
            mlp_width=choice.mlp_width,
            pool=choice.pool,
            class_token=choice.class_token,
            registers=choice.registers,
            positions=choice.positions,
            gelu=choice.gelu,
            representation=choice.representation,
            dropout=choice.dropout,
            stochastic_depth=choice.stochastic_depth,
            layer_scale=choice.layer_scale,
            checkpointing=choice.checkpointing,
        )
        if choice.head_bias is not None:
            nn.init.constant_(model.head.bias, choice.head_bias)
        return model


@dataclass(frozen=True)
class FineTuning(ImageTask):
    """A trained model adapted to other images: size, channels and classes are the task's.

    Attributes
    ----------
    patch_size : pixels, (rows, columns) or an int for both; None keeps the model's.
    representation : keep the model's tanh layer before the head, where it has one; the paper drops it for fine-tuning.
    stochastic_depth : the last block's rate of skipped branches, or the first block's and the last's; None keeps the model's.
    """

    patch_size: tuple[int, int] | None = None
    representation: bool = False
    stochastic_depth: float | tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        field = self.__dataclass_fields__["stochastic_depth"]
        object.__setattr__(self, field.name, plain_value(self, field))  # config.toml has a list
        if self.patch_size is not None:
            object.__setattr__(self, "patch_size", rows_and_columns("patch_size", self.patch_size))


def steps_of(epochs: float, n_images: int, batch_size: int) -> int:
    """Optimiser steps of so many epochs.

    >>> steps_of(90, 1_281_167, 1024)
    112603
    """
    if not math.isfinite(epochs):
        raise ValueError(f"epochs is {epochs}; it must be a number, and finite.")
    return round(epochs * n_images / batch_size)


def open_recipe(name: str) -> ImageTask:
    """What a recipe describes: "digits", or "deit_iii:L/16" where a recipe has variants, or the path of a Python file with a function `recipe`.

    Raises
    ------
    ValueError : there is no such recipe (the message lists those there are), no such variant of it, or it sets a field that there isn't.

    >>> open_recipe("digits").num_classes
    10
    """
    stem, _, variant = name.partition(":")
    path = Path(stem) if stem.endswith(".py") else recipe_folder() / f"{stem}.py"
    if not path.is_file():
        raise ValueError(f"There is no recipe {name!r}; there are {', '.join(recipe_names())}, or give the path of a Python file with a function recipe().")
    maker = runpy.run_path(str(path)).get("recipe")
    if not callable(maker):
        raise ValueError(f"{path} has no function recipe() that returns an ImageRun or a FineTuning.")
    try:
        return maker(variant) if variant else maker()
    except TypeError as error:
        raise ValueError(f"The recipe {name!r} can't be made: {error}.") from error


def trained_preprocessing(model: Path) -> dict[str, Any]:
    """How the training in whose folder this model lies showed images: the fields `PREPROCESSING` of its augmentation; {} where no config.toml says it.

    Raises
    ------
    ValueError : a config.toml that is damaged.
    """
    beside = model.resolve().parent / "config.toml"
    if not beside.is_file():
        return {}
    try:
        said = tomllib.loads(beside.read_text(encoding="utf-8")).get("augmentation", {})
    except ValueError as error:
        raise ValueError(f"{beside}, which says how the model was shown images, is damaged: {error}. Mend it, or take it away.") from error
    return {name: said[name] for name in PREPROCESSING if name in said}


def recipe_names() -> list[str]:
    """The recipes that come with sigvit."""
    return sorted(path.stem for path in recipe_folder().glob("[a-z]*.py"))


def recipe_folder() -> Path:
    """experiments/recipes in a checkout; in an installed package they stand beside its code."""
    package = Path(__file__).parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "experiments" / "recipes"

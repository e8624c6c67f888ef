"""The two ways to build the Vision Transformer of `sigvit.model.transformer`: `vit` for images, `signal_vit` for recordings."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from torch import nn

from sigvit.model.config import ModelConfig
from sigvit.model.families import family, hybrid
from sigvit.model.transformer import VisionTransformer
from sigvit.plain_fields import whole_number
from sigvit.tokenizers import ElectrodeTimePatches, ImagePatches
from sigvit.tokenizers.electrode_sites import check_electrodes, read_electrodes
from sigvit.tokenizers.image import rows_and_columns
from sigvit.tokenizers.resnet import ResNetPatches

__all__ = ["VisionTransformer", "signal_vit", "vit"]


def vit(
    name: str = "B/16",
    image_size: int | tuple[int, int] = 224,
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    patch_size: int | tuple[int, int] | None = None,
    width: int | None = None,
    depth: int | None = None,
    heads: int | None = None,
    mlp_width: int | None = None,
    pool: str = "class",
    class_token: bool | None = None,
    registers: int = 0,
    positions: str = "learned",
    gelu: str = "erf",
    eps: float = 1e-6,
    representation: int | bool | None = None,
    dropout: float = 0.0,
    stochastic_depth: float | tuple[float, float] = 0.0,
    layer_scale: float | None = None,
    checkpointing: bool = False,
) -> VisionTransformer:
    """A Vision Transformer for images: (batch, channels, rows, columns) → (batch, num_classes), at any size that the patch divides.

    Parameters
    ----------
    name : size and patch, "Ti/16" … "g/14", or a hybrid, "R50+B/16", whose `patch_size` is on the ResNet's feature map; `patch_size`, `width`, `depth`,
        `heads` and `mlp_width` replace what it says, and another width without an `mlp_width` has four times as many hidden units.
    image_size : pixels, an int or (rows, columns); positions are built for it, and resized at run time for other sizes.
    num_classes, in_channels : of the task and of the images.
    pool : "class", "mean", "map", or another of `ModelConfig`. Without "class" there is no class token unless `class_token=True`; it is never in the mean.
        The final LayerNorm comes before the pooling, as in big_vision.
    registers, positions, gelu, eps, dropout, stochastic_depth, layer_scale, checkpointing : see `ModelConfig`.
    representation : units of a tanh layer before the head; True for as many as the width.

    Raises
    ------
    ValueError : an unknown name, or choices that make no model.

    >>> import torch
    >>> model = vit("Ti/8", image_size=(32, 48), num_classes=10, depth=2)
    >>> model(torch.zeros(2, 3, 32, 48)).shape, model(torch.zeros(2, 3, 24, 24)).shape
    (torch.Size([2, 10]), torch.Size([2, 10]))
    """
    transformer, resnet = hybrid(name)
    size, patch = family(transformer)
    patch = patch if resnet is None else resnet.patch
    patch_size = patch if patch_size is None else patch_size
    if patch_size is None:
        raise ValueError(f"The name {name!r} has no patch; write {name}/16, or give patch_size.")
    new_width = size.width if width is None else width
    usual_mlp_width = size.mlp_width if new_width == size.width else 4 * new_width
    tokenizer: nn.Module = ImagePatches(patch_size, in_channels, new_width)
    if resnet is not None:
        tokenizer = ResNetPatches(resnet.layers, resnet.width_factor, patch_size, in_channels, new_width)
    config = ModelConfig(
        input_shape=(in_channels, *rows_and_columns("image_size", image_size)),
        num_classes=num_classes,
        width=new_width,
        depth=size.depth if depth is None else depth,
        heads=size.heads if heads is None else heads,
        mlp_width=usual_mlp_width if mlp_width is None else mlp_width,
        pool=pool,
        class_token=pool.startswith("class") if class_token is None else class_token,
        registers=registers,
        positions=positions,
        gelu=gelu,
        eps=eps,
        representation=_units(representation, new_width),
        dropout=dropout,
        stochastic_depth=stochastic_depth,
        layer_scale=layer_scale,
        checkpointing=checkpointing,
    )
    return VisionTransformer(config, tokenizer)


def signal_vit(
    electrodes: Any,
    n_times: int,
    sampling_rate: float | None = None,
    num_classes: int = 2,
    tokenizer: nn.Module | None = None,
    positions: str = "factorised",
    *,
    width: int | None = None,
    depth: int = 2,
    heads: int = 4,
    mlp_width: int | None = None,
    pool: str = "class",
    class_token: bool | None = None,
    registers: int = 0,
    gelu: str = "erf",
    eps: float = 1e-6,
    representation: int | bool | None = None,
    dropout: float = 0.0,
    stochastic_depth: float | tuple[float, float] = 0.0,
    layer_scale: float | None = None,
    checkpointing: bool = False,
) -> VisionTransformer:
    """The same model for recordings: (batch, electrodes, samples) → (batch, num_classes). Scale them to about unit variance first.

    Parameters
    ----------
    electrodes : an `mne.Info` (names, rate, positions), a list of names (positions of the 10-05 system where the name is one), or a count, for
        any multichannel series; then what is learned about an electrode is learned from its place in the order.
    n_times : samples of a recording.
    sampling_rate : hertz; taken from the info where it is left out.
    tokenizer : any module (batch, electrodes, samples) → `Tokens` with a `width`. None: all electrodes × a sixteenth of the recording, rounded up and
        at least 5 samples; the last patch is filled with zeros where it isn't full, so that no sample is lost.
    positions : "factorised" (a vector an electrode and one a time step), "learned" (one a token), "sincos", "coordinates" (a function of the place on the
        head and the second, for caps and lengths that were never seen too), "rotary" (attention turns by what lies between two tokens) or "none".
    width : length of a token; the tokenizer's, or 32.
    mlp_width : hidden units, twice the width where left out.
    depth, heads, pool, class_token, registers, gelu, eps, representation, dropout, stochastic_depth, layer_scale, checkpointing : as for `vit`.

    Raises
    ------
    ValueError : electrodes of no known kind, a rate that contradicts the info, a tokenizer of another width, other electrodes or another rate, or choices
        that make no model.

    >>> import torch
    >>> model = signal_vit(["C3", "Cz", "C4"], n_times=1000, sampling_rate=250.0, num_classes=4)
    >>> model(torch.zeros(2, 3, 1000)).shape, model.grid.shape
    (torch.Size([2, 4]), (1, 16))
    """
    count, names, sites, rate = read_electrodes(electrodes, sampling_rate)
    n_times = whole_number("n_times", n_times)
    if tokenizer is None:
        window = min(max(-(-n_times // 16), 5), n_times)
        tokenizer = ElectrodeTimePatches(count, "all", window, window, width or 32, "pad", names=names, positions=sites, sampling_rate=rate)
    found = getattr(tokenizer, "width", None)
    if not isinstance(found, Integral) or (width is not None and width != found):
        raise ValueError(f"The tokenizer's width is {found}, but the model's is {width}; a tokenizer has an int `width`, and the model takes it.")
    check_electrodes(tokenizer, names, rate)
    new_width = int(found)
    config = ModelConfig(
        input_shape=(count, n_times),
        num_classes=num_classes,
        width=new_width,
        depth=depth,
        heads=heads,
        mlp_width=2 * new_width if mlp_width is None else mlp_width,
        pool=pool,
        class_token=pool.startswith("class") if class_token is None else class_token,
        registers=registers,
        positions=positions,
        gelu=gelu,
        eps=eps,
        representation=_units(representation, new_width),
        dropout=dropout,
        stochastic_depth=stochastic_depth,
        layer_scale=layer_scale,
        checkpointing=checkpointing,
    )
    return VisionTransformer(config, tokenizer)


def _units(representation: int | bool | None, width: int) -> int | None:
    """True means the width; None and False no layer."""
    if representation is True:
        return width
    return None if representation is None or representation is False else representation

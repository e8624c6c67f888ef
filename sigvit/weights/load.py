"""Everybody's weights into our models: every tensor of the file and every parameter of the model is accounted for, or nothing is loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sigvit.model.config import ModelConfig
from sigvit.model.encoder import Mlp
from sigvit.model.positions import STRETCHABLE, FactorisedPositions, LearnedPositions
from sigvit.model.random_state import borrowed_random_state
from sigvit.model.resize import resize_positions
from sigvit.tokenizers import ResNetPatches
from sigvit.tokenizers.image import rows_and_columns
from sigvit.weights import architecture
from sigvit.weights.read import read
from sigvit.weights.sources import SIGVIT, layouts
from sigvit.weights.tables import front_rows, locate, place, token_stride
from sigvit.weights.translate import Found, translate

if TYPE_CHECKING:
    from sigvit.model.vision_transformer import VisionTransformer

logger = logging.getLogger(__name__)
HEAD = ("head.weight", "head.bias")
UNPLACED = "positions that can't be placed"


def load_weights(
    model: VisionTransformer,
    weights: str | Path | Mapping[str, Any],
    source: str,
    image_size: int | tuple[int, int] | None = None,
    *,
    gelu: str | None = None,
    eps: float | None = None,
) -> VisionTransformer:
    """Give a model the weights of a file, folder or state dict of another code; the same model comes back.

    Parameters
    ----------
    model : of the file's architecture; its grid may be another: positions are resized by the source's own method.
    weights : a path (.npz, .safetensors, PyTorch's files, a folder with one of them and config.json) or a dictionary of tensors, which isn't changed.
    source : "google" (vision_transformer, AugReg, big_vision, hybrids), "timm", "hugging_face" (ViT, DINOv2), "torchvision", "mae", "dinov2", "deit", "deit3"
        or "sigvit".
    image_size : pixels of the images that the file was made for, where its table of positions leaves a doubt: an int or (rows, columns).
    gelu, eps : of the file, where they aren't what its source always has (config.json and our own .npz say them). They are set in the model.

    A file without a head leaves a new head, which is all zero, as it is. What training alone needed (mask tokens, decoders, other towers) is dropped.
    Both are logged, and so is a table that was resized. Of our own files what tokenizers measured is loaded too; a folder's scaling isn't, which is logged.

    Raises
    ------
    FileNotFoundError, TypeError : see `sigvit.weights.read`.
    ValueError : tensors of the file that have no place in the model, parameters that the file lacks, wrong shapes, whole or complex numbers, NaN and infinity,
        other heads, another pool: all are listed, and the model is as it was. Also a file that holds more than data, tensors that aren't dense, weights beside
        those under a wrapper, a GELU or eps that there isn't, and a model on the device "meta", which keeps no numbers.

    >>> from sigvit import vit
    >>> model, other = (vit("Ti/8", image_size=32, num_classes=5, depth=2) for _ in range(2))
    >>> load_weights(model, other.state_dict(), source="sigvit") is model
    True
    """
    found = translate(read(weights, layouts(source)), source)
    return _load(model, found, _pair(image_size) or found.facts.image_size, _gelu(found, gelu), _first(eps, found.facts.eps))


def from_weights(
    weights: str | Path | Mapping[str, Any],
    source: str,
    heads: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    *,
    gelu: str | None = None,
    eps: float | None = None,
    pool: str | None = None,
) -> VisionTransformer:
    """The model that a file, folder or state dict of another code describes, with its weights, in evaluation mode.

    Sizes, patch, channels, classes, pooling, registers and LayerScale are read from names and shapes; GELU and eps are the source's (or config.json's).

    Parameters
    ----------
    weights, source, gelu, eps : as for `load_weights`.
    heads : attention heads, where neither the file nor the usual width says them.
    pool : of a file with a class token, whose names and shapes are the same whether "class" or "mean" is read (timm's global_pool="avg" with fc_norm=False);
        left out, what a config.json of timm says, else "class". Without a head it may be "class_and_mean" too.
    image_size : pixels that the file was made for, where its positions aren't square, or there is no table of them: an int or (rows, columns).

    A file without a head (MAE, DINOv2) gives a model whose head is new, at zero, for one class: use `features` or `encode`, or call `reset_head(classes)`.

    Raises
    ------
    ValueError : as for `load_weights`, or something that the file can't say; the sentence asks for it. A pool that the file contradicts. With
        source="sigvit", anything beside the folder, which says all of it itself.

    >>> from sigvit import vit
    >>> from sigvit.weights.export import timm_state_dict
    >>> model = from_weights(timm_state_dict(vit("Ti/8", image_size=32, num_classes=5, depth=2)), source="timm")
    >>> model.config.heads, model.config.input_shape, model.config.num_classes
    (3, (3, 32, 32), 5)
    """
    from sigvit.model.vision_transformer import VisionTransformer

    if source == "sigvit":
        return _own(weights, {"heads": heads, "image_size": image_size, "gelu": gelu, "eps": eps, "pool": pool})
    found = translate(read(weights, layouts(source)), source)
    found.account.settle(found.where)
    size = _pair(image_size) or found.facts.image_size
    gelu, eps = _gelu(found, gelu), _first(eps, found.facts.eps)
    with borrowed_random_state():  # the start values are drawn and thrown away; the caller's random numbers aren't touched
        config, tokenizer = architecture.describe(found, heads, size, gelu, eps, pool)
        model = VisionTransformer(config, tokenizer)
    return _load(model, found, (config.input_shape[1], config.input_shape[2]), gelu, eps).eval()


def _gelu(found: Found, given: str | None) -> Any:
    """What is given, else the file's; whether it is a gate, tensors tell."""
    said = found.facts.gelu
    if given not in (None, said) and "swiglu" in (given, said):
        raise ValueError(f"gelu is {given!r}, but the tensors of {found.where} are of MLPs with {said!r}; leave gelu out.")
    return _first(given, said)


def _own(weights: str | Path | Mapping[str, Any], choices: dict[str, Any]) -> VisionTransformer:
    from sigvit.weights.pretrained import from_pretrained

    if isinstance(weights, Mapping):
        raise ValueError("A state dict of our own doesn't say what model it is of; build the model and call load_weights, or use save_pretrained.")
    given = [f"{name}={value!r}" for name, value in choices.items() if value is not None]
    if given:
        raise ValueError(f"A folder of our own says itself what model it is of, so leave {', '.join(given)} out; sigvit.adapt makes a model for other images.")
    return from_pretrained(weights)


def _load(model: VisionTransformer, found: Found, image_size: tuple[int, int] | None, gelu: str | None, eps: float | None) -> VisionTransformer:
    """All or nothing."""
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError("The model was built on the device 'meta', which keeps no numbers; build it on another, or call model.to_empty(device=…) first.")
    config = replace(model.config, gelu=_first(gelu, model.config.gelu), eps=_first(eps, model.config.eps))
    _place_positions(model, found, image_size)
    expected = _expected(model)
    if found.layout is SIGVIT:
        for name in found.tensors.keys() & (model.state_dict().keys() - expected.keys()):  # what the model has computed itself
            del found.tensors[name]
    headless = not any(name in found.tensors for name in HEAD)
    _compare(expected, model, found, headless)
    found.account.settle(found.where)
    if isinstance(model.tokenizer, ResNetPatches) and found.layout is not SIGVIT:
        model.tokenizer.follow(found.facts.standardisation)
    _follow(model, config)
    with torch.no_grad():
        for name, tensor in found.tensors.items():
            expected[name].copy_(tensor)
    if headless:
        logger.info("%s has no head; the model's is new, at zero.", found.where)
    if found.facts.scaling is not None:
        logger.info("The scaling beside %s wasn't taken; VisionTransformer.from_pretrained gives a model that has it.", found.where)
    if found.dropped:
        logger.info("Of %s these were dropped, which training alone needed: %s.", found.where, ", ".join(found.dropped))
    return model


def _expected(model: VisionTransformer) -> dict[str, Tensor]:
    """What a file has to hold: parameters and what was measured, but nothing that the architecture alone says (tables of sines, the order of electrodes)."""
    learned = dict(model.named_parameters())
    tensors = model.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in tensors.items() if name in learned or not (name.startswith("positions.") or name.endswith(".order"))}


def _place_positions(model: VisionTransformer, found: Found, image_size: tuple[int, int] | None) -> None:
    """The file's table on the model's grid; one that can't be placed stays as it is, for the account."""
    tensors, positions = found.tensors, model.positions
    if isinstance(positions, FactorisedPositions):
        _stretch(tensors, positions)
    if "positions" not in tensors:
        return
    if not isinstance(positions, LearnedPositions):
        if found.layout is SIGVIT:
            del tensors["positions"]  # sines and cosines, which the model has computed
        return
    try:
        front, grid = _locate(found, positions, image_size)
    except ValueError as error:
        found.account.add(UNPLACED, str(error))
        del tensors["positions"]
        return
    if grid != positions.shape:
        logger.info("The positions of %s were resized from %s to %s as its source does (%s).", found.where, grid, positions.shape, found.layout.resize)
    place(tensors, front, grid, positions.shape, found.layout.resize)


def _stretch(tensors: dict[str, Tensor], positions: FactorisedPositions) -> None:
    """Tables of single axes, which images of another size have longer or shorter."""
    for name, size in zip(positions.names, positions.shape, strict=True):
        table = tensors.get(f"positions.tables.{name}")
        if name in STRETCHABLE and table is not None and table.ndim == 2 and len(table) != size:
            tensors[f"positions.tables.{name}"] = resize_positions(table, (len(table),), (size,))
            logger.info("The positions along %s were resized from %d to %d.", name, len(table), size)


def _locate(found: Found, positions: LearnedPositions, image_size: tuple[int, int] | None) -> tuple[int, tuple[int, ...]]:
    """Special rows and grid of the file's table; ValueError where they aren't known, or the model's axes can't be resized to it."""
    rows, fronts = len(found.tensors["positions"]), front_rows(found.layout, found.tensors)
    widths = [found.tensors[name].shape[-1] for name in ("positions", "register_tokens") if name in found.tensors]
    if widths[0] != widths[-1]:
        raise ValueError(f"The file's positions are vectors of {widths[0]} numbers, but its register tokens of {widths[-1]}.")
    if set(positions.names) <= set(STRETCHABLE):
        return locate(rows, fronts, found.layout.grids, token_stride(found.tensors), image_size, positions.shape)
    front = rows - prod(positions.shape)
    if front not in fronts:
        raise ValueError(f"The file has {rows} positions, but the model {prod(positions.shape)} on {' × '.join(positions.names)}, which can't be resized.")
    return front, positions.shape


def _compare(expected: Mapping[str, Tensor], model: VisionTransformer, found: Found, headless: bool) -> None:
    """Everything that doesn't fit, into the account."""
    tensors, account = found.tensors, found.account
    for name in sorted(tensors.keys() - expected.keys()):
        account.add("tensors of the file that the model has no place for", f"{name} {tuple(tensors[name].shape)}")
    missing = sorted(expected.keys() - tensors.keys())
    if headless and not any(expected[name].any() for name in HEAD):
        missing = [name for name in missing if name not in HEAD]
    elif headless:
        account.add("the file has no head, and the model's is not new; call model.reset_head(classes) first", ", ".join(HEAD))
    if UNPLACED in account.problems:
        missing = [name for name in missing if not name.startswith("positions.")]
    for name in missing:
        account.add("parameters of the model that the file lacks", f"{name} {tuple(expected[name].shape)}")
    for name, tensor in tensors.items():
        if name in expected and tensor.shape != expected[name].shape:
            account.add("wrong shapes", f"{name} is {tuple(tensor.shape)} in the file, {tuple(expected[name].shape)} in the model")
        elif name in expected and (fault := _fault(tensor, expected[name].dtype)):
            account.add(f"tensors of the file that {fault}", name)
    heads, pool = found.facts.heads, found.facts.pool
    if heads is not None and heads != model.config.heads:
        account.add("other attention heads", f"{heads} in the file, {model.config.heads} in the model")
    if pool is not None and not headless and pool != model.config.pool:
        account.add("another pool", f"{pool!r} in the file, {model.config.pool!r} in the model")


def _fault(tensor: Tensor, dtype: torch.dtype) -> str | None:
    """Why these numbers are no weights of that format, as the end of a sentence."""
    if tensor.dtype.is_floating_point != dtype.is_floating_point:
        return f"hold {tensor.dtype} instead of {'floating-point numbers' if dtype.is_floating_point else dtype}"
    if not tensor.to(dtype).isfinite().all():
        return f"hold NaN or infinity as {dtype}"
    return None


def _follow(model: VisionTransformer, config: ModelConfig) -> None:
    """The config with GELU and eps of the source, and the modules that have them."""
    model.config = config
    for module in model.modules():
        if isinstance(module, Mlp):
            module.approximate = "tanh" if model.config.gelu == "tanh" else "none"
        if isinstance(module, nn.LayerNorm):
            module.eps = model.config.eps


def _first(*choices: Any) -> Any:
    """The first that is one."""
    return next((choice for choice in choices if choice is not None), None)


def _pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return None if size is None else rows_and_columns("image_size", size)

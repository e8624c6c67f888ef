"""The architecture that a file's tensors describe."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from sigvit.model.config import ModelConfig
from sigvit.model.families import FAMILIES
from sigvit.tokenizers import ImagePatches, ResNetPatches
from sigvit.weights.tables import front_rows, locate, token_stride
from sigvit.weights.translate import Found

NEEDED = ("tokenizer.weight", "encoder.blocks.0.attention.qkv.weight", "encoder.blocks.0.mlp.inner.weight")
# Axes of what is measured here; others' shapes are compared with the model's.
AXES = {"tokenizer.weight": 4, "tokenizer.root.weight": 4, "encoder.blocks.0.mlp.inner.weight": 2, "representation.0.weight": 2, "head.weight": 2}


def describe(
    found: Found, heads: int | None, image_size: tuple[int, int] | None, gelu: str, eps: float, pool: str | None = None
) -> tuple[ModelConfig, nn.Module]:
    """The config and the tokenizer of the model whose weights these are; a file without a head gives a model for one class.

    Raises
    ------
    ValueError : tensors are missing that every model has, or something that tensors can't say is unknown; the sentence asks for it. A pool
        that they contradict.
    """
    tensors = found.tensors
    missing = [name for name in NEEDED if name not in tensors]
    if missing:
        raise ValueError(f"{found.where} has no {', '.join(missing)} under any name of its source, so it describes no model.")
    for name, axes in AXES.items():
        if name in tensors and tensors[name].ndim != axes:
            raise ValueError(f"{name} of {found.where} is {tuple(tensors[name].shape)}, but should have {axes} axes.")
    width = tensors["tokenizer.weight"].shape[0]
    positions = _positions(found)
    rows, columns = _image_size(found, positions, image_size)
    tokenizer = _tokenizer(tensors, width)
    registers = len(tensors["register_tokens"]) if "register_tokens" in tensors else 0
    config = ModelConfig(
        input_shape=(tokenizer.in_channels, rows, columns),
        num_classes=len(tensors["head.weight"]) if "head.weight" in tensors else 1,
        width=width,
        depth=1 + max(int(number) for number in _numbers(tensors, "encoder.blocks.")),
        heads=_heads(found, width, heads),
        mlp_width=len(tensors["encoder.blocks.0.mlp.inner.weight"]) // (2 if gelu == "swiglu" else 1),
        pool=_pool(found, width, pool),
        class_token="class_token" in tensors,
        registers=registers,
        positions=positions,
        gelu=gelu,
        eps=eps,
        representation=len(tensors["representation.0.weight"]) if "representation.0.weight" in tensors else None,
        layer_scale=1.0 if "encoder.blocks.0.scale_attention" in tensors else None,
    )
    return config, tokenizer


def _tokenizer(tensors: Mapping[str, Tensor], width: int) -> ImagePatches | ResNetPatches:
    _, channels, rows, columns = tensors["tokenizer.weight"].shape
    root = tensors.get("tokenizer.root.weight")
    if root is None:
        return ImagePatches((rows, columns), channels, width)
    stages = sorted(_numbers(tensors, "tokenizer.stages."), key=int)
    layers = [len(_numbers(tensors, f"tokenizer.stages.{stage}.")) for stage in stages]
    return ResNetPatches(layers, len(root) // 64, (rows, columns), root.shape[1], width)


def _numbers(tensors: Mapping[str, Tensor], prefix: str) -> set[str]:
    """The numbers that stand behind a prefix."""
    return {found[1] for name in tensors if (found := re.match(re.escape(prefix) + r"(\d+)\.", name))}


def _positions(found: Found) -> str:
    if "positions" in found.tensors:
        return "learned"
    if found.layout.without_table is None:
        raise ValueError(f"{found.where} has no table of positions, which files of this source have.")
    return found.layout.without_table


def _image_size(found: Found, positions: str, image_size: tuple[int, int] | None) -> tuple[int, int]:
    """The size that the positions were made for."""
    stride = token_stride(found.tensors)
    if positions != "learned":
        if image_size is None:
            raise ValueError(f"{found.where} has no table of positions (they are {positions!r} then), so say the images' size with image_size=(rows, columns).")
        return image_size
    assert stride is not None  # the projection has four axes
    _, grid = locate(len(found.tensors["positions"]), front_rows(found.layout, found.tensors), found.layout.grids, stride, image_size, None)
    return image_size or (grid[0] * stride[0], grid[1] * stride[1])


def _heads(found: Found, width: int, heads: int | None) -> int:
    """What is given, else what the file says, else what the family of this width has, else what all models of its source have."""
    said = found.facts.heads
    if heads is not None and said is not None and heads != said:
        raise ValueError(f"{found.where} says {said} heads, but heads={heads} was given.")
    of_source = width // found.layout.head_width if found.layout.head_width else None
    known = heads or said or next((size.heads for size in FAMILIES.values() if size.width == width), of_source)
    if not known:
        widths = ", ".join(str(size.width) for size in FAMILIES.values())
        raise ValueError(f"{found.where} can't say how many heads attention has, and a width of {width} is unusual (usual are {widths}); give heads=….")
    return known


def _pool(found: Found, width: int, pool: str | None) -> str:
    """What is given, where the file leaves it open, else the usual."""
    possible = _pools(found, width)
    if pool is not None and pool not in possible:
        raise ValueError(f"{found.where} describes a model with the pool {' or '.join(map(repr, possible))}, but pool={pool!r} was given.")
    return pool or possible[0]


def _pools(found: Found, width: int) -> tuple[str, ...]:
    """Those that the file may mean, the usual one first, or its config's; where a head was trained on it, that alone."""
    tensors = found.tensors
    said = found.facts.pool
    if said is not None and "head.weight" in tensors:
        return (said,)
    if "pool.probe" in tensors:
        return ("map",)
    if "pool.mean_norm.weight" in tensors:
        return ("mean_then_norm",)
    if found.distilled:
        return ("class_and_register",)
    if "class_token" not in tensors:
        return ("mean",)
    inputs = tensors.get("representation.0.weight", tensors.get("head.weight"))
    if inputs is not None and inputs.shape[1] == 2 * width:
        return ("class_and_mean",)
    possible = ("class", "mean") if inputs is not None else ("class", "mean", "class_and_mean")
    return tuple(sorted(possible, key=lambda pool: pool != said))

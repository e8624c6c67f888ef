"""Our models for others: Google's .npz and timm's state dict. The tables that read these layouts are read the other way round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sigvit.model.positions import SincosPositions
from sigvit.tokenizers import ResNetPatches
from sigvit.weights import google, timm
from sigvit.weights.forms import FORMS
from sigvit.weights.layout import Layout, fill, match
from sigvit.weights.read import OWN_ENTRY
from sigvit.whole_file import whole_file

if TYPE_CHECKING:
    from sigvit.model.vision_transformer import VisionTransformer


def save_npz(model: VisionTransformer, path: str | Path) -> None:
    """Write a model's weights in Google's layout, that of the paper's checkpoints; float32, bit-equal when they are loaded again.

    Google's code computes with the tanh GELU, eps 1e-6 and square grids, standardises a hybrid's filters in its own way, and takes no mean beside a class
    token. Where the model is another, the file has one more entry, "sigvit", that says so to `load_weights` and `from_weights`; other readers pass it over,
    and compute something else.

    Raises
    ------
    ValueError : the layout has no names for some of the model's parameters, such as registers or LayerScale; they are listed. Also a model of recordings, and
        positions that are neither learned nor sincos.

    >>> from sigvit import vit
    >>> save_npz(vit("Ti/8", image_size=32, num_classes=5, depth=1, gelu="tanh"), getfixture("tmp_path") / "model.npz")
    >>> sorted(np.load(getfixture("tmp_path") / "model.npz"))[:3]
    ['Transformer/encoder_norm/bias', 'Transformer/encoder_norm/scale', 'Transformer/encoderblock_0/LayerNorm_0/bias']
    """
    arrays = {name: tensor.float().contiguous().numpy() for name, tensor in _renamed(model, google.PAPER, "Google's layout").items()}
    config, standardisation = model.config, getattr(model.tokenizer, "standardisation", google.PAPER.standardisation)
    said = {"heads": config.heads, "image_size": list(config.input_shape[1:]), "gelu": config.gelu, "eps": config.eps, "pool": config.pool}
    usual = (google.PAPER.gelu, google.PAPER.eps, google.PAPER.standardisation)
    mean_beside_class = config.pool == "mean" and config.class_token
    if (config.gelu, config.eps, standardisation) != usual or len(set(model.grid.shape)) > 1 or mean_beside_class:
        arrays[OWN_ENTRY] = np.array(json.dumps(said | {"standardisation": standardisation}))
    with whole_file(Path(path)) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def timm_state_dict(model: VisionTransformer) -> dict[str, Tensor]:
    """A model's weights under timm's names, as copies, for `timm.models.vision_transformer.VisionTransformer(**timm_arguments(model))`.

    Positions have a row for each special token; a register's is zero, because here its token and its position are one vector. Sincos positions, of which
    timm knows nothing, are written as the table that they are. No tensor tells a mean beside a class token: `timm_arguments` does, and who reads the tensors
    into a model of ours says `from_weights(…, pool="mean")`.

    Raises
    ------
    ValueError : timm has no names for some of the model's parameters; they are listed. Also a model of recordings, and rotary positions.

    >>> from sigvit import vit
    >>> timm_state_dict(vit("Ti/8", image_size=32, num_classes=5, depth=1))["pos_embed"].shape
    torch.Size([1, 17, 192])
    """
    renamed = _renamed(model, timm.LAYOUT, "timm")
    if isinstance(model.tokenizer, ResNetPatches) and not model.tokenizer.layers:  # timm's ResNet of a root alone isn't called stem
        return {name.replace("backbone.stem.", "backbone."): tensor for name, tensor in renamed.items()}
    return renamed


def timm_arguments(model: VisionTransformer) -> dict[str, object]:
    """What timm's `VisionTransformer` is built with to compute what this model computes; a hybrid's `embed_layer`, and of a model with gates
    `mlp_layer` (`timm.layers.SwiGLUPacked`), are left to the caller.

    Raises
    ------
    ValueError : a model of recordings, rotary positions, or a pool that timm doesn't have.

    >>> from sigvit import vit
    >>> timm_arguments(vit("Ti/8", image_size=32, num_classes=5, depth=1))["global_pool"]
    'token'
    """
    config = model.config
    _check(model, timm.LAYOUT, "timm")
    channels, *size = config.input_shape
    return {
        "img_size": tuple(size),
        "patch_size": getattr(model.tokenizer, "patch_size", None),
        "in_chans": channels,
        "num_classes": config.num_classes,
        "global_pool": {"class": "token", "mean": "avg", "mean_then_norm": "avg", "map": "map"}[config.pool],
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.heads,
        "mlp_ratio": (config.mlp_width * (2 if config.gelu == "swiglu" else 1) + 0.5) / config.width,  # timm rounds the product down
        "init_values": config.layer_scale,
        "pos_embed": "none" if config.positions == "none" else "learn",
        "class_token": config.class_token,
        "reg_tokens": config.registers,
        "fc_norm": config.pool == "mean_then_norm",
        "act_layer": {"erf": "gelu", "tanh": "gelu_tanh", "swiglu": "silu"}[config.gelu],
        "norm_layer": lambda width, **rest: torch.nn.LayerNorm(width, eps=config.eps, **rest),
    }


def _renamed(model: VisionTransformer, layout: Layout, reader: str) -> dict[str, Tensor]:
    """The model's parameters in a layout's names and forms, copied to the CPU."""
    _check(model, layout, reader)
    own = {name: parameter.detach().cpu().clone() for name, parameter in model.named_parameters()}
    if isinstance(model.positions, SincosPositions) and layout.without_table != "sincos":
        own["positions.table"] = model.positions.table.cpu().clone()
    if "positions.table" in own:
        own["positions"] = _table(own, "all" in layout.table_rows)
    renamed: dict[str, Tensor] = {}
    nameless = []
    for name, tensor in own.items():
        written = _written(name, tensor, layout, model)
        renamed |= written
        if not written:
            nameless.append(f"{name} {tuple(tensor.shape)}")
    if nameless:
        raise ValueError(f"{reader} has no names for these parameters of the model: {', '.join(nameless)}.")
    return renamed


def _check(model: VisionTransformer, layout: Layout, reader: str) -> None:
    """ValueError for what no tensor would tell the reader."""
    config = model.config
    if len(config.input_shape) != 3:
        raise ValueError(f"{reader} has a place for models of images, but this one reads recordings of {config.input_shape}; model.save_pretrained keeps it.")
    if config.pooled_width != config.width:
        raise ValueError(f"The model's head reads two vectors side by side (pool={config.pool!r}), which {reader} has no place for.")
    if config.positions in ("none", "rotary") and config.positions != layout.without_table:
        raise ValueError(f"The model's positions are {config.positions!r}, which {reader} has no place for; whoever reads the file would take others.")


def _table(own: dict[str, Tensor], registers_too: bool) -> Tensor:
    """Positions in one table, those of special tokens in front."""
    table = own.pop("positions.table")
    special = own.pop("positions.special", torch.zeros_like(table[: int("class_token" in own)]))
    nowhere = torch.zeros_like(own.get("register_tokens", table[:0])) if registers_too else table[:0]
    return torch.cat([special, nowhere, table])


def _written(name: str, tensor: Tensor, layout: Layout, model: VisionTransformer) -> dict[str, Tensor]:
    """One parameter under its name, or under three; nothing where there is no name."""
    written: dict[str, Tensor] = {}
    covered = 0
    for rule in layout.rules:
        places = match(rule.ours, name)
        start, stop, parts = rule.part
        if places is None or start != covered:
            continue
        size = len(tensor) // parts
        part = tensor if parts == 1 else tensor[start * size : stop * size]
        written[fill(rule.theirs, places)] = FORMS[rule.form].write(part, model.config.heads).contiguous()
        covered = stop
        if covered == parts:
            return written
    return {}

"""What a config beside the weights says of a model, and tensors alone can't."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from sigvit.weights.layout import Layout
from sigvit.weights.read import Checkpoint
from sigvit.weights.tables import token_stride

GELUS = {
    "erf": "erf",
    "tanh": "tanh",
    "gelu": "erf",
    "gelu_python": "erf",
    "gelu_new": "tanh",
    "gelu_tanh": "tanh",
    "gelu_pytorch_tanh": "tanh",
    "gelu_fast": "tanh",
    "swiglu": "swiglu",
}
GATES = ("silu", "swish")  # what timm calls the activation of a gate; Hugging Face's word is of MLPs without
GLOBAL_POOLS = {"token": "class", "avg": "mean", "map": "map"}


class Facts(NamedTuple):
    """What shapes and config say of a model, else what its source always has; None where that is nothing."""

    heads: int | None
    depth: int | None
    image_size: tuple[int, int] | None
    gelu: str | None
    eps: float | None
    pool: str | None
    standardisation: str
    scaling: dict[str, Any] | None


def read_facts(checkpoint: Checkpoint, layout: Layout, tensors: dict[str, Tensor], heads: int | None, distilled: bool) -> Facts:
    """The facts of a checkpoint; `heads` and `distilled` are what its tensors say.

    Raises
    ------
    ValueError : the config says something that models here can't be, or no number where there should be one.
    """
    said = _said(checkpoint, layout)
    gelu = said.get("gelu")
    gelu = gelu.lower() or None if isinstance(gelu, str) else gelu  # as timm, which takes "" for none given
    gated = _is_gated(tensors)
    if gelu is not None and not (isinstance(gelu, str) and (gelu in GELUS or (gated and gelu in GATES))):
        raise ValueError(f"The config of {checkpoint.where} says the activation {gelu!r}; models here have a GELU: {', '.join(GELUS)}.")
    if gated and "act_layer" in layout.config and gelu not in (None, *GATES):
        raise ValueError(f"The config of {checkpoint.where} says the activation {gelu!r}, but the MLPs have gates; models here open them by 'silu' alone.")
    return Facts(
        heads=said.get("heads") if heads is None else heads,
        depth=said.get("depth"),
        image_size=said.get("image_size", _seen(said.get("given_size"), tensors)),
        gelu="swiglu" if gated else layout.gelu if gelu is None else GELUS[gelu],
        eps=said.get("eps", layout.eps),
        pool=said.get("pool", _pool(said.get("global_pool"), tensors, distilled, checkpoint.where)),
        standardisation=said.get("standardisation") or layout.standardisation,
        scaling=said.get("scaling"),
    )


def _is_gated(tensors: dict[str, Tensor]) -> bool:
    """Whether an MLP's first layer gives twice what its second one reads."""
    inner, outer = (tensors.get(f"encoder.blocks.0.mlp.{layer}.weight") for layer in ("inner", "outer"))
    return inner is not None and outer is not None and inner.ndim == outer.ndim == 2 and len(inner) == 2 * outer.shape[1]


def _said(checkpoint: Checkpoint, layout: Layout) -> dict[str, Any]:
    """What the config says, by our names; ValueError for what models here do otherwise."""
    for name, value in layout.needs.items():
        if checkpoint.config.get(name, value) not in (None, value):
            raise ValueError(f"The config of {checkpoint.where} says {name} = {checkpoint.config[name]!r}; models here have {value!r} alone.")
    return {ours: _value(checkpoint, theirs, ours) for theirs, ours in layout.config.items() if checkpoint.config.get(theirs) is not None}


def _pool(global_pool: Any, tensors: dict[str, Tensor], distilled: bool, where: str) -> str | None:
    """What timm's word means: whether the mean is normalised, and that a distilled model reads two tokens, is left to the tensors."""
    known = isinstance(global_pool, str) and global_pool in GLOBAL_POOLS
    if global_pool is None or not (known or "head.weight" in tensors):  # without a head nothing was trained on what it pools
        return None
    if not known:
        raise ValueError(f"The config of {where} says global_pool = {global_pool!r}; models here have {', '.join(map(repr, GLOBAL_POOLS))} alone.")
    if distilled:
        return None
    return "mean_then_norm" if global_pool == "avg" and "pool.mean_norm.weight" in tensors else GLOBAL_POOLS[global_pool]


def _seen(size: tuple[int, int] | None, tensors: dict[str, Tensor]) -> tuple[int, int] | None:
    """The pixels that a convolution sees which leaves out what is behind the last whole patch; a hybrid's filters are padded."""
    stride = token_stride(tensors)
    if size is None or stride is None or "tokenizer.root.weight" in tensors:
        return size
    return size[0] // stride[0] * stride[0], size[1] // stride[1] * stride[1]


def _value(checkpoint: Checkpoint, theirs: str, ours: str) -> Any:
    """What the config says under a name, as the number or pair that it means."""
    value, whole, pixels = checkpoint.config[theirs], (_whole, "a whole number"), (_pixels, "pixels")
    read, meaning = {"heads": whole, "depth": whole, "image_size": pixels, "given_size": pixels, "eps": (float, "a number")}.get(ours, (None, ""))
    try:
        return value if read is None else read(value)
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise ValueError(f"The config of {checkpoint.where} says {theirs} = {value!r}, which isn't {meaning}.") from error


def _whole(value: Any) -> int:
    if isinstance(value, bool) or int(value) != value:
        raise ValueError("no whole number")
    return int(value)


def _pixels(size: Any) -> tuple[int, int]:
    """(rows, columns) of one number for both, of a pair, or of a height and a width."""
    rows, columns = (size["height"], size["width"]) if isinstance(size, dict) else size if isinstance(size, list | tuple) else (size, size)
    return _whole(rows), _whole(columns)

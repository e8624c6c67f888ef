"""What a model is, in plain numbers and words."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

from sigvit.model import joint_pooling, pooling, positions
from sigvit.model.block import ACTIVATIONS
from sigvit.plain_fields import plain_value


@dataclass(frozen=True)
class ModelConfig:
    """Everything about a Vision Transformer but its tokenizer.

    Attributes
    ----------
    input_shape : what the model was built for: (channels, rows, columns) of images, (electrodes, samples) of recordings.
    num_classes : logits of the head.
    width, depth, heads, mlp_width : length of a token, number of blocks, attention heads, hidden units of each MLP.
    pool : "class" (the class token), "mean" (of the patch tokens) or "map" (attention pooling); as others have it, "mean_then_norm" (the final LayerNorm
        behind the mean), "class_and_mean" or "class_and_register" (side by side, so that the head sees twice the width).
    class_token : whether there is one; "class" needs it, the others neither need nor pool it.
    registers : further learned tokens that only attention sees (Darcet et al. 2024, arXiv:2309.16588).
    positions : "learned", "factorised", "sincos", "coordinates" (places on the head, seconds, hertz: any cap and length), "rotary" or "none".
    gelu : "erf" (the exact one) or "tanh"; or "swiglu", a gate in its place (Shazeer 2020, arXiv:2002.05202), of as many more units.
    eps : of every LayerNorm, above 0.
    representation : units of a tanh layer before the head, or None for no such layer.
    dropout : after the positions, attention, GELU and MLP.
    stochastic_depth : the last block's rate of skipped branches, to which it rises linearly from 0; or the first block's and the last's, so that
        (0.2, 0.2) is the same in every block.
    layer_scale : start value of LayerScale, or None for none.
    checkpointing : compute activations again on the way back, to save memory.

    Raises
    ------
    ValueError : numbers or words that make no model, or of another kind: "no" isn't False, and 2.5 no depth (2.0 is).

    >>> ModelConfig((3, 32, 32), num_classes=10, width=8, depth=1, heads=2, mlp_width=16).pool
    'class'
    """

    input_shape: tuple[int, ...]
    num_classes: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    pool: str = "class"
    class_token: bool = True
    registers: int = 0
    positions: str = "learned"
    gelu: str = "erf"
    eps: float = 1e-6
    representation: int | None = None
    dropout: float = 0.0
    stochastic_depth: float | tuple[float, float] = 0.0
    layer_scale: float | None = None
    checkpointing: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, plain_value(self, field, infinite=field.name == "eps"))
        for name in ("num_classes", "width", "depth", "heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.width % self.heads:
            raise ValueError(f"A width of {self.width} can't be split among {self.heads} heads; heads must divide the width.")
        for name, kinds in (("pool", (*pooling.KINDS, *joint_pooling.KINDS)), ("positions", positions.KINDS), ("gelu", ACTIVATIONS)):
            if getattr(self, name) not in kinds:
                raise ValueError(f"{name} is {getattr(self, name)!r}; there are {', '.join(map(repr, kinds))}.")
        if not (isfinite(self.eps) and self.eps > 0):
            raise ValueError(f"eps is {self.eps}; what a LayerNorm adds to the variance is finite and above 0, usually 1e-6.")
        for name, rate in (("dropout", self.dropout), ("stochastic_depth", self.stochastic_depth)):
            if not all(0 <= each < 1 for each in (rate if isinstance(rate, tuple) else (rate,))):
                raise ValueError(f"{name} is {rate}; it is a rate from 0 to below 1.")
        if self.pool.startswith("class") and not self.class_token:
            raise ValueError(f"pool={self.pool!r} reads the class token, but class_token is False; use pool='mean' or 'map', or have one.")
        if self.pool == "class_and_register" and self.registers < 1:
            raise ValueError("pool='class_and_register' reads the first register, but there is none; give registers=1.")
        if self.registers < 0 or (self.representation is not None and self.representation < 1):
            raise ValueError(f"registers ({self.registers}) can't be negative, and representation ({self.representation}) must be at least 1, or None.")

    @property
    def pooled_width(self) -> int:
        """Numbers that the pooling gives."""
        return 2 * self.width if self.pool in ("class_and_mean", "class_and_register") else self.width

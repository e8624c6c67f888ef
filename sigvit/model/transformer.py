"""The Vision Transformer of images and recordings: tokenizer → positions → encoder → pool → head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sigvit.grid import Grid
from sigvit.mode import in_mode
from sigvit.model.config import ModelConfig
from sigvit.model.dropout import dropout
from sigvit.model.encoder import Encoder
from sigvit.model.joint_pooling import ClassAndMeanPool, ClassAndRegisterPool, NoNorm, NormedMeanPool
from sigvit.model.packing import Packing
from sigvit.model.pooling import AttentionPool, ClassPool, MeanPool
from sigvit.model.positions import make_positions
from sigvit.model.rotary import RotaryPositions, Rotation
from sigvit.model.scaling import Scaling
from sigvit.tokenizers import ImageBatch, RecordingBatch
from sigvit.tokenizers.mixed_recordings import require_tokens
from sigvit.tokenizers.projection import lecun_normal_
from sigvit.tokens import Tokens

# B = batch, T = tokens, D = width

Signal = Tensor | ImageBatch | RecordingBatch
# The share of padding from which a row of real tokens is faster than the padded batch: 1.2 times at 0.14, 1.8 at 0.35, on a CPU with 400 tokens and more.
WORTH_PACKING = 0.1


class VisionTransformer(nn.Module):
    """One model for images and recordings; `sigvit.vit` and `sigvit.signal_vit` build it.

    Parameters
    ----------
    config : sizes and choices.
    tokenizer : any module that turns the signal into `Tokens` of `config.width`.

    Raises
    ------
    ValueError : the tokenizer doesn't take `config.input_shape` or gives tokens of another width.

    The head starts at zero, the rest as in the paper. `grid` says where the tokens of the built size sit, `changes` what `sigvit.adapt` has done,
    `scaling` how the recordings that it learned from were standardised (None of images, or where nobody said it).

    >>> from sigvit.tokenizers import ImagePatches
    >>> config = ModelConfig((3, 32, 32), num_classes=10, width=8, depth=1, heads=2, mlp_width=16)
    >>> model = VisionTransformer(config, ImagePatches(16, in_channels=3, width=8))
    >>> model(torch.zeros(2, 3, 32, 32)).shape, model.grid.shape
    (torch.Size([2, 10]), (2, 2))
    """

    scaling: Scaling | None = None

    def __init__(self, config: ModelConfig, tokenizer: nn.Module) -> None:
        super().__init__()
        width = config.width
        self.config, self.tokenizer = config, tokenizer
        self.changes: tuple[str, ...] = ()
        self.grid = grid_of(tokenizer, config)
        self.class_token = nn.Parameter(torch.zeros(width)) if config.class_token else None
        self.register_tokens = nn.Parameter(nn.init.normal_(torch.empty(config.registers, width), std=0.02)) if config.registers else None
        self.positions = make_positions(config.positions, self.grid, width, ("class",) if config.class_token else (), config.heads)
        self.encoder = Encoder(
            width,
            config.depth,
            config.heads,
            config.mlp_width,
            config.gelu,
            config.eps,
            config.dropout,
            config.stochastic_depth,
            config.layer_scale,
            config.checkpointing,
        )
        self.pool = _pool(config)
        if config.pool == "mean_then_norm":
            self.encoder.norm = NoNorm()  # type: ignore[assignment]
        self.representation = _representation(config.pooled_width, config.representation)
        self.head = nn.Linear(config.representation or config.pooled_width, config.num_classes)
        _zero(self.head)

    def forward(self, signal: Signal, mask: Tensor | None = None) -> Tensor:
        """Logits, (B, num_classes), of images (B, channels, rows, columns), also of several sizes (`collate_images`), or recordings (B, electrodes, samples),
        also of several caps, lengths and rates (`collate_windows`).

        `mask`, as the tokenizer takes it (bool, True = real), says which electrodes, samples or pixels are real; the others have exactly no influence.
        """
        return self.head(self.features(signal, mask))

    def features(self, signal: Signal, mask: Tensor | None = None) -> Tensor:
        """What the head sees: (B, D), or (B, representation). The last block computes only the tokens that the pool needs."""
        tokens = self.embed(signal, mask)
        outputs = self.pool.outputs(tokens.special)
        encoded = self.encoder(tokens.values, tokens.padding_mask, outputs, None, self.rotation(tokens), self.packing(tokens))
        real = tokens.padding_mask if tokens.padding_mask is None or outputs is None else tokens.padding_mask[:, outputs]
        return self.representation(self.pool(encoded, real))

    def encode(self, signal: Signal, mask: Tensor | None = None) -> Tokens:
        """All tokens after the encoder's final LayerNorm, with grid and mask; special ones in front."""
        return self.encoded(self.embed(signal, mask))

    def encoded(self, tokens: Tokens) -> Tokens:
        """What the encoder makes of tokens that have their positions."""
        return tokens.with_values(self.encoder(tokens.values, tokens.padding_mask, rotate=self.rotation(tokens), packing=self.packing(tokens)))

    def attention_maps(self, signal: Signal, mask: Tensor | None = None) -> Tensor:
        """How much each token looks at each, (B, depth, heads, T, T): special tokens first, padded ones looked at by none. Call `eval()` first."""
        tokens = self.embed(signal, mask)
        return self.encoder.attention_maps(tokens.values, tokens.padding_mask, self.rotation(tokens))

    def rotation(self, tokens: Tokens) -> Rotation | None:
        """What attention among these tokens turns queries and keys by, where positions are rotary."""
        like = self.encoder.blocks[0].norm_attention.weight  # what every model has, in the numbers and on the device of its blocks
        return self.positions.rotation(tokens, like) if isinstance(self.positions, RotaryPositions) else None

    def packing(self, tokens: Tokens) -> Packing | None:
        """How these tokens are packed into one row: those of a batch of several sizes, where enough of it is padding that this is faster."""
        if tokens.grids is None or tokens.padding_mask is None:
            return None
        packing = Packing(tokens.padding_mask)
        return packing if packing.padding >= WORTH_PACKING else None

    def embed(self, signal: Signal, mask: Tensor | None = None) -> Tokens:
        """What the encoder reads: the tokenizer's tokens behind the special ones, with positions and dropout."""
        placed = self.placed(self.cut(signal, mask))
        return placed.with_values(dropout(placed.values, self.config.dropout, self.training))

    def cut(self, signal: Signal, mask: Tensor | None = None) -> Tokens:
        """The tokenizer's tokens, still without special ones and positions.

        Raises
        ------
        TypeError : numbers that aren't floating point, or a batch of several sizes that the tokenizer doesn't cut.
        ValueError : a recording of such a batch without a real token.
        """
        if isinstance(signal, ImageBatch | RecordingBatch) and not isinstance(signal, getattr(self.tokenizer, "batches", None) or ()):
            who = "ImagePatches" if isinstance(signal, ImageBatch) else "the tokenizers of recordings"
            raise TypeError(f"A {type(signal).__name__} is cut by {who}; this model's tokenizer is {type(self.tokenizer).__name__}.")
        if isinstance(signal, Tensor) and not signal.is_floating_point():
            raise TypeError(f"The signal is {signal.dtype}; give floating-point numbers, scaled as in training (images: pixels / 255, less mean, over std).")
        tokens = self.tokenizer(signal) if mask is None else self.tokenizer(signal, mask)
        if isinstance(signal, RecordingBatch):
            require_tokens(tokens)
        return tokens

    def placed(self, patches: Tokens) -> Tokens:
        """These patch tokens behind the special ones, with positions."""
        special: dict[str, Tensor] = {} if self.class_token is None else {"class": self.class_token}
        if self.register_tokens is not None:
            special |= {f"register {k}": token for k, token in enumerate(self.register_tokens)}
        return self.positions(patches.prepend(special))

    def reset_head(self, num_classes: int) -> None:
        """A new head for so many classes, at zero; ValueError, and the old head, where that is no number of classes."""
        config = replace(self.config, num_classes=num_classes)
        weight, width = self.head.weight, config.representation or config.pooled_width
        head = nn.utils.skip_init(nn.Linear, width, config.num_classes, device=weight.device, dtype=weight.dtype)  # draws no random numbers
        _zero(head)
        self.config, self.head = config, head

    def no_decay_names(self) -> set[str]:
        """Names of the parameters that weight decay should spare: biases, norms, LayerScale, special tokens, positions and the probe."""
        spared = ("positions.", "register_tokens", "pool.probe")
        return {name for name, parameter in self.named_parameters() if parameter.ndim < 2 or name.startswith(spared)}

    def save_pretrained(self, folder: str | Path) -> None:
        """Weights (safetensors) and a complete description (config.json) into a folder; see `sigvit.weights.pretrained`."""
        from sigvit.weights.pretrained import save_pretrained

        save_pretrained(self, folder)

    @classmethod
    def from_weights(
        cls,
        weights: str | Path | Mapping[str, Any],
        source: str,
        heads: int | None = None,
        image_size: int | tuple[int, int] | None = None,
        *,
        gelu: str | None = None,
        eps: float | None = None,
        pool: str | None = None,
    ) -> VisionTransformer:
        """The model that a foreign file or state dict describes, with its weights, in evaluation mode; see `sigvit.weights.load.from_weights`."""
        from sigvit.weights.load import from_weights

        return from_weights(weights, source, heads, image_size, gelu=gelu, eps=eps, pool=pool)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> VisionTransformer:
        """The model that `save_pretrained` wrote, in evaluation mode."""
        from sigvit.weights.pretrained import from_pretrained

        return from_pretrained(folder)


def grid_of(tokenizer: nn.Module, config: ModelConfig) -> Grid:
    """Where the tokens of one input of the built size sit; only shapes matter, so a tokenizer that learns from what it sees is shown nothing."""
    like = next((parameter for parameter in tokenizer.parameters()), torch.empty(0))
    with torch.no_grad(), in_mode(tokenizer, training=False):
        tokens = tokenizer(torch.zeros(1, *config.input_shape, device=like.device, dtype=like.dtype))
    if tokens.values.shape[2] != config.width:
        raise ValueError(f"The tokenizer gives tokens of width {tokens.values.shape[2]}, but the model's width is {config.width}.")
    if tokens.grid is None:
        raise ValueError("The tokenizer's tokens have no grid; a tokenizer says where its tokens sit (sigvit.Grid).")
    return tokens.grid


def _pool(config: ModelConfig) -> ClassPool | MeanPool | AttentionPool | ClassAndMeanPool | ClassAndRegisterPool:
    if config.pool == "map":
        return AttentionPool(config.width, config.heads, config.mlp_width, config.gelu, config.eps)
    if config.pool == "mean_then_norm":
        return NormedMeanPool(nn.LayerNorm(config.width, config.eps))
    if config.pool == "class_and_mean":
        return ClassAndMeanPool(config.registers)
    if config.pool == "class_and_register":
        return ClassAndRegisterPool()
    return ClassPool() if config.pool == "class" else MeanPool()


def _representation(width: int, units: int | None) -> nn.Module:
    if units is None:
        return nn.Identity()
    layer = nn.Linear(width, units)
    lecun_normal_(layer.weight.detach())
    nn.init.zeros_(layer.bias)
    return nn.Sequential(layer, nn.Tanh())


def _zero(head: nn.Linear) -> None:
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)

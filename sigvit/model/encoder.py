"""The Transformer encoder; the arithmetic stands in free functions, the weights in modules, and of ours it imports only its parts.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021 (arXiv:2010.11929): every block is ``x + attention(norm(x))``, then ``x + mlp(norm(x))``.

The same functions run one model and K stacked ones: where the weights have a leading axis K, so has x, and member k of the one meets member k of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sigvit.model.attention import Attend, Attention, Rotate, attention
from sigvit.model.block import Block, Mlp
from sigvit.model.dropout import Draw
from sigvit.model.linear import layer_norm

__all__ = ["Attention", "Block", "Encoder", "Mlp", "attention"]

# B = batch, T = tokens, Q = tokens that are asked for, H = heads, D = width


class Packing(Protocol):
    """How a padded batch becomes one row of its real tokens, and back (`sigvit.model.packing`)."""

    def pack(self, values: Tensor) -> Tensor: ...
    def unpack(self, row: Tensor) -> Tensor: ...
    def rotation(self, rotate: Rotate) -> Rotate: ...
    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor: ...
    def draw(self, x: Tensor, rate: float | tuple[float, ...]) -> Tensor: ...


def skip_rates(stochastic_depth: float | tuple[float, float], depth: int) -> list[float]:
    """Each block's rate of skipped branches: a line from 0, or from the first of two, to the last block's.

    >>> skip_rates(0.5, 3), skip_rates((0.25, 0.25), 2)
    ([0.0, 0.25, 0.5], [0.25, 0.25])
    """
    first, last = stochastic_depth if isinstance(stochastic_depth, tuple) else (0.0, stochastic_depth)
    return torch.linspace(first, last, depth, device="cpu").tolist()


class Encoder(nn.Module):
    """Blocks and a final LayerNorm.

    Stochastic depth rises linearly from 0 in the first block to its full rate in the last, or runs from the first to the second of two rates. With
    `checkpointing` (also an attribute to set later) training keeps one activation a block and computes the rest again on the way back: less memory, more
    time, the same gradients.

    >>> encoder = Encoder(width=6, depth=2, heads=2, mlp_width=11)
    >>> encoder(torch.zeros(5, 7, 6)).shape, encoder.attention_maps(torch.zeros(5, 7, 6)).shape
    (torch.Size([5, 7, 6]), torch.Size([5, 2, 2, 7, 7]))
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        gelu: str = "erf",
        eps: float = 1e-6,
        dropout: float = 0.0,
        stochastic_depth: float | tuple[float, float] = 0.0,
        layer_scale: float | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"A width of {width} can't be split among {heads} heads; heads must divide the width.")
        rates = skip_rates(stochastic_depth, depth)
        self.blocks: Sequence[Block] = nn.ModuleList(Block(width, heads, mlp_width, gelu, eps, dropout, rate, layer_scale) for rate in rates)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(width, eps)
        self.checkpointing = checkpointing

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        outputs: slice | None = None,
        draw: Draw | None = None,
        rotate: Rotate | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """(B, T, D) → (B, T, D), or (B, Q, D) for the tokens in `outputs`, which is exact and spares the last block the others' queries and MLP.

        `mask` is (B, T) bool, True = real; padded tokens never influence real ones. `draw`: see `dropout`. `rotate` turns queries and keys by where their
        tokens sit. With a `packing` of this mask the blocks work on one row of real tokens; the answer is the same, with zeros for padding.
        """
        if packing is not None:
            return self._packed(x, mask, outputs, rotate, packing)
        *earlier, last = self.blocks
        for block in earlier:
            x = self._run(block, x, mask, None, draw, rotate)
        return layer_norm(self._run(last, x, mask, outputs, draw, rotate), self.norm)

    def attention_maps(self, x: Tensor, mask: Tensor | None = None, rotate: Rotate | None = None) -> Tensor:
        """Attention weights of every block and head, (B, T, D) → (B, depth, H, T, T)."""
        maps = []
        for block in self.blocks:
            maps.append(block.attention.weights(layer_norm(x, block.norm_attention), mask, rotate))
            x = block(x, mask, rotate=rotate)
        return torch.stack(maps, dim=1)

    def _packed(self, x: Tensor, mask: Tensor | None, outputs: slice | None, rotate: Rotate | None, packing: Packing) -> Tensor:
        """As `forward`; where few tokens are asked for, the last block takes the padded batch, to spare the others' queries and MLP."""
        few = outputs is not None and outputs.stop is not None
        row, turned = packing.pack(x), None if rotate is None else packing.rotation(rotate)
        for block in self.blocks[:-1] if few else self.blocks:
            row = self._run(block, row, None, None, packing.draw, turned, packing.attend)
        if few:
            return layer_norm(self._run(self.blocks[-1], packing.unpack(row), mask, outputs, None, rotate), self.norm)
        encoded = packing.unpack(layer_norm(row, self.norm))
        return encoded if outputs is None else encoded[..., outputs, :]

    def _run(
        self,
        block: nn.Module,
        x: Tensor,
        mask: Tensor | None,
        outputs: slice | None,
        draw: Draw | None,
        rotate: Rotate | None = None,
        attend: Attend = attention,
    ) -> Tensor:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, x, mask, outputs, draw, rotate, attend, use_reentrant=False)
        return block(x, mask, outputs, draw, rotate, attend)

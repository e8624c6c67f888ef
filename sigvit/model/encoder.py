"""The Transformer encoder: the arithmetic in free functions, the weights in modules; it imports nothing of ours.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021 (arXiv:2010.11929): every block is ``x + attention(norm(x))``, then ``x + mlp(norm(x))``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

# B = batch, T = tokens, Q = tokens that are asked for, H = heads, D = width, d = D / H


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(…, T, D) → (…, H, T, D / H)."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(-2, -3)


def merge_heads(x: Tensor) -> Tensor:
    """(…, H, T, d) → (…, T, H · d): the inverse of `split_heads`."""
    return x.transpose(-2, -3).flatten(-2)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention, (…, H, Q, d) and twice (…, H, T, d) → (…, H, Q, d).

    `mask` is (…, T) bool, True = real: a padded key has exactly no influence. Where no key is real the answer is zero.

    >>> x = torch.eye(3)[None]
    >>> attention(x, x, x, torch.tensor([True, False, False]))[0, 2].tolist()
    [1.0, 0.0, 0.0]
    """
    keys = None if mask is None else mask[..., None, None, :]
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=keys)


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """What `attention` weighs the values with, (…, H, Q, T); rows sum to one over the real keys."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[..., None, None, :], float("-inf"))
    return scores.softmax(-1)


class Attention(nn.Module):
    """Multi-head attention with one matrix for queries, keys and values, initialised as the three that it is.

    >>> Attention(width=6, heads=2)(torch.zeros(5, 7, 6)).shape
    torch.Size([5, 7, 6])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        for matrix in (*self.qkv.weight.detach().chunk(3), self.out.weight):
            nn.init.xavier_uniform_(matrix)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, query: Tensor | None = None) -> Tensor:
        """(B, T, D) → (B, T, D), or (B, Q, D) → (B, Q, D) where other tokens than x itself ask."""
        return self.out(merge_heads(attention(*self._heads(x, query), mask)))

    def weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) → (B, H, T, T)."""
        query, key, _ = self._heads(x, None)
        return attention_weights(query, key, mask)

    def _heads(self, x: Tensor, query: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, Q, d), keys and values (B, H, T, d)."""
        if query is None:
            q, k, v = self.qkv(x).reshape(*x.shape[:-1], 3, self.heads, -1).transpose(-2, -4).unbind(-3)
            return q, k, v
        width = x.shape[-1]
        q = functional.linear(query, self.qkv.weight[:width], self.qkv.bias[:width])
        both = functional.linear(x, self.qkv.weight[width:], self.qkv.bias[width:])
        k, v = both.reshape(*x.shape[:-1], 2, self.heads, -1).transpose(-2, -4).unbind(-3)
        return split_heads(q, self.heads), k, v


class Mlp(nn.Module):
    """Two linear layers with a GELU between: the exact one ("erf") or its tanh form, which the JAX models were trained with."""

    def __init__(self, width: int, hidden: int, gelu: str = "erf", dropout: float = 0.0) -> None:
        super().__init__()
        if gelu not in ("erf", "tanh"):
            raise ValueError(f"gelu is {gelu!r}; there are 'erf' (the exact one) and 'tanh' (the approximation of the JAX models).")
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.approximate = "none" if gelu == "erf" else "tanh"
        self.dropout = dropout
        for layer in (self.inner, self.outer):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) → (…, D)."""
        hidden = functional.gelu(self.inner(x), approximate=self.approximate)
        return self.outer(functional.dropout(hidden, self.dropout, self.training))


def branch(x: Tensor, scale: Tensor | None, dropout: float, stochastic_depth: float, training: bool) -> Tensor:
    """What happens to a branch (B, T, D) before it is added to the residual stream: LayerScale (D,), dropout, stochastic depth; each may be off.

    LayerScale: Touvron et al. 2021 (arXiv:2103.17239). Stochastic depth: Huang et al. 2016 (arXiv:1603.09382), the whole branch of a sample at a time.

    >>> branch(torch.ones(1, 2, 3), torch.full((3,), 0.5), dropout=0.0, stochastic_depth=0.9, training=False)[0, 0].tolist()
    [0.5, 0.5, 0.5]
    """
    if scale is not None:
        x = x * scale
    if training and dropout > 0:
        x = functional.dropout(x, dropout)
    if training and stochastic_depth > 0:
        x = x * functional.dropout(x.new_ones(len(x), 1, 1), stochastic_depth)
    return x


class Block(nn.Module):
    """One pre-LN block.

    >>> Block(width=6, heads=2, mlp_width=11)(torch.zeros(5, 7, 6), outputs=slice(0, 1)).shape
    torch.Size([5, 1, 6])
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        gelu: str = "erf",
        eps: float = 1e-6,
        dropout: float = 0.0,
        stochastic_depth: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.norm_attention, self.attention = nn.LayerNorm(width, eps), Attention(width, heads)
        self.norm_mlp, self.mlp = nn.LayerNorm(width, eps), Mlp(width, mlp_width, gelu, dropout)
        self.dropout, self.stochastic_depth = dropout, stochastic_depth
        self.scale_attention = None if layer_scale is None else nn.Parameter(torch.full((width,), float(layer_scale)))
        self.scale_mlp = None if layer_scale is None else nn.Parameter(torch.full((width,), float(layer_scale)))

    def forward(self, x: Tensor, mask: Tensor | None = None, outputs: slice | None = None) -> Tensor:
        """(B, T, D) → (B, T, D), or only the tokens in `outputs`: the others are then keys and values and cost nothing more."""
        normed = self.norm_attention(x)
        if outputs is None:
            attended = self.attention(normed, mask)
        else:
            x, attended = x[:, outputs], self.attention(normed, mask, query=normed[:, outputs])
        x = x + branch(attended, self.scale_attention, self.dropout, self.stochastic_depth, self.training)
        return x + branch(self.mlp(self.norm_mlp(x)), self.scale_mlp, self.dropout, self.stochastic_depth, self.training)


class Encoder(nn.Module):
    """Blocks and a final LayerNorm.

    Stochastic depth rises linearly from 0 in the first block to its full rate in the last. With `checkpointing` (also an attribute to set later)
    training keeps one activation a block and computes the rest again on the way back: less memory, more time, the same gradients.

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
        stochastic_depth: float = 0.0,
        layer_scale: float | None = None,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"A width of {width} can't be split among {heads} heads; heads must divide the width.")
        rates = torch.linspace(0, stochastic_depth, depth, device="cpu").tolist()
        self.blocks: Sequence[Block] = nn.ModuleList(Block(width, heads, mlp_width, gelu, eps, dropout, rate, layer_scale) for rate in rates)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(width, eps)
        self.checkpointing = checkpointing

    def forward(self, x: Tensor, mask: Tensor | None = None, outputs: slice | None = None) -> Tensor:
        """(B, T, D) → (B, T, D), or (B, Q, D) for the tokens in `outputs`, which is exact and spares the last block the others' queries and MLP.

        `mask` is (B, T) bool, True = real; padded tokens never influence real ones.
        """
        *earlier, last = self.blocks
        for block in earlier:
            x = self._run(block, x, mask, None)
        return self.norm(self._run(last, x, mask, outputs))

    def attention_maps(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention weights of every block and head, (B, T, D) → (B, depth, H, T, T)."""
        maps = []
        for block in self.blocks:
            maps.append(block.attention.weights(block.norm_attention(x), mask))
            x = block(x, mask)
        return torch.stack(maps, dim=1)

    def _run(self, block: nn.Module, x: Tensor, mask: Tensor | None, outputs: slice | None) -> Tensor:
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, x, mask, outputs, use_reentrant=False)
        return block(x, mask, outputs)

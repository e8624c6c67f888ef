"""The Transformer encoder: the arithmetic in free functions, the weights in modules; it imports nothing of ours.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021 (arXiv:2010.11929): every block is ``x + attention(norm(x))``, then ``x + mlp(norm(x))``.

The same functions run one model and K stacked ones: where the weights have a leading axis K, so has x, and member k of the one meets member k of the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

# B = batch, T = tokens, Q = tokens that are asked for, H = heads, D = width, d = D / H, K = stacked models

# Up to so many tokens attention is faster on a CPU in products of our own than in the fused kernel: 9 against 17 ms for 25 tokens, 7 against 12 for 48.
FEW_TOKENS = 48

# What dropout multiplies x with, drawn for (x, rate): stacked models bring their own, so that each sees what it would see alone.
Draw = Callable[[Tensor, "float | tuple[float, ...]"], Tensor]
# Turns queries or keys (…, H, T, d) by where their tokens sit, or only those of the tokens in a slice.
Rotate = Callable[[Tensor, "slice | None"], Tensor]
# Computes attention as `attention` does.
Attend = Callable[[Tensor, Tensor, Tensor, "Tensor | None"], Tensor]


class Packing(Protocol):
    """How a padded batch becomes one row of its real tokens, and back (`sigvit.model.packing`)."""

    def pack(self, values: Tensor) -> Tensor: ...
    def unpack(self, row: Tensor) -> Tensor: ...
    def rotation(self, rotate: Rotate) -> Rotate: ...
    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor: ...
    def draw(self, x: Tensor, rate: float | tuple[float, ...]) -> Tensor: ...


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(…, inputs) → (…, outputs) by a matrix (outputs, inputs); or (K, …, inputs) by K matrices (K, outputs, inputs), as one batched product.

    >>> x, weight = torch.randn(2, 3, 5), torch.randn(2, 7, 5)
    >>> torch.allclose(linear(x, weight, None)[1], linear(x[1], weight[1], None), atol=1e-6)
    True
    """
    if weight.ndim == 2:
        return functional.linear(x, weight, bias)
    rows = x.reshape(len(weight), -1, x.shape[-1])
    product = torch.bmm(rows, weight.transpose(1, 2)) if bias is None else torch.baddbmm(bias[:, None], rows, weight.transpose(1, 2))
    return product.view(*x.shape[:-1], -1)


def along(vector: Tensor, x: Tensor) -> Tensor:
    """A vector (D,) as it is, K of them (K, D) as (K, 1, …, 1, D): shaped to meet x, (…, D) or (K, …, D)."""
    return vector if vector.ndim == 1 else vector.view(len(vector), *[1] * (x.ndim - 2), -1)


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """(…, D) → (…, D) with the weights of one norm, or (K, …, D) with stacked ones."""
    if norm.weight.ndim == 1:
        return norm(x)
    return torch.addcmul(along(norm.bias, x), functional.layer_norm(x, x.shape[-1:], eps=norm.eps), along(norm.weight, x))


def dropout(x: Tensor, rate: float | tuple[float, ...], training: bool, draw: Draw | None = None) -> Tensor:
    """x, (B, …), with a share of its numbers set to zero and the others scaled up; `draw` gives the factors where chance is not to be that of this process.

    On a CPU the factors are `dropout_factors`: torch's own take 14 ns a number there, a fifth of a small model's step, and these 0.7.
    """
    if not training or not rate:
        return x
    if draw is not None:
        return x * draw(x, rate)
    assert not isinstance(rate, tuple), "stacked models draw for each member"
    # Shapes without numbers, compilers, vmap and other devices have their own.
    mapped = torch._C._functorch.peek_interpreter_stack() is not None
    if type(x) is not Tensor or x.device.type != "cpu" or mapped or torch.compiler.is_compiling():
        return functional.dropout(x, rate)
    return x * dropout_factors(dropout_seeds(len(x)), x.shape, x.dtype, [rate])


def dropout_seeds(rows: int, generator: torch.Generator | None = None) -> Tensor:
    """Two random whole numbers for each row, (rows, 2) int32 on the CPU: all that chance decides about a place where factors are drawn."""
    pairs = torch.empty(rows, dtype=torch.int64, device="cpu").random_(-(2**63), None, generator=generator)
    return pairs.view(torch.int32).view(rows, 2)


def dropout_factors(seeds: Tensor, shape: Sequence[int], dtype: torch.dtype, rates: Sequence[float]) -> Tensor:
    """Zero with probability `rate`, else 1 / (1 − rate): (B, …) from seeds (B, 2) and one rate, or (K, B, …) from (K, B, 2) and one for each of K or for all.

    Number j of a row is a hash of j, by multiplication and addition of the row's two seeds to a fixed random word (Dietzfelbinger et al. 1997): the numbers
    of a row are independent over the words, and any two of them all but independent over the seeds. The same on every device.

    >>> dropout_factors(dropout_seeds(3), (3, 5, 7), torch.float32, [0.2]).unique().tolist()
    [0.0, 1.25]
    """
    words = _words(math.prod(shape[seeds.ndim - 1 :]), seeds.device)
    hashed = (words * (seeds[..., :1] | 1)).add_(seeds[..., 1:])
    lowest = [min(round(rate * 2**32), 2**32 - 1) - 2**31 for rate in rates]
    scales = [0.0 if rate == 1 else 1 / (1 - rate) for rate in rates]
    kept = torch.empty(hashed.shape, dtype=dtype, device=seeds.device)
    if len(rates) == 1:
        return torch.ge(hashed, lowest[0], out=kept).mul_(scales[0]).view(shape)
    torch.ge(hashed, torch.tensor(lowest, dtype=torch.int32, device=seeds.device)[:, None, None], out=kept)
    return kept.mul_(torch.tensor(scales, dtype=dtype, device=seeds.device)[:, None, None]).view(shape)


@lru_cache(maxsize=16)
def _words(count: int, device: torch.device) -> Tensor:
    """Random words, (count,) int32, the same at every call and in every process."""
    words = torch.empty(count, dtype=torch.int32, device="cpu")
    return words.random_(-(2**31), 2**31, generator=torch.Generator().manual_seed(0)).to(device)


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
    if query.ndim < 5:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=keys)
    # The fast kernels know one batch axis: stacked models join theirs to it.
    folded_keys = None if keys is None else keys.flatten(0, -4)
    folded = functional.scaled_dot_product_attention(query.flatten(0, -4), key.flatten(0, -4), value.flatten(0, -4), attn_mask=folded_keys)
    return folded.unflatten(0, query.shape[:-3])


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """What `attention` weighs the values with, (…, H, Q, T); rows sum to one over the real keys."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask[..., None, None, :], float("-inf"))
    return scores.softmax(-1)


class AttentionOfFewTokens(torch.autograd.Function):
    """Softmax attention among T tokens, (…, T, 3 · D) queries, keys and values side by side → (…, T, D), with a gradient of its own.

    With few tokens and narrow heads a matrix product's cost is that of its shorter side: all products here end in T columns, never in d, and run twice
    as fast. Also gives what the way back needs: queries, keys and values (N, d, T) and weights (N, T keys, T queries), N = all rows · heads.

    >>> AttentionOfFewTokens.apply(torch.zeros(2, 3, 5, 12), 2)[0].shape
    torch.Size([2, 3, 5, 4])
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(packed: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # type: ignore[override]
        *leading, tokens, width = packed.shape
        rows, depth = math.prod(leading), width // 3 // heads
        split = packed.reshape(rows, tokens, 3, heads, depth).permute(2, 0, 3, 4, 1).contiguous()
        query, key, value = split.view(3, rows * heads, depth, tokens).unbind()
        scores = torch.baddbmm(query.new_empty(()), key.transpose(1, 2), query, beta=0, alpha=depth**-0.5)
        weights = scores.softmax(1)
        merged = torch.bmm(value, weights).view(rows, heads * depth, tokens).transpose(1, 2).reshape(*leading, tokens, heads * depth)
        return merged, query, key, value, weights

    @staticmethod
    def setup_context(context: Any, inputs: tuple, output: tuple) -> None:  # type: ignore[override]
        context.save_for_backward(*output[1:])
        context.mark_non_differentiable(*output[1:])
        context.set_materialize_grads(False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor, *_: Any) -> tuple[Tensor, None]:  # type: ignore[override]
        query, key, value, weights = context.saved_tensors
        *leading, tokens, width = gradient.shape
        depth = query.shape[1]
        wanted = gradient.reshape(-1, tokens, width).transpose(1, 2).reshape(-1, depth, tokens)
        by_weights = torch.bmm(value.transpose(1, 2), wanted)
        by_scores = torch._softmax_backward_data(by_weights, weights, 1, weights.dtype).mul_(depth**-0.5)
        parts = torch.stack([torch.bmm(key, by_scores), torch.bmm(query, by_scores.transpose(1, 2)), torch.bmm(wanted, weights.transpose(1, 2))])
        return parts.view(3, -1, width // depth, depth, tokens).permute(1, 4, 0, 2, 3).reshape(*leading, tokens, 3 * width), None


def _are_few(x: Tensor) -> bool:
    """Whether attention among these tokens, (…, T, D), is trained faster by products of our own: on a CPU, in a number format that its products keep."""
    plain = type(x) is Tensor and x.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    return plain and x.requires_grad and x.shape[-2] <= FEW_TOKENS


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

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        query: Tensor | None = None,
        outputs: slice | None = None,
        rotate: Rotate | None = None,
        attend: Attend = attention,
    ) -> Tensor:
        """(B, T, D) → (B, T, D), or (B, Q, D) → (B, Q, D) where other tokens than x itself ask, or of x only those in `outputs`."""
        if outputs is not None:
            query = x[..., outputs, :]
        if mask is None and query is None and rotate is None and attend is attention and _are_few(x):
            merged = AttentionOfFewTokens.apply(linear(x, self.qkv.weight, self.qkv.bias), self.heads)[0]
            return linear(merged, self.out.weight, self.out.bias)
        q, k, v = self._heads(x, query)
        if rotate is not None:
            q, k = rotate(q, outputs), rotate(k, None)
        return linear(merge_heads(attend(q, k, v, mask)), self.out.weight, self.out.bias)

    def weights(self, x: Tensor, mask: Tensor | None = None, rotate: Rotate | None = None) -> Tensor:
        """(B, T, D) → (B, H, T, T)."""
        query, key, _ = self._heads(x, None)
        return attention_weights(query, key, mask) if rotate is None else attention_weights(rotate(query, None), rotate(key, None), mask)

    def _heads(self, x: Tensor, query: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, Q, d), keys and values (B, H, T, d)."""
        if query is None:
            q, k, v = linear(x, self.qkv.weight, self.qkv.bias).reshape(*x.shape[:-1], 3, self.heads, -1).transpose(-2, -4).unbind(-3)
            return q, k, v
        width = x.shape[-1]
        q = linear(query, self.qkv.weight[..., :width, :], self.qkv.bias[..., :width])
        both = linear(x, self.qkv.weight[..., width:, :], self.qkv.bias[..., width:])
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
        self.dropout: float | tuple[float, ...] = dropout
        for layer in (self.inner, self.outer):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor, draw: Draw | None = None) -> Tensor:
        """(…, D) → (…, D)."""
        hidden = functional.gelu(linear(x, self.inner.weight, self.inner.bias), approximate=self.approximate)
        return linear(dropout(hidden, self.dropout, self.training, draw), self.outer.weight, self.outer.bias)


def branch(
    x: Tensor,
    scale: Tensor | None,
    rate: float | tuple[float, ...],
    stochastic_depth: float | tuple[float, ...],
    training: bool,
    draw: Draw | None = None,
) -> Tensor:
    """What happens to a branch (B, T, D) before it is added to the residual stream: LayerScale (D,), dropout, stochastic depth; each may be off.

    LayerScale: Touvron et al. 2021 (arXiv:2103.17239). Stochastic depth: Huang et al. 2016 (arXiv:1603.09382), the whole branch of a sample at a time.

    >>> branch(torch.ones(1, 2, 3), torch.full((3,), 0.5), rate=0.0, stochastic_depth=0.9, training=False)[0, 0].tolist()
    [0.5, 0.5, 0.5]
    """
    if scale is not None:
        x = x * along(scale, x)
    x = dropout(x, rate, training, draw)
    if training and stochastic_depth:
        x = x * dropout(x.new_ones(*x.shape[:-2], 1, 1), stochastic_depth, training, draw)
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
        self.dropout: float | tuple[float, ...] = dropout
        self.stochastic_depth: float | tuple[float, ...] = stochastic_depth
        self.scale_attention = None if layer_scale is None else nn.Parameter(torch.full((width,), float(layer_scale)))
        self.scale_mlp = None if layer_scale is None else nn.Parameter(torch.full((width,), float(layer_scale)))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        outputs: slice | None = None,
        draw: Draw | None = None,
        rotate: Rotate | None = None,
        attend: Attend = attention,
    ) -> Tensor:
        """(B, T, D) → (B, T, D), or only the tokens in `outputs`: the others are then keys and values and cost nothing more."""
        attended = self.attention(layer_norm(x, self.norm_attention), mask, outputs=outputs, rotate=rotate, attend=attend)
        if outputs is not None:
            x = x[..., outputs, :]
        x = x + branch(attended, self.scale_attention, self.dropout, self.stochastic_depth, self.training, draw)
        return x + branch(self.mlp(layer_norm(x, self.norm_mlp), draw), self.scale_mlp, self.dropout, self.stochastic_depth, self.training, draw)


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

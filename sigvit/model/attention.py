"""Multi-head attention: the arithmetic in free functions, the weights in a module; of ours it imports only `linear`.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017 (arXiv:1706.03762).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.model.linear import is_plain, mapped
from sigvit.products import SLOW_IN_MKL, fast_products, is_here, linear

# B = batch, T = tokens, Q = tokens that are asked for, H = heads, D = width, d = D / H

# Up to so many tokens attention is faster on a CPU in products of our own than in the fused kernel: 9 against 17 ms for 25 tokens, 7 against 12 for 48.
FEW_TOKENS = 48
# So many where products are twice as fast by torch's other library: 1.1 to 1.6 times for 25 to 197 tokens on two threads, 1.0 to 1.2 on one (docs/log.md).
# Weights of all pairs are kept for the way back, and with narrow heads they soon are more than all else.
FEW_TOKENS_FAST, TOKENS_A_NUMBER = 200, 12
# Softmax takes rows shorter than a vector of the CPU one number at a time, in 180 instead of 13 ns for 15 tokens; filled up, faster from four on (docs/log.md).
VECTOR = 16 if torch.backends.cpu.get_cpu_capability().startswith("AVX512") else 1  # numbers of float32
FEWEST_FILLED = 4
# Numbers, 4 MiB of them: with more weights between all pairs, attention to 84 and 96 tokens takes up to a third longer on one thread (docs/log.md).
WEIGHTS_AT_ONCE = 2**20
# With instructions for bfloat16 a CPU's fused kernel takes two to four times the products' time, without them half of it (docs/log.md).
FAST_BFLOAT16 = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
# Beyond so many tokens, weights of all pairs fill the memory.
MOST_IN_PRODUCTS = 1024

# Turns queries or keys (…, H, T, d) by where their tokens sit, or only those of the tokens in a slice.
Rotate = Callable[[Tensor, "slice | None"], Tensor]
# Computes attention as `attention` does.
Attend = Callable[[Tensor, Tensor, Tensor, "Tensor | None"], Tensor]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(…, T, D) → (…, H, T, D / H)."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).transpose(-2, -3)


def merge_heads(x: Tensor) -> Tensor:
    """(…, H, T, d) → (…, T, H · d): the inverse of `split_heads`."""
    return x.transpose(-2, -3).flatten(-2)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention, (…, H, Q, d) and twice (…, H, T, d) → (…, H, Q, d).

    `mask` is (…, T) bool, True = real: a padded key has exactly no influence. Where no key is real the answer is zero.

    Raises
    ------
    TypeError : a mask of numbers.

    >>> x = torch.eye(3)[None]
    >>> attention(x, x, x, torch.tensor([True, False, False]))[0, 2].tolist()
    [1.0, 0.0, 0.0]
    """
    if mask is None and _faster_in_products(query, key):
        return attention_weights(query, key) @ value
    keys = None if mask is None else _real_keys(mask)
    if query.ndim < 5:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=keys)
    # The fast kernels know one batch axis: stacked models join theirs to it.
    folded_keys = None if keys is None else keys.flatten(0, -4)
    folded = functional.scaled_dot_product_attention(query.flatten(0, -4), key.flatten(0, -4), value.flatten(0, -4), attn_mask=folded_keys)
    return folded.unflatten(0, query.shape[:-3])


def _real_keys(mask: Tensor) -> Tensor:
    """(…, T) → (…, 1, 1, T): the same for every head and query."""
    if mask.dtype != torch.bool:  # torch adds numbers to the scores
        raise TypeError(f"The mask of the tokens is {mask.dtype}; give bool, True = real: mask.bool() of ones and zeros.")
    return mask[..., None, None, :]


def _faster_in_products(query: Tensor, key: Tensor) -> bool:
    """On this CPU in bfloat16, where weights of all pairs have room."""
    return FAST_BFLOAT16 and is_here(query) and query.dtype == torch.bfloat16 and key.shape[-2] <= MOST_IN_PRODUCTS


def attention_weights(query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
    """What `attention` weighs the values with, (…, H, Q, T); rows sum to one over the real keys."""
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~_real_keys(mask), float("-inf"))
    return scores.softmax(-1)


def attention_of_few_tokens(packed: Tensor, heads: int) -> Tensor:
    """Softmax attention among T tokens, (…, T, 3 · D) queries, keys and values side by side → (…, T, D), with a gradient of its own; so many rows of a batch
    at a time that what they weigh with stays in the cache.

    >>> attention_of_few_tokens(torch.zeros(2, 3, 5, 12), heads=2).shape
    torch.Size([2, 3, 5, 4])
    """
    tokens, width = packed.shape[-2:]
    rows = max(1, WEIGHTS_AT_ONCE // (heads * tokens * tokens))
    flat = packed.reshape(-1, tokens, width)
    if len(flat) <= rows:
        return AttentionOfFewTokens.apply(packed, heads)[0]
    parts = [AttentionOfFewTokens.apply(part, heads)[0] for part in flat.split(rows)]
    return torch.cat(parts).view(*packed.shape[:-1], width // 3)


class AttentionOfFewTokens(torch.autograd.Function):
    """`attention_of_few_tokens` of all rows at once.

    With few tokens and narrow heads a matrix product's cost is that of its shorter side: all products here end in T columns, never in d, and run twice
    as fast. Also gives what the way back needs: queries (N, d, T), keys and values (N, d, columns) and weights (N, T, columns), N = all rows · heads; columns
    beyond T have no weight and fill up vectors of the CPU.

    >>> AttentionOfFewTokens.apply(torch.zeros(2, 3, 5, 12), 2)[0].shape
    torch.Size([2, 3, 5, 4])
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(packed: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # type: ignore[override]
        *leading, tokens, width = packed.shape
        rows, depth, columns = math.prod(leading), width // 3 // heads, _columns(packed)
        split = packed.reshape(rows, tokens, 3, heads, depth).permute(2, 0, 3, 4, 1)
        split = functional.pad(split, (0, columns - tokens)).contiguous() if columns > tokens else split.contiguous()
        query, key, value = split.view(3, rows * heads, depth, columns).unbind()
        query = query[..., :tokens]
        with fast_products(query.numel() * tokens):
            scores = torch.baddbmm(query.new_empty(()), query.transpose(1, 2), key, beta=0, alpha=depth**-0.5)
            if columns > tokens:
                scores[..., tokens:] = float("-inf")
            weights = scores.softmax(2)
            merged = torch.bmm(value, weights.transpose(1, 2))
        merged = merged.view(rows, heads * depth, tokens).transpose(1, 2).reshape(*leading, tokens, heads * depth)
        return merged, query, key, value, weights

    @staticmethod
    def setup_context(context: Any, inputs: tuple, output: tuple) -> None:  # type: ignore[override]
        context.shape = inputs[0].shape
        context.save_for_backward(*output[1:])
        context.set_materialize_grads(False)

    @staticmethod
    def backward(context: Any, gradient: Tensor | None, *of_parts: Tensor | None) -> tuple[Tensor, None]:  # type: ignore[override]
        """Of the answer; of queries, keys, values and weights only where a way back is itself differentiated, which has used them."""
        query, key, value, weights = context.saved_tensors
        *leading, tokens, width = context.shape
        rows, depth = math.prod(leading), query.shape[1]
        of_query, of_key, of_value, of_weights = of_parts
        with torch.autocast("cpu", enabled=False), fast_products(query.numel() * tokens):  # the way there wasn't cast either
            if gradient is not None:
                wanted = gradient.reshape(rows, tokens, width // 3).transpose(1, 2).reshape(query.shape)
                of_value = _sum(torch.bmm(wanted, weights), of_value)
                of_weights = _sum(torch.bmm(wanted.transpose(1, 2), value), of_weights)
            if of_weights is not None:
                by_scores = torch._softmax_backward_data(of_weights, weights, 2, weights.dtype).mul_(depth**-0.5)
                of_query = _sum(torch.bmm(key, by_scores.transpose(1, 2)), of_query)
                of_key = _sum(torch.bmm(query, by_scores), of_key)
            parts = torch.stack([torch.zeros_like(query) if part is None else part[..., :tokens] for part in (of_query, of_key, of_value)])
        return parts.view(3, rows, width // 3 // depth, depth, tokens).permute(1, 4, 0, 2, 3).reshape(context.shape), None


def _columns(packed: Tensor) -> int:
    """How many columns the products of so many tokens have."""
    tokens = packed.shape[-2]
    return max(tokens, VECTOR) if packed.dtype == torch.float32 and tokens >= FEWEST_FILLED else tokens


def _sum(one: Tensor, other: Tensor | None) -> Tensor:
    return one if other is None else one + other


def _are_few(x: Tensor, heads: int) -> bool:
    """Whether attention among these tokens, (…, T, D), is trained faster by products of our own: on a CPU, in a number format that its products keep, where
    nobody has ruled out kernels without derivatives in forward mode."""
    is_watched = torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled("cpu")
    if is_watched or not is_here(x):
        return False
    is_fast = x.dtype == torch.float32 and SLOW_IN_MKL
    most = max(FEW_TOKENS, min(FEW_TOKENS_FAST, TOKENS_A_NUMBER * x.shape[-1] // heads)) if is_fast else FEW_TOKENS
    return x.requires_grad and x.shape[-2] <= most and torch.backends.cuda.flash_sdp_enabled()


class Attention(nn.Module):
    """Multi-head attention with one matrix for queries, keys and values, initialised as the three that it is.

    A CPU's fused kernel has first derivatives in reverse alone. Hessians, gradient penalties and forward mode are there within
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`.

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
        if mask is None and query is None and rotate is None and attend is attention and _are_few(x, self.heads):
            return mapped(self.out, attention_of_few_tokens(mapped(self.qkv, x), self.heads))
        q, k, v = self._heads(x, query)
        if rotate is not None:
            q, k = rotate(q, outputs), rotate(k, None)
        return mapped(self.out, merge_heads(attend(q, k, v, mask)))

    def weights(self, x: Tensor, mask: Tensor | None = None, rotate: Rotate | None = None, query: Tensor | None = None) -> Tensor:
        """(B, T, D) → (B, H, T, T), or (B, H, Q, T) where other tokens than x itself ask, (B, Q, D)."""
        query, key, _ = self._heads(x, query)
        return attention_weights(query, key, mask) if rotate is None else attention_weights(rotate(query, None), rotate(key, None), mask)

    def _heads(self, x: Tensor, query: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, Q, d), keys and values (B, H, T, d)."""
        width = x.shape[-1]
        if query is None:
            q, k, v = mapped(self.qkv, x).reshape(*x.shape[:-1], 3, self.heads, width // self.heads).transpose(-2, -4).unbind(-3)
            return q, k, v
        if is_plain(self.qkv):  # then each asks only for its share of the product
            q = linear(query, self.qkv.weight[..., :width, :], self.qkv.bias[..., :width])
            both = linear(x, self.qkv.weight[..., width:, :], self.qkv.bias[..., width:])
        else:
            q, both = mapped(self.qkv, query)[..., :width], mapped(self.qkv, x)[..., width:]
        k, v = both.reshape(*x.shape[:-1], 2, self.heads, width // self.heads).transpose(-2, -4).unbind(-3)
        return split_heads(q, self.heads), k, v

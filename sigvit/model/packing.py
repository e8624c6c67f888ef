"""Packing: the real tokens of a mixed batch one behind the other in one row, without padding; attention stays within each recording or image."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from importlib.util import find_spec
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sigvit.model.dropout import dropout_factors, dropout_seeds
from sigvit.model.rotary import Rotation

# B = batch, T = tokens with padding, N = real tokens of all samples, H = heads, D = width, d = D / H

NARROWEST = 16  # numbers of a head that FlexAttention's kernel takes
HAS_VARIABLE_LENGTHS = find_spec("torch.nn.attention.varlen") is not None  # since torch 2.10


class Packing:
    """Where the real tokens of a padded batch stand in one row; samples of the same number of tokens stand side by side.

    Its attention equals that of the padded batch up to the order of sums. Which kernel computes it: on a GPU, flash attention of variable lengths in half
    precision, where torch has it, else FlexAttention with a mask of blocks (both unmeasured here); elsewhere one dense kernel for each number of tokens, which
    needs no mask.

    Parameters
    ----------
    mask : (B, T) bool, True = real.

    >>> mask = torch.tensor([[True, True, False], [True, True, True]])
    >>> packing, values = Packing(mask), torch.arange(6.0).view(2, 3, 1)
    >>> packing.pack(values)[0, :, 0].tolist(), packing.unpack(packing.pack(values))[..., 0].tolist()
    ([0.0, 1.0, 3.0, 4.0, 5.0], [[0.0, 1.0, 0.0], [3.0, 4.0, 5.0]])
    """

    def __init__(self, mask: Tensor) -> None:
        counts = mask.sum(1).tolist()
        order = sorted(range(len(counts)), key=counts.__getitem__)
        self.shape, self.device = (int(mask.shape[0]), int(mask.shape[1])), mask.device
        self.lengths = tuple(int(counts[row]) for row in order if counts[row])
        rows = torch.tensor(order, device=mask.device)
        ordered = mask[rows]
        self.places = (rows[:, None] * mask.shape[1] + torch.arange(mask.shape[1], device=mask.device))[ordered]

    @property
    def padding(self) -> float:
        """The share of the padded batch that is padding."""
        return 1 - len(self.places) / (self.shape[0] * self.shape[1])

    def pack(self, values: Tensor) -> Tensor:
        """(B, T, D) → (1, N, D)."""
        return values.flatten(0, 1)[self.places][None]

    def unpack(self, row: Tensor) -> Tensor:
        """(1, N, D) → (B, T, D), zeros where there is padding."""
        flat = row.new_zeros(self.shape[0] * self.shape[1], row.shape[2])
        return flat.index_copy(0, self.places, row[0]).view(*self.shape, -1)

    def rotation(self, rotate: Any) -> Rotation:
        """A rotation of the padded batch, for the row."""
        return rotate.regrouped(self.pack, self.shape[0])

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Softmax attention within each sample, three times (1, H, N, d) → (1, H, N, d)."""
        if query.device.type == "cuda":
            is_taken = HAS_VARIABLE_LENGTHS and query.dtype in (torch.float16, torch.bfloat16) and query.shape[-1] % 8 == 0
            return self.by_variable_length(query, key, value) if is_taken else self.by_blocks(query, key, value, _compiled_flex_attention())
        return self.by_equal_length(query, key, value)

    def by_equal_length(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The same through a dense kernel for all samples of one length, without a mask."""
        answers, start = [], 0
        for length, same in groupby(self.lengths):
            count = len(list(same))
            end = start + count * length
            parts = (heads[0, :, start:end].unflatten(1, (count, length)) for heads in (query, key, value))
            answers.append(functional.scaled_dot_product_attention(*parts).flatten(1, 2))
            start = end
        return torch.cat(answers, dim=1)[None]

    def by_variable_length(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The same through flash attention of variable lengths: a GPU, half precision. Unmeasured here."""
        from torch.nn.attention.varlen import varlen_attn

        queries, keys, values = (heads[0].transpose(0, 1).contiguous() for heads in (query, key, value))
        answer = varlen_attn(queries, keys, values, self._ends, self._ends, max(self.lengths), max(self.lengths))
        assert isinstance(answer, Tensor), "nothing else was asked for"
        return answer.transpose(0, 1)[None]

    def by_blocks(self, query: Tensor, key: Tensor, value: Tensor, flex_attention: Callable[..., Tensor]) -> Tensor:
        """The same through FlexAttention, which skips blocks of other samples (Dong et al. 2024, arXiv:2412.05496). Unmeasured here."""
        width = query.shape[-1]
        if width < NARROWEST:
            # Zeros add nothing to a score; the factor is what the kernel, which divides by the root of the width, divides too much.
            query, key, value = (functional.pad(heads, (0, NARROWEST - width)) for heads in (query * (NARROWEST / width) ** 0.5, key, value))
        return flex_attention(query, key, value, block_mask=self._block_mask)[..., :width]

    def draw(self, x: Tensor, rate: Any) -> Tensor:
        """Factors of dropout for the row, (1, N, D), or (1, 1, 1) where a whole branch is skipped: then one for each sample, (1, N, 1)."""
        if x.shape[1] == 1 and len(self.places) > 1:
            each = dropout_factors(dropout_seeds(len(self.lengths)), (len(self.lengths), 1), x.dtype, [rate]).to(x.device)
            return each.repeat_interleave(self._counts, dim=0, output_size=len(self.places))[None]
        seeds = dropout_seeds(x.shape[1]).to(x.device)
        return dropout_factors(seeds, x.shape[1:], x.dtype, [rate])[None]

    @cached_property
    def _counts(self) -> Tensor:
        return torch.tensor(self.lengths, device=self.device)

    @cached_property
    def _ends(self) -> Tensor:
        """Where each sample begins and the last one ends, (samples + 1,) int32."""
        return functional.pad(self._counts.cumsum(0), (1, 0)).int()

    @cached_property
    def _block_mask(self) -> Any:
        from torch.nn.attention.flex_attention import create_block_mask

        sample = torch.arange(len(self.lengths), device=self.device).repeat_interleave(self._counts)

        def same_sample(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return sample[query] == sample[key]

        return create_block_mask(same_sample, None, None, len(sample), len(sample), device=str(self.device))


@lru_cache(maxsize=1)
def _compiled_flex_attention() -> Callable[..., Tensor]:
    """Without a compiler it would be slower than a plain mask."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)

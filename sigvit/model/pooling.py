"""Pooling: how the encoded tokens become the one vector that the head sees. Each says which tokens it needs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sigvit.model.encoder import Attention, Mlp
from sigvit.model.linear import layer_norm

# B = batch, Q = tokens that are asked for, H = heads, D = width; stacked models put their axis in front of all

KINDS = ("class", "mean", "map")


class ClassPool(nn.Module):
    """The class token, by name."""

    def outputs(self, special: tuple[str, ...]) -> slice | None:
        """The encoder's tokens that are needed: where the class token stands."""
        at = special.index("class")
        return slice(at, at + 1)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 1, D) → (B, D)."""
        return values[..., 0, :]


class MeanPool(nn.Module):
    """The mean of the real patch tokens, never of special ones; zero where a sample has no real token."""

    def outputs(self, special: tuple[str, ...]) -> slice | None:
        """The encoder's tokens that are needed: all behind the special ones."""
        return slice(len(special), None) if special else None

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, Q, D) and (B, Q) bool → (B, D).

        >>> MeanPool()(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[True, True, False]])).tolist()
        [[3.0]]
        """
        if mask is None:
            return values.mean(-2)
        count = mask.sum(-1, keepdim=True).clamp(min=1)
        return values.masked_fill(~mask[..., None], 0.0).sum(-2) / count


class AttentionPool(nn.Module):
    """A learned probe attends to the real patch tokens, then an MLP with a residual (MAPHead of big_vision; Zhai et al. 2022, arXiv:2106.04560).

    >>> AttentionPool(width=6, heads=2, mlp_width=11)(torch.zeros(5, 7, 6)).shape
    torch.Size([5, 6])
    """

    def __init__(self, width: int, heads: int, mlp_width: int, gelu: str = "erf", eps: float = 1e-6) -> None:
        super().__init__()
        self.probe = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, width)))
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, mlp_width, gelu)

    def outputs(self, special: tuple[str, ...]) -> slice | None:
        """The encoder's tokens that are needed: all behind the special ones."""
        return slice(len(special), None) if special else None

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, Q, D) and (B, Q) bool → (B, D)."""
        probed = self.attention(values, mask, query=self._asking(values))
        return (probed + self.mlp(layer_norm(probed, self.norm)))[..., 0, :]

    def weights(self, values: Tensor) -> Tensor:
        """How much the probe looks at each token: (B, Q, D) → (B, H, Q), each head's sum to one.

        >>> AttentionPool(width=6, heads=2, mlp_width=11).weights(torch.zeros(1, 4, 6))[0, 1].tolist()
        [0.25, 0.25, 0.25, 0.25]
        """
        return self.attention.weights(values, None, query=self._asking(values))[..., 0, :]

    def _asking(self, values: Tensor) -> Tensor:
        """The probe, (B, 1, D)."""
        return self.probe.unsqueeze(-3).expand(*values.shape[:-2], 1, -1)

"""One pre-LN block of the encoder: ``x + attention(norm(x))``, then ``x + mlp(norm(x))``; of ours it imports only attention, dropout and linear maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.model.attention import Attend, Attention, Rotate, attention
from sigvit.model.dropout import Draw, dropout
from sigvit.model.linear import along, layer_norm, mapped

# B = batch, T = tokens, D = width


# Between the layers of an MLP: the exact GELU, its tanh form, which the JAX models were trained with, or a gate (Shazeer 2020, arXiv:2002.05202).
ACTIVATIONS = ("erf", "tanh", "swiglu")


class Mlp(nn.Module):
    """Two linear layers with a GELU between ("erf" or "tanh"), or with "swiglu": the first gives as many gates as hidden units, and their SiLU opens them.

    >>> Mlp(width=6, hidden=11, gelu="swiglu").inner
    Linear(in_features=6, out_features=22, bias=True)
    """

    gated = False  # pickles of before lack it

    def __init__(self, width: int, hidden: int, gelu: str = "erf", dropout: float = 0.0) -> None:
        super().__init__()
        if gelu not in ACTIVATIONS:
            raise ValueError(f"gelu is {gelu!r}; there are 'erf' (the exact one), 'tanh' (the approximation of the JAX models) and 'swiglu' (a gate).")
        self.gated, self.approximate = gelu == "swiglu", "tanh" if gelu == "tanh" else "none"
        self.inner, self.outer = nn.Linear(width, 2 * hidden if self.gated else hidden), nn.Linear(hidden, width)
        self.dropout: float | tuple[float, ...] = dropout
        for layer, units in ((self.inner, hidden), (self.outer, width)):
            for matrix in layer.weight.detach().split(units):  # gates and what they open are two matrices
                nn.init.xavier_uniform_(matrix)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor, draw: Draw | None = None) -> Tensor:
        """(…, D) → (…, D)."""
        return mapped(self.outer, dropout(self._hidden(mapped(self.inner, x)), self.dropout, self.training, draw))

    def _hidden(self, x: Tensor) -> Tensor:
        if not self.gated:
            return functional.gelu(x, approximate=self.approximate)
        gate, values = x.chunk(2, dim=-1)
        return functional.silu(gate) * values


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

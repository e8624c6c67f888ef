"""Poolings that others' classifiers were trained with: the LayerNorm behind the mean, or two vectors side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sigvit.model.linear import layer_norm
from sigvit.model.pooling import MeanPool

# B = batch, Q = tokens that are asked for, D = width; stacked models put their axis in front of all

KINDS = ("mean_then_norm", "class_and_mean", "class_and_register")


class NormedMeanPool(MeanPool):
    """The mean of the real patch tokens, and only then the LayerNorm (timm's fc_norm; MAE's fine-tuned models); the encoder has none.

    >>> NormedMeanPool(nn.LayerNorm(2))(torch.tensor([[[2.0, 4.0], [4.0, 8.0]]])).round(decimals=3).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.mean_norm = norm

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, Q, D) and (B, Q) bool → (B, D)."""
        return layer_norm(super().forward(values, mask), self.mean_norm)


class ClassAndMeanPool(nn.Module):
    """The class token and the mean of the real patch tokens, side by side (DINOv2's classifiers).

    >>> ClassAndMeanPool(registers=1)(torch.tensor([[[1.0], [7.0], [2.0], [4.0]]])).tolist()
    [[1.0, 3.0]]
    """

    def __init__(self, registers: int) -> None:
        super().__init__()
        self.special = 1 + registers
        self.mean = MeanPool()

    def outputs(self, special: tuple[str, ...]) -> slice | None:
        """The encoder's tokens that are needed: all."""
        return None

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, D) and (B, T) bool → (B, 2 · D)."""
        real = None if mask is None else mask[..., self.special :]
        return torch.cat([values[..., 0, :], self.mean(values[..., self.special :, :], real)], dim=-1)


class ClassAndRegisterPool(nn.Module):
    """The class token and the first register, side by side: DeiT's class and distillation tokens (Touvron et al. 2021, arXiv:2012.12877).

    One head of both with half of each of DeiT's two heads gives their mean, which is what DeiT predicts with.
    """

    def outputs(self, special: tuple[str, ...]) -> slice | None:
        """The encoder's tokens that are needed: the class token and the register behind it."""
        at = special.index("class")
        return slice(at, at + 2)

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 2, D) → (B, 2 · D)."""
        return values.flatten(-2)


class NoNorm(nn.Identity):
    """Stands where the encoder's LayerNorm would; the encoder looks at the axes of its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.ones(1, device="cpu")  # no buffer: nothing of it is saved or moved, also where a model is built without numbers

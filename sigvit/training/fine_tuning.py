"""What of a trained model learns on: everything, the head alone, or low-rank additions beside frozen weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sigvit.model.encoder import Attention

TRAINED = ("all", "head", "lora")


class LowRank(nn.Module):
    """A weight (rows, columns) and beside it a product of two thin matrices, of which one is zero at first: W + up · down.

    Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv:2106.09685 (their scale alpha / r is 1 here: it only rescales the rate).
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        down = torch.randn(rank, columns, generator=generator, dtype=torch.float64) / columns**0.5
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(torch.zeros(rows, rank).to(weight))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def choose_trained(model: nn.Module, trained: str, rank: int = 4, seed: int = 0) -> nn.Module:
    """The same model with some of its parameters frozen, in place; at first it computes what it did.

    Parameters
    ----------
    model : with `head` and attention in its encoder, such as a `VisionTransformer`.
    trained : "all"; "head": the head alone; "lora": the head, and a product of this rank beside each attention's two matrices.
    seed : of the low-rank additions.

    Raises
    ------
    ValueError : another word, a rank below 1, a model that has low-rank additions already (`merge` them first) or no attention to add to.

    >>> import sigvit
    >>> model = choose_trained(sigvit.signal_vit(3, n_times=80, width=8, heads=2), "lora", rank=2)
    >>> [name for name, parameter in model.named_parameters() if parameter.requires_grad][-2:]
    ['head.weight', 'head.bias']
    """
    if trained not in TRAINED:
        raise ValueError(f"trained is {trained!r}; it must be 'all', 'head' or 'lora'.")
    if rank < 1:
        raise ValueError(f"rank is {rank}; it must be at least 1.")
    if any(parametrize.is_parametrized(module) for module in model.modules()):
        raise ValueError(f"{type(model).__name__} has low-rank additions already; merge them before choosing anew.")
    model.requires_grad_(trained == "all")
    if trained == "all":
        return model
    for parameter in _head(model).parameters():
        parameter.requires_grad_(True)
    if trained == "lora":
        _add(model, rank, seed)
    return model


def merge(model: nn.Module) -> nn.Module:
    """The same model with its low-rank additions added to the weights for good, in place, and nothing frozen any more.

    It computes what it did, has the parameters that it had, and can be saved, stacked and tuned again.
    """
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return model.requires_grad_(True)


def _head(model: nn.Module) -> nn.Module:
    head = getattr(model, "head", None)
    if not isinstance(head, nn.Module):
        raise ValueError(f"{type(model).__name__} has no head to train.")
    return head


def _add(model: nn.Module, rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    found = [module for module in model.modules() if isinstance(module, Attention)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no attention to add low-rank products to; train its head, or all of it.")
    for attention in found:
        for layer in (attention.qkv, attention.out):
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight.detach(), rank, generator))

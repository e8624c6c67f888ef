"""What tokens look at: how far, and through all layers; functions of the attention maps that `model.attention_maps` gives."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

# B = inputs, L = layers (depth), H = heads, T = tokens, C = coordinate columns

Numbers: TypeAlias = Tensor | ArrayLike


def attention_distance(maps: Numbers, coordinates: Numbers, mask: Numbers | None = None) -> np.ndarray:
    """How far each head of each layer looks: the mean straight distance between the token that asks and those it looks at, weighted by attention.

    Dosovitskiy et al. 2021 (arXiv:2010.11929), figure 7 and appendix D.7, "similar to the receptive field size of a convolution". A token without a place
    (NaN: class, registers, padding, electrodes of unknown position) neither asks nor is looked at: the weights are divided by what is left of them.

    Parameters
    ----------
    maps : (B, L, H, T, T), or (L, H, T, T) of one input: rows ask, columns are looked at; no weight is negative.
    coordinates : (T, C), or (B, T, C) where every input has its own, such as `tokens.coordinates`. Columns of one unit: pixels of row and column, or the
        three metres of an electrode, or the seconds alone.
    mask : (B, T) or (T,) bool, True = real; tokens that aren't don't ask.

    Returns
    -------
    (L, H) float64, in the unit of the coordinates; every token of every input that asks counts once. NaN where none does.

    Raises
    ------
    ValueError : shapes that don't belong together, or no token with a place.

    >>> ahead = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]])  # each looks at the next, the last half at each of the others
    >>> attention_distance(ahead[None, None], [[0.0], [2.0], [6.0]]).round(3).tolist()
    [[3.667]]
    """
    weights, _ = _read_maps(maps)
    places, real = _read_places(coordinates, mask, weights)
    total, asked = torch.zeros(weights.shape[1:3], dtype=torch.float64), 0
    for own, sites, there in zip(weights, places, real, strict=True):
        distances = _distances(own[:, :, there][..., there].double(), sites[there].double())
        total, asked = total + distances.sum(-1), asked + distances.shape[-1]
    return (total / asked).numpy() if asked else np.full(total.shape, np.nan)


def _distances(weights: Tensor, places: Tensor) -> Tensor:
    """Weights (L, H, N, N) of the N tokens that have a place, (N, C) → (L, H, tokens that look at any of them)."""
    share = weights.sum(-1)
    asks = (share > 0).flatten(0, 1).all(0)
    far = torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
    return ((weights * far).sum(-1) / share)[..., asks]


def _read_places(coordinates: Numbers, mask: Numbers | None, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates (B, T, C), and (B, T) which tokens are real and have a place."""
    batch, n_tokens = weights.shape[0], weights.shape[-1]
    places = as_tensor(coordinates)
    if places.ndim not in (2, 3) or places.shape[-2] != n_tokens or (places.ndim == 3 and len(places) != batch):
        raise ValueError(f"The maps are {tuple(weights.shape)}, so coordinates must be ({n_tokens}, columns), but are {tuple(places.shape)}.")
    real = torch.ones(batch, n_tokens, dtype=torch.bool) if mask is None else as_tensor(mask).bool()
    if real.shape not in ((n_tokens,), (batch, n_tokens)):
        raise ValueError(f"The maps are {tuple(weights.shape)}, so the mask must be ({batch}, {n_tokens}), but is {tuple(real.shape)}.")
    places = places.expand(batch, n_tokens, -1)
    placed = ~places.isnan().any(-1)
    if not bool(placed.any()):
        raise ValueError("No token has a place (every row of coordinates holds NaN); distances need the positions of electrodes, pixels or times.")
    return places, real & placed


def attention_rollout(maps: Numbers, residual: float = 0.5) -> np.ndarray:
    """How much of each input token reaches each token behind the last layer, if attention were all that mixes tokens.

    Abnar & Zuidema 2020 (arXiv:2005.00928): the mean over heads, half of it and half of the identity for the residual connection, rows summing to one,
    multiplied from the first layer to the last; as figure 6 of Dosovitskiy et al. 2021 (arXiv:2010.11929) has it. It asks for no class;
    as attention depends on the input, its means over the inputs of each class may differ (`class_maps` holds them against permuted labels).

    Parameters
    ----------
    maps : (B, L, H, T, T), or (L, H, T, T) of one input.
    residual : share of the identity, from 0 to below 1.

    Returns
    -------
    (B, T, T), or (T, T), float64, rows summing to one: row 0 of a model with a class token is what that token is made of.

    Raises
    ------
    ValueError : maps of another shape, or a share out of range.

    >>> attention_rollout([[[[0.0, 1.0], [0.0, 1.0]]], [[[1.0, 0.0], [1.0, 0.0]]]]).tolist()
    [[0.5, 0.5], [0.25, 0.75]]
    """
    if not 0 <= residual < 1:
        raise ValueError(f"residual is {residual}; the identity's share is from 0 to below 1.")
    weights, several = _read_maps(maps)
    identity = torch.eye(weights.shape[-1], dtype=torch.float64)
    mixed = identity.expand(len(weights), -1, -1)
    for layer in range(weights.shape[1]):
        step = (1 - residual) * weights[:, layer].double().mean(1) + residual * identity
        mixed = step / step.sum(-1, keepdim=True) @ mixed
    return mixed.numpy() if several else mixed[0].numpy()


def _read_maps(maps: Numbers) -> tuple[Tensor, bool]:
    """As a tensor (B, L, H, T, T), and whether there were several inputs."""
    weights = as_tensor(maps)
    if weights.ndim not in (4, 5) or weights.shape[-1] != weights.shape[-2] or not weights.numel():
        raise ValueError(f"Attention maps must be (inputs, depth, heads, tokens, tokens), or those of one input, but are {tuple(weights.shape)}.")
    return (weights if weights.ndim == 5 else weights[None]), weights.ndim == 5


def as_tensor(numbers: Numbers) -> Tensor:
    """Arrays, lists and tensors alike as a tensor on the CPU, without gradients."""
    return (numbers if isinstance(numbers, Tensor) else of_array(numbers)).detach().cpu()


def of_array(numbers: ArrayLike) -> Tensor:
    """As a tensor, whatever the array's strides and byte order; columns of pandas' own number types too.

    Raises
    ------
    ValueError : an array that is masked in places.

    >>> of_array(np.array([1, 2, 3], dtype=">i4")[::-1]).tolist()
    [3, 2, 1]
    """
    if np.ma.is_masked(numbers):
        raise ValueError("The numbers are masked in places, and a tensor has no gaps; leave the rows out that have some, or fill them (numbers.filled).")
    array = np.asarray(numbers)
    kind = np.dtype(float) if array.dtype == object else array.dtype.newbyteorder("=")
    backwards = min(array.strides, default=0) < 0  # an axis of one step may be, and numpy calls the array contiguous
    return torch.as_tensor(array.astype(kind, order="C", copy=backwards or not array.flags.writeable))

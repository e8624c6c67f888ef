"""What positions tell apart: how alike the vectors are that a model adds to its tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from sigvit.evaluation.attention import Numbers, as_tensor
from sigvit.tokens import Tokens

# N = patch tokens, D = width


def position_similarity(vectors: Numbers, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Cosine similarity of every two position vectors.

    Dosovitskiy et al. 2021 (arXiv:2010.11929), figure 7: a tile for each patch shows its similarity to all patches.

    Parameters
    ----------
    vectors : (N, D), one a token, row-major on its grid; without special tokens.
    shape : of the grid, such as (14, 14); its product is N.

    Returns
    -------
    float64 (N, N), or (*shape, *shape): `similarity[3, 5]` is the tile of the token at row 3, column 5. NaN for a vector of zeros, which has no direction.

    Raises
    ------
    ValueError : vectors that aren't (N, D), or a shape of another number of tokens.

    >>> position_similarity([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]).round(3).tolist()
    [[1.0, 0.0, 0.707], [0.0, 1.0, 0.707], [0.707, 0.707, 1.0]]
    """
    table = as_tensor(vectors).double().numpy()
    if table.ndim != 2 or not table.size:
        raise ValueError(f"Position vectors must be (tokens, width), but are {table.shape}.")
    if shape is not None and np.prod(shape) != len(table):
        raise ValueError(f"A grid of {shape} has {np.prod(shape)} tokens, but there are {len(table)} position vectors.")
    length = np.linalg.norm(table, axis=1, keepdims=True)
    direction = np.divide(table, length, out=np.full_like(table, np.nan), where=length > 0)
    similarity = np.clip(direction @ direction.T, -1, 1)
    return similarity if shape is None else similarity.reshape(*shape, *shape)


def similarity_by_distance(similarity: Numbers, places: Numbers) -> float:
    """Spearman's rank correlation of similarity with distance over all pairs: far below 0 where neighbours are alike.

    Parameters
    ----------
    similarity : (N, N), symmetric; its diagonal isn't read.
    places : (N, 3) or of any other number of columns, of one unit; those that aren't known (NaN) are left out.

    Returns
    -------
    -1 … 1; NaN where all similarities or all distances are equal.

    Raises
    ------
    ValueError : arrays that don't belong together, or fewer than two pairs with a known distance.

    >>> similarity_by_distance([[1.0, 0.9, 0.1], [0.9, 1.0, 0.5], [0.1, 0.5, 1.0]], [[1.0], [2.0], [4.0]])
    -1.0
    """
    matrix, sites = as_tensor(similarity).double().numpy(), as_tensor(places).double().numpy()
    if sites.ndim != 2 or matrix.shape != (len(sites), len(sites)):
        raise ValueError(f"Similarity must be (N, N) and places (N, columns), but they are {matrix.shape} and {sites.shape}.")
    known = np.flatnonzero(np.isfinite(sites).all(1))
    first, second = np.triu_indices(len(known), 1)
    if len(first) < 2:
        raise ValueError(f"The places of {len(known)} of {len(sites)} are known, so that there are {len(first)} pairs; a correlation needs two.")
    distances = np.linalg.norm(sites[known[first]] - sites[known[second]], axis=1)
    # Equal ones are off by rounding: similarities as far as that of float32 vectors.
    ranks = [rankdata(each) for each in (matrix[known[first], known[second]].round(6), distances.round(9))]
    if min(np.ptp(each) for each in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1].round(12))


def position_vectors(model: Any) -> Tensor:
    """What a model's positions add to each patch token of its own grid: (N, D); zeros where they add nothing ("none", "rotary").

    >>> import sigvit
    >>> position_vectors(sigvit.vit("Ti/4", (8, 12), 10, positions="sincos")).shape
    torch.Size([6, 192])
    """
    like = next(model.parameters())
    nothing = torch.zeros(1, model.grid.n_tokens, model.config.width, dtype=like.dtype, device=like.device)
    with torch.no_grad():
        return model.positions(Tokens(nothing, model.grid)).values[0]

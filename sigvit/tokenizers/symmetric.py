"""Symmetric matrices, whole batches at once: shrinkage, logarithm and inverse square root with gradients everywhere, the Riemannian mean.

Logarithms of covariances and the tangent space at a reference: Barachant et al. 2012, "Multiclass brain-computer interface classification by Riemannian
geometry", IEEE TBME 59. float64 is meant throughout: the spectra of recordings span six orders of magnitude and more.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# n = rows and columns of a symmetric matrix, V = n (n + 1) / 2

# Eigenvalues below this share of the largest count as it, and matrices below this size as that: logarithms stay finite where a recording is flat.
SHARE_FLOOR, SIZE_FLOOR = 1e-12, 1e-30
# A step of the Riemannian mean that leaves more than this share of the distance overshot: the next ones are half as long.
LEFT_AT_MOST = 0.8
# Below it the series of atanh(z) / z is exact to the last bit of float64.
SMALL = 1e-3


class _Spectral(torch.autograd.Function):
    """A function of a symmetric matrix through its eigenvalues.

    Its derivative by the theorem of Daleckii and Krein (1965): in the eigenvectors' basis, the change of the matrix times the divided differences
    (f(a) - f(b)) / (a - b), which become f'(a) where a = b. torch's own gradient of `eigh` divides by a - b there.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(matrix: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        values, vectors = torch.linalg.eigh(matrix)
        values = floored(values)
        applied = values.log() if name == "log" else values.rsqrt()
        return (vectors * applied[..., None, :]) @ vectors.mT, values, vectors

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple) -> None:
        ctx.name = inputs[1]
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*output[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        values, vectors = ctx.saved_tensors
        differences = _log_differences(values) if ctx.name == "log" else _inverse_root_differences(values)
        inner = vectors.mT @ ((gradient + gradient.mT) / 2) @ vectors
        return vectors @ (differences * inner) @ vectors.mT, None


def matrix_log(matrix: Tensor) -> Tensor:
    """Logarithm of symmetric positive matrices, (…, n, n) → (…, n, n); gradients are finite also where eigenvalues are equal.

    >>> matrix = torch.eye(3, dtype=torch.float64, requires_grad=True)
    >>> torch.autograd.grad(matrix_log(matrix)[0, 1], matrix)[0][0].tolist()
    [0.0, 0.5, 0.0]
    """
    return _Spectral.apply(matrix, "log")[0]


def inverse_root(matrix: Tensor) -> Tensor:
    """The inverse square root of symmetric positive matrices, (…, n, n) → (…, n, n), with gradients as `matrix_log`.

    >>> inverse_root(torch.tensor([[4.0, 0.0], [0.0, 0.25]])).tolist()
    [[0.5, 0.0], [0.0, 2.0]]
    """
    return _Spectral.apply(matrix, "inverse root")[0]


def floored(values: Tensor) -> Tensor:
    """Ascending eigenvalues (…, n), none below its floor."""
    return values.maximum(values[..., -1:] * SHARE_FLOOR).clamp(min=SIZE_FLOOR)


def _log_differences(values: Tensor) -> Tensor:
    """(log a - log b) / (a - b) for every pair: 2 atanh(z) / z / (a + b) with z = (a - b) / (a + b), which loses nothing where a is near b."""
    a, b = values[..., :, None], values[..., None, :]
    z = (a - b) / (a + b)
    far = z.abs() > SMALL
    series = 1 + z**2 / 3 + z**4 / 5
    return 2 / (a + b) * torch.where(far, torch.atanh(z) / z.where(far, 1.0), series)


def _inverse_root_differences(values: Tensor) -> Tensor:
    """(a^-½ - b^-½) / (a - b) for every pair, without a difference."""
    a, b = values.sqrt()[..., :, None], values.sqrt()[..., None, :]
    return -1 / (a * b * (a + b))


def upper_triangle(matrix: Tensor) -> Tensor:
    """The upper triangles row by row, those off the diagonal times √2, so that lengths are kept: (…, n, n) → (…, V).

    >>> upper_triangle(torch.tensor([[1.0, 3.0], [3.0, 2.0]])).tolist()
    [1.0, 4.24..., 2.0]
    """
    n = matrix.shape[-1]
    rows, columns = torch.triu_indices(n, n, device=matrix.device)
    weights = torch.ones(len(rows), dtype=matrix.dtype, device=matrix.device).masked_fill(rows != columns, 2**0.5)
    return matrix[..., rows, columns] * weights


def shrink(covariance: Tensor, present: Tensor, samples: Tensor, shrinkage: float | str) -> Tensor:
    """Covariances drawn towards the mean variance of their electrodes: (1 - s) C + s · mean variance · I.

    Parameters
    ----------
    covariance : (…, n, n); rows and columns of absent electrodes are zero and stay so.
    present : (…, n) of ones and zeros.
    samples : (…) how many the covariance was measured from.
    shrinkage : s from 0 to 1, or "oas": the oracle approximating one (Chen et al. 2010, IEEE TSP 58, as scikit-learn has it).

    >>> shrink(torch.tensor([[3.0, 1.0], [1.0, 1.0]]), torch.ones(2), torch.tensor(9.0), 0.5).tolist()
    [[2.5, 0.5], [0.5, 1.5]]
    """
    count = present.sum(-1).clamp(min=1)
    variance = covariance.diagonal(dim1=-2, dim2=-1).sum(-1) / count
    share = _oracle(covariance, variance, count, samples) if isinstance(shrinkage, str) else torch.full_like(variance, shrinkage)
    share = share.expand_as(variance)[..., None, None]
    return (1 - share) * covariance + torch.diag_embed(share[..., 0] * variance[..., None] * present)


def _oracle(covariance: Tensor, variance: Tensor, count: Tensor, samples: Tensor) -> Tensor:
    squares = (covariance**2).sum((-2, -1)) / count**2
    above, below = squares + variance**2, (samples + 1) * (squares - variance**2 / count)
    # Nothing to shrink: all is equal already, so that any share gives the same. Where the ratio is above 1 its gradient is 0, not undefined.
    known = below > above
    return torch.where(known, above / below.where(known, 1.0), 1.0)


def riemannian_mean(matrices: Tensor, tolerance: float = 1e-9, steps: int = 100) -> Tensor:
    """The mean of symmetric positive matrices under the affine-invariant metric, (N, …, n, n) → (…, n, n), by fixed-point steps (Moakher 2005),
    shortened where they overshoot, as they do between matrices whose eigenvalues span four orders of magnitude and more.

    Raises
    ------
    ValueError : the steps don't come to rest, as with matrices that are hardly positive.

    >>> riemannian_mean(torch.tensor([[[1.0]], [[4.0]]], dtype=torch.float64)).round(decimals=6).tolist()
    [[2.0]]
    """
    mean = matrices.mean(0)
    length = torch.ones_like(mean[..., :1, :1])
    last = torch.full_like(length, torch.inf)
    for _ in range(steps):
        values, vectors = torch.linalg.eigh(mean)
        root, inverse = ((vectors * power[..., None, :]) @ vectors.mT for power in (floored(values).sqrt(), floored(values).rsqrt()))
        change = matrix_log(inverse @ matrices @ inverse).mean(0)
        distance = torch.linalg.matrix_norm(change, keepdim=True)
        length, last = torch.where(distance > LEFT_AT_MOST * last, length / 2, length), distance
        mean = root @ torch.linalg.matrix_exp(length * change) @ root
        mean = (mean + mean.mT) / 2
        if change.abs().max() < tolerance:
            return mean
    raise ValueError(f"The Riemannian mean of {len(matrices)} covariances didn't come to rest in {steps} steps; shrink the covariances more.")

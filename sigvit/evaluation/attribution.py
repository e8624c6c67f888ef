"""Which parts of a signal speak for a class: gradients of the class score, along the way from other signals to this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigvit.evaluation.attention import Numbers, as_tensor

# n = inputs, K = classes, R = references, F = frequencies


class Attribution(NamedTuple):
    """What each number of each input adds to the score of each class.

    `values` (n, K, *input): over all numbers of an input they sum to its score less the references' mean score, up to what is `missing`.
    `spectrum` (n, K, …, F): the same sums by frequency along the last axis, `numpy.fft.rfftfreq` in order.
    `scores` (n, K): of the inputs. `missing` (n, K): what the sums lack, the error of the integral; more `points` make it small.
    """

    values: np.ndarray
    spectrum: np.ndarray
    scores: np.ndarray
    missing: np.ndarray


@torch.inference_mode(False)
def attribution(
    model: Callable[[Tensor], Tensor],
    inputs: Numbers,
    references: Numbers | None = None,
    n_references: int = 16,
    points: int = 8,
    targets: Numbers | None = None,
    reference_labels: Numbers | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> Attribution:
    """Integrated gradients of every class score, from references to each input, averaged over the references.

    Sundararajan et al. 2017 (arXiv:1703.01365); over many references, expected gradients: Erion et al. 2021 (arXiv:1906.10670). A class score is its logit
    less the mean of all logits, since softmax sees differences alone. Against other trials a class also gets credit for what is missing in it, and what
    all trials share gets none. By frequency: Vielhaben et al. 2024 (doi:10.1016/j.patcog.2023.110105), from Parseval's identity.

    Parameters
    ----------
    model : inputs → logits (n, K); in evaluation mode and at least single precision.
    inputs : (n, …), scaled as the model wants them.
    references : (R, …) other inputs, as many of each class; None is zero, the mean of standardised signals.
    n_references : how many are drawn without repeats for one input after the other, by `seed`; all where there are no more.
    points : of Gauss and Legendre's rule on each way. From zero take 64 and more: a LayerNorm turns sharply near a token of nothing.
    targets : (n,) class numbers: for each input this class alone, so that K is 1. None: all classes.
    reference_labels : (R,) class numbers: the score of a class is then compared with references of other classes alone, which differ from it where the
        classes do; with those of its own a trial differs by noise.
    batch_size : points that are computed at once.

    Raises
    ------
    ValueError : inputs and references of different shapes, NaN or infinity in either, targets that aren't (n,) or no classes, no point, a model in
        training mode, or one in half precision.

    >>> found = attribution(lambda x: torch.stack([x[:, 0] * x[:, 1], x[:, 2]], dim=1), torch.tensor([[2.0, 3.0, 5.0]]))
    >>> found.values[0, 0].round(3).tolist(), found.scores[0].tolist()  # half of 2 · 3 less half of 5; half of 6 to either factor
    ([1.5, 1.5, -2.5], [0.5, -0.5])
    """
    if min(n_references, points, batch_size) < 1:
        raise ValueError(f"n_references ({n_references}), points ({points}) and batch_size ({batch_size}) must all be at least 1.")
    x, others = _read(model, inputs, references)
    generator = np.random.default_rng(seed)
    known = None if reference_labels is None else as_tensor(reference_labels).numpy()
    wanted = None if targets is None else as_tensor(targets).tolist()
    with torch.no_grad():
        n_classes = model(x[:1]).shape[1]
    _check_labels(len(x), len(others), n_classes, wanted, known)
    found = []
    for row, own in enumerate(x):
        # All classes at once where they share their references, else each alone.
        classes = [slice(number, number + 1) for number in (range(n_classes) if wanted is None else wanted[row : row + 1])]
        classes = [slice(None)] if wanted is None and known is None else classes
        allowed = [np.arange(len(others)) if known is None else np.flatnonzero(known != each.start) for each in classes]
        drawn = [others[_draw(generator, rows, n_references)] for rows in allowed]
        parts = [_one(model, own, references, each, points, batch_size) for references, each in zip(drawn, classes, strict=True)]
        found.append([torch.cat(part) for part in zip(*parts, strict=True)])
    return Attribution(*(torch.stack(parts).to(x.dtype).cpu().numpy() for parts in zip(*found, strict=True)))


def class_scores(logits: Tensor) -> Tensor:
    """(n, K) → (n, K): each logit less the mean of all."""
    return logits - logits.mean(-1, keepdim=True)


def _one(
    model: Callable[[Tensor], Tensor], own: Tensor, references: Tensor, classes: slice, points: int, batch_size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values (K, *input), spectrum (K, …, F), scores (K,) and what is missing (K,) of one input, for these K classes."""
    with torch.no_grad():
        scores, *others = class_scores(torch.cat([model(part) for part in torch.cat([own[None], references]).split(batch_size)]))[:, classes]
    values = own.new_zeros(len(scores), *own.shape)
    spectrum = own.new_zeros(len(scores), *own.shape[:-1], own.shape[-1] // 2 + 1)
    for places, differences, weights in _ways(own, references, points, batch_size):
        for number, gradients in enumerate(_gradients(model, places, classes)):
            weighted = gradients * weights.view(-1, *[1] * own.ndim)
            values[number] += (weighted * differences).sum(0)
            spectrum[number] += _by_frequency(weighted, differences).sum(0)
    return values, spectrum, scores, scores - torch.stack(others).mean(0) - values.flatten(1).sum(1)


def _ways(own: Tensor, references: Tensor, points: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Points on the straight ways from the references to the input, the way's whole difference at each, and their weights, which sum to one."""
    rule, shares = (torch.as_tensor(numbers, dtype=own.dtype, device=own.device) for numbers in np.polynomial.legendre.leggauss(points))
    steps, weights = ((rule + 1) / 2).repeat(len(references)), (shares / 2).repeat(len(references)) / len(references)
    starts = references.repeat_interleave(points, dim=0)
    for rows in torch.arange(len(steps), device=own.device).split(batch_size):
        differences = own - starts[rows]
        yield starts[rows] + steps[rows].view(-1, *[1] * own.ndim) * differences, differences, weights[rows]


def _gradients(model: Callable[[Tensor], Tensor], points: Tensor, classes: slice) -> Iterator[Tensor]:
    """Of each of these class scores at each point."""
    points = points.requires_grad_()
    with torch.enable_grad():
        every = class_scores(model(points)).sum(0)
        scores = every[classes].unbind()
    missing = torch.zeros_like(points)
    # All scores sum to zero, so the last one's gradient is what the others' lack.
    whole = len(scores) == len(every) > 1
    computed = scores[:-1] if whole else scores
    for number, score in enumerate(computed):
        (gradients,) = torch.autograd.grad(score, points, retain_graph=number < len(computed) - 1)
        missing = missing - gradients
        yield gradients
    if whole:
        yield missing


def _by_frequency(gradients: Tensor, differences: Tensor) -> Tensor:
    """Products of the two summed over the last axis, in parts by frequency: (…, S) → (…, F)."""
    samples = gradients.shape[-1]
    products = (torch.fft.rfft(gradients).conj() * torch.fft.rfft(differences)).real / samples
    twice = torch.full_like(products, 2.0)  # each frequency between 0 and half the rate stands for its negative as well
    twice[..., 0] = 1.0
    if samples % 2 == 0:
        twice[..., -1] = 1.0
    return products * twice


def _draw(generator: np.random.Generator, rows: np.ndarray, wanted: int) -> np.ndarray:
    return rows if len(rows) <= wanted else np.sort(generator.choice(rows, wanted, replace=False))


def _check_labels(n_inputs: int, n_references: int, n_classes: int, targets: list[int] | None, reference_labels: np.ndarray | None) -> None:
    if targets is not None and len(targets) != n_inputs:
        raise ValueError(f"There are {len(targets)} targets for {n_inputs} inputs; give one class number each.")
    unknown = sorted({target for target in targets or [] if target not in range(n_classes)})
    if unknown:
        raise ValueError(f"The targets {unknown[:5]} are no classes of the model, which has 0 … {n_classes - 1}.")
    if reference_labels is not None and reference_labels.shape != (n_references,):
        raise ValueError(f"There are {n_references} references, but labels of shape {reference_labels.shape}; give one class number each.")
    if reference_labels is not None and len(np.unique(reference_labels)) < 2:
        raise ValueError(f"All references are of class {reference_labels[0]}; every class needs references of others.")


def _read(model: Callable[[Tensor], Tensor], inputs: Numbers, references: Numbers | None) -> tuple[Tensor, Tensor]:
    """Inputs and references on the model's device."""
    if getattr(model, "training", False):
        raise ValueError("The model is in training mode, where dropout changes its answers; call model.eval() first.")
    parameter = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    x = as_tensor(inputs)
    x = x.to(parameter) if parameter is not None else x.float() if not x.is_floating_point() else x
    if x.dtype in (torch.float16, torch.bfloat16):
        told = "The inputs are" if parameter is None else "The model computes"
        raise ValueError(f"{told} in {x.dtype}, too coarse for the small differences that attribution sums; call .float() of model and inputs first.")
    others = torch.zeros_like(x[:1]) if references is None else as_tensor(references).to(x)
    if x.ndim < 2 or not x.numel() or not len(others) or others.shape[1:] != x.shape[1:]:
        raise ValueError(f"Inputs are {tuple(x.shape)} and references {tuple(others.shape)}; both must be (number, …) of one shape.")
    for name, numbers in (("inputs", x), ("references", others)):
        if not bool(numbers.isfinite().all()):
            raise ValueError(f"Row {int((~numbers.isfinite()).flatten(1).any(1).nonzero()[0])} of the {name} holds NaN or infinity.")
    return x, others

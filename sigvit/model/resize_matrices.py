"""How each method resamples a line: one weight matrix (new, old), whose rows sum to one; imports nothing of ours.

Every method here is separable, so a table of any number of axes is resampled by one matrix an axis, and no library's interpolation is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

# A size may be a symbol while an exporter traces the model; then `xp` is torch, else numpy. Branching on a size would fix it.

Array = Any
Kernel = Callable[[Array, Any], Array]
Centres = Callable[[int, int, Any], Array]


def line_matrix(method: str, old: int, new: int, xp: Any = np) -> Array:
    """(new, old) float64 weights of the method called so; kept, but for traces.

    >>> line_matrix("sigvit", 2, 1)
    array([[0.5, 0.5]])
    >>> line_matrix("google", 3, 2)
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    return _kept(method, old, new) if xp is np else METHODS[method](old, new, xp)


@lru_cache(maxsize=256)
def _kept(method: str, old: int, new: int) -> np.ndarray:
    matrix = METHODS[method](old, new, np)
    matrix.flags.writeable = False
    return matrix


def triangle(x: Array, xp: Any) -> Array:
    """Linear interpolation."""
    return xp.clip(1 - xp.abs(x), 0, None)


def cubic(x: Array, xp: Any, a: float) -> Array:
    """Keys' cubic convolution, IEEE TASSP 29, 1981; a = -0.5 in his paper, -0.75 in PyTorch's plain "bicubic"."""
    x = xp.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return xp.where(x < 1, near, xp.where(x < 2, far, xp.zeros_like(x)))


def half_pixel(old: int, new: int, xp: Any, offset: float = 0.0) -> Array:
    """Where the new steps' centres lie among the old, (new, 1), when both lines cover the same length (`offset`: the new one is that much longer)."""
    return (xp.arange(new, dtype=xp.float64)[:, None] + 0.5) * old / (_number(new, xp) + offset) - 0.5


def corners(old: int, new: int, xp: Any) -> Array:
    """The same when the first and the last steps lie on each other; a single new step lies on the first."""
    return xp.arange(new, dtype=xp.float64)[:, None] * (old - 1) / xp.clip(_number(new, xp) - 1, 1, None)


def plain(old: int, new: int, xp: Any, centres: Centres, kernel: Kernel) -> Array:
    """The four nearest old steps, whatever the sizes; what lies outside is the step at the edge."""
    at = centres(old, new, xp)
    columns = xp.arange(old, dtype=xp.float64)
    nearest = (xp.floor(at) + k for k in (-1, 0, 1, 2))
    return sum(kernel(at - step, xp) * (xp.clip(step, 0, old - 1) == columns) for step in nearest)


def antialiased(old: int, new: int, xp: Any, kernel: Kernel) -> Array:
    """All old steps under a kernel that is widened when shrinking; what lies outside has no weight."""
    widening = xp.clip(old / _number(new, xp), 1, None)
    weights = kernel((xp.arange(old, dtype=xp.float64) - half_pixel(old, new, xp)) / widening, xp)
    return weights / weights.sum(axis=1, keepdims=True)


def _number(size: int, xp: Any) -> Array:
    """A size as an array of one number, which a trace can hold."""
    return xp.full((1,), size, dtype=xp.float64)


KEYS, TORCH = partial(cubic, a=-0.5), partial(cubic, a=-0.75)

# Ours; what each source calls when it loads or runs, at sizes for which that is right.
METHODS: dict[str, Callable[[int, int, Any], Array]] = {
    "sigvit": partial(antialiased, kernel=KEYS),
    "google": partial(plain, centres=corners, kernel=triangle),  # scipy.ndimage.zoom, order 1
    "timm": partial(antialiased, kernel=KEYS),  # resample_abs_pos_embed
    "torchvision": partial(plain, centres=corners, kernel=TORCH),  # interpolate_embeddings
    "hugging_face": partial(plain, centres=half_pixel, kernel=TORCH),  # interpolate_pos_encoding of ViT and Dinov2
    "mae": partial(plain, centres=half_pixel, kernel=TORCH),  # interpolate_pos_embed of MAE and DeiT
    "dinov2": partial(plain, centres=partial(half_pixel, offset=0.1), kernel=TORCH),  # with interpolate_offset=0.1
    "flexivit": partial(antialiased, kernel=triangle),  # jax.image.resize, "linear"
}

# How an image is thought to be resized when its patches are.
PATCH_METHODS: dict[str, Callable[[int, int, Any], Array]] = {
    "sigvit": partial(antialiased, kernel=KEYS),
    "timm": partial(antialiased, kernel=KEYS),  # resample_patch_embed
    "flexivit": partial(plain, centres=half_pixel, kernel=triangle),  # tf.image.resize, "bilinear"
}

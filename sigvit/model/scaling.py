"""How the windows that a model of recordings was trained on were standardised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sigvit.flat import one_where_flat

AT_ONCE = 256  # windows; in float64 all of them would be several copies of themselves


@dataclass(frozen=True, eq=False)
class Scaling:
    """Each electrode less its mean, by its standard deviation, over the windows that a model learned from.

    Attributes
    ----------
    mean, deviation : (electrodes,) float64, in the order of the model's electrodes and in the unit of its signals; deviations are above 0.

    Raises
    ------
    ValueError : arrays of other shapes, numbers that aren't finite, or a deviation that isn't above 0.

    >>> scaling = Scaling.of(np.array([[[1.0, 3.0, 5.0], [7.0, 7.0, 7.0]]]))
    >>> scaling(np.array([[[3.0], [8.0]]]))
    tensor([[[0.],
             [1.]]])
    """

    mean: np.ndarray
    deviation: np.ndarray

    def __post_init__(self) -> None:
        for name in ("mean", "deviation"):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.float64))
        if self.mean.ndim != 1 or self.mean.shape != self.deviation.shape:
            raise ValueError(f"A scaling has a mean and a deviation an electrode, but these are of {self.mean.shape} and {self.deviation.shape}.")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.deviation).all() and (self.deviation > 0).all()):
            raise ValueError("A scaling's means must be finite, and its deviations finite and above 0; a flat electrode's deviation is 1.")

    @classmethod
    def of(cls, values: np.ndarray) -> Scaling:
        """That of windows (windows, electrodes, samples); the deviation of a flat electrode is 1."""
        mean = values.mean((0, 2), dtype=np.float64)
        return cls(mean, one_where_flat(values.std((0, 2), dtype=np.float64), mean))

    def __call__(self, values: np.ndarray, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
        """(windows, electrodes, samples), standardised."""
        scaled = torch.empty(values.shape, dtype=dtype, device=device)
        for first in range(0, len(values), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            scaled[part] = torch.as_tensor((values[part] - self.mean[:, None]) / self.deviation[:, None], dtype=dtype, device=device)
        return scaled

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists, for JSON."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

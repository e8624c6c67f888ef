"""From row numbers to a batch of images on the device: out of its memory, or decoded by workers while the device computes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from sigvit.training.crops import CentreCrop, InceptionCrops

# B = batch, N = images, C = channels, H × W = rows × columns

KEPT_ON_DEVICE = 8 * 2**30  # bytes of uint8 images; a larger set stays in the machine's memory unless asked otherwise


class LabelledImages(Protocol):
    """What training and evaluation ask of a set of images: `sigvit.data.images.Images`."""

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def values(self) -> np.ndarray | None: ...

    @property
    def channels(self) -> int: ...

    @property
    def source(self) -> str: ...

    @property
    def size(self) -> tuple[int, int] | None: ...

    def __len__(self) -> int: ...

    def read(self, rows: Any, framing: Any = None) -> np.ndarray: ...

    def order(self, generator: np.random.Generator) -> np.ndarray: ...


class ImageReader:
    """Batches of uint8 images (B, C, H, W) on a device.

    A set in memory is moved to the device once, where it fits; its images come at their own size. Others are decoded and cropped by worker threads
    (Pillow decodes and resizes without Python's lock; measured, threads and processes were alike, and threads copy nothing), and the batches that are asked
    for beforehand are being read while the device computes. What is read never depends on the number of workers.

    Parameters
    ----------
    workers : threads that decode; 0 decodes when a batch is taken.
    keep_on_device : whether a set in memory lies on the device; None does so up to `KEPT_ON_DEVICE`.

    Raises
    ------
    ValueError : the device is asked to keep a set that isn't in memory.
    """

    def __init__(self, images: LabelledImages, device: torch.device | str = "cpu", workers: int = 4, keep_on_device: bool | None = None) -> None:
        # "cuda" without a number is not equal to the device on which its tensors say that they lie.
        self.images, self.device, self.workers = images, torch.empty(0, device=device).device, workers
        if workers < 0:
            raise ValueError(f"workers is {workers}; it must be at least 0.")
        if images.values is None and keep_on_device:
            raise ValueError(f"{images.source}: only images in memory can be kept on the device; decode them first with in_memory().")
        self.values: Tensor | None = None
        if images.values is not None:
            fits = images.values.nbytes <= KEPT_ON_DEVICE if keep_on_device is None else keep_on_device
            self.values = torch.from_numpy(np.ascontiguousarray(images.values.transpose(0, 3, 1, 2))).to(self.device if fits else "cpu")
        self._pool = ThreadPoolExecutor(workers) if workers and self.values is None else None
        self._coming: dict[Hashable, list[Callable[[], np.ndarray]]] = {}

    @property
    def decodes(self) -> bool:
        """Whether images are decoded and cropped when they are read; those in memory come whole."""
        return self.values is None

    def stored(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """Images in memory, at their own size, uint8 (B, C, H, W) on the device."""
        if self.values is None:
            raise ValueError(f"{self.images.source}: its images aren't in memory; ask for them with a framing.")
        return self._moved(self.values[torch.as_tensor(np.asarray(rows)).to(self.values.device, non_blocking=True)])

    def ask(self, key: Hashable, rows: Sequence[int] | np.ndarray, framing: InceptionCrops | CentreCrop) -> None:
        """Begin to read and frame a batch that will be taken by this key."""
        if key in self._coming:
            return
        parts = [part for part in np.array_split(np.arange(len(rows)), self.workers or 1) if len(part)]
        calls = [partial(self.images.read, np.asarray(rows)[part], framing.of(slice(part[0], part[-1] + 1))) for part in parts]
        self._coming[key] = [call if self._pool is None else self._pool.submit(call).result for call in calls]

    def take(self, key: Hashable) -> Tensor:
        """The batch that was asked for by this key, uint8 (B, C, H, W) on the device."""
        values = np.concatenate([result() for result in self._coming.pop(key)])
        return self._moved(torch.from_numpy(values).permute(0, 3, 1, 2).contiguous())

    def forget(self) -> None:
        """Give up what was asked for and not taken."""
        self._coming = {}

    def _moved(self, values: Tensor) -> Tensor:
        if values.device == self.device:
            return values
        return (values.pin_memory() if self.device.type == "cuda" else values).to(self.device, non_blocking=True)

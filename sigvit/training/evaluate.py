"""Accuracy and loss over a whole set of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.mode import in_mode
from sigvit.tokenizers.image import rows_and_columns
from sigvit.training.augment_images import ImageAugmentation, evaluation_crop, preprocess
from sigvit.training.distributed import Processes
from sigvit.training.image_reader import ImageReader, LabelledImages
from sigvit.training.losses import cross_entropy, require_kind
from sigvit.training.recipe import CHOICES
from sigvit.training.settings import exact_convolutions

# B = batch, C = classes


class Evaluation(NamedTuple):
    """Share of images whose class has the largest logit, and the mean loss over images."""

    accuracy: float
    loss: float


class ImageEvaluation:
    """A set of images that models are evaluated on, again and again: it is read or moved to the device once.

    Every image counts once and equally, whatever the batches; with several processes each takes its share of the images and all get the same answer.

    Parameters
    ----------
    images : a `sigvit.data.images.Images` with labels.
    augmentation : says crop and normalisation; nothing is varied.
    image_size : pixels that the model sees, an int or (rows, columns); None takes that of images in memory.
    batch_size : images of one forward pass, of one process.
    dtype : "float32", "float64", or "bfloat16" (autocast).
    loss : "softmax", "sigmoid" or "binary" cross-entropy, without smoothing.
    processes : that share the work; the device is theirs.
    workers, keep_on_device : as in `ImageReader`.

    Raises
    ------
    ValueError : images without one size and no `image_size`, or one that is no number of pixels; a batch size below 1, another dtype or loss than these;
        when called: a model with another number of classes.
    """

    def __init__(
        self,
        images: LabelledImages,
        augmentation: ImageAugmentation,
        image_size: int | Sequence[int] | None = None,
        *,
        batch_size: int = 256,
        dtype: str = "float32",
        loss: str = "softmax",
        processes: Processes | None = None,
        workers: int = 4,
        keep_on_device: bool | None = None,
    ) -> None:
        self.processes = processes or Processes.alone()
        size = images.size if image_size is None else rows_and_columns("image_size", image_size)
        if size is None:
            raise ValueError(f"{images.source}: its images have sizes of their own; say with image_size which the model sees.")
        if batch_size < 1 or dtype not in CHOICES["dtype"]:
            raise ValueError(f'batch_size is {batch_size} and dtype {dtype!r}; they must be at least 1, and "float32", "float64" or "bfloat16".')
        require_kind("loss", loss)
        self.images, self.augmentation, self.size, self.dtype, self.loss = images, augmentation, size, dtype, loss
        self.reader = ImageReader(images, self.processes.device, workers, keep_on_device)
        self._batches = self._shared_out(batch_size)

    def _shared_out(self, batch_size: int) -> list[np.ndarray]:
        """This process's rows in batches: as many batches in every process, some perhaps empty, since a model that is shared out computes in step."""
        rows = np.arange(self.processes.rank, len(self.images), self.processes.world)
        return np.array_split(rows, math.ceil(math.ceil(len(self.images) / self.processes.world) / batch_size))

    @exact_convolutions()
    @torch.no_grad()
    def __call__(self, model: nn.Module) -> Evaluation:
        """Evaluate in evaluation mode; every part of the model comes back in the mode it was in. Every process must call."""
        totals = torch.zeros(3, dtype=torch.float64, device=self.processes.device)
        with in_mode(model, training=False):
            for number in range(len(self._batches)):
                totals += self._counted(model, number)
        correct, loss, count = self.processes.mean(totals).tolist()
        return Evaluation(correct / count, loss / count)

    def _counted(self, model: nn.Module, number: int) -> Tensor:
        """(3,): correct images, their summed loss, their number."""
        rows = self._batches[number]
        inputs = self._inputs(number)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.dtype == "bfloat16"):
            logits = model(inputs)
        wanted = len(self.images.classes)
        if logits.shape[1] != wanted:
            raise ValueError(f"The model has {logits.shape[1]} classes, but {self.images.source} has {wanted}; reset_head({wanted}) gives it as many.")
        logits, labels = logits[: len(rows)].double(), torch.as_tensor(self.images.labels[rows]).to(logits.device)
        if not len(rows):
            return torch.zeros(3, dtype=torch.float64, device=logits.device)
        loss = cross_entropy(logits, functional.one_hot(labels, logits.shape[1]).double(), kind=self.loss) * len(rows)
        return torch.stack([(logits.argmax(1) == labels).sum().double(), loss, torch.full_like(loss, len(rows))])

    def _inputs(self, number: int) -> Tensor:
        dtype = torch.float64 if self.dtype == "float64" else torch.float32
        if not self.reader.decodes:
            return preprocess(self.reader.stored(self._filled(number)), self.augmentation, self.size).to(dtype)
        for coming in range(number, min(number + 3, len(self._batches))):
            self.reader.ask(coming, self._filled(coming), evaluation_crop(self.augmentation, self.size, None))
        return preprocess(self.reader.take(number), self.augmentation, self.size, cropped=True).to(dtype)

    def _filled(self, number: int) -> np.ndarray:
        """The rows of a batch; an empty one takes an image that isn't counted."""
        rows = self._batches[number]
        return rows if len(rows) else np.zeros(1, dtype=np.int64)


def evaluation_inputs(
    images: LabelledImages, rows: Sequence[int] | np.ndarray, augmentation: ImageAugmentation, size: tuple[int, int], device: torch.device | str = "cpu"
) -> Tensor:
    """The images of these rows as a model of `size` (rows, columns) is evaluated on them, decoded or from memory: float32 (B, C, *size), normalised.

    >>> from sigvit.data.images import open_images
    >>> evaluation_inputs(open_images("digits", "test"), range(3), ImageAugmentation(), (8, 8)).shape
    torch.Size([3, 1, 8, 8])
    """
    decoded = images.values is None
    pixels = images.read(rows, evaluation_crop(augmentation, size, None) if decoded else None)
    return preprocess(torch.as_tensor(pixels).permute(0, 3, 1, 2).to(device), augmentation, size, cropped=decoded)


def evaluate_images(
    model: nn.Module,
    images: LabelledImages,
    augmentation: ImageAugmentation,
    image_size: int | Sequence[int] | None = None,
    *,
    batch_size: int = 256,
    dtype: str = "float32",
    loss: str = "softmax",
    processes: Processes | None = None,
    workers: int = 4,
) -> Evaluation:
    """Accuracy and mean loss of a model over all `images`, once (see `ImageEvaluation` for the parameters).

    >>> from sigvit.data.images import open_images
    >>> from sigvit.model.vision_transformer import vit
    >>> model = vit("Ti/4", (8, 8), 10, in_channels=1, depth=1)
    >>> round(evaluate_images(model, open_images("digits", "test"), ImageAugmentation()).loss, 4)
    2.3026
    """
    processes = processes or Processes.alone(next(model.parameters()).device)
    return ImageEvaluation(images, augmentation, image_size, batch_size=batch_size, dtype=dtype, loss=loss, processes=processes, workers=workers)(model)

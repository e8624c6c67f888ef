"""Models as ONNX files, which run without PyTorch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.export import Dim

if TYPE_CHECKING:
    from sigvit.model.vision_transformer import VisionTransformer


def export_onnx(model: VisionTransformer, path: str | Path) -> None:
    """Write the model, in evaluation mode, as one ONNX file: input `signal`, output `logits`, both in the weights' number format.

    The batch is left open, and so is the size of images: one file serves every grid, because the positions are resized inside it. A recording has the
    length that the model was built for. Attention is written out, so logits differ from PyTorch's by roundings (below 1e-4).

    Raises
    ------
    ImportError : the packages `onnx` and `onnxscript` are missing (extra "onnx").

    >>> from sigvit.model.vision_transformer import vit
    >>> export_onnx(vit("S/16", image_size=224), "model.onnx")  # doctest: +SKIP
    """
    missing = [package for package in ("onnx", "onnxscript") if find_spec(package) is None]
    if missing:
        raise ImportError(f"Writing ONNX needs {' and '.join(missing)}; install sigvit[onnx].")
    training = model.training
    try:
        program = torch.onnx.export(
            model.eval(),
            (example(model),),
            dynamo=True,
            dynamic_shapes=(open_sizes(model),),
            input_names=["signal"],
            output_names=["logits"],
            verbose=False,
        )
    finally:
        model.train(training)
    assert program is not None  # with dynamo it never is
    program.save(path)


def example(model: VisionTransformer) -> torch.Tensor:
    """What a trace is shown: two inputs of the size that the model was built for. A trace takes a size of one for fixed, so there are at least two patches."""
    weight = next(model.parameters())
    return torch.zeros(2, *model.config.input_shape, device=weight.device, dtype=weight.dtype)


def open_sizes(model: VisionTransformer) -> dict[int, Dim]:
    """Axes of the input that an export leaves open, for `torch.export.export(model, (example(model),), dynamic_shapes=(open_sizes(model),))`.

    The batch, and the rows and columns of images, as multiples of the patch.

    >>> from sigvit.model.vision_transformer import signal_vit, vit
    >>> sorted(open_sizes(vit("Ti/8", depth=1))), sorted(open_sizes(signal_vit(3, 40)))
    ([0, 2, 3], [0])
    """
    sizes = {0: Dim("batch")}
    ...
    return sizes

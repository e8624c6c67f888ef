"""Models as ONNX files, which run without PyTorch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.export import Dim

from sigvit.mode import in_mode
from sigvit.tokenizers import ImagePatches
from sigvit.whole_file import whole_file

if TYPE_CHECKING:
    from sigvit.model.vision_transformer import VisionTransformer


def export_onnx(model: VisionTransformer, path: str | Path) -> None:
    """Write the model, in evaluation mode, as an ONNX file with the input "signal" and the output "logits", in the weights' number format.

    What `open_sizes` names is left open: of a model of images the batch and the image's size, so that one file serves every grid; the positions are
    resized inside it. Another runtime sums in another order, so logits differ from PyTorch's by roundings.

    Raises
    ------
    ImportError : the packages `onnx` and `onnxscript` are missing (extra "onnx").
    OSError : the disk is full or the folder can't be written; a file that was there before is untouched.

    >>> from sigvit.model.vision_transformer import vit
    >>> export_onnx(vit("S/16"), "model.onnx")  # doctest: +SKIP
    """
    missing = [package for package in ("onnx", "onnxscript") if find_spec(package) is None]
    if missing:
        raise ImportError(f"Writing ONNX needs {' and '.join(missing)}; install them with the extra 'onnx'.")
    with in_mode(model, training=False):
        program = torch.onnx.export(
            model, example_inputs(model), dynamo=True, dynamic_shapes=open_sizes(model), input_names=["signal"], output_names=["logits"], verbose=False
        )
    assert program is not None  # with dynamo it never is
    path = Path(path).resolve()  # a link to a file stays one
    with TemporaryDirectory(prefix=".onnx-", dir=path.parent) as folder:
        program.save(Path(folder) / path.name)
        for part in sorted(Path(folder).iterdir(), reverse=True):  # first the weights that a model of more than 2 GB has beside it
            with whole_file(path.with_name(part.name)) as beside:
                part.rename(beside)


def example_inputs(model: VisionTransformer) -> tuple[Tensor]:
    """What a trace is shown: a batch of the size that the model was built for, but at least 2 samples and 2 × 2 patches, because it takes a one for fixed."""
    channels, *size = model.config.input_shape
    if isinstance(model.tokenizer, ImagePatches):
        size = [max(-(-pixels // patch), 2) * patch for pixels, patch in zip(size, model.tokenizer.patch_size, strict=True)]
    weight = next(model.parameters())
    return (torch.zeros(2, channels, *size, device=weight.device, dtype=weight.dtype),)


def open_sizes(model: VisionTransformer) -> tuple[dict[int, Any]]:
    """Axes of the input that may stay open in an export: `torch.export.export(model, example_inputs(model), dynamic_shapes=open_sizes(model))`.

    The batch, and for a model of images cut by `ImagePatches` rows and columns, as multiples of the patch (an exported program doesn't fill). A hybrid's
    image and a recording keep the size that the model was built for.

    >>> from sigvit.model.vision_transformer import signal_vit, vit
    >>> open_sizes(vit("Ti/8", depth=1))[0].keys(), open_sizes(signal_vit(3, 40))[0].keys()
    (dict_keys([0, 2, 3]), dict_keys([0]))
    """
    sizes: dict[int, Any] = {0: Dim("batch")}
    if isinstance(model.tokenizer, ImagePatches):
        rows, columns = model.tokenizer.patch_size
        sizes |= {2: rows * Dim("rows"), 3: columns * Dim("columns")}
    return (sizes,)

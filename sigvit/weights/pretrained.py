"""Our own models on disk: weights as safetensors, everything else as plain JSON.

The description is complete: sizes, choices, GELU kind and eps, the tokenizer with its arguments, the grid, and how the windows that it learned from were
standardised. So a model comes back without the code that made it.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize

import sigvit
from sigvit.grid import Grid
from sigvit.model.config import ModelConfig
from sigvit.model.scaling import Scaling
from sigvit.tokenizers import Composite, ConvStem, CovarianceTokens, ElectrodeTimePatches, ImagePatches, ScalpMapPatches, SpectrogramPatches, TimeStepTokens
from sigvit.tokenizers.resnet import ResNetPatches
from sigvit.weights.read import json_object, safetensors
from sigvit.whole_file import whole_file

if TYPE_CHECKING:
    from sigvit.model.vision_transformer import VisionTransformer

FORMAT = 1
OURS = (Composite, ConvStem, CovarianceTokens, ElectrodeTimePatches, ImagePatches, ResNetPatches, ScalpMapPatches, SpectrogramPatches, TimeStepTokens)
TOKENIZERS: dict[str, type[nn.Module]] = {kind.__name__: kind for kind in OURS}
KEYS = ("format", "version", "model", "tokenizer", "grid", "scaling")


def save_pretrained(model: VisionTransformer, folder: str | Path) -> None:
    """Write `model.safetensors` and `config.json` into a folder, which is made where it isn't there.

    Raises
    ------
    TypeError : the model's tokenizer isn't one of this library's, so that no description could rebuild it.
    ValueError : the model has low-rank additions, which no description holds.
    OSError : the disk is full or the folder can't be written; a model that was there before is untouched.
    """
    if any(parametrize.is_parametrized(module) for module in model.modules()):
        raise ValueError("The model has low-rank additions beside its weights, which a saved model's description doesn't hold; merge(model) first.")
    description = {
        "format": FORMAT,
        "version": sigvit.__version__,
        "model": asdict(model.config),
        "tokenizer": _describe(model.tokenizer),
        "grid": model.grid.to_dict(),
        "scaling": None if model.scaling is None else model.scaling.to_dict(),
    }
    into = Path(folder)
    into.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    try:
        with whole_file(into / "config.json") as described:
            described.write_text(_json(description), encoding="utf-8")
            with whole_file(into / "model.safetensors") as beside:
                save_file(weights, beside)
    except SafetensorError as error:  # what it says of a full disk
        raise OSError(errno.EIO, f"{into / 'model.safetensors'} could not be written ({error}); what was there before is untouched.") from error


def from_pretrained(folder: str | Path) -> VisionTransformer:
    """The model that `save_pretrained` wrote: same weights and number formats, on the CPU, in evaluation mode. Random numbers aren't touched.

    Raises
    ------
    FileNotFoundError : the folder lacks one of the two files.
    ValueError : a file that can't be read, an unknown or missing field, another format, or weights that don't belong to the description.
    """
    from sigvit.model.vision_transformer import VisionTransformer

    description = _read_description(Path(folder) / "config.json")
    weights = _read_weights(Path(folder) / "model.safetensors")
    with torch.device("meta"), _said_of("the parts 'model' and 'tokenizer'", folder):
        model = VisionTransformer(_model_config(description["model"]), _tokenizer(description["tokenizer"]))
    with _said_of("the part 'grid'", folder):
        grid = Grid.from_dict(description["grid"])
    if (grid.names, grid.shape) != (model.grid.names, model.grid.shape):
        raise ValueError(f"{folder}: config.json says the grid {grid.names} {grid.shape}, but its model has {model.grid.names} {model.grid.shape}.")
    _check_weights(model.state_dict(), weights, folder)
    model.load_state_dict(weights, assign=True)
    with _said_of("the part 'scaling'", folder):
        model.scaling = _scaling(description["scaling"], model.config)
    return model.eval()


@contextmanager
def _said_of(parts: str, folder: str | Path) -> Iterator[None]:
    """Whatever stops a model from being made of plain data is in these."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise ValueError(f"{folder}: no model can be made of {parts} of config.json ({cause}); take another copy, or save it again.") from error


def _json(description: dict) -> str:
    """As text; numbers of numpy, such as a count of samples, become plain ones."""
    return json.dumps(description, indent=1, allow_nan=False, default=lambda number: number.item()) + "\n"


def _describe(tokenizer: nn.Module) -> dict:
    name = type(tokenizer).__name__
    if TOKENIZERS.get(name) is not type(tokenizer):
        raise TypeError(
            f"A model with the tokenizer {name} can't be described, because its code isn't this library's (those are {', '.join(TOKENIZERS)}); "
            "save model.state_dict() and build the model again yourself."
        )
    for part in tokenizer.tokenizers if isinstance(tokenizer, Composite) else ():
        _describe(part)
    return {"class": name, "arguments": tokenizer.arguments()}  # type: ignore[operator]


def _read_description(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}; a saved model is a folder with config.json and model.safetensors.")
    description = json_object(path.read_bytes(), str(path))
    if description.get("format") != FORMAT:
        raise ValueError(f"{path} has the format {description.get('format')!r}, but this version of sigvit reads format {FORMAT}.")
    _check_fields(description, KEYS, "config.json")
    return description


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}; a saved model is a folder with config.json and model.safetensors.")
    # In memory of their own: the file's isn't aligned, and sums of unaligned numbers round in another order.
    return {name: tensor.clone() for name, tensor in safetensors(path).items()}


def _model_config(data: dict) -> ModelConfig:
    _check_fields(data, tuple(field.name for field in fields(ModelConfig)), "the part 'model' of config.json")
    return ModelConfig(**{**data, "input_shape": tuple(data["input_shape"])})


def _scaling(data: dict | None, config: ModelConfig) -> Scaling | None:
    if data is None:
        return None
    _check_fields(data, ("mean", "deviation"), "the part 'scaling' of config.json")
    scaling = Scaling(**data)
    if len(config.input_shape) != 2 or len(scaling.mean) != config.input_shape[0]:
        raise ValueError(f"config.json scales {len(scaling.mean)} electrodes, but its model reads {config.input_shape}.")
    return scaling


def _tokenizer(data: dict) -> nn.Module:
    _check_fields(data, ("class", "arguments"), "the part 'tokenizer' of config.json")
    if data["class"] not in TOKENIZERS:
        raise ValueError(f"config.json names the tokenizer {data['class']!r}; this version of sigvit has {', '.join(TOKENIZERS)}.")
    kind, arguments = TOKENIZERS[data["class"]], data["arguments"]
    _check_fields(arguments, tuple(signature(kind).parameters), f"the arguments of {data['class']} in config.json")
    if kind is Composite:
        arguments["tokenizers"] = [_tokenizer(part) for part in arguments["tokenizers"]]
    return kind(**arguments)


def _check_fields(found: Any, known: tuple[str, ...], where: str) -> None:
    """ValueError that names a field too many, with the nearest right one, or a field too few."""
    if not isinstance(found, dict):
        raise ValueError(f"{where} is {found!r:.60}; it should be a JSON object with the fields {list(known)}.")
    for name in found:
        if name not in known:
            nearest = get_close_matches(name, known, n=1)
            raise ValueError(f"{where} has an unknown field {name!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else f"; known are {list(known)}."))
    missing = [name for name in known if name not in found]
    if missing:
        raise ValueError(f"{where} lacks {missing}; a saved model is described completely.")


def _check_weights(expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor], folder: str | Path) -> None:
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    if missing or extra:
        raise ValueError(f"{folder}: model.safetensors doesn't belong to config.json; missing are {missing}, too many are {extra}.")
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            raise ValueError(f"{folder}: {name} should be {tuple(tensor.shape)} by config.json, but is {tuple(found[name].shape)}.")

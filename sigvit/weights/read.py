"""Files of weights as plain tensors. A file is data: nothing in it is ever run."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
import zlib
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

FOLDER_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
SHARDS = (".safetensors", ".bin")  # of which an index names several
WITH_CONFIG = (".safetensors", ".bin", ".json")  # of files that a config.json beside them describes
OWN_ENTRY = "sigvit"  # what an .npz of ours says that Google's layout can't: JSON


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file or state dict by their names, what a config beside them says, and how to call it in a sentence."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    where: str


def read(weights: str | Path | Mapping[str, Any], wrappers: tuple[str, ...] = ()) -> Checkpoint:
    """A folder, file, state dict or nested dictionary of arrays; `wrappers` are keys that may hold the weights among other parts.

    Folders are those of Hugging Face and of `save_pretrained`; files are .npz, .safetensors, and PyTorch's (any other name). Arrays of bfloat16 that
    NumPy wrote as 2-byte void are read as such.

    Raises
    ------
    FileNotFoundError : there is no such file, or none in the folder.
    TypeError : neither a path nor a dictionary.
    ValueError : a file that is damaged, holds more than data (code, objects) and is therefore refused, or holds something else than numbers.
    """
    if isinstance(weights, Mapping):
        return Checkpoint(_tensors(weights, wrappers, "the state dict"), {}, "the state dict")
    if not isinstance(weights, str | Path):
        raise TypeError(f"Weights are a path or a dictionary of tensors, but got {type(weights).__name__}; of a module give model.state_dict().")
    path = _file(Path(weights))
    content, config = _read_file(path)
    return Checkpoint(_tensors(content, wrappers, str(path)), config, str(path))


def files_of(weights: str | Path) -> list[Path]:
    """The files that `read` opens for a path: weights, those that an index names, and the config.json beside them.

    Raises
    ------
    FileNotFoundError : as `read`.
    """
    path = _file(Path(weights))
    config = path.parent / "config.json"
    shards = _shards(path) if path.name.endswith(".index.json") else []
    return sorted([path, *shards, *([config] if path.suffix in WITH_CONFIG and config.is_file() else [])])


def _file(path: Path) -> Path:
    """The path itself, or the file of weights in a folder."""
    found = next((path / name for name in FOLDER_FILES if (path / name).is_file()), None) if path.is_dir() else path
    if found is None:
        raise FileNotFoundError(f"The folder {path} has none of {', '.join(FOLDER_FILES)}; give the file itself.")
    if not found.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    return found


def _read_file(path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """What a file holds, and the config that belongs to it."""
    config = _read_config(path.parent / "config.json") if path.suffix in WITH_CONFIG else {}
    if path.name.endswith(".index.json"):
        return _read_shards(path), config
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        return load_file(path) if path.suffix == ".safetensors" else _read_torch(path), config
    except SafetensorError as error:
        raise ValueError(f"{path} isn't a whole safetensors file: {error}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} can't be read as weights; it is damaged, or of another kind: {_first_line(error)}.") from error


def _read_torch(path: Path) -> Any:
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch tells of old pickles; whatever is in one, it is refused or read as data
        try:
            with torch.serialization.safe_globals([Namespace]):  # training scripts keep their arguments; a Namespace holds values alone
                return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(f"{path} holds more than tensors and is refused, because reading it could run code: {_first_line(error)}") from error
        except (OSError, ValueError, AttributeError, LookupError, TypeError, AssertionError) as error:  # what a broken pickle makes of the reader
            raise ValueError(f"{path} can't be read as weights; it is damaged, or of another kind: {_first_line(error)}.") from error


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with path.open("rb") as file:
        try:
            loaded = np.load(file, allow_pickle=False)
            arrays = {} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
        except ValueError as error:
            if "pickle" in str(error).lower() or "Object arrays" in str(error):
                raise ValueError(f"{path} holds objects beside numbers and is refused, because reading them could run code: {error}") from error
            raise ValueError(f"{path} can't be read as weights; it is damaged: {error}.") from error
    if isinstance(loaded, np.ndarray):
        raise ValueError(f"{path} holds one array without a name; an .npz file holds many.")
    own = arrays.pop(OWN_ENTRY, None)
    return arrays, {} if own is None else json.loads(str(own))


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else "it ends early"


def _read_shards(index: Path) -> dict[str, Tensor]:
    return {name: tensor for shard in _shards(index) for name, tensor in _tensors(_read_file(_file(shard))[0], (), str(shard)).items()}


def _shards(index: Path) -> list[Path]:
    """The files that an index names, which lie beside it."""
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        shards = [index.parent / Path(name).name for name in sorted(set(names))]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} isn't a readable index: it should be JSON whose weight_map gives the file of each tensor.") from error
    others = [shard.name for shard in shards if shard.suffix not in SHARDS]
    if others:
        raise ValueError(f"{index} names {others[0]!r}; the files of an index end in {' or '.join(SHARDS)}.")
    return shards


def _read_config(path: Path) -> dict[str, Any]:
    """What stands in a config.json, where there is one; of ours the part about the model, and the scaling."""
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} isn't readable JSON: {error}.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds a {type(config).__name__}; a config is a JSON object of names and values.")
    if "format" in config and "model" in config:
        shape = config["model"]["input_shape"]
        return {**config["model"], "scaling": config.get("scaling"), **({"image_size": shape[1:]} if len(shape) == 3 else {})}
    return config


def _tensors(content: Any, wrappers: tuple[str, ...], where: str) -> dict[str, Tensor]:
    """Every tensor by its name; names of nested dictionaries are joined by slashes, as flax joins them."""
    while isinstance(content, Mapping) and (wrapper := next((key for key in wrappers if isinstance(content.get(key), Mapping)), None)):
        content = content[wrapper]
    if not isinstance(content, Mapping):
        raise ValueError(f"{where} holds a {type(content).__name__}, not a dictionary of tensors.")
    tensors: dict[str, Tensor] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            tensors |= {f"{name}/{inner}": tensor for inner, tensor in _tensors(value, (), f"{where}, {name!r}").items()}
        else:
            tensors[str(name)] = _tensor(value, str(name), where)
    return tensors


def _tensor(value: Any, name: str, where: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if not hasattr(value, "__array__"):
        raise ValueError(f"{where} holds {name!r}, a {type(value).__name__}, among the tensors; give the dictionary of the weights alone.")
    array = np.asarray(value)
    if array.dtype.name == "bfloat16" or (array.dtype.kind == "V" and array.dtype.itemsize == 2):
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where} holds {name!r} of dtype {array.dtype}, which isn't numbers.")
    return torch.from_numpy(array.copy())

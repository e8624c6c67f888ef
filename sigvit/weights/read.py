"""Files of weights as plain tensors. A file is data: nothing in it is ever run."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sigvit.weights.layout import Layout, grouped
from sigvit.weights.plain_tensors import plain_tensors, unwrapped
from sigvit.weights.pytorch_file import read_pytorch, reason

FOLDER_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
SHARDS = (".safetensors", ".bin")  # of which an index names several
WITH_CONFIG = (".safetensors", ".bin", ".json")  # of files that a config.json beside them describes
TEXT = frozenset(b"\t\n\r" + bytes(range(32, 127)))
OWN_ENTRY = "sigvit"  # what an .npz of ours says that Google's layout can't: JSON


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file or state dict by their names, what a config beside them says, how to call it in a sentence, and what lay beside the weights."""

    tensors: dict[str, Tensor]
    config: dict[str, Any]
    where: str
    beside: tuple[str, ...] = ()


def read(weights: str | Path | Mapping[str, Any], known: Sequence[Layout] = ()) -> Checkpoint:
    """A folder, file, state dict or nested dictionary of arrays; wrappers of the known layouts may hold the weights among other parts.

    Folders are those of Hugging Face and of `save_pretrained`; files are .npz, .safetensors, and PyTorch's (any other name). Arrays of bfloat16 that
    NumPy wrote as 2-byte void are read as such.

    Raises
    ------
    FileNotFoundError : there is no such file, or none in the folder.
    TypeError : neither a path nor a dictionary.
    ValueError : a file that is damaged, holds more than data (code, objects) and is therefore refused, or holds something else than dense arrays of numbers;
        a checkpoint with other weights beside those of a wrapper; an index whose shards hold other tensors than it says.
    """
    if isinstance(weights, Mapping):
        return _checkpoint(weights, known, {}, "the state dict")
    if not isinstance(weights, str | Path):
        raise TypeError(f"Weights are a path or a dictionary of tensors, but got {type(weights).__name__}; of a module give model.state_dict().")
    path = _file(Path(weights))
    content, config = _read_file(path)
    return _checkpoint(content, known, config, str(path))


def _checkpoint(content: Any, known: Sequence[Layout], config: dict[str, Any], where: str) -> Checkpoint:
    inner, beside = unwrapped(content, known, where)
    return Checkpoint(plain_tensors(inner, where), config, where, beside)


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
    _refuse_text(path)
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        return safetensors(path) if path.suffix == ".safetensors" else read_pytorch(path), config
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} can't be read as weights; it is damaged, or of another kind: {reason(error)}.") from error


def safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; ValueError where it isn't a whole one."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} isn't a whole safetensors file: {error}.") from error


def json_object(text: str | bytes, where: str) -> dict[str, Any]:
    """What a text says that should be a JSON object; ValueError, which names `where` it stands, for anything else."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} isn't readable JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{where} holds a {type(content).__name__}; a config is a JSON object of names and values.")
    return content


def _refuse_text(path: Path) -> None:
    """ValueError for the page of a download that failed, or the pointer that Git LFS leaves in a large file's place."""
    with path.open("rb") as file:
        start = file.read(64)
    if not start or not TEXT.issuperset(start):
        return
    pointer = ", a pointer of Git LFS; git lfs pull brings the file itself" if start.startswith(b"version https://git-lfs") else ""
    raise ValueError(f"{path} can't be read as weights; it is text that begins {start.decode().splitlines()[0]!r}{pointer}.")


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with path.open("rb") as file:
        try:
            loaded = np.load(file, allow_pickle=False)
            arrays = {} if isinstance(loaded, np.ndarray) else {name: loaded[name] for name in loaded.files}
        except ValueError as error:
            if "pickle" in str(error).lower() or "Object arrays" in str(error):
                raise ValueError(f"{path} holds objects beside numbers and is refused, because reading them could run code.") from error
            raise ValueError(f"{path} can't be read as weights; it is damaged: {error}.") from error
    if isinstance(loaded, np.ndarray):
        raise ValueError(f"{path} holds one array without a name; an .npz file holds many.")
    own = arrays.pop(OWN_ENTRY, None)
    return arrays, {} if own is None else json_object(str(own), f"The entry {OWN_ENTRY!r} of {path}")


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all shards, which hold what the index says and nothing else."""
    said = _weight_map(index)
    tensors: dict[str, Tensor] = {}
    for shard in _shards(index):
        found = plain_tensors(_read_file(_file(shard))[0], str(shard))
        expected = {name for name, file in said.items() if Path(file).name == shard.name}
        missing, extra = (", ".join(grouped(sorted(names))) or "none" for names in (expected - found.keys(), found.keys() - expected))
        if found.keys() != expected:
            raise ValueError(f"{shard} isn't the file that {index.name} describes: it lacks {missing}; not placed there: {extra}.")
        tensors |= found
    return tensors


def _shards(index: Path) -> list[Path]:
    """The files that an index names, which lie beside it."""
    shards = [index.parent / name for name in sorted({Path(file).name for file in _weight_map(index).values()})]
    others = [shard.name for shard in shards if shard.suffix not in SHARDS]
    if others:
        raise ValueError(f"{index} names {others[0]!r}; the files of an index end in {' or '.join(SHARDS)}.")
    return shards


def _weight_map(index: Path) -> dict[str, str]:
    """The file of each tensor."""
    try:
        said = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if all(isinstance(file, str) for file in said.values()):
            return said
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    raise ValueError(f"{index} isn't a readable index: it should be JSON whose weight_map gives the file of each tensor.")


def _read_config(path: Path) -> dict[str, Any]:
    """What stands in a config.json, where there is one; of timm's also the model's arguments."""
    if not path.is_file():
        return {}
    config = json_object(path.read_bytes(), str(path))
    if "format" in config and "model" in config:
        return _own_config(config, path)
    arguments = config.get("model_args")
    given = {name: value for name, value in arguments.items() if value is not None} if isinstance(arguments, dict) else {}  # null: the usual
    return config | given


def _own_config(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """Of a folder of ours the part about the model, and the scaling."""
    model = config["model"]
    shape = model.get("input_shape") if isinstance(model, dict) else None
    if not isinstance(shape, list):
        raise ValueError(f"The part 'model' of {path} says no 'input_shape', such as [3, 224, 224]; a saved model is described completely.")
    return {**model, "scaling": config.get("scaling"), **({"image_size": shape[1:]} if len(shape) == 3 else {})}

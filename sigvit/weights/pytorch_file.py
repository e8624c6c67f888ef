"""PyTorch's files as data: what could run code is refused by name."""

from __future__ import annotations

import pickle
import re
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch


def read_pytorch(path: Path) -> Any:
    """What torch.save wrote, on the CPU: tensors in containers, and the arguments that training scripts keep beside them.

    Raises
    ------
    ValueError : the file holds an object of another kind, which is named, or isn't such a file.
    RuntimeError, EOFError : it is damaged.
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch tells of old pickles; whatever is in one, it is refused or read as data
        try:
            with torch.serialization.safe_globals([Namespace]):  # training scripts keep their arguments; a Namespace holds values alone
                return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(_refusal(path, str(error))) from error
        except (OSError, ValueError, AttributeError, LookupError, TypeError, AssertionError) as error:  # what a broken pickle makes of the reader
            raise ValueError(f"{path} can't be read as weights; it is damaged, or of another kind: {reason(error)}.") from error


def _refusal(path: Path, message: str) -> str:
    """The sentence for what torch doesn't read as data; its own advises to read it as code."""
    name = re.search(r"GLOBAL (\S+)", message)
    if name is None:
        return f"{path} can't be read as weights; it is damaged, or of another kind than torch.save writes."
    return (
        f"{path} holds more than tensors and is refused, because reading it could run code: {name[1]}. "
        "Save the dictionary of the weights alone, such as model.state_dict(), where the file was made."
    )


def reason(error: Exception) -> str:
    """The first line of an error, without torch's advice to read the file as code.

    >>> reason(RuntimeError("The archive is cut. In PyTorch 2.6, we changed a default."))
    'The archive is cut'
    """
    return str(error).splitlines()[0].partition(" In PyTorch ")[0].rstrip(".") if str(error) else "it ends early"

"""A pre-trained model as the start of a training on other recordings and classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sigvit.model.adapt import adapt
from sigvit.model.vision_transformer import VisionTransformer


def start_from(folder: str | Path, electrodes: Any, n_times: int, n_classes: int) -> VisionTransformer:
    """The model of a folder, with a new head, for recordings of these electrodes and so many samples; in training mode.

    Parameters
    ----------
    folder : that `save_pretrained` wrote.
    electrodes : an `mne.Info`, names, or a count. Named ones that differ from the model's are adapted to (`sigvit.adapt`), along the scalp.

    Raises
    ------
    ValueError : a model that can't take such recordings; the message says why.

    >>> import tempfile
    >>> import sigvit
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sigvit.signal_vit(["C3", "Cz", "C4"], 80, 100.0, width=8).save_pretrained(folder)
    ...     start_from(folder, ["C4", "Cz"], n_times=80, n_classes=5)(torch.zeros(2, 2, 80)).shape
    torch.Size([2, 5])
    """
    model = VisionTransformer.from_pretrained(folder)
    _require_rate(model, electrodes, folder)
    own, names = getattr(model.tokenizer, "names", None), _names(electrodes)
    if own is not None and names is not None and tuple(own) != names:
        model = adapt(model, electrodes=electrodes)
    model.reset_head(n_classes)
    count = len(names) if names is not None else electrodes if isinstance(electrodes, int) else len(electrodes)
    try:
        with torch.no_grad():
            model(torch.zeros(1, count, n_times, dtype=model.head.weight.dtype))
    except (ValueError, TypeError) as error:
        raise ValueError(f"The model in {folder} can't start a training on {count} electrodes × {n_times} samples: {error}") from error
    return model.train()


def _names(electrodes: Any) -> tuple[str, ...] | None:
    if isinstance(electrodes, int):
        return None
    return tuple(electrodes["ch_names"]) if hasattr(electrodes, "keys") else tuple(electrodes)


def _require_rate(model: VisionTransformer, electrodes: Any, folder: str | Path) -> None:
    own = getattr(model.tokenizer, "sampling_rate", None)
    rate = float(electrodes["sfreq"]) if hasattr(electrodes, "keys") else None
    if own is not None and rate is not None and abs(own - rate) > 1e-6 * own:
        raise ValueError(f"The model in {folder} was made for {own:g} Hz, but these recordings have {rate:g} Hz; resample them (a page: resample_hz).")

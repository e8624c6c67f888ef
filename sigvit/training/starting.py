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
    electrodes : an `mne.Info`, or a count. Names that differ from the model's are adapted to (`sigvit.adapt`), along the scalp.

    Raises
    ------
    ValueError : a model that can't take such recordings; the message says why.

    >>> import tempfile
    >>> import mne
    >>> import sigvit
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sigvit.signal_vit(["C3", "Cz", "C4"], 80, 100.0, width=8).save_pretrained(folder)
    ...     start_from(folder, mne.create_info(["C4", "Cz"], 100.0, "eeg"), n_times=80, n_classes=5)(torch.zeros(2, 2, 80)).shape
    torch.Size([2, 5])
    """
    model = VisionTransformer.from_pretrained(folder)
    if isinstance(electrodes, int):
        count = electrodes
    else:
        _require_rate(model, float(electrodes["sfreq"]), folder)
        own, count = getattr(model.tokenizer, "names", None), len(electrodes["ch_names"])
        if own is not None and list(own) != list(electrodes["ch_names"]):
            model = adapt(model, electrodes=electrodes)
    model.reset_head(n_classes)
    try:
        with torch.no_grad():
            model(torch.zeros(1, count, n_times, dtype=model.head.weight.dtype))
    except (ValueError, TypeError) as error:
        raise ValueError(f"The model in {folder} can't start a training on {count} electrodes × {n_times} samples: {error}") from error
    return model.train()


def _require_rate(model: VisionTransformer, rate: float, folder: str | Path) -> None:
    own = getattr(model.tokenizer, "sampling_rate", None)
    if own is not None and abs(own - rate) > 1e-6 * own:
        raise ValueError(f"The model in {folder} was made for {own:g} Hz, but these recordings have {rate:g} Hz; resample them (a page: resample_hz).")

"""What names a fit on disk: everything that decides its outcome."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sigvit.data.windows import Windows
from sigvit.evidence.fingerprint import fingerprint
from sigvit.evidence.fitting import Fit, has_seed
from sigvit.evidence.folds import Fold
from sigvit.evidence.machine import package_versions
from sigvit.evidence.searched_values import parameters_of

# Another version of these may give other numbers; of sigvit every line counts.
COMPUTING = ("torch", "scikit-learn", "numpy", "scipy", "mne", "pyriemann")


def pretrained_models(pipelines: dict[str, Any]) -> list[str]:
    """Folders of the models that pipelines, or steps of them, start from or may start from in a search: their parameters called `pretrained`."""
    found = [value for pipeline in pipelines.values() for name, value in parameters_of(pipeline) if name.split("__")[-1] == "pretrained"]
    return list(dict.fromkeys(str(folder) for folder in found if isinstance(folder, str | Path)))


def identities(pipelines: dict[str, Any], windows: Windows, models: list[str], signal_sha256: str) -> dict[str, str]:
    """Of each pipeline's name: everything but rows and seed that decides a fit or stands in its table row."""
    # A model's folder is a parameter by its name alone.
    weights = [hashlib.sha256((Path(model) / "model.safetensors").read_bytes()).hexdigest() for model in models]
    places = [channel["loc"] for channel in windows.info["chs"]]
    channels = (windows.sampling_rate, windows.electrodes, places, sorted(windows.info["bads"]))
    described = (windows.name, signal_sha256, windows.metadata, *channels, windows.page)
    versions = {name: version for name, version in package_versions().items() if name in COMPUTING}
    common = fingerprint((*described, *weights, versions))
    return {name: fingerprint((common, name, pipeline)) for name, pipeline in pipelines.items()}


def fits_of(pipeline: Any, identity: str, folds: list[Fold], seeds: list[int]) -> list[Fit]:
    """Every fold with every seed, or the first alone where there is no seed to set; without an identity nothing is kept under a key."""
    asked = [(fold, seed) for fold in folds for seed in (seeds if has_seed(pipeline) else seeds[:1])]
    return [Fit(fold, seed, identity and fingerprint((identity, *vars(fold).values(), seed))) for fold, seed in asked]

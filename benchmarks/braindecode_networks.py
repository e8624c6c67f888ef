"""braindecode's networks, as they are timed and trained beside ours.

braindecode imports parts that no network here uses: `pip install --no-deps braindecode skorch tabulate docstring-inheritance linear-attention-transformer
local-attention colt5-attention hyper-connections torch-einops-utils axial-positional-embedding product-key-memory linformer torchinfo wfdb soundfile cffi
pycparser`. torchaudio has no build without CUDA for this torch; where it can't be imported, its place is taken by names that raise an error as soon as one
is used.
"""

from __future__ import annotations

import sys
import types
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import sigvit
from sigvit.evidence.convnets import ConvNetClassifier

# What Labram reads: seconds of 200 samples.
LABRAM_HZ = 200


class Absent:
    """Stands for a name of torchaudio that a module of braindecode imports."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        raise RuntimeError("torchaudio can't be imported here, and this needs it.")


def load_braindecode() -> Any:
    """braindecode's networks, with `Absent` in the place of a torchaudio that can't be imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchaudio  # noqa: F401
        except (ImportError, OSError):
            for name in ("torchaudio", "torchaudio.functional", "torchaudio.transforms"):
                module = types.ModuleType(name)
                module.__getattr__ = _absent  # type: ignore[method-assign]
                sys.modules[name] = module
            sys.modules["torchaudio"].functional = sys.modules["torchaudio.functional"]  # type: ignore[attr-defined]
            sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]  # type: ignore[attr-defined]
        import braindecode.models

    return braindecode.models


def _absent(name: str) -> type[Absent]:
    if name.startswith("__"):
        raise AttributeError(name)
    return Absent


def build_peer(models: Any, name: str, electrodes: list[str], samples: int, hertz: float, classes: int) -> nn.Module:
    """A network with braindecode's defaults. Labram takes windows at its own rate; see `NamedAndResampled`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name != "Labram":
            return getattr(models, name)(n_chans=len(electrodes), n_outputs=classes, n_times=samples, sfreq=hertz)
        seconds = max(1, round(samples / hertz))
        network = models.Labram(chs_info=[{"ch_name": electrode} for electrode in electrodes], n_outputs=classes, n_times=seconds * LABRAM_HZ, sfreq=LABRAM_HZ)
        return NamedAndResampled(network, electrodes, seconds * LABRAM_HZ)


class NamedAndResampled(nn.Module):
    """Labram behind a linear interpolation to so many samples, a thousandth of its work, told the names of the electrodes."""

    def __init__(self, network: nn.Module, electrodes: list[str], samples: int) -> None:
        super().__init__()
        self.network, self.electrodes, self.samples = network, electrodes, samples

    def forward(self, values: Tensor) -> Tensor:
        return self.network(functional.interpolate(values, self.samples, mode="linear"), ch_names=self.electrodes)


class BraindecodeClassifier(ConvNetClassifier):
    """A network of braindecode with the training of the convolutional baselines."""

    def build(self, electrodes: Any, n_times: int, n_classes: int) -> nn.Module:
        return build_peer(load_braindecode(), self.network, list(electrodes["ch_names"]), n_times, float(electrodes["sfreq"]), n_classes)


def can_read(classifier: ConvNetClassifier, windows: sigvit.Windows) -> bool:
    """Whether its network takes windows of this shape; said on the terminal where it doesn't."""
    try:
        classifier.build(windows.info, windows.values.shape[2], len(windows.classes))(torch.as_tensor(windows.values[:2]))
    except Exception as error:  # whatever a network stumbles over where it divides a shape
        shape, reason = " × ".join(map(str, windows.values.shape[1:])), f"{type(error).__name__}: {error}".splitlines()[0][:120]
        print(f"{windows.name}: {classifier.network} can't read windows of {shape}: {reason}", flush=True)
        return False
    return True

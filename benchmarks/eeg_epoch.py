"""One training epoch of the default network of `SignalViTClassifier` against braindecode's EEGConformer, Labram, ATCNet and EEGNet.

    python benchmarks/eeg_epoch.py [--accuracy SEEDS]

The same windows, the same batch size, all threads; all take turns in every round, and the table has medians of the rounds' ratios. Ours is a step as the
estimator trains it (time shift, mixup, dropout, clipping, moving average); theirs is forward, cross-entropy, backward and AdamW, without the overhead of
braindecode's own loop. Prints the table and writes results/benchmarks/eeg_epoch.md.
--accuracy: no epochs are timed; all are trained with so many seeds and judged on the shipped splits of the embedded sets, each with the recipe of
`ConvNetClassifier`, ours with its own. Fits that are done are kept in results/eeg_epoch. Writes results/benchmarks/eeg_epoch_accuracy.md.

braindecode imports parts that no network here uses: `pip install --no-deps braindecode skorch tabulate docstring-inheritance linear-attention-transformer
local-attention colt5-attention hyper-connections torch-einops-utils axial-positional-embedding product-key-memory linformer torchinfo wfdb soundfile cffi
pycparser`. torchaudio has no build without CUDA for this torch; where it can't be imported, its place is taken by names that raise an error as soon as one
is used.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import torch
from page import keep, where
from torch import Tensor, nn
from torch.nn import functional

import sigvit
from sigvit.evaluation.measure import step_times
from sigvit.evidence.convnets import ConvNetClassifier
from sigvit.training.batches import RecordingBatches
from sigvit.training.distributed import Processes
from sigvit.training.loop import update
from sigvit.training.memory import keep_freed_memory
from sigvit.training.state import TrainingState

WINDOWS, BATCH, CLASSES = 256, 64, 4
ROUNDS = 7
PEERS = ("EEGNet", "ATCNet", "EEGConformer", "Labram")
# Electrodes, samples and hertz: BCI Competition IV 2a and four seconds of EEGMMIDB.
SHAPES = ((22, 1000, 250.0), (64, 640, 160.0))
# What Labram reads: seconds of 200 samples.
LABRAM_HZ = 200
Step = Callable[[], None]


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


def our_step(values: Tensor, targets: Tensor, hertz: float) -> tuple[Step, nn.Module]:
    classifier = sigvit.SignalViTClassifier(batch_size=BATCH)
    info = mne.create_info(values.shape[1], hertz, "eeg")
    model = classifier.build(info, values.shape[2], CLASSES).train()
    state = TrainingState.begin(model, classifier.recipe(len(values)), 0, Processes.alone())
    batches = RecordingBatches(values, targets, state.recipe, 0, CLASSES)
    return lambda: update(state, batches), model


def peer_step(network: nn.Module, values: Tensor, targets: Tensor) -> Step:
    optimizer, generator = torch.optim.AdamW(network.train().parameters(), 1e-3), torch.Generator().manual_seed(0)

    def step() -> None:
        rows = torch.randperm(len(values), generator=generator)[:BATCH]
        optimizer.zero_grad()
        functional.cross_entropy(network(values[rows]), targets[rows]).backward()
        optimizer.step()

    return step


def measure(models: Any, shape: tuple[int, int, float]) -> list[str]:
    """The rows of the table for one shape."""
    electrodes, samples, hertz = shape
    values = torch.randn(WINDOWS, electrodes, samples, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(WINDOWS) % CLASSES
    ours, model = our_step(values, targets, hertz)
    steps, sizes = {"sigvit, default": ours}, {"sigvit, default": count_weights(model)}
    for name in PEERS:
        # Labram knows electrodes by name; which ones they are makes no difference to its time.
        names = list(sys.modules["braindecode.models.labram"].LABRAM_CHANNEL_ORDER[:electrodes])
        network = build_peer(models, name, names, samples, hertz, CLASSES)
        steps[name], sizes[name] = peer_step(network, values, targets), count_weights(network)
    times, rows = step_times(steps, rounds=ROUNDS), []
    for name, found in times.items():
        ratios = [theirs / mine for theirs, mine in zip(found, times["sigvit, default"], strict=True)]
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} – {max(ratios):.1f})"
        epoch = statistics.median(found) * WINDOWS / BATCH
        rows.append(f"| {electrodes} × {samples} | {name} | {sizes[name]} | {epoch:.3f} | {spread} |")
    return rows


def count_weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


class BraindecodeClassifier(ConvNetClassifier):
    """A network of braindecode with the training of the convolutional baselines."""

    def build(self, electrodes: Any, n_times: int, n_classes: int) -> nn.Module:
        return build_peer(load_braindecode(), self.network, list(electrodes["ch_names"]), n_times, float(electrodes["sfreq"]), n_classes)


def accuracies(seeds: int) -> None:
    """On the shipped splits of the embedded sets; prints the table and writes it after every network."""
    lines = [
        "# Accuracy beside the networks whose epochs are timed",
        "",
        f"`python benchmarks/eeg_epoch.py --accuracy {seeds}`: accuracy and ROC-AUC on the shipped test part, mean over seeds.",
        "",
        "| set | network | seeds | accuracy | ROC-AUC | seconds a fit |",
        "|---|---|---|---|---|---|",
    ]
    print(*lines, sep="\n", flush=True)
    for page in ("finger_movements", "scp1"):
        windows = sigvit.open_dataset(page)
        folds = sigvit.folds.shipped(windows.metadata, filter_support_s=windows.filter_support_s)
        for name, pipeline in contestants(windows).items():
            table = sigvit.cross_validate({name: pipeline}, windows, folds, seeds=range(seeds), folder=Path("results/eeg_epoch")).table
            found = table[table["pipeline"] == name][["accuracy", "score", "time"]].mean()
            lines.append(f"| {page} | {name} | {seeds} | {found['accuracy']:.3f} | {found['score']:.3f} | {found['time']:.0f} |")
            print(lines[-1], flush=True)
            keep("eeg_epoch_accuracy", "\n".join(lines) + "\n")


def contestants(windows: sigvit.Windows) -> dict[str, Any]:
    """Ours, whole and the network alone, and those peers that such windows allow; the others are named on the terminal."""
    found: dict[str, Any] = {"sigvit, default": sigvit.SignalViTClassifier(), "sigvit, network alone": sigvit.SignalViTClassifier(classical=None)}
    peers = {name: BraindecodeClassifier(name) for name in PEERS}
    return found | {name: peer for name, peer in peers.items() if can_read(peer, windows)}


def can_read(classifier: ConvNetClassifier, windows: sigvit.Windows) -> bool:
    """Whether its network takes windows of this shape; said on the terminal where it doesn't."""
    try:
        classifier.build(windows.info, windows.values.shape[2], len(windows.classes))(torch.as_tensor(windows.values[:2]))
    except (ValueError, RuntimeError, AssertionError) as error:
        shape, reason = " × ".join(map(str, windows.values.shape[1:])), str(error).splitlines()[0][:120]
        print(f"{windows.name}: {classifier.network} can't read windows of {shape}: {reason}", flush=True)
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracy", type=int, default=0, metavar="SEEDS")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="Using padding='same'")  # of ATCNet
    keep_freed_memory()  # for all of them
    models = load_braindecode()
    if options.accuracy:
        accuracies(options.accuracy)
        return
    lines = [
        "# One training epoch against braindecode's networks",
        "",
        f"{WINDOWS} windows, batches of {BATCH}, float32. "
        f"Median seconds an epoch, and the median of the rounds' ratios to ours (lowest – highest) of {ROUNDS} rounds in which all take turns.",
        f"{where('braindecode')}.",
        "",
        "| windows | network | weights | epoch (s) | × ours |",
        "|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for shape in SHAPES:
        rows = measure(models, shape)
        print("\n".join(rows), flush=True)
        lines += rows
    keep("eeg_epoch", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""What each choice of the default network is worth: one change at a time, on development sets alone.

    python benchmarks/eeg_ablation.py [SET …] [--seeds 1] [--only WORD …] [--output FOLDER]

One network without its classical half, as `SignalViTClassifier` trains five of; last the five, the classical half and both. scp1 and finger_movements are
five blocks of their shipped training parts, so that their test parts take no part in any choice; the others are whole development sets. Goes on where it
was stopped. --only runs the variants whose names hold one of the words. Prints the table; with every set and variant it is also
results/benchmarks/eeg_ablation.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from page import keep, markdown, where
from sklearn.pipeline import make_pipeline
from torch import nn

import sigvit
from sigvit.evidence.alignment import Alignment
from sigvit.evidence.convnets import ConvNetClassifier
from sigvit.evidence.protocols import folds_of
from sigvit.evidence.results_folder import claim_folder
from sigvit.model.transformer import VisionTransformer
from sigvit.tokenizers import ConvStem, CovarianceTokens, ElectrodeTimePatches

DEFAULT = "the default network"
# Set → page, protocol, and whether the rule whitens there: it needs the classical half, which single networks go without.
SETS: dict[str, tuple[str, str, bool]] = {
    "scp1": ("scp1", "blocks of the training part", False),
    "finger_movements": ("finger_movements", "blocks of the training part", False),
    "N170": ("muse_n170", "cross_session", False),
    "left-right": ("eegmmidb_left_right", "within_session", True),
    "EEGMAT": ("eegmat", "cross_subject:6", True),
    "SMNI": ("smni_s1_s2match", "cross_subject:4", False),
}
NEVER_ALIGNED = ("scp1", "finger_movements", "left-right")  # one person in one session

Maker = Callable[[sigvit.Windows, bool], Any]


class LayerScaled(sigvit.SignalViTClassifier):
    """With LayerScale on every branch."""

    def build(self, electrodes: Any, n_times: int, n_classes: int) -> nn.Module:
        model = super().build(electrodes, n_times, n_classes)
        assert isinstance(model, VisionTransformer)
        return VisionTransformer(replace(model.config, layer_scale=0.1), model.tokenizer)


def network(whiten: bool | str, kind: type[sigvit.SignalViTClassifier] = sigvit.SignalViTClassifier, **changes: Any) -> sigvit.SignalViTClassifier:
    return kind(**{"classical": None, "ensemble": False, "whiten": whiten} | changes)


def changed(**changes: Any) -> Maker:
    return lambda windows, whiten: network(whiten, **changes)


def stem(**changes: Any) -> Maker:
    """The default stem with other sizes; each is a factor on the default's."""

    def make(windows: sigvit.Windows, whiten: bool) -> Any:
        _, electrodes, samples = windows.values.shape
        arguments = ConvStem.for_windows(electrodes, samples, windows.sampling_rate, whiten=whiten).arguments()
        for name, factor in changes.items():
            arguments[name] = max(1, round(arguments[name] * factor))
        arguments["kernel"] = min(arguments["kernel"], samples // 2)
        arguments["stride"], arguments["pool"] = (-(-arguments[name] // arguments["hop"]) * arguments["hop"] for name in ("stride", "pool"))
        return network("auto", tokenizer=ConvStem(**arguments))

    return make


def tokens(make: Callable[[int, int, float], nn.Module]) -> Maker:
    """Another tokenizer, from electrodes, samples and rate."""
    return lambda windows, whiten: network("auto", tokenizer=make(windows.values.shape[1], windows.values.shape[2], windows.sampling_rate))


def patches(share: int) -> Maker:
    return tokens(
        lambda electrodes, samples, rate: ElectrodeTimePatches(electrodes, "all", -(-samples // share), -(-samples // share), 32, "pad", sampling_rate=rate)
    )


def covariances(electrodes: int, samples: int, rate: float) -> CovarianceTokens:
    return CovarianceTokens(electrodes, samples, samples, sampling_rate=rate)


def aligned(windows: sigvit.Windows, whiten: bool) -> Any:
    return make_pipeline(Alignment(), network(whiten))


VARIANTS: dict[str, Maker] = {
    DEFAULT: changed(),
    "stem: patches, all electrodes × 1/16 of the window": patches(16),
    "stem: patches, all electrodes × 1/32": patches(32),
    "stem: covariance tokens": tokens(covariances),
    "stem: 32 filters": stem(n_filters=2),
    "stem: filters four times as long": stem(kernel=4),
    "stem: half as many tokens": stem(stride=2, pool=2),
    "stem: twice as many tokens": stem(stride=0.5, pool=0.5),
    "whitening: the other way": lambda windows, whiten: network(not whiten),
    "alignment: Euclidean, inductive": aligned,
    "pooling: class token": changed(pool="class"),
    "pooling: attention": changed(pool="map"),
    "positions: none": changed(positions="none"),
    "width 16": changed(width=16, mlp_width=32),
    "depth 1": changed(depth=1),
    "LayerScale .1": lambda windows, whiten: network(whiten, LayerScaled),
    "stochastic depth .2": changed(stochastic_depth=0.2),
    "dropout 0": changed(dropout=0.0),
    "weight decay .5": changed(weight_decay=0.5),
    "label smoothing 0": changed(label_smoothing=0.0),
    "EMA: none": changed(ema_decay=0.0),
    "500 steps": changed(training_steps=500),
    "augmentation: no mixup": changed(mixup=0.0),
    "augmentation: no time shift": changed(time_shift=0.0),
    "augmentation: and time mask .2": changed(time_mask=0.2),
    "augmentation: and electrodes dropped .2": changed(channel_dropout=0.2),
    "augmentation: and amplitude .3": changed(amplitude_scale=0.3),
    "augmentation: and Fourier surrogate .5": changed(surrogate=0.5),
    "augmentation: and frequency shift 1 Hz": changed(frequency_shift=1.0),
    "augmentation: and recombination .5": changed(recombination=0.5),
    "EEGNet instead": lambda windows, whiten: ConvNetClassifier("EEGNet"),
    "five networks": lambda windows, whiten: network(whiten, ensemble=True),
    "five networks and the classical half": lambda windows, whiten: sigvit.SignalViTClassifier(),
}


def development(name: str) -> tuple[sigvit.Windows, list[sigvit.Fold], bool]:
    """Windows, folds, and whether single networks whiten."""
    page, protocol, whiten = SETS[name]
    windows = sigvit.open_dataset(page)
    if protocol.startswith("blocks"):
        windows = windows[folds_of(windows, "shipped")[0].train]
        return windows, folds_of(windows, "within_session", 5), whiten
    kind, *groups = protocol.split(":")
    return windows, folds_of(windows, kind, int(groups[0]) if groups else None), whiten


def run(name: str, chosen: dict[str, Maker], seeds: int, output: Path) -> pd.Series:
    """Mean score of each variant over folds and seeds; finished fits are kept."""
    windows, folds, whiten = development(name)
    folder = output / name
    claim_folder(folder, {"page": SETS[name][0], "sha256": windows.page["sha256"], "protocol": SETS[name][1]})
    kept = {variant: make for variant, make in chosen.items() if not (variant.startswith("alignment") and name in NEVER_ALIGNED)}
    pipelines = {}
    for variant, make in kept.items():
        torch.manual_seed(0)  # the weights that a given tokenizer starts from
        pipelines[variant] = make(windows, whiten)
    results = sigvit.cross_validate(pipelines, windows, folds, seeds=range(seeds), folder=folder, n_jobs=2)
    scores = results.summary().set_index("pipeline")["score"]
    return scores[list(pipelines)].rename(name)


def report(scores: pd.DataFrame, command: str) -> str:
    """(variants, sets) of scores as markdown, with the mean difference from the default over the sets that a variant ran on."""
    differences = scores.sub(scores.loc[DEFAULT], axis=1)
    table = scores.round(3)
    table["mean difference"] = [f"{100 * value:+.1f}" for value in differences.mean(axis=1)]
    table["sets ahead"] = [f"{int((row.dropna() > 0).sum())} of {row.notna().sum()}" for _, row in differences.iterrows()]
    return (
        "# What each choice of the default network is worth\n\n"
        f"`{command}`: ROC-AUC, one change at a time, mean over folds; mean difference from the default in points. {where()}.\n\n"
        f"{markdown(table.rename_axis('variant').reset_index())}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[[], *SETS], metavar="SET")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD")
    parser.add_argument("--output", type=Path, default=Path("results/ablation"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {name: make for name, make in VARIANTS.items() if name == DEFAULT or not options.only or any(word in name for word in options.only)}
    found: list[pd.Series] = []
    for name in options.sets or SETS:
        found.append(run(name, chosen, options.seeds, options.output))
        words = report(pd.DataFrame(found).T.reindex(list(chosen)), f"python benchmarks/eeg_ablation.py --seeds {options.seeds}")
        print(words, flush=True)
    if not options.sets and not options.only:
        keep("eeg_ablation", words)


if __name__ == "__main__":
    main()

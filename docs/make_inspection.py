"""The figures of docs/inspection.md: three small models are trained and looked at. Run `python docs/make_inspection.py` (some minutes on a core).

The digits are MNIST and the recordings are the S1-S2match trials of the SMNI set, both from the folder in SIGVIT_DATA.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

import sigvit
from sigvit.data.images import open_images
from sigvit.evaluation import figures, scalp_figures
from sigvit.evaluation.attention import attention_distance, attention_rollout
from sigvit.evaluation.attribution import attribution
from sigvit.evaluation.class_maps import class_maps, in_bins
from sigvit.evaluation.filters import filter_patterns, principal_filters, space_and_time
from sigvit.evaluation.position_similarity import position_similarity, position_vectors, similarity_by_distance
from sigvit.inspection.attention_sections import reaching_output, read_by_head
from sigvit.tokenizers import ElectrodeTimePatches
from sigvit.training.augment_images import MNIST_MEAN, MNIST_STD, ImageAugmentation
from sigvit.training.evaluate import evaluation_inputs
from sigvit.training.image_batches import ImageBatches
from sigvit.training.loop import train
from sigvit.training.recipe import Recipe

HERE = Path(__file__).parent


def main() -> None:
    torch.set_num_threads(1)
    draw_digits()
    draw_trials()
    draw_scalp_filters()


def draw_digits() -> None:
    """MNIST in patches of 4 × 4 pixels."""
    augmentation = ImageAugmentation(pad=2, mean=MNIST_MEAN, std=MNIST_STD)
    recipe = Recipe(steps=1200, batch_size=64, learning_rate=2e-3, warmup_steps=100, weight_decay=0.05, ema_decay=0.99)
    torch.manual_seed(0)
    model = sigvit.vit("Ti/4", 28, 10, 1, width=48, depth=4, heads=4, mlp_width=96)
    training, test = open_images("mnist"), open_images("mnist", "test")
    train(model, ImageBatches(training, augmentation, recipe, 0, torch.device("cpu"), image_size=(28, 28)), recipe, 0)
    model.eval()
    rows = np.array([np.flatnonzero(test.labels == digit)[0] for digit in range(8)])
    first, x, others = (evaluation_inputs(test, part, augmentation, (28, 28)) for part in (range(2000), rows, range(100, 116)))
    with torch.no_grad():
        right = (model(first).argmax(1).numpy() == test.labels[:2000]).mean()
        maps, places = model.attention_maps(first[:128]), model.embed(x).coordinates
        rollout = reaching_output(attention_rollout(model.attention_maps(x)), read_by_head(model, x), len(model.embed(x[:1]).special))
    print(f"MNIST: {right:.1%} of the first 2000 test images")
    keep("digits_filters", figures.draw_filter_pictures(*principal_filters(model.tokenizer.weight, 14)))
    keep("digits_positions", figures.draw_position_tiles(position_similarity(position_vectors(model), model.grid.shape)))
    keep("digits_distance", draw_distance(maps, {"pixels": places}))
    pictures, titles = test.read(rows) / 255, [str(digit) for digit in range(8)]
    keep("digits_rollout", figures.draw_below_pictures(pictures, rollout.reshape(-1, *model.grid.shape), titles, "share of the patch,\n1 = equal"))
    found = attribution(model, x, others, points=16, targets=test.labels[rows], reference_labels=test.labels[100:116])
    keep("digits_attribution", figures.draw_below_pictures(pictures, found.values[:, 0, 0], titles, "logit a pixel", signed=True))


def draw_trials() -> None:
    """SMNI: a first picture (S1) against the same picture again (S2match), a token one electrode × 250 ms; the last two subjects are not trained on."""
    windows = sigvit.open_dataset("smni_s1_s2match")
    subjects = np.unique(windows.metadata["subject"])
    new = np.isin(windows.metadata["subject"], subjects[-2:])
    tokenizer = ElectrodeTimePatches.from_info(windows.info, 0.25, 0.25, electrodes=1, width=32)
    network = {"pool": "class", "positions": "factorised", "classical": None, "ensemble": False}
    classifier = sigvit.SignalViTClassifier(tokenizer, **network, training_steps=300, time_shift=0.02, mixup=0.0)
    classifier.fit(windows[~new], windows[~new].labels)
    print(f"SMNI: {classifier.score(windows[new], windows[new].labels):.1%} of {new.sum()} trials of two new subjects")
    model = classifier.model_.eval()
    model.save_pretrained(HERE.parent / "results" / "inspection" / "smni")
    x, others = model.scaling(windows.values[new]), model.scaling(windows.values[~new][::17])
    labels, other_labels = (np.searchsorted(windows.classes, part) for part in (windows.labels[new], windows.labels[~new][::17]))
    with torch.no_grad():
        maps, places = model.attention_maps(x[:12]), model.embed(x[:1]).coordinates
    keep("trials_distance", draw_distance(maps, {"centimetres on the head": 100 * places[:, :3], "seconds": places[:, 3:]}))
    similarity = np.einsum("etft->ef", position_similarity(position_vectors(model), model.grid.shape)) / model.grid.shape[1]
    alike = similarity_by_distance(similarity, [channel["loc"][:3] for channel in windows.info["chs"]])
    print(f"rank correlation of similarity with distance, all pairs of electrodes: {alike:.2f}")
    keep("trials_positions", scalp_figures.draw_similarity(similarity, windows.info))
    found = attribution(model, x, others, n_references=8, points=8, reference_labels=other_labels)
    print(f"the integral misses {np.abs(found.missing).mean() / np.abs(found.scores).mean():.1%} of the scores")
    draw_attribution(found.values, labels, windows[new])


def draw_attribution(values: np.ndarray, labels: np.ndarray, windows: sigvit.Windows) -> None:
    """Attributions (trials, classes, electrodes, samples) over the scalp and along time, with their permutation baselines."""
    subjects, names, bin_samples = windows.metadata["subject"].to_numpy(), list(windows.classes), 8
    over_scalp = class_maps(values.sum(3), labels, subjects)
    scalp = scalp_figures.draw_topographies(over_scalp.mean, windows.info, names, "logit", marked=over_scalp.p <= 0.05, across=2)
    keep("trials_attribution_scalp", scalp)
    over_time = class_maps(in_bins(values, bin_samples).sum(2), labels, subjects)
    seconds = (np.arange(over_time.mean.shape[1]) + 0.5) * bin_samples / windows.sampling_rate
    lines, limits = (dict(zip(names, numbers, strict=True)) for numbers in (over_time.excess, over_time.threshold))
    keep("trials_attribution_time", figures.draw_lines(seconds, lines, limits, "time in the window (s)", "logit, own trials\nless other trials"))


def draw_scalp_filters() -> None:
    """The same trials in tokens of all electrodes × a sixteenth of the window: filters over the scalp and time."""
    windows = sigvit.open_dataset("smni_s1_s2match")
    tokenizer = ElectrodeTimePatches.from_info(windows.info, 1 / 16, 1 / 16, electrodes="all", width=32)
    classifier = sigvit.SignalViTClassifier(tokenizer, training_steps=200, classical=None, ensemble=False, time_shift=0.03).fit(windows, windows.labels)
    model = classifier.model_
    tokenizer = model.tokenizer
    filters, shares = principal_filters(tokenizer.weight.unflatten(1, (-1, tokenizer.window)), 6)
    patches = tokenizer.unfold(model.scaling(windows.values[::5])).flatten(0, 1)
    maps = np.stack([space_and_time(pattern)[0] for pattern in filter_patterns(filters, patches)])
    titles = [f"{number + 1}: {share:.0%}" for number, share in enumerate(shares)]
    label = "standardised signal\na unit of the answer"
    keep("trials_patterns", scalp_figures.draw_topographies(maps, windows.info, titles, label, across=3))
    keep("trials_filters", figures.draw_courses(np.stack([space_and_time(each)[1] for each in filters]), shares, windows.sampling_rate))


def draw_distance(maps: torch.Tensor, places: dict[str, torch.Tensor]) -> Figure:
    """Attention distances, with what equal attention to all gives."""
    n_tokens = maps.shape[-1]
    equal = np.full((1, 1, n_tokens, n_tokens), 1 / n_tokens)
    uniform = {name: float(attention_distance(equal, sites).squeeze()) for name, sites in places.items()}
    return figures.draw_attention_distance({name: attention_distance(maps, sites) for name, sites in places.items()}, uniform)


def keep(name: str, figure: Figure) -> None:
    """As a PNG of 256 colours, a third of the size; chosen so that a colour bar's rare ends stay apart."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(HERE / f"inspection_{name}.png", optimize=True)


if __name__ == "__main__":
    main()

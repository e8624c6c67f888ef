"""The README's picture: an image and a recording cut into the same tokens. Run `python docs/make_picture.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from sklearn.datasets import load_digits

import sigvit
from sigvit.tokenizers import ElectrodeTimePatches, ImagePatches

LINE = {"color": "white", "linewidth": 1.2}
DOT = {"color": "#ffb000", "s": 14, "zorder": 3}


def draw_image(axes: Axes) -> None:
    """A handwritten digit, 8 × 8 pixels, cut into patches of 2 × 2; a dot where the tokenizer says each token sits."""
    picture = load_digits().images[0]
    tokens = ImagePatches(patch_size=2, in_channels=1, width=32)(torch.tensor(picture[None, None], dtype=torch.float32))
    axes.imshow(picture, cmap="magma", extent=(-0.5, 7.5, 7.5, -0.5))
    rows, columns = tokens.coordinates.T.numpy()
    axes.scatter(columns, rows, **DOT)
    for edge in (1.5, 3.5, 5.5):
        axes.axhline(edge, **LINE)
        axes.axvline(edge, **LINE)
    axes.set(xlabel="column (px)", ylabel="row (px)", title=f"an image: {tokens.grid.shape[0]} × {tokens.grid.shape[1]} tokens")


def draw_recording(axes: Axes) -> None:
    """One window of slow cortical potentials, cut into one electrode × 0.5 s."""
    windows = sigvit.open_dataset("scp1")
    tokenizer = ElectrodeTimePatches.from_info(windows.info, window_s=0.5, stride_s=0.5, width=32)
    window = windows.values[0]
    tokens = tokenizer(torch.tensor(window[None]))
    times = tokens.grid.axis("time").coordinates
    seconds = window.shape[1] / windows.sampling_rate
    scaled = (window - window.mean(1, keepdims=True)) / window.std(1, keepdims=True)
    axes.imshow(scaled, aspect="auto", cmap="magma", extent=(0, seconds, len(window) - 0.5, -0.5), interpolation="nearest")
    axes.scatter(np.tile(np.ravel(times), len(window)), np.repeat(np.arange(len(window)), len(times)), **DOT)
    for edge in np.arange(0.5, seconds, 0.5):
        axes.axvline(edge, **LINE)
    for edge in np.arange(0.5, len(window) - 1):
        axes.axhline(edge, **LINE)
    axes.set_yticks(range(len(window)), windows.electrodes)
    axes.set(xlabel="time (s)", ylabel="electrode", title=f"a recording: {tokens.grid.shape[0]} × {tokens.grid.shape[1]} tokens")


def main() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=(1, 2), layout="constrained")
    draw_image(left)
    draw_recording(right)
    figure.suptitle("rows × columns or electrodes × time: one grid of tokens, one Vision Transformer")
    figure.savefig(Path(__file__).with_name("tokens.png"), dpi=110)


if __name__ == "__main__":
    main()

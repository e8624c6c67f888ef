"""What it saves that the last block computes queries and MLP only for the class token: forward and backward, the two ways in turn.

    python benchmarks/last_block.py

Prints the table and writes benchmarks/results/last_block.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import sigvit
from sigvit.tokenizers import ElectrodeTimePatches

RESULT = Path(__file__).parent / "results" / "last_block.md"
ROUNDS = 40
CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "recording, 16 patches, width 32, depth 2, batch 32": (lambda: sigvit.signal_vit(6, 896), (32, 6, 896)),
    "recording, 84 patches, width 32, depth 4, batch 32": (lambda: sigvit.signal_vit(6, 84 * 16, tokenizer=patches(), depth=4), (32, 6, 84 * 16)),
    "image, Ti/16 at 224, depth 12, batch 2": (lambda: sigvit.vit("Ti/16"), (2, 3, 224, 224)),
}


def patches() -> nn.Module:
    return ElectrodeTimePatches(6, "all", window=16, stride=16, width=32)


def every_token(model: sigvit.VisionTransformer, signal: Tensor) -> Tensor:
    """The class token after an encoder that computes every token to its end."""
    tokens = model.embed(signal)
    return model.encoder(tokens.values)[:, 0]


def seconds(features: Callable[[Tensor], Tensor], signal: Tensor) -> float:
    """Of one forward and backward pass."""
    start = time.perf_counter()
    features(signal).square().sum().backward()
    return time.perf_counter() - start


def measure(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> tuple[float, float, list[float], float]:
    """Medians in milliseconds, the ratio of each round (every token / needed tokens), and the largest difference of a feature."""
    torch.manual_seed(0)
    model, signal = make(), torch.randn(shape)
    ways = (lambda x: every_token(model, x), model.features)
    with torch.no_grad():
        difference = (ways[0](signal) - ways[1](signal)).abs().max().item()
    rounds = [tuple(seconds(way, signal) for way in ways) for _ in range(ROUNDS + 5)][5:]
    every, needed = (statistics.median(times) * 1e3 for times in zip(*rounds, strict=True))
    return every, needed, [one / other for one, other in rounds], difference


def processor() -> str:
    """The processor's name, as far as the system tells."""
    told = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in told.read_text().splitlines() if line.startswith("model name")] if told.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    lines = [
        "# The last block computes only what the class token needs",
        "",
        f"Forward and backward in float32, one thread, {ROUNDS} rounds in which the two ways alternate; the ratio's spread is its quartiles over the rounds.",
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"sigvit {sigvit.__version__}.",
        "",
        "| model | every token, ms | needed tokens, ms | ratio (quartiles) | largest difference of a feature |",
        "|---|---|---|---|---|",
    ]
    for name, (make, shape) in CASES.items():
        every, needed, ratios, difference = measure(make, shape)
        low, middle, high = statistics.quantiles(ratios, n=4)
        lines.append(f"| {name} | {every:.2f} | {needed:.2f} | {middle:.2f} ({low:.2f} – {high:.2f}) | {difference:.1e} |")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

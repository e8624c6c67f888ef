"""Images a second against timm, vit-pytorch, torchvision and Hugging Face: training step and inference, each library in its best mode.

    python benchmarks/image_throughput.py [--eager] [--formats float32 bfloat16]

First every library tries its modes (number format, compiled or not) on each case; the fastest goes into the comparison, where all take turns. Prints the
table and writes results/benchmarks/image_throughput_cpu.md or _cuda.md. A training step is forward, cross-entropy, backward and
fused AdamW. --eager: nothing compiled. --formats names the number formats that are tried.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from page import keep, where
from torch import Tensor, nn
from torch.nn import functional

import sigvit
from sigvit.evaluation.measure import measured_peak
from sigvit.evaluation.trace import trace_forward
from sigvit.model.families import family
from sigvit.timing import step_seconds, step_times

OPERATORS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
CASES = {
    "cpu": (("Ti/16", 224, 8), ("S/16", 224, 4), ("Ti/4", 32, 64)),
    "cuda": (("Ti/16", 224, 256), ("S/16", 224, 256), ("B/16", 224, 128), ("Ti/4", 32, 1024)),
}
ROUNDS = {"cpu": 9, "cuda": 30}


@dataclass(frozen=True)
class Mode:
    """How a library runs."""

    dtype: str
    compiled: bool

    def __str__(self) -> str:
        return f"{self.dtype}{', compiled' if self.compiled else ''}"


def build(library: str, name: str, pixels: int) -> nn.Module:
    """The same architecture, 1000 classes, of each library: its own defaults for whatever a user wouldn't touch."""
    size, patch = family(name)
    width, depth, heads, hidden = size
    if library == "sigvit":
        return sigvit.vit(name, pixels)
    if library == "timm":
        from timm.models.vision_transformer import VisionTransformer

        return VisionTransformer(pixels, patch, embed_dim=width, depth=depth, num_heads=heads)
    if library == "torchvision":
        from torchvision.models.vision_transformer import VisionTransformer as TorchvisionViT

        return TorchvisionViT(pixels, patch, depth, heads, width, hidden)
    if library == "vit-pytorch":
        from vit_pytorch.vit import ViT

        return ViT(image_size=pixels, patch_size=patch, num_classes=1000, dim=width, depth=depth, heads=heads, mlp_dim=hidden, dim_head=width // heads)
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {"image_size": pixels, "patch_size": patch, "hidden_size": width, "num_hidden_layers": depth}
    shape = {**sizes, "num_attention_heads": heads, "intermediate_size": hidden}
    return Logits(ViTForImageClassification(ViTConfig(**shape, num_labels=1000, attn_implementation="sdpa")))


class Logits(nn.Module):
    """Hugging Face's model, giving logits like the others."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


def runner(library: str, case: tuple[str, int, int], train: bool, mode: Mode, device: str) -> Callable[[], None]:
    """A function that does one step."""
    name, pixels, batch = case
    torch.manual_seed(0)
    model = build(library, name, pixels).to(device).train(train)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    images, labels = torch.randn(batch, 3, pixels, pixels, device=device), torch.randint(1000, (batch,), device=device)
    forward = torch.compile(model) if mode.compiled else model

    def step() -> None:
        with torch.set_grad_enabled(train), torch.autocast(device, torch.bfloat16, enabled=mode.dtype == "bfloat16"):
            logits = forward(images)
            if not train:
                return
            loss = functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def best_mode(library: str, case: tuple[str, int, int], train: bool, modes: list[Mode], device: str) -> tuple[Mode, Callable[[], None]]:
    """The mode with the smallest median of five steps."""
    found = []
    for mode in modes:
        torch.compiler.reset()
        step = runner(library, case, train, mode, device)
        found.append((step_seconds([step], device, rounds=5)[0], mode, step))
    _, mode, step = min(found, key=lambda entry: entry[0])
    return mode, step


def compare(case: tuple[str, int, int], train: bool, modes: list[Mode], device: str, libraries: list[str], peaks: dict[str, float]) -> list[str]:
    """Rows of the table for one case; ratios are of each round, sigvit's time in the denominator."""
    chosen = {library: best_mode(library, case, train, modes, device) for library in libraries}
    # Its first calls compile again what another library's reset has thrown away.
    found = step_times({library: step for library, (_, step) in chosen.items()}, device, ROUNDS[device])
    name, pixels, batch = case
    flops = trace_forward(build("sigvit", name, pixels), (3, pixels, pixels), gpu=True).work.flops * batch * (3 if train else 1)
    rows = []
    for library, times in found.items():
        mode, ratios = chosen[library][0], [own / ours for own, ours in zip(times, found["sigvit"], strict=True)]
        median = statistics.median(times)
        spread = f"{min(ratios):.2f} – {max(ratios):.2f}"
        rows.append(
            f"| {name} at {pixels}, batch {batch} | {'training' if train else 'inference'} | {library} | {mode} | {batch / median:,.1f} "
            f"| {statistics.median(ratios):.2f} ({spread}) | {flops / median / peaks[mode.dtype]:.0%} |"
        )
    return rows


def declare_operators(library: torch.library.Library) -> None:
    """A torchvision built for another torch lacks its compiled operators; declared, its Python code runs. One that has them would declare them twice."""
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return
    except RuntimeError:
        for operator in OPERATORS:
            library.define(operator)


def installed() -> list[str]:
    """Libraries that can be imported here."""
    found = ["sigvit"]
    for library in ("timm", "torchvision", "vit-pytorch", "transformers"):
        try:
            build(library, "Ti/16", 32)
        except ImportError as error:
            print(f"{library} is left out: {error}")
        else:
            found.append(library)
    return found


def main(eager: bool, formats: list[str]) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    library = torch.library.Library("torchvision", "FRAGMENT")  # what it declares lives as long as it
    declare_operators(library)
    modes = [Mode(dtype, compiled) for compiled in ((False,) if eager else (False, True)) for dtype in formats]
    if device == "cpu" and not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        modes = [mode for mode in modes if mode.dtype == "float32"]  # without its instructions bfloat16 is several times slower for all
    libraries = installed()
    peaks = {mode.dtype: max(measured_peak(device, mode.dtype) for _ in range(5)) for mode in modes}
    rows = []
    for case in CASES[device]:
        for train in (True, False):
            rows += compare(case, train, modes, device, libraries, peaks)
            print("\n".join(rows[-len(libraries) :]), flush=True)
    ways = "; ".join(map(str, modes))
    head = f"# Images a second\n\n{where(device=device)}; 1000 classes.\nEach library in its best mode of: {ways}. "
    head += f"Medians of {ROUNDS[device]} rounds in turn.\n"
    columns = "| model | what | library | best mode | images/s | time / sigvit's (least – most) | share of measured peak |\n|---|---|---|---|---|---|---|"
    keep(f"image_throughput_{device}", "\n".join([head, columns, *rows, ""]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--eager", action="store_true", help="nothing compiled")
    parser.add_argument("--formats", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    options = parser.parse_args()
    main(options.eager, options.formats)

"""`sigvit inspect`: what a trained model learned, as one HTML page that carries its figures and asks nothing of any server."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sigvit.evidence.html_parts import page
from sigvit.inspection.inputs import look_at_images, look_at_recordings
from sigvit.inspection.sections import lead, sections
from sigvit.model.vision_transformer import VisionTransformer
from sigvit.training.recipe import require_unset
from sigvit.whole_file import write_atomically


@dataclass(frozen=True)
class Options:
    """Filters, positions, attention distance, attention rollout and attribution of a trained model, on one page."""

    model: Annotated[Path, tyro.conf.Positional]
    """Folder that save_pretrained wrote."""
    data: str
    """A dataset page for recordings ("scp1", my_page.toml); digits, mnist, cifar10, a folder, an .npz or parquet:PATTERN for images."""
    output: Path | None = None
    """HTML file; left out, inspection.html in the model's folder."""
    folder: Path | None = None
    """Where the recordings lie, for pages that need local files."""
    inputs: int = 60
    """Windows (2 and more) or images that are looked at, as many of each class as can be."""
    references: int = 8
    """Other inputs that each one is compared with for its attribution."""
    permutations: int = 999
    """Sets of permuted labels."""
    seed: int = 0
    """Of everything that is drawn."""


def main(arguments: list[str]) -> int:
    """Write the page; bad input is a sentence on the error stream and exit code 2."""
    options = tyro.cli(Options, args=arguments, prog="sigvit inspect", config=(tyro.conf.AvoidSubcommands,))
    output = options.output or options.model / "inspection.html"
    try:
        if output.is_dir():
            raise ValueError(f"{output} is a folder; --output names the HTML file.")
        if options.output is not None and not output.parent.is_dir():
            raise ValueError(f"There is no folder {output.parent} that {output.name} could be written to; make it first.")
        write_atomically(output, inspection_page(options))
    except (ValueError, OSError, ImportError) as error:
        print(f"sigvit inspect: {error}", file=sys.stderr)
        return 2
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")
    return 0


def inspection_page(options: Options) -> str:
    """The page as text."""
    if min(options.inputs, options.references, options.permutations) < 1:
        raise ValueError("--inputs, --references and --permutations must all be at least 1.")
    model = VisionTransformer.from_pretrained(options.model).float()
    if len(model.config.input_shape) == 3:
        require_unset(options, ("folder",), "the model reads images, which --data names")
        looked = look_at_images(model, options.model, options.data, options.inputs, options.references, options.seed)
    elif options.inputs < 2:
        raise ValueError("--inputs is 1, but of recordings 2 and more are looked at: classes are compared with each other.")
    else:
        looked = look_at_recordings(model, options.data, options.folder, options.inputs, options.references, options.seed)
    return page(
        f"What the model in {options.model.resolve().name}/ learned", "", lead(model, looked), sections(model, looked, options.references, options.permutations)
    )

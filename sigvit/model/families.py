"""The family of Vision Transformers, in one table."""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """The numbers that make a size."""

    width: int
    depth: int
    heads: int
    mlp_width: int


# Ti, S: Touvron et al. 2021 (arXiv:2012.12877); B, L, H: Dosovitskiy et al. 2021 (arXiv:2010.11929); g: Zhai et al. 2022 (arXiv:2106.04560)
FAMILIES = {
    "Ti": Size(width=192, depth=12, heads=3, mlp_width=768),
    "S": Size(width=384, depth=12, heads=6, mlp_width=1536),
    "B": Size(width=768, depth=12, heads=12, mlp_width=3072),
    "L": Size(width=1024, depth=24, heads=16, mlp_width=4096),
    "H": Size(width=1280, depth=32, heads=16, mlp_width=5120),
    "g": Size(width=1408, depth=40, heads=16, mlp_width=6144),
}


def family(name: str) -> tuple[Size, int | None]:
    """The size and the patch, in pixels, that a name such as "B/16" means; "B" alone has no patch.

    >>> family("S/8")
    (Size(width=384, depth=12, heads=6, mlp_width=1536), 8)
    """
    letter, slash, patch = name.partition("/")
    if letter not in FAMILIES or (slash and not (patch.isdecimal() and int(patch) > 0)):
        raise ValueError(f"There is no model {name!r}; a name is one of {', '.join(FAMILIES)} and a patch in pixels, such as 'B/16'.")
    return FAMILIES[letter], int(patch) if slash else None

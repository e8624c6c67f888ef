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


class ResNet(NamedTuple):
    """The ResNet of a hybrid: residual units of each stage, how many times 64 channels its root has, and the patch on its feature map."""

    layers: tuple[int, ...]
    width_factor: int = 1
    patch: int = 1


# Names as in the paper and AugReg (arXiv:2106.10270): "R50x1" is "R50". A sixteenth has no fourth stage, and its units in the third instead.
RESNETS = {
    "R50+…/16": ResNet((3, 4, 9)),
    "R50+…/32": ResNet((3, 4, 6, 3)),
    "R50x2+…/16": ResNet((3, 4, 9), width_factor=2),
    "R50x2+…/32": ResNet((3, 4, 6, 3), width_factor=2),
    "R26+…/32": ResNet((2, 2, 2, 2)),
    "R+…/16": ResNet((), patch=8),
}


def hybrid(name: str) -> tuple[str, ResNet | None]:
    """The Transformer's own name, and the ResNet that a name such as "R50+B/16" puts in front of it.

    >>> hybrid("R50+B/16")
    ('B/16', ResNet(layers=(3, 4, 9), width_factor=1, patch=1))
    >>> hybrid("B/16")
    ('B/16', None)
    """
    resnet, plus, transformer = name.rpartition("+")
    if not plus:
        return name, None
    key = f"{resnet.removesuffix('x1')}+…/{transformer.partition('/')[2]}"
    if key not in RESNETS:
        raise ValueError(f"There is no hybrid {name!r}; there are {', '.join(RESNETS)}, where … is one of {', '.join(FAMILIES)}, such as 'R50+B/16'.")
    return transformer, RESNETS[key]


def family(name: str) -> tuple[Size, int | None]:
    """The size and the patch, in pixels, that a name such as "B/16" means; "B" alone has no patch.

    >>> family("S/8")
    (Size(width=384, depth=12, heads=6, mlp_width=1536), 8)
    """
    letter, slash, patch = name.partition("/")
    if letter not in FAMILIES or (slash and not (patch.isdecimal() and int(patch) > 0)):
        raise ValueError(f"There is no model {name!r}; a name is one of {', '.join(FAMILIES)} and a patch in pixels, such as 'B/16'.")
    return FAMILIES[letter], int(patch) if slash else None

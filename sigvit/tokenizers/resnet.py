"""The hybrid's tokens: patches of a ResNet's feature map.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021 (arXiv:2010.11929), section 3.1; the ResNet is BiT's (Kolesnikov et al. 2020,
arXiv:1912.11370): weights standardised (Qiao et al. 2019, arXiv:1903.10520), GroupNorm (Wu & He 2018, arXiv:1803.08494) for BatchNorm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional

from sigvit.plain_fields import whole_number
from sigvit.tokenizers.image import pixel_grid, rows_and_columns
from sigvit.tokenizers.projection import lecun_normal_
from sigvit.tokenizers.tokenizer import Tokenizer
from sigvit.tokens import Tokens

# B = batch, C = channels, T = tokens, D = width

GROUPS = 32
# Of each code: eps of its GroupNorms. vision_transformer divides filters by (standard deviation + 1e-5), timm by the root of (variance + 1e-8):
# in features that is 1e-4 after 16 units.
NORM_EPS = {"google": 1e-6, "timm": 1e-5}


class ResNetPatches(Tokenizer):
    """Patches of the feature map of a ResNet, each projected to a token; the usual patch is one place of the map.

    Parameters
    ----------
    layers : residual units of each stage: (3, 4, 9) gives a map of a sixteenth of the image, (3, 4, 6, 3) of a thirty-second; () is the root alone, of a
        quarter.
    width_factor : how many times 64 channels the root has; each stage doubles them.
    patch_size : places of the map, an int or (rows, columns).
    in_channels : channels of the image.
    width : length of a token.
    standardisation : "google" or "timm": whose way of dividing by the filters' standard deviation (see `standardise`), and eps of GroupNorm.

    Raises
    ------
    ValueError : numbers or words that make no ResNet, another number of channels, a map that the patch doesn't divide, or a mask: a pixel of a ResNet with
        GroupNorm influences every token, so none can be left out.

    Convolutions and pooling fill to "same" size as TensorFlow does, so that an image of any size gives a map of its size over `stride`, rounded up.
    The coordinates are the centres, in pixels, of the squares that the map divides the image into.

    >>> tokens = ResNetPatches(layers=(1, 1), width=12)(torch.zeros(2, 3, 32, 48))
    >>> tokens.values.shape, tokens.grid.shape, tokens.coordinates[1].tolist()
    (torch.Size([2, 24, 12]), (4, 6), [3.5, 11.5])
    """

    batches: ClassVar[type | None] = None

    def __init__(
        self,
        layers: Sequence[int] = (3, 4, 9),
        width_factor: int = 1,
        patch_size: int | tuple[int, int] = 1,
        in_channels: int = 3,
        width: int = 768,
        standardisation: str = "google",
    ) -> None:
        super().__init__()
        patch = rows_and_columns("patch_size", patch_size)
        in_channels, width = whole_number("in_channels", in_channels), whole_number("width", width)
        if min(*layers, *patch, width_factor, in_channels, width) < 1:
            raise ValueError(
                f"layers {tuple(layers)}, width_factor {width_factor}, patch_size {patch}, in_channels {in_channels} and width {width} must all be at least 1."
            )
        self.layers, self.width_factor, self.patch_size, self.in_channels, self.width = tuple(layers), width_factor, patch, in_channels, width
        self.stride = 4 * 2 ** max(len(self.layers) - 1, 0)
        channels = 64 * width_factor
        self.root, self.root_norm = StandardisedConvolution(in_channels, channels, 7, stride=2), _norm(channels)
        stages, inputs = [], channels
        for stage, count in enumerate(self.layers):
            outputs = channels * 2**stage
            stages.append(nn.Sequential(*_units(inputs, outputs, count, stride=1 if stage == 0 else 2)))
            inputs = 4 * outputs
        self.stages = nn.ModuleList(stages)
        self.weight = nn.Parameter(lecun_normal_(torch.empty(width, inputs, *patch)))
        self.bias = nn.Parameter(torch.zeros(width))
        self.follow(standardisation)

    def follow(self, standardisation: str) -> None:
        """Compute as this code does from now on: "google" or "timm"."""
        if standardisation not in NORM_EPS:
            raise ValueError(f"standardisation is {standardisation!r}; there are {', '.join(map(repr, NORM_EPS))}.")
        self.standardisation = standardisation
        for module in self.modules():
            if isinstance(module, StandardisedConvolution):
                module.standardisation = standardisation
            if isinstance(module, nn.GroupNorm):
                module.eps = NORM_EPS[standardisation]

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tokens:
        """(B, C, rows, columns) → Tokens (B, T, D)."""
        if mask is not None:
            _refuse_mask()
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(f"Images must be (batch, {self.in_channels} channels, rows, columns), but are {tuple(images.shape)}.")
        features = self.feature_map(images)
        for name, places, patch in zip(("rows", "columns"), features.shape[2:], self.patch_size, strict=True):
            if places % patch:
                raise ValueError(
                    f"A feature map of {places} {name} can't be cut into patches of {patch}; give images whose {name} {self.stride * patch} divides."
                )
        projected = functional.conv2d(features, self.weight, self.bias, stride=self.patch_size)
        return Tokens(projected.flatten(2).transpose(1, 2), pixel_grid(projected.shape[2:], [self.stride * patch for patch in self.patch_size]))

    def feature_map(self, images: Tensor) -> Tensor:
        """(B, C, rows, columns) → (B, channels, rows / stride, columns / stride)."""
        x = functional.relu(self.root_norm(self.root(images)))
        x = functional.max_pool2d(fill_to_same(x, 3, 2, value=float("-inf")), 3, stride=2)
        for stage in self.stages:
            x = stage(x)
        return x


class StandardisedConvolution(nn.Conv2d):
    """A convolution without bias, filled to "same" size, whose filters have mean 0 and standard deviation 1 when they are used.

    >>> StandardisedConvolution(2, 3, kernel=3, stride=2)(torch.zeros(1, 2, 5, 6)).shape
    torch.Size([1, 3, 3, 3])
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, bias=False)
        self.standardisation = "google"
        lecun_normal_(self.weight.detach())

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, rows, columns) → (B, outputs, rows / stride, columns / stride), rounded up."""
        filled = fill_to_same(images, self.kernel_size[0], self.stride[0])
        return functional.conv2d(filled, standardise(self.weight, self.standardisation), stride=self.stride)


class ResidualUnit(nn.Module):
    """Bottleneck: 1 × 1, 3 × 3 and 1 × 1 convolutions, each with its norm; the last norm starts at zero, so that the unit starts as its shortcut."""

    def __init__(self, inputs: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution1, self.norm1 = StandardisedConvolution(inputs, channels, 1), _norm(channels)
        self.convolution2, self.norm2 = StandardisedConvolution(channels, channels, 3, stride), _norm(channels)
        self.convolution3, self.norm3 = StandardisedConvolution(channels, 4 * channels, 1), _norm(4 * channels)
        nn.init.zeros_(self.norm3.weight)
        changes = inputs != 4 * channels or stride != 1
        self.shortcut = StandardisedConvolution(inputs, 4 * channels, 1, stride) if changes else None
        self.shortcut_norm = _norm(4 * channels) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, rows, columns) → (B, 4 · channels, rows / stride, columns / stride)."""
        y = functional.relu(self.norm1(self.convolution1(x)))
        y = functional.relu(self.norm2(self.convolution2(y)))
        y = self.norm3(self.convolution3(y))
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x))
        return functional.relu(x + y)


def standardise(weight: Tensor, standardisation: str = "google") -> Tensor:
    """Filters (outputs, C, rows, columns), each with mean 0 and standard deviation 1; the codes differ in what keeps the division safe.

    >>> standardise(torch.tensor([[[[1.0, 3.0]]]])).round(decimals=3).flatten().tolist()
    [-1.0, 1.0]
    """
    variance, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
    return (weight - mean) / (variance.sqrt() + 1e-5 if standardisation == "google" else (variance + 1e-8).sqrt())


def fill_to_same(images: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Images filled around so that a window of `kernel` pixels gives their size over `stride`, rounded up; the odd pixel goes right and below.

    >>> fill_to_same(torch.zeros(1, 1, 6, 5), kernel=3, stride=2).shape
    torch.Size([1, 1, 7, 7])
    """
    below, right = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in images.shape[2:])
    if not below and not right:
        return images
    return functional.pad(images, (right // 2, right - right // 2, below // 2, below - below // 2), value=value)


def _units(inputs: int, channels: int, count: int, stride: int) -> list[ResidualUnit]:
    return [ResidualUnit(inputs if k == 0 else 4 * channels, channels, stride if k == 0 else 1) for k in range(count)]


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=NORM_EPS["google"])


def _refuse_mask() -> NoReturn:
    raise ValueError("The tokens of a ResNet can't leave pixels out: every pixel influences every token through GroupNorm. Give whole images of one size.")

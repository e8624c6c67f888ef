"""The hybrid's ResNet: sizes of its map, invariances of its filters, and what it can't do."""

import pytest
import torch
from torch import nn

import sigvit
from sigvit.tokenizers import ResNetPatches
from sigvit.tokenizers.resnet import StandardisedConvolution, standardise

# timm's counts of the same models (vit_base_r50_s16_224, vit_small_r26_s32_224, vit_large_r50_s32_224, vit_tiny_r_s16_p8_224)
COUNTS = {"R50+B/16": (98_659_112, (14, 14)), "R26+S/32": (36_431_912, (7, 7)), "R50+L/32": (328_994_856, (7, 7)), "R+Ti/16": (6_337_704, (7, 7))}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_grids_are_those_of_the_literature(name):
    with torch.device("meta"):
        model = sigvit.vit(name, image_size=224, num_classes=1000)
    assert (sum(parameter.numel() for parameter in model.parameters()), model.grid.shape) == COUNTS[name]


def test_a_wider_root_has_wider_stages():
    with torch.device("meta"):
        narrow, wide = (sigvit.vit(name, image_size=64, width=12, depth=1).tokenizer for name in ("R50x1+B/16", "R50x2+B/16"))
    assert [len(stage[0].norm3.weight) for stage in narrow.stages] == [256, 512, 1024]
    assert [len(stage[0].norm3.weight) for stage in wide.stages] == [512, 1024, 2048]


@pytest.mark.parametrize(("size", "grid"), [((32, 64), (2, 4)), ((33, 31), (3, 2)), ((1, 17), (1, 2))])
def test_any_size_gives_a_map_of_its_size_over_the_stride_rounded_up(size, grid):
    tokens = ResNetPatches((1, 1, 1), width=5)(torch.randn(2, 3, *size))
    assert (tokens.grid.shape, tuple(tokens.values.shape)) == (grid, (2, grid[0] * grid[1], 5))


def test_filters_are_free_in_scale_and_offset():
    """Weight standardisation: Qiao et al. 2019; 1e-3 because the guard of the division is 1e-5 of a standard deviation of about 0.1."""
    convolution = StandardisedConvolution(5, 7, kernel=3)
    x = torch.randn(2, 5, 11, 13)
    before = convolution(x)
    with torch.no_grad():
        convolution.weight.mul_(3).add_(2)
    torch.testing.assert_close(convolution(x), before, rtol=1e-3, atol=1e-3)
    for way in ("google", "timm"):
        standard = standardise(convolution.weight.detach(), way)
        torch.testing.assert_close(standard.mean((1, 2, 3)), torch.zeros(7), rtol=0, atol=1e-5)  # a sum of 45 numbers near one
        torch.testing.assert_close(standard.std((1, 2, 3), correction=0), torch.ones(7), rtol=0, atol=1e-3)


def test_a_unit_starts_as_its_shortcut_and_everything_learns():
    model = sigvit.vit("R+Ti/16", image_size=(32, 64), num_classes=3, patch_size=(2, 4), depth=1)
    nn.init.normal_(model.head.weight)
    model(torch.randn(2, 3, 32, 64)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())
    tokenizer = ResNetPatches((2,), width=5)
    x = torch.randn(2, 256, 3, 7).relu()
    assert torch.equal(tokenizer.stages[0][1](x), x)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"layers": (3, 0)}, "must all be at least 1"),
        ({"patch_size": 0}, "patch_size is 0; give pixels, a whole number of at least 1"),
        ({"standardisation": "bit"}, "'google', 'timm'"),
    ],
)
def test_numbers_that_make_no_resnet_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ResNetPatches(**{"layers": (1,), "width": 5, **arguments})


def test_what_it_cannot_do_is_said():
    tokenizer = ResNetPatches((), patch_size=(2, 3), width=5)
    with pytest.raises(ValueError, match="can't leave pixels out"):
        tokenizer(torch.zeros(2, 3, 16, 16), torch.ones(2, 16, 16, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\(batch, 3 channels, rows, columns\), but are \(2, 1, 16, 16\)"):
        tokenizer(torch.zeros(2, 1, 16, 16))
    with pytest.raises(ValueError, match=r"4 columns can't be cut into patches of 3; give images whose columns 12 divides"):
        tokenizer(torch.zeros(2, 3, 16, 16))
    with pytest.raises(ValueError, match=r"There is no hybrid 'R50\+B/8'; there are R50\+…/16"):
        sigvit.vit("R50+B/8")

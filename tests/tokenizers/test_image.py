"""Image patches: one set of weights, two ways to compute, coordinates in pixels."""

import numpy as np
import pytest
import torch

from sigvit.tokenizers import ImagePatches, ResNetPatches


def test_matrix_product_and_convolution_agree_from_one_set_of_weights():
    by_matrix, by_convolution = (ImagePatches((5, 3), in_channels=2, width=11, method=method) for method in ("matmul", "convolution"))
    by_convolution.load_state_dict(by_matrix.state_dict())
    images = torch.randn(7, 2, 25, 21)
    # float32 sums of 30 products in another order
    torch.testing.assert_close(by_matrix(images).values, by_convolution(images).values, rtol=0, atol=1e-6)


def test_every_token_sits_at_the_mean_of_its_pixels():
    tokenizer = ImagePatches((5, 3), in_channels=2, width=30)
    rows, columns = torch.meshgrid(torch.arange(25.0), torch.arange(21.0), indexing="ij")
    patches = tokenizer.unfold(torch.stack([rows, columns])[None])[0].unflatten(1, (2, -1))
    tokens = tokenizer(torch.zeros(1, 2, 25, 21))
    assert tokens.grid.names == ("row", "column")
    assert tokens.grid.shape == (5, 7)
    assert torch.equal(patches.mean(-1), tokens.coordinates)


def test_a_token_is_the_weights_times_its_patch():
    tokenizer = ImagePatches(3, in_channels=2, width=5)
    images = torch.randn(1, 2, 6, 9)
    patch = images[0, :, 3:6, 6:9]
    expected = (tokenizer.weight * patch).sum((1, 2, 3)) + tokenizer.bias
    # float32 sums of 18 products in another order
    torch.testing.assert_close(tokenizer(images).values[0, 5], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("size", "sentence"), [((25, 22), "22 columns .* resize to 21 or 24 columns"), ((4, 21), "4 rows .* resize to 5 rows")])
def test_an_image_that_the_patch_does_not_divide_is_refused_with_the_nearest_sizes(size, sentence):
    with pytest.raises(ValueError, match=sentence):
        ImagePatches((5, 3))(torch.zeros(1, 3, *size))


def test_filling_adds_zeros_to_the_right_and_below_and_loses_no_pixel():
    tokenizer = ImagePatches((5, 3), in_channels=2, width=7, pad=True)
    images = torch.randn(2, 2, 23, 22)
    filled = torch.zeros(2, 2, 25, 24)
    filled[..., :23, :22] = images
    tokens = tokenizer(images)
    assert torch.equal(tokens.values, tokenizer(filled).values)
    assert tokens.grid.shape == (5, 8)
    assert tokens.mask.all()


def test_a_patch_is_real_where_any_of_its_pixels_is():
    mask = torch.zeros(1, 10, 9, dtype=torch.bool)
    mask[0, 5, 3] = True
    tokens = ImagePatches((5, 3), width=7)(torch.full((1, 3, 10, 9), float("nan")), mask & False)
    assert not tokens.mask.any()
    assert not tokens.values.isnan().any()
    assert ImagePatches((5, 3), width=7)(torch.zeros(1, 3, 10, 9), mask).mask.tolist() == [[False] * 4 + [True] + [False]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"patch_size": 0}, "at least 1"),
        ({"patch_size": 7.5}, r"patch_size is 7.5; give pixels, a whole number of at least 1 or \(rows, columns\)"),
        ({"patch_size": (7, 3, 5)}, r"patch_size is \(7, 3, 5\); give pixels"),
        ({"method": "einsum"}, "'matmul' and 'convolution'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ImagePatches(**arguments)


@pytest.mark.parametrize("kind", [ImagePatches, ResNetPatches])
def test_whole_numbers_of_numpy_are_taken_as_python_ones(kind):
    for size, expected in ((np.int64(3), (3, 3)), (np.array([3, 5]), (3, 5)), ((np.int32(3), 5), (3, 5))):
        tokenizer = kind(patch_size=size, width=7)
        assert tokenizer.patch_size == expected
        assert {type(pixels) for pixels in tokenizer.patch_size} == {int}


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 1, 16, 16)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match="3 channels"):
        ImagePatches(16)(torch.zeros(shape))


@pytest.mark.parametrize("mask", [torch.ones(2, 16, 16), torch.ones(2, 16, dtype=torch.bool)])
def test_masks_of_another_kind_are_refused(mask):
    with pytest.raises(ValueError, match="mask must be bool"):
        ImagePatches(16)(torch.zeros(2, 3, 16, 16), mask)


def test_the_projection_starts_with_the_variance_that_lecun_gives():
    torch.manual_seed(0)
    weight = ImagePatches(16, in_channels=3, width=192).weight
    # 147456 draws: the standard deviation is known to about 0.2 %
    assert weight.std().item() == pytest.approx((3 * 16 * 16) ** -0.5, rel=0.01)
    # cut at two standard deviations of the normal distribution that is cut
    assert weight.abs().max().item() <= 2 * (3 * 16 * 16) ** -0.5 / 0.8796

"""Patch projections for patches of another size."""

import numpy as np
import pytest
import torch

from sigvit.model.resize import resize_patches
from sigvit.model.resize_matrices import PATCH_METHODS

METHODS = list(PATCH_METHODS)
EXACT = 1e-12  # float64: sums of at most 221 products, and pseudo-inverses of condition below 10


def naive_resizing(method: str, old: int, new: int) -> torch.Tensor:
    """How a line of pixels is resized, one unit vector at a time: torch's own interpolation, at a width that it's right for."""
    modes = {"sigvit": ("bicubic", True), "timm": ("bicubic", True), "flexivit": ("bilinear", False)}
    mode, antialias = modes[method]
    lines = torch.eye(old, dtype=torch.float64)[None, None].expand(1, 1, -1, -1)
    return torch.nn.functional.interpolate(lines, (old, new), mode=mode, antialias=antialias)[0, 0].T


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), [((5, 7), (11, 13)), ((2, 3), (5, 3)), ((1, 5), (3, 7)), ((4, 4), (8, 8))])
def test_an_enlarged_patch_gives_the_same_token(method, old, new):
    weight, image = torch.randn(17, 3, *old, dtype=torch.float64), torch.randn(3, *old, dtype=torch.float64)
    rows, columns = (naive_resizing(method, before, after) for before, after in zip(old, new, strict=True))
    enlarged = torch.einsum("ri,cij,sj->crs", rows, image, columns)
    found = torch.einsum("wcrs,crs->w", resize_patches(weight, new, method), enlarged)
    torch.testing.assert_close(found, torch.einsum("wcij,cij->w", weight, image), rtol=0, atol=EXACT * 100)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), [((13, 11), (7, 5)), ((7, 5), (11, 3)), ((4, 4), (1, 1)), ((3, 5), (7, 11))])
def test_it_is_the_pseudo_inverse_of_the_resizing_of_whole_patches(method, old, new):
    """As FlexiViT has it, from one matrix of (new pixels, old pixels) instead of two."""
    weight = torch.randn(17, 3, *old, dtype=torch.float64)
    rows, columns = (naive_resizing(method, before, after) for before, after in zip(old, new, strict=True))
    inverse = np.linalg.pinv(torch.kron(rows, columns).T.numpy())
    expected = torch.einsum("no,wco->wcn", torch.from_numpy(inverse), weight.flatten(2)).unflatten(2, new)
    torch.testing.assert_close(resize_patches(weight, new, method), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("method", METHODS)
def test_the_response_to_an_even_patch_is_kept_at_every_size(method):
    for old in range(1, 13):
        for new in range(1, 13):
            weight = torch.randn(2, 1, old, 3, dtype=torch.float64)
            found = resize_patches(weight, (new, 5), method)
            if new >= old:
                torch.testing.assert_close(found.sum((2, 3)), weight.sum((2, 3)), rtol=0, atol=EXACT)
            assert found.isfinite().all()


def test_ours_loses_less_than_flexivits_when_photographs_shrink_as_pillow_shrinks_them():
    """Where a patch of 16 becomes one of 4, linear interpolation reads only half of the pixels in each direction."""
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra 'images')")
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    photograph = datasets.load_sample_images().images[0][:416, :640].mean(2).astype(np.float32) / 127.5 - 1
    small = np.asarray(image.fromarray(photograph).resize((160, 104), image.Resampling.BICUBIC))
    weight = torch.randn(31, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def tokens(pixels: np.ndarray, kernel: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(torch.tensor(pixels).double()[None, None], kernel, stride=kernel.shape[-1])

    expected = tokens(photograph, weight)
    errors = {method: ((tokens(small, resize_patches(weight, (4, 4), method)) - expected).norm() / expected.norm()).item() for method in ("sigvit", "flexivit")}
    assert errors["sigvit"] < 0.5 * errors["flexivit"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_number_format_stays_and_double_precision_is_inside(dtype):
    weight = torch.randn(7, 3, 5, 5).to(dtype)
    found = resize_patches(weight, (8, 3))
    assert found.dtype == dtype
    assert torch.equal(found, resize_patches(weight.double(), (8, 3)).to(dtype))


def test_an_equal_patch_is_the_weight_itself():
    weight = torch.randn(7, 3, 5, 2)
    assert resize_patches(weight, (5, 2)) is weight


@pytest.mark.parametrize(
    ("weight", "new", "method", "sentence"),
    [
        (torch.zeros(7, 3, 5), (2, 2), "sigvit", r"got \(7, 3, 5\)"),
        (torch.zeros(7, 3, 5, 5), (0, 2), "sigvit", r"and \(0, 2\)"),
        (torch.zeros(7, 3, 5, 5), (2.5, 2), "sigvit", r"new_patch is \(2\.5, 2\); it must be a whole number for each axis"),
        (torch.zeros(7, 3, 5, 5), 2, "sigvit", "new_patch is 2; it must be a whole number for each axis"),
        (torch.zeros(7, 3, 5, 5), (2, 2), "google", "no method 'google' to resize patches"),
    ],
)
def test_what_makes_no_patch_is_refused(weight, new, method, sentence):
    with pytest.raises(ValueError, match=sentence):
        resize_patches(weight, new, method)

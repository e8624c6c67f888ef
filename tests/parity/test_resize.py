"""Each method of `resize_positions` gives the numbers of the code it's named after, wherever that code is right; and where it isn't, ours is.

The code itself runs for timm, torchvision and Hugging Face, and scipy's function for Google; for DINOv2, MAE and FlexiViT what they call is written down here.
"""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from sigvit.model.resize import resize_patches, resize_positions

SOURCE = 1e-5  # the sources compute in float32, with weights up to 1.2 in sums of up to 32 terms on numbers up to about 4
EXACT = 1e-12  # float64 against float64

GRIDS = [
    ((14, 14), (24, 24)),
    ((14, 14), (7, 7)),
    ((14, 14), (24, 18)),
    ((4, 9), (6, 6)),
    ((2, 8), (8, 2)),
    ((4, 16), (8, 8)),
    ((16, 3), (11, 3)),
    ((1, 8), (1, 5)),
    ((5, 7), (5, 13)),
]
LENGTHS = [(old, new) for old in range(1, 17) for new in range(1, 17)]


def interpolated(table: Tensor, old: tuple[int, int], **settings) -> Tensor:
    """What the sources do to a table (tokens, width): torch's interpolation of an image of `width` channels."""
    image = table.unflatten(0, old).permute(2, 0, 1)[None]
    return functional.interpolate(image, **settings)[0].permute(1, 2, 0).flatten(0, 1)


def dinov2(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """`interpolate_pos_encoding` of facebookresearch/dinov2 with interpolate_offset = 0.1: torch is told a scale, not the size."""
    return interpolated(table, old, scale_factor=tuple((after + 0.1) / before for before, after in zip(old, new, strict=True)), mode="bicubic")


def google(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """`checkpoint.interpolate_posembed` of google-research/vision_transformer and `resample_posemb` of big_vision, with scipy's own zoom."""
    zoom = (*(after / before for before, after in zip(old, new, strict=True)), 1)
    return torch.from_numpy(ndimage.zoom(table.unflatten(0, old).numpy(), zoom, order=1)).flatten(0, 1)


SOURCES: dict[str, Callable[[Tensor, tuple[int, int], tuple[int, int]], Tensor]] = {
    "google": google,
    "dinov2": dinov2,
    "mae": lambda table, old, new: interpolated(table, old, size=new, mode="bicubic", align_corners=False),
    "hugging_face": lambda table, old, new: interpolated(table, old, size=new, mode="bicubic", align_corners=False),
    "torchvision": lambda table, old, new: interpolated(table, old, size=new, mode="bicubic", align_corners=True),
    "timm": lambda table, old, new: interpolated(table, old, size=new, mode="bicubic", antialias=True),
    # big_vision calls jax.image.resize "linear", which is antialiased; no test installs jax, so torch's antialiased resize stands in for it.
    "flexivit": lambda table, old, new: interpolated(table, old, size=new, mode="bilinear", antialias=True),
}


@pytest.mark.parametrize("method", SOURCES)
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_the_arithmetic_of_the_source(method, old, new):
    table = torch.randn(old[0] * old[1], 11)
    torch.testing.assert_close(resize_positions(table, old, new, method), SOURCES[method](table, old, new), rtol=0, atol=SOURCE)


@pytest.mark.parametrize("method", SOURCES)
def test_every_pair_of_lengths_in_double_precision(method):
    """Columns 3 → 5, so that torch's antialiasing is right; rows and columns are alike by the test of transposition."""
    for old, new in LENGTHS:
        table = torch.randn(old * 3, 2, dtype=torch.float64)
        torch.testing.assert_close(resize_positions(table, (old, 3), (new, 5), method), SOURCES[method](table, (old, 3), (new, 5)), rtol=0, atol=EXACT)


@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_timms_own_function(timm, old, new):
    from timm.layers import resample_abs_pos_embed

    table = torch.randn(3 + old[0] * old[1], 11)
    expected = resample_abs_pos_embed(table[None], list(new), list(old), num_prefix_tokens=3)[0]
    torch.testing.assert_close(resize_positions(table, old, new, "timm", prefix=3), expected, rtol=0, atol=SOURCE)


@pytest.mark.parametrize(("old", "new"), [((5, 7), (11, 13)), ((16, 16), (8, 8)), ((13, 11), (7, 5)), ((3, 8), (6, 4))])
def test_timms_own_function_of_patches(timm, old, new):
    from timm.layers.patch_embed import resample_patch_embed

    weight = torch.randn(17, 3, *old)
    # float32 pseudo-inverses of condition up to 10
    torch.testing.assert_close(resize_patches(weight, new, "timm"), resample_patch_embed(weight, list(new)), rtol=0, atol=1e-4)
    linear = resample_patch_embed(weight, list(new), interpolation="bilinear", antialias=False)
    torch.testing.assert_close(resize_patches(weight, new, "flexivit"), linear, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("old", "new"), [(14, 24), (14, 7), (3, 16), (7, 5)])
def test_torchvisions_own_function(torchvision, old, new):
    from torchvision.models.vision_transformer import interpolate_embeddings

    table = torch.randn(1 + old * old, 11)
    state = OrderedDict({"encoder.pos_embedding": table[None]})
    expected = interpolate_embeddings(new * 2, 2, state)["encoder.pos_embedding"][0]
    torch.testing.assert_close(resize_positions(table, (old, old), (new, new), "torchvision", prefix=1), expected, rtol=0, atol=SOURCE)


@pytest.mark.parametrize("kind", ["ViT", "Dinov2"])
@pytest.mark.parametrize(("old", "new"), [(7, (11, 5)), (14, (24, 24)), (8, (4, 16)), (5, (3, 3))])
def test_hugging_faces_own_functions(kind, old, new):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (python -m pip install transformers)")
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=11, num_hidden_layers=1, num_attention_heads=1, intermediate_size=2, image_size=old * 2, patch_size=2
    )
    embeddings = getattr(transformers, f"{kind}Model")(config).embeddings
    table = torch.nn.init.normal_(embeddings.position_embeddings.detach())[0]
    like = torch.empty(1, 1 + new[0] * new[1], 11)
    with torch.no_grad():
        expected = embeddings.interpolate_pos_encoding(like, new[0] * 2, new[1] * 2)[0]
    torch.testing.assert_close(resize_positions(table, (old, old), new, "hugging_face", prefix=1), expected, rtol=0, atol=SOURCE)


# where the sources are wrong


@pytest.mark.parametrize("method", ["timm", "flexivit"])
def test_torchs_antialiasing_still_copies_the_first_row_at_a_new_width_of_one(method):
    """On a CPU, for a contiguous image. Should this fail, torch has been mended; ours stays right either way, as turned round shows."""
    table = torch.randn(8, 5)
    image = table.T.reshape(1, 5, 8, 1).contiguous()
    mode = {"timm": "bicubic", "flexivit": "bilinear"}[method]
    wrong = functional.interpolate(image, (4, 1), mode=mode, antialias=True)[0, :, :, 0].T
    turned = interpolated(table, (1, 8), size=(1, 4), mode=mode, antialias=True)
    assert (wrong == wrong[0]).all()
    torch.testing.assert_close(resize_positions(table, (8, 1), (4, 1), method), turned, rtol=0, atol=SOURCE)


@pytest.mark.parametrize(("old", "new"), [(24, 22), (8, 26), (26, 12), (16, 30)])
def test_scipys_zoom_leaves_a_row_of_zeros_where_a_corner_is_rounded_outside(old, new):
    table = torch.randn(old, 5, dtype=torch.float64)
    wrong = google(table, (old, 1), (new, 1))
    found = resize_positions(table, (old, 1), (new, 1), "google")
    assert (wrong[-1] == 0).all()
    assert torch.equal(found[-1], table[-1])
    torch.testing.assert_close(found[:-1], wrong[:-1], rtol=0, atol=EXACT)


def test_a_native_grid_that_is_no_square_is_read_as_what_it_is(timm):
    """A 4 × 16 table resized by a square root would be read as 8 × 8."""
    from timm.layers import resample_abs_pos_embed

    table = torch.randn(64, 7)
    by_square_root = resample_abs_pos_embed(table[None], [6, 6], num_prefix_tokens=0)[0]
    right = resample_abs_pos_embed(table[None], [6, 6], [4, 16], num_prefix_tokens=0)[0]
    found = resize_positions(table, (4, 16), (6, 6), "timm")
    torch.testing.assert_close(found, right, rtol=0, atol=SOURCE)
    assert (found - by_square_root).norm() > 0.5 * found.norm()


def test_half_precision_is_resized_in_double_where_torch_has_no_kernel_or_rounds():
    table = torch.randn(49, 11, dtype=torch.float16)
    found = resize_positions(table, (7, 7), (11, 5), "hugging_face")
    exact = interpolated(table.double(), (7, 7), size=(11, 5), mode="bicubic").half()
    # the last bit of a half-precision number up to 8
    assert (found - exact).abs().max() <= 2**-8
    assert (found == exact).float().mean() > 0.99
    assert np.isfinite(found.numpy()).all()

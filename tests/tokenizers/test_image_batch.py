"""Images of several sizes in one batch, and the tokens that they become."""

import pytest
import torch
from torch.utils.data import DataLoader

import sigvit
from sigvit.grid import Axis, Grid
from sigvit.tokenizers import ImageBatch, ImagePatches, collate_images
from sigvit.tokens import Tokens

SIZES = ((10, 21), (15, 7), (5, 7))
EXACT = 1e-12  # float64: the same sums in another order


def images() -> list[torch.Tensor]:
    return [torch.randn(2, *size, dtype=torch.float64) for size in SIZES]


def test_an_image_stands_in_the_upper_left_corner_of_its_place():
    batch = collate_images(images := [torch.randn(2, *size) for size in SIZES])
    assert batch.values.shape == (3, 2, 15, 21)
    assert len(batch) == 3
    for image, size, values, mask in zip(images, SIZES, batch.values, batch.mask, strict=True):
        assert torch.equal(values[:, : size[0], : size[1]], image)
        assert (values[:, ~mask] == 0).all()
        assert mask[: size[0], : size[1]].all()
        assert mask.sum() == size[0] * size[1]


def test_each_image_is_cut_into_its_own_patches_and_the_rest_is_padding():
    tokenizer = ImagePatches((5, 7), 2, width=11).double()
    tokens = tokenizer(collate_images(kept := images()))
    assert [grid.shape for grid in tokens.grids] == [(2, 3), (3, 1), (1, 1)]
    assert tokens.values.shape == (3, 6, 11)
    for image, values, real, coordinates in zip(kept, tokens.values, tokens.mask, tokens.coordinates, strict=True):
        alone = tokenizer(image[None])
        n = alone.values.shape[1]
        assert real.tolist() == [True] * n + [False] * (6 - n)
        torch.testing.assert_close(values[:n], alone.values[0], rtol=0, atol=EXACT)
        assert torch.equal(coordinates[:n], alone.coordinates)
        assert coordinates[n:].isnan().all()


def test_an_image_that_the_patch_does_not_divide_is_filled_or_refused():
    filled = ImagePatches((5, 7), 2, width=11, pad=True).double()
    image = torch.randn(2, 8, 9, dtype=torch.float64)
    batch = collate_images([torch.randn(2, 10, 20, dtype=torch.float64), image])
    tokens = filled(batch)
    assert [grid.shape for grid in tokens.grids] == [(2, 3), (2, 2)]
    torch.testing.assert_close(tokens.values[1, :4], filled(image[None]).values[0], rtol=0, atol=EXACT)
    with pytest.raises(ValueError, match="can't be cut into patches"):
        ImagePatches((5, 7), 2, width=11).double()(batch)


def test_one_size_gives_what_a_plain_batch_gives():
    tokenizer = ImagePatches(5, 2, width=11).double()
    plain = torch.randn(3, 2, 10, 15, dtype=torch.float64)
    tokens = tokenizer(collate_images(list(plain)))
    assert torch.equal(tokens.values, tokenizer(plain).values)
    assert tokens.padding_mask is None
    assert tokens.grid.shape == (2, 3)


def test_it_follows_devices_and_number_formats_and_a_loader_takes_it():
    batch = collate_images([torch.randn(2, *size) for size in SIZES])
    assert batch.to(torch.bfloat16).values.dtype == torch.bfloat16
    assert batch.to("meta").values.device.type == "meta"
    assert batch.to("meta").sizes == batch.sizes
    loaded = list(DataLoader(images(), batch_size=2, collate_fn=collate_images))
    assert [one.sizes for one in loaded] == [SIZES[:2], SIZES[2:]]


def test_tokens_of_several_grids_lose_their_special_ones():
    tokens = ImagePatches((5, 7), 2, width=3)(collate_images([torch.randn(2, *size) for size in SIZES]))
    with_class = tokens.prepend({"class": torch.ones(3)})
    assert with_class.grids == tokens.grids
    assert with_class.coordinates[:, 0].isnan().all()
    patches = with_class.patches()
    assert torch.equal(patches.mask, tokens.mask)
    assert torch.equal(patches.coordinates.nan_to_num(), tokens.coordinates.nan_to_num())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: collate_images([]), "no images"),
        (lambda: collate_images([torch.zeros(5, 7)]), r"Image 0 must be a tensor .* of shape \(5, 7\)"),
        (lambda: collate_images([torch.zeros(2, 5, 7), "cat.png"]), "Image 1 must be .* of type str"),
        (lambda: collate_images([torch.zeros(2, 5, 7), torch.zeros(3, 5, 7)]), "2 channels .* image 1 has 3 channels"),
        (lambda: collate_images([torch.zeros(2, 5, 7), torch.zeros(2, 5, 7, dtype=torch.uint8)]), "torch.uint8"),
        (lambda: collate_images([torch.zeros(2, 0, 7)]), r"\(0, 7\) pixels"),
        (lambda: ImageBatch(torch.zeros(2, 3, 5, 7), ((5, 7),)), "1 sizes for values"),
        (lambda: ImageBatch(torch.zeros(1, 3, 5, 7), ((5, 8),)), r"\(5, 8\) pixels"),
        (lambda: ImagePatches(5, 3)(collate_images([torch.zeros(2, 5, 5)])), "3 channels, but these have 2"),
        (lambda: ImagePatches(5, 2)(collate_images([torch.zeros(2, 5, 5)]), torch.ones(1, 5, 5, dtype=torch.bool)), "give no mask beside it"),
    ],
)
def test_what_makes_no_batch_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_model_of_recordings_refuses_it_in_a_sentence():
    with pytest.raises(TypeError, match="tokenizer is ElectrodeTimePatches"):
        sigvit.signal_vit(3, 40)(collate_images([torch.zeros(2, 5, 7)]))


@pytest.mark.parametrize(
    ("grids", "arguments"),
    [
        ((5,), {}),
        ((5, 7), {}),
        ((5, 3, 2), {}),
        ((5, 3), {"mask": None}),
        ((5, 3), {"grid": Grid((Axis.regular("time", "s", 5, 0, 1),))}),
    ],
)
def test_tokens_whose_grids_contradict_their_values_are_refused(grids, arguments):
    lines = tuple(Grid((Axis.regular("time", "s", steps, 0, 1),)) for steps in grids)
    with pytest.raises(ValueError, match="grids"):
        Tokens(torch.zeros(2, 5, 3), grids=lines, **{"mask": torch.ones(2, 5, dtype=torch.bool), **arguments})

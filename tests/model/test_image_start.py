"""An image model's weights start a model of recordings: a picture and the recording that looks like it give the same features."""

import pytest
import torch

import sigvit
from sigvit.model.image_start import start_from_image
from sigvit.tokenizers import ConvStem, ElectrodeTimePatches, ScalpMapPatches, SpectrogramPatches

SITES = [(0.05 * x, 0.05 * y, 0.05) for x in (-1, 0, 1) for y in (-1, 0, 1)]


def image_model(positions: str = "learned", rows: int = 6, columns: int = 20) -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    return sigvit.vit("Ti/2", (rows, columns), 10, 1, patch_size=(2, 5), width=12, depth=2, heads=2, mlp_width=11, positions=positions, pool="class").eval()


def test_a_recording_that_is_the_picture_has_the_pictures_features():
    image = image_model()
    model = start_from_image(image, ElectrodeTimePatches(6, 2, 5, 5, 12), (6, 20), num_classes=3).eval()
    picture = torch.randn(7, 6, 20)
    # The two projections add their products in another order.
    torch.testing.assert_close(model.features(picture), image.features(picture[:, None]), rtol=1e-4, atol=1e-5)
    assert model(picture).shape == (7, 3)


@pytest.mark.parametrize("positions", ["factorised", "sincos"])
def test_nothing_is_random_where_the_image_model_places_no_special_tokens(positions):
    image = image_model(positions)
    model = start_from_image(image, ElectrodeTimePatches(6, 2, 5, 5, 12), (6, 20), num_classes=3).eval()
    picture = torch.randn(7, 6, 20)
    # The two projections add their products in another order.
    torch.testing.assert_close(model.features(picture), image.features(picture[:, None]), rtol=1e-4, atol=1e-5)
    assert not model.positions.special.any()
    assert f"begin at zero: {positions} ones" in model.changes[0]


def test_a_longer_recording_of_the_enlarged_picture_has_nearly_the_pictures_first_tokens():
    image = image_model()
    model = start_from_image(image, ElectrodeTimePatches(6, 2, 10, 10, 12), (6, 40), num_classes=3).eval()
    picture = torch.ones(1, 6, 20) * torch.randn(1, 6, 1)
    longer = picture[..., :1].expand(1, 6, 40)
    # Constant in time, so that resizing changes nothing: the pseudo-inverse gives the same tokens.
    torch.testing.assert_close(model.cut(longer).values, image.cut(picture[:, None]).values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("tokenizer", "names"),
    [
        (ScalpMapPatches(9, (8, 8), (4, 4), 5, 2, 12, positions=SITES), ("row", "column", "time")),
        (SpectrogramPatches(9, 64.0, window=16, stride=8, patch=(4, 2), width=12), ("electrode", "frequency", "time")),
    ],
)
def test_scalp_maps_and_spectrograms_start_too(tokenizer, names):
    image = image_model()
    before = tokenizer.weight.detach().clone()
    model = start_from_image(image, tokenizer, (9, 80), num_classes=3).eval()
    assert torch.equal(tokenizer.weight, before)
    assert model.grid.names == names
    assert model(torch.randn(2, 9, 80)).shape == (2, 3)
    kept = {name: tensor for name, tensor in image.state_dict().items() if name.startswith(("encoder.", "class_token"))}
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in kept.items())
    table = model.positions.table.view(*model.grid.shape, 12)
    repeated = table.movedim(names.index("time" if names[0] == "row" else "electrode"), 0)
    assert (repeated == repeated[0]).all()


def test_a_map_that_stays_the_same_is_a_grey_image():
    """Frames share the projection: their sum is the image's token."""
    image = image_model()
    tokenizer = ScalpMapPatches(9, (6, 10), (2, 5), 5, 3, 12, positions=SITES)
    model = start_from_image(image, tokenizer, (9, 15), num_classes=3)
    torch.testing.assert_close(model.tokenizer.weight.sum(1), image.tokenizer.weight[:, 0])


def test_what_cannot_start_is_refused():
    for positions in ("rotary", "coordinates", "none"):
        with pytest.raises(ValueError, match=f"The positions '{positions}' are no table"):
            start_from_image(image_model(positions), ElectrodeTimePatches(6, 2, 5, 5, 12), (6, 20), 3)
    with pytest.raises(ValueError, match="projects no patches"):
        start_from_image(image_model(), ConvStem(6, width=12), (6, 200), 3)
    with pytest.raises(ValueError, match="width is 13, but the image model's is 12"):
        start_from_image(image_model(), ElectrodeTimePatches(6, 2, 5, 5, 13), (6, 20), 3)
    with pytest.raises(ValueError, match="cuts them with ImagePatches"):
        start_from_image(sigvit.signal_vit(3, 80), ElectrodeTimePatches(6, 2, 5, 5, 32), (6, 20), 3)

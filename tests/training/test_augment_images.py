"""Augmentation of images: Pillow's arithmetic where there is one, the drawn frequencies, and no influence of one sample on another."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import tomli_w
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from sigvit.tokenizers.image import rows_and_columns
from sigvit.training import colours
from sigvit.training.augment_images import IMAGENET_MEAN, IMAGENET_STD, ImageAugmentation, augment, crop, evaluation_crop, preprocess, training_crops
from sigvit.training.crops import TRIES, CentreCrop, InceptionCrops, draw_crops
from sigvit.training.randaugment import COLOUR, GEOMETRIC, OPERATIONS, _layer, move, randaugment
from sigvit.training.resampling import resample

B, R, C = 11, 13, 17
KINDS = {
    "nothing": ImageAugmentation(),
    "crop and flip": ImageAugmentation(crop_area=(0.08, 1.0), flip=True),
    "bicubic crop": ImageAugmentation(crop_area=(0.08, 1.0), interpolation="bicubic"),
    "shift and flip": ImageAugmentation(pad=3, flip=True),
    "randaugment": ImageAugmentation(randaugment_layers=4, randaugment_magnitude=13),
    "three augment": ImageAugmentation(three_augment=True, colour_jitter=0.3),
    "erasing": ImageAugmentation(erasing=0.5),
}


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)


def tensor(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]


def levels(images):
    return images[0].permute(1, 2, 0).numpy()


def batch(channels=3, rows=R, columns=C):
    return torch.randint(256, (B, channels, rows, columns), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


# Geometry


@pytest.mark.parametrize("size", [(13, 17), (61, 83), (97, 101), (29, 131)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_boxes_are_resized_as_pillow_does(size, interpolation, pixels):
    """Pillow rounds to whole levels after each of its two passes, with weights of 22 bits: half a level each, carried on by the second, makes up to 1.1.

    Bicubic overshoots, and which pass clips first depends on the order that Pillow finds cheaper; so it is compared on levels that can't overshoot.
    """
    pixels = pixels if interpolation == "bilinear" else 80 + pixels // 4
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    for box in ((0.0, 0.0, 83.0, 61.0), (5.0, 7.0, 50.0, 40.0), (3.3, 2.1, 70.7, 59.2)):
        expected = np.asarray(Image.fromarray(pixels).resize(size[::-1], method, box=box)).astype(float)
        assert abs(levels(resample(tensor(pixels), torch.tensor([box], dtype=torch.float64), size, interpolation)) - expected).max() <= 1.1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_evaluation_sees_what_resizing_all_and_cutting_the_centre_gives(interpolation, pixels):
    """The paper's evaluation as torchvision has it: shorter side to 256 / 224 of the size, whole pixels, centre cut. Tolerance as above."""
    size, pixels = (28, 28), 80 + pixels // 4
    shorter, longer = 32, int(32 * 83 / 61)
    method = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[interpolation]
    resized = Image.fromarray(pixels).resize((longer, shorter), method)
    left, top = round((longer - 28) / 2), round((shorter - 28) / 2)
    expected = np.asarray(resized.crop((left, top, left + 28, top + 28))).astype(float)
    chosen = evaluation_crop(ImageAugmentation(interpolation=interpolation), size, None)
    assert abs(levels(crop(tensor(pixels), chosen)) - expected).max() <= 1.1
    worker = np.asarray(Image.fromarray(pixels).resize((28, 28), method, box=chosen.box(0, 61, 83)))
    assert abs(worker - expected).max() <= 1  # the same arithmetic, but for a last bit of the box


@pytest.mark.parametrize(
    ("size", "image", "resized"),
    [((384, 384), (480, 640), (438, 584)), ((384, 384), (500, 333), (657, 438)), ((256, 256), (375, 500), (292, 389)), ((96, 192), (500, 333), (328, 219))],
)
def test_the_longer_side_is_in_proportion_to_the_whole_pixels_of_the_shorter_one(size, image, resized):
    left, top, right, bottom = CentreCrop(size, None).box(0, *image)
    # a quotient of a product: 657 is known to 1e-13
    assert (size[0] * image[0] / (bottom - top), size[1] * image[1] / (right - left)) == pytest.approx(resized, rel=1e-12)


def test_small_sets_of_the_model_s_size_are_evaluated_untouched():
    images = batch()
    assert torch.equal(preprocess(images, ImageAugmentation(mean=(0.0,), std=(1.0,)), (R, C)), images / 255)
    assert evaluation_crop(ImageAugmentation(), (R, C), (R, C)).resize == 1.0
    assert evaluation_crop(ImageAugmentation(evaluation_resize=1.25), (R, C), (R, C)).resize == 1.25


def test_an_image_of_a_mixed_set_is_zoomed_unless_it_has_the_model_s_size():
    crops = evaluation_crop(ImageAugmentation(), (R, C), None)
    assert crops.box(0, R, C) == (0, 0, C, R)
    assert crops.box(0, 61, 83) == CentreCrop((R, C), 256 / 224).box(0, 61, 83)
    assert crops.box(0, C, R) == CentreCrop((R, C), 256 / 224).box(0, C, R)
    assert evaluation_crop(ImageAugmentation(evaluation_resize=1.25), (R, C), None).resize == 1.25


def test_lists_and_arrays_stand_for_pairs_and_channels():
    written = ImageAugmentation(crop_area=[0.25, 1], crop_ratio=[0.5, 2.0], mean=np.array(IMAGENET_MEAN), std=list(IMAGENET_STD))
    assert written == ImageAugmentation(crop_area=(0.25, 1.0), crop_ratio=(0.5, 2.0), mean=IMAGENET_MEAN, std=IMAGENET_STD)


@pytest.mark.parametrize("size", [0, (7,), (7, 5, 3), (7, 2.5), "ab"])
def test_what_is_no_size_is_a_sentence(size):
    with pytest.raises(ValueError, match=r"image_size is .*; give pixels, a whole number of at least 1 or \(rows, columns\)"):
        rows_and_columns("image_size", size)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 300), st.integers(1, 300), st.floats(1, 2), st.integers(0, 99))
def test_boxes_lie_inside_every_image(rows, columns, high, wide, resize, seed):
    crops = InceptionCrops(draw_crops(5, seed, 0), (0.08, 1.0), (3 / 4, 4 / 3), (high, wide))
    for left, top, right, bottom in (CentreCrop((high, wide), resize).box(0, rows, columns), *crops.boxes(rows, columns).tolist()):
        assert 0 <= left < right <= columns
        assert 0 <= top < bottom <= rows


def test_inception_crops_have_the_area_and_ratio_that_are_asked_for():
    crops = InceptionCrops(draw_crops(20_000, 0, 0), (0.25, 0.75), (0.5, 2.0), (7, 7))
    left, top, right, bottom = crops.boxes(1009, 1013).T
    width, height = right - left, bottom - top
    area, ratio = width * height / (1009 * 1013), np.log(width / height)
    # Rounding to whole pixels of sides of 350 and more moves area and ratio by less than .3 %.
    assert area.min() >= 0.249
    assert area.max() <= 0.752
    assert abs(ratio).max() <= np.log(2) + 0.003
    # Means of 20 000 draws: .5 ± .001 and 0 ± .003 (one deviation); large boxes of extreme ratio don't fit and are drawn again, which costs some area.
    assert abs(area.mean() - 0.5) < 0.03
    assert abs(ratio.mean()) < 0.015
    room = (width < 900) & (height < 900)
    assert abs((left[room] / (1013 - width[room])).mean() - 0.5) < 0.01
    assert abs((top[room] / (1009 - height[room])).mean() - 0.5) < 0.01


def test_where_no_box_fits_the_largest_centred_one_is_taken():
    crops = InceptionCrops(np.full((1, TRIES, 4), 0.999), (1.0, 1.0), (1.0, 1.0), (7, 7))
    assert crops.box(0, 20, 40) == (10.0, 0.0, 30.0, 20.0)
    assert crops.box(0, 40, 20) == (0.0, 10.0, 20.0, 30.0)


def test_a_worker_s_crop_is_the_batch_s_crop(pixels):
    crops = InceptionCrops(draw_crops(B, 0, 0), (0.08, 1.0), (3 / 4, 4 / 3), (23, 29))
    images = tensor(pixels).expand(B, -1, -1, -1)
    own = crop(images, crops)
    for number in (0, 3, B - 1):
        worker = np.asarray(Image.fromarray(pixels).resize((29, 23), Image.Resampling.BILINEAR, box=crops.box(number, 61, 83)))
        assert abs(levels(own[number : number + 1]) - worker).max() <= 1.1  # Pillow's rounding, as above
        assert crops.of(slice(number, number + 2)).box(0, 61, 83) == crops.box(number, 61, 83)


def test_shift_moves_whole_pixels_and_brings_in_black():
    images = 1 + batch().clamp(max=254)
    moved = (augment(images, ImageAugmentation(pad=3, mean=(0.0,), std=(1.0,)), (R, C), seed=0, step=0) * 255).round().to(torch.uint8)
    seen = set()
    for before, after in zip(images, moved, strict=True):
        found = [
            (dy, dx)
            for dy in range(-3, 4)
            for dx in range(-3, 4)
            if torch.equal(torch.nn.functional.pad(before, (3, 3, 3, 3))[:, 3 + dy : 3 + dy + R, 3 + dx : 3 + dx + C], after)
        ]
        assert len(found) == 1
        seen.update(found)
    assert len(seen) > 5


def test_half_of_the_images_are_flipped():
    images = torch.arange(5, dtype=torch.uint8).expand(997, 1, 3, 5)
    flipped = (augment(images, ImageAugmentation(flip=True), (3, 5), seed=0, step=0)[:, 0, 0, 0] > -1).float()
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / 997**0.5  # four standard deviations


def test_a_move_by_whole_pixels_and_by_a_quarter_turn_is_exact():
    images = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    shift = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]])
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    moved = move(images, torch.stack([shift, turn]), torch.tensor([0.25, 0.5, 0.75]))
    # float32 positions in -1 … 1: 1e-6 of a pixel's difference
    assert torch.allclose(moved[0, :, 1:, :-2], images[0, :, :-1, 2:], atol=1e-5)
    assert torch.allclose(moved[0, :, 0], torch.tensor([0.25, 0.5, 0.75])[:, None].expand(3, 7), atol=1e-6)
    assert torch.allclose(moved[1], images[1].rot90(-1, (1, 2)), atol=1e-5) or torch.allclose(moved[1], images[1].rot90(1, (1, 2)), atol=1e-5)


# Colours


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.9])
@pytest.mark.parametrize(("own", "pillow"), [("brightness", "Brightness"), ("contrast", "Contrast"), ("saturation", "Color"), ("sharpness", "Sharpness")])
def test_blends_are_pillow_s(own, pillow, factor, pixels):
    """Pillow cuts the result, and for colour and sharpness what it blends with, to whole levels: 1 and |1 − factor| / 2, together below 1.5."""
    expected = np.asarray(getattr(ImageEnhance, pillow)(Image.fromarray(pixels)).enhance(factor)).astype(float)
    found = levels(getattr(colours, own)(tensor(pixels) / 255, torch.tensor([factor]))) * 255
    assert abs(found - expected).max() < 1.5


def test_level_operations_are_pillow_s_exactly(pixels):
    dark = pixels // 3 + 20
    images = {name: tensor(values) / 255 for name, values in (("all", pixels), ("dark", dark))}
    pairs = [(colours.posterise(images["all"], torch.tensor([bits])), ImageOps.posterize(Image.fromarray(pixels), bits)) for bits in (1, 3, 4, 8)]
    pairs += [(colours.solarise(images["all"], torch.tensor([level / 255])), ImageOps.solarize(Image.fromarray(pixels), level)) for level in (0, 128, 256)]
    pairs += [(colours.autocontrast(images["dark"]), ImageOps.autocontrast(Image.fromarray(dark)))]
    pairs += [(colours.equalise(images[name]), ImageOps.equalize(Image.fromarray(values))) for name, values in (("all", pixels), ("dark", dark))]
    for found, expected in pairs:
        # Autocontrast and inversion in float32 are not on whole levels; Pillow cuts autocontrast's down.
        assert abs(levels(found) * 255 - np.asarray(expected)).max() < 1e-4
    flat = torch.full((1, 3, 5, 7), 0.3)
    assert torch.equal(colours.autocontrast(flat), flat)


def test_blur_is_a_gaussian(pixels):
    smooth = np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(3)))
    found = levels(colours.blur(tensor(smooth) / 255, torch.tensor([1.5]))) * 255
    # Pillow approximates by three boxes; on a smooth image and away from the edge that differs by less than two levels.
    assert abs(found - np.asarray(Image.fromarray(smooth).filter(ImageFilter.GaussianBlur(1.5))))[9:-9, 9:-9].max() < 2
    assert torch.allclose(colours.blur(tensor(pixels) / 255, torch.tensor([0.1])), tensor(pixels) / 255, atol=1e-6)  # weights of exp(-50)
    constant = torch.full((2, 3, 5, 3), 0.4)
    assert torch.allclose(colours.blur(constant, torch.tensor([0.7, 2.0])), constant, atol=1e-6)  # float32 sums of 13 weights


# RandAugment, 3-Augment, erasing


def test_every_operation_changes_a_colour_image_but_identity_and_keeps_its_range():
    images = batch(rows=29, columns=31).float() / 255 * 0.8
    for number, name in enumerate(OPERATIONS):
        for sign in (-1, 1):
            found = _layer(images, torch.full((B,), number), torch.full((B,), 0.9 * sign), torch.full((3,), 0.5))
            assert (name == "identity") == torch.equal(found, images), name
            assert found.min() >= 0, name
            assert found.max() <= 1, name
    assert len(GEOMETRIC) + len(COLOUR) == 14


def test_magnitude_0_leaves_all_but_the_operations_without_strength():
    strengthless = {"autocontrast", "equalise"}
    images = batch(rows=29, columns=31).float() / 255  # equalise needs more than 255 pixels to do anything

    for number, name in enumerate(OPERATIONS):
        found = _layer(images, torch.full((B,), number), torch.zeros(B), torch.full((3,), 0.5))
        # Solarise at strength 0 inverts the highest level alone; grid_sample's positions are float32.
        changed = ((found - images).abs() > 1e-5) & (images < 1)
        assert bool(changed.any()) == (name in strengthless), name


def test_layers_and_magnitude_are_read():
    images = batch().float() / 255
    fill = torch.zeros(3)
    choices = ((1, 5), (1, 5), (1, 9), (2, 5))
    once, again, stronger, twice = (randaugment(images, layers, magnitude, fill, B, slice(0, B), 0, 0) for layers, magnitude in choices)
    assert torch.equal(once, again)
    assert not torch.equal(once, stronger)
    assert not torch.equal(once, twice)


def test_three_augment_does_one_of_three_to_each_image():
    images = batch(rows=29, columns=31).float().expand(B, 3, 29, 31)[:1].expand(499, -1, -1, -1) / 255
    found = colours.three_augment(images, 499, slice(0, 499), seed=0, step=0)
    grey = (found == found[:, :1]).all((1, 2, 3))
    solarised = torch.isclose(found, torch.where(images < 0.5, images, 1 - images)).all(3).all(2).all(1)
    assert not (grey & solarised).any()
    for share in (grey.float().mean(), solarised.float().mean()):
        assert abs(share - 1 / 3) < 4 * (2 / 9 / 499) ** 0.5  # four standard deviations
    blurred = ~grey & ~solarised
    assert (found[blurred].var((2, 3)) < images[blurred].var((2, 3)) + 1e-6).all()


def test_erasing_takes_one_box_of_one_colour_from_the_asked_share():
    images = torch.full((997, 3, 31, 37), 128, dtype=torch.uint8)
    found = augment(images, ImageAugmentation(erasing=0.25), (31, 37), seed=0, step=0)
    gone = (found != found.mode(dim=0).values).any(1)
    share = gone.flatten(1).any(1).float().mean()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 997) ** 0.5  # four standard deviations
    for number in gone.flatten(1).any(1).nonzero()[:20, 0].tolist():
        rows, columns = gone[number].any(1).nonzero()[:, 0], gone[number].any(0).nonzero()[:, 0]
        box = gone[number, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all()
        assert 0.01 < box.numel() / (31 * 37) < 0.36  # 2 – 33 %, sides rounded to whole pixels
        assert len(found[number][:, gone[number]].unique(dim=1)[0]) == 1


# What must hold for all


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_share_s_images_are_the_whole_batch_s_bit_for_bit(kind, channels):
    images, size = batch(channels), (R, C)
    whole = augment(images, KINDS[kind], size, seed=3, step=5)
    assert whole.shape == (B, channels, R, C)
    assert torch.isfinite(whole).all()
    for cuts in ([0, 1, B], [0, 5, 8, B], list(range(B + 1))):
        parts = [augment(images[first:last], KINDS[kind], size, 3, 5, first, B) for first, last in pairwise(cuts)]
        assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(augment(images, KINDS[kind], size, seed=3, step=5), whole)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "nothing"])
def test_seed_and_step_decide(kind):
    images = batch()
    one, other_step, other_seed = (augment(images, KINDS[kind], (R, C), seed, step) for seed, step in ((0, 0), (0, 1), (1, 0)))
    assert not torch.equal(one, other_step)
    assert not torch.equal(one, other_seed)


@pytest.mark.parametrize("kind", KINDS)
def test_no_image_sees_another(kind):
    images = batch()
    before = augment(images, KINDS[kind], (R, C), 0, 0)
    changed = images.clone()
    changed[4] = 255 - changed[4]
    after = augment(changed, KINDS[kind], (R, C), 0, 0)
    others = [row for row in range(B) if row != 4]
    assert torch.equal(before[others], after[others])
    assert not torch.equal(before[4], after[4])


def test_crops_decoded_by_workers_are_not_cropped_again():
    images = batch()
    augmentation = ImageAugmentation(crop_area=(0.1, 0.2))
    assert torch.equal(augment(images, augmentation, (R, C), 0, 0, cropped=True), preprocess(images, augmentation, (R, C)))
    assert isinstance(training_crops(augmentation, (R, C), None, B, 0, 0), InceptionCrops)
    assert training_crops(ImageAugmentation(), (R, C), None, B, 0, 0) == CentreCrop((R, C), None)


def test_normalisation_is_by_channel():
    images = torch.full((2, 3, 5, 7), 255, dtype=torch.uint8)
    found = preprocess(images, ImageAugmentation(mean=IMAGENET_MEAN, std=IMAGENET_STD), (5, 7))
    expected = [(1 - mean) / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    assert torch.allclose(found[1, :, 2, 3], torch.tensor(expected), atol=1e-6)  # float32
    four, deep = (0.1, 0.2, 0.3, 0.4), torch.full((2, 4, 5, 7), 255, dtype=torch.uint8)
    found = preprocess(deep, ImageAugmentation(mean=four, std=four), (5, 7))
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([(1 - mean) / mean for mean in four]), rtol=1e-6, atol=0)  # float32
    with pytest.raises(ValueError, match="mean has 3 numbers, but the images have 4 channels; give one for all or 4"):
        preprocess(deep, ImageAugmentation(mean=IMAGENET_MEAN, std=IMAGENET_STD), (5, 7))
    with pytest.raises(ValueError, match="mean has 3 numbers, but the images have 1 channels"):
        preprocess(images[:, :1], ImageAugmentation(mean=IMAGENET_MEAN, std=IMAGENET_STD), (5, 7))
    for mean in (four, (0.1, 0.2)):
        with pytest.raises(ValueError, match=f"mean has {len(mean)} numbers, but the images have 3 channels; give one for all or 3"):
            augment(images, ImageAugmentation(mean=mean, randaugment_layers=2), (5, 7), seed=0, step=0)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"crop_area": (0.5, 0.2)}, "crop_area is .*rising"),
        ({"crop_area": (0.0, 1.0)}, "crop_area is"),
        ({"crop_ratio": (0.0, 1.0)}, "crop_ratio is"),
        ({"interpolation": "nearest"}, 'interpolation is nearest; it must be "bilinear" or "bicubic"'),
        ({"pad": -1}, "pad is -1; it must be at least 0"),
        ({"erasing": 1.5}, "erasing is 1.5; it must be from 0 to 1"),
        ({"mean": ()}, r"mean is \(\); it must be one number, or one for each channel\."),
        ({"std": (0.0,)}, "std is"),
        ({"pad": 1.5}, r"pad is 1\.5; it must be a whole number\."),
        ({"pad": True}, r"pad is True; it must be a whole number\."),
        ({"repeats": 1.5}, r"repeats is 1\.5; it must be a whole number\."),
        ({"flip": "no"}, r"flip is no; it must be True or False\."),
        ({"mean": (float("nan"),)}, r"mean is \(nan,\); it must be a number or several, and finite\."),
        ({"std": (float("inf"),)}, r"std is \(inf,\); it must be a number or several, and finite\."),
        ({"mean": "grey"}, r"mean is grey; it must be a number or several\."),
        ({"mean": "5"}, r"mean is 5; it must be a number or several\."),
        ({"erasing": "0.25"}, r"erasing is 0\.25; it must be a number\."),
        ({"evaluation_resize": "1.5"}, r"evaluation_resize is 1\.5; it must be None or a number\."),
        ({"crop_area": (0.1,)}, r"crop_area is \(0\.1,\); it must be None or two numbers\."),
        ({"crop_area": (0.1, 0.5, 1.0)}, r"it must be None or two numbers\."),
        ({"crop_area": 0.5}, r"crop_area is 0\.5; it must be None or two numbers\."),
        ({"crop_area": (0.1, 1.0), "crop_ratio": (1.0, float("inf"))}, r"it must be two numbers, and finite\."),
        ({"colour_jitter": float("inf")}, r"colour_jitter is inf; it must be a number, and finite\."),
        ({"evaluation_resize": float("nan")}, r"it must be None or a number, and finite\."),
        ({"evaluation_resize": 0.5}, "evaluation_resize is 0.5; it must be None or at least 1"),
        ({"crop_ratio": (0.5, 1.0)}, "crop_ratio is .* but nothing reads it: crop_area is None"),
        ({"randaugment_magnitude": 9.0}, "randaugment_magnitude is 9.0, but nothing reads it: randaugment_layers is 0"),
    ],
)
def test_numbers_outside_their_range_are_sentences(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        ImageAugmentation(**wrong)


def test_numbers_of_numpy_lists_and_one_for_all_are_taken():
    given = ImageAugmentation(crop_area=[np.float64(0.1), 1], mean=0.25, std=[0.5, 0.25, 0.125], pad=np.int64(2), repeats=3.0, flip=np.bool_(True))
    assert given == ImageAugmentation(crop_area=(0.1, 1.0), mean=(0.25,), std=(0.5, 0.25, 0.125), pad=2, repeats=3, flip=True)
    assert [type(number) for number in (given.pad, given.repeats, given.flip)] == [int, int, bool]


@pytest.mark.parametrize("several", [torch.tensor, pd.Series, iter])
def test_whatever_can_be_iterated_stands_for_channels(several):
    given = ImageAugmentation(mean=several([0.5, 0.25, 0.125]), std=several([0.25]))
    assert (given.mean, given.std) == ((0.5, 0.25, 0.125), (0.25,))


@pytest.mark.parametrize("one", [torch.tensor(0.25), np.array(0.25), np.float32(0.25)])
def test_one_number_stands_for_all_channels_in_any_form(one):
    assert ImageAugmentation(mean=one).mean == (0.25,)


def test_numbers_of_numpy_are_written_as_toml():
    given = ImageAugmentation(erasing=np.float32(0.25), evaluation_resize=np.float64(1.5), colour_jitter=1)
    assert [type(number) for number in (given.erasing, given.evaluation_resize, given.colour_jitter)] == [float, float, int]
    assert tomli_w.dumps({"erasing": given.erasing, "colour_jitter": given.colour_jitter}) == "erasing = 0.25\ncolour_jitter = 1\n"

"""A model for other images or classes: nothing stale, nothing random, and the old one as it was."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import sigvit
from sigvit.model.adapt import adapt, drop_representation, set_stochastic_depth, share_channels
from sigvit.model.config import ModelConfig
from sigvit.model.resize import resize_patches, resize_positions
from sigvit.tokenizers import ImagePatches, ResNetPatches

SINGLE = 1e-5  # float32, two blocks
EXACT = 1e-12  # float64


def model_of(positions: str = "learned", pool: str = "class", **choices) -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    built = {"image_size": (15, 21), "num_classes": 3, "in_channels": 2, "patch_size": (5, 7), "width": 16, "depth": 2, "heads": 2, "mlp_width": 19}
    model = sigvit.vit("Ti", pool=pool, positions=positions, **{**built, **choices})
    for parameter in model.parameters():  # what starts at zero or one could hide a part that was left out
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def enlarged(image: torch.Tensor, size: tuple[int, int], patch: tuple[int, int]) -> torch.Tensor:
    """Each patch of (batch, channels, rows, columns) enlarged by itself, as the pseudo-inverse takes it."""
    rows, columns = image.shape[2] // patch[0], image.shape[3] // patch[1]
    patches = image.unflatten(3, (columns, patch[1])).unflatten(2, (rows, patch[0])).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    large = functional.interpolate(patches, size, mode="bicubic", antialias=True)
    return large.unflatten(0, (len(image), rows, columns)).permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


@pytest.mark.parametrize("positions", ["learned", "factorised", "sincos", "coordinates", "rotary", "none"])
@pytest.mark.parametrize("pool", ["class", "mean", "map"])
def test_another_image_size_gives_what_resizing_at_run_time_gives(positions, pool):
    model = model_of(positions, pool, registers=2)
    found = adapt(model, image_size=(10, 35))
    image = torch.randn(3, 2, 10, 35)
    assert found.grid.shape == (2, 5)
    assert found.config.input_shape == (2, 10, 35)
    # one rounding of the table to float32 in both
    torch.testing.assert_close(found(image), model(image), rtol=0, atol=SINGLE)


@pytest.mark.parametrize("pool", ["class", "mean", "map", "class_and_mean"])
def test_without_the_representation_the_new_head_reads_what_the_pool_gives(pool):
    model = model_of(pool=pool, representation=13)
    pooled, image = [], torch.randn(3, 2, 15, 21)
    model.pool.register_forward_hook(lambda module, inputs, output: pooled.append(output))
    model(image)
    drop_representation(model)
    assert torch.equal(model.features(image), pooled[0])
    assert torch.equal(model(image), torch.zeros(3, 3))
    assert model.config.representation is None
    told = model.changes
    assert told == ("Representation: its 13 units before the head were dropped; the new head starts at zero.",)
    drop_representation(model)
    assert model.changes == told


def test_positions_are_resized_and_the_class_tokens_is_kept():
    model = model_of()
    found = adapt(model, image_size=(20, 14))
    assert torch.equal(found.positions.table, resize_positions(model.positions.table, (3, 3), (4, 2)))
    assert torch.equal(found.positions.special, model.positions.special)
    assert found.positions.shape == (4, 2)


@pytest.mark.parametrize("positions", ["learned", "factorised", "sincos", "coordinates", "rotary", "none"])
def test_enlarged_patches_of_an_enlarged_image_keep_the_logits(positions):
    model = model_of(positions, registers=1).double()
    found = adapt(model, image_size=(33, 30), patch_size=(11, 10))
    image = torch.randn(2, 2, 15, 21, dtype=torch.float64)
    torch.testing.assert_close(found(enlarged(image, (11, 10), (5, 7))), model(image), rtol=0, atol=EXACT * 100)


@pytest.mark.parametrize("channels", [1, 3, 4, 5, 7])
@pytest.mark.parametrize("method", ["matmul", "convolution"])
def test_a_replicated_image_keeps_its_logits(channels, method):
    model = model_of()
    model.tokenizer.method, model.tokenizer.pad = method, True
    found = adapt(model, in_channels=channels)
    grey = torch.randn(2, 1, 15, 21)
    torch.testing.assert_close(found(grey.expand(-1, channels, -1, -1)), model(grey.expand(-1, 2, -1, -1)), rtol=SINGLE, atol=SINGLE)
    assert found.tokenizer.arguments() == model.tokenizer.arguments() | {"in_channels": channels}


@pytest.mark.parametrize("old", range(1, 8))
def test_channels_share_their_weight_by_the_rule(old):
    weight = torch.randn(11, old, 2, 3, dtype=torch.float64)
    for new in range(1, 8):
        expected = torch.zeros(11, new, 2, 3, dtype=torch.float64)
        if new >= old:
            for channel in range(new):
                sharing = len(range(channel % old, new, old))
                expected[:, channel] = weight[:, channel % old] / sharing
        else:
            for channel in range(old):
                expected[:, channel % new] += weight[:, channel]
        found = share_channels(weight, new)
        torch.testing.assert_close(found, expected, rtol=0, atol=EXACT)
        if new >= old:
            torch.testing.assert_close(share_channels(found, old), weight, rtol=0, atol=EXACT)  # there and back


def test_another_number_of_classes_gets_a_head_at_zero_and_the_same_features():
    model, image = model_of(representation=11), torch.randn(2, 2, 15, 21)
    found = adapt(model, num_classes=5)
    assert (found(image) == 0).all()
    assert found(image).shape == (2, 5)
    assert torch.equal(found.features(image), model.features(image))
    assert found.changes == ("Head: 3 classes became 5; the new head starts at zero.",)


def test_the_same_number_of_classes_keeps_the_head_and_says_so():
    model = model_of()
    found = adapt(model, num_classes=3)
    assert torch.equal(found.head.weight, model.head.weight)
    assert found.changes == ("Head: kept, because it has 3 classes already; reset_head(3) would start it anew.",)


def test_whole_numbers_may_be_written_as_floats():
    model = model_of()
    found, expected = adapt(model, in_channels=1.0, num_classes=5.0), adapt(model, in_channels=1, num_classes=5)
    assert (found.changes, found.config, found.tokenizer.arguments()) == (expected.changes, expected.config, expected.tokenizer.arguments())
    assert torch.equal(found.tokenizer.weight, expected.tokenizer.weight)
    for choice in ({"in_channels": "1"}, {"num_classes": "5"}, {"num_classes": 2.5}):
        with pytest.raises(ValueError, match=f"{next(iter(choice))} is .*; it must be a whole number"):
            adapt(model, **choice)


CHANGES = {"image_size": (20, 22), "patch_size": (5, 11), "in_channels": 3, "num_classes": 5}


def test_the_old_model_stays_as_it_is_and_shares_nothing_with_the_new():
    model, image = model_of(), torch.randn(2, 2, 15, 21)
    before, logits, config = copy.deepcopy(model.state_dict()), model(image), model.config
    found = adapt(model, **CHANGES)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(model(image), logits)
    assert (model.config, model.changes, model.grid.shape) == (config, (), (3, 3))


def test_no_random_number_is_drawn():
    model, state = model_of(), torch.get_rng_state()
    found, again = adapt(model, **CHANGES), adapt(model, **CHANGES)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in found.state_dict().items())


@pytest.mark.parametrize("positions", ["learned", "factorised", "sincos", "coordinates", "rotary", "none"])
def test_an_adapted_model_is_like_one_that_was_built_so_and_goes_to_disk(positions, tmp_path):
    found = adapt(model_of(positions, "mean", registers=2), **CHANGES)
    built = model_of(positions, "mean", registers=2, **CHANGES)
    assert found.config == built.config
    assert found.grid == built.grid
    assert {name: tensor.shape for name, tensor in found.state_dict().items()} == {name: tensor.shape for name, tensor in built.state_dict().items()}
    nn.init.normal_(found.head.weight)
    found.save_pretrained(tmp_path)
    image = torch.randn(2, 3, 20, 22)
    assert torch.equal(sigvit.VisionTransformer.from_pretrained(tmp_path)(image), found(image))


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_what_was_frozen_in_training_or_in_half_precision_stays_so(frozen):
    model = model_of().bfloat16().train()
    getattr(model.tokenizer, frozen).requires_grad_(False)
    model.positions.table.requires_grad_(False)
    found = adapt(model, **CHANGES)
    assert found.training
    assert {name: parameter.requires_grad for name, parameter in found.tokenizer.named_parameters()} == {"weight": True, "bias": True} | {frozen: False}
    assert not found.positions.table.requires_grad
    assert {parameter.dtype for parameter in found.parameters()} == {torch.bfloat16}
    exact = resize_patches(share_channels(model.tokenizer.weight.float(), 3), (5, 11))
    # half precision rounds twice, after the channels and after the patch
    torch.testing.assert_close(found.tokenizer.weight.float(), exact, rtol=2**-7, atol=2**-7)


def test_other_rates_of_skipped_branches_go_to_disk(tmp_path):
    model = model_of()
    set_stochastic_depth(model, (0.1, 0.3))
    model.save_pretrained(tmp_path)
    again = sigvit.VisionTransformer.from_pretrained(tmp_path)
    for each in (model, again):
        assert [block.stochastic_depth for block in each.encoder.blocks] == pytest.approx([0.1, 0.3])  # rates are float32's


def test_it_says_what_was_done_to_each_part_also_in_two_steps():
    model = model_of()
    both = adapt(model, **CHANGES).changes
    assert [sentence.split(":")[0] for sentence in both] == ["Channels", "Patches", "Positions", "Head"]
    assert "(3, 3) became (4, 2)" in both[2]
    steps = adapt(adapt(model, in_channels=3), image_size=(10, 7)).changes
    assert [sentence.split(":")[0] for sentence in steps] == ["Channels", "Positions"]
    assert "what a smaller patch can't hold is lost" in adapt(model, image_size=(12, 14), patch_size=(4, 7)).changes[0]
    assert adapt(model, image_size=(30, 42), patch_size=(10, 14)).changes[1].startswith("Positions: kept")
    assert adapt(model).changes == ()


def test_sizes_of_numpy_are_taken_as_pythons():
    model = model_of()
    grown, expected = adapt(model, image_size=np.int64(105), patch_size=np.int64(7)), adapt(model, image_size=105, patch_size=7)
    assert grown.config == expected.config
    assert torch.equal(grown.tokenizer.weight, expected.tokenizer.weight)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"image_size": 16}, "16 rows can't be cut into patches of 5"),
        ({"patch_size": (4, 7)}, "15 rows can't be cut into patches of 4"),
        ({"patch_size": 40}, "resize to 40 rows"),
        ({"image_size": 0}, "image_size is 0; give pixels"),
        ({"image_size": (5, 7, 9)}, "image_size is"),
        ({"image_size": 10.0}, r"image_size is 10\.0"),
        ({"patch_size": (0, 7)}, "patch_size is"),
        ({"in_channels": 0}, "in_channels 0"),
        ({"num_classes": 0}, "num_classes is 0"),
    ],
)
def test_what_makes_no_model_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        adapt(model_of(), **changes)


@pytest.mark.parametrize("changes", [{"image_size": 20}, {"patch_size": 5}, {"in_channels": 3}])
def test_a_model_of_recordings_says_what_can_change(changes):
    model = sigvit.signal_vit(3, 40)
    with pytest.raises(ValueError, match="num_classes"):
        adapt(model, **changes)
    assert adapt(model, num_classes=5)(torch.zeros(2, 3, 40)).shape == (2, 5)


class BrightPatches(ImagePatches):
    """Somebody's own, which a plain one would replace unnoticed."""


def test_a_tokenizer_of_another_class_keeps_its_channels_and_patches():
    config = ModelConfig((3, 16, 24), num_classes=3, width=16, depth=1, heads=2, mlp_width=19)
    with pytest.raises(ValueError, match="this model's is BrightPatches; here only image_size and num_classes can"):
        adapt(sigvit.VisionTransformer(config, BrightPatches((8, 8), 3, 16)), in_channels=1)


def test_a_hybrid_changes_its_image_size_and_its_head_alone():
    tokenizer = ResNetPatches(layers=(1,), width=16)
    config = ModelConfig((3, 16, 24), num_classes=3, width=16, depth=1, heads=2, mlp_width=19)
    model = sigvit.VisionTransformer(config, tokenizer).eval()
    nn.init.normal_(model.head.weight)
    image = torch.randn(2, 3, 24, 16)
    torch.testing.assert_close(adapt(model, image_size=(24, 16))(image), model(image), rtol=0, atol=SINGLE)
    with pytest.raises(ValueError, match="this model's is ResNetPatches; here only image_size and num_classes can"):
        adapt(model, in_channels=1)

"""One model for images and recordings."""

import copy
import pickle

import mne
import numpy as np
import pytest
import torch
from torch import nn

import sigvit
from sigvit.grid import Axis, Grid
from sigvit.tokenizers import ElectrodeTimePatches, ImagePatches, TimeStepTokens
from sigvit.tokens import Tokens


def small(**choices) -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    settings = {"image_size": (15, 21), "patch_size": (5, 3), "width": 12, "depth": 2, "heads": 3, "mlp_width": 23, "num_classes": 5, "in_channels": 2}
    return waken(sigvit.vit("Ti", **{**settings, **choices}))


def waken(model: sigvit.VisionTransformer) -> sigvit.VisionTransformer:
    """The head starts at zero; with other weights the logits say something."""
    nn.init.normal_(model.head.weight)
    return model.eval()


IMAGES = torch.randn(3, 2, 15, 21, generator=torch.Generator().manual_seed(1))
POOLS = [{}, {"pool": "mean"}, {"pool": "map"}, {"pool": "mean", "class_token": True}, {"registers": 2}, {"pool": "map", "registers": 2}]


@pytest.mark.parametrize("choices", POOLS)
def test_logits_are_the_head_on_features_of_the_encoded_tokens(choices):
    model = small(**choices)
    encoded = model.encode(IMAGES)
    special = encoded.special
    pooled = {
        "class": lambda: encoded.token("class"),
        "mean": lambda: encoded.patches().values.mean(1),
        "map": lambda: model.pool(encoded.patches().values),
    }[model.config.pool]()
    assert special == (("class",) if model.config.class_token else ()) + tuple(f"register {k}" for k in range(model.config.registers))
    assert encoded.grid.shape == (3, 7)
    # float32: the last block's products for fewer tokens, in another order
    torch.testing.assert_close(model.features(IMAGES), pooled, rtol=0, atol=1e-5)
    torch.testing.assert_close(model(IMAGES), model.head(pooled), rtol=0, atol=1e-4)


def test_the_head_starts_at_zero_and_is_reset_to_zero():
    model = sigvit.vit("Ti/16", image_size=32, num_classes=5, depth=1)
    assert (model(torch.randn(2, 3, 32, 32)) == 0).all()
    nn.init.normal_(model.head.weight)
    model.double().reset_head(7)
    logits = model(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    assert logits.shape == (2, 7)
    assert logits.dtype == torch.float64
    assert (logits == 0).all()
    assert model.config.num_classes == 7


def test_a_head_of_three_point_zero_classes_has_three_and_a_refused_one_changes_nothing():
    model = small()
    for wrong in ("3", 2.5, 0, True):
        with pytest.raises(ValueError, match="num_classes is"):
            model.reset_head(wrong)
    assert model.config.num_classes == model.head.out_features == 5
    model.reset_head(3.0)
    assert type(model.config.num_classes) is int
    assert model.config.num_classes == model.head.out_features == 3


@pytest.mark.parametrize("name", ["Ti/16", "R+Ti/16"])
def test_whole_numbers_may_be_written_as_floats(name):
    model = sigvit.vit(name, image_size=32, patch_size=2, width=12.0, depth=1.0, heads=3.0, num_classes=5.0, in_channels=2.0)
    assert model(torch.zeros(3, 2, 32, 32)).shape == (3, 5)
    assert (type(model.tokenizer.width), type(model.tokenizer.in_channels)) == (int, int)
    for choice in ({"width": 12.5}, {"in_channels": "2"}, {"in_channels": True}):
        with pytest.raises(ValueError, match=f"{next(iter(choice))} is .*; it must be a whole number"):
            sigvit.vit(name, image_size=32, patch_size=2, **choice)


def test_the_rest_starts_as_in_the_paper():
    torch.manual_seed(0)
    model = sigvit.vit("S/16", image_size=224, depth=1)
    assert not model.class_token.any()
    assert not model.tokenizer.bias.any()
    # 75264 draws: the standard deviation is known to about 0.3 %
    assert model.positions.table.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.tokenizer.weight.std().item() == pytest.approx(768**-0.5, rel=0.02)


def test_the_representation_is_a_tanh_layer_before_the_head():
    model = small(representation=True)
    assert model.features(IMAGES).shape == (3, 12)
    assert model.features(IMAGES).abs().max() < 1
    assert small(representation=7).features(IMAGES).shape == (3, 7)
    assert small(representation=False).config.representation is None


@pytest.mark.parametrize("positions", ["learned", "factorised", "sincos", "coordinates", "rotary", "none"])
def test_any_size_at_run_time(positions):
    model = small(positions=positions)
    for rows, columns in ((15, 21), (5, 3), (25, 6), (21 // 3 * 5, 15)):
        assert model(torch.randn(2, 2, rows, columns)).shape == (2, 5)
        assert model.encode(torch.randn(2, 2, rows, columns)).grid.shape == (rows // 5, columns // 3)


def test_attention_maps_have_a_row_for_every_token():
    maps = small(registers=2).attention_maps(IMAGES)
    assert maps.shape == (3, 2, 3, 24, 24)
    # float32 sums of 24 numbers
    torch.testing.assert_close(maps.sum(-1), torch.ones(3, 2, 3, 24), rtol=0, atol=1e-6)


def test_without_positions_the_order_of_patches_does_not_matter():
    """Self-attention is equivariant to permutations (Lee et al., Set Transformer, 2019)."""
    model = small(positions="none", pool="mean")
    patches = model.tokenizer.unfold(IMAGES)
    turned = model.tokenizer.fold(patches.flip(1), (15, 21))
    # float32 sums in another order
    torch.testing.assert_close(model.features(turned), model.features(IMAGES), rtol=0, atol=1e-5)
    assert (small(pool="mean").features(turned) - small(pool="mean").features(IMAGES)).abs().max() > 1e-4


def test_a_batch_is_its_samples_one_by_one():
    model = small(registers=2)
    # float32 products of another shape
    torch.testing.assert_close(model(IMAGES), torch.cat([model(image[None]) for image in IMAGES]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("choices", POOLS)
def test_stacked_models_are_the_models_one_by_one(choices):
    models = [waken(sigvit.signal_vit(3, 40, num_classes=2, width=8, heads=2, **choices)) for _ in range(3)]
    weights, buffers = torch.func.stack_module_state(models)
    recordings = torch.randn(5, 3, 40)

    def one(weights, buffers):
        return torch.func.functional_call(models[0], (weights, buffers), (recordings,))

    with pytest.warns(UserWarning, match="batching rule"):  # torch falls back to a loop for fused attention on a CPU
        found = torch.func.vmap(one)(weights, buffers)
    # float32 products of another shape
    torch.testing.assert_close(found, torch.stack([model(recordings) for model in models]), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_stacked_models_drop_out_each_its_own():
    model = waken(sigvit.signal_vit(3, 40, num_classes=2, dropout=0.3, stochastic_depth=0.3)).train()
    weights, buffers = torch.func.stack_module_state([model, model])
    recordings = torch.randn(5, 3, 40)
    stacked = torch.func.vmap(lambda w, b: torch.func.functional_call(model, (w, b), (recordings,)), randomness="different")
    one, other = stacked(weights, buffers)
    assert not torch.equal(one, other)


def test_a_copy_and_a_pickle_are_the_model():
    model = small(positions="sincos", registers=2)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(IMAGES), model(IMAGES))


def test_dropout_acts_in_training_alone():
    model = small(dropout=0.5)
    assert torch.equal(model(IMAGES), model(IMAGES))
    assert not torch.equal(model.train()(IMAGES), model(IMAGES))


def test_weight_decay_spares_what_is_no_matrix_of_a_layer():
    model = small(pool="map", registers=2, layer_scale=0.1, class_token=True, positions="factorised")
    spared = model.no_decay_names()
    decayed = {name.rsplit(".", 1)[0] for name, _ in model.named_parameters() if name not in spared}
    assert {"class_token", "register_tokens", "pool.probe", "positions.tables.row", "head.bias", "encoder.norm.weight"} <= spared
    assert decayed == {"tokenizer", "head", "pool.mlp.inner", "pool.mlp.outer", "pool.attention.qkv", "pool.attention.out"} | {
        f"encoder.blocks.{k}.{layer}" for k in range(2) for layer in ("attention.qkv", "attention.out", "mlp.inner", "mlp.outer")
    }


def test_every_parameter_learns():
    model = small(pool="map", registers=2, class_token=True, layer_scale=0.1, representation=7).train()
    model(IMAGES).square().sum().backward()
    silent = [name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert silent == []


def test_checkpointing_is_an_argument_and_an_attribute():
    model = small(checkpointing=True).train()
    assert model.encoder.checkpointing
    expected = torch.autograd.grad(model(IMAGES).square().sum(), list(model.parameters()))
    model.encoder.checkpointing = False
    for one, other in zip(expected, torch.autograd.grad(model(IMAGES).square().sum(), list(model.parameters())), strict=True):
        assert torch.equal(one, other)


def test_other_widths_have_four_times_as_many_hidden_units():
    assert sigvit.vit("Ti/16", 32, width=24, depth=1).config.mlp_width == 96
    with torch.device("meta"):
        assert sigvit.vit("g/14", 28, depth=1, width=1408).config.mlp_width == 6144


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("pool", ["class", "mean", "map", "class_and_mean"])
def test_an_empty_batch_has_no_logits_and_no_gradient(pool, positions):
    model, images = sigvit.vit("Ti/8", 32, 5, width=12, heads=2, depth=2, pool=pool, positions=positions), torch.empty(0, 3, 32, 24)
    logits = model(images)
    assert logits.shape == (0, 5)
    logits.sum().backward()
    assert not any(parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)
    with torch.no_grad():
        assert torch.equal(model.eval()(images), logits)
        assert model.attention_maps(images).shape[:3] == (0, 2, 2)


def test_whole_numbers_of_numpy_are_taken_as_python_ones():
    config = sigvit.vit("Ti/8", np.int64(32), 5, depth=1).config
    assert config.input_shape == (3, 32, 32)
    config = sigvit.signal_vit(3, 40, tokenizer=TimeStepTokens(3, 5, np.int64(12))).config
    assert (config.width, type(config.width), config.mlp_width) == (12, int, 24)
    with pytest.raises(ValueError, match=r"image_size is 32.5; give pixels, a whole number of at least 1 or \(rows, columns\)"):
        sigvit.vit("Ti/8", 32.5, depth=1)


def test_no_hidden_units_are_refused():
    with pytest.raises(ValueError, match="mlp_width is 0; it must be at least 1"):
        sigvit.vit("Ti/16", 32, depth=1, mlp_width=0)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"depth": 2.5}, "depth is 2.5; it must be a whole number"),
        ({"num_classes": "5"}, "num_classes is 5; it must be a whole number"),
        ({"class_token": "no"}, "class_token is no; it must be True or False"),
        ({"checkpointing": "no"}, "checkpointing is no; it must be True or False"),
        ({"layer_scale": float("nan")}, "layer_scale is nan; it must be None or a number, and finite"),
        ({"layer_scale": False}, "layer_scale is False; it must be None or a number"),
    ],
)
def test_numbers_and_switches_of_another_kind_are_refused(choices, sentence):
    with pytest.raises(ValueError, match=sentence):
        sigvit.vit(**{"name": "Ti/16", "image_size": 32, "num_classes": 5, "depth": 1} | choices)


def test_whole_floats_are_counts():
    config = sigvit.vit("Ti/16", 32, 5.0, depth=1.0, registers=np.float64(2)).config
    assert repr((config.num_classes, config.depth, config.registers)) == "(5, 1, 2)"


def test_a_plain_dictionary_does_not_say_electrodes():
    with pytest.raises(ValueError, match="not by a plain dictionary; hand over its names and its rate"):
        sigvit.signal_vit({"ch_names": ["C3", "Cz"], "sfreq": 250.0}, 100)


def test_a_name_without_a_patch_needs_a_patch_size():
    with pytest.raises(ValueError, match="write Ti/16, or give patch_size"):
        sigvit.vit("Ti")


# recordings


@pytest.mark.parametrize("electrodes", [3, ["C3", "Cz", "C4"], mne.create_info(["C3", "Cz", "C4"], 250.0, "eeg")])
def test_electrodes_are_said_by_a_count_names_or_an_info(electrodes):
    model = sigvit.signal_vit(electrodes, n_times=1000, sampling_rate=250.0, num_classes=4)
    assert model(torch.randn(2, 3, 1000)).shape == (2, 4)
    assert model.grid.names == ("electrode", "time")
    known = np.isfinite(model.grid.axis("electrode").coordinates).all()
    assert known == (electrodes != 3)
    assert model.grid.axis("time").unit == "s"


@pytest.mark.parametrize(("n_times", "steps", "window"), [(896, 16, 56), (50, 10, 5), (1000, 16, 63), (17, 4, 5), (3, 1, 3)])
def test_the_default_cut_has_at_most_sixteen_steps_and_loses_no_sample(n_times, steps, window):
    model = sigvit.signal_vit(2, n_times)
    assert (model.grid.shape, model.tokenizer.window) == ((1, steps), window)
    recording = torch.randn(1, 2, n_times)
    held = model.tokenizer.fold(model.tokenizer.unfold(recording), n_times)
    assert torch.equal(held, recording)


@pytest.mark.parametrize("positions", ["learned", "factorised", "sincos", "coordinates", "rotary", "none"])
@pytest.mark.parametrize(
    "tokenizer",
    [
        lambda: ElectrodeTimePatches(6, 1, window=10, stride=5, width=8, names=["F3", "F4", "C3", "C4", "P3", "P4"]),
        lambda: ElectrodeTimePatches(6, 3, window=10, stride=10, width=8, names=["F3", "F4", "C3", "C4", "P3", "P4"]),
        lambda: TimeStepTokens(6, window=4, width=8),
    ],
)
def test_any_tokenizer_with_any_positions(tokenizer, positions):
    model = sigvit.signal_vit(6, 40, tokenizer=tokenizer(), positions=positions, depth=1, heads=2, pool="mean")
    assert model(torch.randn(2, 6, 40)).shape == (2, 2)


class Halves(nn.Module):
    """Somebody's own tokenizer: with batch norm, which must not learn while the model is built."""

    def __init__(self, width: int = 8, with_grid: bool = True) -> None:
        super().__init__()
        self.width, self.with_grid = width, with_grid
        self.norm, self.project = nn.BatchNorm1d(3), nn.Linear(60, 8)

    def forward(self, recording: torch.Tensor) -> Tokens:
        values = self.project(self.norm(recording).unflatten(2, (2, -1)).transpose(1, 2).flatten(2))
        grid = Grid((Axis.regular("time", "samples", 2, 9.5, 20),))
        return Tokens(values, grid if self.with_grid else None, coordinates=None if self.with_grid else torch.zeros(2, 1))


def test_a_tokenizer_of_ones_own():
    tokenizer = Halves().train()
    model = sigvit.signal_vit(3, 40, tokenizer=tokenizer, positions="learned", heads=2)
    assert model.grid.shape == (2,)
    assert tokenizer.training
    assert (tokenizer.norm.running_mean == 0).all()
    assert tokenizer.norm.num_batches_tracked == 0
    assert model(torch.randn(2, 3, 40)).shape == (2, 2)


def test_a_part_that_is_kept_in_evaluation_mode_stays_in_it():
    tokenizer = Halves().train()
    tokenizer.norm.requires_grad_(False).eval()
    model = sigvit.signal_vit(3, 40, tokenizer=tokenizer, heads=2)
    assert (tokenizer.training, tokenizer.norm.training, tokenizer.project.training) == (True, False, True)
    model(torch.randn(2, 3, 40))
    assert tokenizer.norm.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: sigvit.signal_vit(3, 40, tokenizer=Halves(), width=9), "width is 8, but the model's is 9"),
        (lambda: sigvit.signal_vit(3, 40, tokenizer=nn.Flatten()), "width is None"),
        (lambda: sigvit.signal_vit(3, 40, tokenizer=Halves(width=16)), "tokens of width 8, but the model's width is 16"),
        (lambda: sigvit.signal_vit(3, 40, tokenizer=Halves(with_grid=False)), "have no grid"),
        (lambda: sigvit.signal_vit(4, 40, tokenizer=ElectrodeTimePatches(3, width=8)), "3 electrodes, samples"),
        (lambda: sigvit.signal_vit(3, 40, width=10), "10 can't be split among 4 heads"),
        (lambda: sigvit.signal_vit("Cz", 40), "a list of names or a count"),
        (lambda: sigvit.signal_vit(0, 40), "n_electrodes is 0"),
        (lambda: sigvit.signal_vit(3, 0), "at least 1"),
    ],
)
def test_recordings_that_make_no_model_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_recording_of_another_length_is_refused_by_learned_times():
    with pytest.raises(ValueError, match="built for 16 steps of time, but got 8"):
        sigvit.signal_vit(3, 160)(torch.zeros(1, 3, 80))


def test_a_count_of_samples_that_a_product_of_seconds_and_hertz_gives_is_taken():
    assert sigvit.signal_vit(3, n_times=0.64 * 250.0).config.input_shape == (3, 160)
    with pytest.raises(ValueError, match=r"n_times is 160.5; it must be a whole number"):
        sigvit.signal_vit(3, n_times=160.5)


def test_the_same_class_reads_images_and_recordings():
    assert type(small()) is type(sigvit.signal_vit(3, 40)) is sigvit.VisionTransformer
    assert isinstance(small().tokenizer, ImagePatches)


def test_whole_numbers_are_refused_with_what_would_be_right():
    with pytest.raises(TypeError, match=r"The signal is torch.uint8; give floating-point numbers, scaled as in training"):
        sigvit.vit("Ti/8", 16, num_classes=2, depth=1)(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))


def test_a_tokenizer_of_other_electrodes_or_another_rate_is_refused():
    tokenizer = ElectrodeTimePatches(3, 1, 20, 20, 16, names=["C3", "Cz", "C4"], sampling_rate=100.0)
    assert sigvit.signal_vit(["EEG C3-REF", "Cz", "C4"], 200, 100.0, tokenizer=tokenizer, heads=2).grid.shape == (3, 10)
    with pytest.raises(ValueError, match=r"built for the electrodes \['C3', 'Cz', 'C4'\], but the recordings have \['C4', 'Cz', 'C3'\], in this order"):
        sigvit.signal_vit(["C4", "Cz", "C3"], 200, 100.0, tokenizer=tokenizer, heads=2)
    with pytest.raises(ValueError, match="built for 100 Hz, but the recordings have 250 Hz"):
        sigvit.signal_vit(["C3", "Cz", "C4"], 500, 250.0, tokenizer=tokenizer, heads=2)

"""What is saved comes back the same, and what doesn't fit is named."""

import json

import mne
import numpy as np
import pytest
import torch
from torch import nn

import sigvit
from sigvit.model.scaling import Scaling
from sigvit.tokenizers import ElectrodeTimePatches, TimeStepTokens

INFO = mne.create_info(["C3", "Cz", "C4", "stimulus"], 250.0, "eeg")
MODELS = {
    "image": (lambda: sigvit.vit("Ti/7", (28, 21), 5, in_channels=2, depth=2, width=12, heads=3, positions="sincos", gelu="tanh"), (2, 28, 21)),
    "image_map": (lambda: sigvit.vit("Ti", 14, 5, patch_size=(7, 2), depth=1, width=12, heads=3, pool="map", registers=2, layer_scale=0.1), (3, 14, 14)),
    "hybrid": (lambda: sigvit.vit("R+Ti/16", 32, 5, patch_size=(2, 4), depth=1, width=12, heads=3), (3, 32, 32)),
    "side_by_side": (lambda: sigvit.vit("Ti/7", 14, 5, depth=1, width=12, heads=3, pool="class_and_register", registers=2), (3, 14, 14)),
    "gates": (lambda: sigvit.vit("Ti/7", 14, 5, depth=1, width=12, heads=3, mlp_width=17, gelu="swiglu"), (3, 14, 14)),
    "mean_then_norm": (lambda: sigvit.vit("Ti/7", 14, 5, depth=2, width=6, heads=3, pool="mean_then_norm", stochastic_depth=(0.2, 0.1)), (3, 14, 14)),
    "info": (lambda: sigvit.signal_vit(INFO, 200, num_classes=3, representation=7, eps=1e-5), (4, 200)),
    "count": (lambda: sigvit.signal_vit(3, 40, positions="learned", dropout=0.2), (3, 40)),
    "grouped": (
        lambda: sigvit.signal_vit(
            ["O1", "F4", "O2", "F3"], 40, tokenizer=ElectrodeTimePatches(4, 2, 7, 3, 8, grouping="position", names=["O1", "F4", "O2", "F3"])
        ),
        (4, 40),
    ),
    "time_steps": (lambda: sigvit.signal_vit(3, 40, tokenizer=TimeStepTokens(3, 4, 8)), (3, 40)),
}


@pytest.fixture
def saved(tmp_path):
    model = sigvit.signal_vit(INFO, 200, num_classes=3)
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, change) -> None:
    description = json.loads((folder / "config.json").read_text())
    change(description)
    (folder / "config.json").write_text(json.dumps(description))


@pytest.mark.parametrize("name", MODELS)
def test_what_is_saved_comes_back_the_same(name, tmp_path):
    make, shape = MODELS[name]
    model = make().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    state = torch.get_rng_state()
    back = sigvit.VisionTransformer.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)
    assert back.config == model.config
    assert repr(back.grid) == repr(model.grid)  # as text, because a place that isn't known (NaN) equals none
    assert not back.training
    assert not any(tensor.is_meta for tensor in (*back.parameters(), *back.buffers()))
    assert back.to("cpu") is back
    signal = torch.randn(2, *shape)
    assert torch.equal(back(signal), model(signal))
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}


def test_a_model_that_came_back_can_be_trained_and_saved_again(saved, tmp_path):
    model = sigvit.VisionTransformer.from_pretrained(saved)
    model.reset_head(2)
    model.train()(torch.randn(2, 4, 200)).square().sum().backward()
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.save_pretrained(tmp_path / "again")
    assert sigvit.VisionTransformer.from_pretrained(tmp_path / "again").config.num_classes == 2


def test_a_full_disk_is_a_sentence_and_the_old_model_survives(tmp_path, full_disk):
    MODELS["count"][0]().save_pretrained(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with full_disk(9_973), pytest.raises(OSError, match=r"model\.safetensors could not be written \(.*untouched"):
        MODELS["info"][0]().save_pretrained(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_numbers_of_numpy_are_plain_numbers(tmp_path):
    sigvit.signal_vit(np.int64(3), np.int64(40), np.float64(10.0), num_classes=np.int64(2)).save_pretrained(tmp_path)
    assert sigvit.VisionTransformer.from_pretrained(tmp_path).config.input_shape == (3, 40)


def test_the_number_format_is_kept(tmp_path):
    sigvit.signal_vit(3, 40).to(torch.bfloat16).save_pretrained(tmp_path)
    assert {parameter.dtype for parameter in sigvit.VisionTransformer.from_pretrained(tmp_path).parameters()} == {torch.bfloat16}


def test_the_description_is_complete_and_plain(saved):
    description = json.loads((saved / "config.json").read_text())
    assert set(description) == {"format", "version", "model", "tokenizer", "grid", "scaling"}
    assert description["model"]["gelu"] == "erf"
    assert description["model"]["eps"] == 1e-6
    assert description["tokenizer"]["class"] == "ElectrodeTimePatches"
    assert description["tokenizer"]["arguments"]["positions"][3] == [None, None, None]
    assert description["grid"]["axes"][1]["unit"] == "s"
    assert description["version"] == sigvit.__version__


def test_the_scaling_of_the_training_windows_is_kept(saved, tmp_path):
    model = sigvit.VisionTransformer.from_pretrained(saved)
    assert model.scaling is None
    model.scaling = Scaling(np.array([1e-6, 0.1, -3.0, 1 / 3]), np.array([1e-5, 0.2, 5.0, 7.0]))
    model.save_pretrained(tmp_path / "scaled")
    found = sigvit.VisionTransformer.from_pretrained(tmp_path / "scaled").scaling
    assert np.array_equal(found.mean, model.scaling.mean)
    assert np.array_equal(found.deviation, model.scaling.deviation)


class OwnTokenizer(ElectrodeTimePatches):
    """Code that isn't the library's, even where it looks like it."""


def test_a_tokenizer_of_ones_own_cannot_be_described(tmp_path):
    model = sigvit.signal_vit(3, 40, tokenizer=OwnTokenizer(3, 1, 10, 10, 8))
    with pytest.raises(TypeError, match="OwnTokenizer can't be described"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda d: d["model"].update(dropuot=0.1), "unknown field 'dropuot'; did you mean 'dropout'"),
        (lambda d: d["model"].pop("eps"), r"lacks \['eps'\]"),
        (lambda d: d.update(model=3), "the part 'model' of config.json is 3; it should be a JSON object with the fields"),
        (lambda d: d["tokenizer"].update(arguments=None), "the arguments of ElectrodeTimePatches in config.json is None"),
        (lambda d: d.update(format=2), "format 2, but this version of sigvit reads format 1"),
        (lambda d: d.update(extra=1), "unknown field 'extra'"),
        (lambda d: [d.pop(name) for name in ("grid", "scaling")], r"lacks \['grid', 'scaling'\]"),
        (
            lambda d: d["tokenizer"].update({"class": "Wavelets"}),
            "'Wavelets'; this version of sigvit has Composite, ConvStem, CovarianceTokens, ElectrodeTimePatches, ImagePatches",
        ),
        (lambda d: d["tokenizer"]["arguments"].update(windows=5), "unknown field 'windows'; did you mean 'window'"),
        (lambda d: d["tokenizer"]["arguments"].pop("stride"), r"lacks \['stride'\]"),
        (lambda d: d["model"].update(pool="max"), "pool is 'max'"),
        (lambda d: d["model"].update(depth=3), r"missing are \['encoder.blocks.2"),
        (lambda d: d["model"].update(depth=1), r"too many are \['encoder.blocks.1"),
        (lambda d: d["model"].update(mlp_width=65), r"encoder.blocks.0.mlp.inner.weight should be \(65, 32\) by config.json, but is \(64, 32\)"),
        (lambda d: d["model"].update(input_shape=[4, 150]), "says the grid"),
        (lambda d: d["model"].update(input_shape=None), r"no model can be made of the parts 'model' and 'tokenizer' of config.json \(TypeError"),
        (lambda d: d.update(grid=None), "no model can be made of the part 'grid' of config.json"),
        (lambda d: d.update(scaling={"mean": [0.0] * 3, "deviation": [1.0] * 3}), r"scales 3 electrodes, but its model reads \(4, 200\)"),
        (lambda d: d.update(scaling={"mean": [0.0] * 4, "deviation": [0.0] * 4}), "above 0"),
        (lambda d: d.update(scaling={"mean": [0.0] * 4}), r"lacks \['deviation'\]"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(saved, change, sentence):
    edit(saved, change)
    with pytest.raises(ValueError, match=sentence):
        sigvit.VisionTransformer.from_pretrained(saved)


def places(part, way=()):
    """Every place of plain data, of lists the first alone."""
    inside = part.items() if isinstance(part, dict) else list(enumerate(part))[:1] if isinstance(part, list) else ()
    for name, each in inside:
        yield (*way, name)
        yield from places(each, (*way, name))


@pytest.mark.parametrize("spoiled", [None, 3, "x", [1], {}, 1e30], ids=repr)
def test_a_description_with_anything_else_in_any_place_is_read_or_refused_in_a_sentence(saved, spoiled):
    whole = (saved / "config.json").read_text()
    refused = 0
    for *way, last in places(json.loads(whole)):
        description = json.loads(whole)
        part = description
        for name in way:
            part = part[name]
        part[last] = spoiled
        (saved / "config.json").write_text(json.dumps(description))
        try:
            sigvit.VisionTransformer.from_pretrained(saved)
        except ValueError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_or_spoiled_file_is_named(saved, name):
    whole = (saved / name).read_bytes()
    (saved / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=name):
        sigvit.VisionTransformer.from_pretrained(saved)
    (saved / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        sigvit.VisionTransformer.from_pretrained(saved)


def test_what_comes_back_computes_the_same_bits(tmp_path):
    """A safetensors file's tensors begin anywhere, and where they do kernels sum in another order."""
    torch.manual_seed(1)
    model = sigvit.vit("Ti/16", image_size=(32, 48), num_classes=5, width=24, depth=2, heads=2).eval()
    torch.nn.init.normal_(model.head.weight)
    model.save_pretrained(tmp_path)
    again = sigvit.VisionTransformer.from_pretrained(tmp_path)
    for seed in range(11):
        images = torch.randn(1, 3, 64, 16, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(again(images), model(images))

"""What is written for others and read again is the same, bit for bit."""

import numpy as np
import pytest
import torch
from torch import nn

import sigvit
from sigvit.weights.export import save_npz, timm_arguments, timm_state_dict
from sigvit.weights.load import from_weights, load_weights

SIZES = {"patch_size": 7, "width": 12, "depth": 3, "heads": 3, "mlp_width": 17, "num_classes": 5}
MODELS = {
    "class": {"gelu": "tanh"},
    "rectangle": {"image_size": (14, 56)},
    "erf": {"eps": 1e-5},
    "mean": {"pool": "mean"},
    "map": {"pool": "map"},
    "representation": {"representation": 11},
    "grey": {"in_channels": 1},
    "patches": {"patch_size": (7, 3), "image_size": (21, 9)},
    "sincos": {"positions": "sincos", "pool": "mean"},
    "gates": {"gelu": "swiglu"},
    "hybrid": {"name": "R+Ti/16", "image_size": 32, "patch_size": (2, 4)},
}
TIMM_MODELS = {name: choices for name, choices in MODELS.items() if name not in ("sincos",)} | {
    "registers": {"registers": 2},
    "registers_without_class": {"pool": "mean", "registers": 4},
    "layer_scale": {"layer_scale": 0.1},
    "mean_then_norm": {"pool": "mean_then_norm", "class_token": True},
}


def vit(image_size=21, name="Ti", **choices) -> sigvit.VisionTransformer:
    model = sigvit.vit(name, image_size=image_size, **{**SIZES, **choices})
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    return model.eval()


def same(model: sigvit.VisionTransformer, source: sigvit.VisionTransformer) -> None:
    expected = source.state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    x = torch.randn(2, *source.config.input_shape)
    with torch.no_grad():
        assert torch.equal(model(x), source(x))


@pytest.mark.parametrize("name", MODELS)
def test_google_and_back(name, tmp_path):
    source = vit(**MODELS[name])
    save_npz(source, tmp_path / "weights.npz")
    same(load_weights(vit(**MODELS[name]), tmp_path / "weights.npz", "google"), source)
    # Sincos positions have no table, so that the size isn't in a file that says nothing more.
    same(from_weights(tmp_path / "weights.npz", "google", image_size=source.config.input_shape[1:] if name == "sincos" else None), source)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.npz"]


def test_google_and_back_with_a_mean_beside_a_class_token(tmp_path):
    source = vit(pool="mean", class_token=True, gelu="tanh")
    save_npz(source, tmp_path / "weights.npz")
    same(from_weights(tmp_path / "weights.npz", "google"), source)


def test_google_and_back_with_timms_way_of_standardising(tmp_path):
    source = vit(**MODELS["hybrid"], gelu="tanh")
    source.tokenizer.follow("timm")
    save_npz(source, tmp_path / "weights.npz")
    for found in (from_weights(tmp_path / "weights.npz", "google"), load_weights(vit(**MODELS["hybrid"]), tmp_path / "weights.npz", "google")):
        assert found.tokenizer.standardisation == "timm"
        same(found, source)


def test_only_a_model_that_google_has_no_word_for_has_a_word_more(tmp_path):
    for name, choices in MODELS.items():
        save_npz(vit(**choices), tmp_path / f"{name}.npz")
        ours = choices.get("gelu") != "tanh" or name == "rectangle"
        assert ("sigvit" in np.load(tmp_path / f"{name}.npz").files) == ours


def test_the_papers_names_and_shapes(tmp_path):
    save_npz(vit(gelu="tanh", representation=11), tmp_path / "weights.npz")
    arrays = np.load(tmp_path / "weights.npz")
    shapes = {name: arrays[name].shape for name in arrays.files if "encoderblock_" not in name or "encoderblock_1" in name}
    block = "Transformer/encoderblock_1/"
    assert shapes == {
        "cls": (1, 1, 12),
        "embedding/kernel": (7, 7, 3, 12),
        "embedding/bias": (12,),
        "Transformer/posembed_input/pos_embedding": (1, 10, 12),
        "Transformer/encoder_norm/scale": (12,),
        "Transformer/encoder_norm/bias": (12,),
        "pre_logits/kernel": (12, 11),
        "pre_logits/bias": (11,),
        "head/kernel": (11, 5),
        "head/bias": (5,),
        **{f"{block}LayerNorm_{number}/{kind}": (12,) for number in (0, 2) for kind in ("scale", "bias")},
        **{f"{block}MultiHeadDotProductAttention_1/{part}/kernel": (12, 3, 4) for part in ("query", "key", "value")},
        **{f"{block}MultiHeadDotProductAttention_1/{part}/bias": (3, 4) for part in ("query", "key", "value")},
        f"{block}MultiHeadDotProductAttention_1/out/kernel": (3, 4, 12),
        f"{block}MultiHeadDotProductAttention_1/out/bias": (12,),
        f"{block}MlpBlock_3/Dense_0/kernel": (12, 17),
        f"{block}MlpBlock_3/Dense_0/bias": (17,),
        f"{block}MlpBlock_3/Dense_1/kernel": (17, 12),
        f"{block}MlpBlock_3/Dense_1/bias": (12,),
    }
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_timm_and_back(name):
    source = vit(**TIMM_MODELS[name])
    choices = {"gelu": source.config.gelu, "eps": source.config.eps, "image_size": source.config.input_shape[1:]}
    state = timm_state_dict(source)
    target = from_weights(state, "timm", heads=3, **choices)
    if name == "hybrid":
        target.tokenizer.follow("google")  # timm's way of standardising, which the source's name stands for, is another
    same(target, source)
    assert not {id(parameter) for parameter in source.parameters()} & {id(tensor) for tensor in state.values()}


def test_timm_and_back_with_a_mean_beside_a_class_token():
    source = vit(pool="mean", class_token=True)
    state = timm_state_dict(source)
    same(from_weights(state, "timm", heads=3, pool="mean"), source)
    assert from_weights(state, "timm", heads=3).config.pool == "class"


@pytest.mark.parametrize("choices", [{"pool": "mean"}, {"registers": 2}])
def test_timm_gets_sines_and_cosines_as_a_table(choices):
    source = vit(positions="sincos", image_size=(14, 35), **choices)
    found, x = from_weights(timm_state_dict(source), "timm", heads=3, image_size=(14, 35)), torch.randn(2, 3, 14, 35)
    assert found.config.positions == "learned"
    with torch.no_grad():
        assert torch.equal(found(x), source(x))


def test_timm_is_told_of_no_positions():
    source = vit(positions="none", image_size=(14, 35))
    assert timm_arguments(source)["pos_embed"] == "none"
    same(from_weights(timm_state_dict(source), "timm", heads=3, image_size=(14, 35)), source)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"registers": 2}, r"Google's layout has no names for these parameters of the model: register_tokens \(2, 12\)"),
        ({"layer_scale": 0.1}, "encoder.blocks.0.scale_attention"),
        ({"pool": "mean_then_norm"}, "pool.mean_norm.weight"),
        ({"positions": "factorised"}, r"positions.tables.row \(3, 12\)"),
        ({"pool": "class_and_mean"}, "reads two vectors side by side"),
        ({"positions": "none"}, "The model's positions are 'none', which Google's layout has no place for"),
        ({"positions": "rotary", "heads": 2}, "The model's positions are 'rotary', which Google's layout has no place for"),
    ],
)
def test_what_google_has_no_names_for_is_listed(choices, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        save_npz(vit(**choices), tmp_path / "weights.npz")
    assert not any(tmp_path.iterdir())


def test_what_timm_has_no_place_for_is_said():
    for function in (timm_state_dict, timm_arguments):
        with pytest.raises(ValueError, match="pool='class_and_mean'"):
            function(vit(pool="class_and_mean"))
        with pytest.raises(ValueError, match="The model's positions are 'rotary', which timm has no place for"):
            function(vit(positions="rotary", heads=2))
    with pytest.raises(ValueError, match=r"timm has no names for these parameters of the model: positions.tables"):
        timm_state_dict(vit(positions="factorised"))


def test_a_model_of_recordings_is_refused(tmp_path):
    model = sigvit.signal_vit(3, 40, positions="learned")
    for write in (lambda model: save_npz(model, tmp_path / "weights.npz"), timm_state_dict, timm_arguments):
        with pytest.raises(ValueError, match=r"has a place for models of images, but this one reads recordings of \(3, 40\)"):
            write(model)
    assert not any(tmp_path.iterdir())

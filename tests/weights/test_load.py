"""Every tensor is accounted for, or nothing is loaded; what a file can't say is asked for; nobody's dictionary is changed."""

import json
import logging
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import sigvit
from sigvit.model.scaling import Scaling
from sigvit.tokenizers import Composite, ConvStem, CovarianceTokens, ElectrodeTimePatches
from sigvit.weights.export import save_npz, timm_state_dict
from sigvit.weights.load import from_weights, load_weights
from sigvit.weights.read import Checkpoint, files_of
from sigvit.weights.sources import SOURCES, likely_source
from sigvit.weights.translate import translate

SIZES = {"patch_size": 7, "width": 12, "depth": 3, "heads": 3, "mlp_width": 17, "num_classes": 5}


def vit(image_size=21, **choices) -> sigvit.VisionTransformer:
    model = sigvit.vit("Ti", image_size=image_size, **{**SIZES, **choices})
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.eval()


def refusal(model: sigvit.VisionTransformer, state: dict, source: str = "timm", **choices) -> str:
    """The sentence, and that the model is as it was."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = model.config
    with pytest.raises(ValueError, match="nothing was loaded") as error:
        load_weights(model, state, source, **choices)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.config == config
    return str(error.value)


def test_all_that_does_not_fit_is_listed_at_once():
    state = timm_state_dict(vit())
    del state["blocks.1.mlp.fc1.bias"]
    for i in range(3):
        state[f"blocks.{i}.mlp.fc3.weight"] = torch.zeros(2)
    state["norm.weight"] = torch.zeros(13)
    state["head.weight"], state["head.bias"] = torch.zeros(6, 12), torch.zeros(6)
    sentence = refusal(vit(), state)
    assert "blocks.{0, 1, 2}.mlp.fc3.weight" in sentence
    assert "parameters of the model that the file lacks:\n    encoder.blocks.1.mlp.inner.bias (17,)" in sentence
    assert "encoder.norm.weight is (13,) in the file, (12,) in the model" in sentence
    assert "head.weight is (6, 12) in the file, (5, 12) in the model" in sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("cls_token"), "the file lacks"),
        (lambda s: s.pop("pos_embed"), "positions.special"),
        (lambda s: s.pop("head.bias"), "head.bias"),
        (lambda s: s.update({"reg_token": torch.zeros(1, 2, 12)}), "register_tokens"),
        (lambda s: s.update({"blocks.0.ls1.gamma": torch.zeros(12)}), "scale_attention"),
        (lambda s: s.update({"norm_pre.weight": torch.zeros(12)}), "a LayerNorm before the encoder"),
        (lambda s: s.update({"blocks.2.mlp.fc1_g.weight": torch.zeros(12)}), "gates in a layer of their own, whose activation no tensor tells"),
        (lambda s: s.update({"blocks.2.attn.q_norm.weight": torch.zeros(4)}), "normalise queries"),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 10, 13)}), r"positions.table is \(9, 13\) in the file, \(9, 12\) in the model"),
        (lambda s: s.update({"reg_token": torch.zeros(1, 2, 13)}), "The file's positions are vectors of 12 numbers, but its register tokens of 13"),
        (lambda s: s.update({"pos_embed": torch.zeros(10)}), "pos_embed is (10,), but should have 2 or 3 axes"),
        (
            lambda s: s.update({"pos_embed": torch.zeros(1, 13, 12)}),
            r"13 positions of the file are those of no square grid; say the images' size with image_size=",
        ),
        (
            lambda s: s.update({"patch_embed.proj.weight": torch.zeros(12, 1, 7, 7)}),
            r"tokenizer.weight is \(12, 1, 7, 7\) in the file, \(12, 3, 7, 7\) in the model",
        ),
        (lambda s: s.update({"patch_embed.proj.weight": torch.zeros(12, 147)}), r"tokenizer.weight is \(12, 147\)"),
        (lambda s: s.update({"module.norm.weight": torch.zeros(12)}), "two tensors of the file are for one place"),
    ],
)
def test_what_does_not_fit_is_named(change, sentence):
    state = timm_state_dict(vit())
    change(state)
    found = refusal(vit(), state)
    assert sentence.replace("\\", "") in found


def test_a_third_of_queries_keys_and_values_that_is_missing_is_named():
    names = {"query": "q", "value": "v"}
    state = {f"encoder.layer.0.attention.attention.{name}.weight": torch.zeros(12, 12) for name in names}
    assert "query, key or value is missing in the file:\n    encoder.blocks.0.attention.qkv.weight" in refusal(vit(), state, "hugging_face")


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("query.weight", (13, 12), "query, key and value of unlike shapes:\n    encoder.blocks.0.attention.qkv.weight of (13, 12) and (12, 12) and (12, 12)"),
        ("key.weight", (12, 13), "encoder.blocks.0.attention.qkv.weight of (12, 12) and (12, 13) and (12, 12)"),
        ("value.bias", (), "encoder.blocks.0.attention.qkv.bias of (12,) and (12,) and ()"),
    ],
)
def test_queries_keys_and_values_that_do_not_fit_each_other_are_named(name, shape, sentence):
    prefix = "encoder.layer.0.attention.attention."
    shapes = {"weight": (12, 12), "bias": (12,)}
    state = {f"{prefix}{part}.{kind}": torch.zeros(shapes[kind]) for part in ("query", "key", "value") for kind in shapes}
    assert sentence in refusal(vit(), state | {f"{prefix}{name}": torch.zeros(shape)}, "hugging_face")


def test_a_bias_of_google_that_was_transposed_is_refused(tmp_path):
    """It has as many numbers, in another order."""
    save_npz(vit(gelu="tanh"), tmp_path / "weights.npz")
    arrays = dict(np.load(tmp_path / "weights.npz"))
    name = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1/value/bias"
    assert "the attentions have unlike heads:\n    3, 4" in refusal(vit(), arrays | {name: arrays[name].T}, "google")


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("head.weight", (5,), "head.weight of the state dict is (5,), but should have 2 axes"),
        ("blocks.0.mlp.fc1.weight", (), "encoder.blocks.0.mlp.inner.weight of the state dict is (), but should have 2 axes"),
        ("patch_embed.proj.weight", (12, 147), "tokenizer.weight of the state dict is (12, 147), but should have 4 axes"),
    ],
)
def test_a_tensor_with_other_axes_describes_no_model(name, shape, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        from_weights(timm_state_dict(vit()) | {name: torch.zeros(shape)}, "timm", heads=3)


def test_names_of_another_source_are_recognised():
    state = timm_state_dict(vit())
    assert likely_source(state) == "timm"
    assert "source='timm'" in refusal(vit(), state, "torchvision")
    assert "source='google'" in refusal(vit(), {"Transformer/encoder_norm/scale": torch.zeros(12), "cls": torch.zeros(1, 1, 12)}, "timm")


def test_an_unknown_source_is_refused_with_those_there_are():
    with pytest.raises(
        ValueError, match="no source 'jax'; there are 'google', 'timm', 'hugging_face', 'torchvision', 'mae', 'dinov2', 'deit', 'deit3', 'sigvit'"
    ):
        load_weights(vit(), {}, "jax")


def test_a_module_is_not_weights():
    with pytest.raises(TypeError, match=r"got Linear; of a module give model.state_dict\(\)"):
        load_weights(vit(), nn.Linear(2, 3), "timm")


def test_the_callers_dictionary_is_not_changed():
    state = {"model": {f"module._orig_mod.{name}": tensor for name, tensor in timm_state_dict(vit(registers=2)).items()}, "epoch": 3}
    before = {name: tensor.clone() for name, tensor in state["model"].items()}
    model = load_weights(vit(image_size=28, registers=2), state, "timm")
    model.to(torch.float64)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert state["model"].keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in state["model"].items())


def test_gelu_and_eps_follow_the_source_or_what_is_said():
    model = load_weights(vit(gelu="tanh", eps=1e-5), timm_state_dict(vit()), "timm")
    assert (model.config.gelu, model.config.eps) == ("erf", 1e-6)
    assert {module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)} == {1e-6}
    assert {block.mlp.approximate for block in model.encoder.blocks} == {"none"}
    model = load_weights(vit(), timm_state_dict(vit()), "timm", gelu="tanh", eps=1e-3)
    assert (model.config.gelu, model.config.eps, model.encoder.blocks[2].mlp.approximate, model.encoder.norm.eps) == ("tanh", 1e-3, "tanh", 1e-3)


def test_whether_mlps_have_gates_is_told_by_tensors_alone():
    state, sentence = timm_state_dict(vit(gelu="swiglu")), "gelu is 'erf', but the tensors of the state dict are of MLPs with 'swiglu'; leave gelu out"
    assert load_weights(vit(gelu="swiglu"), state, "timm").config.gelu == "swiglu"
    assert (from_weights(state, "timm", heads=3).config.gelu, from_weights(state, "timm", heads=3).config.mlp_width) == ("swiglu", 17)
    for load in (lambda: from_weights(state, "timm", heads=3, gelu="erf"), lambda: load_weights(vit(gelu="swiglu"), state, "timm", gelu="erf")):
        with pytest.raises(ValueError, match=sentence):
            load()
    with pytest.raises(ValueError, match="gelu is 'swiglu', but the tensors of the state dict are of MLPs with 'erf'"):
        from_weights(timm_state_dict(vit()), "timm", heads=3, gelu="swiglu")
    assert "inner.weight is (34, 12) in the file, (17, 12) in the model" in refusal(vit(), state)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"gelu": "quick_gelu"}, "gelu is 'quick_gelu'; there are 'erf', 'tanh'"),
        ({"gelu": ""}, "gelu is ''; there are 'erf', 'tanh'"),
        ({"eps": -1.0}, "eps is -1.0"),
        ({"eps": 0.0}, "eps is 0.0"),
    ],
)
def test_a_gelu_or_eps_that_there_is_not_leaves_the_model_as_it_was(choices, sentence):
    model = vit()
    before, config = {name: tensor.clone() for name, tensor in model.state_dict().items()}, model.config
    with pytest.raises(ValueError, match=sentence):
        load_weights(model, timm_state_dict(vit()), "timm", **choices)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.config == config
    with pytest.raises(ValueError, match=sentence):
        from_weights(timm_state_dict(vit()), "timm", heads=3, **choices)


def test_a_model_without_numbers_is_refused():
    with torch.device("meta"):
        empty = sigvit.vit("Ti", image_size=21, **SIZES)
    for state, source in ((timm_state_dict(vit()), "timm"), (vit().state_dict(), "sigvit")):
        with pytest.raises(ValueError, match=r"on the device 'meta', which keeps no numbers; build it on another, or call model.to_empty"):
            load_weights(empty, state, source)
    load_weights(empty.to_empty(device="cpu"), vit().state_dict(), "sigvit")


def test_a_file_without_a_head_leaves_a_new_head_alone_and_refuses_an_old_one(caplog):
    state = {name: tensor for name, tensor in timm_state_dict(vit()).items() if not name.startswith("head.")}
    model = vit()
    assert "the model's is not new; call model.reset_head" in refusal(model, state)
    model.reset_head(4)
    with caplog.at_level(logging.INFO, logger="sigvit"):
        load_weights(model, state, "timm")
    assert "has no head; the model's is new, at zero" in caplog.text
    assert not model.head.weight.any()
    assert from_weights(state, "timm", heads=3).config.num_classes == 1


def test_a_doubt_about_the_grid_is_asked_about():
    """16 positions into a model of 2 × 8: a square of four, or its own?"""
    native, square = vit((14, 56)), vit((28, 28))
    for source in ("timm", "dinov2"):
        sentence = refusal(vit((14, 56)), timm_state_dict(native), source)
        assert "may sit on the model's grid (2, 8) or on the square (4, 4); say the size of the images" in sentence
    model = load_weights(vit((14, 56)), timm_state_dict(native), "timm", image_size=(14, 56))
    assert torch.equal(model.positions.table, native.positions.table)
    model = load_weights(vit((14, 56)), timm_state_dict(square), "timm", image_size=np.int64(28))
    expected = sigvit.resize_positions(square.positions.table, (4, 4), (2, 8), "timm")
    assert torch.equal(model.positions.table, expected)


def test_an_image_size_that_contradicts_the_table_is_refused():
    sentence = refusal(vit(), timm_state_dict(vit()), image_size=(14, 42))
    assert "make a grid of (2, 6), but the file has 10 positions" in sentence
    with pytest.raises(ValueError, match=r"image_size is the size that the file was made for; change it afterwards with sigvit.adapt"):
        from_weights(timm_state_dict(vit()), "timm", heads=3, image_size=42)


def test_positions_of_a_rectangle_are_asked_about():
    state = timm_state_dict(vit((14, 35)))
    with pytest.raises(ValueError, match=r"The 11 positions of the file are those of no square grid; say the images' size with image_size=\(rows, columns\)"):
        from_weights(state, "timm", heads=3)
    assert from_weights(state, "timm", heads=3, image_size=(14, 35)).grid.shape == (2, 5)


def test_registers_that_could_be_positions_are_asked_about():
    """9 positions with 4 registers: 3 × 3 patches, or 2 × 2 behind five special rows."""
    state = {**timm_state_dict(vit(registers=4)), "pos_embed": torch.randn(1, 9, 12)}
    with pytest.raises(ValueError, match="could be those of several grids"):
        from_weights(state, "timm", heads=3)
    assert from_weights(state, "timm", heads=3, image_size=21).grid.shape == (3, 3)


def test_heads_are_asked_about_where_the_width_is_unusual():
    state = timm_state_dict(vit())
    with pytest.raises(ValueError, match=r"a width of 12 is unusual \(usual are 192, 384, 768, 1024, 1280, 1408\); give heads="):
        from_weights(state, "timm")
    with pytest.raises(ValueError, match="12 can't be split among 5 heads"):
        from_weights(state, "timm", heads=5)
    usual = timm_state_dict(sigvit.vit("S", image_size=14, patch_size=7, depth=1, mlp_width=17, num_classes=2))
    assert from_weights(usual, "timm").config.heads == 6


def test_other_heads_than_the_files_are_refused(tmp_path):
    save_npz(vit(gelu="tanh"), tmp_path / "weights.npz")
    assert "other attention heads:\n    3 in the file, 4 in the model" in refusal(vit(heads=4), tmp_path / "weights.npz", "google")
    with pytest.raises(ValueError, match="says 3 heads, but heads=4 was given"):
        from_weights(tmp_path / "weights.npz", "google", heads=4)


def test_another_pool_than_the_files_is_refused(tmp_path):
    """A class token that the mean leaves out has the same parameters as one that is read."""
    source = vit(pool="mean", class_token=True)
    save_npz(source, tmp_path / "weights.npz")
    assert "another pool:\n    'mean' in the file, 'class' in the model" in refusal(vit(), tmp_path / "weights.npz", "google")
    images, model = torch.randn(2, 3, 21, 21, generator=torch.Generator().manual_seed(0)), vit(pool="mean", class_token=True)
    assert torch.equal(load_weights(model, tmp_path / "weights.npz", "google")(images), source(images))


def test_a_file_that_describes_no_model_is_refused():
    with pytest.raises(ValueError, match=r"has no tokenizer.weight, encoder.blocks.0.attention.qkv.weight, encoder.blocks.0.mlp.inner.weight under any name"):
        from_weights({"cls_token": torch.zeros(1, 1, 12)}, "timm")


def test_random_numbers_are_not_touched():
    state = timm_state_dict(vit())
    before = torch.get_rng_state()
    model = from_weights(state, "timm", heads=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_numbers_of_another_format_become_those_of_the_model(dtype):
    source = vit()
    state = {name: tensor.to(dtype) for name, tensor in timm_state_dict(source).items()}
    model = from_weights(state, "timm", heads=3)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.head.weight, source.head.weight.to(dtype).float())


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("norm.bias", torch.full((12,), torch.nan), "hold NaN or infinity as torch.float32:\n    encoder.norm.bias"),
        ("norm.bias", torch.full((12,), torch.inf, dtype=torch.bfloat16), "hold NaN or infinity as torch.float32:\n    encoder.norm.bias"),
        ("norm.bias", torch.full((12,), 1e39, dtype=torch.float64), "hold NaN or infinity as torch.float32:\n    encoder.norm.bias"),
        ("pos_embed", torch.full((1, 10, 12), torch.nan), "hold NaN or infinity as torch.float32:\n    positions.table\n    positions.special"),
        ("norm.bias", torch.ones(12, dtype=torch.int8), "hold torch.int8 instead of floating-point numbers:\n    norm.bias"),
        ("norm.bias", torch.ones(12, dtype=torch.bool), "hold torch.bool instead of floating-point numbers:\n    norm.bias"),
        ("norm.bias", torch.ones(12, dtype=torch.complex64), "hold torch.complex64 instead of floating-point numbers:\n    norm.bias"),
    ],
)
def test_numbers_that_are_no_weights_are_named(name, value, sentence):
    state = timm_state_dict(vit()) | {name: value}
    assert f"tensors of the file that {sentence}" in refusal(vit(gelu="tanh", eps=1e-3), state)


@pytest.mark.parametrize(
    ("source", "name", "shape", "others"),
    [
        ("timm", "reg_token", (1, 2, 12), {"pos_embed": torch.zeros(1, 12, 12), "cls_token": torch.zeros(1, 1, 12)}),
        ("deit", "head_dist.weight", (5, 12), {"dist_token": torch.zeros(1, 1, 12), "head.weight": torch.zeros(5, 12)}),
        ("hugging_face", "encoder.layer.0.attention.attention.query.bias", (12,), {}),
    ],
)
def test_whole_numbers_are_named_before_they_are_joined_to_others(source, name, shape, others):
    found = translate(Checkpoint(others | {name: torch.ones(shape, dtype=torch.int8)}, {}, "the file"), source)
    assert found.account.problems["tensors of the file that hold torch.int8 instead of floating-point numbers"] == [name]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize("kind", ["sparse", "meta", "quantised", "Subclass"])
def test_tensors_that_are_no_arrays_are_named_and_change_nothing(kind):
    """Half-way through, the model would be half another's."""
    weight = torch.ones(5, 12)
    changed = {
        "sparse": lambda: weight.to_sparse(),
        "meta": lambda: weight.to("meta"),
        "quantised": lambda: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
        "Subclass": lambda: weight.as_subclass(type("Subclass", (torch.Tensor,), {})),
    }[kind]()
    model = vit(gelu="tanh", eps=1e-3)
    before, config = {name: tensor.clone() for name, tensor in model.state_dict().items()}, model.config
    with pytest.raises(ValueError, match=r"the state dict holds 'head.weight', which is no dense array of numbers \(.*; give the weights as plain tensors"):
        load_weights(model, timm_state_dict(vit()) | {"head.weight": changed}, "timm")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.config == config


def test_what_lies_beside_the_weights_is_logged_or_refused(caplog):
    state = timm_state_dict(vit())
    counts = {
        "epoch": 3,
        "best": torch.tensor(0.5),
        "random": torch.zeros(7, dtype=torch.uint8),
        "model_ema": {f"module.{name}": -tensor for name, tensor in state.items()},
        "mean": torch.ones(3),
        "class_weights": np.ones(5),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(5)}}},
    }
    model = vit()
    with caplog.at_level(logging.INFO, logger="sigvit"):
        load_weights(model, {"model": state, **counts}, "timm")
    assert torch.equal(model.head.weight, state["head.weight"])
    assert "were dropped, which training alone needed: epoch, best, random, model_ema, mean, class_weights, optimizer." in caplog.text
    for beside in ({"head.weight": torch.ones(5, 12)}, {"head.weight": np.ones((5, 12))}, {"pos_embed": torch.ones(1, 10, 12)}, {"state_dict": state}):
        (name,) = beside
        with pytest.raises(ValueError, match=f"holds weights under 'model' and beside it under '{name}'; give the dictionary of the right ones alone"):
            load_weights(vit(), {"model": state, **beside}, "timm")
    body = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    for names in (("head.weight", "head.bias"), ("weight", "bias")):
        with pytest.raises(ValueError, match="holds weights under 'model' and beside it under 'head'"):
            load_weights(vit(), {"model": body, "head": dict(zip(names, (torch.ones(5, 12), torch.ones(5)), strict=True))}, "timm")


def test_heads_of_dinov2_have_64_numbers():
    """Those of its giant too, whose width no other model has."""
    state = timm_state_dict(vit(width=192 + 128, heads=5))
    assert from_weights(state, "dinov2").config.heads == 5
    with pytest.raises(ValueError, match="a width of 320 is unusual"):
        from_weights(state, "mae")


def test_a_gate_without_what_it_opens_is_named():
    prefix = "encoder.layer.0."
    state = {f"{prefix}norm1.weight": torch.zeros(12), f"{prefix}mlp.gate_proj.weight": torch.zeros(17, 12)}
    assert "gate or values is missing in the file:\n    encoder.blocks.0.mlp.inner.weight" in refusal(vit(), state, "hugging_face")
    state[f"{prefix}mlp.up_proj.weight"] = torch.zeros(19, 12)
    assert "gate and values of unlike shapes:\n    encoder.blocks.0.mlp.inner.weight of (17, 12) and (19, 12)" in refusal(vit(), state, "hugging_face")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [({"hidden_act": "relu"}, "says the activation 'relu'"), ({"pooler_act": "relu"}, "says pooler_act = 'relu'; models here have 'tanh' alone")],
)
def test_a_config_of_another_model_is_refused(tmp_path, config, sentence):
    save_file({"embeddings.cls_token": torch.zeros(1, 1, 12)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=sentence):
        from_weights(tmp_path, "hugging_face")


def test_halves_of_a_distilled_model_are_refused():
    state = timm_state_dict(vit())
    with pytest.raises(ValueError, match=r"a distilled model has two heads or none:\n    head.weight stands alone"):
        from_weights({**state, "dist_token": torch.zeros(1, 1, 12)}, "deit", heads=3)
    distilled = {"dist_token": torch.zeros(1, 1, 12), "head_dist.weight": torch.zeros(5, 12), "head_dist.bias": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"two heads of a distilled model have unlike shapes:\n    bias is \(5,\) in head, \(1,\) in head_dist"):
        from_weights(state | distilled, "deit", heads=3)
    with pytest.raises(ValueError, match="head_dist without dist_token"):
        from_weights({**state, "head_dist.weight": torch.zeros(5, 12), "head_dist.bias": torch.zeros(5)}, "deit", heads=3)


# Our own -------------------------------------------------------------------------------------------------------------------------------------


def test_our_own_folder_and_state_dict(tmp_path):
    source = vit(image_size=(14, 56), gelu="tanh", eps=1e-4, registers=2)
    source.save_pretrained(tmp_path)
    x = torch.randn(2, 3, 14, 56)
    for weights in (tmp_path, tmp_path / "model.safetensors", source.state_dict()):
        model = load_weights(vit(image_size=(14, 56), gelu="tanh", eps=1e-4, registers=2), weights, "sigvit")
        assert torch.equal(model(x), source(x))
    assert torch.equal(from_weights(tmp_path, "sigvit")(x), source(x))
    model = load_weights(vit(image_size=(28, 28), registers=2), tmp_path, "sigvit")
    assert (model.config.gelu, model.config.eps) == ("tanh", 1e-4)
    assert torch.equal(model.positions.table, sigvit.resize_positions(source.positions.table, (2, 8), (4, 4)))


def test_our_own_models_of_recordings():
    """Their positions in time aren't stretched; sines and cosines are computed, not loaded."""
    source, model = (sigvit.signal_vit(3, 40, num_classes=2, positions="learned") for _ in range(2))
    load_weights(model, source.state_dict(), "sigvit")
    assert torch.equal(model.positions.table, source.positions.table)
    sentence = refusal(sigvit.signal_vit(3, 45, positions="learned"), source.state_dict(), "sigvit")
    assert "The file has 8 positions, but the model 9 on electrode × time, which can't be resized" in sentence
    source, model = (sigvit.signal_vit(3, 40, num_classes=2, positions="sincos") for _ in range(2))
    load_weights(model, source.state_dict(), "sigvit")


def test_electrodes_are_grouped_as_the_model_was_built():
    source, model = (
        sigvit.signal_vit(4, 40, tokenizer=ElectrodeTimePatches(4, 2, 10, 10, 12, grouping="position", names=names))
        for names in (["O1", "O2", "Fp1", "Fp2"], ["O1", "Fp1", "O2", "Fp2"])
    )
    groups = model.tokenizer.groups
    assert groups != source.tokenizer.groups
    load_weights(model, source.state_dict(), "sigvit")
    assert model.tokenizer.order.tolist() == [electrode for group in groups for electrode in group]
    assert torch.equal(model.tokenizer.weight, source.tokenizer.weight)


def test_whole_numbers_are_no_weights_of_ours():
    state = vit().state_dict() | {"encoder.norm.bias": torch.ones(12, dtype=torch.int8)}
    assert "tensors of the file that hold torch.int8 instead of floating-point numbers:\n    encoder.norm.bias" in refusal(vit(), state, "sigvit")


def recordings() -> sigvit.VisionTransformer:
    """A model whose tokenizers measure something before training."""
    stem = ConvStem(3, 5, kernel=7, pool=11, stride=11, width=8, whiten=True)
    covariances = CovarianceTokens(3, window=20, stride=20, width=8, bands=((8, 13), (13, 30)), sampling_rate=100.0)
    return sigvit.signal_vit(3, 53, 100.0, tokenizer=Composite([stem, covariances]), heads=2, depth=1).eval()


def test_what_tokenizers_measured_is_loaded_and_missed_where_it_is_not_there(tmp_path, caplog):
    generator = torch.Generator().manual_seed(0)
    source = recordings()
    nn.init.normal_(source.head.weight)
    source.tokenizer.set_reference(torch.randn(19, 3, 53, generator=generator) * torch.tensor([1.0, 5.0, 20.0])[:, None])
    source.scaling = Scaling(np.zeros(3), np.ones(3))
    source.save_pretrained(tmp_path)
    x = torch.randn(2, 3, 53, generator=generator)
    for weights in (tmp_path, source.state_dict()):
        with caplog.at_level(logging.INFO, logger="sigvit"):
            assert torch.equal(load_weights(recordings(), weights, "sigvit")(x), source(x))
        assert ("The scaling beside" in caplog.text) == (weights is tmp_path)
        caplog.clear()
    state = source.state_dict()
    del state["tokenizer.tokenizers.1.reference"]
    state["tokenizer.tokenizers.0.whitening"] = torch.eye(5)
    sentence = refusal(recordings(), state, "sigvit")
    assert "that the file lacks:\n    tokenizer.tokenizers.1.reference (2, 3, 3)" in sentence
    assert "tokenizer.tokenizers.0.whitening is (5, 5) in the file, (3, 3) in the model" in sentence


def test_a_state_dict_of_our_own_describes_no_model():
    with pytest.raises(ValueError, match="doesn't say what model it is of"):
        from_weights(vit().state_dict(), "sigvit")


@pytest.mark.parametrize("choices", [{"heads": 4}, {"image_size": 28}, {"gelu": "tanh"}, {"eps": 1e-3}])
def test_what_a_folder_of_our_own_says_itself_is_not_to_be_given(choices, tmp_path):
    vit().save_pretrained(tmp_path)
    (name,) = choices
    with pytest.raises(ValueError, match=f"says itself what model it is of, so leave {name}={choices[name]!r} out"):
        from_weights(tmp_path, "sigvit", **choices)


def timm_folder(folder, model: sigvit.VisionTransformer, without: str = "none", top: dict | None = None, **arguments) -> None:
    state = {name: tensor for name, tensor in timm_state_dict(model).items() if not name.startswith(without)}
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_tiny_patch16_224", "global_pool": "token", **(top or {}), "model_args": arguments}))


@pytest.mark.parametrize(
    ("choices", "arguments"),
    [
        ({"heads": 4}, {"num_heads": 4}),
        ({"image_size": (14, 56)}, {"img_size": [14, 56]}),
        ({"image_size": (14, 56)}, {"img_size": [17, 59]}),  # timm's convolution leaves the last pixels out
        ({"gelu": "tanh"}, {"act_layer": "gelu_tanh"}),
        ({"pool": "mean", "class_token": True}, {"global_pool": "avg", "fc_norm": False}),
        ({"pool": "mean_then_norm", "class_token": True}, {"global_pool": "avg"}),
        ({"pool": "map"}, {"global_pool": "map"}),
        ({}, {"depth": 3, "act_layer": None, "pool_include_prefix": False}),
        ({}, {"act_layer": "GELU"}),
        ({"gelu": "swiglu"}, {"act_layer": "silu"}),
        ({"gelu": "swiglu"}, {}),
        ({}, {"act_layer": ""}),
    ],
)
def test_a_config_of_timm_is_followed(choices, arguments, tmp_path):
    source = vit(**choices)
    timm_folder(tmp_path, source, **{"num_heads": 3, **arguments})
    model, x = from_weights(tmp_path, "timm"), torch.randn(2, *source.config.input_shape)
    assert (model.config.heads, model.config.pool, model.config.gelu) == (source.config.heads, source.config.pool, source.config.gelu)
    assert torch.equal(model(x), source(x))
    assert torch.equal(load_weights(vit(**choices), tmp_path, "timm")(x), source(x))


def test_what_is_said_counts_more_than_a_config(tmp_path):
    source, x, said = vit((14, 56)), torch.randn(2, 3, 14, 56), {"image_size": (14, 56), "gelu": "erf"}
    timm_folder(tmp_path, source, num_heads=3, img_size=[28, 28], act_layer="gelu_tanh")
    for model in (from_weights(tmp_path, "timm", **said), load_weights(vit((14, 56)), tmp_path, "timm", **said)):
        assert torch.equal(model(x), source(x))


def test_gates_of_timm_that_another_activation_opens_are_refused(tmp_path):
    timm_folder(tmp_path, vit(gelu="swiglu"), num_heads=3, act_layer="gelu")
    with pytest.raises(ValueError, match="says the activation 'gelu', but the MLPs have gates; models here open them by 'silu' alone"):
        from_weights(tmp_path, "timm")


def test_an_argument_of_timm_that_is_null_leaves_what_the_config_says_above_it(tmp_path):
    source = vit(pool="mean", class_token=True)
    timm_folder(tmp_path, source, top={"global_pool": "avg"}, num_heads=3, global_pool=None)
    assert from_weights(tmp_path, "timm").config.pool == "mean"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"global_pool": "max"}, "says global_pool = 'max'; models here have 'token', 'avg', 'map' alone"),
        ({"global_pool": "avgmax"}, "says global_pool = 'avgmax'"),
        ({"global_pool": ["avg"]}, "says global_pool = "),
        ({"global_pool": ""}, "says global_pool = ''"),  # a head for every token
        ({"act_layer": "quick_gelu"}, "says the activation 'quick_gelu'"),
        ({"act_layer": "silu"}, "says the activation 'silu'"),  # of MLPs without gates
        ({"pool_include_prefix": True}, "says pool_include_prefix = True; models here have False alone"),
        ({"num_heads": 2.5}, "says num_heads = 2.5, which isn't a whole number"),
        ({"depth": 5}, "another number of blocks than config.json says:\n    3 in the file, 5 in config.json"),
    ],
)
def test_what_a_config_of_timm_says_and_models_here_are_not_is_refused(arguments, sentence, tmp_path):
    timm_folder(tmp_path, vit(), **{"num_heads": 3, **arguments})
    for load in (lambda: from_weights(tmp_path, "timm"), lambda: load_weights(vit(), tmp_path, "timm")):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            load()


def test_without_a_head_the_pool_of_a_config_is_the_usual_one_and_another_is_taken(tmp_path):
    timm_folder(tmp_path, vit(), without="head.", top={"global_pool": "avg"}, num_heads=3)
    assert from_weights(tmp_path, "timm").config.pool == "mean"
    assert from_weights(tmp_path, "timm", pool="class").config.pool == "class"
    assert load_weights(sigvit.vit("Ti", image_size=21, **SIZES), tmp_path, "timm").config.pool == "class"


@pytest.mark.parametrize("word", ["", "max"])  # "" is what timm writes of backbones
def test_without_a_head_a_pool_of_timm_that_is_none_of_ours_says_nothing(word, tmp_path):
    timm_folder(tmp_path, vit(), without="head.", top={"global_pool": word}, num_heads=3)
    assert from_weights(tmp_path, "timm").config.pool == "class"
    assert from_weights(tmp_path, "timm", pool="mean").config.pool == "mean"
    assert load_weights(sigvit.vit("Ti", image_size=21, **SIZES), tmp_path, "timm").config.pool == "class"


def test_blocks_that_a_config_of_hugging_face_counts_are_missed():
    names = ("query", "key", "value")
    state = {f"encoder.layer.{i}.attention.attention.{name}.bias": torch.zeros(12) for i in range(2) for name in names}
    found = translate(Checkpoint(state, {"num_hidden_layers": 3}, "the folder"), "hugging_face")
    with pytest.raises(ValueError, match=r"another number of blocks than config.json says:\n    2 in the file, 3 in config.json"):
        found.account.settle(found.where)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"image_size": {"height": 14, "width": 56}}, ((14, 56), 1e-12, 6)),
        ({"image_size": [14.0, 56.0], "num_attention_heads": 4.0}, ((14, 56), 1e-12, 4)),
        ({"image_size": 28.0, "layer_norm_eps": "1e-3"}, ((28, 28), 1e-3, 6)),
    ],
)
def test_numbers_of_a_config_are_read_however_they_are_written(config, found):
    checkpoint = Checkpoint({"embeddings.cls_token": torch.zeros(1, 1, 3)}, {"num_attention_heads": 6, "layer_norm_eps": 1e-12} | config, "the folder")
    facts = translate(checkpoint, "hugging_face").facts
    assert (facts.image_size, facts.eps, facts.heads) == found
    assert type(facts.heads) is int


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("image_size", "28", "pixels"),
        ("image_size", [28], "pixels"),
        ("image_size", {"shortest_edge": 28}, "pixels"),
        ("num_attention_heads", 4.5, "a whole number"),
        ("num_attention_heads", "many", "a whole number"),
        ("num_attention_heads", float("inf"), "a whole number"),
        ("layer_norm_eps", "small", "a number"),
        ("layer_norm_eps", [1e-6], "a number"),
    ],
)
def test_what_is_no_number_in_a_config_is_named(name, value, meaning):
    checkpoint = Checkpoint({"embeddings.cls_token": torch.zeros(1, 1, 3)}, {name: value}, "the folder")
    with pytest.raises(ValueError, match=re.escape(f"The config of the folder says {name} = {value!r}, which isn't {meaning}.")):
        translate(checkpoint, "hugging_face")


def test_the_method_of_the_class_is_the_function():
    source = vit()
    model = sigvit.VisionTransformer.from_weights(timm_state_dict(source), source="timm", heads=3)
    x = torch.randn(2, 3, 21, 21)
    assert torch.equal(model(x), source(x))
    assert set(SOURCES) >= {"google", "timm", "hugging_face", "torchvision", "mae", "dinov2", "sigvit"}


@pytest.mark.parametrize(("before", "after"), [((32, 48), (64, 48)), ((48, 80), (48, 32))])
def test_factorised_positions_of_another_size_are_resized(before, after):
    source, model = (sigvit.vit("Ti/16", image_size=size, num_classes=3, depth=1, positions="factorised").eval() for size in (before, after))
    loaded = sigvit.load_weights(model, source.state_dict(), source="sigvit")
    images = torch.randn(2, 3, *after, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loaded.features(images), source.features(images))  # which resizes at run time


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ({}, r"The part 'model' of .*config.json says no 'input_shape'"),
        (3, r"The part 'model' of .*config.json says no 'input_shape'"),
        ({"input_shape": [3, "21", 21]}, r"The config of .* says image_size = \['21', 21\], which isn't pixels"),
    ],
)
def test_an_edited_description_of_ours_gets_a_sentence(model, sentence, tmp_path):
    vit().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"format": 1, "model": model}))
    with pytest.raises(ValueError, match=sentence):
        load_weights(vit(), tmp_path, "sigvit")


@pytest.mark.parametrize(("entry", "sentence"), [("{", "isn't readable JSON"), ("[3]", "holds a list; a config is a JSON object")])
def test_what_an_npz_of_ours_says_in_no_json_object_is_named(entry, sentence, tmp_path):
    np.savez(tmp_path / "weights.npz", sigvit=np.array(entry), cls=np.zeros((1, 1, 12), dtype=np.float32))
    with pytest.raises(ValueError, match=rf"The entry 'sigvit' of .*weights.npz {sentence}"):
        load_weights(vit(), tmp_path / "weights.npz", "google")


def test_the_files_that_are_read_are_named_and_no_others(tmp_path):
    for name in ("config.json", "inspection.html", "part-2.safetensors", "part-1.safetensors", "weights.npz"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "part-2.safetensors", "b": "part-1.safetensors"}}))
    assert [path.name for path in files_of(tmp_path)] == ["config.json", "model.safetensors.index.json", "part-1.safetensors", "part-2.safetensors"]
    assert files_of(str(tmp_path / "weights.npz")) == [tmp_path / "weights.npz"]
    with pytest.raises(FileNotFoundError, match="There is no file"):
        files_of(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("choices", "pool", "possible"),
    [
        ({}, "avg", "'class' or 'mean'"),
        ({}, "map", "'class' or 'mean'"),
        ({"pool": "mean"}, "class", "'mean'"),
        ({"pool": "map"}, "mean", "'map'"),
        ({"pool": "mean_then_norm", "class_token": True}, "mean", "'mean_then_norm'"),
    ],
)
def test_a_pool_that_the_tensors_contradict_is_refused(choices, pool, possible):
    model = sigvit.vit("Ti/7", image_size=14, num_classes=5, depth=1, **choices)
    with pytest.raises(ValueError, match=rf"describes a model with the pool {possible}, but pool='{pool}' was given\."):
        from_weights(timm_state_dict(model), "timm", pool=pool)

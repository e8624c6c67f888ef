"""Models with others' weights compute what the others' code computes: logits or features agree, at square and rectangular sizes."""

import pytest
import torch
from torch import nn

import sigvit
from sigvit.model.encoder import Mlp
from sigvit.weights.export import timm_arguments, timm_state_dict
from sigvit.weights.facts import GELUS
from sigvit.weights.load import from_weights, load_weights

TOLERANCE = 1e-5  # float32: sums of up to 59 products in another order differ by a few units of 1e-7, and depth adds them up

SIZES = {"width": 24, "depth": 3, "heads": 2, "mlp_width": 59, "num_classes": 5, "patch_size": 7}


def awaken(peer: nn.Module) -> nn.Module:
    """Random weights everywhere, also where a source starts at zero or one, which would hide a wrong place."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in [*peer.named_parameters(), *peer.named_buffers()]:
        if tensor.is_floating_point():
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            tensor.data.normal_(centre, 0.3, generator=generator)
    return peer.eval()


def agree(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def images(*shape: int) -> torch.Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))


# timm ----------------------------------------------------------------------------------------------------------------------------------------

TIMM = {
    "class": {},
    "rectangle": {"img_size": (33, 35), "patch_size": (11, 7)},
    "mean": {"global_pool": "avg", "class_token": False, "fc_norm": False},
    "mean_then_norm": {"global_pool": "avg"},
    "mean_then_norm_without_class": {"global_pool": "avg", "class_token": False, "fc_norm": True},
    "registers": {"reg_tokens": 3},
    "registers_without_positions": {"reg_tokens": 3, "no_embed_class": True},
    "registers_without_class": {"reg_tokens": 2, "global_pool": "avg", "class_token": False, "fc_norm": False},
    "class_without_position": {"no_embed_class": True},
    "layer_scale": {"init_values": 0.3},
    "grey": {"in_chans": 1},
    "map": {"global_pool": "map", "class_token": False},
    "no_positions": {"pos_embed": "none", "class_token": False, "global_pool": "avg"},
    "no_head": {"num_classes": 0},
}


def timm_model(timm, **choices) -> nn.Module:
    sizes = {"img_size": 28, "patch_size": 7, "embed_dim": 24, "depth": 3, "num_heads": 2, "mlp_ratio": 59.5 / 24, "num_classes": 5}
    return awaken(timm.models.vision_transformer.VisionTransformer(**{**sizes, **choices}))


@pytest.mark.parametrize("name", TIMM)
def test_timm(timm, name):
    peer = timm_model(timm, **TIMM[name])
    size = TIMM[name].get("img_size", (28, 28))
    model = from_weights(peer.state_dict(), "timm", heads=2, image_size=size)
    x = images(model.config.input_shape[0], *size)
    with torch.no_grad():
        agree(model.features(x) if name == "no_head" else model(x), peer(x))


@pytest.mark.parametrize("name", [name for name in TIMM if name not in ("no_head", "class_without_position")])
def test_timm_gets_its_weights_back(timm, name):
    peer = timm_model(timm, **TIMM[name])
    model = from_weights(peer.state_dict(), "timm", heads=2, image_size=TIMM[name].get("img_size", 28))
    again = timm.models.vision_transformer.VisionTransformer(**timm_arguments(model)).eval()
    again.load_state_dict(timm_state_dict(model), strict=True)
    x = images(*model.config.input_shape)
    with torch.no_grad():
        agree(again(x), peer(x))


def test_a_folder_that_timm_wrote_is_read_as_its_config_says(timm, tmp_path):
    sizes = {"img_size": (28, 35), "patch_size": 7, "embed_dim": 24, "depth": 3, "num_heads": 4, "num_classes": 5}
    choices = {**sizes, "global_pool": "avg", "fc_norm": False, "act_layer": "gelu_tanh"}
    peer = awaken(timm.create_model("vit_tiny_patch16_224", **choices))
    timm.models.save_for_hf(peer, tmp_path, model_args=choices)
    model, x = from_weights(tmp_path, "timm"), images(3, 28, 35)
    assert (model.config.heads, model.config.pool, model.config.gelu, model.config.class_token) == (4, "mean", "tanh", True)
    with torch.no_grad():
        agree(model(x), peer(x))


def test_timms_mean_beside_a_class_token(timm):
    peer = timm_model(timm, global_pool="avg", fc_norm=False)
    model, x = from_weights(peer.state_dict(), "timm", heads=2, pool="mean"), images(3, 28, 28)
    with torch.no_grad():
        agree(model(x), peer(x))


def test_timms_gates_and_back(timm):
    """As in its DINOv2 giants."""
    gates = {"mlp_layer": timm.layers.SwiGLUPacked, "mlp_ratio": (2 * 29 + 0.5) / 24}
    peer = timm_model(timm, **gates, act_layer=nn.SiLU, init_values=0.3, reg_tokens=4, no_embed_class=True)
    model, x = from_weights(peer.state_dict(), "timm", heads=2), images(3, 28, 28)
    assert (model.config.gelu, model.config.mlp_width) == ("swiglu", 29)
    again = timm.models.vision_transformer.VisionTransformer(**timm_arguments(model), mlp_layer=timm.layers.SwiGLUPacked).eval()
    again.load_state_dict(timm_state_dict(model), strict=True)
    with torch.no_grad():
        agree(model(x), peer(x))
        agree(again(x), peer(x))


def test_timm_gets_sines_and_cosines(timm):
    model = awaken(sigvit.vit("Ti", image_size=(21, 35), **SIZES, positions="sincos", registers=2))
    peer = timm.models.vision_transformer.VisionTransformer(**timm_arguments(model)).eval()
    peer.load_state_dict(timm_state_dict(model), strict=True)
    x = images(3, 21, 35)
    with torch.no_grad():
        agree(peer(x), model(x))


@pytest.mark.parametrize("grids", [((28, 28), (35, 21)), ((21, 35), (28, 28)), ((14, 56), (28, 28))])
def test_timm_resizes_positions_as_timm(timm, grids):
    old, new = grids
    peer, larger = timm_model(timm, img_size=old), timm_model(timm, img_size=new)
    state = peer.state_dict()
    resized = timm.layers.resample_abs_pos_embed(state["pos_embed"], [size // 7 for size in new], [size // 7 for size in old], num_prefix_tokens=1)
    larger.load_state_dict({**state, "pos_embed": resized})
    model = sigvit.vit("Ti", image_size=new, **SIZES)
    load_weights(model, state, "timm", image_size=old)
    x = images(3, *new)
    with torch.no_grad():
        agree(model.eval()(x), larger(x))


def test_a_distilled_model_gives_the_mean_of_its_two_heads(timm):
    from timm.models.deit import VisionTransformerDistilled

    peer = awaken(VisionTransformerDistilled(img_size=(21, 35), patch_size=7, embed_dim=24, depth=3, num_heads=2, mlp_ratio=59.5 / 24, num_classes=5))
    x = images(3, 21, 35)
    for source in ("timm", "deit"):
        model = from_weights({"model": peer.state_dict()}, source, heads=2, image_size=(21, 35))
        assert model.config.pool == "class_and_register"
        with torch.no_grad():
            agree(model(x), peer(x))


@pytest.mark.parametrize(("layers", "patch", "size"), [((1, 2, 1), 1, (32, 48)), ((), 3, (24, 36)), ((2,), 1, (20, 13))])
def test_a_hybrid_of_timm(timm, layers, patch, size):
    from functools import partial

    from timm.models.vision_transformer_hybrid import HybridEmbed, _resnetv2

    embed = partial(HybridEmbed, backbone=_resnetv2(layers))
    peer = timm_model(timm, img_size=size, patch_size=patch, embed_layer=embed)
    model = from_weights(peer.state_dict(), "timm", heads=2, image_size=size)
    assert model.tokenizer.layers == layers
    x = images(3, *size)
    with torch.no_grad():
        agree(model(x), peer(x))
    written = timm_state_dict(model)
    assert written.keys() == peer.state_dict().keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in peer.state_dict().items())


# torchvision ---------------------------------------------------------------------------------------------------------------------------------


def torchvision_model(torchvision, **choices) -> nn.Module:
    sizes = {"image_size": 28, "patch_size": 7, "num_layers": 3, "num_heads": 2, "hidden_dim": 24, "mlp_dim": 59, "num_classes": 5}
    return awaken(torchvision.models.VisionTransformer(**{**sizes, **choices}))


@pytest.mark.parametrize("choices", [{}, {"representation_size": 11}])
def test_torchvision(torchvision, choices):
    peer = torchvision_model(torchvision, **choices)
    model = from_weights(peer.state_dict(), "torchvision", heads=2)
    x = images(3, 28, 28)
    with torch.no_grad():
        agree(model(x), peer(x))


def test_torchvision_with_the_older_names_of_its_mlps(torchvision):
    peer = torchvision_model(torchvision)
    old = {name.replace("mlp.0", "mlp.linear_1").replace("mlp.3", "mlp.linear_2"): tensor for name, tensor in peer.state_dict().items()}
    x = images(3, 28, 28)
    with torch.no_grad():
        agree(from_weights(old, "torchvision", heads=2)(x), peer(x))


def test_torchvision_resizes_positions_as_torchvision(torchvision):
    from torchvision.models.vision_transformer import interpolate_embeddings

    peer, larger = torchvision_model(torchvision), torchvision_model(torchvision, image_size=42)
    state = peer.state_dict()
    larger.load_state_dict(interpolate_embeddings(42, 7, dict(state)))
    model = load_weights(sigvit.vit("Ti", image_size=42, **SIZES), state, "torchvision").eval()
    x = images(3, 42, 42)
    with torch.no_grad():
        agree(model(x), larger(x))


# Hugging Face --------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def transformers(timm):
    return pytest.importorskip("transformers", reason="transformers is not installed (python -m pip install transformers)")


HUGGING_FACE = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 7, "num_labels": 5}


def old_names(state: dict[str, torch.Tensor], dinov2: bool) -> dict[str, torch.Tensor]:
    """As transformers before version 5 named them."""
    attention = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value", "o_proj": "output.dense"}
    vit = {"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
    old = {}
    for name, tensor in state.items():
        for new, was in attention.items():
            name = name.replace(f"attention.{new}", f"attention.{was}")
        if not dinov2:
            for new, was in vit.items():
                name = name.replace(new, was)
            name = name.replace("layers.", "encoder.layer.")
        old[name] = tensor
    return old


@pytest.mark.parametrize("names", ["new", "old"])
@pytest.mark.parametrize("size", [(28, 28), (21, 35)])
def test_hugging_face_vit(transformers, size, names):
    peer = awaken(transformers.ViTForImageClassification(transformers.ViTConfig(**HUGGING_FACE, intermediate_size=59, image_size=size)))
    state = peer.state_dict() if names == "new" else old_names(peer.state_dict(), dinov2=False)
    assert names == "new" or "vit.encoder.layer.0.attention.attention.query.weight" in state
    model = from_weights(state, "hugging_face", heads=2, image_size=size)
    assert model.config.eps == 1e-12
    x = images(3, *size)
    with torch.no_grad():
        agree(model(x), peer(x).logits)


def test_hugging_face_folder_says_all(transformers, tmp_path):
    # 2 × 8 tokens of 7 × 7 pixels: 16 could be a square, and what is behind the last whole patch isn't seen.
    choices = {"intermediate_size": 59, "image_size": (15, 57), "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}
    peer = awaken(transformers.ViTModel(transformers.ViTConfig(**HUGGING_FACE, **choices)))
    peer.save_pretrained(tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        model = from_weights(path, "hugging_face")
        assert (model.config.heads, model.grid.shape, model.config.gelu, model.config.eps) == (2, (2, 8), "tanh", 1e-3)
        x = images(3, 15, 57)
        with torch.no_grad():
            agree(model.features(x[..., :14, :56]), peer(x).pooler_output)
            agree(model.encode(x[..., :14, :56]).values, peer(x).last_hidden_state)


@pytest.mark.parametrize("word", [word for word in GELUS if word.startswith("gelu")])
def test_each_word_for_a_gelu_is_the_one_that_its_source_computes(transformers, timm, word):
    x = torch.linspace(-5, 5, 1009)
    theirs = transformers.activations.ACT2FN[word] if word in transformers.activations.ACT2FN else timm.layers.get_act_fn(word)
    ours = Mlp(1, 1, GELUS[word]).approximate
    # Of float32 formulas; the two kinds differ by up to 4.7e-4.
    torch.testing.assert_close(nn.functional.gelu(x, approximate=ours), theirs(x), rtol=0, atol=2e-6)


def test_hugging_face_resizes_positions_as_hugging_face(transformers):
    peer = awaken(transformers.ViTForImageClassification(transformers.ViTConfig(**HUGGING_FACE, intermediate_size=59, image_size=28)))
    model = load_weights(sigvit.vit("Ti", image_size=(21, 35), **SIZES), peer.state_dict(), "hugging_face").eval()
    x = images(3, 21, 35)
    with torch.no_grad():
        agree(model(x), peer(x, interpolate_pos_encoding=True).logits)


@pytest.mark.parametrize("names", ["new", "old"])
def test_hugging_face_dinov2_with_gates(transformers, names, tmp_path):
    peer = awaken(transformers.Dinov2Model(transformers.Dinov2Config(**HUGGING_FACE, mlp_ratio=3, image_size=28, use_swiglu_ffn=True)))
    given = peer.state_dict() if names == "new" else old_names(peer.state_dict(), dinov2=True)
    if names == "old":
        for i, kind in [(i, kind) for i in range(3) for kind in ("weight", "bias")]:
            gate, up, down = (given.pop(f"encoder.layer.{i}.mlp.{part}_proj.{kind}") for part in ("gate", "up", "down"))
            given |= {f"encoder.layer.{i}.mlp.weights_in.{kind}": torch.cat([gate, up]), f"encoder.layer.{i}.mlp.weights_out.{kind}": down}
        model = from_weights(given, "hugging_face", heads=2)
    else:
        peer.save_pretrained(tmp_path)
        model = from_weights(tmp_path, "hugging_face")
    assert (model.config.gelu, model.config.mlp_width) == ("swiglu", 48)
    with torch.no_grad():
        agree(model.encode(images(3, 28, 28)).values, peer(images(3, 28, 28)).last_hidden_state)


@pytest.mark.parametrize("names", ["new", "old"])
@pytest.mark.parametrize("registers", [False, True])
def test_hugging_face_dinov2(transformers, registers, names):
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    config = getattr(transformers, f"{kind}Config")(**HUGGING_FACE, mlp_ratio=3, image_size=28)
    peer = awaken(getattr(transformers, f"{kind}Model")(config))
    state = peer.state_dict() if names == "new" else old_names(peer.state_dict(), dinov2=True)
    model = from_weights(state, "hugging_face", heads=2)
    assert model.config.registers == (4 if registers else 0)
    with torch.no_grad():
        agree(model.encode(images(3, 28, 28)).values, peer(images(3, 28, 28)).last_hidden_state)
    other = sigvit.vit("Ti", image_size=(35, 21), **{**SIZES, "mlp_width": 72}, registers=model.config.registers, layer_scale=1.0).eval()
    load_weights(other, state, "hugging_face")
    with torch.no_grad():
        agree(other.encode(images(3, 35, 21)).values, peer(images(3, 35, 21)).last_hidden_state)


@pytest.mark.parametrize("registers", [False, True])
def test_hugging_face_dinov2_classifier_reads_class_token_and_mean(transformers, registers):
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    peer = awaken(getattr(transformers, f"{kind}ForImageClassification")(getattr(transformers, f"{kind}Config")(**HUGGING_FACE, mlp_ratio=3, image_size=28)))
    model = from_weights(peer.state_dict(), "hugging_face", heads=2)
    assert model.config.pool == "class_and_mean"
    with torch.no_grad():
        agree(model(images(3, 28, 28)), peer(images(3, 28, 28)).logits)

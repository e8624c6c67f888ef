"""With weights copied from a randomly initialised timm model of the same configuration, the logits agree."""

import pytest
import torch

import sigvit

TOLERANCE = 1e-5  # float32: sums of up to 59 products in another order differ by a few units of 1e-7, and depth adds them up

NAMES = {
    "cls_token": "class_token",
    "patch_embed.proj": "tokenizer",
    "blocks": "encoder.blocks",
    "norm1": "norm_attention",
    "norm2": "norm_mlp",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "mlp.fc1": "mlp.inner",
    "mlp.fc2": "mlp.outer",
    "ls1.gamma": "scale_attention",
    "ls2.gamma": "scale_mlp",
}

CONFIGURATIONS = {
    "class": ({}, {}),
    "mean": ({"global_pool": "avg", "class_token": False, "fc_norm": False}, {"pool": "mean"}),
    "registers": ({"reg_tokens": 3}, {"registers": 3}),
    "registers_without_positions": ({"reg_tokens": 3, "no_embed_class": True}, {"registers": 3}),
    "layer_scale": ({"init_values": 0.3}, {"layer_scale": 0.3}),
    "rectangles": ({"img_size": (33, 35), "patch_size": (11, 7)}, {"image_size": (33, 35), "patch_size": (11, 7)}),
    "grey": ({"in_chans": 1}, {"in_channels": 1}),
    "map": ({"global_pool": "map", "class_token": False}, {"pool": "map"}),
}


def build(timm, theirs: dict, ours: dict):
    torch.manual_seed(0)
    sizes = {"img_size": 28, "patch_size": 7, "embed_dim": 22, "depth": 3, "num_heads": 2, "mlp_ratio": 59 / 22, "num_classes": 5}
    peer = timm.models.vision_transformer.VisionTransformer(**{**sizes, **theirs}).eval()
    for parameter in peer.parameters():  # timm starts some at zero, which would hide a wrong place
        torch.nn.init.normal_(parameter, std=0.3)
    settings = {"image_size": 28, "patch_size": 7, "width": 22, "depth": 3, "heads": 2, "mlp_width": 59, "num_classes": 5}
    return peer, sigvit.vit("Ti", **{**settings, **ours}).eval()


def renamed(peer, model) -> dict[str, torch.Tensor]:
    """timm's weights under our names, each used exactly once."""
    weights = {}
    for name, value in peer.state_dict().items():
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        weights[name.replace("norm.", "encoder.norm.") if name.startswith("norm.") else name] = value
    positions = weights.pop("pos_embed")[0]
    registers = weights.pop("reg_token", torch.zeros(1, 0, 1))[0]
    special = len(positions) - model.grid.n_tokens
    if "class_token" in weights:
        weights["class_token"] = weights["class_token"][0, 0]
        weights["positions.special"] = positions[:1] if special else torch.zeros_like(positions[:1])
    if len(registers):  # a learned token and its learned position are one vector
        weights["register_tokens"] = registers + (positions[1:special] if special else 0)
    weights["positions.table"] = positions[special:]
    if "attn_pool.latent" in weights:
        pool = {name: weights.pop(name) for name in list(weights) if name.startswith("attn_pool.")}
        weights |= pool_weights({name.removeprefix("attn_pool."): value for name, value in pool.items()})
    return weights


def pool_weights(pool: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """timm's attention pooling has queries, and keys with values, in two matrices."""
    both = {f"attention.qkv.{kind}": torch.cat([pool.pop(f"q.{kind}"), pool.pop(f"kv.{kind}")]) for kind in ("weight", "bias")}
    names = {"latent": "probe", "proj": "attention.out"}
    moved = {}
    for name, value in pool.items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        moved[name] = value[0] if name == "probe" else value
    return {f"pool.{name}": value for name, value in {**both, **moved}.items()}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_logits_agree_with_timm(timm, name):
    peer, model = build(timm, *CONFIGURATIONS[name])
    model.load_state_dict(renamed(peer, model), strict=True)
    images = torch.randn(2, model.config.input_shape[0], *model.config.input_shape[1:])
    with torch.no_grad():
        expected, found = peer(images), model(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_tokens_and_their_order_agree_with_timm(timm):
    peer, model = build(timm, *CONFIGURATIONS["registers"])
    model.load_state_dict(renamed(peer, model), strict=True)
    images = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(images).values, peer.forward_features(images), rtol=TOLERANCE, atol=TOLERANCE)


def test_a_wrong_gelu_would_be_noticed(timm):
    peer, model = build(timm, {}, {"gelu": "tanh"})
    model.load_state_dict(renamed(peer, model), strict=True)
    images = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        assert (model(images) - peer(images)).abs().max() > TOLERANCE

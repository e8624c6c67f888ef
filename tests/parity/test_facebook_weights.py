"""MAE, DINOv2 and DeiT III give what an independent computation gives, for weights made up in their layouts; their code isn't a package."""

import argparse

import pytest
import torch
from torch.nn import functional

import sigvit
from sigvit.weights.load import from_weights, load_weights

TOLERANCE = 1e-5  # float32 here, float64 in the computation beside it: sums of up to 72 products, and depth adds them up

DEPTH, HEADS, WIDTH, HIDDEN, CLASSES, PATCH = 4, 3, 12, 17, 5, 7
SIZES = {"patch_size": PATCH, "width": WIDTH, "depth": DEPTH, "heads": HEADS, "mlp_width": HIDDEN, "num_classes": CLASSES}


def state_dict(grid=(3, 3), front=1, registers=0, scale=None, norm="norm", head=True, gates=False) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return 0.4 * torch.randn(*shape, generator=generator)

    def pair(name: str, *shape: int) -> dict:
        return {f"{name}.weight": (1 if "norm" in name else 0) + draw(*shape), f"{name}.bias": draw(shape[0])}

    state = {"cls_token": draw(1, 1, WIDTH), "pos_embed": draw(1, front + grid[0] * grid[1], WIDTH), **pair("patch_embed.proj", WIDTH, 3, PATCH, PATCH)}
    for i in range(DEPTH):
        block = f"blocks.{i}."
        state |= {**pair(f"{block}norm1", WIDTH), **pair(f"{block}attn.qkv", 3 * WIDTH, WIDTH), **pair(f"{block}attn.proj", WIDTH, WIDTH)}
        inner, outer, units = ("w12", "w3", 2 * HIDDEN) if gates else ("fc1", "fc2", HIDDEN)
        state |= {**pair(f"{block}norm2", WIDTH), **pair(f"{block}mlp.{inner}", units, WIDTH), **pair(f"{block}mlp.{outer}", WIDTH, HIDDEN)}
        state |= {f"{block}{name}": 1 + draw(WIDTH) for name in (scale or ())}
    if registers:
        state["register_tokens"] = draw(1, registers, WIDTH)
    return {**state, **pair(norm, WIDTH), **(pair("head", CLASSES, WIDTH) if head else {})}


def compute(
    state: dict[str, torch.Tensor], images: torch.Tensor, front: int, scale=("", ""), norm_after_mean: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head sees, and all tokens, in float64."""
    weights = {name: tensor.double() for name, tensor in state.items()}

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(x, (WIDTH,), weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-6)

    x = functional.conv2d(images.double(), weights["patch_embed.proj.weight"], weights["patch_embed.proj.bias"], stride=PATCH).flatten(2).transpose(1, 2)
    batch = len(x)
    if front == 0:
        x = x + weights["pos_embed"]
    x = torch.cat([weights["cls_token"].expand(batch, -1, -1), x], dim=1)
    if front == 1:
        x = x + weights["pos_embed"]
    if "register_tokens" in weights:
        x = torch.cat([x[:, :1], weights["register_tokens"].expand(batch, -1, -1), x[:, 1:]], dim=1)
    for i in range(DEPTH):
        block = f"blocks.{i}."
        first, second = (weights.get(f"{block}{name}", torch.ones(())) for name in scale)
        q, k, v = linear(norm(x, f"{block}norm1"), f"{block}attn.qkv").reshape(batch, -1, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5).softmax(-1) @ v
        x = x + first * linear(mixed.transpose(1, 2).reshape(batch, -1, WIDTH), f"{block}attn.proj")
        if f"{block}mlp.w12.weight" in weights:
            gate, opened = linear(norm(x, f"{block}norm2"), f"{block}mlp.w12").chunk(2, dim=-1)
            x = x + second * linear(gate * gate.sigmoid() * opened, f"{block}mlp.w3")
        else:
            x = x + second * linear(functional.gelu(linear(norm(x, f"{block}norm2"), f"{block}mlp.fc1")), f"{block}mlp.fc2")
    if norm_after_mean:
        return norm(x[:, 1:].mean(1), "fc_norm"), x
    x = norm(x, "norm")
    return x[:, 0], x


def agree(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected.float(), rtol=TOLERANCE, atol=TOLERANCE)


def images(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(2, 3, rows, columns, generator=torch.Generator().manual_seed(1))


def head(state: dict[str, torch.Tensor], features: torch.Tensor) -> torch.Tensor:
    return features @ state["head.weight"].double().T + state["head.bias"].double()


@pytest.mark.parametrize("grid", [(3, 3), (2, 5)])
def test_mae_encoder_without_its_decoder(grid, tmp_path):
    """As its pre-training saves it: the script's arguments, an optimiser, a decoder and a mask token beside the encoder."""
    state = state_dict(grid, head=False)
    training = {**state, "mask_token": torch.randn(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.randn(8), "decoder_pos_embed": torch.randn(1, 10, 8)}
    torch.save({"model": training, "optimizer": {"state": {}}, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, tmp_path / "mae.pth")
    size = (grid[0] * PATCH, grid[1] * PATCH)
    model = from_weights(tmp_path / "mae.pth", "mae", heads=HEADS, image_size=size if grid == (2, 5) else None)
    features, tokens = compute(state, images(*size), front=1)
    with torch.no_grad():
        agree(model.features(images(*size)), features)
        agree(model.encode(images(*size)).values, tokens)
        assert not model(images(*size)).any()


def test_mae_fine_tuned_with_its_norm_behind_the_mean():
    state = state_dict(norm="fc_norm")
    model = from_weights({"model": state}, "mae", heads=HEADS)
    assert model.config.pool == "mean_then_norm"
    with torch.no_grad():
        agree(model(images(21, 21)), head(state, compute(state, images(21, 21), front=1, norm_after_mean=True)[0]))


DINOV2_SCALE = ("ls1.gamma", "ls2.gamma")


@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("grid", [(3, 3), (2, 5)])
def test_dinov2(grid, registers, gates):
    state = state_dict(grid, registers=registers, scale=DINOV2_SCALE, head=False, gates=gates)
    size = (grid[0] * PATCH, grid[1] * PATCH)
    given = {**state, "mask_token": torch.randn(1, WIDTH)}
    model = from_weights(given, "dinov2", heads=HEADS, image_size=size)
    features, tokens = compute(state, images(*size), front=1, scale=DINOV2_SCALE)
    with torch.no_grad():
        agree(model.features(images(*size)), features)
        agree(model.encode(images(*size)).values, tokens)


@pytest.mark.parametrize("gates", [False, True])
def test_dinov2_of_a_training_run_has_its_blocks_in_chunks(gates):
    """Blocks keep their number: the second chunk of two begins with number 2."""
    state = state_dict(scale=DINOV2_SCALE, head=False, gates=gates)
    chunks = {}
    for name, tensor in state.items():
        parts = name.split(".")
        chunks[f"backbone.blocks.{int(parts[1]) // 2}.{name.removeprefix('blocks.')}" if parts[0] == "blocks" else f"backbone.{name}"] = tensor
    teacher = {**chunks, "backbone.mask_token": torch.randn(1, WIDTH), "dino_head.mlp.0.weight": torch.randn(3, 3), "ibot_head.last_layer.bias": torch.randn(3)}
    model = from_weights({"teacher": teacher, "iteration": 7}, "dinov2", heads=HEADS)
    with torch.no_grad():
        agree(model.features(images(21, 21)), compute(state, images(21, 21), front=1, scale=DINOV2_SCALE)[0])


@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_resizes_positions_as_dinov2(registers):
    """Bicubic by a scale factor that is 0.1 too long; with registers antialiased, to the size itself (its hub's two ways of interpolating)."""
    state = state_dict(registers=registers, scale=DINOV2_SCALE, head=False)
    table = state["pos_embed"][:, 1:].reshape(1, 3, 3, WIDTH).permute(0, 3, 1, 2)
    choices = {"size": (2, 5), "antialias": True} if registers else {"scale_factor": (2.1 / 3, 5.1 / 3)}
    resized = functional.interpolate(table, mode="bicubic", **choices).permute(0, 2, 3, 1).reshape(1, -1, WIDTH)
    model = sigvit.vit("Ti", image_size=(14, 35), **SIZES, registers=registers, layer_scale=1.0).eval()
    load_weights(model, state, "dinov2")
    other = {**state, "pos_embed": torch.cat([state["pos_embed"][:, :1], resized], dim=1)}
    with torch.no_grad():
        agree(model.features(images(14, 35)), compute(other, images(14, 35), front=1, scale=DINOV2_SCALE)[0])


@pytest.mark.parametrize("grid", [(3, 3), (2, 5)])
def test_deit3_has_positions_of_the_patches_alone(grid):
    scale = ("gamma_1", "gamma_2")
    state = state_dict(grid, front=0, scale=scale)
    size = (grid[0] * PATCH, grid[1] * PATCH)
    model = from_weights({"model": state}, "deit3", heads=HEADS, image_size=size)
    assert not model.positions.special.any()
    with torch.no_grad():
        agree(model(images(*size)), head(state, compute(state, images(*size), front=0, scale=scale)[0]))


@pytest.mark.parametrize("source", ["mae", "deit", "deit3"])
def test_mae_and_deit_resize_positions_as_they_do(source):
    """Bicubic between half-pixel centres, without antialiasing."""
    front = 0 if source == "deit3" else 1
    state = state_dict(front=front)
    table = state["pos_embed"][:, front:].reshape(1, 3, 3, WIDTH).permute(0, 3, 1, 2)
    resized = functional.interpolate(table, size=(5, 5), mode="bicubic", align_corners=False).permute(0, 2, 3, 1).reshape(1, -1, WIDTH)
    model = load_weights(sigvit.vit("Ti", image_size=35, **SIZES), state, source).eval()
    other = {**state, "pos_embed": torch.cat([state["pos_embed"][:, :front], resized], dim=1)}
    with torch.no_grad():
        agree(model(images(35, 35)), head(state, compute(other, images(35, 35), front=front)[0]))

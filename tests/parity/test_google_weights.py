"""Google's checkpoints, made up in its layouts, give what an independent computation gives that is written from its code, array by array.

Its own code needs JAX, so it isn't run here; timm's reader of these files is a second witness.
"""

import math

import ml_dtypes
import numpy as np
import pytest
import torch
from torch.nn import functional

import sigvit
from sigvit.weights.load import from_weights, load_weights

TOLERANCE = 1e-5  # float32 here, float64 in the computation beside it: sums of up to 72 products, and depth adds them up

# Names of a block's attention, second LayerNorm and MLP: in big_vision, and in the paper's code.
PARTS = {True: ("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"), False: ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")}

DEPTH, HEADS, WIDTH, HIDDEN, CLASSES, PATCH = 2, 3, 12, 17, 5, (7, 5)
GENERATOR = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return GENERATOR.normal(0, 0.4, shape).astype(np.float32)


def norm_arrays(name: str, width: int = WIDTH) -> dict:
    return {f"{name}/scale": 1 + draw(width), f"{name}/bias": draw(width)}


def attention_arrays(name: str) -> dict:
    size = WIDTH // HEADS
    each = {
        f"{name}/{part}/{kind}": draw(*shape)
        for part in ("query", "key", "value")
        for kind, shape in (("kernel", (WIDTH, HEADS, size)), ("bias", (HEADS, size)))
    }
    return {**each, f"{name}/out/kernel": draw(HEADS, size, WIDTH), f"{name}/out/bias": draw(WIDTH)}


def dense_arrays(name: str, inputs: int, outputs: int) -> dict:
    return {f"{name}/kernel": draw(inputs, outputs), f"{name}/bias": draw(outputs)}


def mlp_arrays(name: str) -> dict:
    return {**dense_arrays(f"{name}/Dense_0", WIDTH, HIDDEN), **dense_arrays(f"{name}/Dense_1", HIDDEN, WIDTH)}


def checkpoint(grid=(2, 2), pool="class", new=True, class_row=False, representation=None, patch=PATCH, channels=3, head=True) -> dict:
    """Arrays in the layout of the paper, or of big_vision (new)."""
    attention, norm, mlp = PARTS[new]
    arrays = {"embedding/kernel": draw(*patch, channels, WIDTH), "embedding/bias": draw(WIDTH), **norm_arrays("Transformer/encoder_norm")}
    if pool == "class":
        arrays["cls"] = draw(1, 1, WIDTH)
    if grid is not None:
        arrays["pos_embedding" if new else "Transformer/posembed_input/pos_embedding"] = draw(1, math.prod(grid) + class_row, WIDTH)
    for i in range(DEPTH):
        block = f"Transformer/encoderblock_{i}"
        arrays |= {**norm_arrays(f"{block}/LayerNorm_0"), **norm_arrays(f"{block}/{norm}")}
        arrays |= {**attention_arrays(f"{block}/{attention}"), **mlp_arrays(f"{block}/{mlp}")}
    if pool == "map":
        head_arrays = {
            "probe": draw(1, 1, WIDTH),
            **attention_arrays("MultiHeadDotProductAttention_0"),
            **norm_arrays("LayerNorm_0"),
            **mlp_arrays("MlpBlock_0"),
        }
        arrays |= {f"MAPHead_0/{name}": array for name, array in head_arrays.items()}
    if representation:
        arrays |= dense_arrays("pre_logits", WIDTH, representation)
    if head:
        arrays |= dense_arrays("head", representation or WIDTH, CLASSES)
    return arrays


# The computation beside it, in float64 -------------------------------------------------------------------------------------------------------


def layer_norm(x, arrays, name):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * arrays[f"{name}/scale"] + arrays[f"{name}/bias"]


def dense(x, arrays, name):
    return x @ arrays[f"{name}/kernel"].astype(np.float64) + arrays[f"{name}/bias"]


def mlp(x, arrays, name):
    hidden = dense(x, arrays, f"{name}/Dense_0")
    gelu = 0.5 * hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
    return dense(gelu, arrays, f"{name}/Dense_1")


def attention(asks, x, arrays, name):
    q, k, v = (
        np.einsum("btd,dhe->bthe", each, arrays[f"{name}/{part}/kernel"]) + arrays[f"{name}/{part}/bias"]
        for part, each in (("query", asks), ("key", x), ("value", x))
    )
    scores = np.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(WIDTH // HEADS)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = np.einsum("bhqk,bkhe->bqhe", weights / weights.sum(-1, keepdims=True), v)
    return np.einsum("bqhe,hed->bqd", mixed, arrays[f"{name}/out/kernel"]) + arrays[f"{name}/out/bias"]


def patches(images, arrays):
    kernel = arrays["embedding/kernel"].astype(np.float64)
    rows, columns = kernel.shape[:2]
    batch, channels, height, width = images.shape
    cut = images.reshape(batch, channels, height // rows, rows, width // columns, columns)
    return np.einsum("bcipjq,pqcd->bijd", cut, kernel).reshape(batch, -1, kernel.shape[-1]) + arrays["embedding/bias"]


def sincos(rows, columns, width):
    omega = 10_000.0 ** -(np.arange(width // 4) / (width // 4 - 1))
    y, x = (steps.flatten()[:, None] * omega for steps in np.mgrid[:rows, :columns])
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)


def compute(arrays, images, new=True, pool="class", positions=None, tokens=None):
    """Logits, or what is pooled where there is no head; each line is one of models_vit.py or big_vision's vit.py."""
    x = patches(images, arrays) if tokens is None else tokens
    table = arrays.get("pos_embedding", arrays.get("Transformer/posembed_input/pos_embedding")) if positions is None else positions
    count = np.shape(table)[-2]
    if count == x.shape[1]:
        x = x + table
    if pool == "class":
        x = np.concatenate([np.broadcast_to(arrays["cls"], (len(x), 1, WIDTH)), x], axis=1)
    if count == x.shape[1] and pool == "class":
        x = x + table
    name, norm, block_mlp = PARTS[new]
    for i in range(DEPTH):
        block = f"Transformer/encoderblock_{i}"
        y = layer_norm(x, arrays, f"{block}/LayerNorm_0")
        x = x + attention(y, y, arrays, f"{block}/{name}")
        x = x + mlp(layer_norm(x, arrays, f"{block}/{norm}"), arrays, f"{block}/{block_mlp}")
    x = layer_norm(x, arrays, "Transformer/encoder_norm")
    if pool == "map":
        x = attention(np.broadcast_to(arrays["MAPHead_0/probe"], (len(x), 1, WIDTH)), x, arrays, "MAPHead_0/MultiHeadDotProductAttention_0")
        x = (x + mlp(layer_norm(x, arrays, "MAPHead_0/LayerNorm_0"), arrays, "MAPHead_0/MlpBlock_0"))[:, 0]
    else:
        x = x[:, 0] if pool == "class" else x.mean(1)
    if "pre_logits/kernel" in arrays:
        x = np.tanh(dense(x, arrays, "pre_logits"))
    return dense(x, arrays, "head") if "head/kernel" in arrays else x


def agree(found: torch.Tensor, expected: np.ndarray) -> None:
    assert expected.std() > 0.1
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), rtol=TOLERANCE, atol=TOLERANCE)


def images(rows: int, columns: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, channels, rows, columns))


def logits(model, x: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor(x, dtype=torch.float32))


VARIANTS = {
    "paper": {"new": False, "class_row": True},
    "paper_with_pre_logits": {"new": False, "class_row": True, "representation": 11},
    "paper_gap": {"new": False, "pool": "mean"},
    "paper_rectangle": {"new": False, "class_row": True, "grid": (3, 5)},
    "big_vision": {},
    "big_vision_with_a_row_for_cls": {"class_row": True},
    "big_vision_gap": {"pool": "mean"},
    "big_vision_map": {"pool": "map"},
    "big_vision_rectangle": {"pool": "map", "grid": (2, 5)},
    "grey": {"channels": 1},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_google(name, tmp_path):
    arrays = checkpoint(**VARIANTS[name])
    grid, pool = VARIANTS[name].get("grid", (2, 2)), VARIANTS[name].get("pool", "class")
    np.savez(tmp_path / "weights.npz", **arrays)
    size = (grid[0] * PATCH[0], grid[1] * PATCH[1])
    model = from_weights(tmp_path / "weights.npz", "google", image_size=size if "rectangle" in name else None)
    assert (model.config.heads, model.config.gelu, model.config.eps, model.config.pool) == (HEADS, "tanh", 1e-6, pool)
    x = images(*size, VARIANTS[name].get("channels", 3))
    agree(logits(model, x), compute(arrays, x, VARIANTS[name].get("new", True), pool))


@pytest.mark.parametrize("prefix", ["opt/target/", "params/", "params/img/"])
def test_prefixes_and_what_stands_beside_them(prefix):
    arrays = checkpoint(pool="map")
    beside = {"opt/target/": {"opt/state/step": np.array(7)}, "params/": {}, "params/img/": {"params/txt/embedding/kernel": draw(3, 3), "params/t": draw(1)}}
    model = from_weights({**{f"{prefix}{name}": array for name, array in arrays.items()}, **beside[prefix]}, "google")
    agree(logits(model, images(14, 10)), compute(arrays, images(14, 10), pool="map"))


def test_nested_dictionaries_as_flax_has_them():
    arrays, nested = checkpoint(), {}
    for name, array in arrays.items():
        *folders, last = ("params", *name.split("/"))
        inner = nested
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[last] = array
    agree(logits(from_weights(nested, "google"), images(14, 10)), compute(arrays, images(14, 10)))


def test_all_blocks_in_one_array():
    arrays = checkpoint(pool="map")
    blocks = {name.split("/", 2)[2] for name in arrays if name.startswith("Transformer/encoderblock_")}
    scan = {name: array for name, array in arrays.items() if not name.startswith("Transformer/encoderblock_")}
    scan |= {f"Transformer/encoderblock/{name}": np.stack([arrays[f"Transformer/encoderblock_{i}/{name}"] for i in range(DEPTH)]) for name in blocks}
    model = from_weights(scan, "google")
    assert model.config.depth == DEPTH
    agree(logits(model, images(14, 10)), compute(arrays, images(14, 10), pool="map"))


def test_bfloat16_that_numpy_wrote_as_two_byte_void(tmp_path):
    arrays = {name: array.astype(ml_dtypes.bfloat16) for name, array in checkpoint().items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    assert np.load(tmp_path / "weights.npz")["cls"].dtype.kind == "V"
    exact = {name: array.astype(np.float32) for name, array in arrays.items()}
    for weights in (tmp_path / "weights.npz", arrays):
        agree(logits(from_weights(weights, "google"), images(14, 10)), compute(exact, images(14, 10)))


def test_without_a_table_positions_are_sincos():
    arrays = checkpoint(grid=None, pool="mean")
    model = from_weights(arrays, "google", image_size=(21, 10))
    assert model.config.positions == "sincos"
    agree(logits(model, images(21, 10)), compute(arrays, images(21, 10), pool="mean", positions=sincos(3, 2, WIDTH)))


def test_positions_are_resized_as_google_does():
    """scipy's zoom of order 1 from 3 × 3 to 5 × 2, with the row of the class token apart."""
    from scipy.ndimage import zoom

    arrays = checkpoint(grid=(3, 3), new=False, class_row=True)
    table = arrays["Transformer/posembed_input/pos_embedding"][0].astype(np.float64)
    resized = np.concatenate([table[:1], zoom(table[1:].reshape(3, 3, WIDTH), (5 / 3, 2 / 3, 1), order=1).reshape(-1, WIDTH)])
    sizes = {"patch_size": PATCH, "width": WIDTH, "depth": DEPTH, "heads": HEADS, "mlp_width": HIDDEN, "num_classes": CLASSES}
    model = load_weights(sigvit.vit("Ti", image_size=(35, 10), **sizes), arrays, "google").eval()
    assert (model.config.gelu, model.encoder.blocks[0].mlp.approximate) == ("tanh", "tanh")
    agree(logits(model, images(35, 10)), compute(arrays, images(35, 10), new=False, positions=resized))


def test_a_square_table_goes_resized_into_a_rectangle_of_as_many_tokens():
    from scipy.ndimage import zoom

    arrays = checkpoint(grid=(4, 4), pool="mean")
    resized = zoom(arrays["pos_embedding"].astype(np.float64).reshape(4, 4, WIDTH), (0.5, 2, 1), order=1).reshape(-1, WIDTH)
    sizes = {"patch_size": PATCH, "width": WIDTH, "depth": DEPTH, "heads": HEADS, "mlp_width": HIDDEN, "num_classes": CLASSES, "pool": "mean"}
    model = load_weights(sigvit.vit("Ti", image_size=(14, 40), **sizes), arrays, "google").eval()
    agree(logits(model, images(14, 40)), compute(arrays, images(14, 40), pool="mean", positions=resized))


def test_timm_reads_the_same_file_to_the_same_logits(timm, tmp_path):
    arrays = checkpoint(grid=(3, 3), new=False, class_row=True, patch=(7, 7))
    np.savez(tmp_path / "weights.npz", **arrays)
    sizes = {"img_size": 21, "patch_size": 7, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, "mlp_ratio": 17.5 / 12, "num_classes": CLASSES}
    peer = timm.models.vision_transformer.VisionTransformer(**sizes, act_layer="gelu_tanh").eval()
    peer.load_pretrained(str(tmp_path / "weights.npz"))
    x = images(21, 21)
    with torch.no_grad():
        agree(logits(from_weights(tmp_path / "weights.npz", "google"), x), peer(torch.tensor(x, dtype=torch.float32)).double().numpy())


# Hybrids -------------------------------------------------------------------------------------------------------------------------------------


def hybrid(layers: tuple[int, ...], grid: tuple[int, int], patch: tuple[int, int], flat: bool) -> dict:
    channels = 64 * 4 * 2 ** (len(layers) - 1) if layers else 64
    arrays = checkpoint(grid=grid, new=False, class_row=True, patch=patch, channels=channels)
    shape = (-1,) if flat else (1, 1, 1, -1)

    def convolution(name: str, norm: str, kernel: int, inputs: int, outputs: int) -> dict:
        norms = {key: array.reshape(shape) for key, array in norm_arrays(norm, outputs).items()}
        return {f"{name}/kernel": draw(kernel, kernel, inputs, outputs), **norms}

    arrays |= convolution("conv_root", "gn_root", 7, 3, 64)
    inputs = 64
    for stage, count in enumerate(layers):
        width = 64 * 2**stage
        for unit in range(count):
            name = f"block{stage + 1}/unit{unit + 1}"
            arrays |= convolution(f"{name}/conv1", f"{name}/gn1", 1, inputs, width) | convolution(f"{name}/conv2", f"{name}/gn2", 3, width, width)
            arrays |= convolution(f"{name}/conv3", f"{name}/gn3", 1, width, 4 * width)
            if unit == 0:
                arrays |= convolution(f"{name}/conv_proj", f"{name}/gn_proj", 1, inputs, 4 * width)
            inputs = 4 * width
    return arrays


def same(x: torch.Tensor, kernel: int, stride: int, value: float) -> torch.Tensor:
    """TensorFlow's SAME: the output has ceil(size / stride) steps, the smaller half of the filling comes first."""
    fill = [max((math.ceil(size / stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:]]
    return functional.pad(x, (fill[1] // 2, math.ceil(fill[1] / 2), fill[0] // 2, math.ceil(fill[0] / 2)), value=value)


def standard_convolution(x: torch.Tensor, arrays: dict, name: str, norm: str, stride: int = 1) -> torch.Tensor:
    kernel = arrays[f"{name}/kernel"].astype(np.float64)
    kernel = kernel - kernel.mean(axis=(0, 1, 2))
    kernel = kernel / (kernel.std(axis=(0, 1, 2)) + 1e-5)
    x = functional.conv2d(same(x, kernel.shape[0], stride, 0.0), torch.tensor(kernel.transpose(3, 2, 0, 1)), stride=stride)
    groups = x.reshape(len(x), 32, -1)
    x = ((groups - groups.mean(2, keepdim=True)) / (groups.var(2, keepdim=True, correction=0) + 1e-6).sqrt()).reshape(x.shape)
    return x * torch.tensor(arrays[f"{norm}/scale"].reshape(1, -1, 1, 1)) + torch.tensor(arrays[f"{norm}/bias"].reshape(1, -1, 1, 1))


def feature_map(x: torch.Tensor, arrays: dict, layers: tuple[int, ...]) -> torch.Tensor:
    x = standard_convolution(x, arrays, "conv_root", "gn_root", 2).relu()
    x = functional.max_pool2d(same(x, 3, 2, float("-inf")), 3, 2)
    for stage, count in enumerate(layers):
        for unit in range(count):
            name, stride = f"block{stage + 1}/unit{unit + 1}", 2 if stage and not unit else 1
            y = standard_convolution(x, arrays, f"{name}/conv1", f"{name}/gn1").relu()
            y = standard_convolution(y, arrays, f"{name}/conv2", f"{name}/gn2", stride).relu()
            y = standard_convolution(y, arrays, f"{name}/conv3", f"{name}/gn3")
            x = (y + (x if unit else standard_convolution(x, arrays, f"{name}/conv_proj", f"{name}/gn_proj", stride))).relu()
    return x


HYBRIDS = {
    "two_stages": ((1, 2), (2, 2), (1, 1), (16, 16), False),
    "rectangle": ((2, 1, 1), (2, 3), (1, 1), (32, 48), True),
    "root_alone": ((), (3, 2), (2, 2), (24, 16), True),
}


@pytest.mark.parametrize(("layers", "grid", "patch", "size", "flat"), HYBRIDS.values(), ids=HYBRIDS)
def test_hybrids(layers, grid, patch, size, flat):
    arrays = hybrid(layers, grid, patch, flat)
    model = from_weights(arrays, "google", image_size=size)
    assert (model.tokenizer.layers, model.grid.shape, model.tokenizer.standardisation) == (layers, grid, "google")
    x = images(*size)
    tokens = patches(feature_map(torch.tensor(x), arrays, layers).numpy(), arrays)
    agree(logits(model, x), compute(arrays, x, new=False, tokens=tokens))

"""Packing: one row of real tokens gives what the padded batch gives."""

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention

import sigvit
from sigvit.model import transformer
from sigvit.model.encoder import Encoder, attention
from sigvit.model.packing import Packing
from sigvit.model.rotary import Rotation
from sigvit.tokenizers import ElectrodeTimePatches, collate_images

COUNTS = [5, 0, 11, 5, 1, 7]
SINGLE, DOUBLE = 1e-5, 1e-12  # sums over more (zero) terms, in another order: float32 and float64


def mask_of(counts: list[int], scattered: bool = False) -> torch.Tensor:
    mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    order = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)).argsort(1)
    return mask.gather(1, order) if scattered else mask


def encoder_of(**choices) -> Encoder:
    torch.manual_seed(0)
    return Encoder(width=12, depth=3, heads=2, mlp_width=17, **choices).double()


def rotation_of(batch: int, tokens: int) -> Rotation:
    angles = torch.randn(batch, 2, tokens, 3, dtype=torch.float64)
    return Rotation(angles.cos(), angles.sin())


@pytest.mark.parametrize("scattered", [False, True])
def test_packing_is_inverted_by_unpacking(scattered):
    mask = mask_of(COUNTS, scattered)
    packing, values = Packing(mask), torch.randn(6, 11, 3)
    row = packing.pack(values)
    assert row.shape == (1, sum(COUNTS), 3)
    assert torch.equal(packing.unpack(row), values.where(mask[..., None], 0.0))
    assert packing.padding == pytest.approx(1 - 29 / 66)
    assert sorted(packing.lengths) == [1, 5, 5, 7, 11]


@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize(("kernel", "width"), [("equal length", 16), ("blocks", 16), ("blocks", 6)])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_attention_within_samples_is_that_of_the_padded_batch(kernel, width, scattered):
    mask = mask_of(COUNTS, scattered)
    packing = Packing(mask)
    padded = [torch.randn(6, 2, 11, width) for _ in range(3)]
    row = [packing.pack(heads.transpose(1, 2).flatten(2)).unflatten(2, (2, width)).transpose(1, 2) for heads in padded]

    def flex(query, key, value, **given):
        assert query.shape[-1] == key.shape[-1] == value.shape[-1] >= 16, "CUDA's kernel takes no narrower heads"
        return flex_attention(query, key, value, **given)

    # Without a compiler FlexAttention computes every score: what it means is the same, which is what can be seen without a GPU.
    found = packing.by_equal_length(*row) if kernel == "equal length" else packing.by_blocks(*row, flex)
    expected = packing.pack(attention(*padded, mask).transpose(1, 2).flatten(2))
    torch.testing.assert_close(found.transpose(1, 2).flatten(2), expected, rtol=SINGLE, atol=SINGLE)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash attention of variable lengths runs on a GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_gpus_kernels_give_the_same(dtype):
    packing = Packing(mask_of(COUNTS).cuda())
    row = [torch.randn(1, 2, sum(COUNTS), 16, device="cuda", dtype=dtype) for _ in range(3)]
    torch.testing.assert_close(packing.attend(*row), packing.by_equal_length(*row), rtol=2e-2, atol=2e-2)  # half precision


@pytest.mark.parametrize("outputs", [None, slice(0, 1), slice(1, None)])
@pytest.mark.parametrize("rotated", [False, True])
def test_the_encoder_gives_the_same_answers_and_gradients(outputs, rotated):
    encoder, mask = encoder_of(layer_scale=0.3), mask_of([5, 3, 11, 5, 1, 7])
    x, rotate = torch.randn(6, 11, 12, dtype=torch.float64, requires_grad=True), rotation_of(6, 11) if rotated else None
    tokens = outputs or slice(None)
    answers = []
    for packing in (None, Packing(mask)):
        found = encoder(x, mask, outputs, rotate=rotate, packing=packing)[mask[:, tokens]]
        answers.append((found, *torch.autograd.grad(found.square().sum(), (x, *encoder.parameters()))))
    for padded, packed in zip(*answers, strict=True):
        torch.testing.assert_close(packed, padded, rtol=DOUBLE, atol=DOUBLE)


def test_neighbours_in_the_row_have_exactly_no_influence():
    encoder, mask = encoder_of(), mask_of([2, 3, 1])
    x = torch.randn(3, 3, 12, dtype=torch.float64)
    found = torch.autograd.functional.jacobian(lambda x: encoder(x, mask, packing=Packing(mask)), x)
    for sample in range(3):
        own = found[sample, mask[sample], :, sample]
        assert (own[..., ~mask[sample], :] == 0).all()
        assert (own[..., mask[sample], :] != 0).all()
        assert (found[sample, :, :, [other for other in range(3) if other != sample]] == 0).all()


def test_dropout_and_stochastic_depth_are_drawn_for_each_sample():
    mask = mask_of([3, 5, 4])
    packing, x = Packing(mask), torch.ones(1, 12, 7)
    torch.manual_seed(0)
    assert packing.draw(x, 0.2).unique().tolist() == [0.0, 1.25]
    whole = torch.stack([packing.draw(torch.ones(1, 1, 1), 0.5)[0, :, 0] for _ in range(50)])
    starts = [0, 3, 7]  # lengths 3, 4 and 5, side by side
    for start, end in zip(starts, [3, 7, 12], strict=True):
        assert (whole[:, start:end] == whole[:, start : start + 1]).all()
    assert not (whole[:, 0] == whole[:, 3]).all()
    encoder = encoder_of(dropout=0.2, stochastic_depth=0.4, checkpointing=True).train()
    answer = encoder(torch.randn(3, 5, 12, dtype=torch.float64), mask, packing=packing)
    answer.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("positions", ["coordinates", "rotary"])
@pytest.mark.parametrize("pool", ["class", "mean", "map"])
def test_a_mixed_batch_packed_and_padded_gives_the_same_logits(pool, positions, monkeypatch):
    torch.manual_seed(0)
    tokenizer = ElectrodeTimePatches(3, 1, 20, 10, 24, names=["C3", "Cz", "C4"], sampling_rate=100.0)
    model = sigvit.signal_vit(3, 60, 100.0, 3, tokenizer, positions=positions, heads=2, pool=pool, registers=1).eval()
    torch.nn.init.normal_(model.head.weight)
    names = ["Fp1", "Cz", "T7", "O2", "P3", "FC4", "my sensor"]
    recordings = [(torch.randn(k, 30 + 17 * k), {"ch_names": names[:k], "sfreq": 100.0, "bads": names[1:2] if k > 2 else []}) for k in (1, 7, 3, 3)]
    batch = sigvit.collate_windows(recordings)
    assert model.packing(model.embed(batch)) is not None
    with torch.no_grad():
        packed, tokens = model(batch), model.encode(batch)
        monkeypatch.setattr(transformer, "WORTH_PACKING", 2.0)
        assert model.packing(model.embed(batch)) is None
        torch.testing.assert_close(packed, model(batch), rtol=SINGLE, atol=SINGLE)
        other = model.encode(batch)
        torch.testing.assert_close(tokens.values[tokens.mask], other.values[other.mask], rtol=SINGLE, atol=SINGLE)


def test_images_of_several_sizes_are_packed_too():
    model = sigvit.vit("Ti/8", 32, 3, depth=2, width=24, heads=2, positions="rotary").eval()
    torch.nn.init.normal_(model.head.weight)
    images = [torch.randn(3, *size) for size in ((32, 32), (8, 16), (24, 8))]
    assert model.packing(model.embed(collate_images(images))) is not None
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in images])
        torch.testing.assert_close(model(collate_images(images)), alone, rtol=SINGLE, atol=SINGLE)

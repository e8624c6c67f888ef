"""Padding has exactly zero Jacobian, whatever the batch's company."""

import pytest
import torch
from torch import nn

import sigvit
from sigvit.tokenizers import ConvStem, ElectrodeTimePatches, ImagePatches, TimeStepTokens

TOKENIZERS = {
    "one electrode": lambda: ElectrodeTimePatches(4, 1, window=5, stride=3, width=8),
    "two electrodes": lambda: ElectrodeTimePatches(4, 2, window=5, stride=5, width=8, leftover="pad"),
    "all electrodes": lambda: ElectrodeTimePatches(4, "all", window=5, stride=3, width=8),
    "time steps": lambda: TimeStepTokens(4, window=3, width=8, leftover="pad"),
    "convolutions, ELU": lambda: ConvStem(4, 5, kernel=3, pool=7, stride=2, width=8, leftover="pad"),
    "convolutions, power": lambda: ConvStem(4, 5, kernel=3, pool=7, stride=2, width=8, activation="log_power", leftover="pad"),
}
POOLS = ["class", "mean", "map"]


def model_of(tokenizer: str, pool: str, positions: str = "sincos") -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    model = sigvit.signal_vit(4, 23, num_classes=2, tokenizer=TOKENIZERS[tokenizer](), heads=2, pool=pool, registers=1, positions=positions)
    nn.init.normal_(model.head.weight)
    return model.double().eval()


def jacobian(model: nn.Module, signal: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(batch, classes, *signal's shape)."""
    return torch.autograd.functional.jacobian(lambda x: model(x, mask), signal)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_padded_samples_have_exactly_no_influence(tokenizer, pool):
    model = model_of(tokenizer, pool)
    recordings = torch.randn(3, 4, 23, dtype=torch.float64)
    mask = torch.ones(3, 4, 23, dtype=torch.bool)
    mask[0, :, 13:] = mask[1, 2] = mask[1, 0, 7:11] = False
    found = jacobian(model, recordings, mask)
    for sample in range(3):
        own = found[sample, :, sample]
        assert (own[:, ~mask[sample]] == 0).all()
        length = 13 if sample == 0 else 23
        end = length - (length - 5) % 3 if tokenizer in ("one electrode", "all electrodes") else length
        assert (own[..., :end][:, mask[sample][..., :end]] != 0).all()
        assert (found[sample, :, [other for other in range(3) if other != sample]] == 0).all()


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_what_lies_in_the_padding_does_not_matter_even_nan(tokenizer, pool):
    model = model_of(tokenizer, pool, positions="factorised")
    recordings, mask = torch.randn(2, 4, 23, dtype=torch.float64), torch.rand(2, 4, 23) > 0.4
    mask[0, 1] = False
    spoiled = recordings.where(mask, float("nan"))
    assert torch.equal(model(spoiled, mask), model(recordings, mask))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("length", [10, 12, 13])
@pytest.mark.parametrize("leftover", ["drop", "pad"])
@pytest.mark.parametrize(
    "make",
    [
        lambda leftover: ElectrodeTimePatches(4, 1, 5, 5, 8, leftover),
        lambda leftover: ElectrodeTimePatches(4, 2, 5, 2, 8, leftover),
        lambda leftover: ElectrodeTimePatches(4, "all", 5, 3, 8, leftover),
        lambda leftover: TimeStepTokens(4, 5, 8, leftover),
        lambda leftover: ConvStem(4, 3, 4, 5, 3, 8, leftover=leftover),
    ],
)
def test_a_short_recording_in_longer_company_has_its_own_logits(make, leftover, length, pool):
    torch.manual_seed(0)
    model = sigvit.signal_vit(4, 20, num_classes=3, tokenizer=make(leftover), heads=2, pool=pool, positions="sincos").double().eval()
    nn.init.normal_(model.head.weight)
    short, long = torch.randn(1, 4, length, dtype=torch.float64), torch.randn(1, 4, 20, dtype=torch.float64)
    batch = torch.cat([torch.cat([short, torch.randn(1, 4, 20 - length, dtype=torch.float64)], 2), long])
    mask = (torch.arange(20) < torch.tensor([[[length]], [[20]]])).expand(2, 4, -1)
    # float64: sums over more (zero) terms in another order
    torch.testing.assert_close(model(batch, mask), torch.cat([model(short), model(long)]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("pool", POOLS)
def test_an_electrode_that_is_not_there_is_a_mask_of_electrodes(pool):
    model = model_of("one electrode", pool)
    recordings = torch.randn(2, 4, 23, dtype=torch.float64)
    electrodes = torch.tensor([[True, True, False, True], [True, True, True, True]])
    by_electrode, by_sample = model(recordings, electrodes), model(recordings, electrodes[..., None].expand(-1, -1, 23))
    assert torch.equal(by_electrode, by_sample)
    assert model.tokenizer(recordings, electrodes).mask.sum().item() == 7 * 7


@pytest.mark.parametrize("pool", POOLS)
def test_padded_pixels_have_exactly_no_influence(pool):
    torch.manual_seed(0)
    model = sigvit.vit("Ti", (12, 15), 3, in_channels=1, patch_size=(4, 5), width=8, depth=2, heads=2, mlp_width=11, pool=pool)
    nn.init.normal_(model.head.weight)
    model = model.double().eval()
    mask = torch.ones(2, 12, 15, dtype=torch.bool)
    mask[0, 8:] = mask[1, :, 7:] = False
    found = jacobian(model, torch.randn(2, 1, 12, 15, dtype=torch.float64), mask)
    for sample in range(2):
        own = found[sample, :, sample, 0]
        assert (own[:, ~mask[sample]] == 0).all()
        assert (own[:, mask[sample]] != 0).all()
    assert isinstance(model.tokenizer, ImagePatches)


@pytest.mark.parametrize("pool", POOLS)
def test_a_mask_that_says_all_is_real_changes_nothing(pool):
    model = model_of("one electrode", pool)
    recordings = torch.randn(2, 4, 23, dtype=torch.float64)
    # float64: attention with and without a mask runs other kernels
    torch.testing.assert_close(model(recordings, torch.ones(2, 4, dtype=torch.bool)), model(recordings), rtol=0, atol=1e-12)

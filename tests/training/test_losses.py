"""Losses against the naive formulas, in float64."""

import pytest
import torch

from sigvit.training.losses import cross_entropy

B, C = 7, 5
EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64, sums of a few dozen terms


def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, mixed targets and class weights."""
    generator = torch.Generator().manual_seed(0)
    logits, weights = torch.randn(B, C, generator=generator, dtype=torch.float64), torch.rand(C, generator=generator, dtype=torch.float64)
    return logits, torch.randn(B, C, generator=generator, dtype=torch.float64).softmax(1), weights


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_softmax_implementation(weighted, smoothing):
    logits, targets, weights = case()
    smoothed = (1 - smoothing) * targets + smoothing / C
    terms = -smoothed * logits.log_softmax(1) * (weights if weighted else 1)
    found = cross_entropy(logits, targets, weights if weighted else None, smoothing)
    torch.testing.assert_close(found, terms.sum() / B, **EXACT)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_implementation_adds_over_classes(weighted, smoothing):
    logits, targets, weights = case()
    smoothed = (1 - smoothing) * targets + smoothing / C
    terms = -(smoothed * logits.sigmoid().log() + (1 - smoothed) * (1 - logits.sigmoid()).log()) * (weights if weighted else 1)
    found = cross_entropy(logits, targets, weights if weighted else None, smoothing, "sigmoid")
    torch.testing.assert_close(found, terms.sum() / B, **EXACT)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_implementation_asks_for_any_share_and_averages_over_classes(weighted, smoothing):
    logits, _, weights = case()
    one_hot = torch.eye(C, dtype=torch.float64)
    targets = 0.3 * one_hot[torch.arange(B) % C] + 0.7 * one_hot[torch.arange(B) // 2]
    smoothed = (1 - smoothing) * (targets > 0).double() + smoothing / C
    terms = -(smoothed * logits.sigmoid().log() + (1 - smoothed) * (1 - logits.sigmoid()).log()) * (weights if weighted else 1)
    found = cross_entropy(logits, targets, weights if weighted else None, smoothing, "binary")
    torch.testing.assert_close(found, terms.mean(), **EXACT)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "binary"])
def test_the_mean_over_equal_shares_is_the_mean_over_the_batch(kind):
    logits, targets, weights = case()
    shares = [cross_entropy(logits[rows], targets[rows], weights, 0.1, kind) for rows in torch.arange(6).chunk(3)]
    torch.testing.assert_close(torch.stack(shares).mean(), cross_entropy(logits[:6], targets[:6], weights, 0.1, kind), **EXACT)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "binary"])
def test_bfloat16_logits_lose_nothing_more(kind):
    logits, targets, _ = case()
    coarse = logits.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = cross_entropy(coarse, targets.float(), kind=kind)
    # The loss of the rounded logits, computed in float32.
    torch.testing.assert_close(found.double(), cross_entropy(coarse.double(), targets, kind=kind), rtol=1e-6, atol=1e-6)


def test_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match=r"logits of shape \(7, 5\) for targets of shape \(7, 3\)"):
        cross_entropy(torch.zeros(B, C), torch.zeros(B, 3))


@pytest.mark.parametrize("kind", ["bce", "Softmax", ""])
def test_another_kind_is_refused(kind):
    with pytest.raises(ValueError, match=f"kind is '{kind}'; there are 'softmax', 'sigmoid', 'binary'"):
        cross_entropy(torch.zeros(B, C), torch.zeros(B, C), kind=kind)

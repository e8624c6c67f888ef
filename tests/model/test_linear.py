"""LayerNorm of stacked models: what each would compute alone, there and back."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sigvit.model.linear import StackedNorm, layer_norm

K, BATCH, TOKENS, WIDTH, EPS = 3, 5, 7, 11, 1e-6


@pytest.fixture(params=["shared calls", "a call for each model"])
def calls(request, monkeypatch):
    monkeypatch.setattr("sigvit.model.linear.OWN_CALL", 1 if request.param.startswith("a") else 2**16)


def stacked(dtype=torch.float64):
    """Inputs of an offset and a scale of their own, and norms whose weights are no ones."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((K, BATCH, TOKENS, WIDTH), (K, WIDTH), (K, WIDTH))
    x, weight, bias = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return [each.to(dtype).requires_grad_() for each in (3 * x + 2, 1 + weight / 2, bias)]


@pytest.mark.usefixtures("calls")
def test_each_model_gets_what_torchs_norm_gives_it_alone():
    x, weight, bias = stacked()
    found = StackedNorm.apply(x, weight, bias, EPS)
    alone = torch.stack([functional.layer_norm(*each, eps=EPS) for each in zip(x, [(WIDTH,)] * K, weight, bias, strict=True)])
    # float64's roundings of sums of 385 terms.
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-13)
    towards = torch.randn(alone.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for ours, torchs in zip(*(torch.autograd.grad(each, (x, weight, bias), towards) for each in (found, alone)), strict=True):
        torch.testing.assert_close(ours, torchs, rtol=0, atol=1e-12)


@pytest.mark.usefixtures("calls")
def test_a_way_back_that_is_asked_twice_answers_the_same():
    told = stacked()
    found = StackedNorm.apply(*told, EPS)
    once, again = (torch.autograd.grad(found.square().sum(), told, retain_graph=True) for _ in range(2))
    assert all(map(torch.equal, once, again))


@pytest.mark.usefixtures("calls")
def test_a_gradient_that_is_one_number_everywhere_is_taken_as_any_other():
    told = stacked()
    spread = torch.autograd.grad(StackedNorm.apply(*told, EPS).sum(), told)  # its gradient has strides of zero
    laid_out = torch.autograd.grad(StackedNorm.apply(*told, EPS), told, torch.ones(K, BATCH, TOKENS, WIDTH, dtype=torch.float64))
    for ours, others in zip(spread, laid_out, strict=True):
        torch.testing.assert_close(ours, others, rtol=0, atol=1e-13)


def test_rows_of_one_number_are_the_bias():
    x, weight, bias = stacked(torch.float32)
    found = StackedNorm.apply(torch.full_like(x, 7.0), weight, bias, EPS)
    assert torch.equal(found, bias[:, None, None].expand_as(found))


def test_numbers_of_another_kind_than_the_weights_go_torchs_way():
    x, weight, bias = stacked(torch.float32)
    norm = nn.LayerNorm(WIDTH, EPS)
    norm.weight, norm.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    assert layer_norm(x, norm).grad_fn.name() == "StackedNormBackward"
    assert layer_norm(x.bfloat16(), norm).grad_fn.name() == "AddcmulBackward0"

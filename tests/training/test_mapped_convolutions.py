"""Convolutions that are mapped over models are those of each model by itself, there and back."""

import pytest
import torch
from torch.nn import functional

from sigvit.training.mapped_convolutions import MappedConvolutions, OneByOne


def inputs() -> list[torch.Tensor]:
    return [torch.randn(*shape, requires_grad=True) for shape in ((3, 2, 5, 41), (3, 7, 5, 11), (3, 7))]


def test_each_model_has_the_bits_that_it_has_alone():
    signals, filters, offsets = stacked = inputs()
    with MappedConvolutions():
        found = torch.vmap(lambda *own: functional.conv1d(*own, stride=2))(*stacked)
    expected = torch.stack([functional.conv1d(*own, stride=2) for own in zip(*stacked, strict=True)])
    assert torch.equal(found, expected)
    weights = torch.randn_like(found)
    gradients = torch.autograd.grad((found * weights).sum(), [signals, filters, offsets])
    for ours, theirs in zip(gradients, torch.autograd.grad((expected * weights).sum(), stacked), strict=True):
        assert torch.equal(ours, theirs)


def test_what_models_share_is_read_by_all():
    signals, filters, _ = inputs()
    with MappedConvolutions():
        found = torch.vmap(functional.conv1d, (0, None))(signals, filters[0])
        moved = torch.vmap(functional.conv1d, (1, 0))(signals.transpose(0, 1).contiguous(), filters)
    assert torch.equal(found, torch.stack([functional.conv1d(each, filters[0]) for each in signals]))
    assert torch.equal(moved, torch.stack([functional.conv1d(*own) for own in zip(signals, filters, strict=True)]))


@pytest.mark.parametrize("trained", [(0,), (1, 2), (0, 1, 2)])
def test_where_nothing_is_mapped_the_way_back_is_torchs(trained):
    signal, filters, offset = (each[0].detach() for each in inputs())
    own = [each.requires_grad_(place in trained) for place, each in enumerate((signal, filters, offset))]
    with MappedConvolutions():
        found = functional.conv1d(*own, 2)
    expected = functional.conv1d(*own, 2)
    assert torch.equal(found, expected)
    asked = [own[place] for place in trained]
    for ours, theirs in zip(torch.autograd.grad(found.sum(), asked), torch.autograd.grad(expected.sum(), asked), strict=True):
        assert torch.equal(ours, theirs)


def test_numbers_that_are_no_tensors_pass_through():
    assert torch.vmap(lambda each: OneByOne.apply(torch.roll, each, 1, 0))(torch.arange(6).view(2, 3)).tolist() == [[2, 0, 1], [5, 3, 4]]

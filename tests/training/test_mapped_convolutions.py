"""Convolutions that are mapped over models are those of each model by itself, there and back."""

import torch
from torch import nn
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


def test_layers_of_torch_are_mapped_and_may_name_their_arguments():
    layer, signals = nn.Conv2d(5, 7, (3, 2), stride=(2, 1), padding=(1, 0)), torch.randn(3, 2, 5, 11, 13)
    with MappedConvolutions():
        found = torch.vmap(layer)(signals)
        named = torch.vmap(lambda own: functional.conv2d(own, weight=layer.weight, bias=layer.bias, stride=(2, 1), padding=(1, 0)))(signals)
    assert torch.equal(found, torch.stack([layer(each) for each in signals]))
    assert torch.equal(named, found)


def test_where_nothing_is_mapped_torch_is_called_with_all_its_derivatives():
    signal, filters, offset = (each[0].detach().double().requires_grad_() for each in inputs())
    with MappedConvolutions():
        assert torch.autograd.gradgradcheck(lambda *own: functional.conv1d(own[0], own[1], bias=own[2], stride=3), (signal, filters, offset))


def test_mapped_convolutions_have_second_derivatives():
    stacked = [each.detach().double()[:2].requires_grad_() for each in inputs()]
    with MappedConvolutions():
        assert torch.autograd.gradgradcheck(lambda *own: torch.vmap(functional.conv1d)(*own), stacked)


def test_numbers_that_are_no_tensors_pass_through():
    assert torch.vmap(lambda each: OneByOne.apply(torch.roll, each, 1, 0))(torch.arange(6).view(2, 3)).tolist() == [[2, 0, 1], [5, 3, 4]]

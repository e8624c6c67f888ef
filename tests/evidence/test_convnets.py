"""The convolutional baselines in stacks: grouped convolutions and each model's own statistics give what one model gives."""

import copy
from dataclasses import replace

import pytest
import torch

from sigvit.evidence.convnets import EEGNet, ShallowConvNet
from sigvit.training.group import Group
from sigvit.training.many import Member, train_many
from sigvit.training.member import train_alone
from sigvit.training.member_draws import MemberDraws
from sigvit.training.recipe import Recipe

E, S, N = 5, 211, 61
RECIPE = Recipe(steps=20, batch_size=11, validate_every=4, warmup_steps=0, ema_decay=0.0, weight_decay=0.0, learning_rate=1e-3, dtype="float64")


def members(network) -> list[Member]:
    """Of unequal folds, dropout, rates, averages and validation parts."""
    generator = torch.Generator().manual_seed(0)
    values, targets = torch.randn(N, E, S, generator=generator, dtype=torch.float64), torch.arange(N) % 3
    values[:, 1] += targets[:, None]
    recipes = [RECIPE, replace(RECIPE, ema_decay=0.9), replace(RECIPE, learning_rate=3e-3, patience=1)]
    made = []
    for seed, recipe in enumerate(recipes):
        torch.manual_seed(seed)
        rest = slice(41 + 2 * seed, None)
        validation = (values[rest], (targets[rest] + seed) % 3) if seed != 1 else None
        made.append(Member(network(E, S, 3, 128.0).double(), values[seed : 41 + 2 * seed], targets[seed : 41 + 2 * seed], recipe, seed, 3, None, validation))
    return made


@pytest.mark.parametrize("network", [EEGNet, ShallowConvNet])
def test_stacked_networks_equal_their_serial_twins(network):
    stacked = members(network)
    serial = [replace(member, model=copy.deepcopy(member.model)) for member in stacked]
    histories, expected = train_many(stacked), [train_alone(twin) for twin in serial]
    for member, twin, history, entries in zip(stacked, serial, histories, expected, strict=True):
        assert [entry["step"] for entry in history] == [entry["step"] for entry in entries]
        for name, tensor in twin.model.state_dict().items():
            # 20 steps of AdamW in float64; the contract's bound.
            torch.testing.assert_close(member.model.state_dict()[name], tensor, rtol=0, atol=1e-10)


@pytest.mark.parametrize("network", [EEGNet, ShallowConvNet])
def test_no_stacked_network_has_any_influence_on_another(network):
    group = Group(members(network))
    group.stack.weights.normal_()
    signal = torch.randn(3, 7, E, S, dtype=torch.float64, requires_grad=True)
    logits = group.stack.logits(signal, MemberDraws([0, 1, 2], [0, 0, 0]))
    for k in range(3):
        (gradient,) = torch.autograd.grad(logits[k].square().sum(), signal, retain_graph=True)
        assert [bool(each.any()) for each in gradient] == [other == k for other in range(3)]


@pytest.mark.parametrize("network", [EEGNet, ShallowConvNet])
def test_a_silent_nan_stays_in_its_network(network):
    together = members(network)
    twin = replace(together[0], model=copy.deepcopy(together[0].model))
    spoiled = together[1].values.clone()
    spoiled[3] = float("nan")
    with pytest.raises(ValueError, match="spoiled: The loss became nan"):
        train_many([together[0], replace(together[1], values=spoiled, name="spoiled")])
    train_alone(twin)
    for name, tensor in twin.model.state_dict().items():
        torch.testing.assert_close(together[0].model.state_dict()[name], tensor, rtol=0, atol=1e-10)  # as above

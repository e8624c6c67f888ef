"""The convolutional baselines: EEGNet's products are the paper's convolutions, and stacks give what one model gives."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from sigvit.evidence.convnets import EEGNet, ShallowConvNet, bounded_rows
from sigvit.training.group import Group
from sigvit.training.many import Member, Plan, is_stackable, train_many
from sigvit.training.member import train_alone
from sigvit.training.member_draws import MemberDraws
from sigvit.training.recipe import Recipe

E, S, N = 5, 211, 61
# Sums of up to some ten thousand products in float64, in another order.
SUMS = 1e-12
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


def as_in_the_paper(network: EEGNet) -> nn.Sequential:
    """Layer by layer, with the same weights and statistics."""
    length = network.temporal.kernel_size[1]
    return nn.Sequential(
        nn.ZeroPad2d(((length - 1) // 2, length // 2, 0, 0)),
        network.temporal,
        network.temporal_norm,
        network.spatial,
        network.spatial_norm,
        nn.ELU(),
        nn.AvgPool2d((1, network.pool)),
        nn.ZeroPad2d((7, 8, 0, 0)),
        network.depthwise,
        network.pointwise,
        network.separable_norm,
        nn.ELU(),
        nn.AvgPool2d((1, network.second_pool)),
        nn.Flatten(),
    )


# The second one's filters of half a second are longer than its signals, the third works at a third of its rate.
@pytest.mark.parametrize(("samples", "rate"), [(S, 128.0), (23, 128.0), (S, 400.0)])
def test_eegnet_is_the_papers_convolutions(samples, rate):
    torch.manual_seed(0)
    network = EEGNet(E, samples, 3, rate, dropout=0.0).double().requires_grad_()  # also of the offset that isn't trained
    twin = copy.deepcopy(network)
    for parameter in [*network.temporal_norm.parameters(), *twin.temporal_norm.parameters()]:
        nn.init.uniform_(parameter, 0.5, 2.0, generator=torch.Generator().manual_seed(parameter.numel()))
    values = torch.randn(11, E, samples, dtype=torch.float64)
    averaged = functional.avg_pool1d(values, network.decimation)[:, None]
    for _ in range(2):
        logits = network(values)
        expected = functional.linear(as_in_the_paper(twin)(averaged), bounded_rows(twin.head.weight), twin.head.bias)
        torch.testing.assert_close(logits, expected, rtol=0, atol=SUMS)
        gradients, others = (torch.autograd.grad(out.square().sum(), list(of.parameters())) for out, of in ((logits, network), (expected, twin)))
        torch.testing.assert_close(gradients, others, rtol=0, atol=SUMS)
    torch.testing.assert_close(network.state_dict(), twin.state_dict(), rtol=0, atol=SUMS)
    network.eval(), twin.eval()
    expected = functional.linear(as_in_the_paper(twin)(averaged), bounded_rows(twin.head.weight), twin.head.bias)
    torch.testing.assert_close(network(values), expected, rtol=0, atol=SUMS)


@pytest.mark.parametrize("network", [EEGNet, ShallowConvNet])
def test_stacked_networks_equal_their_serial_twins(network):
    stacked = members(network)
    assert all(map(is_stackable, stacked))
    serial = [replace(member, model=copy.deepcopy(member.model)) for member in stacked]
    histories, expected = train_many(stacked, Plan(3)), [train_alone(twin) for twin in serial]
    for member, twin, history, entries in zip(stacked, serial, histories, expected, strict=True):
        assert [entry["step"] for entry in history] == [entry["step"] for entry in entries]
        for name, tensor in twin.model.state_dict().items():
            # 20 steps of AdamW in float64; the contract's bound.
            torch.testing.assert_close(member.model.state_dict()[name], tensor, rtol=0, atol=1e-10)


class Doubled(ShallowConvNet):
    """Somebody's network with the stacked form of another."""

    def forward(self, values):
        return 2 * super().forward(values)


class DoubledInStacksToo(Doubled):
    def forward_stacked(self, values, draw=None):
        return 2 * super().forward_stacked(values, draw)


def hooked() -> nn.Module:
    network = ShallowConvNet(E, S, 3, 128.0)
    network.head.register_forward_hook(lambda layer, inputs, output: 2 * output)
    return network


def normed() -> nn.Module:
    network = ShallowConvNet(E, S, 3, 128.0)
    parametrizations.weight_norm(network.head)
    return network


class DoublingLayer(nn.Linear):
    def forward(self, values):
        return 2 * super().forward(values)


def with_layer(name: str, make) -> nn.Module:
    """One layer is what `make` makes of it."""
    network = ShallowConvNet(E, S, 3, 128.0)
    setattr(network, name, make(getattr(network, name)))
    return network


@pytest.mark.parametrize(
    ("make", "stacked"),
    [
        (lambda: Doubled(E, S, 3, 128.0), False),
        (hooked, False),
        (normed, False),
        (lambda: with_layer("head", lambda head: DoublingLayer(head.in_features, 3)), False),
        (lambda: with_layer("head", lambda head: nn.Sequential(head, nn.Tanh())), False),
        (lambda: with_layer("norm", lambda norm: nn.BatchNorm1d(40, affine=False)), False),
        (lambda: DoubledInStacksToo(E, S, 3, 128.0), True),
    ],
    ids=["forward of its own", "hook", "computed weights", "somebody's layer", "two layers for one", "a layer of other settings", "both of its own"],
)
def test_what_a_stacked_form_does_not_say_is_trained_one_by_one(make, stacked):
    each = members(ShallowConvNet)[0]
    alike = [replace(each, model=make().double(), recipe=replace(each.recipe, steps=3), validation=None) for _ in range(2)]
    assert [is_stackable(member) for member in alike] == [stacked] * 2
    serial = [replace(member, model=copy.deepcopy(member.model)) for member in alike]
    train_many(alike, Plan(2))
    for member, twin in zip(alike, serial, strict=True):
        train_alone(twin)
        for name, tensor in twin.model.state_dict().items():
            # Three steps of AdamW in float64; the contract's bound.
            torch.testing.assert_close(member.model.state_dict()[name], tensor, rtol=0, atol=1e-10)


@pytest.mark.parametrize("network", [EEGNet, ShallowConvNet])
def test_stacked_networks_in_float32_predict_as_their_serial_twins(network):
    stacked = [
        replace(each, model=each.model.float(), values=each.values.float(), validation=None, recipe=replace(each.recipe, dtype="float32"))
        for each in members(network)
    ]
    serial = [replace(member, model=copy.deepcopy(member.model)) for member in stacked]
    train_many(stacked, Plan(3))
    for member, twin in zip(stacked, serial, strict=True):
        train_alone(twin)
        with torch.no_grad():
            # The contract's bound on logits: what rounding in another order makes of 20 steps in float32.
            torch.testing.assert_close(member.model(member.values), twin.model(member.values), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("network", "offset"), [(EEGNet, "temporal_norm.bias"), (ShallowConvNet, "temporal.bias")])
def test_an_offset_that_batch_norm_takes_out_again_is_not_trained(network, offset):
    torch.manual_seed(0)
    network = network(E, S, 3, 128.0, dropout=0.0).double()
    values = torch.randn(7, E, S, dtype=torch.float64)
    before = network(values)
    with torch.no_grad():
        network.get_parameter(offset).add_(3.0)
    # Offsets of a few units, in sums of a thousand numbers in float64.
    torch.testing.assert_close(network(values), before, rtol=0, atol=1e-10)
    assert [name for name, parameter in network.named_parameters() if not parameter.requires_grad] == [offset]


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
        train_many([together[0], replace(together[1], values=spoiled, name="spoiled")], Plan(2))
    train_alone(twin)
    for name, tensor in twin.model.state_dict().items():
        torch.testing.assert_close(together[0].model.state_dict()[name], tensor, rtol=0, atol=1e-10)  # as above

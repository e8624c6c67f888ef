"""Optimisers: the published updates, who decays, whose rate is smaller; and the moving average."""

import math

import pytest
import torch
from torch import nn

import sigvit
from sigvit.training.optimizer import MovingAverage, layer_factors, make_optimizer, parameter_groups, set_learning_rate
from sigvit.training.recipe import Recipe

RATE, DECAY = 0.1, 0.3


def one_step(recipe: Recipe, start: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """A matrix after the first update."""
    model = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    model.weight.data.copy_(start)
    optimizer = make_optimizer(model, recipe)
    model.weight.grad = gradient.clone()
    optimizer.step()
    return model.weight.detach()


# The first step of Adam is the sign of what it is given (up to eps); the three differ in what decay does.
EXPECTED = {
    "adamw": lambda weight, gradient: weight * (1 - RATE * DECAY) - RATE * gradient.sign(),
    "adam": lambda weight, gradient: weight - RATE * (gradient + DECAY * weight).sign(),
    "sgd": lambda weight, gradient: weight - RATE * (gradient + DECAY * weight),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_first_update_is_the_published_one_with_its_kind_of_decay(name):
    generator = torch.Generator().manual_seed(0)
    weight, gradient = (torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    found = one_step(Recipe(optimizer=name, learning_rate=RATE, weight_decay=DECAY), weight, gradient)
    torch.testing.assert_close(found, EXPECTED[name](weight, gradient), rtol=1e-6, atol=1e-6)  # Adam's eps of 1e-8 against gradients of about 0.1


def test_betas_and_momentum_reach_the_optimiser():
    model = nn.Linear(3, 2)
    assert make_optimizer(model, Recipe(betas=(0.8, 0.95))).defaults["betas"] == (0.8, 0.95)
    assert make_optimizer(model, Recipe(optimizer="sgd", momentum=0.7)).defaults["momentum"] == 0.7


@pytest.mark.parametrize("name", EXPECTED)
def test_one_kernel_updates_all_where_the_device_can(name):
    assert make_optimizer(nn.Linear(3, 2), Recipe(optimizer=name)).defaults["fused"]


def test_biases_are_spared_from_weight_decay():
    groups = make_optimizer(nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)), Recipe(weight_decay=0.7)).param_groups
    assert [[parameter.ndim for parameter in group["params"]] for group in groups] == [[2, 2], [1, 1]]
    assert [group["weight_decay"] for group in groups] == [0.7, 0.0]


def test_frozen_parameters_stay_out_and_nothing_to_train_is_refused():
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    model[0].requires_grad_(False)
    trained = {id(parameter) for group in make_optimizer(model, Recipe()).param_groups for parameter in group["params"]}
    assert trained == {id(parameter) for parameter in model[1].parameters()}
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        make_optimizer(model.requires_grad_(False), Recipe())


def transformer() -> nn.Module:
    return sigvit.vit("Ti/8", image_size=16, num_classes=5, width=6, depth=3, heads=2, class_token=True, registers=2)


def test_layer_decay_falls_by_name_from_the_head_to_the_embedding():
    factors = layer_factors(transformer(), 0.5)
    expected = {"head.": 1.0, "encoder.norm.": 1.0, "encoder.blocks.2.": 0.5, "encoder.blocks.1.": 0.25, "encoder.blocks.0.": 0.125}
    expected |= dict.fromkeys(("tokenizer.", "positions.", "class_token", "register_tokens"), 0.0625)
    for start, factor in expected.items():
        found = {value for name, value in factors.items() if name.startswith(start)}
        assert found == {factor}, start
    assert all(name.startswith(tuple(expected)) for name in factors)


def test_layer_decay_and_schedule_multiply_and_every_parameter_is_in_one_group():
    model = transformer()
    optimizer = make_optimizer(model, Recipe(layer_decay=0.5, weight_decay=0.7))
    set_learning_rate(optimizer, 0.8)
    rates = {id(parameter): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for parameter in group["params"]}
    named = dict(model.named_parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(rates) == len(named)
    assert rates[id(named["head.weight"])] == (0.8, 0.7)
    assert rates[id(named["head.bias"])] == (0.8, 0.0)
    assert rates[id(named["encoder.blocks.1.mlp.inner.weight"])] == (0.2, 0.7)
    assert rates[id(named["class_token"])] == (0.05, 0.0)


class Compiled(nn.Module):
    """What torch.compile's wrapper is to the names of parameters; a real one loads a compiler, for seconds."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._orig_mod = model


@pytest.mark.parametrize(
    "wrap", [Compiled, pytest.param(torch.compile, marks=[pytest.mark.slow, pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")])]
)
def test_a_compiled_model_s_parameters_decay_and_learn_as_the_model_s_own(wrap):
    model, recipe = transformer(), Recipe(layer_decay=0.5, weight_decay=0.7)
    own, compiled = ([(list(map(id, group.pop("params"))), group) for group in parameter_groups(each, recipe)] for each in (model, wrap(model)))
    assert compiled == own
    assert len(own) > 4


def test_layer_decay_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"layer_decay is 0\.5, but Linear has no encoder\.blocks"):
        make_optimizer(nn.Linear(3, 2), Recipe(layer_decay=0.5))


def test_moving_average_equals_its_formula_and_exchanging_twice_changes_nothing():
    model = nn.Linear(3, 1, bias=False)
    start = model.weight.detach().clone()
    average = MovingAverage(model, 0.9)
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(step=1000)
    average.exchange()
    torch.testing.assert_close(model.weight.detach(), 0.9 * start + 0.1 * (start + 1))
    average.exchange()
    torch.testing.assert_close(model.weight.detach(), start + 1)


def test_early_steps_of_the_moving_average_count_more():
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    model.weight.data.fill_(0.0)
    average = MovingAverage(model, 0.999)
    model.weight.data.fill_(1.0)
    average.update(step=0)
    assert math.isclose(average.averages[0].item(), 0.9)


def test_without_a_decay_there_is_no_average_to_keep():
    model = nn.Linear(3, 2)
    average, before = MovingAverage(model, 0.0), model.weight.detach().clone()
    average.update(step=5)
    average.exchange()
    assert average.averages == []
    assert torch.equal(model.weight, before)

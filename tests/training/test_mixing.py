"""Mixing: values and targets are shared alike, draws are a function of seed and step, and a share of the batch mixes as the whole does."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sigvit.training.mixing import Draws, draw_mixing, mix, outside_box
from sigvit.training.recipe import Recipe

B, C = 13, 3
PLACES = st.floats(0, 1, exclude_max=True)
SHAPES = {"images": (5, 17, 11), "recordings": (5, 31)}
RECIPES = {
    "mixup": Recipe(mixup=0.7),
    "cutmix": Recipe(cutmix=1.0),
    "both": Recipe(mixup=0.8, cutmix=1.0),
    "both, half of the samples": Recipe(mixup=0.8, cutmix=1.0, mixing_probability=0.5),
}


def batch(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Samples that are constant, each with its own number; its own target; and the neighbour as partner."""
    numbers = torch.arange(1.0, B + 1, dtype=torch.float64)
    return numbers.view(-1, *[1] * len(shape)).expand(-1, *shape).clone(), torch.eye(B, dtype=torch.float64), (torch.arange(B) + 1) % B


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_targets_hold_each_samples_share_of_the_values(recipe, shape):
    values, targets, partner = batch(shape)
    mixed, shares = mix(values, targets, partner, draw_mixing(B, recipe, 0, 5))
    own = shares.diagonal()
    torch.testing.assert_close(shares.sum(1), torch.ones(B, dtype=torch.float64))
    numbers = torch.arange(1.0, B + 1, dtype=torch.float64)
    expected = own * numbers + (1 - own) * numbers[partner]
    torch.testing.assert_close(mixed.flatten(1).mean(1), expected, rtol=1e-12, atol=0)  # float64 means of constants
    assert (own < 1).sum() >= B // 3


def test_with_both_some_samples_are_blended_and_some_are_cut():
    values, targets, partner = batch(SHAPES["images"])
    mixed, _ = mix(values, targets, partner, draw_mixing(B, RECIPES["both"], 0, 5))
    kinds = [len(sample.unique()) for sample in mixed]
    assert set(kinds) == {1, 2}


def test_mixing_probability_is_the_share_that_is_mixed():
    drawn = draw_mixing(10_007, RECIPES["both, half of the samples"], 0, 0)
    assert (drawn.own < 1).double().mean().item() == pytest.approx(0.5, abs=0.02)  # four standard errors of 10 007 coins


@pytest.mark.parametrize(("name", "cut"), [("cutmix", 1.0), ("both", 0.5), ("both, half of the samples", 0.5)])
def test_every_sample_is_cut_with_cutmix_alone_and_half_of_them_beside_mixup(name, cut):
    drawn = draw_mixing(10_007, RECIPES[name], 0, 0)
    assert drawn.cut.double().mean().item() == pytest.approx(cut, abs=0.02)  # four standard errors of 10 007 coins
    alone = draw_mixing(10_007, RECIPES["mixup"], 0, 0)
    assert alone.cut is None
    assert alone.own.var().item() == pytest.approx(1 / (4 * (2 * 0.7 + 1)), abs=0.003)  # of Beta(.7, .7); 3.6 standard errors of 10 007 draws


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_draws_are_a_function_of_seed_and_step(recipe):
    first, again, other_step, other_seed = (draw_mixing(B, recipe, seed, step) for seed, step in ((1, 2), (1, 2), (1, 3), (2, 2)))
    assert torch.equal(first.own, again.own)
    assert not torch.equal(first.own, other_step.own)
    assert not torch.equal(first.own, other_seed.own)


def test_nothing_is_drawn_where_nothing_is_mixed():
    assert draw_mixing(B, Recipe(), 0, 0) is None


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_share_of_the_batch_mixes_as_the_whole_does(recipe):
    generator = torch.Generator().manual_seed(0)
    values, targets = torch.randn(12, *SHAPES["images"], generator=generator), torch.rand(12, C, generator=generator)
    draws, neighbour = draw_mixing(12, recipe, 0, 5), torch.arange(12) ^ 1
    whole = mix(values, targets, neighbour, draws)
    for rows in (slice(0, 4), slice(4, 8), slice(8, 12)):
        share = mix(values[rows], targets[rows], torch.arange(4) ^ 1, draws.part(rows))
        assert all(torch.equal(part, all_of_it[rows]) for part, all_of_it in zip(share, whole, strict=True))


def test_an_unmixed_sample_keeps_its_bits():
    values, targets = torch.randn(B, 3, 7), torch.eye(B)
    partner, own = torch.arange(B).flip(0), torch.ones(B, dtype=torch.float64)
    for draws in (Draws(own), Draws(own, torch.ones(B, dtype=torch.bool), torch.rand(B, 2))):
        mixed, shares = mix(values, targets, partner, draws)
        assert torch.equal(mixed, values)
        assert torch.equal(shares, targets)


def test_mixup_never_mixes_a_value_with_another_than_its_partners():
    values = torch.randn(B, 3, 7, dtype=torch.float64, requires_grad=True)
    partner = (torch.arange(B) + 1) % B
    mixed, _ = mix(values, torch.eye(B, dtype=torch.float64), partner, Draws(torch.full((B,), 0.3, dtype=torch.float64)))
    (gradient,) = torch.autograd.grad(mixed[4].sum(), values)
    assert gradient.abs().flatten(1).amax(1).nonzero().flatten().tolist() == [4, 5]


@settings(max_examples=50, deadline=None)
@given(
    own=st.floats(0, 1), row=st.floats(0, 1, exclude_max=True), column=st.floats(0, 1, exclude_max=True), rows=st.integers(1, 19), columns=st.integers(1, 23)
)
def test_the_box_is_never_larger_than_asked_and_lies_round_its_centre(own, row, column, rows, columns):
    centre = torch.tensor([[row, column]], dtype=torch.float64)
    inside = ~outside_box(torch.tensor([own], dtype=torch.float64), centre, (rows, columns))[0]
    assert inside.sum() <= (1 - own) * rows * columns + 1e-9  # the square of a rounded square root
    if inside.any():
        assert inside[int(row * rows), int(column * columns)]


def test_a_box_away_from_the_edges_has_the_size_of_the_paper():
    inside = ~outside_box(torch.tensor([0.75]), torch.tensor([[0.5, 0.5]]), (16, 24))[0]
    assert (inside.any(1).sum(), inside.any(0).sum()) == (8, 12)


def test_draws_are_cut_to_a_share():
    draws = Draws(torch.arange(6.0)).part(slice(2, 4))
    assert draws.own.tolist() == [2.0, 3.0]
    assert draws.cut is None

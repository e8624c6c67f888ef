"""Batches of recordings: pure functions of seed, step and share, whatever is augmented."""

import pytest
import torch

from sigvit.training.batches import RecordingBatches, Share
from sigvit.training.randomness import batch_rows
from sigvit.training.recipe import Recipe

N, E, S, C = 37, 3, 23, 5
RECIPES = {
    "plain": Recipe(batch_size=12),
    "everything": Recipe(batch_size=12, time_shift=0.3, noise=0.2, mixup=0.8, cutmix=1.0, mixing_probability=0.7),
}


def batches(recipe: Recipe, seed: int = 3) -> RecordingBatches:
    values = torch.randn(N, E, S, generator=torch.Generator().manual_seed(0))
    return RecordingBatches(values, torch.arange(N) % C, recipe, seed)


@pytest.mark.parametrize("of", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_shares_one_after_the_other_are_the_whole_batch_bit_for_bit(recipe, of):
    source = batches(recipe)
    shares = [source.batch(7, Share(number, of)) for number in range(of)]
    for whole, parts in zip(source.batch(7), zip(*shares, strict=True), strict=True):
        assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_batch_depends_on_seed_and_step_and_not_on_what_was_asked_before(recipe):
    source, fresh = batches(recipe), batches(recipe)
    for step in (0, 5, 9):
        source.batch(step)
    assert torch.equal(source.batch(4)[0], fresh.batch(4)[0])
    assert not torch.equal(source.batch(4)[0], source.batch(5)[0])
    assert not torch.equal(source.batch(4)[0], batches(recipe, seed=4).batch(4)[0])


def test_targets_belong_to_the_values():
    source = batches(RECIPES["plain"])
    values, targets = source.batch(2)
    rows = batch_rows(N, 12, 3, 2)
    assert torch.equal(values, source.values[rows])
    assert torch.equal(targets.argmax(1), rows % C)


def test_mixed_targets_stay_shares():
    _, targets = batches(RECIPES["everything"]).batch(2)
    torch.testing.assert_close(targets.sum(1), torch.ones(12))
    assert targets.min() >= 0


def test_a_batch_that_cannot_be_cut_equally_is_refused():
    with pytest.raises(ValueError, match="A batch of 12 can't be cut into 5 equal shares"):
        batches(RECIPES["plain"]).batch(0, Share(0, 5))


def test_classes_that_no_window_has_are_counted_when_named():
    assert RecordingBatches(torch.zeros(3, E, S), torch.tensor([0, 1, 0]), Recipe(), 0, n_classes=4).batch(0)[1].shape == (3, 4)

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


def test_of_windows_that_are_not_trained_on_nothing_is_shown():
    """Neither as they are nor in stretches of others of their class."""
    values, trained = torch.arange(float(N)).view(N, 1, 1).expand(N, E, S), torch.arange(1, N, 3)
    source = RecordingBatches(values, torch.arange(N) % C, Recipe(batch_size=12, recombination=0.5), 3, rows=trained)
    shown, targets = source.batch(2)
    assert set(shown.unique().long().tolist()) <= set(trained.tolist())
    assert torch.equal(shown.long() % C, targets.argmax(1)[:, None, None].expand(shown.shape))
    assert len(shown) == len(trained)


def test_windows_are_mixed_with_others_of_the_batch_and_targets_as_they_are():
    classes = torch.arange(N) % C
    source = RecordingBatches(torch.eye(N)[:, None], classes, Recipe(batch_size=12, mixup=0.8), 3)
    partners = []
    for step in (0, 1):  # of one epoch
        shown, targets = source.batch(step)
        rows = batch_rows(N, 12, 3, step)
        # A sample says how much of that window is in the mixture; float32.
        torch.testing.assert_close(targets, shown[:, 0] @ torch.eye(C)[classes])
        found = shown[:, 0, rows].clone().fill_diagonal_(0).nonzero()
        partners.append(dict(found.tolist()))
        assert len(found) > 6, "most have another partner than themselves"
        assert len(set(partners[-1].values())) == len(found)
    assert partners[0] != partners[1]


def test_mixed_targets_stay_shares():
    _, targets = batches(RECIPES["everything"]).batch(2)
    torch.testing.assert_close(targets.sum(1), torch.ones(12))
    assert targets.min() >= 0


def test_a_batch_that_cannot_be_cut_equally_is_refused():
    with pytest.raises(ValueError, match="A batch of 12 can't be cut into 5 equal shares"):
        batches(RECIPES["plain"]).batch(0, Share(0, 5))


def test_classes_that_no_window_has_are_counted_when_named():
    assert RecordingBatches(torch.zeros(3, E, S), torch.tensor([0, 1, 0]), Recipe(), 0, n_classes=4).batch(0)[1].shape == (3, 4)

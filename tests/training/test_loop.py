"""Training: every number is a function of (seed, step); what is shifted, averaged, stopped and refused."""

import pytest
import torch
from torch import nn

from sigvit.training.augment_recordings import add_noise, shift_time
from sigvit.training.batches import RecordingBatches
from sigvit.training.loop import evaluate, train
from sigvit.training.randomness import batch_rows, derive_seed
from sigvit.training.recipe import Recipe

N, E, S = 31, 3, 17


def windows(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes that differ in the mean of the second electrode."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(N) % 2
    values = torch.randn(N, E, S, generator=generator)
    values[:, 1] += targets[:, None]
    return values, targets


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(E * S, 5), nn.GELU(), nn.Dropout(0.3), nn.Linear(5, 2))


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_every_row_comes_once_an_epoch_and_epochs_differ():
    epochs = [torch.cat([batch_rows(21, 7, seed=3, step=3 * epoch + t) for t in range(3)]) for epoch in range(2)]
    assert [sorted(epoch.tolist()) for epoch in epochs] == [list(range(21))] * 2
    assert not torch.equal(*epochs)


def test_a_batch_is_never_larger_than_the_set():
    assert len(batch_rows(5, 32, seed=0, step=9)) == 5


def test_same_seed_same_weights_other_seed_other_weights():
    values, targets = windows()
    recipe = Recipe(steps=13, batch_size=7, time_shift=0.2, noise=0.1, mixup=0.4)
    trained = []
    for seed in (0, 0, 1):
        model = network()
        train(model, RecordingBatches(values, targets, recipe, seed), recipe, seed)
        trained.append(weights(model))
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


def test_training_leaves_the_callers_random_state_alone():
    values, targets = windows()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(E * S, 2))
    torch.manual_seed(5)
    recipe = Recipe(steps=3)
    train(model, RecordingBatches(values, targets, recipe, 0), recipe)
    assert torch.equal(torch.rand(3), expected)


def test_the_class_difference_is_learned():
    values, targets = windows()
    model = network()
    recipe = Recipe(steps=200, learning_rate=1e-2)
    history = train(model, RecordingBatches(values, targets, recipe, 0), recipe)
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert (model(values).argmax(1) == targets).float().mean() > 0.9


def test_validation_chooses_the_weights_and_patience_ends_training():
    values, targets = windows()
    other, other_targets = windows(seed=1)
    model = network()
    recipe = Recipe(steps=3000, learning_rate=3e-2, validate_every=10, patience=3)
    history = train(model, RecordingBatches(values, targets, recipe, 0), recipe, validation=lambda judged: evaluate(judged, other, 1 - other_targets))
    # Labels turned round: the longer it trains the worse it gets, so the first look is the best and patience ends it three looks later.
    assert history[-1]["step"] < 3000
    best = min(entry["validation_loss"] for entry in history)
    with torch.no_grad():
        now = float(nn.functional.cross_entropy(model(other), 1 - other_targets))
    assert now == pytest.approx(best, rel=1e-6)  # the same float32 sums in another batch order


def test_a_loss_that_is_not_finite_stops_with_the_step():
    values, targets = windows()
    values[0, 0, 0] = float("inf")
    recipe = Recipe(steps=5, batch_size=N)
    with pytest.raises(ValueError, match="loss became nan at step 1: "):
        train(network(), RecordingBatches(values, targets, recipe, 0), recipe)


def test_shift_rolls_each_window_by_its_own_amount_and_all_electrodes_alike():
    values = torch.arange(17.0).expand(13, 3, 17)
    shifted = shift_time(values, 5, seed=0, step=7)
    amounts = (values[:, 0, 0] - shifted[:, 0, 0]) % 17
    assert len(amounts.unique()) > 3
    assert all(torch.equal(shifted[i], values[i].roll(int(amounts[i]), 1)) for i in range(13))
    assert ((amounts <= 5) | (amounts >= 12)).all()


def test_augmentation_is_a_function_of_seed_and_step():
    values, _ = windows()
    for augment in (lambda seed, step: shift_time(values, 3, seed, step), lambda seed, step: add_noise(values, 0.5, seed, step)):
        assert torch.equal(augment(1, 2), augment(1, 2))
        assert not torch.equal(augment(1, 2), augment(1, 3))
        assert not torch.equal(augment(1, 2), augment(2, 2))


def test_noise_has_the_deviation_asked_for():
    noise = add_noise(torch.zeros(101, 11, 103), 0.37, seed=0, step=0)
    assert noise.std().item() == pytest.approx(0.37, rel=0.01)  # 114 433 draws: standard error 0.2 %


def test_derived_seeds_fit_a_generator():
    assert all(0 <= derive_seed(seed, "order", step) < 2**63 for seed in range(5) for step in range(5))

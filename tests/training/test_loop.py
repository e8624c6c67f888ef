"""Training: every number is a function of (seed, step); what is shifted, averaged, stopped and refused."""

import copy
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError

import pytest
import torch
from torch import nn
from torch.nn import functional

from sigvit.training.augment_recordings import add_noise, shift_time
from sigvit.training.batches import RecordingBatches
from sigvit.training.loop import train
from sigvit.training.member import validation_loss
from sigvit.training.randomness import batch_rows, derive_seed, seed_dropout
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("block", [torch.no_grad, torch.inference_mode, *(lambda on=on: torch.autocast("cpu", torch.bfloat16, on) for on in (True, False))])
def test_training_is_the_same_in_any_block_of_its_caller(block, dtype):
    recipe, plain, inside = Recipe(steps=5, batch_size=7, mixup=0.4, dtype=dtype), network(), network()
    train(plain, RecordingBatches(*windows(), recipe, 0), recipe)
    with block():
        train(inside, RecordingBatches(*windows(), recipe, 0), recipe)
    assert torch.equal(weights(inside), weights(plain))


def test_a_model_that_was_made_where_nothing_learns_is_refused():
    recipe = Recipe(steps=1, batch_size=7)
    with torch.inference_mode():
        model = network()
    with pytest.raises(ValueError, match=r"made under torch\.inference_mode\(\), so 1\.weight can't learn"):
        train(model, RecordingBatches(*windows(), recipe, 0), recipe)
    train(copy.deepcopy(model), RecordingBatches(*windows(), recipe, 0), recipe)


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


class Meeting(nn.Module):
    """Waits until as many threads as the barrier counts have begun a step, a short while at most."""

    def __init__(self, barrier: Barrier) -> None:
        super().__init__()
        self.barrier = barrier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with suppress(BrokenBarrierError):
            self.barrier.wait(0.2)
        return x


def test_trainings_in_several_threads_end_as_each_does_alone():
    def trained(barrier: Barrier, model: nn.Module, seed: int) -> torch.Tensor:
        recipe = Recipe(steps=3, batch_size=7)
        model = nn.Sequential(Meeting(barrier), copy.deepcopy(model))
        train(model, RecordingBatches(*windows(), recipe, seed), recipe, seed)
        return weights(model)

    start, both = network(), Barrier(2)  # made here: drawing weights is the caller's
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda seed: trained(both, start, seed), (3, 5)))
    for seed, together in zip((3, 5), found, strict=True):
        assert torch.equal(together, trained(Barrier(1), start, seed))


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
    history = train(model, RecordingBatches(values, targets, recipe, 0), recipe, validation=lambda judged: validation_loss(judged, other, 1 - other_targets))
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


def big_network() -> nn.Module:
    """In float64 and without dropout, so that two ways to the same gradient differ by roundings alone."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(E * S, 7), nn.GELU(), nn.Linear(7, 2)).double()


@pytest.mark.parametrize("changes", [{}, {"loss": "sigmoid"}, {"optimizer": "sgd", "mixup": 0.5}, {"optimizer": "adam", "cutmix": 1.0}])
def test_accumulated_parts_give_the_gradient_of_the_whole_batch(changes):
    values, targets = windows()
    trained = []
    for accumulation in (1, 3):
        recipe = Recipe(steps=20, batch_size=21, dtype="float64", accumulation=accumulation, learning_rate=1e-2, **changes)
        model = big_network()
        train(model, RecordingBatches(values.double(), targets, recipe, 0), recipe, class_weights=torch.tensor([0.7, 1.9], dtype=torch.float64))
        trained.append(weights(model))
    # Sums of 21 terms in another order, 20 steps: a few hundred roundings of 1e-16 of numbers below 1.
    torch.testing.assert_close(trained[0], trained[1], rtol=0, atol=1e-12)


def test_every_part_of_an_accumulated_batch_has_dropout_of_its_own():
    seen = []

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(E * S, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            seen.append(functional.dropout(torch.ones(64), 0.5, self.training))
            return self.layer(inputs.flatten(1))

    values, targets = windows()
    recipe = Recipe(steps=2, batch_size=21, accumulation=3)
    train(Spy(), RecordingBatches(values, targets, recipe, 0), recipe)
    assert len({tuple(mask.tolist()) for mask in seen}) == 6


def test_batches_of_ones_own_draw_anew_at_every_step_and_by_the_seed_alone():
    values, targets = windows()
    recipe = Recipe(steps=3, batch_size=7)
    drawn: list[tuple[float, ...]] = []

    class Own(RecordingBatches):
        def batch(self, *arguments):
            drawn.append(tuple(torch.rand(2).tolist()))
            return super().batch(*arguments)

    for process in (5, 11):
        model = network()
        torch.manual_seed(process)
        train(model, Own(values, targets, recipe, 0), recipe)
    assert drawn[:3] == drawn[3:]
    assert len(set(drawn)) == 3


def test_validation_may_wait_for_threads_that_train_and_draws_by_the_seed_alone():
    values, targets = windows()
    recipe = Recipe(steps=2, batch_size=7, validate_every=1)
    drawn: list[float] = []

    def fit(seed: int) -> float:
        train(network(), RecordingBatches(values, targets, recipe, seed), recipe, seed)
        return 1.0

    def validation(model: nn.Module) -> float:
        drawn.append(float(torch.rand(())))
        pool = ThreadPoolExecutor(1)
        try:
            return pool.submit(fit, 1).result(timeout=20)  # two steps take milliseconds; where they hang, no longer than this
        finally:
            pool.shutdown(wait=False)

    for process in (5, 11):
        model = network()
        torch.manual_seed(process)
        train(model, RecordingBatches(values, targets, recipe, 0), recipe, validation=validation)
    assert drawn[:2] == drawn[2:]
    assert len(set(drawn)) == 2


def test_seeding_dropout_is_what_manual_seed_does():
    draws = []
    with torch.random.fork_rng([]):
        for seed in (torch.manual_seed, lambda number: seed_dropout(number, torch.device("cpu"))):
            seed(derive_seed(0, "dropout", 5))
            draws.append(functional.dropout(torch.ones(101), 0.5))
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    "changes", [{"optimizer": "sgd", "schedule": "linear"}, {"schedule": "rsqrt", "loss": "sigmoid"}, {"dtype": "bfloat16", "cutmix": 0.5}]
)
def test_the_class_difference_is_learned_by_other_recipes(changes):
    values, targets = windows()
    recipe = Recipe(steps=150, learning_rate=3e-2, warmup_steps=10, **changes)
    model = network()
    train(model, RecordingBatches(values, targets, recipe, 0), recipe)
    assert (model(values).argmax(1) == targets).float().mean() > 0.8  # chance is half


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights():
    seen = []
    values, targets = windows()
    recipe = Recipe(steps=2, dtype="bfloat16")
    model = network()
    model[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    train(model, RecordingBatches(values, targets, recipe, 0), recipe)
    assert set(seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_model_of_another_number_format_is_refused():
    values, targets = windows()
    recipe = Recipe(steps=2, dtype="float64")
    with pytest.raises(ValueError, match=r"dtype 'float64' trains weights of torch\.float64, but 1\.weight is torch\.float32"):
        train(network(), RecordingBatches(values.double(), targets, recipe, 0), recipe)


def test_another_number_of_classes_is_refused():
    values, targets = windows()
    recipe = Recipe(steps=2, batch_size=5)
    with pytest.raises(ValueError, match=r"logits of shape \(5, 2\) for targets of shape \(5, 7\)"):
        train(network(), RecordingBatches(values, targets, recipe, 0, n_classes=7), recipe)


def test_validation_sees_averaged_weights_in_evaluation_mode_and_training_goes_on_with_its_own():
    values, targets = windows()
    recipe = Recipe(steps=20, batch_size=7, ema_decay=0.9, validate_every=5)
    plain, judged, seen = network(), network(), []

    def look(model: nn.Module) -> float:
        assert not model.training
        assert not torch.is_grad_enabled()
        seen.append(weights(model))
        return -float(len(seen))  # ever better: the last look's weights stay

    train(plain, RecordingBatches(values, targets, recipe, 0), recipe)
    train(judged, RecordingBatches(values, targets, recipe, 0), recipe, validation=look)
    assert torch.equal(weights(plain), weights(judged))
    assert torch.equal(seen[-1], weights(judged))


# Of torch's own, while it imports its compiler.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_training_ends_where_the_plain_one_does():
    values, targets = windows()
    trained = []
    for compiled in (False, True):
        recipe = Recipe(steps=7, batch_size=11, dtype="float64", compile=compiled)
        model = big_network()
        train(model, RecordingBatches(values.double(), targets, recipe, 0), recipe)
        trained.append(weights(model))
    torch.testing.assert_close(trained[0], trained[1], rtol=0, atol=1e-10)  # fused kernels round at other places; Adam divides by small numbers

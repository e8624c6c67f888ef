"""K trainings at once are K trainings one after the other."""

import copy
import pickle
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import sigvit
from sigvit.evidence.convnets import EEGNet
from sigvit.model.scaling import Scaling
from sigvit.tokenizers import CovarianceTokens
from sigvit.training import checkpoint
from sigvit.training.checkpoint import Checkpoints
from sigvit.training.claims import Claims, _place
from sigvit.training.group import Group
from sigvit.training.many import Member, Plan, Snapshots, is_stackable, train_many
from sigvit.training.member import train_alone
from sigvit.training.member_draws import MemberDraws
from sigvit.training.recipe import Recipe
from sigvit.training.snapshots import _newest
from sigvit.training.stacked import Stack

E, S, N = 3, 83, 61
# 20 steps of AdamW in float64: sums of a few hundred products in another order.
SUMS = 1e-10
RECIPE = Recipe(steps=20, batch_size=7, warmup_steps=5, validate_every=4, time_shift=0.2, noise=0.1, mixup=0.5, dtype="float64")


def model(seed: int, **choices) -> nn.Module:
    torch.manual_seed(seed)
    dtype = choices.pop("dtype", torch.float64)
    return sigvit.signal_vit(E, n_times=S, num_classes=3, **{"width": 8, "heads": 2, "dropout": 0.2, "pool": "mean", **choices}).to(dtype)


def windows(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(N) % 3
    values = torch.randn(N, E, S, generator=generator, dtype=torch.float64)
    values[:, 1] += targets[:, None]
    return values.to(dtype), targets


def member(seed: int, rows: slice, recipe: Recipe = RECIPE, validation: slice | None = None, dtype: torch.dtype = torch.float64, **choices) -> Member:
    values, targets = windows(dtype)
    held_out = None if validation is None else (values[validation], targets[validation])
    weights = None if seed % 2 else torch.tensor([1.0, 2.0, 0.5], dtype=dtype)
    return Member(model(seed, dtype=dtype, **choices), values[rows], targets[rows], recipe, seed, 3, weights, held_out, f"member {seed}", f"key{seed}")


def different(**choices) -> list[Member]:
    """Members that differ in all that may differ: data, sizes, seeds, recipes, dropout, validation."""
    return [
        member(0, slice(0, 40), RECIPE, slice(40, 61), **choices),
        member(1, slice(9, 61), replace(RECIPE, learning_rate=1e-3, weight_decay=0.3, label_smoothing=0.0), dropout=0.1, **choices),
        turned_round(member(2, slice(0, 31), replace(RECIPE, ema_decay=0.0, patience=1, learning_rate=3e-2), slice(31, 38), **choices)),
        member(3, slice(30, 61), replace(RECIPE, steps=11, warmup_steps=0, clip_norm=0.1, time_shift=0.0, mixup=0.0), slice(0, 30), dropout=0.0, **choices),
    ]


def turned_round(each: Member) -> Member:
    """With other labels in the validation part, so that the first look is the best and patience ends training."""
    values, targets = each.validation
    return replace(each, validation=(values, (targets + 1) % 3))


def twins(members: list[Member]) -> list[Member]:
    return [replace(each, model=copy.deepcopy(each.model)) for each in members]


def largest_difference(one: nn.Module, other: nn.Module) -> float:
    return max((one.state_dict()[name] - tensor).abs().max().item() for name, tensor in other.state_dict().items())


def assert_equal(members: list[Member], histories: list, serial: list[Member], expected: list) -> None:
    for each, history, twin, entries in zip(members, histories, serial, expected, strict=True):
        assert largest_difference(each.model, twin.model) < SUMS
        assert not each.model.training
        assert [entry["step"] for entry in history] == [entry["step"] for entry in entries]
        for entry, other in zip(history, entries, strict=True):
            # Validation losses are taken in float32.
            assert entry == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize("choices", [{}, {"pool": "map", "registers": 2, "layer_scale": 0.5}, {"stochastic_depth": 0.3, "pool": "class", "representation": 5}])
def test_members_that_differ_in_everything_equal_their_serial_twins(monkeypatch, choices):
    monkeypatch.setattr("sigvit.training.group.LOOK_BATCH", 13)  # of 21, 7 and 30 windows
    members = different(**choices)
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(4)), serial, expected)
    assert expected[2][-1]["step"] < 20, "early stopping should have been on"
    assert len({len(history) for history in expected}) > 1


def test_those_who_wait_take_the_places_of_those_who_end():
    members = different() + [member(seed, slice(seed, 50)) for seed in (4, 5, 6)]
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(3)), serial, expected)


class Idle(sigvit.tokenizers.TimeStepTokens):
    """A tokenizer with a weight that its forward pass never reads."""

    def __init__(self) -> None:
        super().__init__(E, width=8)
        self.idle = nn.Parameter(torch.ones(5, 7))


def test_a_parameter_that_the_loss_does_not_ask_for_is_left_alone_as_by_the_serial_loop(monkeypatch):
    monkeypatch.setattr(Idle, "__module__", "sigvit.tokenizers")  # a stranger's would be trained one by one
    members = [member(seed, slice(seed, 40), tokenizer=Idle()) for seed in range(2)]
    assert all(is_stackable(each) for each in members)
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(2)), serial, expected)
    assert torch.equal(members[0].model.tokenizer.idle, torch.ones(5, 7, dtype=torch.float64))


def test_adam_is_stacked_too():
    members = [replace(each, recipe=replace(each.recipe, optimizer="adam", weight_decay=1e-3, betas=(0.8, 0.95))) for each in different()[:2]]
    assert all(is_stackable(each) for each in members)
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(2)), serial, expected)


def test_other_architectures_and_recipes_without_a_stacked_form_are_trained_too():
    members = [
        member(0, slice(0, 40)),
        member(1, slice(0, 40), depth=1),
        member(2, slice(5, 40), depth=1),
        member(3, slice(0, 40), replace(RECIPE, optimizer="sgd", betas=(0.9, 0.999))),
        member(4, slice(0, 5)),
    ]
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(5)), serial, expected)


class Doubled(nn.Linear):
    """Somebody's own layer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_strangers_layer_in_the_encoder_is_trained_one_by_one():
    members = [member(seed, slice(0, 40)) for seed in range(2)]
    for each in members:
        each.model.encoder.blocks[0].mlp.inner.__class__ = Doubled
    assert not any(is_stackable(each) for each in members)
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members), serial, expected)


def doubled(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
    return 2 * output


def with_a_forward_of_its_own(layer: nn.Linear) -> None:
    layer.forward = lambda x: 2 * nn.Linear.forward(layer, x)


ALTERED = {
    "hook": lambda model: model.encoder.blocks[0].mlp.inner.register_forward_hook(doubled),
    "forward of its own": lambda model: with_a_forward_of_its_own(model.encoder.blocks[0].attention.out),
    "weight norm": lambda model: parametrizations.weight_norm(model.encoder.blocks[0].mlp.outer),
    "spectral norm": lambda model: parametrizations.spectral_norm(model.encoder.blocks[0].attention.qkv),
    "hook on a norm": lambda model: model.encoder.norm.register_forward_hook(doubled),
    "hook on the head": lambda model: model.head.register_forward_hook(doubled),
    "weight norm of the representation": lambda model: parametrizations.weight_norm(model.representation[0]),
    "stranger's head": lambda model: setattr(model, "head", Doubled(5, 3, dtype=torch.float64)),
    "dropout in the head": lambda model: setattr(model, "head", nn.Sequential(nn.Dropout(0.3), model.head)),
    "hook on the model": lambda model: model.register_forward_hook(doubled),
}


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_what_stacked_weights_do_not_say_is_trained_one_by_one(alter):
    recipe = replace(RECIPE, steps=6)
    members, serial = ([member(seed, slice(0, 40), recipe, representation=5) for seed in range(2)] for _ in range(2))
    for each in members + serial:
        torch.manual_seed(each.seed)  # of a new head, and of the vectors that spectral norm begins with
        alter(each.model)
    assert not any(is_stackable(each) for each in members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members), serial, expected)


@pytest.mark.parametrize(
    "layers",
    [lambda: [nn.LogSoftmax(dim=1)], lambda: [nn.Flatten()], lambda: [nn.GELU(), nn.LayerNorm(3, dtype=torch.float64)]],
    ids=["classes", "flattened", "normed"],
)
def test_a_head_of_torchs_layers_is_read_member_by_member(layers):
    recipe = replace(RECIPE, steps=6)
    members = [member(seed, slice(0, 40), recipe) for seed in range(2)]
    for each in members:
        each.model.head = nn.Sequential(each.model.head, *layers())
    assert all(is_stackable(each) for each in members)
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(2)), serial, expected)


def test_the_embeddings_dropout_is_the_models_own_whatever_the_blocks_is():
    """As where somebody trains on without dropout in a block."""
    recipe = replace(RECIPE, steps=6)
    members = [member(seed, slice(0, 40), recipe) for seed in range(2)]
    members[1].model.encoder.blocks[0].dropout = 0.0
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(2)), serial, expected)


class Shifted(sigvit.VisionTransformer):
    """Somebody's model, with a stacked form of its own."""

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return signal.mean((1, 2))[:, None] + self.head.bias

    def forward_stacked(self, signal: torch.Tensor, draw=None) -> torch.Tensor:
        return signal.mean((2, 3))[:, :, None] + self.head.bias[:, None]


def test_a_model_that_brings_its_own_stacked_form_is_trained_by_that():
    members = [member(seed, slice(0, 40), replace(RECIPE, steps=6)) for seed in range(2)]
    for each in members:
        each.model.__class__ = Shifted
    assert all(is_stackable(each) for each in members)
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(2)), serial, expected)


@pytest.mark.parametrize(("chosen", "copied"), [([0, 1, 2], False), ([0, 2], True), ([2, 1, 0], True)])
def test_weights_of_all_members_are_evaluated_without_a_copy(chosen, copied):
    stack = Stack([model(seed) for seed in range(3)])
    weights = 2 * stack.weights
    expected = torch.stack([stack.row(each) for each in [model(seed) for seed in chosen]]) * 2
    with stack.using(weights, chosen):
        assert torch.equal(stack.weights, expected)
        assert (stack.parameters()[0].data_ptr() != weights.data_ptr()) == copied


def test_a_stack_refuses_a_member_whose_weights_do_not_say_all():
    members = [member(seed, slice(0, 40)) for seed in range(2)]
    ALTERED["hook on the head"](members[1].model)
    with pytest.raises(ValueError, match="no stacked form"):
        Group(members)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler loads a part of torch that is on its way out, and looks at .grad of views
def test_compiled_stacks_give_the_same():
    members = [replace(each, recipe=replace(each.recipe, compile=True)) for each in different()]
    serial = [replace(twin, recipe=replace(twin.recipe, compile=False)) for twin in twins(members)]
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(4)), serial, expected)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_processes_with_stacks_give_the_same(size):
    members = different()
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(size, processes=2)), serial, expected)
    with pytest.raises(ValueError, match=r"^member 4: The .* became"):
        train_many([member(0, slice(0, 40)), member(4, slice(0, 40), replace(RECIPE, learning_rate=1e300))], Plan(size, processes=2))


def test_logits_in_float32_are_those_of_the_serial_twins():
    recipe = replace(RECIPE, dtype="float32", learning_rate=1e-3)
    members = [member(seed, slice(3 * seed, 50 + seed), recipe, dtype=torch.float32) for seed in range(3)]
    serial = twins(members)
    for twin in serial:
        train_alone(twin)
    train_many(members, Plan(3))
    values, _ = windows(torch.float32)
    for each, twin in zip(members, serial, strict=True):
        with torch.no_grad():
            # The contract's bound: single weights may differ by more where AdamW divides a rounding error by its own size.
            torch.testing.assert_close(each.model(values), twin.model(values), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        lambda: sigvit.tokenizers.ConvStem(E, n_filters=5, kernel=7, pool=11, stride=5, width=8),
        lambda: sigvit.tokenizers.ConvStem(E, n_filters=5, kernel=7, pool=11, stride=5, width=8, whiten=True, activation="log_power"),
        lambda: sigvit.tokenizers.ScalpMapPatches(E, size=(6, 6), patch_size=(3, 3), width=8, names=["C3", "Cz", "C4"]),
        lambda: sigvit.tokenizers.SpectrogramPatches(E, 64.0, window=32, stride=8, patch=(2, 2), width=8),
        lambda: sigvit.tokenizers.CovarianceTokens(E, window=31, stride=13, width=8),
        lambda: sigvit.tokenizers.TimeStepTokens(E, window=7, width=8),
    ],
    ids=["patches", "stem", "whitened stem", "scalp maps", "spectrogram", "covariances", "time steps"],
)
def test_bfloat16_trains_as_the_serial_twin_does(make):
    recipe = replace(RECIPE, dtype="bfloat16", learning_rate=1e-3)
    members = [member(seed, slice(3 * seed, 50 + seed), recipe, dtype=torch.float32, tokenizer=make()) for seed in range(2)]
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    for history, entries in zip(train_many(members, Plan(2)), expected, strict=True):
        # bfloat16 keeps 8 bits: products of another order differ in the third digit.
        assert history[-1]["train_loss"] == pytest.approx(entries[-1]["train_loss"], rel=1e-2)


def test_a_stack_in_bfloat16_multiplies_in_it():
    """Its losses would be near enough to the serial twin's in float32 as well."""

    def history(dtype: str) -> list:
        recipe = replace(RECIPE, steps=4, dtype=dtype)
        return train_many([member(seed, slice(0, 40), recipe, dtype=torch.float32) for seed in range(2)], Plan(2))

    assert history("bfloat16") != history("float32")


def test_no_member_has_any_influence_on_another():
    group = Group(different())
    group.stack.weights.normal_()  # a head that starts at zero would pass nothing on
    signal = torch.randn(4, 5, E, S, dtype=torch.float64)
    parameters = group.stack.parameters()
    for k in range(4):
        draw = MemberDraws([0, 1, 2, 3], [0, 0, 0, 0])
        gradients = torch.autograd.grad(group.stack.logits(signal, draw)[k].square().sum(), parameters)
        others = [other for other in range(4) if other != k]
        assert all((gradient[others] == 0).all() for gradient in gradients)
        assert any((gradient[k] != 0).any() for gradient in gradients)


@pytest.mark.parametrize("plan", [Plan(1), Plan(2)])
def test_a_member_that_can_not_go_on_is_told_of_once(plan):
    members = [member(seed, slice(0, 40)) for seed in range(2)]
    members[1].values[7, 0, 0] = float("inf")
    sentence = r"member 1: The loss became nan at step \d+: lower the learning rate or look for extreme values\. That ended 1 of 2 trainings\."
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        train_many(members, plan)


class Rooted(Shifted):
    """Its loss is finite where its gradient isn't: the slope of a root at zero."""

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return super().forward(signal) + (0 * self.head.bias).sqrt()

    def forward_stacked(self, signal: torch.Tensor, draw=None) -> torch.Tensor:
        return super().forward_stacked(signal) + (0 * self.head.bias).sqrt()[:, None]


@pytest.mark.parametrize("plan", [Plan(1), Plan(2)])
def test_a_last_gradient_that_is_not_finite_is_told_of(plan):
    """No later loss would."""
    members = [member(seed, slice(0, 40), replace(RECIPE, steps=1, warmup_steps=0)) for seed in range(2)]
    members[1].model.__class__ = members[0].model.__class__ = Rooted
    with pytest.raises(ValueError, match=r"^member 0: The gradient norm became nan at step 1: .* That ended 2 of 2 trainings\.$"):
        train_many(members, plan)


def test_a_number_that_is_not_finite_is_told_of_at_its_step_also_after_a_kill(tmp_path):
    def members() -> list[Member]:
        good, bad = member(0, slice(0, 40), replace(RECIPE, validate_every=1)), member(1, slice(0, 40), replace(RECIPE, validate_every=20))
        bad.values[7, 0, 0] = float("inf")
        return [good, bad]

    with pytest.raises(ValueError, match="That ended") as whole:
        train_many(members(), Plan(2))
    with pytest.raises(KilledError):
        train_many(members(), Plan(2), Snapshots(tmp_path, seconds=0), on_step=_killing(18))
    with pytest.raises(ValueError, match="That ended") as resumed:
        train_many(members(), Plan(2), Snapshots(tmp_path, seconds=0))
    assert str(resumed.value) == str(whole.value)


def test_a_member_that_becomes_nan_is_named_and_the_others_do_not_notice():
    members = [member(seed, slice(0, 40), validation=slice(40, 61)) for seed in range(3)]
    members[1].values[:, 0, 0] = float("inf")  # before its first look
    members[1] = replace(members[1], values=members[1].values.clone())
    good = [replace(each, values=windows()[0][:40]) for each in (members[0], members[2])]
    members = [good[0], members[1], good[1]]
    serial = twins(good)
    for twin in serial:
        train_alone(twin)
    with pytest.raises(ValueError, match=r"member 1: The loss became nan at step \d+"):
        train_many(members, Plan(3))
    for each, twin in zip(good, serial, strict=True):
        assert largest_difference(each.model, twin.model) < SUMS


def test_who_else_is_there_changes_nothing():
    together, fewer = different(), different()[1:3]
    train_many(together, Plan(4))
    train_many(fewer, Plan(2))
    assert largest_difference(together[1].model, fewer[0].model) < SUMS
    assert largest_difference(together[2].model, fewer[1].model) < SUMS


def test_a_look_evaluates_those_alone_who_have_one(monkeypatch):
    looked, ours = [], Stack.logits

    def logits(stack, signal, draw=None):
        if not stack.module.training:
            looked.append(len(signal))
        return ours(stack, signal, draw)

    monkeypatch.setattr(Stack, "logits", logits)
    recipe = replace(RECIPE, steps=6)
    members = [
        member(0, slice(0, 40), recipe, slice(40, 61)),
        member(1, slice(0, 40), recipe),
        member(2, slice(0, 40), replace(recipe, validate_every=3), slice(40, 61)),
    ]
    serial = twins(members)
    expected = [train_alone(twin) for twin in serial]
    assert_equal(members, train_many(members, Plan(3)), serial, expected)
    assert looked == [1, 1, 2], "after 3, 4 and 6 steps"


class KilledError(Exception):
    pass


@pytest.mark.parametrize("plan", [Plan(9), Plan(2), Plan(1)])
def test_killed_trainings_go_on_member_by_member_to_the_same_bits(tmp_path, plan):
    whole = different()
    expected = train_many(whole, plan)
    for kill in (6, 9, 6):
        with pytest.raises(KilledError):
            train_many(different(), plan, Snapshots(tmp_path, seconds=0), on_step=_killing(kill))
    members, steps = different(), []
    assert train_many(members, plan, Snapshots(tmp_path, seconds=0), on_step=steps.append) == expected
    assert len(steps) < 60, "the training should not have begun again"
    for each, twin in zip(members, whole, strict=True):
        assert largest_difference(each.model, twin.model) == 0


def test_a_killed_network_goes_on_with_the_statistics_that_it_had(tmp_path):
    """BatchNorm's are no weights, and no optimiser's."""

    def networks() -> list[Member]:
        torch.manual_seed(0)
        recipe = replace(RECIPE, steps=8)
        return [replace(member(seed, slice(0, 40), recipe, slice(40, 61)), model=EEGNet(E, S, 3, 128.0).double()) for seed in range(2)]

    whole = networks()
    expected = train_many(whole, Plan(2))
    with pytest.raises(KilledError):
        train_many(networks(), Plan(2), Snapshots(tmp_path, seconds=0), on_step=_killing(6))
    resumed = networks()
    assert train_many(resumed, Plan(2), Snapshots(tmp_path)) == expected
    for each, twin in zip(resumed, whole, strict=True):
        assert largest_difference(each.model, twin.model) == 0


def _killing(at: int):
    calls = []

    def on_step(steps: int) -> None:
        calls.append(steps)
        if len(calls) == at:
            raise KilledError

    return on_step


@pytest.mark.parametrize(("plan", "next_plan"), [(Plan(1), Plan(4)), (Plan(1), Plan(2, processes=2)), (Plan(4), Plan(1))])
def test_another_plan_goes_on_where_the_killed_one_was(tmp_path, plan, next_plan):
    with pytest.raises(KilledError):
        train_many(different(), plan, Snapshots(tmp_path, seconds=0), on_step=_killing(11))
    members, steps = different(), []
    train_many(members, next_plan, Snapshots(tmp_path, seconds=0), on_step=steps.append)
    twins, whole = different(), []
    train_many(twins, Plan(1), on_step=whole.append)
    assert steps[-1] <= whole[-1] - 10, "what was done before the kill should not be done again"
    for each, twin in zip(members, twins, strict=True):
        assert largest_difference(each.model, twin.model) < SUMS


def test_a_smaller_plan_takes_in_those_who_wait_as_they_were_before_the_kill(tmp_path):
    with pytest.raises(KilledError):
        train_many(different()[::-1], Plan(4), Snapshots(tmp_path, seconds=0), on_step=_killing(6))
    members, serial = different()[::-1], different()[::-1]
    train_many(members, Plan(2), Snapshots(tmp_path))
    for each, twin in zip(members, serial, strict=True):
        train_alone(twin)
        assert largest_difference(each.model, twin.model) < SUMS


def test_a_second_kill_leaves_also_those_that_a_smaller_plan_had_no_place_for(tmp_path):
    recipe = replace(RECIPE, steps=40)
    members = [member(seed, slice(0, 40), recipe) for seed in range(4)]
    for plan, kill in ((Plan(4), 30), (Plan(2), 6)):
        with pytest.raises(KilledError), Snapshots(tmp_path, seconds=0) as snapshots:
            train_many(twins(members), plan, snapshots, on_step=_killing(kill))
    with Snapshots(tmp_path) as snapshots:
        assert [state["step"] for state in snapshots.load(members).values()] == [32, 32, 28, 28]


HOLD = """
import fcntl, os, sys, time
lock = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


TRY = "import fcntl, os, sys; fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)"


@contextmanager
def held_elsewhere(folder, seconds: float):
    """While another process trains into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder / "claims"), str(seconds)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield
        process.kill()


@pytest.mark.parametrize("plan", [Plan(4), Plan(1)])
def test_a_second_start_of_a_training_in_stacks_is_refused(tmp_path, monkeypatch, plan):
    monkeypatch.setattr("sigvit.training.snapshots.WAIT_S", 0.3)
    train_many(different(), plan, Snapshots(tmp_path, seconds=0))
    (folder,) = tmp_path.glob("together-*")
    with (
        held_elsewhere(folder, 60),
        pytest.warns(UserWarning, match=r"trains into .*waiting up to 0.3 s"),
        pytest.raises(BlockingIOError, match="Another process trains the same into"),
    ):
        train_many(different(), plan, Snapshots(tmp_path))


def test_a_second_start_that_shares_out_its_members_otherwise_is_refused(tmp_path, monkeypatch, claimed_elsewhere):
    """As with another number of processes: what is claimed is each member, not their company."""
    monkeypatch.setattr("sigvit.training.snapshots.WAIT_S", 0.3)
    members = different()
    with claimed_elsewhere(tmp_path, members[2].key, "another's") as held:
        assert held
        with pytest.warns(UserWarning, match="waiting up to 0.3 s"), pytest.raises(BlockingIOError, match="Another process trains the same into"):
            train_many(members, Plan(4), Snapshots(tmp_path))
        train_many([*members[:2], *members[3:]], Plan(4), Snapshots(tmp_path))
    train_many(different(), Plan(4), Snapshots(tmp_path))


def test_an_interrupted_training_whose_traceback_is_kept_lets_go_of_its_claims(tmp_path, claimed_elsewhere):
    members = different()
    with pytest.raises(KilledError) as kept, Snapshots(tmp_path, seconds=0) as snapshots:
        train_many(members, Plan(4), snapshots, on_step=_killing(6))
    with claimed_elsewhere(tmp_path, members[2].key, "the next start's") as held:
        assert held
    assert kept.value.__traceback__ is not None


def test_so_does_an_interrupted_training_by_itself(tmp_path, claimed_elsewhere):
    members = different()
    with pytest.raises(KilledError) as kept, Snapshots(tmp_path, seconds=0) as snapshots:
        train_many(members, Plan(1), snapshots, on_step=_killing(6))
    (folder,) = tmp_path.glob("alone-*")
    with claimed_elsewhere(folder, "") as held:
        assert held
    assert kept.value.__traceback__ is not None


def test_an_interrupted_snapshot_whose_traceback_is_kept_is_let_go_of(tmp_path, monkeypatch, claimed_elsewhere):
    def interrupted(path, state):
        raise KeyboardInterrupt

    monkeypatch.setattr("sigvit.training.checkpoint._write", interrupted)
    with pytest.raises(KeyboardInterrupt) as kept, Snapshots(tmp_path, seconds=0) as snapshots:
        train_many(different(), Plan(4), snapshots)
    (folder,) = tmp_path.glob("together-*")
    with claimed_elsewhere(folder, "") as held:
        assert held
    assert kept.value.__traceback__ is not None


def test_those_that_wait_go_on_by_the_plan_of_all(tmp_path, monkeypatch):
    """A smaller plan would round the last bits of those that had not ended before the kill otherwise."""
    asked = []
    monkeypatch.setattr("sigvit.training.many.choose_plan", lambda members, processes: asked.append(len(members)) or Plan(2))
    with pytest.raises(KilledError), Snapshots(tmp_path, seconds=0) as snapshots:
        train_many(different(), None, snapshots, on_step=_killing(26))
    with Snapshots(tmp_path, seconds=0) as snapshots:
        ended = [state for state in snapshots.load(different()).values() if state.get("ended")]
    with Snapshots(tmp_path, seconds=0) as snapshots:
        train_many(different(), None, snapshots)
    assert len(ended) > 0
    assert asked == [4, 4]


def test_claims_in_one_file_are_let_go_of_one_by_one(tmp_path, claimed_elsewhere):
    """Closing a file would let go of all that its process has locked there."""
    first, second = Claims(tmp_path), Claims(tmp_path)
    one, two, three = sorted("abc", key=_place)  # as they lie in the file
    first.take([one, two])
    second.take([three])
    with claimed_elsewhere(tmp_path, two) as held:
        assert not held
    del first
    for keys, free in (((one, two), True), ((two, three), False)):
        with claimed_elsewhere(tmp_path, *keys) as held:
            assert held == free


def test_a_claim_that_a_process_holds_twice_is_let_go_of_with_the_last(tmp_path, claimed_elsewhere):
    """As where a notebook's kept traceback holds the first and the cell runs again."""
    first, second = Claims(tmp_path), Claims(tmp_path)
    first.take(["a"])
    second.take(["a"])
    del first
    with claimed_elsewhere(tmp_path, "a") as held:
        assert not held
    del second
    with claimed_elsewhere(tmp_path, "a") as held:
        assert held


def test_a_claim_that_one_asks_for_twice_is_let_go_of_once_and_can_be_taken_again(tmp_path, claimed_elsewhere):
    claims, other = Claims(tmp_path), Claims(tmp_path)
    other.take(["c"])  # keeps the file open, whose end would let go of all
    for keys in (["a"], ["a", "b"]):
        claims.take(keys)
    claims.let_go()
    with claimed_elsewhere(tmp_path, "a", "b") as held:
        assert held
    claims.take(["a"])
    with claimed_elsewhere(tmp_path, "a") as held:
        assert not held


def test_of_claims_that_one_cannot_have_together_one_has_none(tmp_path, claimed_elsewhere):
    claims, other, keys = Claims(tmp_path), Claims(tmp_path), sorted("abc", key=_place)  # as they are asked for
    other.take(["d"])  # keeps the file open, as above
    with claimed_elsewhere(tmp_path, keys[2]) as held:
        assert held
        with pytest.raises(BlockingIOError, match="Another process trains the same"):
            claims.take(keys)
    with claimed_elsewhere(tmp_path, *keys[:2]) as held:
        assert held


def test_a_copy_holds_no_claims(tmp_path):
    """As one that was sent to another process."""
    claims = Claims(tmp_path)
    claims.take(["a"])
    copied = pickle.loads(pickle.dumps(claims))
    assert copied.path == claims.path
    assert not copied._held


def test_the_states_of_others_are_not_read(tmp_path, monkeypatch):
    """They may be replaced while they are."""
    members = different()
    train_many(members[:2], Plan(2), Snapshots(tmp_path, seconds=0))
    read = []
    ours = Checkpoints.latest
    monkeypatch.setattr(Checkpoints, "latest", lambda self: read.append(self.folder.name) or ours(self))
    Snapshots(tmp_path).load(members[2:])
    assert len(read) == 1
    assert len(Snapshots(tmp_path).load(members)) == 2


def test_a_state_that_is_replaced_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, {"a": {"step": 3}})
    ours = checkpoint._read

    def replaced(path):
        if path.name == "step_00000001.pt":
            checkpoints.save(2, {"a": {"step": 7}})
        return ours(path)

    monkeypatch.setattr(checkpoint, "_read", replaced)
    assert _newest(Checkpoints(tmp_path, keep=1)) == {"a": {"step": 7}}


def test_members_stay_claimed_as_long_as_they_train(tmp_path):
    """Not from one snapshot to the next alone."""
    refused = []

    def on_step(steps: int) -> None:
        if steps in (3, 18):  # before the first snapshot and between two
            (folder,) = tmp_path.glob("together-*")
            refused.append(subprocess.run([sys.executable, "-c", TRY, str(folder / "claims")], stderr=subprocess.DEVNULL).returncode)

    train_many(different()[:3], Plan(3), Snapshots(tmp_path, seconds=0), on_step=on_step)
    assert refused == [1, 1]


def test_a_start_waits_for_the_workers_of_a_killed_one_to_end(tmp_path):
    expected = train_many(different(), Plan(4), Snapshots(tmp_path, seconds=0))
    (folder,) = tmp_path.glob("together-*")
    with held_elsewhere(folder, 0.3), pytest.warns(UserWarning, match="waiting up to 10 s"):
        assert train_many(different(), Plan(4), Snapshots(tmp_path)) == expected


def test_so_does_a_start_of_trainings_without_a_stacked_form(tmp_path):
    members = [replace(each, recipe=replace(RECIPE, optimizer="sgd", steps=6)) for each in different()[:1]]
    with held_elsewhere(tmp_path / "alone-key0", 0.3), pytest.warns(UserWarning, match="waiting up to 10 s"):
        assert train_many(members, snapshots=Snapshots(tmp_path))[0][-1]["step"] == 6


def test_who_has_ended_is_not_trained_again_even_if_asked_for_alone(tmp_path):
    whole = different()
    expected = train_many(whole, Plan(4), Snapshots(tmp_path, seconds=0))
    members, steps = different()[2:3], []
    assert train_many(members, snapshots=Snapshots(tmp_path), on_step=steps.append) == expected[2:3]
    assert not steps
    assert largest_difference(members[0].model, whole[2].model) == 0


def test_a_snapshot_of_another_recipe_is_refused(tmp_path):
    train_many(different(), snapshots=Snapshots(tmp_path, seconds=0))
    changed = [replace(each, recipe=replace(each.recipe, noise=0.3)) for each in different()]
    with pytest.raises(ValueError, match="another recipe"):
        train_many(changed, snapshots=Snapshots(tmp_path, seconds=0))


@pytest.mark.parametrize("ended", [True, False])
def test_a_snapshot_of_another_architecture_is_refused_where_shapes_do_not_tell(tmp_path, ended):
    with suppress(KilledError):
        train_many([member(seed, slice(0, 40)) for seed in range(2)], Plan(2), Snapshots(tmp_path, seconds=0), on_step=None if ended else _killing(6))
    others = [member(seed, slice(0, 40), heads=4, gelu="tanh") for seed in range(2)]
    with pytest.raises(ValueError, match="of member 0 is of another architecture: heads was 2 and is 4; gelu was 'erf' and is 'tanh'"):
        train_many(others, Plan(2), Snapshots(tmp_path, seconds=0))


@pytest.mark.parametrize("ended", [True, False])
def test_a_snapshot_of_another_tokenizer_is_refused_where_shapes_do_not_tell(tmp_path, ended):
    first, other = (
        [member(seed, slice(0, 40), tokenizer=CovarianceTokens(E, 16, 16, 8, (band,), sampling_rate=64.0)) for seed in range(2)] for band in ((8, 16), (16, 24))
    )
    with suppress(KilledError):
        train_many(first, Plan(2), Snapshots(tmp_path, seconds=0), on_step=None if ended else _killing(6))
    with pytest.raises(ValueError, match=r"of member 0 is of another tokenizer: bands was \[\[8\.0, 16\.0\]\] and is \[\[16\.0, 24\.0\]\]"):
        train_many(other, Plan(2), Snapshots(tmp_path, seconds=0))


class Unplaced(sigvit.tokenizers.TimeStepTokens):
    """Somebody's tokenizer that doesn't know where an electrode sits."""

    def arguments(self) -> dict:
        return {"sites": np.full((E, 3), np.nan)}


def test_a_snapshot_of_the_same_tokenizer_is_taken_where_an_argument_is_no_number():
    each = member(0, slice(0, 40), tokenizer=Unplaced(E, width=8))
    each.require_same(pickle.loads(pickle.dumps(each.described())))  # a disk gives back another NaN


def test_members_without_keys_of_their_own_have_no_snapshots(tmp_path):
    members = [replace(each, key="same") for each in different()]
    with pytest.raises(ValueError, match="4 trainings, but there are 1 different"):
        train_many(members, snapshots=Snapshots(tmp_path))


def test_networks_of_folds_that_are_standardised_apart_share_a_stack():
    members = [member(number, slice(0, 40)) for number in range(2)]
    for number, each in enumerate(members):
        each.model.scaling = Scaling.of(np.random.default_rng(number).normal(size=(7, E, S)))
    assert len(Group(members)) == 2


def test_a_stack_refuses_what_it_can_not_hold():
    with pytest.raises(ValueError, match="2 architectures"):
        Group([member(0, slice(0, 40)), member(1, slice(0, 40), depth=1)])
    network = nn.Sequential(nn.Flatten(), nn.Linear(E * S, 3))
    with pytest.raises(ValueError, match="no stacked form"):
        Group([replace(member(0, slice(0, 40)), model=network)] * 2)

"""Augmentation of recordings: what each keeps, what each changes, and that what is off changes no bit."""

import copy
import math
import re
from dataclasses import replace

import pytest
import torch

import sigvit
from sigvit.training import augment_recordings as augment
from sigvit.training.batches import RecordingBatches, Share
from sigvit.training.many import Member, Plan, train_many
from sigvit.training.member import train_alone
from sigvit.training.mirror import Mirror
from sigvit.training.randomness import batch_rows
from sigvit.training.recipe import Recipe

B, E, S, RATE = 59, 5, 101, 101.0
FIELDS = {
    "time_mask": 0.4,
    "channel_dropout": 0.3,
    "amplitude_scale": 0.2,
    "surrogate": 0.5,
    "frequency_shift": 2.0,
    "recombination": 0.5,
    "hemisphere_flip": 0.5,
}
CLASSES = torch.arange(B) % 3
MIRROR = Mirror((1, 0, 2, 4, 3), (0, 2, 1))
AUGMENTATIONS = {
    "recombination": lambda values, seed, step: augment.recombine(values, torch.arange(len(values)), CLASSES[: len(values)], 0.7, seed, step),
    "hemisphere_flip": lambda values, seed, step: augment.flip_hemispheres(values, torch.eye(3)[CLASSES[: len(values)]], MIRROR, 0.5, seed, step)[0],
    "time_mask": lambda values, seed, step: augment.mask_time(values, 41, seed, step),
    "channel_dropout": lambda values, seed, step: augment.drop_electrodes(values, 0.3, seed, step),
    "amplitude_scale": lambda values, seed, step: augment.scale_amplitude(values, 0.2, seed, step),
    "surrogate": lambda values, seed, step: augment.take_surrogates(values, 0.5, seed, step),
    "frequency_shift": lambda values, seed, step: augment.shift_frequency(values, 2.0, RATE, seed, step),
}


def signals(batch: int = B, samples: int = S, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(batch, E, samples, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def batches(recipe: Recipe, seed: int = 3) -> RecordingBatches:
    return RecordingBatches(signals(37), torch.arange(37) % 3, recipe, seed, sampling_rate=RATE, mirror=MIRROR)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_is_a_function_of_seed_and_step_and_leaves_its_input_alone(name):
    change, values = AUGMENTATIONS[name], signals()
    before = values.clone()
    once = change(values, 1, 2)
    assert torch.equal(values, before)
    assert torch.equal(once, change(values, 1, 2))
    assert once.shape == values.shape
    assert not torch.equal(once, change(values, 1, 3))
    assert not torch.equal(once, change(values, 2, 2))


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "recombination"])
def test_each_window_draws_for_itself(name):
    changed = AUGMENTATIONS[name](signals(1).repeat(B, 1, 1), 1, 2)
    assert len(changed.unique(dim=0)) > (1 if name == "hemisphere_flip" else 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_number_format_stays(name, dtype):
    assert AUGMENTATIONS[name](signals(dtype=dtype), 0, 0).dtype == dtype


def test_where_all_is_off_only_shift_and_noise_happen_bit_for_bit():
    source = batches(Recipe(batch_size=12, time_shift=0.2, noise=0.1))
    shifted = augment.shift_time(source.values[batch_rows(37, 12, 3, 7)], 20, 3, 7)
    assert torch.equal(source.batch(7)[0], augment.add_noise(shifted, 0.1, 3, 7))


@pytest.mark.parametrize("name", FIELDS)
def test_a_recipe_does_to_windows_and_targets_what_its_field_says(name):
    source, rows = batches(Recipe(batch_size=12, **{name: FIELDS[name]})), batch_rows(37, 12, 3, 7)
    values, targets, much = source.values[rows], torch.eye(3, dtype=torch.float64)[rows % 3], FIELDS[name]
    expected = {
        "time_mask": lambda: (augment.mask_time(values, 40, 3, 7), targets),
        "channel_dropout": lambda: (augment.drop_electrodes(values, much, 3, 7), targets),
        "amplitude_scale": lambda: (augment.scale_amplitude(values, much, 3, 7), targets),
        "surrogate": lambda: (augment.take_surrogates(values, much, 3, 7), targets),
        "frequency_shift": lambda: (augment.shift_frequency(values, much, RATE, 3, 7), targets),
        "recombination": lambda: (augment.recombine(source.values, rows, torch.arange(37) % 3, much, 3, 7), targets),
        "hemisphere_flip": lambda: augment.flip_hemispheres(values, targets, MIRROR, much, 3, 7),
    }
    for found, wanted in zip(source.batch(7), expected[name](), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_off_changes_no_draw_of_what_is_on(name):
    plain = Recipe(batch_size=12, time_shift=0.2, noise=0.1, mixup=0.5)
    on = replace(plain, **{name: 1e-12})
    # The least of each is nothing but a rounding, so the other draws are the same.
    torch.testing.assert_close(batches(on).batch(7)[0], batches(plain).batch(7)[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("of", [2, 3])
@pytest.mark.parametrize("name", FIELDS)
def test_shares_one_after_the_other_are_the_whole_batch_bit_for_bit(name, of):
    source = batches(Recipe(batch_size=12, mixup=0.5, **{name: FIELDS[name]}))
    shares = [source.batch(7, Share(number, of)) for number in range(of)]
    for whole, parts in zip(source.batch(7), zip(*shares, strict=True), strict=True):
        assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(source.batch(7)[0], batches(Recipe(batch_size=12, mixup=0.5)).batch(7)[0])


def test_many_at_once_see_what_each_alone_sees():
    recipe = Recipe(steps=4, batch_size=7, warmup_steps=0, validate_every=4, dtype="float64", **FIELDS)
    members = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = sigvit.signal_vit(E, n_times=S, num_classes=3, width=8, heads=2, dropout=0.2).double()
        changed = replace(recipe, surrogate=0.0, channel_dropout=0.1) if seed == 1 else recipe
        members.append(Member(model, signals(31), torch.arange(31) % 3, changed, seed, 3, sampling_rate=RATE, mirror=MIRROR))
    serial = [replace(each, model=copy.deepcopy(each.model)) for each in members]
    train_many(members, Plan(3))
    for each, twin in zip(members, serial, strict=True):
        train_alone(twin)
        for name, tensor in twin.model.state_dict().items():
            # Four steps of AdamW in float64: sums of a few hundred products in another order.
            torch.testing.assert_close(each.model.state_dict()[name], tensor, rtol=0, atol=1e-10)


def test_shifts_are_of_every_number_of_samples_asked_for_in_both_directions():
    shifted = augment.shift_time(torch.arange(float(S)).expand(997, 1, S), 7, 0, 0)
    assert ((shifted[:, 0, 0] + 7) % S).unique().tolist() == list(range(15))


def test_a_mask_is_one_stretch_on_all_electrodes_no_longer_than_asked():
    masked = augment.mask_time(torch.ones(997, E, S), 41, 0, 0) == 0
    assert (masked == masked[:, :1]).all()
    lengths = masked[:, 0].sum(1)
    assert lengths.max() == 41
    assert lengths.min() == 0
    edges = (masked[:, 0, 1:] != masked[:, 0, :-1]).sum(1)
    assert edges.max() <= 2, "one stretch has two ends"
    assert masked[:, 0].any(0).all(), "every sample is masked sometimes"


def test_electrodes_are_dropped_as_often_as_asked_and_never_all():
    kept = augment.drop_electrodes(torch.ones(9973, E, 2), 0.3, 0, 0)[:, :, 0]
    # Of E electrodes, all would be lost with 0.3^5 = 0.24 %; 49 865 draws have a standard error of 0.2 %.
    assert 1 - kept.mean() == pytest.approx(0.3 - 0.3**E, abs=0.007)
    assert kept.any(1).all()
    assert (augment.drop_electrodes(torch.ones(13, 1, 2), 0.9, 0, 0) == 1).all(), "the only electrode stays"


def test_of_electrodes_that_have_a_sample_one_stays():
    values = torch.ones(997, 3, 7)
    values[:, 0] = values[:, 1, 3:] = float("nan")
    kept = augment.drop_electrodes(values, 0.5, 0, 0)[:, 1:, 0] == 1
    assert kept.any(1).all(), "the one without samples doesn't count"
    assert not kept.all(0).any(), "the one with few does"


@pytest.mark.parametrize("silence", [lambda values: augment.drop_electrodes(values, 0.7, 0, 0), lambda values: augment.mask_time(values, 41, 0, 0)])
def test_missing_samples_stay_missing_where_others_are_silenced(silence):
    values = torch.ones(61, E, 43)
    values[:, 1] = values[:, 3, 20:] = float("nan")
    silenced = silence(values)
    assert torch.equal(silenced.isnan(), values.isnan())
    assert (silenced == 0).any()


def test_scales_are_even_in_the_logarithm_and_alike_on_all_electrodes():
    factors = augment.scale_amplitude(torch.ones(9973, E, 3, dtype=torch.float64), 0.2, 0, 0)
    assert (factors == factors[:, :1, :1]).all()
    logarithms = factors[:, 0, 0].log()
    assert logarithms.abs().max() <= 0.2
    # Standard error of the mean: 0.2 / sqrt(3 × 9973) = 0.0012; of the deviation about half as much.
    assert logarithms.mean().item() == pytest.approx(0, abs=0.005)
    assert logarithms.std().item() == pytest.approx(0.2 / math.sqrt(3), abs=0.003)


@pytest.mark.parametrize("samples", [S, 64])
def test_surrogates_keep_every_spectrum_and_cross_spectrum(samples):
    values = signals(samples=samples)
    changed = augment.take_surrogates(values, 1.0, 0, 0)
    assert ((changed - values).abs().amax((1, 2)) > 0.1).all()
    before, after = torch.fft.rfft(values), torch.fft.rfft(changed)
    # float64 and a transform of a hundred samples: roundings of 1e-14 times sums of a hundred.
    torch.testing.assert_close(_cross_spectra(after), _cross_spectra(before), rtol=0, atol=1e-9)
    torch.testing.assert_close(changed.mean(2), values.mean(2), rtol=0, atol=1e-12)
    covariance = changed @ changed.mT
    torch.testing.assert_close(covariance, values @ values.mT, rtol=0, atol=1e-9)


def test_surrogates_turn_every_frequency_all_the_way_round():
    impulse = torch.zeros(997, 1, S, dtype=torch.float64)
    impulse[..., 0] = 1  # every frequency alike, with phase 0
    turned = torch.fft.rfft(augment.take_surrogates(impulse, 1.0, 0, 0))[:, 0, 1:]
    # The mean of 997 directions is .03 long, of a half circle's .64; that of a window's 50 is .14, of one for all 1.
    assert turned.mean(0).abs().max() < 0.12
    assert turned.mean(1).abs().max() < 0.6


def test_surrogates_are_taken_as_often_as_asked_and_the_rest_stays_bit_for_bit():
    values = signals(997)
    changed = augment.take_surrogates(values, 0.3, 0, 0)
    same = (changed == values).all((1, 2))
    # 997 draws: standard error 1.5 %.
    assert 1 - same.double().mean().item() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("shift_hz", [-3.0, 0.0, 2.0, 7.0])
@pytest.mark.parametrize("samples", [S, 128])
def test_a_frequency_shift_moves_a_sinusoid_by_the_asked_hertz(samples, shift_hz):
    time = torch.arange(samples, dtype=torch.float64) / samples  # one second, so that whole hertz are whole cycles
    values = torch.stack([torch.cos(2 * math.pi * hertz * time + phase) for hertz, phase in ((11, 0.3), (19, 1.1))])[None]
    expected = torch.stack([torch.cos(2 * math.pi * (hertz + shift_hz) * time + phase) for hertz, phase in ((11, 0.3), (19, 1.1))])[None]
    moved = augment.move_frequencies(values, torch.full((1, 1, 1), shift_hz, dtype=torch.float64), samples)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-12)  # float64


@pytest.mark.parametrize("samples", [S, 64])
def test_by_no_hertz_every_frequency_stays_as_it_is(samples):
    """Also the mean and the highest one, which have no other side."""
    values = signals(7, samples)
    unmoved = augment.move_frequencies(values, torch.zeros(7, 1, 1, dtype=torch.float64), RATE)
    torch.testing.assert_close(unmoved, values, rtol=0, atol=1e-12)  # float64


def test_shifts_of_frequency_are_within_what_was_asked_and_in_both_directions():
    time = torch.arange(1009, dtype=torch.float64) / 1009 * 8  # eight seconds: an eighth of a hertz is a bin
    values = torch.cos(2 * math.pi * 20 * time).expand(61, 1, -1)
    moved = augment.shift_frequency(values, 3.0, 1009 / 8, 0, 0)
    strongest = torch.fft.rfft(moved).abs()[:, 0].argmax(1) / 8
    assert 16.9 <= strongest.min() < 18
    assert 22 < strongest.max() <= 23.1


def test_a_frequency_shift_without_a_sampling_rate_is_refused():
    with pytest.raises(ValueError, match=r"frequency_shift is 2\.0 Hz, but the sampling rate isn't known"):
        RecordingBatches(signals(), torch.arange(B) % 2, Recipe(frequency_shift=2.0), 0)


@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_recombination_takes_stretches_of_windows_of_the_same_class_at_the_same_time(probability):
    # Every number says which window, electrode and sample it is.
    values = torch.arange(B * E * S, dtype=torch.float64).view(B, E, S)
    rows = torch.tensor([3, 4, 5, 17, 29, 58])
    changed = augment.recombine(values, rows, CLASSES, probability, 0, 0)
    window, electrode, sample = changed // (E * S), changed // S % E, changed % S
    assert (CLASSES[window.long()] == CLASSES[rows][:, None, None]).all()
    assert (electrode == torch.arange(E)[:, None]).all()
    assert (sample == torch.arange(S)).all()
    assert (window == window[:, :1]).all(), "all electrodes come from the same window"
    ends = (window[:, 0, 1:] != window[:, 0, :-1]).sum(1)
    assert ends.max() == 8 - 1
    assert len(window.unique()) > len(rows), "donors are drawn from the whole training part"


def test_recombination_takes_as_much_of_every_window_of_a_class():
    classes = torch.arange(3).repeat_interleave(torch.tensor([3, 11, 5]))[torch.randperm(19, generator=torch.Generator().manual_seed(0))]
    values = torch.arange(19.0).view(19, 1, 1).expand(19, 1, 8)
    donors = augment.recombine(values, torch.arange(19).repeat(97), classes, 1.0, 0, 0)
    # 8 stretches for each of 97: standard deviation 28.
    assert (donors.long().flatten().bincount(minlength=19) - 8 * 97).abs().max() < 120


def test_recombination_takes_nothing_from_windows_that_are_not_trained_on():
    values = torch.arange(float(B)).view(B, 1, 1).expand(B, E, S).contiguous()
    pool = torch.arange(0, B, 2)
    changed = augment.recombine(values, pool[:11], CLASSES, 1.0, 0, 0, pool)
    assert set(changed.unique().long().tolist()) <= set(pool.tolist())
    assert len(changed.unique()) > 11


def test_recombination_of_a_class_with_one_window_gives_it_back():
    values, classes = signals(7), torch.tensor([0, 1, 1, 2, 2, 1, 2])
    assert torch.equal(augment.recombine(values, torch.tensor([0]), classes, 1.0, 0, 0)[0], values[0])


def test_recombination_without_probability_gives_the_rows_and_with_some_leaves_the_others_bit_for_bit():
    values, rows = signals(), torch.tensor([5, 2, 11, 40])
    assert torch.equal(augment.recombine(values, rows, CLASSES, 0.0, 0, 0), values[rows])
    many = torch.arange(B).repeat(17)
    same = (augment.recombine(values, many, CLASSES, 0.3, 0, 0) == values[many]).all((1, 2))
    # 1003 draws: standard error 1.5 %.
    assert 1 - same.double().mean().item() == pytest.approx(0.3, abs=0.05)


def test_a_flip_exchanges_electrodes_and_targets_together():
    values, targets = signals(), torch.eye(3, dtype=torch.float64)[CLASSES]
    flipped, changed = augment.flip_hemispheres(values, targets, MIRROR, 0.5, 0, 0)
    done = (flipped != values).any((1, 2))
    assert 10 < done.sum() < 50
    assert torch.equal(flipped[done], values[done][:, [1, 0, 2, 4, 3]])
    assert torch.equal(changed[done], targets[done][:, [0, 2, 1]])
    assert torch.equal(changed[~done], targets[~done])
    twice = augment.flip_hemispheres(flipped, changed, MIRROR, 0.5, 0, 0)
    assert torch.equal(twice[0], values)
    assert torch.equal(twice[1], targets)


@pytest.mark.parametrize(
    ("mirror", "sentence"),
    [
        (None, "hemisphere_flip is 0.5, but no mirror says"),
        (Mirror((1, 0), (0, 1, 2)), "The mirror has 2 electrodes and 3 classes, but the windows"),
        (Mirror((1, 0, 2, 4, 3), (1, 0)), "The mirror has 5 electrodes and 2 classes, but the windows have 5 and 3"),
    ],
)
def test_a_flip_without_a_mirror_or_with_that_of_another_montage_is_refused(mirror, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        RecordingBatches(signals(), CLASSES, Recipe(hemisphere_flip=0.5), 0, mirror=mirror)


def _cross_spectra(spectra: torch.Tensor) -> torch.Tensor:
    return spectra[:, :, None] * spectra[:, None].conj()

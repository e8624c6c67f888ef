"""Attributions sum to the score, are what the formula says where it can be done by hand, and peak where a source was planted."""

import numpy as np
import pytest
import torch

from sigvit import SignalViTClassifier, signal_vit
from sigvit.evaluation.attribution import attribution, class_scores
from sigvit.evaluation.class_maps import class_maps, in_bins
from sigvit.tokenizers import ElectrodeTimePatches

ELECTRODES = ("F3", "F4", "C3", "C4", "Pz")
RATE_HZ, SAMPLES, PATCH = 128.0, 112, 16


def random_model(num_classes=3, seed=0):
    torch.manual_seed(seed)
    model = signal_vit(3, n_times=48, num_classes=num_classes, width=8, heads=2, positions="learned").eval()
    torch.nn.init.normal_(model.head.weight)
    return model


def test_a_linear_score_is_shared_out_as_weight_times_difference():
    generator = np.random.default_rng(0)
    weight, x, others = torch.tensor(generator.standard_normal((2, 15))), generator.standard_normal((5, 3, 5)), generator.standard_normal((7, 3, 5))
    found = attribution(lambda signal: signal.flatten(1) @ weight.T, x, others)
    by_hand = 0.5 * (weight[0] - weight[1]).reshape(3, 5).numpy() * (x - others.mean(0))
    np.testing.assert_allclose(found.values[:, 0], by_hand, atol=1e-12)  # double precision
    np.testing.assert_allclose(found.values[:, 1], -by_hand, atol=1e-12)


@pytest.mark.parametrize("n_references", [0, 5])
def test_they_sum_to_the_score_less_the_references_mean_score(n_references):
    model, signals = random_model(), torch.randn(7, 3, 48, generator=torch.Generator().manual_seed(1))
    others = signals[2:] if n_references else None
    found = attribution(model, signals[:2], others, points=64, batch_size=7)
    with torch.no_grad():
        before = class_scores(model(torch.zeros(1, 3, 48) if others is None else others)).mean(0)
        after = class_scores(model(signals[:2]))
    np.testing.assert_allclose(found.scores, after, atol=1e-5)  # single precision
    np.testing.assert_allclose(found.values.sum((-1, -2)) + found.missing, after - before, atol=1e-4)  # single precision
    # An untrained model of tokens of eight numbers bends sharply: scores of size 5 are met within 1 with 64 points.
    assert np.abs(found.missing).max() < 1
    np.testing.assert_allclose(found.values.sum(1), 0, atol=1e-5)  # scores sum to zero over classes


def test_one_class_alone_has_the_same_attribution_as_among_all():
    model, signals = random_model(), torch.randn(3, 3, 48, generator=torch.Generator().manual_seed(4))
    every, alone = attribution(model, signals, signals), attribution(model, signals, signals, targets=[2, 0, 1])
    assert alone.values.shape == (3, 1, 3, 48)
    for part, part_alone in zip(every, alone, strict=True):
        np.testing.assert_allclose(part_alone[:, 0], part[[0, 1, 2], [2, 0, 1]], atol=1e-4)  # single precision


def test_a_class_is_compared_with_references_of_other_classes_alone():
    model, signals = random_model(), torch.randn(8, 3, 48, generator=torch.Generator().manual_seed(5))
    labels = np.array([0, 1, 2, 0, 1, 2])
    found = attribution(model, signals[:2], signals[2:], reference_labels=labels)
    for number in range(3):
        alone = attribution(model, signals[:2], signals[2:][labels != number], targets=[number] * 2)
        np.testing.assert_array_equal(found.values[:, number], alone.values[:, 0])
    with pytest.raises(ValueError, match="All references are of class 1"):
        attribution(model, signals[:2], signals[2:], reference_labels=np.ones(6, int))


@pytest.mark.parametrize("samples", [48, 49])
def test_by_frequency_they_are_the_same_sums(samples):
    model = signal_vit(3, n_times=samples, num_classes=2, width=8, heads=2).eval()
    torch.nn.init.normal_(model.head.weight)
    found = attribution(model, torch.randn(2, 3, samples, generator=torch.Generator().manual_seed(2)))
    assert found.spectrum.shape == (2, 2, 3, samples // 2 + 1)
    np.testing.assert_allclose(found.spectrum.sum(-1), found.values.sum(-1), atol=1e-4)  # single precision


def test_a_signal_of_one_frequency_is_attributed_to_it():
    wave = torch.sin(2 * torch.pi * 5 * torch.arange(48) / 48).repeat(1, 3, 1)
    found = attribution(lambda signal: torch.stack([(signal**2).sum((1, 2)), torch.zeros(len(signal))], dim=1), wave)
    np.testing.assert_allclose(found.spectrum[0, 0].argmax(-1), 5)
    np.testing.assert_allclose(np.delete(found.spectrum[0, 0], 5, axis=-1), 0, atol=1e-4)  # single precision


def test_what_the_score_does_not_read_gets_exactly_nothing_and_batches_change_nothing():
    model, signals = random_model(), torch.randn(3, 3, 48, generator=torch.Generator().manual_seed(3))
    deaf = lambda signal: model(torch.cat([signal[:, :2], torch.zeros_like(signal[:, 2:])], dim=1))  # noqa: E731
    assert not attribution(deaf, signals, signals.flip(0)).values[:, :, 2].any()
    small, large = (attribution(model, signals, signals, batch_size=size).values for size in (5, 64))
    np.testing.assert_allclose(small, large, atol=1e-5)  # single precision, sums in another order


@pytest.mark.parametrize(
    ("inputs", "references", "sentence"),
    [
        (torch.zeros(2, 3, 48), torch.zeros(2, 3, 47), "both must be"),
        (torch.full((2, 3, 48), torch.nan), None, "Row 0 of the inputs holds NaN"),
        (torch.zeros(2, 3, 48), torch.full((1, 3, 48), torch.inf), "Row 0 of the references"),
    ],
)
def test_bad_input_gets_a_sentence(inputs, references, sentence):
    with pytest.raises(ValueError, match=sentence):
        attribution(random_model(), inputs, references)
    with pytest.raises(ValueError, match=r"call model\.eval"):
        attribution(random_model().train(), inputs, references)
    with pytest.raises(ValueError, match=r"model computes in torch\.bfloat16, too coarse .*; call \.float\(\) of model and inputs first"):
        attribution(random_model().bfloat16(), inputs, references)
    with pytest.raises(ValueError, match=r"inputs are in torch\.float16, too coarse"):
        attribution(lambda x: x[:, 0], torch.zeros(2, 3, 48).half())


def planted(n_trials, sources, seed, volts=20e-6, random_phase=False):
    """Noise of 10 µV, and in a trial of class k source k: (electrode, seconds, hertz), a burst of about 0.2 s; None plants nothing."""
    generator = np.random.default_rng(seed)
    values = 10e-6 * generator.standard_normal((n_trials, len(ELECTRODES), SAMPLES))
    kinds, seconds = generator.permutation(np.arange(n_trials) % len(sources)), np.arange(SAMPLES) / RATE_HZ
    for values_of_trial, kind in zip(values, kinds, strict=True):
        if sources[kind] is not None:
            electrode, at_s, hertz = sources[kind]
            phase = generator.uniform(0, 2 * np.pi) if random_phase else 0.0
            envelope = volts * np.exp(-0.5 * ((seconds - at_s) / 0.06) ** 2)
            values_of_trial[ELECTRODES.index(electrode)] += envelope * np.sin(2 * np.pi * hertz * (seconds - at_s) + phase)
    return values.astype(np.float32), kinds


PATCHES = ElectrodeTimePatches(len(ELECTRODES), 1, PATCH, PATCH, 32, names=ELECTRODES, sampling_rate=RATE_HZ)


def trained(sources, n_trials, steps, tokenizer=PATCHES, **planting):
    """A model; new trials that it names right, standardised, with their classes; and references."""
    values, kinds = planted(n_trials, sources, 0, **planting)
    classifier = SignalViTClassifier(tokenizer, classical=None, ensemble=False, training_steps=steps, depth=1, time_shift=0.0, mixup=0.0).fit(values, kinds)
    new, new_kinds = planted(60, sources, 1, **planting)
    right = classifier.predict(new) == new_kinds
    assert right.mean() > 0.8
    references = {"references": classifier._standardise(values[:23]), "reference_labels": kinds[:23]}
    return classifier.model_.eval(), classifier._standardise(new)[right], new_kinds[right], references


def share_at(found, kinds, places):
    """Share of the trials whose attribution to their own class peaks in the planted patch, at its electrode; one neighbouring patch in time counts."""
    own = in_bins(found.values[np.arange(len(kinds)), kinds], PATCH)
    electrode, patch = np.unravel_index(own.reshape(len(own), -1).argmax(1), own.shape[1:])
    centre_s = (patch * PATCH + (PATCH - 1) / 2) / RATE_HZ
    hits = [(electrode == ELECTRODES.index(name)) & (np.abs(centre_s - at_s) <= PATCH / RATE_HZ) for name, at_s, _ in places]
    return np.any(hits, axis=0).mean()


SOURCE = ("C3", 0.3, 10.0)


@pytest.fixture(scope="module")
def one_source():
    """One class has the source, the other nothing."""
    return trained([SOURCE, None], 400, steps=150, volts=30e-6)


def test_the_peak_is_at_the_planted_electrode_and_time_and_in_its_band(one_source):
    model, x, kinds, references = one_source
    found = attribution(model, x, **references, n_references=7)
    assert share_at(found, kinds, [SOURCE]) >= 0.95
    maps = class_maps(in_bins(found.values, PATCH), kinds)
    assert np.unravel_index(maps.excess[0].argmax(), (5, 7)) == (2, 2)  # C3; the third patch holds 0.25 to 0.375 s
    assert maps.p[0, 2, 2] == pytest.approx(0.001)
    hertz = np.fft.rfftfreq(SAMPLES, 1 / RATE_HZ)
    assert abs(hertz[found.spectrum[kinds == 0, 0, 2].mean(0).argmax()] - 10) <= 3  # a burst of 0.2 s has a band of some hertz


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", [PATCHES, None], ids=["an electrode and patch", "the default's convolutions"])
@pytest.mark.parametrize(
    ("sources", "planting"),
    [
        ([("C3", 0.3, 10.0), None], {"volts": 30e-6}),
        ([("C3", 0.3, 10.0), None], {"random_phase": True, "volts": 40e-6}),
        ([("Pz", 0.6, 10.0), ("Pz", 0.6, 25.0)], {"volts": 30e-6}),
        ([("F4", 0.2, 8.0), ("C3", 0.6, 8.0)], {}),
        ([("F4", 0.2, 8.0), ("C3", 0.6, 8.0), None], {}),
    ],
    ids=["one place", "unlocked phase", "two bands at one place", "two places", "two places and nothing"],
)
def test_the_peak_is_planted_whatever_tells_the_classes_apart(sources, planting, tokenizer):
    """Of two places either may carry a trial: that a source is missing where the other class has it speaks for the class as well."""
    model, x, kinds, references = trained(sources, 900, steps=400, tokenizer=tokenizer, **planting)
    assert share_at(attribution(model, x, **references), kinds, [source for source in sources if source]) >= 0.95


def test_zero_as_the_only_reference_gives_no_credit_for_what_is_missing(one_source):
    """Why the references are other trials: a trial without the source differs from them, not from zero, where the source would be."""
    model, x, kinds, references = one_source
    empty = np.flatnonzero(kinds == 1)[:11]
    with_trials, with_zero = attribution(model, x[empty], **references, n_references=7), attribution(model, x[empty], points=32)
    assert share_at(with_trials, kinds[empty], [SOURCE]) >= 0.9
    assert share_at(with_zero, kinds[empty], [SOURCE]) < 0.5


@pytest.mark.parametrize("targets", [[0, 1, 7], [-1, 0, 1], [7, 7, 7]])
def test_targets_that_are_no_classes_are_refused(targets):
    with pytest.raises(ValueError, match="are no classes of the model, which has 0 … 1"):
        attribution(lambda x: x[:, :2] * x[:, 1:3], torch.ones(3, 5), targets=targets)


def test_it_computes_gradients_wherever_it_is_called():
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    outside = attribution(lambda x: x[:, :2] * x[:, 1:3], x)
    with torch.no_grad():
        inside = attribution(lambda x: x[:, :2] * x[:, 1:3], x)
    assert np.array_equal(inside.values, outside.values)


def test_inputs_of_inference_mode_and_models_under_autocast_are_attributed():
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.GELU(), torch.nn.Linear(7, 2)).eval()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    plain = attribution(model, x)
    with torch.inference_mode():
        np.testing.assert_array_equal(attribution(model, x.clone()).values, plain.values)
    with torch.autocast("cpu", torch.bfloat16):
        cast = attribution(model, x)
    assert cast.scores.dtype == np.float32
    np.testing.assert_allclose(cast.scores, plain.scores, atol=0.05)  # bfloat16 has two to three digits, scores are below 1

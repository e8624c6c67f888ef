"""What every tokenizer of recordings must do: be saved and found again, serve the model and the classifier, train in stacks, honour masks."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import sigvit
from sigvit import tokenizers
from sigvit.evaluation.trace import trace_forward
from sigvit.training.many import Member, train_many
from sigvit.training.member import train_alone
from sigvit.training.plan import Plan
from sigvit.training.recipe import Recipe

E, S, RATE = 5, 67, 64.0
NAMES = ["O1", "F4", "Cz", "C3", "T8"]
FAMILY = {
    "ConvStem": lambda: tokenizers.ConvStem(E, 7, kernel=5, pool=11, stride=7, width=8, sampling_rate=RATE),
    "ConvStem, whitened": lambda: tokenizers.ConvStem(E, 7, kernel=5, pool=11, stride=7, width=8, sampling_rate=RATE, whiten=True).set_reference(
        torch.randn(11, E, 61)
    ),
    "ConvStem, power": lambda: tokenizers.ConvStem(E, 7, kernel=5, pool=11, stride=7, width=8, activation="log_power", leftover="pad"),
    "CovarianceTokens": lambda: tokenizers.CovarianceTokens(E, 20, 10, width=8, leftover="pad"),
    "CovarianceTokens, bands and filters": lambda: tokenizers.CovarianceTokens(E, 32, 11, 8, ((4, 9), (9, 30)), 0.2, 3, sampling_rate=RATE),
    "SpectrogramPatches": lambda: tokenizers.SpectrogramPatches(E, RATE, "stft", 16, 5, patch=(4, 3), width=8, names=NAMES),
    "SpectrogramPatches, frames beyond the end": lambda: tokenizers.SpectrogramPatches(
        E, RATE, "stft", 8, 8, patch=(4, 4), width=8, leftover="pad", names=NAMES
    ),
    "SpectrogramPatches, filter bank": lambda: tokenizers.SpectrogramPatches(
        E, RATE, "filter_bank", 17, 7, bands=((4, 9), (9, 30)), patch=(2, 1), width=8, names=NAMES
    ),
    "ScalpMapPatches": lambda: tokenizers.ScalpMapPatches(E, (6, 10), (3, 5), 4, 3, width=8, leftover="pad", names=NAMES, sampling_rate=RATE),
    "Composite": lambda: tokenizers.Composite(
        [
            tokenizers.ConvStem(E, 7, kernel=5, pool=11, stride=7, width=8, sampling_rate=RATE),
            tokenizers.CovarianceTokens(E, 32, 11, 8, ((4, 9), (9, 30)), sampling_rate=RATE),
        ]
    ),
}


def model_of(kind: str, **changes) -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    model = sigvit.signal_vit(E, S, num_classes=3, tokenizer=FAMILY[kind](), heads=2, depth=1, **changes)
    torch.nn.init.normal_(model.head.weight)
    return model


@pytest.mark.parametrize("kind", FAMILY)
def test_a_model_is_saved_and_found_again(kind, tmp_path):
    model = model_of(kind).eval()
    model.save_pretrained(tmp_path)
    found = sigvit.VisionTransformer.from_pretrained(tmp_path)
    signal = torch.randn(2, E, S)
    assert torch.equal(found(signal), model(signal))
    assert found.tokenizer.arguments() == model.tokenizer.arguments()
    assert found.grid == model.grid


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", FAMILY)
def test_an_empty_batch_has_no_logits_and_no_gradient(kind, masked):
    model = model_of(kind)
    logits = model(torch.empty(0, E, S), torch.empty(0, E, dtype=torch.bool) if masked else None)
    assert logits.shape == (0, 3)
    logits.sum().backward()
    assert not any(parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("kind", FAMILY)
def test_a_trace_of_shapes_leaves_nothing_in_it_that_holds_no_numbers(kind):
    model, signal = model_of(kind).double().eval(), torch.randn(2, E, S, dtype=torch.float64)
    traced = copy.deepcopy(model)
    trace_forward(traced, (E, S), dtype="float64")
    assert torch.equal(traced(signal), model(signal))


class OwnTimeSteps(tokenizers.TimeStepTokens):
    """Somebody's own, whose constructor asks for something else."""

    def __init__(self, info: dict) -> None:
        super().__init__(len(info["ch_names"]), 5, 8, names=info["ch_names"])


def test_one_that_inherits_says_how_it_cuts_whatever_its_constructor_asks_for():
    own, other = (OwnTimeSteps({"ch_names": names}) for names in (["C3", "C4"], ["C4", "C3"]))
    assert own.arguments() == tokenizers.TimeStepTokens(2, 5, 8, names=["C3", "C4"]).arguments() != other.arguments()


@pytest.mark.parametrize("kind", FAMILY)
def test_the_classifier_trains_with_it(kind):
    windows, labels, tokenizer = np.random.default_rng(0).normal(size=(23, E, S)), np.arange(23) % 2, FAMILY[kind]()
    classifier = sigvit.SignalViTClassifier(tokenizer, width=8, heads=2, depth=1, training_steps=3, ensemble=False, classical=None).fit(windows, labels)
    assert classifier.predict_proba(windows).shape == (23, 2)
    assert type(classifier.model_.tokenizer) is type(tokenizer)
    assert classifier.model_.tokenizer is not tokenizer


@pytest.mark.parametrize("kind", FAMILY)
def test_stacked_training_is_training_one_by_one(kind):
    values, targets = torch.randn(23, E, S, generator=torch.Generator().manual_seed(1), dtype=torch.float64), torch.arange(23) % 3
    recipe = Recipe(steps=3, batch_size=7, warmup_steps=0, dtype="float64")
    models = [model_of(kind).double() for _ in range(4)]
    for number, model in enumerate(models):
        torch.manual_seed(number % 2)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    members = [Member(model, values, targets, recipe, number % 2, 3) for number, model in enumerate(models)]
    train_many(members[:2], plan=Plan(2))
    for member, twin in zip(members[:2], members[2:], strict=True):
        train_alone(replace(twin))
        for name, tensor in twin.model.state_dict().items():
            # Three steps of AdamW in float64; the contract's bound.
            torch.testing.assert_close(member.model.state_dict()[name], tensor, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", FAMILY)
def test_what_is_not_real_has_exactly_no_influence_not_even_nan(kind):
    model = model_of(kind).double().eval()
    recordings, mask = torch.randn(2, E, S, dtype=torch.float64), torch.ones(2, E, S, dtype=torch.bool)
    mask[0, :, 51:] = mask[0, 2, 20:40] = mask[1, 3] = False
    spoiled = recordings.where(mask, float("nan"))
    assert torch.equal(model(spoiled, mask), model(recordings, mask))
    found = torch.autograd.functional.jacobian(lambda x: model(x, mask), recordings)
    for sample in range(2):
        assert (found[sample, :, sample][:, ~mask[sample]] == 0).all()
        assert found[sample, :, sample][:, mask[sample]].isfinite().all()
        assert (found[sample, :, sample][:, mask[sample]] != 0).any()
        assert (found[sample, :, 1 - sample] == 0).all()


@pytest.mark.parametrize("kind", FAMILY)
def test_a_recording_without_a_real_sample_is_all_padding(kind):
    mask = torch.ones(2, E, dtype=torch.bool)
    mask[1] = False
    tokens = FAMILY[kind]()(torch.randn(2, E, S), mask)
    assert tokens.mask[0].all()
    assert not tokens.mask[1].any()
    assert tokens.values.isfinite().all()


@pytest.mark.parametrize("kind", FAMILY)
def test_a_mask_that_says_all_is_real_changes_nothing(kind):
    tokenizer, recordings = FAMILY[kind]().double(), torch.randn(2, E, S, dtype=torch.float64)
    # float64 sums in another order
    torch.testing.assert_close(tokenizer(recordings, torch.ones(2, E, dtype=torch.bool)).values, tokenizer(recordings).values, rtol=0, atol=1e-10)


PADDED = {
    "ConvStem": lambda: tokenizers.ConvStem(E, 7, kernel=5, pool=12, stride=4, width=8, leftover="pad"),
    "CovarianceTokens": lambda: tokenizers.CovarianceTokens(E, 16, 4, width=8, leftover="pad"),
    "SpectrogramPatches": lambda: tokenizers.SpectrogramPatches(E, RATE, "stft", 16, 4, patch=(4, 1), width=8, leftover="pad"),
    "Composite": lambda: tokenizers.Composite([PADDED["CovarianceTokens"](), PADDED["ConvStem"]()]),
}


@pytest.mark.parametrize("n_times", [1, 11, 12, 13, 17])
@pytest.mark.parametrize("kind", PADDED)
def test_a_recording_shorter_than_a_window_keeps_its_only_token_under_a_mask(kind, n_times):
    tokenizer, signal = PADDED[kind]().double(), torch.randn(2, E, n_times, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alone = tokenizer(signal, torch.ones(2, E, dtype=torch.bool))
    assert alone.mask.all()
    in_company = tokenizer(torch.nn.functional.pad(signal, (0, S - n_times)), (torch.arange(S) < n_times).expand(2, E, S))
    # float64 sums in another order
    torch.testing.assert_close(in_company.values[in_company.mask], alone.values.flatten(0, 1), rtol=0, atol=1e-10)


def test_the_classifier_measures_the_reference_on_its_training_windows(monkeypatch):
    seen, measure = [], tokenizers.CovarianceTokens.set_reference
    monkeypatch.setattr(tokenizers.CovarianceTokens, "set_reference", lambda self, signals: (seen.append(signals.clone()), measure(self, signals))[1])
    windows, labels = np.random.default_rng(0).normal(size=(23, E, S)), np.arange(23) % 2
    tokenizer = tokenizers.CovarianceTokens(E, S, S, width=8)
    classifier = sigvit.SignalViTClassifier(tokenizer=tokenizer, width=8, heads=2, depth=1, training_steps=1, classical=None).fit(windows, labels)
    standardised = torch.as_tensor((windows - classifier.center_[:, None]) / classifier.scale_[:, None], dtype=torch.float32)
    for signals in seen:  # one a network; each saw all training windows, or those of its inner fold
        assert (signals.flatten(1)[:, None] == standardised.flatten(1)).all(-1).any(-1).all()
    references = [measure(tokenizers.CovarianceTokens(E, S, S, width=8), signals).reference for signals in seen]
    assert any(torch.equal(classifier.model_.tokenizer.reference, reference) for reference in references)
    assert torch.equal(tokenizer.reference[0], torch.eye(E))


@pytest.mark.parametrize("positions", ["learned", "factorised", "coordinates", "none"])
@pytest.mark.parametrize("kind", FAMILY)
def test_positions_read_its_grid(kind, positions):
    model = model_of(kind, positions=positions)
    grid = model.tokenizer(torch.zeros(1, E, S)).grid
    assert (model.grid, model.grid.n_tokens) == (grid, model.tokenizer(torch.zeros(1, E, S)).values.shape[1])
    logits = model(torch.randn(2, E, S))
    assert logits.isfinite().all()
    if positions in ("learned", "factorised"):
        gradients = torch.autograd.grad(logits.square().sum(), list(model.positions.parameters()))
        assert all((gradient != 0).any() for gradient in gradients)

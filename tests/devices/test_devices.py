"""What runs on a GPU keeps its tensors there: tried on a pretended one (`conftest.py`), whose numbers are the CPU's."""

from unittest import mock

import mne
import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import sigvit
from sigvit import tokenizers
from sigvit.data.images import Images
from sigvit.evaluation.attribution import attribution
from sigvit.evaluation.few_shot import few_shot
from sigvit.evaluation.position_similarity import position_similarity, position_vectors
from sigvit.mixed_classifier import MixedRecordingClassifier
from sigvit.model import packing
from sigvit.training.augment_images import ImageAugmentation
from sigvit.training.evaluate import evaluate_images
from sigvit.training.group import Group
from sigvit.training.image_batches import ImageBatches
from sigvit.training.loop import train
from sigvit.training.many import Member, Plan, Snapshots, train_many
from sigvit.training.masked_autoencoder import MaskedAutoencoder
from sigvit.training.masked_patches import MaskedPatches
from sigvit.training.patch_targets import patch_target
from sigvit.training.recipe import Recipe
from sigvit.training.stacked import Stack
from sigvit.training.unlabelled import UnlabelledBatches

NAMES, RATE, S = ["O1", "F4", "Cz", "C3", "T8"], 64.0, 67
PLACED = {"names": NAMES, "sampling_rate": RATE, "width": 12}
FAMILY = {
    "patches": lambda: tokenizers.ElectrodeTimePatches(5, window=13, stride=11, **PLACED),
    "groups": lambda: tokenizers.ElectrodeTimePatches(5, "all", window=13, stride=11, **PLACED),
    "time steps": lambda: tokenizers.TimeStepTokens(5, window=7, **PLACED),
    "stem": lambda: tokenizers.ConvStem(5, 7, kernel=5, pool=11, stride=7, **PLACED),
    "whitened stem": lambda: tokenizers.ConvStem(5, 7, kernel=5, pool=11, stride=7, whiten=True, activation="log_power", **PLACED),
    "covariances": lambda: tokenizers.CovarianceTokens(5, 20, 10, **PLACED),
    "covariances of bands": lambda: tokenizers.CovarianceTokens(5, 32, 11, bands=((4, 9), (9, 30)), shrinkage=0.2, **PLACED),
    "covariances of filters": lambda: tokenizers.CovarianceTokens(5, 32, 11, n_filters=3, **PLACED),
    "spectrogram": lambda: tokenizers.SpectrogramPatches(5, window=16, stride=5, patch=(4, 3), **PLACED),
    "filter bank": lambda: tokenizers.SpectrogramPatches(5, kind="filter_bank", window=17, stride=7, bands=((4, 9), (9, 30)), patch=(2, 1), **PLACED),
    "wavelets": lambda: tokenizers.SpectrogramPatches(5, kind="morlet", window=None, stride=7, frequencies=(16, 24), cycles=3, patch=(2, 1), **PLACED),
    "scalp maps": lambda: tokenizers.ScalpMapPatches(5, (6, 10), (3, 5), 4, 3, **PLACED),
    "several": lambda: tokenizers.Composite([tokenizers.TimeStepTokens(5, window=7, **PLACED), tokenizers.CovarianceTokens(5, 20, 10, **PLACED)]),
}


def windows(count: int = 23) -> sigvit.Windows:
    generator = np.random.default_rng(0)
    return sigvit.windows_from_arrays(generator.normal(0, 1e-5, (count, 5, S)), np.arange(count) % 3, NAMES, RATE)


def signal_model(kind: str, positions: str = "coordinates") -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    model = sigvit.signal_vit(NAMES, S, RATE, 3, FAMILY[kind](), positions, width=12, heads=2)
    nn.init.normal_(model.head.weight)
    return model.double()


def image_model(**choices) -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    model = sigvit.vit("Ti/4", image_size=(12, 8), num_classes=3, depth=2, width=12, heads=3, **choices)
    nn.init.normal_(model.head.weight)
    return model.double()


def images() -> Images:
    return Images(np.arange(29) % 3, ("a", "b", "c"), np.random.default_rng(0).integers(0, 256, (29, 13, 11, 3), dtype=np.uint8))


@pytest.fixture
def assert_as_on_the_cpu(gpu):
    def check(compute, tolerance: float = 1e-9) -> None:
        """`compute(device)` gives the numbers that it gives without a GPU: in float64 but for sums in another order, by where memory lies."""
        with gpu():
            found = compute("cuda")
        np.testing.assert_allclose(np.asarray(found), np.asarray(compute("cpu")), rtol=tolerance, atol=tolerance)

    return check


def logits_and_gradients(model: nn.Module, signal, device: str) -> np.ndarray:
    model = model.to(device).train()
    logits = model(signal)
    logits.square().sum().backward()
    return np.concatenate([each.detach().cpu().numpy().ravel() for each in (logits, *(each.grad for each in model.parameters() if each.grad is not None))])


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: torch.ones(3, device="cuda") + torch.ones(3),
        lambda: torch.ones(3)[torch.zeros(2, dtype=torch.int64, device="cuda")],
        lambda: torch.ones(3, device="cuda").numpy(),
        lambda: torch.randn(3, device="cuda", generator=torch.Generator()),
        lambda: nn.Linear(3, 2).to("cuda")(torch.ones(5, 3)),
        lambda: torch.vmap(lambda row: row + torch.ones(3))(torch.ones(5, 3, device="cuda")),
        lambda: torch.ones(3, device="cuda").pin_memory(),
        lambda: torch.stack([torch.ones((), device="cuda"), torch.ones(())]),
    ],
)
def test_the_pretended_gpu_refuses_what_cuda_refuses(mistake, gpu):
    with gpu(), pytest.raises(RuntimeError, match="CUDA would refuse"):
        mistake()


@pytest.mark.parametrize("kind", FAMILY)
def test_windows_become_tokens_and_logits_on_the_gpu(kind, assert_as_on_the_cpu):
    signal = torch.randn(3, 5, S, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_as_on_the_cpu(lambda device: logits_and_gradients(signal_model(kind), signal.to(device), device))


@pytest.mark.parametrize("kind", [kind for kind in FAMILY if kind != "groups"])
def test_recordings_of_several_caps_do(kind, assert_as_on_the_cpu):
    def compute(device: str) -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        caps = ((NAMES, RATE, 67), (["C3", "Cz", "O2"], 50.0, 71))
        values = [torch.randn(len(names), count, generator=generator, dtype=torch.float64).to(device) for names, _, count in caps]
        recordings = [(each, mne.create_info(names, rate, "eeg")) for each, (names, rate, _) in zip(values, caps, strict=True)]
        return logits_and_gradients(signal_model(kind), sigvit.collate_windows(recordings), device)

    assert_as_on_the_cpu(compute)


@pytest.mark.parametrize("positions", ["learned", "factorised", "sincos", "rotary", "coordinates"])
def test_positions_do(positions, assert_as_on_the_cpu):
    images = torch.randn(2, 3, 12, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_as_on_the_cpu(lambda device: logits_and_gradients(image_model(positions=positions), images.to(device), device))


@pytest.mark.parametrize(
    "choices",
    [
        {"noise": 0.1, "time_mask": 0.2, "channel_dropout": 0.3, "amplitude_scale": 0.2, "early_stopping": True},
        {"surrogate": 0.5, "frequency_shift": 1.0, "recombination": 0.5, "class_weight": "balanced", "stochastic_depth": 0.2},
        {"whiten": True, "classical": "auto"},
        {"tokenizer": FAMILY["covariances of bands"](), "ensemble": False, "class_weight": "balanced"},
    ],
    ids=["augmented", "recombined", "whitened, with its classical half", "covariances"],
)
def test_the_classifier_trains_and_predicts_there(choices, assert_as_on_the_cpu):
    def compute(device: str) -> np.ndarray:
        settings = {"training_steps": 5, "width": 12, "heads": 2, "batch_size": 7, "classical": None, "dtype": "float64"} | choices
        return sigvit.SignalViTClassifier(**settings, device=device).fit(windows(), windows().labels).predict_proba(windows())

    assert_as_on_the_cpu(compute)


def test_packed_attention_in_half_precision_is_by_blocks_where_torch_has_none_of_variable_lengths(monkeypatch, assert_as_on_the_cpu):
    monkeypatch.setattr(packing, "HAS_VARIABLE_LENGTHS", False)  # as with torch before 2.10
    query, key, value = torch.randn(3, 1, 2, 15, 16, generator=torch.Generator().manual_seed(0)).bfloat16()

    def compute(device: str) -> np.ndarray:
        mask = torch.arange(7)[None] < torch.tensor([7, 3, 5])[:, None]
        answer = packing.Packing(mask.to(device)).attend(query.to(device), key.to(device), value.to(device))
        return answer.float().cpu().numpy()

    assert_as_on_the_cpu(compute, 0.02)  # 8 bits, and one of sums in another order


@pytest.mark.parametrize("kind", ["stem", "scalp maps"])
def test_convolutions_of_a_stack_are_cast_there(kind, assert_as_on_the_cpu):
    signal = torch.randn(3, 2, 5, S, generator=torch.Generator().manual_seed(0))

    def compute(device: str) -> np.ndarray:
        stack = Stack([signal_model(kind).float().to(device) for _ in range(3)])
        with torch.autocast(device, torch.bfloat16):
            logits = stack.logits(signal.to(device))
        assert logits.dtype == torch.bfloat16
        return logits.detach().float().cpu().numpy()

    assert_as_on_the_cpu(compute, 0.05)  # attention rounds to 8 bits at other places on a CPU


def test_a_stack_of_unequal_trainings_goes_on_there_after_a_kill(tmp_path, assert_as_on_the_cpu):
    def kill(steps: int) -> None:
        if steps >= 15:  # one has ended after seven steps; the snapshot holds two losses of the other, which looks every five
            raise KeyboardInterrupt

    def members(device: str) -> list[Member]:
        data = windows()
        values, targets = torch.as_tensor(data.values * 1e5, dtype=torch.float64, device=device), torch.arange(23, device=device) % 3
        recipes = [Recipe(steps=steps, batch_size=7, dtype="float64", validate_every=5) for steps in (7, 13)]
        return [Member(signal_model("patches").to(device), values, targets, recipe, 0, key=f"{recipe.steps}") for recipe in recipes]

    def compute(device: str) -> list[float]:
        folder, trained = tmp_path / device, members(device)
        with pytest.raises(KeyboardInterrupt):
            train_many(members(device), Plan(2), Snapshots(folder, seconds=0.0), kill)
        return [history[-1]["train_loss"] for history in train_many(trained, Plan(2), Snapshots(folder, seconds=0.0))]

    assert_as_on_the_cpu(compute)


class Waits(TorchFunctionMode):
    """Counts copies to the GPU for which the CPU waits until the GPU has done all that it was asked for."""

    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if function is torch.Tensor.to and made.is_cuda and not args[0].is_cuda and not (kwargs or {}).get("non_blocking"):
            self.count += 1
        return made


@pytest.mark.parametrize(
    "choices",
    [
        {"noise": 0.1, "time_mask": 0.2, "channel_dropout": 0.3, "amplitude_scale": 0.2, "time_shift": 0.1, "mixup": 0.4},
        {"surrogate": 0.5, "frequency_shift": 1.0, "recombination": 0.5, "cutmix": 1.0},
    ],
)
def test_a_step_of_a_stack_waits_for_the_gpu_nowhere(choices, gpu):
    with gpu():
        values, targets = torch.randn(23, 5, S, dtype=torch.float64).to("cuda"), (torch.arange(23) % 3).to("cuda")
        recipe = Recipe(steps=2, batch_size=7, dtype="float64", **choices)
        group = Group([Member(signal_model("stem").to("cuda"), values, targets, recipe, seed, sampling_rate=RATE) for seed in range(3)])
        group.step()  # tables of positions are made once
        with Waits() as waits:
            group.step()
    assert waits.count == 0


@pytest.mark.parametrize("kind", [sigvit.SignalViTClassifier, MixedRecordingClassifier])
def test_a_fit_leaves_the_random_numbers_of_the_gpu_alone(kind, gpu):
    classifier = kind(training_steps=2, width=12, heads=2, device="cuda")
    if kind is sigvit.SignalViTClassifier:
        classifier.set_params(classical=None, ensemble=False)
    with gpu(), mock.patch.object(torch.cuda, "manual_seed_all", side_effect=AssertionError("they are the caller's")):
        classifier.fit(windows(), windows().labels)


def test_images_are_trained_on_and_judged_there(assert_as_on_the_cpu):
    augmentation = ImageAugmentation(
        crop_area=(0.3, 1.0), flip=True, randaugment_layers=2, randaugment_magnitude=15, erasing=0.5, repeats=2, colour_jitter=0.3, mean=(0.5,), std=(0.5,)
    )
    recipe = Recipe(steps=3, batch_size=8, dtype="float64", warmup_steps=1, mixup=0.4, cutmix=1.0, layer_decay=0.8, ema_decay=0.9)

    def compute(device: str) -> list[float]:
        model = image_model(dropout=0.1, stochastic_depth=0.1, registers=2).to(device)
        asked: list[bool] = []
        batches = ImageBatches(images(), augmentation, recipe, 0, device, 0, (12, 8))
        train(model, batches, recipe, 0, on_step=lambda step: asked.append(torch.are_deterministic_algorithms_enabled()))
        assert asked == [device == "cuda"] * 3
        return [evaluate_images(model, images(), augmentation, (12, 8), dtype="float64").loss, *next(model.head.parameters()).flatten().tolist()]

    assert_as_on_the_cpu(compute)


@pytest.mark.parametrize("objective", [MaskedPatches, MaskedAutoencoder])
def test_images_are_learned_from_without_labels_there(objective, assert_as_on_the_cpu):
    recipe, augmentation = Recipe(steps=2, batch_size=8, dtype="float64", warmup_steps=0), ImageAugmentation(mean=(0.5,), std=(0.5,))

    def compute(device: str) -> np.ndarray:
        model = image_model()
        batches = ImageBatches(images(), augmentation, recipe, 0, device, 0, (12, 8))
        target = patch_target(model.tokenizer, "mean" if objective is MaskedPatches else "normalised", torch.rand(11, 3, 12, 8))
        whole = objective(model, target).to(device, torch.float64)
        train(whole, UnlabelledBatches(batches, 0), recipe, 0)
        return next(whole.parameters()).detach().cpu().numpy()

    assert_as_on_the_cpu(compute)


def test_a_model_is_looked_into_adapted_and_saved_there(tmp_path, assert_as_on_the_cpu):
    signal = torch.randn(4, 5, S, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def compute(device: str) -> np.ndarray:
        model = signal_model("patches", "factorised").to(device).eval()
        inputs, targets = signal.to(device), torch.tensor([0, 1, 2, 0], device=device)
        seen = attribution(model, inputs, inputs.flip(0), targets=targets).values
        similar = position_similarity(position_vectors(model))
        shots = few_shot(model.features(inputs).detach().repeat(5, 1), targets.repeat(5), model.features(inputs).detach(), targets, shots=(1,))
        model.save_pretrained(tmp_path / device)
        found = sigvit.VisionTransformer.from_pretrained(tmp_path / device)(signal)
        adapted = sigvit.adapt(sigvit.load_weights(image_model().to(device), image_model().state_dict(), "sigvit"), image_size=16)
        numbers = (seen, similar, list(shots.values()), found.detach(), adapted.head.weight.detach().cpu())
        return np.concatenate([np.asarray(each).ravel() for each in numbers])

    assert_as_on_the_cpu(compute)

"""Torch's settings inside of a training, and what is left of them behind it."""

from collections.abc import Iterator
from threading import Event, Thread

import pytest
import torch
from torch import nn

import sigvit
from sigvit.data.synthetic import synthetic_windows
from sigvit.training.batches import RecordingBatches
from sigvit.training.loop import train
from sigvit.training.recipe import Recipe
from sigvit.training.settings import default_settings, deterministic_algorithms, exact_convolutions


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float64")
def test_the_default_type_outlives_trainings_of_several_threads_that_end_in_the_order_of_their_beginnings():
    begun, ended, found = Event(), Event(), []

    def first() -> None:
        with default_settings():
            thread.start()
            assert begun.wait(7)
        ended.set()

    def second() -> None:
        with default_settings():
            begun.set()
            assert ended.wait(7)
            found.append(torch.zeros(1).dtype)

    thread = Thread(target=second)
    first()
    thread.join()
    assert found == [torch.float32], "the other's end changes nothing of one that still trains"
    assert torch.get_default_dtype() == torch.float64


@pytest.mark.usefixtures("float64")
def test_a_training_that_fails_inside_of_another_leaves_the_default_type_as_it_was():
    with default_settings():
        with pytest.raises(KeyError), default_settings():
            raise KeyError
        assert torch.get_default_dtype() == torch.float32
    assert torch.get_default_dtype() == torch.float64


def cudnn() -> tuple[bool, bool, bool, str]:
    told = torch.backends.cudnn
    return told.deterministic, told.benchmark, told.allow_tf32, told.conv.fp32_precision


def test_convolutions_are_exact_while_a_network_trains_and_predicts():
    before, seen = cudnn(), []
    batches = RecordingBatches(torch.eye(7)[:, None], torch.arange(7) % 2, Recipe(steps=3, batch_size=5), seed=0)
    train(nn.Sequential(nn.Flatten(), nn.Linear(7, 2)), batches, batches.recipe, on_step=lambda step: seen.append(cudnn()))
    windows = synthetic_windows()
    fitted = sigvit.SignalViTClassifier(training_steps=1, classical=None, ensemble=False).fit(windows, windows.labels)
    fitted.model_.register_forward_hook(lambda *_: seen.append(cudnn()))
    fitted.predict_proba(windows)
    assert set(seen) == {(True, False, False, "ieee")}
    assert len(seen) == 4, "three steps and one part of the windows"
    assert cudnn() == before


def test_a_precision_that_was_chosen_the_newer_way_comes_back():
    convolutions = torch.backends.cudnn.conv
    before, convolutions.fp32_precision = convolutions.fp32_precision, "tf32"
    try:
        torch.backends.cudnn.rnn.fp32_precision = "ieee"  # now torch refuses to read `allow_tf32`, which would speak for both
        with exact_convolutions():
            assert convolutions.fp32_precision == "ieee"
        assert convolutions.fp32_precision == "tf32"
    finally:
        torch.backends.cudnn.allow_tf32 = before == "tf32"


@pytest.mark.parametrize(("asked", "inside"), [(None, (True, True)), (False, (True, False))], ids=["nobody asked", "an error was asked for"])
def test_on_a_gpu_deterministic_algorithms_are_asked_for_and_who_asked_before_is_left_alone(asked, inside):
    def told() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    if asked is not None:
        torch.use_deterministic_algorithms(True, warn_only=asked)
    before = told()
    try:
        with deterministic_algorithms(torch.device("cpu")):
            assert told() == before
        with deterministic_algorithms(torch.device("cuda")):
            assert told() == inside
            assert torch.utils.deterministic.fill_uninitialized_memory is (asked is not None)
        assert told() == before
        assert torch.utils.deterministic.fill_uninitialized_memory
    finally:
        torch.use_deterministic_algorithms(False)

"""Torch's settings inside of a training, and what is left of them behind it."""

from collections.abc import Iterator
from threading import Event, Thread

import pytest
import torch

from sigvit.training.settings import default_settings


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

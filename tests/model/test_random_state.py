"""Whoever seeds the process's generators has them alone for that long."""

import multiprocessing
from threading import Event, Thread

import pytest
import torch

from sigvit.model.random_state import borrowed_random_state, shared_random_state


def test_a_thread_that_seeds_draws_what_it_seeded_and_the_process_goes_on_where_it_was():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(5)
    alone = torch.rand(7)
    torch.manual_seed(3)
    seeded = Event()

    def second() -> None:
        with borrowed_random_state():
            torch.manual_seed(11)
            seeded.set()
            torch.rand(13)

    thread = Thread(target=second)
    with borrowed_random_state():
        torch.manual_seed(5)
        thread.start()
        assert not seeded.wait(0.1), "its turn comes afterwards"
        with borrowed_random_state():  # a thread that has its turn may ask again
            torch.manual_seed(17)
        assert torch.equal(torch.rand(7), alone)
    thread.join()
    assert seeded.is_set()
    assert torch.equal(torch.rand(2), expected)


def test_those_who_share_the_generators_hold_up_nobody_and_the_last_brings_the_state_back():
    before = torch.get_rng_state()
    inside, leave, drawn = Event(), Event(), []

    def first() -> None:
        with shared_random_state(7):
            drawn.append(torch.rand(3))
            inside.set()
            leave.wait(10)

    def second() -> None:
        with borrowed_random_state():
            torch.manual_seed(11)

    thread = Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with shared_random_state(7):
        leave.set()
        thread.join()
        turn = Thread(target=second, daemon=True)
        turn.start()
        turn.join(10)
        assert not turn.is_alive()
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
    assert torch.equal(torch.get_rng_state(), before)


def _take_a_turn() -> None:
    with borrowed_random_state():
        pass


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="nothing forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_in_another_threads_turn_gets_its_own():
    taken, leave = Event(), Event()

    def hold() -> None:
        with borrowed_random_state():
            taken.set()
            leave.wait(20)

    thread = Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    process = multiprocessing.get_context("fork").Process(target=_take_a_turn, daemon=True)
    process.start()
    process.join(10)
    ended = process.exitcode
    process.kill()
    leave.set()
    thread.join()
    assert ended == 0

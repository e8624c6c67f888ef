"""Whoever seeds the process's generators has them alone for that long."""

from threading import Event, Thread

import torch

from sigvit.model.random_state import borrowed_random_state


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

"""Turns of steps, on a clock of the test's own."""

from functools import partial
from types import SimpleNamespace

import pytest

from sigvit import timing
from sigvit.timing import A_TURN, MOST_CALLS, step_times


def test_short_steps_follow_their_like_and_long_ones_come_once_a_turn(monkeypatch):
    now, seconds = [0.0], {"shortest": 1e-6, "short": A_TURN / 7, "long": 2 * A_TURN}
    calls = dict.fromkeys(seconds, 0)
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def step(name):
        calls[name] += 1
        now[0] += seconds[name]

    times = step_times({name: partial(step, name) for name in seconds}, rounds=3)
    assert calls == {"shortest": 2 + 3 * MOST_CALLS, "short": 2 + 3 * 7, "long": 2 + 3}
    for name, found in times.items():
        assert found == pytest.approx([seconds[name]] * 3, rel=1e-6)  # differences of a clock in double precision

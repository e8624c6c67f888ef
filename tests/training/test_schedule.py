"""Schedules: warm-up from zero, the published curves, and no jump."""

import itertools
import math

import pytest

from sigvit.training.recipe import Recipe
from sigvit.training.schedule import learning_rate_factor

STEPS, WARMUP = 211, 13
SCHEDULES = {
    "cosine": Recipe(steps=STEPS, warmup_steps=WARMUP),
    "linear": Recipe(steps=STEPS, warmup_steps=WARMUP, schedule="linear"),
    "rsqrt": Recipe(steps=STEPS, warmup_steps=WARMUP, schedule="rsqrt"),
    "constant": Recipe(steps=STEPS, warmup_steps=WARMUP, schedule="constant"),
    "cosine to a tenth": Recipe(steps=STEPS, warmup_steps=WARMUP, final_factor=0.1),
    "linear to a tenth": Recipe(steps=STEPS, warmup_steps=WARMUP, schedule="linear", final_factor=0.1),
    "rsqrt and cooldown": Recipe(steps=STEPS, warmup_steps=WARMUP, schedule="rsqrt", cooldown_steps=31),
    "rsqrt and cooldown to a tenth": Recipe(steps=STEPS, warmup_steps=WARMUP, schedule="rsqrt", cooldown_steps=31, final_factor=0.1),
    "constant and cooldown": Recipe(steps=STEPS, warmup_steps=WARMUP, schedule="constant", cooldown_steps=31, final_factor=0.1),
}
# Where a schedule would be one step after the last.
ENDS = {
    "cosine": 0.0,
    "linear": 0.0,
    "rsqrt": math.sqrt(WARMUP / STEPS),
    "constant": 1.0,
    "cosine to a tenth": 0.1,
    "linear to a tenth": 0.1,
    "rsqrt and cooldown": 0.0,
    "rsqrt and cooldown to a tenth": 0.1 * math.sqrt(WARMUP / STEPS),  # of the rate that rsqrt has there, not of the recipe's
    "constant and cooldown": 0.1,
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_warm_up_is_a_line_from_zero_to_one(name):
    assert [learning_rate_factor(SCHEDULES[name], step) for step in range(WARMUP)] == [(step + 1) / WARMUP for step in range(WARMUP)]


@pytest.mark.parametrize("name", SCHEDULES)
def test_after_the_warm_up_nothing_rises_or_jumps_and_the_end_is_reached(name):
    factors = [learning_rate_factor(SCHEDULES[name], step) for step in range(WARMUP - 1, STEPS + 1)]
    falls = [before - after for before, after in itertools.pairwise(factors)]
    assert min(falls) >= 0
    # The steepest are the cooldown's line over 31 steps and the beginning of rsqrt, 1 / (2 · 13) a step.
    assert max(falls) < 1 / 20
    assert factors[-1] == pytest.approx(ENDS[name], abs=1e-12)  # one rounding of a cosine


@pytest.mark.parametrize("schedule", ["cosine", "linear", "rsqrt", "constant"])
def test_there_may_be_no_warm_up(schedule):
    assert learning_rate_factor(Recipe(steps=7, warmup_steps=0, schedule=schedule), 0) == 1.0


def test_the_papers_pre_training_ends_at_a_hundredth_along_a_line():
    recipe = Recipe(steps=1000, warmup_steps=100, schedule="linear", final_factor=0.01)
    for share in (1 / 4, 1 / 2):  # of the way after the warm-up; half-way a cosine is where the line is
        assert learning_rate_factor(recipe, 100 + round(900 * share)) == pytest.approx(1 - 0.99 * share)


def test_a_quarter_of_the_rate_comes_at_sixteen_times_the_warm_up():
    recipe = Recipe(steps=10_000, warmup_steps=100, schedule="rsqrt")
    assert learning_rate_factor(recipe, 1600) == 0.25

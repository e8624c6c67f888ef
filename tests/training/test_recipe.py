"""Recipes: ranges, choices, and no field that nothing reads."""

import re
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest

import sigvit
from sigvit.training.recipe import Recipe

OUTSIDE = [
    ("steps", 0),
    ("learning_rate", 0.0),
    ("ema_decay", 1.0),
    ("dtype", "float16"),
    ("noise", -1.0),
    ("accumulation", 0),
    ("optimizer", "adagrad"),
    ("schedule", "step"),
    ("loss", "hinge"),
    ("layer_decay", 0.0),
    ("final_factor", 1.5),
    ("betas", (0.9, 1.0)),
    ("cutmix", -0.5),
]
KINDLESS = [
    ("steps", 7.5, "a whole number"),
    ("batch_size", 3.5, "a whole number"),
    ("warmup_steps", float("inf"), "a whole number"),
    ("steps", "5", "a whole number"),
    ("learning_rate", "fast", "a number"),
    ("betas", 0.9, "two numbers"),
    ("compile", "no", "True or False"),
    ("steps", True, "a whole number"),
    ("noise", True, "a number"),
    ("betas", (0.9,), "two numbers"),
    ("learning_rate", float("inf"), "a number, and finite"),
    ("mixup", float("inf"), "a number, and finite"),
    ("weight_decay", float("nan"), "a number, and finite"),
    ("clip_norm", float("nan"), "above 0"),
]
UNREAD = [
    ({"momentum": 0.5}, "momentum is 0.5, but nothing reads it: optimizer is 'adamw'"),
    ({"betas": (0.9, 0.99), "optimizer": "sgd"}, "betas is"),
    ({"cooldown_steps": 5}, "cooldown_steps is 5, but nothing reads it: schedule is 'cosine'"),
    ({"final_factor": 0.1, "schedule": "rsqrt"}, "final_factor is 0.1, but nothing reads it"),
    ({"mixing_probability": 0.5}, "mixing_probability is 0.5, but nothing reads it"),
]


@pytest.mark.parametrize(("field", "value"), OUTSIDE)
def test_numbers_outside_their_range_are_named(field, value):
    with pytest.raises(ValueError, match=re.escape(f"{field} is {value}; it must be ")):
        Recipe(**{field: value})


@pytest.mark.parametrize(("field", "value", "words"), KINDLESS)
def test_what_is_of_another_kind_is_named(field, value, words):
    with pytest.raises(ValueError, match=re.escape(f"{field} is {value}; it must be {words}.")):
        Recipe(**{field: value})


def test_numbers_of_numpy_and_lists_become_plain():
    chosen = {
        "steps": np.int64(7),
        "learning_rate": np.logspace(-3, -2, 3)[0],
        "mixup": np.float32(0.5),
        "compile": np.bool_(True),
        "optimizer": np.str_("adam"),
    }
    recipe = Recipe(**chosen, warmup_steps=1e3, betas=[np.float64(0.8), 0.95])
    assert recipe == Recipe(steps=7, learning_rate=1e-3, mixup=0.5, compile=True, optimizer="adam", warmup_steps=1000, betas=(0.8, 0.95))
    assert {type(getattr(recipe, name)) for name in chosen} == {int, float, bool, str}
    assert isinstance(recipe.warmup_steps, int)
    assert [type(beta) for beta in recipe.betas] == [float, float]


def test_a_norm_without_end_clips_nothing():
    assert Recipe(clip_norm=float("inf")).clip_norm == float("inf")


def test_a_subclass_may_have_fields_of_its_own():
    @dataclass(frozen=True)
    class Weighted(Recipe):
        weights: dict[str, float] | None = None

    assert Weighted(steps=np.int64(7), weights={"left": 2.0}) == Weighted(steps=7, weights={"left": 2.0})


@pytest.mark.parametrize(("changes", "sentence"), UNREAD)
def test_a_field_that_the_other_choices_leave_unread_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Recipe(**changes)


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_every_field_is_read_by_the_training(name):
    files = [path for path in (Path(sigvit.__file__).parent / "training").glob("*.py") if path.name not in ("recipe.py", "image_run.py")]
    assert any(re.search(rf"recipe\.{name}\b", path.read_text()) for path in files)

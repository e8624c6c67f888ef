"""The family is one table, and its parameter counts are those of the literature."""

import pytest
import torch

import sigvit
from sigvit.model.config import ModelConfig
from sigvit.model.families import family

COUNTS = {
    "Ti/16": 5_717_416,
    "S/16": 22_050_664,
    "B/16": 86_567_656,
    "B/32": 88_224_232,
    "L/16": 304_326_632,
    "L/32": 306_535_400,
    "H/14": 632_045_800,
    "g/14": 1_012_611_432,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_those_of_the_literature(name):
    with torch.device("meta"):
        model = sigvit.vit(name, image_size=224, num_classes=1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[name]


def test_without_a_class_token_there_are_two_vectors_less():
    with torch.device("meta"):
        model = sigvit.vit("B/16", pool="mean")
    assert sum(parameter.numel() for parameter in model.parameters()) == 86_566_120


@pytest.mark.parametrize("name", ["XL/16", "B/", "B/0", "B-16", "b/16", "B/16x8", ""])
def test_an_unknown_name_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match="Ti, S, B, L, H, g"):
        family(name)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"num_classes": 0}, "num_classes is 0"),
        ({"depth": 0}, "depth is 0"),
        ({"heads": 5}, "8 can't be split among 5 heads"),
        ({"pool": "max"}, "'class', 'mean', 'map'"),
        ({"positions": "sinus"}, "'learned', 'factorised', 'sincos', 'coordinates'"),
        ({"gelu": "relu"}, "'erf', 'tanh'"),
        ({"eps": -1.0}, "eps is -1.0"),
        ({"eps": 0.0}, "finite and above 0"),
        ({"eps": float("nan")}, "eps is nan"),
        ({"eps": float("inf")}, "eps is inf"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"stochastic_depth": -0.1}, "stochastic_depth is -0.1"),
        ({"stochastic_depth": (0.2, 1.0)}, r"stochastic_depth is \(0.2, 1.0\)"),
        ({"stochastic_depth": (0.2, 0.2, 0.2)}, "must be a number or two numbers"),
        ({"class_token": False}, "reads the class token"),
        ({"registers": -1}, "can't be negative"),
        ({"representation": 0}, "at least 1"),
    ],
)
def test_choices_that_make_no_model_are_refused(arguments, sentence):
    sizes = {"num_classes": 3, "width": 8, "depth": 1, "heads": 2, "mlp_width": 11}
    with pytest.raises(ValueError, match=sentence):
        ModelConfig((3, 16, 16), **{**sizes, **arguments})

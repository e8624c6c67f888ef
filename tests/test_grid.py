"""Grid and tokens: sizes, coordinates, plain data, and sentences for what contradicts itself."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch

from sigvit.grid import Axis, Grid, OpenAxis
from sigvit.tokens import Tokens

ELECTRODES = Axis("electrode", "m", ((0.01, 0.02, 0.03), (math.nan,) * 3, (-0.01, 0.0, 0.1)), ("C3", "unknown", "Cz"))
TIME = Axis.regular("time", "s", 5, first=0.125, step=0.25)


def test_coordinates_are_row_major_with_the_last_axis_fastest():
    coordinates = Grid((ELECTRODES, TIME)).coordinates()
    assert coordinates.shape == (15, 4)
    assert coordinates[1].tolist() == [0.01, 0.02, 0.03, 0.375]
    assert coordinates[10].tolist() == [-0.01, 0.0, 0.1, 0.125]
    assert np.isnan(coordinates[7, :3]).all()


def test_grid_survives_json_with_unknown_coordinates():
    grid = Grid((ELECTRODES, TIME))
    restored = Grid.from_dict(json.loads(json.dumps(grid.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(restored.coordinates(), grid.coordinates())
    assert restored == grid
    assert hash(restored) == hash(grid)
    assert restored.axis("electrode").labels == ("C3", "unknown", "Cz")


def test_special_tokens_are_found_by_name_and_sit_nowhere():
    tokens = Tokens(torch.zeros(2, 5, 3), Grid((TIME,))).prepend({"register 0": torch.ones(3)}).prepend({"class": 2 * torch.ones(3)})
    assert tokens.special == ("class", "register 0")
    assert tokens.token("class").tolist() == [[2.0] * 3] * 2
    assert tokens.coordinates[:2].isnan().all()
    assert tokens.patches().values.shape == (2, 5, 3)
    with pytest.raises(KeyError, match="register 0"):
        tokens.token("map")


def test_explicit_coordinates_follow_prepended_tokens():
    coordinates = torch.randn(2, 5, 4)
    tokens = Tokens(torch.zeros(2, 5, 3), coordinates=coordinates).prepend({"class": torch.ones(3)})
    assert torch.equal(tokens.patches().coordinates, coordinates)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Axis("time", "s", ()), "at least one coordinate"),
        (lambda: Axis("time", "s", ((1.0,), (1.0, 2.0))), "mixes coordinates"),
        (lambda: Axis("time", "s", ((1.0,),), ("a", "b")), "2 labels"),
        (lambda: Grid((TIME, TIME)), "each name once"),
        (lambda: Grid((TIME,)).axis("row"), "no axis 'row'"),
        (lambda: Tokens(torch.zeros(2, 7, 3), Grid((TIME,))), "7 patch tokens"),
        (lambda: Tokens(torch.zeros(2, 5, 3), mask=torch.ones(2, 5)), "bool of shape"),
        (lambda: Tokens(torch.zeros(2, 5, 3), coordinates=torch.zeros(7, 1)), "coordinates for 7"),
        (lambda: Tokens(torch.zeros(2, 5, 3)).coordinates, "neither a grid nor coordinates"),
    ],
)
def test_contradictions_are_sentences(make, sentence):
    with pytest.raises((ValueError, KeyError), match=sentence):
        make()


def test_axes_of_unknown_places_stay_equal_when_they_are_pickled():
    grid = Grid((Axis("electrode", "m", ((math.nan,) * 3,) * 2),))
    again = pickle.loads(pickle.dumps(grid))
    assert again == grid
    assert hash(again) == hash(grid)


def test_an_open_axis_keeps_its_size_when_it_is_copied():
    for again in (copy.copy, copy.deepcopy, lambda axis: pickle.loads(pickle.dumps(axis))):
        axis = again(OpenAxis("row", "px", steps=7))
        assert (axis, axis.size) == (OpenAxis("row", "px", steps=7), 7)

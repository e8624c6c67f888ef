"""Labels as people give them: read in one way, and refused where numpy would make one of several, or a class of a gap."""

from enum import Enum

import numpy as np
import pandas as pd
import pytest

from sigvit.labels import plain_labels, text_of


class Hand(str, Enum):  # noqa: UP042 (text of which numpy cuts "Hand.left" to a length)
    left = "left hand"
    right = "right hand"


class Side(Enum):
    left = 3
    right = 5


@pytest.mark.parametrize("gap", [None, float("nan"), np.float32("nan"), pd.NA, pd.NaT])
@pytest.mark.parametrize("name", ["a", 7])
def test_a_label_that_is_missing_is_no_class(gap, name):
    with pytest.raises(ValueError, match="2 of 5 windows of mine have no label, the first in row 1"):
        plain_labels([name, gap, name, gap, name], "windows of mine")


def test_masked_labels_are_missing():
    with pytest.raises(ValueError, match="1 of 3 windows have no label, the first in row 2"):
        plain_labels(np.ma.array([1, 0, 1], mask=[False, False, True]), "windows")


def test_members_of_an_enum_are_their_values():
    assert plain_labels([Hand.left, Hand.right], "windows").tolist() == ["left hand", "right hand"]
    assert plain_labels(np.array([Side.right, Side.left], dtype=object), "windows").tolist() == [5, 3]


def test_scalar_tensors_are_the_numbers_in_them():
    torch = pytest.importorskip("torch")
    assert plain_labels([label for _, label in zip("abc", torch.tensor([3, 1, 3]), strict=True)], "windows").tolist() == [3, 1, 3]
    assert plain_labels([torch.tensor(True), torch.tensor(False)], "windows").tolist() == [True, False]
    assert text_of(torch.tensor(7.0)) == "7"
    with pytest.raises(ValueError, match="1 of 3 windows have no label, the first in row 1"):
        plain_labels([torch.tensor(2.0), torch.tensor(float("nan")), torch.tensor(1.0)], "windows")
    with pytest.raises(ValueError, match="they would be one"):
        plain_labels([torch.tensor(7), "7"], "windows")


def test_dates_stay_dates():
    days = [np.datetime64("2020-01-03", "ns"), np.datetime64("2020-01-02", "ns")]
    np.testing.assert_array_equal(plain_labels(np.array(days, dtype=object), "windows"), np.array(days), strict=True)


@pytest.mark.parametrize("labels", [["1", 1, "2"], [Side.left, "3", Hand.left], [True, "True", "b"], ["a", "a\0", "b"], [2**53, 2**53 + 1, 0.5]])
def test_labels_that_numpy_would_make_one_are_refused(labels):
    with pytest.raises(ValueError, match="they would be one"):
        plain_labels(labels, "windows")


def test_labels_come_as_this_machine_has_them():
    for labels in (np.array([3, 1, 2], ">i4"), np.array([0.5, 0.25, 1.0], ">f4"), np.array(["x", "ä", "x"], ">U1")):
        plain = plain_labels(labels, "windows")
        assert plain.dtype == labels.dtype.newbyteorder("=")
        assert plain.dtype.isnative
        assert plain.tolist() == labels.tolist()
    assert plain_labels(np.array(["x", "y"], np.dtypes.StringDType()), "windows").dtype == "<U1"
    native = np.array([3, 1, 2], np.int8)
    assert plain_labels(native, "windows") is native

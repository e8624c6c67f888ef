"""How much classes count, and what a network learns of how frequent they are."""

import math
import re

import numpy as np
import pytest
import torch
from torch.nn import functional

from sigvit.class_shares import class_weights, taught_shares

TARGETS, CLASSES = np.array([0, 1, 0]), ["left", "right"]


def test_a_class_that_this_part_lacks_may_have_a_weight_where_all_that_are_here_do():
    assert class_weights({"left": 2, "rest": 5, "right": 3}, TARGETS, CLASSES).tolist() == [2, 3]
    with pytest.raises(ValueError, match=r"class_weight names rest; .* classes \['left', 'right'\]"):
        class_weights({"rest": 5, "right": 3}, TARGETS, CLASSES)


def test_a_class_may_count_for_nothing_but_not_all():
    assert class_weights({"left": 0}, TARGETS, CLASSES).tolist() == [0, 1]
    for asked in ({"left": 0, "right": 0}, {"left": math.inf}, {"left": math.nan}, {"left": -1}):
        with pytest.raises(ValueError, match=re.escape(f"class_weight is {asked}; it must give numbers from zero upwards")):
            class_weights(asked, TARGETS, CLASSES)


def test_taught_shares_are_what_the_least_loss_says():
    """Of windows that tell nothing, by torch's own loss."""
    weights, targets = np.array([1.0, 3.0, 0.5]), torch.tensor([0] * 5 + [1] * 2 + [2] * 4)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    told = taught_shares(np.array([5, 2, 4]) / 11, weights, 0.1)
    assert told.sum() == pytest.approx(1, abs=1e-12)  # double precision, as below
    with torch.no_grad():
        logits.copy_(torch.from_numpy(told).log())
    functional.cross_entropy(logits.expand(11, 3), targets, torch.from_numpy(weights), label_smoothing=0.1).backward()
    assert logits.grad.abs().max() < 1e-12

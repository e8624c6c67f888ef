"""How training windows were standardised: each electrode by its own, and never by numbers that can't be."""

import numpy as np
import pytest

from sigvit.model.scaling import Scaling


def test_scaling_is_each_electrode_s_own_and_leaves_a_flat_one_at_zero():
    values = np.random.default_rng(0).normal(5, [[[2.0], [3.0], [0.0]]], (11, 3, 13))
    scaled = Scaling.of(values)(values)
    np.testing.assert_allclose(scaled.mean((0, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.numpy().std((0, 2)), [1, 1, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("mean", "deviation", "sentence"),
    [
        ([1.0, 2.0], [1.0], r"of \(2,\) and \(1,\)"),
        ([[1.0]], [[1.0]], r"of \(1, 1\) and \(1, 1\)"),
        ([1.0], [0.0], "above 0"),
        ([np.nan], [1.0], "must be finite"),
        ([1.0], [np.inf], "must be finite"),
    ],
)
def test_what_cannot_scale_is_refused(mean, deviation, sentence):
    with pytest.raises(ValueError, match=sentence):
        Scaling(mean, deviation)

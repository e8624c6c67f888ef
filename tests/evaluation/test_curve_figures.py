"""Curves have their points where something was measured, with bars."""

import numpy as np
import pandas as pd
import pytest

from sigvit.evaluation import curve_figures


def test_scaling_curves_have_a_bar_a_point_and_a_band_where_there_is_a_fit():
    points = {name: np.array([[10, 0.6, 0.5, 0.7], [100, 0.8, 0.75, 0.85]]) for name in ("Ti", "S")}
    axes = curve_figures.draw_scaling_curve(points, {"S": points["S"]}, "training windows", "accuracy").axes[0]
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["10", "100"]  # where something was measured
    assert len(axes.containers) == 2
    assert len(axes.collections) == 3  # two sets of bars and one band


def test_learning_curves_stand_side_by_side_and_are_marked_where_something_was_measured():
    points = np.array([[10, 0.6, 0.5, 0.7], [100, 0.8, 0.75, 0.85]])
    figure = curve_figures.draw_learning_curves({"scratch": points, "_other": points}, "labelled trials", "ROC-AUC")
    first, second = (container.lines[0].get_xdata() for container in figure.axes[0].containers)
    assert (first < second).all()
    assert np.sqrt(first * second) == pytest.approx([10, 100])  # about the place itself, on a logarithmic axis
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["10", "100"]
    assert len(figure.legends[0].get_texts()) == 2
    assert figure.axes[0].get_xlabel() == "labelled trials, drawn a little apart"


@pytest.mark.parametrize("count", [1, 10])
def test_however_many_curves_there_are_none_stands_at_another_number_s_place(count):
    points = np.array([[10, 0.6, 0.5, 0.7], [11, 0.8, 0.75, 0.85]])
    figure = curve_figures.draw_learning_curves({str(number): points for number in range(count)}, "labelled trials", "ROC-AUC")
    drawn = np.array([container.lines[0].get_xdata() for container in figure.axes[0].containers])
    np.testing.assert_allclose(drawn, np.broadcast_to([10, 11], drawn.shape), rtol=0.03 if count > 1 else 1e-12)  # as the docstring says; rounding
    assert drawn[:, 0].max() < drawn[:, 1].min()


def test_equal_seeds_have_a_bar_of_no_length():
    measured = pd.Series([0.1, 0.1, 0.1]).agg(["mean", "min", "max"])  # the mean lies a rounding step above the largest
    assert measured["mean"] > measured["max"]
    curve_figures.draw_scaling_curve({"16x1": np.array([[10.0, *measured]])}, {}, "samples", "accuracy")

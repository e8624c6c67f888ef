"""Figures show the numbers that they were given, where they belong, with units and colour bars."""

import matplotlib
import mne
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sigvit.data.electrode_info import make_info
from sigvit.evaluation import curve_figures, figures, scalp_figures

NINE = ("F3", "Fz", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4")


def words(figure: Figure) -> str:
    """All text of a figure's axes, colour bars, and of the figure itself."""
    found = [figure.get_supxlabel(), figure.get_supylabel()]
    for axes in figure.axes:
        found += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), *(tick.get_text() for tick in [*axes.get_xticklabels(), *axes.get_yticklabels()])]
    return "\n".join(found)


def test_each_tile_is_that_of_its_patch():
    similarity = np.random.default_rng(0).uniform(-1, 1, (3, 5, 3, 5))
    figure = figures.draw_position_tiles(similarity)
    shown = figure.axes[0].images[0].get_array()
    for row, column in np.ndindex(3, 5):
        np.testing.assert_array_equal(shown[row * 4 : row * 4 + 3, column * 6 : column * 6 + 5], similarity[row, column])
    assert "cosine similarity" in words(figure)


def test_filters_are_scaled_by_their_largest_weight_and_a_missing_colour_gets_a_sentence():
    filters = np.random.default_rng(0).standard_normal((5, 3, 2, 7))
    figure = figures.draw_filter_pictures(filters, np.full(5, 0.2))
    assert [axes.get_title() for axes in figure.axes[:5]] == ["20.0%"] * 5
    shown = np.asarray(figure.axes[1].images[0].get_array())
    np.testing.assert_allclose(shown, (0.5 + 0.5 * filters[1] / np.abs(filters[1]).max()).transpose(1, 2, 0))
    assert "weight / largest" in words(figure)
    with pytest.raises(ValueError, match="have 2 channels"):
        figures.draw_filter_pictures(filters[:, :2], np.full(5, 0.2))


def test_distances_have_a_panel_a_unit_and_a_dot_a_head():
    distances, equal = {"seconds": np.ones((3, 2)), "centimetres on the head": np.full((3, 2), 7.0)}, {"seconds": 0.5, "centimetres on the head": 8.0}
    figure = figures.draw_attention_distance(distances, equal)
    assert "(seconds)" in words(figure)
    assert "(centimetres on the head)" in words(figure)
    assert [len(axes.collections[0].get_offsets()) for axes in figure.axes] == [6, 6]


def test_the_outline_goes_around_what_is_significant():
    p = np.ones((4, 5))
    p[1, 2] = p[1, 3] = 0.01
    figure = figures.draw_class_maps({"left": np.zeros((4, 5))}, {"left": p}, list("abcd"), np.linspace(0, 1, 6), "logit a bin of 200 ms")
    edges = [line.get_xydata() for line in figure.axes[0].lines]
    assert len(edges) == 6  # around two cells side by side
    corners = np.concatenate(edges)
    np.testing.assert_allclose([corners.min(0), corners.max(0)], [[0.4, 0.5], [0.8, 1.5]])
    assert "logit a bin of 200 ms" in words(figure)
    assert "time in the window (s)" in words(figure)


@pytest.mark.parametrize("signed", [True, False])
def test_a_map_below_its_picture_has_the_colours_of_the_colour_bar(signed):
    """Equal numbers look alike, whatever the picture shows there."""
    pictures, maps = np.zeros((2, 8, 12, 1)), np.full((2, 2, 3), 0.5)
    pictures[1] = 1.0
    maps[:, 0, 0] = 1.0
    figure = figures.draw_below_pictures(pictures, maps, ["dark", "bright"], "share", signed)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    seen, height = np.asarray(canvas.buffer_rgba()), figure.bbox.height
    for axes in figure.axes[2:4]:
        x, y = axes.transData.transform((6, 6))  # the middle of the frame's lower half: .5
        image = axes.images[0]
        np.testing.assert_array_equal(seen[int(height - y), int(x)], image.cmap(image.norm(0.5), bytes=True))


def test_a_map_has_its_picture_s_frame_and_many_classes_get_panels_of_their_own():
    pictures, maps = np.random.default_rng(0).random((3, 8, 12, 1)), np.random.default_rng(1).standard_normal((3, 2, 3))
    figure = figures.draw_below_pictures(pictures, maps, ["a", "b", "c"], "logit a pixel", signed=True)
    for above, below, own in zip(figure.axes[:3], figure.axes[3:6], maps, strict=True):
        np.testing.assert_array_equal(below.images[0].get_array(), own)
        assert above.images[0].get_extent() == below.images[0].get_extent()
    three = {name: np.zeros((2, 5)) for name in "abc"}
    assert len(figures.draw_class_maps(three, {name: np.ones((2, 5)) for name in "abc"}, ["C3", "C4"], np.arange(6.0), "logit").axes) == 4


def test_a_course_s_spectrum_peaks_at_its_frequency():
    seconds = np.arange(64) / 128
    figure = figures.draw_courses(np.sin(2 * np.pi * 20 * seconds)[None], np.array([1.0]), 128.0)
    hertz, amplitude = figure.axes[1].lines[0].get_data()
    assert hertz[np.argmax(amplitude)] == pytest.approx(20, abs=0.5)
    assert "frequency (Hz)" in words(figure)


def test_lines_end_where_nothing_happens_any_more():
    line = np.zeros(101)
    line[:7] = 1.0
    figure = figures.draw_lines(np.arange(101.0), {"left": line}, {"left": 0.5}, "frequency (Hz)", "logit")
    assert figure.axes[0].get_xlim()[1] < 20


@pytest.mark.parametrize(("signed", "ends"), [(True, "both"), (False, "neither")])
def test_a_bar_whose_ends_hold_more_than_their_number_has_arrows(signed, ends):
    figure = figures.draw_below_pictures(np.zeros((2, 5, 7, 1)), np.random.default_rng(0).standard_normal((2, 5, 7)), ["a", "b"], "logit", signed)
    assert figure.axes[0].get_figure().axes[-1]._colorbar.extend == ends


def test_grids_of_one_and_two_axes_are_drawn():
    assert len(figures.draw_grid_map(np.ones(5), [("time (s)", [0.1, 0.2, 0.3, 0.4, 0.5])], "share").axes[0].lines) == 1
    figure = figures.draw_grid_map(np.ones((3, 5)), [("electrode", ["C3", "Cz", "C4"]), ("time (s)", [0.1, 0.2, 0.3, 0.4, 0.5])], "share")
    assert figure.axes[0].images[0].get_array().shape == (3, 5)
    assert "Cz" in words(figure)
    assert figures.draw_matrix(np.eye(3), ["a", "b", "c"], "electrode").axes[0].get_xlabel() == "electrode"


def test_ticks_are_equally_far_apart():
    figure = figures.draw_grid_map(np.ones(14), [("time (s)", np.arange(14) / 10)], "share")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["0", "0.2", "0.4", "0.6", "0.8", "1", "1.2"]


def test_electrodes_of_large_caps_are_named_equally_far_apart():
    maps, p = {"left": np.ones((101, 3))}, {"left": np.ones((101, 3))}
    panel = figures.draw_class_maps(maps, p, [f"E{number}" for number in range(101)], np.arange(4.0), "logit").axes[0]
    assert [tick.get_text() for tick in panel.get_yticklabels()] == [f"E{number}" for number in range(0, 101, 2)]


def test_the_axis_of_a_matrix_with_short_names_is_named_inside_the_figure():
    figure = figures.draw_matrix(np.eye(3), ["C3", "Cz", "C4"], "electrode")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert figure.axes[0].yaxis.label.get_window_extent(canvas.get_renderer()).x0 > 0


def test_scalps_leave_out_electrodes_without_a_place():
    info = make_info((*NINE[:4], "somewhere"), 100.0)
    assert scalp_figures.placed_electrodes(info) == [0, 1, 2, 3]
    figure = scalp_figures.draw_topographies(np.random.default_rng(0).standard_normal((2, 5)), info, ["left", "right"], "logit", marked=np.ones((2, 5), bool))
    assert len(figure.axes) == 3
    assert "logit" in words(figure)
    assert not scalp_figures.can_draw_scalp(make_info(("C3", "C4", "Cz", "x"), 100.0))
    assert not scalp_figures.can_draw_scalp(make_info(("w", "x", "y", "z"), 100.0))


@pytest.mark.parametrize(
    ("names", "possible"),
    [
        (("C3", "C4", "P3", "P4"), False),  # on one circle, as any two symmetric pairs
        (("Fp1", "Fp2", "O1", "O2"), False),
        (("Fz", "Cz", "Pz", "Oz"), False),  # on one line
        (("Fz", "Cz", "Pz", "Oz", "FCz"), False),
        (("C3", "Cz", "C4", "Pz"), True),
        (NINE, True),
    ],
)
def test_a_scalp_is_drawn_where_its_sites_can_be_triangulated(names, possible):
    info = make_info(names, 100.0)
    assert scalp_figures.can_draw_scalp(info) == possible
    if possible:
        assert len(scalp_figures.draw_topographies(np.random.default_rng(0).standard_normal((1, len(names))), info, ["x"], "logit").axes) == 2


@pytest.mark.parametrize(
    ("kinds", "possible"),
    [
        (["eog"] + ["eeg"] * 8, False),
        (["seeg"] * 4 + ["ecog"] * 5, False),
        (["emg"] * 9, False),
        (["grad"] * 9, False),  # MEG2 and MEG3 are a pair by their names
        (["ecog"] * 9, True),
    ],
)
def test_a_scalp_is_drawn_of_one_kind_of_channel(kinds, possible):
    info = mne.create_info([f"MEG{number}" for number in range(9)], 100.0, kinds)
    for channel, placed in zip(info["chs"], make_info(NINE, 100.0)["chs"], strict=True):
        channel["loc"][:3] = placed["loc"][:3]
    assert scalp_figures.placed_electrodes(info) == list(range(9))
    assert scalp_figures.can_draw_scalp(info) == possible


def test_similarities_of_both_signs_are_drawn_in_colours_without_a_middle():
    """Zero isn't in the middle of their limits, where other maps are white."""
    similarity = np.random.default_rng(0).uniform(-0.4, 0.9, (9, 9))
    figure = scalp_figures.draw_similarity((similarity + similarity.T) / 2, make_info(NINE, 100.0))
    image = figure.axes[0].images[0]
    assert image.get_cmap().name == figures.UNSIGNED
    assert image.norm.vmin < 0 < image.norm.vmax
    assert "cosine similarity" in words(figure)


def test_electrodes_are_chosen_far_apart():
    info = make_info(NINE, 100.0)
    chosen = [NINE[number] for number in scalp_figures.spread_electrodes(info, 5)]
    assert chosen[0] == "Cz"
    assert set(chosen[1:]) == {"F3", "F4", "P3", "P4"}
    assert len(scalp_figures.spread_electrodes(info, 20)) == 9


@pytest.mark.parametrize("name", ["$50% of $", "p$_$", "_rest"])
def test_names_are_drawn_as_they_are_written(name, tmp_path):
    """Two dollar signs are no formula, and an underscore in front hides no name from a legend."""
    line, points = np.linspace(0, 1, 13), np.array([[10, 0.5, 0.4, 0.6], [20, 0.6, 0.5, 0.7]])
    drawn = [
        figures.draw_class_maps({name: np.zeros((2, 5))}, {name: np.ones((2, 5))}, [name, "C4"], np.arange(6.0), "logit"),
        figures.draw_lines(np.arange(13.0), {name: line}, {name: 0.5}, "frequency (Hz)", "logit"),
        curve_figures.draw_scaling_curve({name: points}, {}, "training windows", "accuracy"),
        figures.draw_matrix(np.eye(2), [name, "C4"], "electrode"),
    ]
    for number, figure in enumerate(drawn):
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            figure.savefig(tmp_path / f"{number}.svg")
        assert name in (tmp_path / f"{number}.svg").read_text()

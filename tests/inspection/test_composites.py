"""Of a composite the page says which part is meant, and reads electrodes, rate and distances of its parts."""

import re

import numpy as np
import pytest
import torch

import sigvit
from sigvit.data.electrode_info import make_info
from sigvit.evaluation.attention import attention_distance
from sigvit.grid import Axis, Grid, JoinedGrid
from sigvit.inspection.attention_sections import distance_columns
from sigvit.inspection.filter_section import filters_section
from sigvit.inspection.inputs import Looked, check_windows, electrode_order
from sigvit.inspection.parts import axis_words, place_words, ticks
from sigvit.tokenizers import Composite, ElectrodeTimePatches, ScalpMapPatches, SpectrogramPatches, TimeStepTokens

ELECTRODES = ("F3", "Fz", "F4", "C3", "Cz", "C4", "Pz")
INFO = {"names": ELECTRODES, "sampling_rate": 64.0}


def model_of(*tokenizers):
    return sigvit.signal_vit(7, 67, num_classes=2, tokenizer=Composite(tokenizers), heads=2, positions="learned").eval()


def looked_at(info=None):
    return Looked(torch.randn(4, 7, 67), np.arange(4) % 2, ("left", "right"), torch.randn(4, 7, 67), np.arange(4) % 2, [], "planted", info=info)


def test_distances_are_those_of_the_parts_axes():
    """In hertz, which one part lacks, the joined tokens are as far apart as the other part's alone."""
    patches, spectra = (
        ElectrodeTimePatches(7, 1, 16, 16, 12, **INFO),
        SpectrogramPatches(7, 64.0, window=22, stride=5, patch=(1, 3), width=12, names=ELECTRODES),
    )
    joined = model_of(TimeStepTokens(7, 8, 12, sampling_rate=64.0), patches).embed(torch.zeros(1, 7, 67))
    assert [(name, columns) for name, columns, _ in distance_columns(joined.grid, joined.coordinates)] == [
        ("seconds", slice(0, 1)),
        ("centimetres on the head", slice(1, 4)),
    ]
    both = model_of(patches, spectra).embed(torch.zeros(1, 7, 67))
    found = {name: (columns, factor) for name, columns, factor in distance_columns(both.grid, both.coordinates)}
    assert list(found) == ["centimetres on the head", "seconds", "hertz"]
    assert [both.grid.columns[columns] for columns, _ in found.values()] == [("electrode",) * 3, ("time",), ("frequency",)]
    alone = sigvit.signal_vit(7, 67, tokenizer=spectra, heads=2, pool="mean").embed(torch.zeros(1, 7, 67))
    places = both.coordinates[..., found["hertz"][0]], alone.coordinates[..., 3:4]
    distances = [attention_distance(np.full((1, 1, len(each), len(each)), 1 / len(each)), each) for each in places]
    np.testing.assert_allclose(*distances, rtol=1e-6)  # float32 coordinates


def test_two_kinds_of_places_on_the_head_are_told_apart():
    joined = model_of(ElectrodeTimePatches(7, 1, 16, 16, 12, **INFO), ScalpMapPatches(7, width=12, names=ELECTRODES, sampling_rate=64.0)).embed(
        torch.zeros(1, 7, 67)
    )
    assert [(name, columns) for name, columns, _ in distance_columns(joined.grid, joined.coordinates)] == [
        ("centimetres on the head", slice(0, 3)),
        ("seconds", slice(3, 4)),
        ("centimetres on the head, by row", slice(4, 6)),
    ]


def test_electrodes_and_rate_are_those_of_the_part_that_knows_them():
    model = model_of(TimeStepTokens(7, 8, 12), ElectrodeTimePatches(7, 1, 16, 16, 12, **INFO))
    assert electrode_order(model, ELECTRODES[::-1], "planted") == [6, 5, 4, 3, 2, 1, 0]
    with pytest.raises(ValueError, match=r"reads the electrodes \['Pz'\], which planted lacks"):
        electrode_order(model, (*ELECTRODES[:6], "Oz"), "planted")
    windows = sigvit.Windows(np.zeros((2, 7, 67), np.float32), np.array(["left", "right"]), metadata(2), make_info(ELECTRODES, 128.0))
    with pytest.raises(ValueError, match="built for 64 Hz, but planted has 128 Hz"):
        check_windows(model, windows, "planted")


def test_a_place_is_one_in_a_part():
    patches, steps = (
        Grid((Axis("electrode", "m", ((0.0, 0.0, 0.1), (0.0, 0.1, 0.1)), ("C3", "C4")), Axis.regular("time", "s", 3, 0.5, 1))),
        Axis.regular("time", "s", 5, 1, 2),
    )
    joined = JoinedGrid((Grid((steps,)), patches))
    assert place_words(joined, 4) == "part 1, time of the patch (s) 9"
    assert place_words(joined, 5) == "part 2, electrode C3, time of the patch (s) 0.5"
    assert place_words(joined, 10) == "part 2, electrode C4, time of the patch (s) 2.5"
    assert axis_words(joined.axes[0]) == "token"
    assert ticks(joined.axes[0])[:2] == ["1", "2"]


def test_figures_of_filters_stand_under_the_name_of_their_part():
    parts = [TimeStepTokens(7, 8, 12, sampling_rate=64.0), ElectrodeTimePatches(7, 1, 16, 16, 12, **INFO), ElectrodeTimePatches(7, 1, 32, 32, 12, **INFO)]
    page = filters_section(model_of(*parts), looked_at(make_info(ELECTRODES, 64.0)))
    kinds = re.findall(r"Part (\d), (\w+):|(Each filter is a weight an electrode)|<figcaption>(Time courses)", page)
    assert ["".join(kind) for kind in kinds] == [
        "1TimeStepTokens",
        "Each filter is a weight an electrode",
        "2ElectrodeTimePatches",
        "Time courses",
        "3ElectrodeTimePatches",
        "Time courses",
    ]


def metadata(count):
    from sigvit.data.synthetic import synthetic_windows

    return synthetic_windows(n_subjects=1, n_runs=1, n_trials=count).metadata

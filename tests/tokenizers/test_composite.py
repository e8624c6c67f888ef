"""Several tokenizers as one: its tokens are theirs, with a table of positions a part."""

import numpy as np
import pytest
import torch
from torch import nn

import sigvit
from sigvit import Tokens
from sigvit.grid import JoinedGrid
from sigvit.tokenizers import Composite, ConvStem, CovarianceTokens, ElectrodeTimePatches, TimeStepTokens

E, S = 3, 61


def parts(width: int = 6) -> list[nn.Module]:
    return [ElectrodeTimePatches(E, 1, 20, 20, width, names=["C3", "Cz", "C4"], sampling_rate=20.0), TimeStepTokens(E, 11, width, sampling_rate=20.0)]


def test_its_tokens_are_those_of_its_parts_one_behind_the_other():
    one, other = parts()
    recording = torch.randn(2, E, S)
    tokens = Composite([one, other])(recording)
    assert torch.equal(tokens.values, torch.cat([one(recording).values, other(recording).values], 1))
    assert tokens.parts == (one(recording).grid, other(recording).grid)
    assert tokens.padding_mask is None


def test_coordinates_are_those_of_the_parts_in_named_columns():
    one, other = parts()
    recording = torch.randn(2, E, S)
    tokens = Composite([other, one])(recording)
    assert tokens.grid.columns == ("time", "electrode", "electrode", "electrode")
    assert torch.equal(tokens.coordinates[:5, :1], other(recording).coordinates)
    assert tokens.coordinates[:5, 1:].isnan().all()
    assert torch.equal(tokens.coordinates[5:, 0], one(recording).coordinates[:, 3])


@pytest.mark.parametrize("kind", ["learned", "factorised", "sincos", "coordinates"])
def test_each_part_has_its_own_positions(kind):
    model = sigvit.signal_vit(["C3", "Cz", "C4"], S, 20.0, tokenizer=Composite(parts(8)), heads=2, positions=kind, registers=1)
    nothing = torch.zeros(1, model.grid.n_tokens, 8)
    placed = model.positions(Tokens(nothing, model.grid).prepend({"class": torch.zeros(8), "register 0": torch.zeros(8)})).values[0]
    alone = [part(Tokens(torch.zeros(1, grid.n_tokens, 8), grid)).values[0] for part, grid in zip(model.positions.parts, model.grid.parts, strict=True)]
    assert torch.equal(placed[2:], torch.cat(alone))
    if kind == "learned":
        assert torch.equal(placed[0], model.positions.parts[0].special[0])
        assert [len(part.table) for part in model.positions.parts] == [9, 5]


@pytest.mark.parametrize("kind", ["sincos", "coordinates"])
def test_samples_of_several_grids_are_placed_as_each_alone(kind):
    model = sigvit.signal_vit(["C3", "Cz", "C4"], S, 20.0, tokenizer=Composite(parts(8)), heads=2, positions=kind, registers=1)
    special = ("class", "register 0")
    grids = tuple(model.tokenizer(torch.zeros(1, E, n_times)).grid for n_times in (S, 2 * S))
    counts = [2 + grid.n_tokens for grid in grids]
    values = torch.randn(2, max(counts), 8)
    placed = model.positions(Tokens(values, None, torch.arange(max(counts)) < torch.tensor(counts)[:, None], special=special, grids=grids)).values
    for row, grid, count in zip(range(2), grids, counts, strict=True):
        alone = model.positions(Tokens(values[row : row + 1, :count], grid, special=special)).values[0]
        assert torch.equal(placed[row, :count], alone)


def test_positions_of_other_parts_are_refused():
    model = sigvit.signal_vit(E, S, tokenizer=Composite(parts(8)), heads=2)
    with pytest.raises(ValueError, match="for tokens of 2 parts"):
        model.positions(Tokens(torch.zeros(1, 9, 8), model.grid.parts[0]))


def test_a_mask_reaches_every_part():
    one, other = parts()
    mask = torch.ones(2, E, dtype=torch.bool)
    mask[1, 1] = False
    tokens = Composite([one, other])(torch.randn(2, E, S), mask)
    assert tokens.mask.sum(1).tolist() == [14, 11]


def test_a_composite_of_composites_has_all_parts_in_a_row():
    one, other = parts()
    inner = Composite([one, other])
    tokens = Composite([inner, other])(torch.randn(2, E, S))
    assert isinstance(tokens.grid, JoinedGrid)
    assert [part.shape for part in tokens.parts] == [(3, 3), (5,), (5,)]


def test_the_reference_is_measured_by_the_parts_that_have_one():
    covariance, signals = CovarianceTokens(E, S, S, 6), torch.randn(11, E, S)
    Composite([ConvStem(E, 5, 7, 9, 9, 6), covariance]).set_reference(signals)
    assert torch.equal(covariance.reference, CovarianceTokens(E, S, S, 6).set_reference(signals).reference)


def test_widths_that_differ_are_said():
    with pytest.raises(ValueError, match=r"theirs are \[6, 7\]"):
        Composite([parts(6)[0], parts(7)[1]])
    with pytest.raises(ValueError, match=r"theirs are \[\]"):
        Composite([])


def test_a_part_that_is_not_ours_cannot_be_described(tmp_path):
    class Own(TimeStepTokens):
        """Not the library's."""

    model = sigvit.signal_vit(E, S, tokenizer=Composite([Own(E, 11, 8), *parts(8)]), heads=2)
    with pytest.raises(TypeError, match="tokenizer Own can't be described"):
        model.save_pretrained(tmp_path)


def test_rotary_positions_turn_tokens_of_the_same_time_alike_in_every_part():
    twins = Composite([TimeStepTokens(E, 11, 16, sampling_rate=20.0), ElectrodeTimePatches(E, "all", 11, 11, 16, sampling_rate=20.0)])
    model = sigvit.signal_vit(E, S, 20.0, tokenizer=twins, heads=2, positions="rotary")
    turned = model.positions.rotation(Tokens(torch.zeros(1, 10, 16), model.grid))
    assert torch.equal(turned.sines[:, :5], turned.sines[:, 5:])
    assert (turned.sines != 0).any()
    assert model(torch.randn(2, E, S)).shape == (2, 2)


def test_widths_of_numpy_are_taken_as_pythons():
    width = Composite(parts(np.int64(6))).width
    assert (width, type(width)) == (6, int)

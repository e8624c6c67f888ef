"""Positions read the grid, and class and register tokens by name."""

import numpy as np
import pytest
import torch

from sigvit.grid import Axis, Grid
from sigvit.model.positions import FactorisedPositions, LearnedPositions, SincosPositions, make_positions
from sigvit.model.resize import resize_positions
from sigvit.tokens import Tokens


def image_grid(rows: int, columns: int) -> Grid:
    return Grid((Axis.regular("row", "px", rows, 0, 1), Axis.regular("column", "px", columns, 0, 1)))


def recording_grid(electrodes: int, times: int) -> Grid:
    places = tuple((0.01 * k, float("nan") if k == 1 else 0.05, 0.1) for k in range(electrodes))
    return Grid((Axis("electrode", "m", places), Axis.regular("time", "s", times, 0, 0.1)))


def blank(grid: Grid, width: int, special: tuple[str, ...] = ()) -> Tokens:
    return Tokens(torch.zeros(2, grid.n_tokens, width), grid).prepend({name: torch.zeros(width) for name in special})


@pytest.mark.parametrize("special", [(), ("class",), ("register 0", "class", "register 1")])
def test_learned_positions_go_to_the_tokens_by_name(special):
    grid = image_grid(3, 5)
    positions = LearnedPositions(grid, 7, special=("class",))
    found = positions(blank(grid, 7, special))
    assert torch.equal(found.patches().values[1], positions.table)
    for name in special:
        assert torch.equal(found.token(name)[1], positions.special[0] if name == "class" else torch.zeros(7))


def test_learned_positions_of_another_image_size_are_the_resized_table():
    positions = LearnedPositions(image_grid(3, 5), 7, special=("class",))
    found = positions(blank(image_grid(4, 2), 7, ("class",)))
    assert torch.equal(found.patches().values[0], resize_positions(positions.table, (3, 5), (4, 2)))
    assert torch.equal(found.token("class")[0], positions.special[0])


def test_factorised_positions_are_the_sum_of_a_vector_for_each_axis():
    positions = FactorisedPositions(recording_grid(3, 5), 7)
    found = positions(blank(recording_grid(3, 5), 7, ("class",)))
    expected = positions.tables["electrode"][2] + positions.tables["time"][4]
    assert torch.equal(found.patches().values[0, 14], expected)
    assert (found.token("class") == 0).all()


def test_factorised_positions_of_another_image_size_resize_each_axis():
    positions = FactorisedPositions(image_grid(3, 5), 7)
    found = positions(blank(image_grid(4, 5), 7)).values[0].unflatten(0, (4, 5))
    rows = resize_positions(positions.tables["row"], (3,), (4,))
    assert torch.equal(found[3, 2], rows[3] + positions.tables["column"][2])


def test_an_axis_of_one_step_that_cannot_change_has_no_positions():
    assert set(FactorisedPositions(recording_grid(1, 5), 7).tables) == {"time"}
    tokens = blank(recording_grid(1, 1), 7)
    assert FactorisedPositions(recording_grid(1, 1), 7)(tokens) is tokens
    assert (SincosPositions(recording_grid(1, 1), 7)(tokens).values == 0).all()
    second = SincosPositions(recording_grid(1, 5), 8)(blank(recording_grid(1, 5), 8)).values[0, 1]
    assert second[0].item() == pytest.approx(np.sin(1.0), abs=1e-7)  # stored as float32


def test_sincos_positions_are_those_of_the_paper():
    width, rows, columns = 12, 3, 5
    found = SincosPositions(image_grid(rows, columns), width)(blank(image_grid(rows, columns), width, ("class",))).patches().values[0]
    for token in range(rows * columns):
        row, column = divmod(token, columns)
        omega = [10_000 ** -(k / (width / 4 - 1)) for k in range(width // 4)]
        expected = [wave(at * w) for at in (column, row) for wave in (np.sin, np.cos) for w in omega]
        np.testing.assert_allclose(found[token], expected, atol=1e-6)  # stored as float32


@pytest.mark.parametrize("grids", [(image_grid(3, 5), image_grid(7, 2)), (recording_grid(3, 5), recording_grid(3, 11))])
def test_sincos_positions_are_as_good_at_every_size(grids):
    built, other = grids
    one, another = SincosPositions(built, 8)(blank(other, 8)), SincosPositions(other, 8)(blank(other, 8))
    assert torch.equal(one.values, another.values)


@pytest.mark.parametrize("kind", ["learned", "factorised"])
def test_learned_times_cannot_be_stretched(kind):
    positions = make_positions(kind, recording_grid(3, 5), 8)
    with pytest.raises(ValueError, match="built for 5 steps of time, but got 6"):
        positions(blank(recording_grid(3, 6), 8))


@pytest.mark.parametrize("kind", ["learned", "factorised", "sincos"])
def test_a_model_of_one_step_refuses_several_that_nothing_would_tell_apart(kind):
    positions = make_positions(kind, recording_grid(1, 1), 8)
    with pytest.raises(ValueError, match="built for 1 steps of time, but got 5"):
        positions(blank(recording_grid(1, 5), 8))


@pytest.mark.parametrize("kind", ["learned", "factorised", "sincos"])
def test_other_electrodes_or_axes_or_no_grid_are_refused(kind):
    positions = make_positions(kind, recording_grid(3, 5), 8)
    with pytest.raises(ValueError, match="built for 3 steps of electrode, but got 2"):
        positions(blank(recording_grid(2, 5), 8))
    with pytest.raises(ValueError, match="tokens sit on"):
        positions(blank(image_grid(3, 5), 8))
    with pytest.raises(ValueError, match="no grid"):
        positions(Tokens(torch.zeros(2, 15, 8), coordinates=torch.zeros(15, 4)))


def test_a_width_that_sines_and_cosines_cannot_share_is_refused():
    with pytest.raises(ValueError, match="divisible by 4, but it is 6"):
        SincosPositions(image_grid(3, 5), 6)


@pytest.mark.parametrize("kind", ["cosinus", "sinus"])
def test_unknown_positions_are_refused_with_those_there_are(kind):
    with pytest.raises(ValueError, match="'learned', 'factorised', 'sincos', 'coordinates'"):
        make_positions(kind, image_grid(3, 5), 8)


@pytest.mark.parametrize("kind", ["learned", "factorised", "sincos", "coordinates", "rotary", "none"])
def test_positions_keep_mask_and_names(kind):
    grid = recording_grid(3, 5)
    tokens = Tokens(torch.zeros(2, 15, 8), grid, torch.rand(2, 15) > 0.5).prepend({"class": torch.zeros(8)})
    found = make_positions(kind, grid, 8, ("class",))(tokens)
    assert found.padding_mask is tokens.padding_mask
    assert (found.special, found.grid) == (("class",), grid)

"""Position tables for another grid: right for every pair of sizes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sigvit.model.resize import resize_positions
from sigvit.model.resize_matrices import METHODS, line_matrix

EXACT = 1e-12  # float64: sums of at most 16 products


def naive(line: torch.Tensor, new: int) -> torch.Tensor:
    """The definition, one output at a time: Keys' cubic, widened when shrinking, normalised over the samples there are."""
    old = len(line)
    widening = max(old / new, 1.0)
    results = []
    for k in range(new):
        centre, total, weight = (k + 0.5) * old / new - 0.5, 0.0, 0.0
        for j in range(old):
            x = abs(j - centre) / widening
            near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            kernel = near if x <= 1 else far * (x < 2)
            total, weight = total + kernel * line[j], weight + kernel
        results.append(total / weight)
    return torch.stack(results)


@pytest.mark.parametrize("old", range(1, 17))
def test_every_pair_of_lengths_follows_the_definition(old):
    line = torch.randn(old, 1, dtype=torch.float64)
    for new in range(1, 17):
        torch.testing.assert_close(resize_positions(line, (old,), (new,)), naive(line, new), rtol=0, atol=EXACT)


@pytest.mark.parametrize(("old", "new"), [((14, 14), (24, 18)), ((7, 5), (3, 11)), ((8, 1), (4, 1)), ((8, 5), (4, 1)), ((1, 8), (1, 4))])
def test_two_axes_are_two_matrices(old, new):
    table = torch.randn(old[0] * old[1], 3, dtype=torch.float64)
    by_columns = torch.stack([naive(row, new[1]) for row in table.unflatten(0, old)])
    expected = torch.stack([naive(column, new[0]) for column in by_columns.transpose(0, 1)]).transpose(0, 1)
    torch.testing.assert_close(resize_positions(table, old, new), expected.flatten(0, 1), rtol=0, atol=EXACT)


@pytest.mark.parametrize(("old", "new"), [((14, 14), (24, 18)), ((7, 5), (3, 11)), ((16, 9), (8, 8))])
def test_it_is_the_antialiased_cubic_of_torch_where_that_is_right(old, new):
    table = torch.randn(old[0] * old[1], 3)
    image = table.unflatten(0, old).permute(2, 0, 1)[None]
    expected = functional.interpolate(image, new, mode="bicubic", antialias=True)[0].permute(1, 2, 0).flatten(0, 1)
    # torch computes in float32
    torch.testing.assert_close(resize_positions(table, old, new), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_new_width_of_one_does_not_copy_the_first_row(method):
    """Torch's antialiased interpolation does, on a CPU, for contiguous tables (see tests/parity): the reason for a resize of our own."""
    table = torch.arange(8.0)[:, None]
    found = resize_positions(table, (8, 1), (4, 1), method)
    assert (found.diff(dim=0) > 1).all()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20, deadline=None)
@given(a=st.integers(1, 16), b=st.integers(1, 16), c=st.integers(1, 16), d=st.integers(1, 16))
def test_constants_are_kept_and_axes_are_alike(method, a, b, c, d):
    table = torch.randn(a * b, 2, dtype=torch.float64)
    constant = resize_positions(torch.full((a * b, 2), 3.7, dtype=torch.float64), (a, b), (c, d), method)
    torch.testing.assert_close(constant, torch.full_like(constant, 3.7), rtol=0, atol=EXACT)
    turned = resize_positions(table.unflatten(0, (a, b)).transpose(0, 1).flatten(0, 1), (b, a), (d, c), method)
    straight = resize_positions(table, (a, b), (c, d), method)
    torch.testing.assert_close(turned.unflatten(0, (d, c)).transpose(0, 1).flatten(0, 1), straight, rtol=0, atol=EXACT)


@pytest.mark.parametrize("method", METHODS)
def test_every_row_of_weights_sums_to_one(method):
    for old in range(1, 33):
        for new in range(1, 33):
            matrix = line_matrix(method, old, new)
            assert matrix.shape == (new, old)
            assert np.abs(matrix.sum(1) - 1).max() < EXACT


@pytest.mark.parametrize("method", METHODS)
def test_equal_grids_give_the_table_itself(method):
    table = torch.randn(1 + 15, 7)
    assert resize_positions(table, (3, 5), (3, 5), method, prefix=1) is table


@pytest.mark.parametrize("method", [method for method in METHODS if method != "dinov2"])
def test_an_axis_that_keeps_its_size_keeps_its_numbers(method):
    assert (line_matrix(method, 5, 5) == np.eye(5)).all()


def test_dinov2_moves_also_an_axis_that_keeps_its_size_as_its_source_does():
    assert np.abs(line_matrix("dinov2", 5, 5) - np.eye(5)).max() > 0.01


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("old", "new"), [((4, 4), (2, 8)), ((4, 9), (6, 6)), ((2, 8), (8, 2)), ((4, 16), (8, 8))])
def test_as_many_tokens_in_another_shape_are_resized(method, old, new):
    table = torch.randn(old[0] * old[1], 7)
    assert not torch.equal(resize_positions(table, old, new, method), table)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_prefix_rows_are_bit_equal_and_the_number_format_stays(method, dtype):
    table = torch.randn(3 + 15, 7).to(dtype)
    found = resize_positions(table, (3, 5), (7, 2), method, prefix=3)
    assert found.dtype == dtype
    assert torch.equal(found[:3], table[:3])
    assert torch.equal(found[3:], resize_positions(table[3:].double(), (3, 5), (7, 2), method).to(dtype))


def test_what_is_kept_between_calls_can_not_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        line_matrix("sigvit", 3, 5)[0] = 0


def test_gradients_flow_to_every_row():
    table = torch.randn(6, 2, requires_grad=True)
    resize_positions(table, (2, 3), (4, 4)).sum().backward()
    assert (table.grad != 0).all()


@pytest.mark.parametrize(
    ("table", "old", "new", "arguments", "sentence"),
    [
        (torch.ones(5, 3), (2, 3), (4, 4), {"prefix": -1}, "prefix is -1; it counts the rows"),
        (torch.zeros(6, 2), (2, 3), (4,), {}, "as many axes"),
        (torch.zeros(6, 2), (2, 3), (0, 4), {}, "at least one token"),
        (torch.zeros(7, 2), (2, 3), (4, 4), {}, r"0 \+ 6 tokens"),
        (torch.zeros(6, 2), (2, 3), (4, 4), {"method": "nearest"}, "no method 'nearest'"),
        (torch.zeros(7, 2), (2, 3), (4.5, 4), {"prefix": 1}, r"new_grid is \(4\.5, 4\); it must be a whole number for each axis"),
        (torch.zeros(6, 2), (2, 3), 4, {}, r"new_grid is 4; it must be a whole number for each axis"),
        (torch.zeros(6, 2), 6.0, (2, 3), {}, r"old_grid is 6\.0; it must be"),
    ],
)
def test_what_does_not_fit_is_refused(table, old, new, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        resize_positions(table, old, new, **arguments)

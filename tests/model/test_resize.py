"""Position tables for another grid: right for every pair of sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from sigvit.model.resize import cubic_matrix, resize_positions

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


def test_a_new_width_of_one_does_not_copy_the_first_row():
    """Torch's antialiased interpolation does, on a CPU, for contiguous tables: the reason for a resize of our own."""
    table = torch.arange(8.0)[:, None]
    found = resize_positions(table, (8, 1), (4, 1))
    assert (found.diff(dim=0) > 1).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 16), st.integers(1, 16), st.integers(1, 16), st.integers(1, 16))
def test_constants_are_kept_and_axes_are_alike(a, b, c, d):
    table = torch.randn(a * b, 2, dtype=torch.float64)
    constant = resize_positions(torch.full((a * b, 2), 3.7, dtype=torch.float64), (a, b), (c, d))
    torch.testing.assert_close(constant, torch.full_like(constant, 3.7), rtol=0, atol=EXACT)
    turned = resize_positions(table.unflatten(0, (a, b)).transpose(0, 1).flatten(0, 1), (b, a), (d, c))
    straight = resize_positions(table, (a, b), (c, d))
    torch.testing.assert_close(turned.unflatten(0, (d, c)).transpose(0, 1).flatten(0, 1), straight, rtol=0, atol=EXACT)


def test_equal_grids_give_the_table_itself():
    table = torch.randn(1 + 15, 7)
    assert resize_positions(table, (3, 5), (3, 5), prefix=1) is table
    assert (cubic_matrix(5, 5) == torch.eye(5).numpy()).all()


def test_as_many_tokens_in_another_shape_are_resized():
    table = torch.randn(16, 7)
    assert not torch.equal(resize_positions(table, (4, 4), (2, 8)), table)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_prefix_rows_are_bit_equal_and_the_number_format_stays(dtype):
    table = torch.randn(3 + 15, 7).to(dtype)
    found = resize_positions(table, (3, 5), (7, 2), prefix=3)
    assert found.dtype == dtype
    assert torch.equal(found[:3], table[:3])
    assert torch.equal(found[3:], resize_positions(table[3:].double(), (3, 5), (7, 2)).to(dtype))


def test_gradients_flow_to_every_row():
    table = torch.randn(6, 2, requires_grad=True)
    resize_positions(table, (2, 3), (4, 4)).sum().backward()
    assert (table.grad != 0).all()


@pytest.mark.parametrize(
    ("table", "old", "new", "arguments", "sentence"),
    [
        (torch.zeros(6, 2), (2, 3), (4,), {}, "as many axes"),
        (torch.zeros(6, 2), (2, 3), (0, 4), {}, "at least one token"),
        (torch.zeros(7, 2), (2, 3), (4, 4), {}, r"0 \+ 6 tokens"),
        (torch.zeros(6, 2), (2, 3), (4, 4), {"method": "nearest"}, "no method 'nearest'"),
    ],
)
def test_what_does_not_fit_is_refused(table, old, new, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        resize_positions(table, old, new, **arguments)

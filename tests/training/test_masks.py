"""What is hidden: the right share, in the right shape, by the row's own seed alone, and never padding."""

import pytest
import torch

from sigvit.grid import Axis, Grid
from sigvit.tokens import Tokens
from sigvit.training.masks import Masking

B, E, S, D = 5, 7, 11, 3
SITES = tuple((float(x), 0.0, 0.0) for x in (3, 0, 6, 1, 5, 2, 4))  # in another order than along the head
GRID = Grid((Axis("electrode", "m", SITES), Axis.regular("time", "s", S, 0.0, 0.5)))
SEEDS = torch.arange(B) + 13


def tokens(mask: torch.Tensor | None = None) -> Tokens:
    return Tokens(torch.zeros(B, E * S, D), GRID, mask)


def hidden(share: float, kind: str, mask: torch.Tensor | None = None) -> torch.Tensor:
    return Masking(share, kind).hidden(tokens(mask), SEEDS)[0].view(B, E, S)


@pytest.mark.parametrize("share", [0.5, 0.75, 0.001, 0.999])
def test_the_share_of_each_row_is_hidden_but_never_none_or_all(share):
    counts = hidden(share, "random").flatten(1).sum(1)
    assert counts.tolist() == [min(max(round(share * E * S), 1), E * S - 1)] * B


@pytest.mark.parametrize(("kind", "axis", "size"), [("electrode", 1, E), ("time", 2, S)])
def test_by_an_axis_whole_steps_are_hidden(kind, axis, size):
    steps = hidden(0.4, kind).movedim(axis, 1).flatten(2)
    assert torch.equal(steps.any(2), steps.all(2))
    assert steps.any(2).sum(1).tolist() == [round(0.4 * size)] * B


def test_a_block_is_a_stretch_of_time_at_neighbouring_electrodes():
    block = hidden(0.25, "block")
    for row in block:
        at, when = row.any(1), row.any(0)
        assert torch.equal(row, at[:, None] & when)
        assert when.nonzero().flatten().diff().eq(1).all()
        # Half of the steps of either axis make a quarter of the grid.
        assert (int(at.sum()), int(when.sum())) == (round(E / 2), round(S / 2))
        along_the_head = torch.tensor(sorted(SITES[number][0] for number in at.nonzero().flatten().tolist()))
        assert along_the_head.diff().eq(1).all()


@pytest.mark.parametrize("kind", ["random", "electrode", "time", "block"])
def test_rows_differ_and_each_is_a_function_of_its_seed_alone(kind):
    together = hidden(0.5, kind)
    assert len({tuple(row.flatten().tolist()) for row in together}) > 1
    alone = Masking(0.5, kind).hidden(Tokens(torch.zeros(1, E * S, D), GRID), SEEDS[2:3])
    both = Masking(0.5, kind).hidden(tokens(), SEEDS)
    assert torch.equal(alone[0][0], both[0][2])
    assert torch.equal(alone[1][0], both[1][2])


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("there", ["corner", "cross", "few"])
def test_a_block_hides_some_and_leaves_some_of_what_is_real(there, share):
    real = torch.zeros(E, S, dtype=torch.bool)
    if there == "corner":
        real[:2, 5:8] = True
    elif there == "cross":
        real[3], real[:, 4] = True, True
    else:
        real[1, 2] = real[5, 9] = True
    mask = real.flatten().expand(97, -1)
    hidden, _ = Masking(share, "block").hidden(Tokens(torch.zeros(97, E * S, D), GRID, mask), torch.arange(97))
    count = hidden.sum(1)
    assert not (hidden & ~mask).any()
    assert (count > 0).all()
    assert (count < real.sum()).all()


@pytest.mark.parametrize("kind", ["random", "block"])
def test_one_token_alone_is_refused(kind):
    one = Grid((Axis.regular("row", "px", 1, 0, 1), Axis.regular("column", "px", 1, 0, 1)))
    with pytest.raises(ValueError, match="holds a single token"):
        Masking(0.5, kind).hidden(Tokens(torch.zeros(B, 1, D), one), SEEDS)


@pytest.mark.parametrize("kind", ["random", "electrode", "time", "block"])
def test_padding_is_never_hidden(kind):
    mask = torch.ones(B, E, S, dtype=torch.bool)
    mask[1, 3:], mask[2, :, 5:] = False, False
    assert not (hidden(0.5, kind, mask.flatten(1)) & ~mask).any()
    if kind == "random":
        assert hidden(0.5, kind, mask.flatten(1)).flatten(1).sum(1)[1:3].tolist() == [round(3 * S / 2), round(E * 5 / 2)]


def test_rows_of_several_grids_are_hidden_as_alone():
    small = Grid((Axis("electrode", "m", SITES[:3]), Axis.regular("time", "s", 5, 0.0, 0.5)))
    real = torch.arange(E * S) < torch.tensor([[E * S], [15]])
    mixed = Tokens(torch.zeros(2, E * S, D), None, real, grids=(GRID, small))
    found, others = Masking(0.5, "time").hidden(mixed, SEEDS[:2])
    alone, its = Masking(0.5, "time").hidden(Tokens(torch.zeros(1, 15, D), small), SEEDS[1:2])
    assert torch.equal(found[1, :15], alone[0])
    assert torch.equal(others[1, :, :15], its[0])
    assert not found[1, 15:].any()


@pytest.mark.parametrize(("share", "kind", "sentence"), [(1.0, "random", "between 0 and 1"), (0.5, "rows", "there are 'random'")])
def test_impossible_masking_is_refused(share, kind, sentence):
    with pytest.raises(ValueError, match=sentence):
        Masking(share, kind)


def test_an_axis_that_is_not_there_or_has_one_step_is_refused():
    line = Tokens(torch.zeros(1, S, D), Grid((Axis("electrode", "m", SITES[:1]), GRID.axes[1])))
    with pytest.raises(ValueError, match="one step of electrode"):
        Masking(0.5, "electrode").hidden(line, SEEDS[:1])
    image = Tokens(torch.zeros(1, 6, D), Grid((Axis.regular("row", "px", 2, 0, 1), Axis.regular("column", "px", 3, 0, 1))))
    with pytest.raises(ValueError, match="masked by time"):
        Masking(0.5, "time").hidden(image, SEEDS[:1])

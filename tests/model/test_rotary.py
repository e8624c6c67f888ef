"""Rotary positions: scores depend on what lies between two tokens, in seconds, metres, hertz and shares of an image."""

import math

import numpy as np
import pytest
import torch

import sigvit
from sigvit.electrodes import electrode_position
from sigvit.grid import Axis, Grid, JoinedGrid
from sigvit.model.encoder import Encoder
from sigvit.model.rotary import RotaryPositions
from sigvit.tokenizers import ElectrodeTimePatches
from sigvit.tokens import Tokens
from sigvit.training.stackable import can_stack
from sigvit.training.stacked import Stack

CAP = ["Fp1", "Cz", "T7", "O2", "P3"]
WIDTH, HEADS = 24, 3
EXACT = 1e-10  # float64: sines of phases up to some hundred radians


def cap(names: list[str], moved: tuple[float, float, float] = (0, 0, 0)) -> Axis:
    places = (np.array(electrode_position(name) or (math.nan,) * 3) + moved for name in names)
    return Axis("electrode", "m", tuple(tuple(place.tolist()) for place in places), tuple(names))


def seconds(steps: int, first: float = 0.1, step: float = 0.2) -> Axis:
    return Axis.regular("time", "s", steps, first, step)


def tokens_on(grid: Grid, special: tuple[str, ...] = ()) -> Tokens:
    return Tokens(torch.zeros(2, grid.n_tokens, WIDTH, dtype=torch.float64), grid).prepend({name: torch.zeros(WIDTH) for name in special})


def scores(positions: RotaryPositions, tokens: Tokens) -> torch.Tensor:
    """Of one query and one key that stand at every place: (heads, T, T)."""
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, HEADS, 1, WIDTH // HEADS, generator=generator, dtype=torch.float64).expand(-1, -1, tokens.values.shape[1], -1)
    rotate = positions.rotation(tokens)
    return rotate(query) @ rotate(key).transpose(-1, -2)


def test_each_pair_is_turned_by_its_wave_as_in_the_naive_formula():
    grid = Grid((cap(CAP), seconds(7)))
    positions = RotaryPositions(grid, WIDTH, HEADS)
    heads = torch.randn(1, HEADS, 35, 8, dtype=torch.float64)
    angles = torch.tensor(positions._angles(grid, np)).view(35, HEADS, 4)
    found = positions.rotation(tokens_on(grid))(heads)
    for token, head, pair in ((0, 0, 0), (11, 2, 3), (34, 1, 2)):
        turned = torch.view_as_complex(heads[0, head, token, [pair, pair + 4]]) * torch.exp(1j * angles[token, head, pair])
        torch.testing.assert_close(torch.view_as_complex(found[0, head, token, [pair, pair + 4]].contiguous()), turned, rtol=0, atol=EXACT)


@pytest.mark.parametrize("moved", [{"first": 3.7}, {"moved": (0.01, -0.03, 0.02)}])
def test_a_common_shift_in_time_or_on_the_head_changes_no_score(moved):
    time, place = {key: value for key, value in moved.items() if key == "first"}, {key: value for key, value in moved.items() if key == "moved"}
    here, there = Grid((cap(CAP), seconds(7))), Grid((cap(CAP, **place), seconds(7, **time)))
    positions = RotaryPositions(here, WIDTH, HEADS)
    one, other = scores(positions, tokens_on(here)), scores(positions, tokens_on(there))
    torch.testing.assert_close(other, one, rtol=0, atol=EXACT)
    alone = tokens_on(there, ("class",))
    assert not torch.allclose(scores(positions, alone)[:, 0, 1:], scores(positions, tokens_on(here, ("class",)))[:, 0, 1:], atol=1e-3)


def test_scores_depend_on_the_place_and_not_on_the_electrodes_number():
    grid, turned = Grid((cap(CAP), seconds(3))), Grid((cap(CAP[::-1]), seconds(3)))
    positions = RotaryPositions(grid, WIDTH, HEADS)
    one = scores(positions, tokens_on(grid)).view(HEADS, 5, 3, 5, 3)
    torch.testing.assert_close(scores(positions, tokens_on(turned)).view(HEADS, 5, 3, 5, 3).flip(1, 3), one, rtol=0, atol=EXACT)
    assert not torch.allclose(one[:, 1], one[:, 2], atol=1e-3)


def test_special_tokens_and_unknown_electrodes_are_not_turned():
    grid = Grid((cap(["Cz", "my sensor"]), seconds(3)))
    positions = RotaryPositions(grid, WIDTH, HEADS)
    rotation = positions.rotation(tokens_on(grid, ("class", "register 0")))
    heads = torch.randn(1, HEADS, 8, 8, dtype=torch.float64)
    found = rotation(heads)
    assert torch.equal(found[:, :, :2], heads[:, :, :2])
    pairs = positions.pairs["electrode"]
    assert (rotation.sines[:, 5:, pairs] == 0).all()
    assert (rotation.sines[:, 2:5, pairs] != 0).any()


@pytest.mark.parametrize("pool", ["class", "mean", "map"])
def test_the_last_block_turns_the_queries_that_are_asked_for(pool):
    model = sigvit.signal_vit(5, 80, 40.0, 3, positions="rotary", pool=pool, registers=1, heads=2)
    torch.nn.init.normal_(model.head.weight)
    model = model.double().eval()
    recording = torch.randn(2, 5, 80, dtype=torch.float64)
    encoded = model.encode(recording)
    wanted = encoded.values[:, model.pool.outputs(encoded.special) or slice(None)]
    expected = model.head(model.representation(model.pool(wanted, None)))
    # float64: kernels of other shapes
    torch.testing.assert_close(model(recording), expected, rtol=0, atol=1e-12)


def test_attention_maps_are_those_of_the_turned_heads():
    torch.manual_seed(0)
    encoder = Encoder(WIDTH, 2, HEADS, 19).double()
    grid = Grid((cap(CAP), seconds(2)))
    rotate = RotaryPositions(grid, WIDTH, HEADS).rotation(tokens_on(grid))
    x = torch.randn(2, 10, WIDTH, dtype=torch.float64)
    first = encoder.blocks[0]
    normed = torch.nn.functional.layer_norm(x, (WIDTH,), first.norm_attention.weight, first.norm_attention.bias, 1e-6)
    _, _, value = first.attention._heads(normed, None)
    maps = encoder.attention_maps(x, rotate=rotate)
    attended = (maps[:, 0] @ value).transpose(1, 2).flatten(2)
    # float64: another kernel's softmax
    torch.testing.assert_close(first.attention.out(attended), first.attention(normed, rotate=rotate), rtol=0, atol=1e-12)
    assert not torch.allclose(maps, encoder.attention_maps(x), atol=1e-3)


def test_checkpointing_gives_the_same_gradient():
    models = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        models.append(sigvit.signal_vit(5, 80, 40.0, positions="rotary", checkpointing=checkpointing, heads=2).double())
        torch.nn.init.ones_(models[-1].head.weight)
        models[-1](torch.ones(1, 5, 80, dtype=torch.float64).cumsum(-1)).sum().backward()
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_an_image_of_another_size_is_turned_by_shares_of_it():
    model = sigvit.vit("Ti/8", 32, 3, depth=1, positions="rotary")
    assert model(torch.randn(2, 3, 16, 48)).shape == (2, 3)
    grids = [Grid(tuple(Axis.regular(name, "px", size, 0, step) for name in ("row", "column"))) for size, step in ((3, 8), (3, 16))]
    positions = RotaryPositions(grids[0], WIDTH, HEADS)
    assert torch.equal(*(positions.rotation(tokens_on(grid)).sines for grid in grids))


def test_the_parts_of_a_composite_turn_by_one_clock():
    time = Grid((seconds(3),))
    joined = JoinedGrid((Grid((Axis.regular("frequency", "Hz", 2, 8, 8), seconds(2))), time))
    positions = RotaryPositions(joined, WIDTH, HEADS)
    rotation = positions.rotation(tokens_on(joined))
    pairs = positions.pairs["time"]
    assert torch.equal(rotation.sines[:, 0, pairs], rotation.sines[:, 4, pairs])
    assert torch.equal(rotation.sines[:, 1, pairs], rotation.sines[:, 5, pairs])


def test_autocast_keeps_one_number_format():
    model = sigvit.signal_vit(5, 80, 40.0, positions="rotary", heads=2).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.randn(2, 5, 80)).isfinite().all()


def test_a_cap_and_length_that_were_never_seen_are_read():
    tokenizer = ElectrodeTimePatches(3, 1, 20, 10, WIDTH, names=["C3", "Cz", "C4"], sampling_rate=100.0)
    model = sigvit.signal_vit(3, 60, 100.0, tokenizer=tokenizer, positions="rotary", heads=HEADS)
    batch = sigvit.collate_windows([(torch.randn(7, 90), {"ch_names": [*CAP, "A", "Oz"], "sfreq": 100.0})])
    assert model(batch).shape == (1, 2)


def test_heads_too_narrow_and_other_axes_are_refused():
    grid = Grid((cap(CAP), seconds(3)))
    with pytest.raises(ValueError, match=r"each of the axes \['electrode', 'time'\], but a head is 3 wide"):
        RotaryPositions(grid, 6, 2)
    with pytest.raises(ValueError, match="a head is 2 wide; choose fewer heads"):
        RotaryPositions(grid, 6, 3)
    with pytest.raises(ValueError, match="None of the 2 electrodes has a known place"):
        RotaryPositions(Grid((cap(["A", "B"]), seconds(3))), WIDTH, HEADS)
    positions = RotaryPositions(Grid((cap(["Cz"]), seconds(3))), WIDTH, HEADS)
    with pytest.raises(ValueError, match="built for a single step of electrode, so nothing tells 5 of them apart"):
        positions.rotation(tokens_on(grid))
    with pytest.raises(ValueError, match="but the tokens sit on 'time' in 'samples'"):
        positions.rotation(tokens_on(Grid((Axis.regular("time", "samples", 3, 0, 1),))))


@pytest.mark.parametrize("tokenizer", [None, lambda: ElectrodeTimePatches(5, 1, 20, 10, WIDTH, names=CAP, sampling_rate=40.0)])
def test_stacked_models_give_each_ones_logits(tokenizer):
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        width = {"width": WIDTH} if tokenizer is None else {"tokenizer": tokenizer()}
        models.append(sigvit.signal_vit(CAP, 80, 40.0, positions="rotary", heads=HEADS, **width).double())
        torch.nn.init.normal_(models[-1].head.weight)
    stack, signal = Stack(models), torch.randn(3, 2, 5, 80, dtype=torch.float64)
    assert can_stack(models[0])
    for model, own, logits in zip(models, signal, stack.logits(signal), strict=True):
        # float64: batched products
        torch.testing.assert_close(logits, model(own), rtol=0, atol=1e-12)


def test_a_model_that_was_asked_in_inference_mode_can_be_trained():
    model = sigvit.signal_vit(CAP, 80, 40.0, positions="rotary", heads=2, pool="mean")
    torch.nn.init.ones_(model.head.weight)
    with torch.inference_mode():
        model(torch.ones(2, 5, 80))
    model(torch.ones(2, 5, 80)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("head", [torch.nn.Identity(), torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(16, 5))])
def test_the_head_may_be_any_module(head):
    model = sigvit.vit("Ti/8", image_size=24, num_classes=3, depth=1, width=16, heads=2, positions="rotary").eval()
    images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    features = model.features(images)
    model.head = head.eval()
    assert torch.equal(model(images), head(features))

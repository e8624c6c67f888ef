"""Images of several sizes in one batch: the logits of each alone, whatever its company and whatever lies beside it."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sigvit
from sigvit.tokenizers import collate_images

PATCH = (5, 7)
SINGLE, DOUBLE = 1e-5, 1e-12  # attention sums over more (zero) terms, in another order: float32 and float64
POSITIONS = ["learned", "factorised", "sincos", "coordinates", "rotary", "none"]

grids = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4)


def model_of(pool: str, positions: str) -> sigvit.VisionTransformer:
    torch.manual_seed(0)
    model = sigvit.vit("Ti", (15, 21), 3, 2, patch_size=PATCH, width=16, depth=2, heads=2, pool=pool, positions=positions, registers=1, mlp_width=19)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def images_of(shapes: list[tuple[int, int]], dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [torch.randn(2, rows * PATCH[0], columns * PATCH[1], dtype=dtype) for rows, columns in shapes]


@pytest.mark.parametrize("pool", ["class", "mean", "map"])
@pytest.mark.parametrize("positions", POSITIONS)
@settings(max_examples=8, deadline=None)
@given(shapes=grids)
def test_logits_are_those_of_each_image_alone(pool, positions, shapes):
    model, images = model_of(pool, positions), images_of(shapes)
    with torch.no_grad():
        alone = torch.cat([model(image[None]) for image in images])
        torch.testing.assert_close(model(collate_images(images)), alone, rtol=SINGLE, atol=SINGLE)
        exact = torch.cat([model.double()(image[None].double()) for image in images])
        torch.testing.assert_close(model(collate_images(images).to(torch.float64)), exact, rtol=DOUBLE, atol=DOUBLE)


@pytest.mark.parametrize("pool", ["class", "mean", "map"])
@settings(max_examples=4, deadline=None)
@given(shapes=grids)
def test_padding_and_neighbours_have_exactly_no_influence(pool, shapes):
    model, batch = model_of(pool, "learned").double(), collate_images(images_of(shapes, torch.float64))
    found = torch.autograd.functional.jacobian(lambda values: model(replace(batch, values=values)), batch.values)
    for sample, mask in enumerate(batch.mask):
        own = found[sample, :, sample]
        assert (own[..., ~mask] == 0).all()
        assert (own[..., mask] != 0).all()
        assert (found[sample, :, [other for other in range(len(batch)) if other != sample]] == 0).all()


@pytest.mark.parametrize("pool", ["class", "mean", "map"])
def test_what_lies_in_the_padding_does_not_matter_even_nan(pool):
    model, batch = model_of(pool, "learned"), collate_images(images_of([(1, 4), (3, 2)]))
    spoiled = replace(batch, values=batch.values.where(batch.mask[:, None], float("nan")))
    assert torch.equal(model(spoiled), model(batch))


def test_positions_learn_from_every_image_of_the_batch():
    model = model_of("class", "learned")
    model(collate_images(images_of([(2, 5), (4, 1)]))).sum().backward()
    assert (model.positions.table.grad != 0).all()
    assert (model.positions.special.grad != 0).all()


def test_all_tokens_and_attention_maps_say_which_are_real():
    model, batch = model_of("mean", "factorised"), collate_images(images_of([(2, 3), (1, 2)]))
    tokens = model.encode(batch)
    assert tokens.special == ("register 0",)
    assert tokens.mask.sum(1).tolist() == [7, 3]
    maps = model.attention_maps(batch)
    assert (maps[1, ..., 3:] == 0).all()
    # rows of a softmax in float32
    torch.testing.assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]))

"""Attention distance and rollout equal the formulas of their papers, computed token by token."""

import numpy as np
import pytest
import torch

import sigvit
from sigvit.evaluation.attention import attention_distance, attention_rollout, of_array
from sigvit.tokenizers import ElectrodeTimePatches


def random_maps(batch=3, depth=2, heads=5, tokens=7, seed=0):
    return torch.randn(batch, depth, heads, tokens, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)


def naive_distance(maps, places):
    """One query, one key at a time; the weights are shared out among the keys that have a place."""
    batch, depth, heads, tokens, _ = maps.shape
    known = [k for k in range(tokens) if not np.isnan(places[k]).any()]
    found = np.zeros((depth, heads))
    for layer in range(depth):
        for head in range(heads):
            each = []
            for sample in range(batch):
                for query in known:
                    weights = {key: float(maps[sample, layer, head, query, key]) for key in known}
                    far = sum(weight * np.sqrt(((places[query] - places[key]) ** 2).sum()) for key, weight in weights.items())
                    each.append(far / sum(weights.values()))
            found[layer, head] = np.mean(each)
    return found


def test_distance_is_the_mean_over_queries_weighted_by_attention():
    maps, places = random_maps(), np.random.default_rng(1).standard_normal((7, 3))
    np.testing.assert_allclose(attention_distance(maps, places), naive_distance(maps, places), rtol=1e-12)  # double precision, other order of sums


def test_tokens_without_a_place_neither_ask_nor_are_looked_at():
    maps, places = random_maps(seed=2), np.random.default_rng(3).standard_normal((7, 2))
    places[[0, 5]] = np.nan
    np.testing.assert_allclose(attention_distance(maps, places), naive_distance(maps, places), rtol=1e-12)


def test_each_input_may_have_places_of_its_own_and_padding():
    maps, places = random_maps(seed=4), np.random.default_rng(5).standard_normal((3, 7, 2))
    real = torch.ones(3, 7, dtype=torch.bool)
    real[1, 4:] = False
    kept = [range(7), range(4), range(7)]
    alone = [naive_distance(maps[n : n + 1][..., kept[n], :][..., kept[n]], places[n][kept[n]]) for n in range(3)]
    expected = sum(len(own) * distance for own, distance in zip(kept, alone, strict=True)) / sum(map(len, kept))
    np.testing.assert_allclose(attention_distance(maps, places, real), expected, rtol=1e-12)


def test_looking_at_oneself_is_no_distance_and_everywhere_is_the_mean_distance():
    places = np.array([[0.0], [3.0], [9.0]])
    assert attention_distance(np.eye(3)[None, None], places).tolist() == [[0.0]]
    assert attention_distance(np.full((1, 1, 3, 3), 1 / 3), places)[0, 0] == pytest.approx(2 * (3 + 9 + 6) / 9)


def test_a_recording_has_distances_in_metres_and_in_seconds():
    tokenizer = ElectrodeTimePatches(3, 1, 8, 8, 12, names=["C3", "Cz", "C4"], sampling_rate=64.0)
    model = sigvit.signal_vit(3, 40, tokenizer=tokenizer, pool="class", depth=2, heads=3, positions="factorised").eval()
    recordings = torch.randn(2, 3, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps, places = model.attention_maps(recordings), model.embed(recordings).coordinates
    metres, seconds = attention_distance(maps, places[:, :3]), attention_distance(maps, places[:, 3:])
    assert metres.shape == seconds.shape == (2, 3)
    assert (metres < 0.14).all()  # C3 and C4 are 13 cm apart
    assert (seconds < 0.5).all()  # the first and the last patch half a second
    np.testing.assert_allclose(seconds, naive_distance(maps.numpy(), places[:, 3:].numpy()), rtol=1e-5)  # the maps are in single precision


def test_rollout_multiplies_the_mean_maps_with_half_of_the_identity():
    maps = random_maps(seed=6).numpy()
    rolled = attention_rollout(maps)
    for sample in range(3):
        product = np.eye(7)
        for layer in range(2):
            mixed = 0.5 * maps[sample, layer].mean(0) + 0.5 * np.eye(7)
            product = np.array([[sum(mixed[i, k] * product[k, j] for k in range(7)) for j in range(7)] for i in range(7)])
        np.testing.assert_allclose(rolled[sample], product, rtol=1e-12)
        np.testing.assert_allclose(attention_rollout(maps[sample]), product, rtol=1e-12)
    np.testing.assert_allclose(rolled.sum(-1), 1, rtol=1e-12)


def test_rollout_without_residual_of_one_layer_is_its_mean_map():
    maps = random_maps(depth=1, seed=7).numpy()
    np.testing.assert_allclose(attention_rollout(maps, residual=0.0), maps[:, 0].mean(1), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: attention_distance(torch.ones(2, 3, 5), np.zeros((5, 1))), "must be .inputs, depth, heads, tokens, tokens"),
        (lambda: attention_distance(random_maps(), np.zeros((6, 2))), r"coordinates must be \(7, columns\)"),
        (lambda: attention_distance(random_maps(), np.full((7, 2), np.nan)), "No token has a place"),
        (lambda: attention_distance(random_maps(), np.zeros((7, 2)), np.ones((2, 7), bool)), r"the mask must be \(3, 7\)"),
        (lambda: attention_rollout(random_maps(), residual=1.0), "from 0 to below 1"),
        (lambda: attention_rollout(np.zeros((2, 2, 3, 5))), "must be .inputs, depth"),
        (lambda: attention_rollout(np.ma.masked_greater(random_maps().numpy(), 0.5)), "The numbers are masked in places"),
    ],
)
def test_bad_input_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_both_are_names_of_the_room():
    import sigvit.evaluation as room

    assert (room.attention_distance, room.attention_rollout) == (attention_distance, attention_rollout)
    with pytest.raises(AttributeError, match="functions stand in its modules"):
        _ = room.attention_span


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (1,), (3, 5), (0, 2)])
def test_arrays_that_run_backwards_become_tensors_also_along_an_axis_of_one_step(shape):
    array = np.random.default_rng(0).random(shape)[::-1]
    assert of_array(array).tolist() == array.tolist()

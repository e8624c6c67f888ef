"""Similarity of positions is the cosine, pair by pair, of what a model really adds to its tokens."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import sigvit
from sigvit.evaluation.position_similarity import position_similarity, position_vectors, similarity_by_distance


def test_similarity_is_the_cosine_of_every_pair_laid_out_on_the_grid():
    table = np.random.default_rng(0).standard_normal((15, 7))
    tiles = position_similarity(torch.tensor(table), (3, 5))
    for row, column, other_row, other_column in np.ndindex(3, 5, 3, 5):
        a, b = table[row * 5 + column], table[other_row * 5 + other_column]
        assert tiles[row, column, other_row, other_column] == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-12)  # rounding of sums


def test_a_position_of_zeros_has_no_direction():
    similarity = position_similarity([[0.0, 0.0], [1.0, 2.0]])
    assert np.isnan(similarity[0]).all()
    assert similarity[1, 1] == pytest.approx(1)


@pytest.mark.parametrize("positions", ["learned", "factorised", "sincos"])
def test_vectors_are_what_the_model_adds_to_its_patch_tokens(positions):
    model = sigvit.vit("Ti/4", (12, 20), 3, positions=positions, width=12, depth=1, heads=3).eval()
    image = torch.randn(1, 3, 12, 20, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        added = model.embed(image).patches().values[0] - model.tokenizer(image).values[0]
    torch.testing.assert_close(position_vectors(model), added, atol=1e-6, rtol=0)  # a difference of numbers of size 1 in single precision
    assert torch.equal(position_vectors(model), model.positions.on_grid((3, 5)))


def test_without_positions_nothing_is_added():
    model = sigvit.signal_vit(3, n_times=48, positions="none")
    assert not position_vectors(model).any()


def test_similarity_is_held_against_distance_over_all_pairs_of_known_places():
    similarity, places = position_similarity(np.random.default_rng(0).standard_normal((11, 5))), np.random.default_rng(1).standard_normal((11, 3))
    places[2], places[7] = np.nan, 0.0  # one isn't known; the other is a place as any
    pairs = [(a, b) for a in range(11) for b in range(a) if 2 not in (a, b)]
    expected = spearmanr([similarity[a, b] for a, b in pairs], [np.linalg.norm(places[a] - places[b]) for a, b in pairs]).statistic
    assert similarity_by_distance(similarity, places) == pytest.approx(expected, abs=1e-12)  # rounded there
    along = np.outer(np.arange(1, 12), np.random.default_rng(2).standard_normal(5)).astype(np.float32)  # all similarities are 1, up to rounding
    assert np.isnan(similarity_by_distance(position_similarity(along), places))
    for wrong, sentence in ((places[:, 0], "but they are"), (places[:7], "but they are"), (np.full((11, 3), np.nan), "The places of 0 of 11 are known")):
        with pytest.raises(ValueError, match=sentence):
            similarity_by_distance(similarity, wrong)


@pytest.mark.parametrize(("vectors", "shape", "sentence"), [(np.zeros(5), None, "must be .tokens, width"), (np.zeros((6, 2)), (2, 2), "has 4 tokens")])
def test_bad_input_gets_a_sentence(vectors, shape, sentence):
    with pytest.raises(ValueError, match=sentence):
        position_similarity(vectors, shape)

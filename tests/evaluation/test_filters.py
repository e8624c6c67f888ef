"""Principal filters are the projection's own, patterns are what a planted source looks like."""

import numpy as np
import pytest
import torch

import sigvit
from sigvit.evaluation.filters import filter_patterns, principal_filters, space_and_time


def test_filters_are_the_eigenvectors_of_the_weights_covariance():
    weight = np.random.default_rng(0).standard_normal((31, 3, 2, 5))
    found = principal_filters(weight, count=7)
    values, vectors = np.linalg.eigh(np.cov(weight.reshape(31, 30), rowvar=False))
    for number in range(7):
        own = found.filters[number].ravel()
        assert abs(own @ vectors[:, -1 - number]) == pytest.approx(1, abs=1e-9)  # the eigenvalues lie apart
        assert own[np.abs(own).argmax()] > 0
        assert found.shares[number] == pytest.approx(values[-1 - number] / values.sum())


def test_what_all_filters_share_is_left_out_because_no_layer_norm_lets_it_through():
    model = sigvit.signal_vit(3, n_times=48, depth=1, num_classes=2).eval()
    recording = torch.randn(2, 3, 48, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(model.head.weight)
    before, filters = model(recording), principal_filters(model.tokenizer.weight).filters
    with torch.no_grad():
        model.tokenizer.weight += torch.randn(model.tokenizer.weight.shape[1], generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(recording), before, atol=1e-4, rtol=0)  # single precision
    np.testing.assert_allclose(principal_filters(model.tokenizer.weight).filters, filters, atol=1e-4)  # single precision


def test_the_pattern_is_the_source_and_not_the_filter():
    """Haufe et al. 2014: a filter weighs an electrode that holds noise alone, to subtract it; the pattern doesn't."""
    generator = np.random.default_rng(0)
    source, noise = generator.standard_normal((2, 20_000))
    patches = np.stack([3 * source + noise, noise, source], axis=1)
    best = np.linalg.solve(np.cov(patches, rowvar=False) + 1e-6 * np.eye(3), np.cov(np.column_stack([patches, source]), rowvar=False)[:3, 3])
    assert abs(best[1]) > 0.1
    pattern = filter_patterns(best[None], patches)[0]
    np.testing.assert_allclose(pattern / pattern[2], [3, 0, 1], atol=0.05)  # 20 000 patches


def test_a_map_times_a_course_is_found_again():
    topography, course = np.array([2.0, -1.0, 5.0]), np.array([0.5, 1.0, -0.25, 0.0])
    found = space_and_time(np.outer(topography, course))
    np.testing.assert_allclose(found[0], topography, atol=1e-12)
    np.testing.assert_allclose(found[1], course, atol=1e-12)
    assert found[2] == pytest.approx(1)
    assert space_and_time(np.eye(3))[2] == pytest.approx(1 / 3)


def test_flat_weights_and_flat_signals_give_zeros_and_no_nan():
    assert principal_filters(np.ones((5, 3))).shares.tolist() == [0.0] * 3
    assert not filter_patterns(np.ones((2, 3)), np.ones((7, 3))).any()
    assert space_and_time(np.zeros((2, 3)))[2] == 0.0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: principal_filters(np.zeros(5)), r"must be \(width, …\)"),
        (lambda: filter_patterns(np.zeros((2, 3)), np.zeros((7, 4))), "A filter has 3 numbers, but a patch 4"),
        (lambda: space_and_time(np.zeros(3)), r"must be \(electrodes, samples\)"),
    ],
)
def test_bad_input_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_an_offset_that_never_changes_has_no_pattern():
    patches = np.random.default_rng(0).standard_normal((1000, 3))
    patches[:, 2] = 0.1  # whose mean is off by rounding
    assert filter_patterns([[0, 0, 1.0]], patches).tolist() == [[0.0, 0.0, 0.0]]

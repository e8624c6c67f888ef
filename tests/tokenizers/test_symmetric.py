"""Functions of symmetric matrices: equal to pyriemann and scikit-learn, with gradients everywhere."""

import numpy as np
import pytest
import torch
from pyriemann.geometry.mean import mean_riemann
from sklearn.covariance import oas

from sigvit.tokenizers.symmetric import _log_differences, inverse_root, matrix_log, riemannian_mean, shrink, upper_triangle


def positive(*shape: int, seed: int = 0) -> torch.Tensor:
    factor = torch.randn(*shape[:-1], 2 * shape[-1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return factor @ factor.mT / factor.shape[-1]


@pytest.mark.parametrize("function", [matrix_log, inverse_root])
def test_gradients_are_those_of_finite_differences(function):
    symmetric = positive(2, 5, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function((x + x.mT) / 2), (symmetric,))


@pytest.mark.parametrize("function", [matrix_log, inverse_root])
@pytest.mark.parametrize("gap", [0.0, 1e-16, 1e-12, 1e-7, 1e-4])
def test_gradients_are_right_where_eigenvalues_are_equal_or_nearly_so(function, gap):
    matrix = torch.diag(torch.tensor([2.0, 2.0, 2.0 + gap, 3.0, 3.0], dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: function((x + x.mT) / 2), (matrix,))


def test_the_limit_of_the_divided_difference_is_the_derivative():
    values = torch.tensor([0.5, 0.5, 7.0], dtype=torch.float64)
    assert _log_differences(values).diagonal().tolist() == [2.0, 2.0, 1 / 7.0]
    assert _log_differences(values)[0, 1] == 2.0


def test_gradients_are_finite_for_a_matrix_of_zeros():
    matrix = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(matrix_log(matrix).sum(), matrix)[0].isfinite().all()


def test_a_second_derivative_is_refused_rather_than_wrong():
    matrix = positive(3, 3).requires_grad_()
    (first,) = torch.autograd.grad(matrix_log(matrix).square().sum(), matrix, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_log_and_inverse_root_are_what_their_names_say():
    matrix = positive(3, 7, 7)
    # float64, condition numbers of about 100
    torch.testing.assert_close(torch.linalg.matrix_exp(matrix_log(matrix)), matrix, rtol=0, atol=1e-12)
    torch.testing.assert_close(inverse_root(matrix) @ matrix @ inverse_root(matrix), torch.eye(7, dtype=torch.float64).expand(3, 7, 7), rtol=0, atol=1e-12)


def test_vmap_gives_each_its_own_gradient():
    matrix = positive(3, 5, 5).requires_grad_()
    together = torch.autograd.grad(torch.func.vmap(lambda x: matrix_log(x)[0, 1])(matrix).sum(), matrix)[0]
    for k in range(3):
        # float64, the same operations in a batch
        torch.testing.assert_close(together[k], torch.autograd.grad(matrix_log(matrix[k])[0, 1], matrix)[0][k], rtol=0, atol=1e-13)


def test_the_upper_triangle_keeps_lengths():
    one, other = positive(7, 7), positive(7, 7, seed=1)
    # the same products, summed in another order
    torch.testing.assert_close(upper_triangle(one) @ upper_triangle(other), (one * other).sum(), rtol=0, atol=1e-12)
    assert upper_triangle(one.float()).dtype == torch.float32


def test_oas_is_that_of_scikit_learn():
    for samples in (3, 11, 101):
        signal = np.random.default_rng(samples).normal(size=(samples, 5)) * [1, 2, 3, 4, 5]
        centred = torch.as_tensor(signal - signal.mean(0))
        found = shrink(centred.T @ centred / samples, torch.ones(5), torch.tensor(float(samples)), "oas")
        # float64, the same formula
        np.testing.assert_allclose(found, oas(signal)[0], atol=1e-12)


def test_absent_electrodes_have_no_part_in_the_shrinkage_of_the_others():
    covariance = positive(5, 5)
    covariance[3] = covariance[:, 3] = 0
    here = [0, 1, 2, 4]
    present = torch.tensor([1.0, 1, 1, 0, 1], dtype=torch.float64)
    found = shrink(covariance, present, torch.tensor(11.0), "oas")
    expected = shrink(covariance[here][:, here], torch.ones(4, dtype=torch.float64), torch.tensor(11.0), "oas")
    # sums over one more zero
    torch.testing.assert_close(found[here][:, here], expected, rtol=0, atol=1e-14)
    assert (found[3] == 0).all()


def test_shrinking_equal_variances_has_a_gradient():
    covariance = torch.eye(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(shrink(covariance, torch.ones(3), torch.tensor(5.0), "oas").sum(), covariance)[0].isfinite().all()


def test_the_mean_is_that_of_pyriemann():
    matrices = positive(11, 5, 5)
    # both come to rest within 1e-9
    np.testing.assert_allclose(riemannian_mean(matrices), mean_riemann(matrices.numpy(), tol=1e-10, maxiter=200), atol=1e-8)
    with pytest.raises(ValueError, match="didn't come to rest in 1 steps"):
        riemannian_mean(matrices, steps=1)


def test_the_mean_comes_to_rest_between_matrices_of_large_condition_numbers():
    turns = torch.linalg.qr(torch.randn(29, 3, 7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    # of condition 1e2, 1e5 and 1e8 beside each other: each takes steps of its own
    matrices = torch.stack([turns[:, k] * torch.logspace(0, -power, 7, dtype=torch.float64) @ turns[:, k].mT for k, power in enumerate((2, 5, 8))], 1)
    inverse = inverse_root(riemannian_mean(matrices))
    # at the mean the logarithms add up to nothing: within 1e-9 by the stopping rule, and what a condition of 1e8 leaves of 16 digits
    assert matrix_log(inverse @ matrices @ inverse).mean(0).abs().max() < 1e-8

"""Solutions and roots by products, against dense linear algebra."""

import pytest
import torch

from skinvbayes.numerics.krylov import conjugate_gradients, lowest_eigenvalues, matrix_power


@pytest.fixture
def matrices():
    generator = torch.Generator().manual_seed(0)
    roots = torch.randn(5, 30, 30, generator=generator, dtype=torch.float64)
    vectors = torch.randn(5, 30, generator=generator, dtype=torch.float64)
    vectors[2] = 0
    return roots @ roots.transpose(1, 2) + 0.1 * torch.eye(30), vectors


def multiply(P):
    return lambda v: torch.einsum("nij,nj->ni", P, v)


def test_conjugate_gradients(matrices):
    P, b = matrices
    x, residual = conjugate_gradients(multiply(P), b, tol=1e-10)
    torch.testing.assert_close(x, torch.linalg.solve(P, b[:, :, None])[:, :, 0])
    assert (residual <= 1e-9).all()
    calls = []
    conjugate_gradients(lambda v: calls.append(1) or multiply(P)(v), b, tol=1e-10)
    assert len(calls) <= 60  # conjugate directions: hardly more than there are dimensions
    n_calls = len(calls)
    calls.clear()
    x, residual = conjugate_gradients(
        lambda v: calls.append(1) or multiply(P)(v), b, tol=1e-10, verified=False
    )
    torch.testing.assert_close(x, torch.linalg.solve(P, b[:, :, None])[:, :, 0])
    assert (residual <= 1e-10).all() and len(calls) == n_calls - 1
    _, residual = conjugate_gradients(multiply(P), b, max_iter=3)
    assert (residual[[0, 1, 3, 4]] > 1e-3).all()  # and it says so


@pytest.mark.parametrize("power", [-1, -0.5, 0.5])
def test_matrix_power(matrices, power):
    P, b = matrices
    spectrum, axes = torch.linalg.eigh(P)
    exact = (axes * spectrum[:, None] ** power) @ (axes.transpose(1, 2) @ b[:, :, None])
    x, change = matrix_power(multiply(P), b, power)
    torch.testing.assert_close(x, exact[:, :, 0])
    assert (change == 0).all()
    _, change = matrix_power(multiply(P), b, power, max_iter=10)
    assert (change[[0, 1, 3, 4]] > 1e-3).all()


def test_matrix_power_where_the_krylov_space_is_small():
    """A multiple of the identity but for one direction: two steps exhaust the space."""
    P = 2.0 * torch.eye(12, dtype=torch.float64).repeat(3, 1, 1)
    P[:, 0, 0] = 8.0
    b = torch.ones(3, 12, dtype=torch.float64)
    x, change = matrix_power(multiply(P), b, 0.5)
    expected = torch.full_like(b, 2**0.5)
    expected[:, 0] = 8**0.5
    torch.testing.assert_close(x, expected)
    assert (change <= 1e-6).all()


def test_lowest_eigenvalues(matrices):
    P, b = matrices
    b[2] = 1
    exact = torch.linalg.eigvalsh(P)[:, 0]
    torch.testing.assert_close(lowest_eigenvalues(multiply(P), b), exact, rtol=1e-2, atol=0)
    shifted = P - 0.5 * torch.eye(30)
    exact = exact - 0.5
    found = lowest_eigenvalues(multiply(shifted), b)
    assert ((found < 0) == (exact < 0)).all() and (exact < 0).any()
    assert torch.isneginf(lowest_eigenvalues(multiply(P), b, tol=1e-9, max_iter=5)).all()

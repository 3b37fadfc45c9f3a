"""Norms followed through training, against exact ones."""

import numpy as np
import pytest
import torch

from skinvbayes.networks import IResNet
from skinvbayes.numerics.symmetric import NormTracker, eigenpairs, spectral_norm


def drifting(shape, n_steps, length, seed=0):
    """Matrices as Adam moves them: every entry by so much, to and fro."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(shape, generator=generator, dtype=torch.float64) / shape[0] ** 0.5
    for _ in range(n_steps):
        yield matrix
        matrix = matrix + length * torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(40, 40), (50, 12), (12, 50)], ids=str)
def test_norms_are_followed(shape):
    """Also where all entries grow together, as in the first steps of Adam."""
    tracker = NormTracker()
    for step, matrix in enumerate(drifting(shape, 40, 1e-3)):
        matrix = matrix + 1e-3 * step
        exact = matrix / spectral_norm(matrix).clamp(min=1)
        torch.testing.assert_close(tracker.normalize(matrix), exact, rtol=5e-3, atol=1e-9)


@pytest.mark.parametrize("n", [3, 40])
def test_another_vector_that_takes_the_lead_is_noticed(n):
    """The power method alone would stay with a vector orthogonal to the new leading one."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    values = torch.linspace(1, 3, n, dtype=torch.float64)
    tracker = NormTracker()
    tracker.normalize(basis.T @ (values[:, None] * basis))
    values[n // 2] = 9.0
    matrix = basis.T @ (values[:, None] * basis)
    for _ in range(3 * NormTracker.EVERY):
        normalized = tracker.normalize(matrix)
    torch.testing.assert_close(normalized, matrix / 9)


def test_matrices_of_zeros_are_followed():
    tracker = NormTracker()
    for n_rows, n_columns in [(3, 40), (40, 40)]:
        matrix = torch.zeros(n_rows, n_columns)
        assert all(tracker.normalize(matrix) is matrix for _ in range(4))
        tracker = NormTracker()
    matrix = 3 * torch.eye(40)
    tracker.normalize(0 * matrix)
    torch.testing.assert_close(tracker.normalize(matrix), torch.eye(40))


def test_small_matrices_are_left_alone():
    matrix = 0.1 * torch.eye(3)
    assert NormTracker().normalize(matrix) is matrix


def test_gradient_of_the_quotient():
    matrix = next(drifting((7, 5), 1, 0)).mul(3).requires_grad_()
    probe = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (fast,) = torch.autograd.grad((probe * NormTracker().normalize(matrix)).sum(), matrix)
    (exact,) = torch.autograd.grad((probe * matrix / spectral_norm(matrix)).sum(), matrix)
    torch.testing.assert_close(fast, exact)


@pytest.mark.parametrize("residual", ["gradient", "mlp"])
def test_training_mode_keeps_the_bound(residual):
    """Steps that push against the bound: it holds in training mode as nearly as is promised."""
    sizes = {"gradient": (20,), "mlp": (20, 20)}[residual]
    network = IResNet(4, residual=residual, hidden_layer_sizes=sizes, lipschitz=0.5).double()
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-2)
    network.train()
    for _ in range(100):
        optimizer.zero_grad()
        (network(x) - 3 * x.sin()).square().sum().backward()
        optimizer.step()
    followed = network(x)
    network.eval()
    assert network.lipschitz() <= 0.5
    if residual == "mlp":
        assert network.lipschitz() > 0.45  # else nothing was tested
        torch.testing.assert_close(followed, network(x), rtol=2e-2, atol=2e-2)
    else:  # by construction, with room for sums of bounds; without its multiple of I, above it
        a, b = network.blocks[0].bounds()
        assert (b - a) / (b + a - 2 * network.blocks[0].constants().floor) > 0.5
        torch.testing.assert_close(followed, network(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 60])
def test_eigenpairs_of_any_size(n):
    root = np.random.RandomState(0).standard_normal((n, n)).astype(np.float32)
    matrix = root @ root.T
    values, vectors = eigenpairs(matrix)
    np.testing.assert_allclose((vectors * values) @ vectors.T, matrix, atol=1e-4 * n)
    assert (np.diff(values) >= 0).all() and vectors.dtype == np.float32

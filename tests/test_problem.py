"""What the pairs say before training: units, the Gaussian optimum, the linear estimator."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinvbayes import ApproximationINN, DivergenceRegularizedINN
from skinvbayes.oracles import posterior_mean
from skinvbayes.priors import GaussianMixturePrior
from skinvbayes.problem import Coordinates
from skinvbayes.problem.gaussian import gaussian_optimum, linear_estimator


def gaussian(d, rng):
    root = rng.standard_normal((d, d)) / 2
    return GaussianMixturePrior(rng.standard_normal((1, d)), root @ root.T + 0.1 * np.eye(d))


@pytest.mark.parametrize("shape", [None, (5, 3), (2, 3)])
def test_linear_estimator_is_the_posterior_mean_of_a_gaussian(shape, rng):
    prior = gaussian(3, rng)
    A = None if shape is None else rng.standard_normal(shape)
    Y = rng.standard_normal((10, 3 if A is None else len(A)))
    estimate = linear_estimator(prior.means[0], np.squeeze(prior.covariances), A, 0.3)
    exact = posterior_mean(prior, Y, operator=A, noise_level=0.3)
    assert_allclose(estimate(Y), exact, rtol=1e-8, atol=1e-10)


def test_optimum_and_linear_estimator_are_inverse(rng):
    prior, A = gaussian(3, rng), rng.standard_normal((4, 3))
    mean, covariance = prior.means[0], np.squeeze(prior.covariances)
    optimum = gaussian_optimum(A.T @ A, np.linalg.inv(covariance), 0.3**2)
    Y = rng.standard_normal((10, 4))
    found = linear_estimator(mean, covariance, A, 0.3)(Y)
    assert_allclose((found - mean) @ optimum, (Y - A @ mean) @ A, rtol=1e-8, atol=1e-10)


def test_natural_coordinates(rng):
    """G is diagonal between 0 and 1, the precision of the posterior the identity."""
    X, A = gaussian(3, rng).sample(500, rng), rng.standard_normal((2, 3))
    Y = X @ A.T + 0.3 * rng.standard_normal((500, 2))
    problem = ApproximationINN(operator=A, noise_level=0.3, max_iter=1).fit(X, Y).problem_
    coordinates = problem.coordinates
    expected = gaussian_optimum(A.T @ A, np.linalg.inv(np.cov(X.T, bias=True)), 0.3**2)
    assert_allclose(coordinates.precision, expected, rtol=1e-8)
    assert_allclose(coordinates.unit_map(expected), np.eye(3), atol=1e-9)
    G = coordinates.unit_map(A.T @ A)
    assert_allclose(G, np.diag(G.diagonal()), atol=1e-9)
    assert G.diagonal().max() < 1 and np.diff(G.diagonal()).max() < 0
    assert abs(G[2, 2]) < 1e-9  # of two measurements there is a direction without information
    assert_allclose(coordinates.to_jacobian(np.eye(3)), expected, rtol=1e-8)
    u = coordinates.from_signals(X)
    assert_allclose(
        np.cov(u.T, bias=True) + 0 * G,
        np.diag((1 - G.diagonal()) ** -1) * (0.3**2 / coordinates.scale**2),
        atol=1e-8,
    )  # ε C⁻¹ = 1 − G in these coordinates


def test_natural_coordinates_do_not_depend_on_a_linear_change(rng):
    X, A = gaussian(3, rng).sample(500, rng) ** 3, rng.standard_normal((4, 3))
    Y = X @ A.T + 0.3 * rng.standard_normal((500, 4))
    change = rng.standard_normal((3, 3)) + 2 * np.eye(3)
    first, second = (
        ApproximationINN(operator=B, noise_level=0.3, prior_bandwidth=0, max_iter=1).fit(V, Y)
        for V, B in ((X, A), (X @ change.T, A @ np.linalg.inv(change)))
    )
    u, v = (e.problem_.coordinates.from_signals(V) for e, V in ((first, X), (second, X @ change.T)))
    assert_allclose(u, v, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("isotropic", [True, False])
def test_coordinates_go_there_and_back(isotropic, rng):
    X, Z = rng.standard_normal((2, 50, 3)) * 7 + 2
    if isotropic:
        coordinates = Coordinates.isotropic(X, Z, np.ones(50), norm=5.0)
    else:
        root = rng.standard_normal((3, 3))
        arguments = {"forward": np.diag([1.0, 2, 3]), "precision": root @ root.T + np.eye(3)}
        coordinates = Coordinates.natural(X, Z, np.ones(50), **arguments)
    u = coordinates.from_signals(X)
    assert_allclose(u.mean(axis=0), 0, atol=1e-12)
    assert (u**2).mean() == pytest.approx(1)
    assert_allclose(coordinates.to_signals(u), X)
    assert_allclose(coordinates.to_targets(coordinates.from_targets(Z)), Z)
    unit = rng.standard_normal((3, 3))
    expected = np.array(
        [coordinates.to_targets(u + unit[:, i]) - coordinates.to_targets(u) for i in range(3)]
    )[:, 0].T  # B⁻ᵀ Dψ s
    back = np.array([coordinates.from_signals(X + e) - u for e in np.eye(3)])[:, 0].T
    assert_allclose(coordinates.to_jacobian(unit), expected @ back)
    sign, logdet = np.linalg.slogdet(coordinates.to_jacobian(np.eye(3)))
    assert coordinates.logdet_constant() == pytest.approx(logdet)


def test_public_problem(pairs):
    estimator = DivergenceRegularizedINN(operator=np.eye(2), max_iter=1).fit(*pairs)
    problem = estimator.problem_
    assert problem.operator is estimator.operator_
    assert problem.noise_level == estimator.noise_level_
    assert_allclose(problem.targets(pairs[1]), pairs[1])

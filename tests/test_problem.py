"""What the pairs say before training: units, the Gaussian optimum, the linear estimator."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skinvbayes import ApproximationINN, DivergenceRegularizedINN
from skinvbayes.oracles import posterior_mean
from skinvbayes.priors import GaussianMixturePrior
from skinvbayes.problem import Coordinates
from skinvbayes.problem.gaussian import gaussian_optimum, linear_estimator, unit_optimum


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


def test_training_starts_from_the_gaussian_optimum(rng):
    """In the user's units it is G + δ² C⁻¹, with the moments of the pairs."""
    X, A = gaussian(3, rng).sample(500, rng), rng.standard_normal((4, 3))
    Y = X @ A.T + 0.3 * rng.standard_normal((500, 4))
    problem = ApproximationINN(operator=A, max_iter=1).fit(X, Y).problem_
    u = torch.from_numpy(problem.coordinates.from_signals(X)) / 500**0.5
    unit = unit_optimum(problem, u, whole=True, max_condition=1e9).numpy()
    inverse = np.linalg.inv(np.cov(X.T, bias=True))
    expected = gaussian_optimum(A.T @ A, inverse, problem.noise_level**2)
    assert_allclose(problem.coordinates.to_jacobian(unit), expected, rtol=1e-3)


def test_coordinates_go_there_and_back(rng):
    X, Z = rng.standard_normal((2, 50, 3)) * 7 + 2
    coordinates = Coordinates.from_data(X, Z, 5.0, np.ones(50))
    u = coordinates.from_signals(X)
    assert_allclose(u.mean(axis=0), 0, atol=1e-12)
    assert (u**2).mean() == pytest.approx(1)
    assert_allclose(coordinates.to_signals(u), X)
    assert_allclose(coordinates.to_targets(coordinates.from_targets(Z)), Z)


def test_public_problem(pairs):
    estimator = DivergenceRegularizedINN(operator=np.eye(2), max_iter=1).fit(*pairs)
    problem = estimator.problem_
    assert problem.operator is estimator.operator_
    assert problem.noise_level == estimator.noise_level_
    assert_allclose(problem.targets(pairs[1]), pairs[1])

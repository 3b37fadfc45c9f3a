"""The oracles against quadrature, grids, Tweedie's formulas and naive sums."""

import math

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import LinearOperator

from skinvbayes import oracles
from skinvbayes.numerics import chunks
from skinvbayes.oracles import (
    map_estimate,
    measurement_distribution,
    posterior,
    posterior_covariance,
    posterior_mean,
)
from skinvbayes.priors import EmpiricalPrior, GaussianMixturePrior

NOISE_LEVEL = 0.3
TALL = np.array([[1.0, 0.4], [0.0, 0.8], [0.3, -0.5]])
WIDE = np.array([[0.8, -0.6]])
OPERATORS = {"identity": None, "3x2": TALL, "1x2": WIDE}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=list(OPERATORS))

# Every component of a posterior has standard deviations of at least 0.17 = 2.5 steps, and the
# border is more than nine prior standard deviations off: the rectangle rule errs below 1e-15.
AXIS = np.linspace(-7, 7, 211)
GRID = np.stack(np.meshgrid(AXIS, AXIS, indexing="ij"), axis=-1).reshape(-1, 2)


def three_components():
    covariances = [[[0.2, 0.1], [0.1, 0.3]], [[0.3, -0.1], [-0.1, 0.1]], 0.2 * np.eye(2)]
    return GaussianMixturePrior(
        [[1.2, 0.3], [-1.0, 0.8], [0.1, -1.1]], covariances, [0.5, 0.3, 0.2]
    )


def crossing_ridges():
    """Two long components that cross: a third mode lies where they do."""
    return GaussianMixturePrior(
        [[1.0, 0.0], [0.0, 1.0]], [np.diag([1.0, 0.03]), np.diag([0.03, 1.0])], [0.55, 0.45]
    )


def bimodal():
    return GaussianMixturePrior([[1.0, 0.5], [-1.0, -0.5]], 0.16)


every_prior = pytest.mark.parametrize("prior", [three_components(), bimodal()], ids=["3", "2"])


def dense(operator):
    return np.eye(2) if operator is None else operator


def measure(prior, operator, n=6, seed=0, noise_level=NOISE_LEVEL):
    """Measurements from the model, and the zero one, which is between the modes."""
    rng = np.random.RandomState(seed)
    clean = prior.sample(n, rng) @ dense(operator).T
    Y = clean + noise_level * rng.standard_normal(clean.shape)
    return np.vstack([Y, np.zeros_like(Y[:1])])


def log_likelihood(X, y, operator, noise_level=NOISE_LEVEL):
    """``log p(y|x)`` up to a constant, for one measurement."""
    return -0.5 * ((y - X @ dense(operator).T) ** 2).sum(axis=1) / noise_level**2


def quadrature(density, y, operator):
    """Posterior mean and covariance for one measurement, from the prior density on the grid."""
    weights = density * np.exp(log_likelihood(GRID, y, operator))
    weights /= weights.sum()
    mean = weights @ GRID
    return mean, (GRID - mean).T @ (weights[:, None] * (GRID - mean))


# ------------------------------------------------------------------- posterior mean and covariance


@every_prior
@every_operator
def test_mean_and_covariance_match_quadrature(prior, operator):
    Y = measure(prior, operator)
    known = {"operator": operator, "noise_level": NOISE_LEVEL}
    means, covariances = posterior_mean(prior, Y, **known), posterior_covariance(prior, Y, **known)
    assert means.shape == (7, 2)
    assert covariances.shape == (7, 2, 2)
    density = np.exp(prior.log_density(GRID))
    for y, mean, covariance in zip(Y, means, covariances, strict=True):
        expected_mean, expected_covariance = quadrature(density, y, operator)
        np.testing.assert_allclose(mean, expected_mean, rtol=0, atol=1e-11)
        np.testing.assert_allclose(covariance, expected_covariance, rtol=0, atol=1e-11)


@every_operator
def test_posterior_is_bayes_rule(operator):
    """log p(x|y) = log p(x) + log p(y|x) − log p(y), with p(y) a mixture as well."""
    prior, Y = three_components(), measure(three_components(), operator)
    known = {"operator": operator, "noise_level": NOISE_LEVEL}
    weights, means, covariances = posterior(prior, Y, **known)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-14)
    evidence = measurement_distribution(
        prior, operator=operator, noise_level=NOISE_LEVEL
    ).log_density(Y)
    X = prior.sample(30, random_state=1)
    for i, y in enumerate(Y):
        symmetric = (covariances + covariances.transpose(0, 2, 1)) / 2
        actual = GaussianMixturePrior(means[i], symmetric, weights[i]).log_density(X)
        constant = 0.5 * len(y) * np.log(2 * np.pi * NOISE_LEVEL**2)
        expected = prior.log_density(X) + log_likelihood(X, y, operator) - constant - evidence[i]
        # the log densities go down to −100, the condition numbers up to 100
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)


@every_prior
@every_operator
def test_tweedie(prior, operator):
    """E[Ax|y] = y + δ²∇log p_y(y) and Cov[Ax|y] = δ²I + δ⁴∇²log p_y(y)."""
    A, Y = dense(operator), measure(prior, operator)
    known = {"operator": operator, "noise_level": NOISE_LEVEL}
    smoothed, variance = measurement_distribution(prior, **known), NOISE_LEVEL**2
    expected = Y + variance * smoothed.score(Y)
    actual = posterior_mean(prior, Y, **known) @ A.T
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13)
    expected = variance * np.eye(len(A)) + variance**2 * smoothed.hessian(Y)
    actual = A @ posterior_covariance(prior, Y, **known) @ A.T
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-13)


@every_prior
def test_aty_knows_as_much_as_y(prior):
    """The paper's Lemma 1, p(x|y) = p(x|Aᵀy): the noise of z = Aᵀy is δ²G, G = L Lᵀ, and L⁻¹z is
    a measurement by Lᵀ with white noise."""
    Y = measure(prior, TALL)
    L = np.linalg.cholesky(TALL.T @ TALL)
    whitened = np.linalg.solve(L, TALL.T @ Y.T).T
    for oracle in (posterior_mean, posterior_covariance, map_estimate):
        from_y = oracle(prior, Y, operator=TALL, noise_level=NOISE_LEVEL)
        from_z = oracle(prior, whitened, operator=L.T, noise_level=NOISE_LEVEL)
        np.testing.assert_allclose(from_z, from_y, rtol=0, atol=1e-10)


def test_measurements_have_their_distribution():
    prior = three_components()
    distribution = measurement_distribution(prior, operator=TALL, noise_level=NOISE_LEVEL)
    Y = measure(prior, TALL, n=100_000)[:-1]
    mean = distribution.weights @ distribution.means
    np.testing.assert_allclose(Y.mean(axis=0), mean, atol=0.02)
    spread = distribution.means - mean
    covariance = np.einsum("k,kij->ij", distribution.weights, distribution.covariances)
    covariance += (distribution.weights * spread.T) @ spread
    np.testing.assert_allclose(np.cov(Y.T), covariance, atol=0.02)
    with pytest.raises(TypeError, match="GaussianMixturePrior is needed"):
        measurement_distribution(EmpiricalPrior(np.eye(2)), noise_level=0.3)
    with pytest.raises(ValueError, match="noise_level must be a positive"):
        measurement_distribution(prior, noise_level=0)


@every_prior
def test_covariance_is_the_derivative_of_the_mean(prior):
    """Second-order Tweedie for A = I: Cov[x|y] = δ² dE[x|y]/dy."""
    Y, step = measure(prior, None), 1e-5
    derivative = np.stack(
        [
            posterior_mean(prior, Y + shift, noise_level=NOISE_LEVEL)
            - posterior_mean(prior, Y - shift, noise_level=NOISE_LEVEL)
            for shift in step * np.eye(2)
        ],
        axis=2,
    ) / (2 * step)
    covariance = posterior_covariance(prior, Y, noise_level=NOISE_LEVEL)
    # truncation: 1e-10 / 6 times δ² times third derivatives, which are below 1 / δ³ ≈ 40 times 10
    np.testing.assert_allclose(covariance, NOISE_LEVEL**2 * derivative, rtol=0, atol=1e-8)


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (2, 4), (1, 4)])
def test_gaussian_prior_mean_is_map_is_wiener(shape, rng):
    A = rng.standard_normal(shape)
    root = np.eye(shape[1]) + 0.3 * rng.standard_normal((shape[1], shape[1]))
    mean, covariance = rng.standard_normal(shape[1]), root @ root.T
    prior = GaussianMixturePrior(mean[None], covariance)
    Y = rng.standard_normal((20, shape[0]))
    known = {"operator": A, "noise_level": NOISE_LEVEL}
    information = A.T @ A / NOISE_LEVEL**2 + np.linalg.inv(covariance)
    posterior_cov = np.linalg.inv(information)
    wiener = (Y @ A / NOISE_LEVEL**2 + np.linalg.solve(covariance, mean)) @ posterior_cov
    atol = 1e-14 * np.linalg.cond(information) * np.abs(wiener).max()
    assert atol < 1e-10
    np.testing.assert_allclose(posterior_mean(prior, Y, **known), wiener, rtol=0, atol=atol)
    np.testing.assert_allclose(map_estimate(prior, Y, **known), wiener, rtol=0, atol=atol)
    actual = posterior_covariance(prior, Y, **known)
    expected = np.broadcast_to(posterior_cov, actual.shape)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


def test_component_of_weight_zero_is_as_good_as_absent():
    full, Y = three_components(), measure(three_components(), None)
    prior = GaussianMixturePrior(full.means, full.covariances, [1.0, 0.0, 1.0])
    reduced = GaussianMixturePrior(full.means[[0, 2]], full.covariances[[0, 2]])
    for oracle in (posterior_mean, posterior_covariance, map_estimate):
        actual, expected = (oracle(p, Y, noise_level=NOISE_LEVEL) for p in (prior, reduced))
        # the MAP iteration stops at steps of 1e-12
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("oracle", [posterior_mean, posterior_covariance, map_estimate])
def test_forms_of_the_operator_and_inputs_unmodified(oracle):
    prior, A = three_components(), TALL.copy()
    Y = measure(prior, A)
    original = Y.copy()
    expected = oracle(prior, Y, operator=A, noise_level=NOISE_LEVEL)
    free = LinearOperator(A.shape, matvec=lambda x: A @ x, rmatvec=lambda y: A.T @ y, dtype=float)
    for operator in (A.tolist(), sparse.csr_array(A), free):
        actual = oracle(prior, Y.tolist(), operator=operator, noise_level=NOISE_LEVEL)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-11)
    assert np.array_equal(Y, original)
    assert np.array_equal(A, TALL)
    explicit = oracle(prior, Y[:, :2], operator=np.eye(2), noise_level=NOISE_LEVEL)
    assert np.array_equal(oracle(prior, Y[:, :2], noise_level=NOISE_LEVEL), explicit)


def test_measurements_far_off_give_finite_estimates():
    Y = np.array([[1e6, -1e6]])
    for oracle in (posterior_mean, posterior_covariance, map_estimate):
        assert np.isfinite(oracle(three_components(), Y, noise_level=0.05)).all()


# -------------------------------------------------------------------------------------------- MAP


MAP_PRIORS = {"three": three_components(), "crossing": crossing_ridges(), "bimodal": bimodal()}


@pytest.mark.parametrize("name", MAP_PRIORS)
@every_operator
@pytest.mark.parametrize("noise_level", [0.3, 1.5])
def test_map_beats_every_point_of_a_grid(name, operator, noise_level):
    prior = MAP_PRIORS[name]
    Y = measure(prior, operator, noise_level=noise_level)
    estimate = map_estimate(prior, Y, operator=operator, noise_level=noise_level)
    assert estimate.shape == (7, 2)
    on_grid, at_estimate = prior.log_density(GRID), prior.log_density(estimate)
    for i, y in enumerate(Y):
        best = (on_grid + log_likelihood(GRID, y, operator, noise_level)).max()
        likelihood = log_likelihood(estimate[[i]], y, operator, noise_level)
        assert at_estimate[i] + likelihood >= best - 1e-12 * abs(best)


@pytest.mark.parametrize("name", MAP_PRIORS)
@every_operator
def test_gradient_is_zero_at_the_map(name, operator):
    prior, A = MAP_PRIORS[name], dense(operator)
    Y = measure(prior, operator, n=40)
    X = map_estimate(prior, Y, operator=operator, noise_level=NOISE_LEVEL)
    gradient = prior.score(X) - (X @ A.T - Y) @ A / NOISE_LEVEL**2
    # the gradient is a fixed-point step of at most tol = 1e-12 times this curvature
    curvature = np.linalg.norm(A, 2) ** 2 / NOISE_LEVEL**2
    curvature += np.linalg.norm(np.linalg.inv(prior.covariances), 2, axis=(1, 2)).max()
    assert np.abs(gradient).max() <= 1e-11 * curvature * np.abs(X).max()


@every_operator
def test_newton_finishes_what_few_steps_leave(operator):
    prior, A = three_components(), dense(operator)
    Y = measure(prior, operator, n=40)
    known = {"operator": operator, "noise_level": NOISE_LEVEL}
    X = map_estimate(prior, Y, max_iter=5, **known)
    gradient = prior.score(X) - (X @ A.T - Y) @ A / NOISE_LEVEL**2
    # steps that would gain less than rounding, gradient² / (2 · 100) < ε · 100, may be refused
    assert np.abs(gradient).max() <= np.sqrt(2 * 100 * np.finfo(float).eps * 100)


def test_newton_steps_never_lower_the_posterior_density():
    """Newton steps alone, where many of them would run to saddles and away."""
    prior, A, noise_level = crossing_ridges(), np.eye(2), 3.0
    start = np.stack(np.meshgrid(*[np.linspace(-3, 3, 13)] * 2), axis=-1).reshape(-1, 2)
    Y = np.zeros_like(start)
    end = oracles._ascend(prior, start, Y, A, noise_level, max_iter=0, tol=0)
    before, after = (
        prior.log_density(X) - 0.5 * (X**2).sum(axis=1) / noise_level**2 for X in (start, end)
    )
    assert (after >= before - 1e-12 * np.abs(before)).all()


def test_map_leaves_the_saddle_between_two_modes():
    prior, y = bimodal(), np.zeros((1, 2))
    np.testing.assert_allclose(posterior_mean(prior, y, noise_level=NOISE_LEVEL), y, atol=1e-15)
    estimate = map_estimate(prior, y, noise_level=NOISE_LEVEL)
    saddle, mode = (prior.log_density(x) + log_likelihood(x, y, None) for x in (y, estimate))
    assert mode > saddle + 0.1


def test_map_finds_the_mode_where_two_components_cross():
    prior = crossing_ridges()
    crossing = np.array([[0.0, 0.0]])
    estimate = map_estimate(prior, crossing, noise_level=1.0)
    assert np.linalg.norm(estimate) < 0.2
    assert np.linalg.eigvalsh(prior.hessian(estimate)).max() < 0  # the prior's own third mode


def test_map_is_not_the_mean():
    prior, Y = bimodal(), np.array([[0.1, 0.05]])
    mean = posterior_mean(prior, Y, noise_level=0.6)
    maximum = map_estimate(prior, Y, noise_level=0.6)
    assert np.linalg.norm(mean - maximum) > 0.1


# -------------------------------------------------------------------------------------- empirical


@every_operator
@pytest.mark.parametrize("noise_level", [0.3, 2.0])
def test_empirical_mean_is_the_weighted_sum(operator, noise_level):
    samples = three_components().sample(50, random_state=1)
    Y = measure(three_components(), operator)
    actual = posterior_mean(EmpiricalPrior(samples), Y, operator=operator, noise_level=noise_level)
    assert actual.shape == (7, 2)
    for y, mean in zip(Y, actual, strict=True):
        weights = [
            math.exp(-0.5 * sum((y - dense(operator) @ x) ** 2) / noise_level**2) for x in samples
        ]
        expected = sum(w * x for w, x in zip(weights, samples, strict=True)) / sum(weights)
        # squared distances of up to 50 / δ², as differences of squares: a few hundred ulps
        np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("noise_level", [1e-2, 1e-5])
def test_empirical_mean_for_tiny_noise_is_the_nearest_sample(noise_level):
    """All weights underflow but for log space: the nearest sample is hundreds of δ away."""
    axis = np.arange(-3.0, 4.0)
    samples = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    Y = samples + [0.3, -0.2]
    actual = posterior_mean(EmpiricalPrior(samples), Y, noise_level=noise_level)
    np.testing.assert_allclose(actual, samples, rtol=0, atol=1e-12)


@pytest.mark.parametrize("limit", [1, 120, 10**6])
@every_operator
def test_empirical_mean_in_chunks(operator, limit, monkeypatch):
    prior = EmpiricalPrior(three_components().sample(40, random_state=1))
    Y = measure(three_components(), operator, n=9)
    known = {"operator": operator, "noise_level": NOISE_LEVEL}
    expected = posterior_mean(prior, Y, **known)
    sizes, weigh = [], oracles._importance_weights

    def watch(*args):
        weights = weigh(*args)
        sizes.append(weights.shape)
        return weights

    monkeypatch.setattr(chunks, "MOST_ENTRIES", limit)
    monkeypatch.setattr(oracles, "_importance_weights", watch)
    np.testing.assert_allclose(posterior_mean(prior, Y, **known), expected, rtol=0, atol=1e-13)
    assert [rows for rows, _ in sizes] == {1: [1] * 10, 120: [3, 3, 3, 1], 10**6: [10]}[limit]


@every_operator
def test_empirical_mean_of_many_samples_approaches_the_closed_form(operator):
    prior, Y = three_components(), measure(three_components(), operator)
    samples = prior.sample(100_000, random_state=2)
    known = {"operator": operator, "noise_level": NOISE_LEVEL}
    expected = posterior_mean(prior, Y, **known)
    actual = posterior_mean(EmpiricalPrior(samples), Y, **known)
    for y, mean, exact in zip(Y, actual, expected, strict=True):
        residual = y - samples @ dense(operator).T
        weights = np.exp(-0.5 * (residual**2).sum(axis=1) / NOISE_LEVEL**2)
        weights /= weights.sum()
        standard_error = np.sqrt(weights**2 @ (samples - exact) ** 2)
        assert (np.abs(mean - exact) <= 5 * standard_error).all()
        assert standard_error.max() < 0.02


# -------------------------------------------------------------------------------------- bad input


ORACLES = [posterior_mean, posterior_covariance, posterior, map_estimate]
every_oracle = pytest.mark.parametrize("oracle", ORACLES)


@every_oracle
@pytest.mark.parametrize("noise_level", [0, 0.0, -0.3, np.nan])
def test_noise_level_must_be_positive(oracle, noise_level):
    with pytest.raises(ValueError, match="noise_level must be a positive number"):
        oracle(bimodal(), [[0.0, 0.0]], noise_level=noise_level)


@every_oracle
@pytest.mark.parametrize(
    ("operator", "n_measurements", "shapes"),
    [
        (TALL, 2, r"\(3, 2\).*\(2, 2\) is needed"),
        (TALL.T, 2, r"\(2, 3\).*\(2, 2\) is needed"),
        (WIDE, 3, r"\(1, 2\).*\(3, 2\) is needed"),
        (None, 3, r"\(2, 2\).*\(3, 2\) is needed"),
    ],
    ids=["tall", "transposed", "wide", "identity"],
)
def test_operator_must_match_naming_shapes(oracle, operator, n_measurements, shapes):
    with pytest.raises(ValueError, match=f"operator has shape {shapes}"):
        oracle(bimodal(), np.zeros((4, n_measurements)), operator=operator, noise_level=0.3)


BAD_MEASUREMENTS = {
    "NaN": ([[0.0, np.nan]], "Y contains NaN"),
    "infinity": ([[0.0, np.inf]], "Y contains infinity"),
    "one-dimensional": ([0.0, 0.0], "Expected 2D array"),
    "empty": (np.ones((0, 2)), "0 sample"),
}


@every_oracle
@pytest.mark.parametrize("case", BAD_MEASUREMENTS)
def test_bad_measurements(oracle, case):
    Y, message = BAD_MEASUREMENTS[case]
    with pytest.raises(ValueError, match=message):
        oracle(bimodal(), Y, noise_level=0.3)


@pytest.mark.parametrize("oracle", [posterior_covariance, posterior, map_estimate])
def test_empirical_prior_has_only_a_mean(oracle):
    prior = EmpiricalPrior(np.eye(2))
    with pytest.raises(TypeError, match="GaussianMixturePrior is needed, got EmpiricalPrior"):
        oracle(prior, [[0.0, 0.0]], noise_level=0.3)


def test_map_of_narrow_overlapping_components_is_global():
    """Both components' means climb to the lower of two modes; the ridgeline finds the higher."""
    covariances = [[[0.19, 0.37], [0.37, 0.83]], [[0.89, -0.31], [-0.31, 0.13]]]
    prior = GaussianMixturePrior([[0, 0.2], [-1.2, -0.3]], covariances)
    found = map_estimate(prior, [[-0.3, 0.1]], noise_level=1.0)
    np.testing.assert_allclose(found, [[-0.37, -0.55]], atol=0.01)


def test_empirical_mean_far_from_the_origin():
    signals = np.linspace(-1e-3, 1e-3, 21)[:, None]
    here = posterior_mean(EmpiricalPrior(signals), [[3e-4]], noise_level=1e-4)
    there = posterior_mean(EmpiricalPrior(1e6 + signals), [[1e6 + 3e-4]], noise_level=1e-4)
    np.testing.assert_allclose(there - 1e6, here, atol=1e-8)

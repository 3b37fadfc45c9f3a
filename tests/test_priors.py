"""Gaussian mixtures and empirical priors as distributions."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.utils import check_random_state

from skinvbayes import priors as priors_module
from skinvbayes.priors import (
    EmpiricalPrior,
    GaussianMixturePrior,
    KernelDensityPrior,
)
from skinvbayes.problem.smoothing import neighbour_bandwidth

WEIGHTS = np.array([2.0, 3.0, 5.0])
SIGMAS = 5  # of statistical error: one false alarm in two million


def parameters(n_features, seed=3):
    """Means and full covariances, eigenvalues at least 0.2, of three components."""
    rng = np.random.RandomState(seed)
    roots = 0.5 * rng.standard_normal((3, n_features, n_features))
    covariances = roots @ roots.transpose(0, 2, 1) + 0.2 * np.eye(n_features)
    return rng.standard_normal((3, n_features)), covariances


@pytest.fixture(params=[1, 2, 4], ids="{} features".format)
def mixture(request):
    return GaussianMixturePrior(*parameters(request.param), WEIGHTS)


def points(prior):
    """Signals near the components and a few standard deviations off."""
    X = prior.sample(20, random_state=1)
    return np.vstack([X, 3 * X])


def central_difference(function, X, step=1e-5):
    """Derivative along every coordinate, last axis; its error is 1e-10 times third derivatives."""
    shifts = step * np.eye(X.shape[1])
    return np.stack([(function(X + s) - function(X - s)) / (2 * step) for s in shifts], axis=-1)


# ----------------------------------------------------------------------- mixture: its derivatives


def test_log_density_is_that_of_the_mixture(mixture):
    X = points(mixture)
    density = sum(
        weight * multivariate_normal(mean, covariance).pdf(X)
        for weight, mean, covariance in zip(
            WEIGHTS / WEIGHTS.sum(), *parameters(mixture.n_features), strict=True
        )
    )
    assert mixture.log_density(X).shape == (40,)
    np.testing.assert_allclose(mixture.log_density(X), np.log(density), rtol=1e-11)


def test_log_density_is_finite_where_the_density_underflows(mixture):
    X = np.full((1, mixture.n_features), 1e4)
    components = [
        np.log(weight / WEIGHTS.sum()) + multivariate_normal(mean, covariance).logpdf(X)
        for weight, mean, covariance in zip(WEIGHTS, *parameters(mixture.n_features), strict=True)
    ]
    np.testing.assert_allclose(mixture.log_density(X), np.max(components), rtol=1e-11)
    assert np.isfinite(mixture.score(X)).all()
    assert np.isfinite(mixture.hessian(X)).all()


def test_score_is_the_gradient_of_the_log_density(mixture):
    X = points(mixture)
    assert mixture.score(X).shape == X.shape
    expected = central_difference(mixture.log_density, X)
    np.testing.assert_allclose(mixture.score(X), expected, rtol=0, atol=1e-7)


def test_hessian_is_the_gradient_of_the_score(mixture):
    X = points(mixture)
    hessian = mixture.hessian(X)
    assert hessian.shape == (*X.shape, mixture.n_features)
    np.testing.assert_allclose(hessian, central_difference(mixture.score, X), rtol=0, atol=1e-7)
    np.testing.assert_allclose(hessian, hessian.transpose(0, 2, 1), rtol=0, atol=1e-12)


def test_one_gaussian_has_a_linear_score():
    means, covariances = parameters(3)
    prior = GaussianMixturePrior(means[:1], covariances[:1])
    X = points(prior)
    precision = np.linalg.inv(covariances[0])
    np.testing.assert_allclose(prior.score(X), (means[0] - X) @ precision, rtol=0, atol=1e-12)
    expected = np.broadcast_to(-precision, (len(X), 3, 3))
    np.testing.assert_allclose(prior.hessian(X), expected, rtol=0, atol=1e-11)


# ---------------------------------------------------------------------------- mixture: its samples


def test_moments_of_the_samples(mixture):
    n = 100_000
    X = mixture.sample(n, random_state=0)
    means, covariances = parameters(mixture.n_features)
    weights = WEIGHTS / WEIGHTS.sum()
    mean = weights @ means
    offsets = means - mean
    covariance = np.einsum("k,kij->ij", weights, covariances)
    covariance += np.einsum("k,ki,kj->ij", weights, offsets, offsets)
    products = (X - mean)[:, :, None] * (X - mean)[:, None, :]
    assert X.shape == (n, mixture.n_features)
    assert (np.abs(X.mean(axis=0) - mean) <= SIGMAS * X.std(axis=0) / np.sqrt(n)).all()
    error = np.abs(products.mean(axis=0) - covariance)
    assert (error <= SIGMAS * products.std(axis=0) / np.sqrt(n)).all()


def test_every_component_has_its_weight_mean_and_covariance():
    n, covariances = 60_000, parameters(2)[1]
    centres = 100.0 * np.array([[0, 0], [1, 0], [0, 1]])  # far apart: samples tell their component
    X = GaussianMixturePrior(centres, covariances, WEIGHTS).sample(n, random_state=0)
    component = ((X[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    for k, weight in enumerate(WEIGHTS / WEIGHTS.sum()):
        part = X[component == k] - centres[k]
        assert abs(len(part) - n * weight) <= SIGMAS * np.sqrt(n * weight * (1 - weight))
        scale = SIGMAS / np.sqrt(len(part))
        assert (np.abs(part.mean(axis=0)) <= scale * part.std(axis=0)).all()
        products = part[:, :, None] * part[:, None, :]
        error = np.abs(products.mean(axis=0) - covariances[k])
        assert (error <= scale * products.std(axis=0)).all()


def test_component_of_weight_zero_is_as_good_as_absent():
    means, covariances = parameters(2)
    means[1] += 100
    prior = GaussianMixturePrior(means, covariances, [1.0, 0.0, 3.0])
    reduced = GaussianMixturePrior(means[[0, 2]], covariances[[0, 2]], [1.0, 3.0])
    assert prior.sample(5000, random_state=0).max() < 50
    X = np.vstack([points(reduced), means])
    for method in ("log_density", "score", "hessian"):
        actual, expected = getattr(prior, method)(X), getattr(reduced, method)(X)
        # 1e4: the largest squared Mahalanobis distance, whose rounding errors enter
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-11)


def test_default_weights_are_equal():
    means, covariances = parameters(2)
    prior = GaussianMixturePrior(means, covariances)
    explicit = GaussianMixturePrior(means, covariances, [7, 7, 7])
    np.testing.assert_allclose(prior.weights, [1 / 3] * 3, rtol=1e-15)
    X = points(prior)
    np.testing.assert_allclose(prior.log_density(X), explicit.log_density(X), rtol=1e-14)


def priors():
    samples = np.arange(20.0)[:, None]
    return (
        GaussianMixturePrior(*parameters(2), WEIGHTS),
        EmpiricalPrior(samples),
        KernelDensityPrior(samples),
    )


@pytest.mark.parametrize("prior", priors(), ids=lambda prior: type(prior).__name__)
def test_same_seed_same_sample_and_global_stream_untouched(prior):
    stream = check_random_state(None).get_state()
    first = prior.sample(50, random_state=7)
    assert np.array_equal(first, prior.sample(50, random_state=7))
    assert np.array_equal(first, prior.sample(50, random_state=np.random.RandomState(7)))
    assert not np.array_equal(first, prior.sample(50, random_state=8))
    state = check_random_state(None).get_state()
    assert np.array_equal(stream[1], state[1])
    assert stream[2:] == state[2:]


@pytest.mark.parametrize("prior", priors(), ids=lambda prior: type(prior).__name__)
def test_a_shared_stream_moves_on(prior, rng):
    assert not np.array_equal(prior.sample(50, rng), prior.sample(50, rng))


# ------------------------------------------------------------------------ mixture: its parameters


SHARED = {
    "number": (0.3, 0.3 * np.eye(2)),
    "integer": (2, 2.0 * np.eye(2)),
    "matrix": ([[0.5, 0.2], [0.2, 0.4]], [[0.5, 0.2], [0.2, 0.4]]),
}


@pytest.mark.parametrize("case", SHARED)
def test_shared_covariances_equal_explicit_ones(case):
    shared, matrix = SHARED[case]
    means = parameters(2)[0]
    prior = GaussianMixturePrior(means, shared, WEIGHTS)
    explicit = GaussianMixturePrior(means, np.array([matrix] * 3), WEIGHTS)
    X = points(explicit)
    assert np.array_equal(prior.covariances, explicit.covariances)
    for method in ("log_density", "score", "hessian"):
        assert np.array_equal(getattr(prior, method)(X), getattr(explicit, method)(X))
    assert np.array_equal(prior.sample(9, random_state=0), explicit.sample(9, random_state=0))


def test_mixture_leaves_its_inputs_alone():
    given = *parameters(2), WEIGHTS.copy()
    originals = [value.copy() for value in given]
    prior = GaussianMixturePrior(*given)
    X = points(prior)
    copy = X.copy()
    prior.log_density(X), prior.score(X), prior.hessian(X)
    for value, original in zip((*given, X), (*originals, copy), strict=True):
        assert np.array_equal(value, original)
    assert prior.n_features == 2
    np.testing.assert_allclose(prior.weights, [0.2, 0.3, 0.5], rtol=1e-15)


GOOD = {"means": [[0.0, 0.0], [1.0, 1.0]], "covariances": 1.0, "weights": None}
BAD_PARAMETERS = {
    "negative weight": ({"weights": [1.5, -0.5]}, "weights must be 2 non-negative numbers"),
    "all weights zero": ({"weights": [0.0, 0.0]}, "weights must be .* positive sum"),
    "too many weights": ({"weights": [0.2, 0.3, 0.5]}, "weights must be 2 non-negative"),
    "too few weights": ({"weights": [1.0]}, "weights must be 2 non-negative"),
    "non-symmetric": ({"covariances": [[1.0, 0.5], [0.0, 1.0]]}, "symmetric and positive definite"),
    "indefinite": ({"covariances": [[1.0, 2.0], [2.0, 1.0]]}, "symmetric and positive definite"),
    "singular": ({"covariances": [[1.0, 0.0], [0.0, 0.0]]}, "symmetric and positive definite"),
    "one of two indefinite": (
        {"covariances": [np.eye(2), np.diag([1.0, -1.0])]},
        "symmetric and positive definite",
    ),
    "zero variance": ({"covariances": 0.0}, "symmetric and positive definite"),
    "NaN variance": ({"covariances": np.nan}, "symmetric and positive definite"),
    "vector of variances": ({"covariances": [1.0, 2.0]}, r"covariances must be .*got shape \(2,\)"),
    "matrix of wrong size": ({"covariances": np.eye(3)}, r"covariances must be .*\(3, 3\)"),
    "wrong number of matrices": (
        {"covariances": np.array([np.eye(2)] * 3)},
        r"covariances must be .*\(3, 2, 2\)",
    ),
    "one-dimensional means": ({"means": [0.0, 1.0]}, "Expected 2D array"),
    "NaN in means": ({"means": [[0.0, np.nan], [1.0, 1.0]]}, "means contains NaN"),
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_bad_parameters(case):
    change, message = BAD_PARAMETERS[case]
    GaussianMixturePrior(**GOOD)
    with pytest.raises(ValueError, match=message):
        GaussianMixturePrior(**{**GOOD, **change})


BAD_SIGNALS = {
    "too many features": (np.zeros((4, 3)), "X has 3 features, but this prior is over 2"),
    "too few features": (np.zeros((4, 1)), "X has 1 features, but this prior is over 2"),
    "one-dimensional": (np.zeros(2), "Expected 2D array"),
    "NaN": ([[np.nan, 0.0]], "X contains NaN"),
}


@pytest.mark.parametrize("case", BAD_SIGNALS)
@pytest.mark.parametrize("method", ["log_density", "score", "hessian"])
def test_bad_signals(case, method):
    X, message = BAD_SIGNALS[case]
    with pytest.raises(ValueError, match=message):
        getattr(GaussianMixturePrior(**GOOD), method)(X)


# ------------------------------------------------------------------------------------- empirical


def test_empirical_samples_are_rows_drawn_uniformly():
    X = np.random.RandomState(0).standard_normal((10, 3))
    n = 20_000
    drawn = EmpiricalPrior(X).sample(n, random_state=0)
    assert drawn.shape == (n, 3)
    counts = (drawn[:, None] == X).all(axis=2).sum(axis=0)
    assert counts.sum() == n  # each is one of the rows
    assert (np.abs(counts - n / 10) <= SIGMAS * np.sqrt(n * 0.1 * 0.9)).all()


def test_empirical_prior_holds_a_copy():
    X = np.random.RandomState(0).standard_normal((10, 3))
    original = X.copy()
    prior = EmpiricalPrior(X)
    prior.sample(5, random_state=0)[:] = 0
    assert np.array_equal(X, original)
    X[:] = 0
    assert np.array_equal(prior.samples, original)
    assert prior.n_features == 3


@pytest.mark.parametrize("kind", [EmpiricalPrior, KernelDensityPrior])
@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([1.0, 2.0], "Expected 2D array"),
        ([[np.nan]], "X contains NaN"),
        (np.ones((0, 2)), "0 sample"),
    ],
)
def test_bad_samples(X, message, kind):
    with pytest.raises(ValueError, match=message):
        kind(X)


@pytest.mark.parametrize("bandwidth", [0.3, "silverman"])
def test_kernel_density_is_a_mixture_of_its_kernels(bandwidth, monkeypatch):
    """Density, score and samples, against the mixture with a component for each signal."""
    X = np.random.RandomState(0).standard_normal((30, 2))
    prior = KernelDensityPrior(X, bandwidth)
    assert prior.n_features == 2
    mixture = GaussianMixturePrior(X, prior.bandwidth**2)
    new = 2 * np.random.RandomState(1).standard_normal((15, 2))
    np.testing.assert_allclose(prior.log_density(new), mixture.log_density(new), rtol=1e-10)
    score = prior.score(new)
    np.testing.assert_allclose(score, mixture.score(new), rtol=1e-10)
    monkeypatch.setattr(priors_module, "_CHUNK_ENTRIES", 100)
    np.testing.assert_allclose(prior.score(new), score, rtol=1e-12)
    drawn = prior.sample(20_000, random_state=0)
    expected = np.cov(X.T, bias=True) + prior.bandwidth**2 * np.eye(2)
    np.testing.assert_allclose(np.cov(drawn.T), expected, atol=0.06)


def test_kernel_density_refuses_what_does_not_fit():
    prior = KernelDensityPrior(np.zeros((3, 2)), 0.1)
    for method in (prior.score, prior.log_density):
        with pytest.raises(ValueError, match="3"):
            method(np.zeros((1, 3)))
        with pytest.raises(ValueError, match="NaN"):
            method([[np.nan, 0.0]])


@pytest.mark.parametrize("weights", [[np.nan, 1], [np.inf, 1]])
def test_weights_must_be_finite(weights):
    with pytest.raises(ValueError, match="non-negative numbers with a positive sum"):
        GaussianMixturePrior([[0.0], [1.0]], 1.0, weights)


def test_small_covariances_must_be_symmetric_too():
    with pytest.raises(ValueError, match="symmetric"):
        GaussianMixturePrior([[0.0, 0.0]], 1e-9 * np.array([[1, 0.9], [0, 1]]))


def test_bandwidth_of_a_curve_and_of_a_cloud():
    t = np.linspace(0, 6, 500)
    curve = np.column_stack([np.cos(k * t) for k in range(12)])
    distance = np.linalg.norm(curve[:, None] - curve, axis=2) + 1e9 * np.eye(500)
    gap = np.sqrt((distance.min(axis=1) ** 2).mean())
    found = neighbour_bandwidth(curve, random_state=0)
    assert found == pytest.approx(gap / np.sqrt(12))
    cloud = np.random.RandomState(0).standard_normal((500, 12))
    assert neighbour_bandwidth(cloud, random_state=0) == 0
    assert neighbour_bandwidth(curve[:, :2], random_state=0) == 0  # many for each second moment

"""The noise as it is estimated from residuals: its kind, its level, and units and weights."""

import numpy as np
import pytest

from noises import (
    COVARIANCE,
    autoregressive,
    common,
    estimated,
    fit_residual,
    unequal,
    white,
    with_outliers,
)
from skinvbayes.problem.measurement import estimate_noise_level


@pytest.mark.parametrize(
    "n, m, n_parameters, repetitions",
    [
        *[(20, 2, 3, 300), (100, 2, 3, 1000), (100, 20, 10, 300), (100, 50, 90, 100)],
        *[(1000, 5, 10, 100), (100, 200, 5, 20), (4000, 10, 20, 10)],
    ],
)
def test_white_noise_is_called_white(n, m, n_parameters, repetitions, rng):
    for _ in range(repetitions):
        residual = fit_residual(white(n, m, rng), n_parameters, rng)
        assert estimated(residual, None, n_parameters).kind == "white"


def test_white_noise_has_the_level_of_today_to_the_last_bit(rng):
    X, weight = white(200, 3, rng), rng.uniform(0.5, 2, 200)
    Y = X @ rng.standard_normal((3, 4)) + 0.3 * white(200, 4, rng) + 5
    constant = np.column_stack([np.ones(200), X])
    root = np.sqrt(weight)[:, None]
    coefficients = np.linalg.lstsq(constant * root, Y * root, rcond=None)[0]

    class Fitted:
        def forward(self, X):
            return np.column_stack([np.ones(len(X)), X]) @ coefficients

    fitted = Fitted()
    expected = estimate_noise_level(None, fitted, X, Y, weight)
    noise = estimated(Y - fitted.forward(X), weight, 4)
    assert noise.kind == "white"
    assert noise.level == expected


@pytest.mark.parametrize("n, m", [(500, 2), (500, 20), (500, 200), (2000, 5)])
@pytest.mark.parametrize("make, kind", [(unequal, "unequal"), (autoregressive, "correlated")])
def test_other_noise_is_found(make, kind, n, m, rng):
    for _ in range(5):
        noise = estimated(fit_residual(make(n, m, rng), 11, rng), None, 11)
        assert noise.kind == kind


def test_a_weak_common_part_is_found(rng):
    """No single correlation is evident; all together are."""
    assert estimated(common(500, 50, rng)).kind == "correlated"


def test_estimates_come_near_the_truth(rng):
    noise = rng.multivariate_normal(np.zeros(3), COVARIANCE, 20_000)
    np.testing.assert_allclose(estimated(noise).covariance, COVARIANCE, atol=0.06)
    levels = np.array([1.0, 3.0, 0.1])
    np.testing.assert_allclose(estimated(white(20_000, 3, rng) * levels).std, levels, rtol=0.03)


@pytest.mark.parametrize("m", [3, 40])
def test_whitened_residuals_have_the_covariance_of_white_noise(m, rng):
    residual = autoregressive(20_000, m, rng) * rng.uniform(0.5, 2, m)
    noise = estimated(residual)
    assert noise.kind == "correlated"
    covariance = np.cov(noise.whiten(residual).T)
    np.testing.assert_allclose(covariance, noise.level**2 * np.eye(m), atol=0.05 * noise.level**2)


def test_covariances_of_few_rows_are_shrunk_and_positive_definite(rng):
    """The sample covariance is singular; the shrunk one is closer to the truth, too."""
    n, m = 60, 100
    residual = autoregressive(n, m, rng, rho=0.8)
    noise = estimated(residual)
    truth = 0.8 ** np.abs(np.subtract.outer(np.arange(m), np.arange(m)))
    assert noise.kind == "correlated"
    assert np.linalg.eigvalsh(noise.covariance)[0] > 0
    error, plain = (np.linalg.norm(C - truth) for C in (noise.covariance, np.cov(residual.T)))
    assert error < 0.9 * plain


@pytest.mark.parametrize("make", [white, unequal, autoregressive])
def test_order_and_units_do_not_matter(make, rng):
    residual, order = make(600, 6, rng), rng.permutation(6)
    noise = estimated(residual)
    permuted, scaled = estimated(residual[:, order]), estimated(1e6 * residual)
    assert permuted.kind == scaled.kind == noise.kind
    expected = noise.covariance
    np.testing.assert_allclose(permuted.covariance, expected[np.ix_(order, order)], atol=1e-10)
    np.testing.assert_allclose(scaled.covariance, 1e12 * expected, atol=1e3)


def test_units_of_single_measurements_do_not_matter(rng):
    residual, units = autoregressive(600, 4, rng), np.array([1e5, 1.0, 1e-4, 3.0])
    noise, scaled = estimated(residual), estimated(residual * units)
    np.testing.assert_allclose(
        scaled.covariance / np.outer(units, units), noise.covariance, rtol=1e-9
    )


@pytest.mark.parametrize("make", [white, unequal, autoregressive])
def test_equal_weights_do_not_matter(make, rng):
    residual = make(600, 6, rng)
    noise, doubled = estimated(residual), estimated(residual, np.full(600, 2.0))
    assert noise.kind == doubled.kind
    # a repeated row counts as another degree of freedom, as everywhere
    np.testing.assert_allclose(
        doubled.covariance * 1199 / 1200, noise.covariance * 599 / 600, rtol=1e-10
    )


def test_weights_that_add_up_to_one(rng):
    """They leave no degrees of freedom for the level, as everywhere; outliers are left out."""
    residual = fit_residual(with_outliers(white(500, 10, rng), rng)[0], 10, rng)
    noise = estimated(residual, np.full(500, 1 / 500), 10)
    expected = estimated(residual, None, 10)
    assert noise.kind == "white"
    np.testing.assert_allclose(noise.level, expected.level * np.sqrt(0.98))


@pytest.mark.parametrize("make", [white, unequal, autoregressive])
def test_rows_without_weight_do_not_count(make, rng):
    residual = make(500, 4, rng)
    garbage = np.vstack([residual, 1e6 * white(300, 4, rng)])
    noise = estimated(garbage, np.repeat([1.0, 0.0], [500, 300]))
    np.testing.assert_array_equal(noise.covariance, estimated(residual).covariance)


def test_repeated_rows_are_no_evidence(rng):
    """Few rows of large weight tell less than their sum of weights says."""
    for _ in range(300):
        weight = rng.poisson(1, 100) * 1.0
        assert estimated(white(100, 5, rng), 10 * weight).kind == "white"

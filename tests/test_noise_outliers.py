"""Residuals that are not Gaussian: outliers, other tails, columns that say nothing."""

import numpy as np
import pytest

from noises import GIVEN, autoregressive, estimated, fit_residual, unequal, white, with_outliers
from skinvbayes.noise.model import NoiseModel
from skinvbayes.noise.outliers import describe_outliers, outliers, refitted


@pytest.mark.parametrize("n, m, n_parameters", [(500, 2, 3), (500, 20, 20), (2000, 50, 20)])
def test_outliers_move_neither_level_nor_kind(n, m, n_parameters, rng):
    for _ in range(10):
        clean = white(n, m, rng)
        level = estimated(fit_residual(clean, n_parameters, rng), None, n_parameters).level
        spoilt, _ = with_outliers(clean, rng)
        noise = estimated(fit_residual(spoilt, n_parameters, rng), None, n_parameters)
        assert noise.kind == "white"
        assert abs(noise.level / level - 1) < 0.05


def test_residuals_without_outliers_are_those_of_the_fit_to_the_rest(rng):
    X, weight = np.column_stack([np.ones(40), white(40, 3, rng)]), rng.uniform(0.5, 2, 40)
    X = np.column_stack([X, X[:, 0]])  # regressors may be redundant
    Y, mask = with_outliers(white(40, 3, rng), rng, share=0.1)
    root = np.sqrt(weight)
    expected = np.empty_like(Y)
    for k in range(3):
        rows = ~mask[:, k]
        scaled = X[rows] * root[rows, None]
        beta = np.linalg.lstsq(scaled, Y[rows, k] * root[rows], rcond=None)[0]
        expected[:, k] = Y[:, k] - X @ beta
    beta = np.linalg.lstsq(X * root[:, None], Y * root[:, None], rcond=None)[0]
    np.testing.assert_allclose(refitted(Y - X @ beta, mask, weight, X), expected, atol=1e-12)


@pytest.mark.parametrize("n_parameters", [10, 60])
def test_the_fit_is_done_again_without_outliers(n_parameters, rng):
    """With whole rows off, and so many parameters, the residual alone does not tell the level."""
    for _ in range(10):
        X = np.column_stack([np.ones(200), white(200, n_parameters - 1, rng)])
        Q, _ = np.linalg.qr(X)
        clean, bad = white(200, 10, rng), rng.uniform(size=(200, 1)) < 0.01
        first, spoilt = (Y - Q @ (Q.T @ Y) for Y in (clean, clean + 20 * bad))
        noise = NoiseModel.estimated(spoilt, np.ones(200), n_parameters, X)
        assert noise.kind == "white"
        assert abs(noise.level / estimated(first, None, n_parameters).level - 1) < 0.05


def test_spoilt_rows_do_not_look_like_correlation(rng):
    """All readings of some rows are off by as much, and move the fit of all measurements."""
    for _ in range(30):
        bad = rng.uniform(size=(500, 1)) < 0.01
        residual = fit_residual(white(500, 20, rng) + 20 * bad, 20, rng)
        assert estimated(residual, None, 20).kind == "white"


def test_outliers_do_not_hide_other_noise(rng):
    for make, kind in [(unequal, "unequal"), (autoregressive, "correlated")]:
        clean = make(1000, 10, rng)
        noise, expected = estimated(with_outliers(clean, rng)[0]), np.cov(clean.T)
        assert noise.kind == kind
        np.testing.assert_allclose(noise.covariance, expected, atol=0.2)


HEAVY = {
    "t of 4 degrees": lambda n, m, rng: rng.standard_t(4, (n, m)),
    "Laplace": lambda n, m, rng: rng.laplace(size=(n, m)),
    "rows of different scales": lambda n, m, rng: white(n, m, rng) * rng.gamma(2, size=(n, 1)),
    "uniform": lambda n, m, rng: rng.uniform(-1, 1, (n, m)),
    "signs": lambda n, m, rng: rng.choice([-1.0, 1.0], (n, m)),
    "Cauchy": lambda n, m, rng: rng.standard_cauchy((n, m)),
}


@pytest.mark.parametrize("name", HEAVY)
def test_other_tails_do_not_look_like_unequal_or_correlated_noise(name, rng):
    for n, m in [(100, 2), (100, 20), (1000, 10)]:
        for _ in range(20):
            assert estimated(HEAVY[name](n, m, rng)).kind == "white"


HARD = {
    "zero": lambda rng: np.zeros((50, 3)),
    "constant": lambda rng: np.full((50, 3), 0.1),
    "one measurement": lambda rng: white(50, 1, rng),
    "one row": lambda rng: white(1, 3, rng),
    "two rows": lambda rng: white(2, 3, rng),
    "fewer rows than measurements": lambda rng: white(20, 60, rng),
    "mostly zero": lambda rng: white(300, 3, rng) * (rng.uniform(size=(300, 3)) < 0.3),
    "huge": lambda rng: 1e80 * white(100, 3, rng),
    "tiny": lambda rng: 1e-80 * white(100, 3, rng),
    "the same twice": lambda rng: white(100, 1, rng) * np.ones(2),
    "of rank two": lambda rng: white(100, 2, rng) @ white(2, 10, rng),
    "one huge reading": lambda rng: np.vstack([white(100, 3, rng), [[1e12, 0, 0]]]),
}


@pytest.mark.parametrize("n_parameters", [1, 4, 60])
@pytest.mark.parametrize("name", HARD)
def test_hard_residuals(name, n_parameters, rng):
    residual = HARD[name](rng)
    before, weight = residual.copy(), np.ones(len(residual))
    with np.errstate(all="raise", under="ignore"):
        noise = NoiseModel.estimated(residual, weight, n_parameters)
        mask = outliers(residual, noise)
        whitened = noise.whiten(residual)
    np.testing.assert_array_equal(residual, before)
    assert mask.shape == residual.shape
    assert np.isfinite(whitened).all() and np.isfinite(noise.level)
    assert np.linalg.eigvalsh(noise.covariance)[0] >= 0
    assert (
        noise.kind == "correlated"
        or name not in ("the same twice", "of rank two")
        or (n_parameters == 60)
    )


def test_without_residuals_the_level_is_zero_and_the_noise_white():
    noise = estimated(np.zeros((50, 3)))
    assert (noise.kind, noise.level) == ("white", 0.0)


def test_rounding_errors_are_no_noise(rng):
    X = np.column_stack([np.ones(300), white(300, 5, rng)])
    Y = X @ white(6, 8, rng)
    residual = Y - X @ np.linalg.lstsq(X, Y, rcond=None)[0]
    noise = NoiseModel.estimated(residual, np.ones(300), 6, rounding=1e-13 * np.abs(Y).max(axis=0))
    assert noise.kind == "white" and noise.level < 1e-13
    Y[:, 2] += white(300, 1, rng)[:, 0]
    residual = Y - X @ np.linalg.lstsq(X, Y, rcond=None)[0]
    assert estimated(residual, None, 6).kind == "white"


def test_a_measurement_without_residuals_says_nothing_about_the_others(rng):
    for make in (white, unequal, autoregressive):
        residual = make(1000, 5, rng)
        residual[:, 3] = 0
        noise, others = estimated(residual), estimated(np.delete(residual, 3, axis=1))
        assert noise.kind == others.kind
        np.testing.assert_allclose(noise.level, others.level)
        np.testing.assert_allclose(noise.std[3], others.level)


# ------------------------------------------------------------------------------ outliers


@pytest.mark.parametrize("make", [white, unequal, autoregressive])
def test_gaussian_noise_has_no_outliers(make, rng):
    found = 0
    for _ in range(40):
        residual = make(500, 20, rng)
        found += outliers(residual, estimated(residual)).any()
    assert found <= 2


@pytest.mark.parametrize("make", [white, unequal, autoregressive])
def test_outliers_are_found(make, rng):
    residual, bad = with_outliers(make(1000, 20, rng), rng)
    mask = outliers(residual, estimated(residual))
    assert (mask & bad).sum() >= 0.97 * bad.sum()
    assert (mask & ~bad).sum() <= 1


def test_correlated_noise_shows_smaller_outliers(rng):
    """A reading that would be ordinary by itself contradicts its neighbours."""
    residual = autoregressive(2000, 10, rng, rho=0.99)
    residual[5, 4] = residual[5, 3] - 3
    mask = outliers(residual, estimated(residual))
    assert np.argwhere(mask).tolist() == [[5, 4]]


def test_many_outliers_in_one_row(rng):
    residual = autoregressive(1000, 10, rng)
    residual[3, [1, 2, 6]] = [30, -30, 15]
    assert np.argwhere(outliers(residual, estimated(residual))).tolist() == [[3, 1], [3, 2], [3, 6]]


@pytest.mark.parametrize("kind", GIVEN)
def test_a_level_that_is_too_low_accuses_nobody(kind, rng):
    noise = NoiseModel.given(**GIVEN[kind], n_measurements=3)
    residual = 10 * rng.multivariate_normal(np.zeros(3), noise.covariance, 1000)
    assert not outliers(residual, noise).any()


def test_outliers_follow_the_order_of_measurements(rng):
    residual, _ = with_outliers(autoregressive(500, 8, rng), rng)
    order, noise = rng.permutation(8), estimated(residual)
    permuted = outliers(residual[:, order], noise.restricted(order))
    np.testing.assert_array_equal(permuted, outliers(residual, noise)[:, order])


def test_description_of_outliers():
    mask = np.zeros((4000, 9), dtype=bool)
    assert describe_outliers(mask) == "0 readings in 0 of 4,000 rows"
    mask[5, 3] = True
    assert describe_outliers(mask) == "1 reading in 1 of 4,000 rows (measurement 3)"
    mask[5, 7] = mask[:2000, 0] = True
    expected = "2,002 readings in 2,000 of 4,000 rows (measurements 0, 3, 7)"
    assert describe_outliers(mask) == expected
    mask[0] = True
    assert describe_outliers(mask).endswith("(measurements 0, 1, 2, 3, 7, …)")

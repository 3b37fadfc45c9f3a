"""The noise: given or estimated, white, unequal or correlated; and what cannot be Gaussian."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array, issparse

from skinvbayes.noise.model import NoiseModel
from skinvbayes.noise.outliers import describe_outliers, outliers, refitted
from skinvbayes.problem.measurement import estimate_noise_level

COVARIANCE = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 0.5]])


def estimated(residual, weight=None, n_parameters=1):
    return NoiseModel.estimated(
        residual, np.ones(len(residual)) if weight is None else weight, n_parameters
    )


def white(n, m, rng):
    return rng.standard_normal((n, m))


def unequal(n, m, rng):
    """One level is twice the other ones."""
    return rng.standard_normal((n, m)) * np.where(np.arange(m) == 0, 2, 1)


def autoregressive(n, m, rng, rho=0.5):
    noise = rng.standard_normal((n, m))
    for k in range(1, m):
        noise[:, k] = rho * noise[:, k - 1] + np.sqrt(1 - rho**2) * noise[:, k]
    return noise


def common(n, m, rng):
    """A weak part that all measurements share."""
    return rng.standard_normal((n, m)) + 0.35 * rng.standard_normal((n, 1))


def fit_residual(noise, n_parameters, rng):
    """What the least-squares fit to random signals and a constant leaves of the noise."""
    X = np.column_stack([np.ones(len(noise)), white(len(noise), n_parameters - 1, rng)])
    Q, _ = np.linalg.qr(X)
    return noise - Q @ (Q.T @ noise)


def with_outliers(noise, rng, share=0.01, size=20):
    bad = rng.uniform(size=noise.shape) < share
    return noise + size * bad * rng.choice([-1, 1], noise.shape), bad


GIVEN = {
    "white": {"noise_level": 0.3},
    "unequal": {"noise_level": [0.3, 1.0, 2.0]},
    "correlated": {"noise_covariance": COVARIANCE},
}


# ------------------------------------------------------------------------------ given


@pytest.mark.parametrize("kind", GIVEN)
def test_whitened_noise_is_white_of_the_same_mean_variance(kind):
    noise = NoiseModel.given(**GIVEN[kind], n_measurements=3)
    assert noise.kind == kind
    covariance = noise.covariance
    W = noise.whitened_matrix(np.eye(3))
    np.testing.assert_allclose(noise.level**2, covariance.trace() / 3)
    np.testing.assert_allclose(noise.std, np.sqrt(covariance.diagonal()))
    np.testing.assert_allclose(W, W.T, atol=1e-14)
    np.testing.assert_allclose(W @ covariance @ W.T, noise.level**2 * np.eye(3), atol=1e-14)
    Y = np.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose(noise.whiten(Y), Y @ W)


def test_white_noise_is_left_alone():
    noise = NoiseModel.given(0.3, n_measurements=3)
    Y, A = np.ones((4, 3)), np.ones((3, 2))
    assert noise.whiten(Y) is Y
    assert noise.whitened_matrix(A) is A
    assert noise.level == 0.3
    np.testing.assert_array_equal(noise.whitener, np.ones(3))


@pytest.mark.parametrize("kind", GIVEN)
def test_sparse_operators(kind, rng):
    noise = NoiseModel.given(**GIVEN[kind], n_measurements=3)
    A = rng.standard_normal((3, 5))
    whitened = noise.whitened_matrix(csr_array(A))
    assert issparse(whitened) == (kind != "correlated")
    dense = whitened.toarray() if issparse(whitened) else whitened
    np.testing.assert_allclose(dense, noise.whitened_matrix(A))


@pytest.mark.parametrize(
    "given, kind",
    [
        ({"noise_level": [2.0, 2.0]}, "white"),
        ({"noise_covariance": 4 * np.eye(2)}, "white"),
        ({"noise_covariance": np.diag([4.0, 1.0])}, "unequal"),
    ],
)
def test_the_simplest_kind_is_taken(given, kind):
    noise = NoiseModel.given(**given, n_measurements=2)
    assert noise.kind == kind
    if kind == "white":
        assert noise.level == 2.0


def test_many_unequal_measurements_make_no_matrix(rng):
    m = 200_000
    noise = NoiseModel.given(rng.uniform(1, 2, m), n_measurements=m)
    assert noise.whitener.shape == (m,)
    assert noise.whiten(np.ones((2, m))).shape == (2, m)


def test_levels_of_very_different_units():
    std = np.array([1e9, 1.0, 1e-6])
    correlations = COVARIANCE / np.sqrt(np.outer(COVARIANCE.diagonal(), COVARIANCE.diagonal()))
    noise = NoiseModel.given(noise_covariance=correlations * np.outer(std, std), n_measurements=3)
    W = noise.whitener
    product = (W * std) @ correlations @ (W * std).T
    np.testing.assert_allclose(product / noise.level**2, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("kind", GIVEN)
def test_restricted_to_some_measurements(kind):
    noise = NoiseModel.given(**GIVEN[kind], n_measurements=3)
    part = noise.restricted(np.array([True, False, True]))
    np.testing.assert_allclose(part.covariance, noise.covariance[::2, ::2])
    assert part.n_measurements == 2


@pytest.mark.parametrize("kind", GIVEN)
def test_models_are_frozen_and_can_be_stored(kind):
    noise = NoiseModel.given(**GIVEN[kind], n_measurements=3)
    again = pickle.loads(pickle.dumps(noise))
    np.testing.assert_array_equal(again.covariance, noise.covariance)
    with pytest.raises(AttributeError):
        noise.level = 1.0


def test_arguments_are_copied():
    levels, covariance = np.array([1.0, 2.0, 3.0]), COVARIANCE.copy()
    by_levels = NoiseModel.given(levels, n_measurements=3)
    by_covariance = NoiseModel.given(noise_covariance=covariance, n_measurements=3)
    levels[:] = covariance[:] = 7
    np.testing.assert_allclose(by_levels.std, [1, 2, 3])
    np.testing.assert_allclose(by_covariance.covariance, COVARIANCE)


INDEFINITE = np.array([[1.0, 2.0], [2.0, 1.0]])


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "either noise_level or noise_covariance; got neither"),
        ({"noise_level": 1.0, "noise_covariance": np.eye(2)}, "got both"),
        ({"noise_level": -0.5}, "must not be negative; got -0.5"),
        ({"noise_level": np.nan}, "noise_level must be finite; got 1 NaN or infinite of 1"),
        ({"noise_level": [1.0, np.inf]}, "noise_level must be finite; got 1 NaN or infinite of 2"),
        ({"noise_level": [1.0, 0.0]}, "positive for every measurement; got 0 for measurement 1"),
        ({"noise_level": [-1.0, 2.0]}, "got -1 for measurement 0"),
        ({"noise_level": [1.0, 1.0, 1.0]}, r"shape \(3,\), but there are 2 .* shape \(2,\)"),
        ({"noise_level": np.eye(2)}, r"noise_level has shape \(2, 2\)"),
        ({"noise_level": "loud"}, "made of real numbers; got 'loud'"),
        ({"noise_level": [1.0, [2.0]]}, "made of real numbers; got"),
        ({"noise_level": np.array([1j, 1.0])}, "made of real numbers; got"),
        ({"noise_covariance": np.eye(3)}, r"shape \(3, 3\), .* shape \(2, 2\) is needed"),
        ({"noise_covariance": [1.0, 2.0]}, r"shape \(2,\), .* Give levels as noise_level"),
        ({"noise_covariance": [[1, np.nan], [0, 1]]}, "noise_covariance must be finite"),
        ({"noise_covariance": [[1, 0.5], [0.2, 1]]}, "symmetric; .* up to 0.3"),
        ({"noise_covariance": [[1, 0], [0, 0]]}, "diagonal is 0 for measurement 1"),
        ({"noise_covariance": INDEFINITE}, "eigenvalues of its correlations go from -1 to 3"),
        ({"noise_covariance": np.ones((2, 2))}, "positive definite"),
    ],
)
def test_what_cannot_be_used_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        NoiseModel.given(**given, n_measurements=2)


def test_a_level_of_zero():
    noise = NoiseModel.given(0.0, n_measurements=2)
    assert noise.kind == "white" and noise.level == 0
    assert not outliers(np.ones((3, 2)), noise).any()


# ------------------------------------------------------------------------------ estimated


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


# ------------------------------------------------------------------------------ robustness


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

"""Measurements with unequal or correlated noise, with outliers, and of maps that are not linear."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator
from sklearn.base import clone

from helpers import rmse
from skinvbayes import ApproximationINN, DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_ill_posed, make_mixture
from skinvbayes.noise.model import NoiseModel
from skinvbayes.operators import Operator
from skinvbayes.oracles import (
    map_estimate,
    measurement_distribution,
    posterior_covariance,
    posterior_mean,
)
from skinvbayes.problem.measurement_model import MeasurementModel

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

D, M = 3, 5


@pytest.fixture(scope="module")
def signals():
    return make_mixture(1500, 500, n_features=D, operator="tall", random_state=4)


@pytest.fixture(scope="module")
def A():
    return np.random.RandomState(7).standard_normal((M, D)) / np.sqrt(M)


LEVELS = 0.2 * np.geomspace(0.3, 3, M)
CORRELATED = 0.04 * 0.8 ** abs(np.subtract.outer(np.arange(M), np.arange(M)))
KINDS = {"unequal": np.diag(LEVELS**2), "correlated": CORRELATED}


def measured(X, A, covariance, seed):
    rng = np.random.RandomState(seed)
    return X @ A.T + rng.standard_normal((len(X), len(A))) @ np.linalg.cholesky(covariance).T


def model_of(operator, X, Y, noise_level="auto", noise_covariance=None):
    return MeasurementModel.from_pairs(
        operator, noise_level, noise_covariance, X, Y, np.ones(len(X))
    )


# --------------------------------------------------------------------------- unequal, correlated


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
def test_given_noise_is_as_good_as_whitening_by_hand(cls, kind, signals, A):
    covariance = KINDS[kind]
    Y, T = (measured(X, A, covariance, s) for s, X in enumerate((signals.X_train, signals.X_test)))
    values, axes = np.linalg.eigh(covariance)
    W = (axes / np.sqrt(values)) @ axes.T
    given = {"noise_level": LEVELS} if kind == "unequal" else {"noise_covariance": covariance}
    options = {"random_state": 0, "max_iter": 8}
    ours = cls(operator=A, **given, **options).fit(signals.X_train, Y)
    by_hand = cls(operator=W @ A, noise_level=1.0, **options).fit(signals.X_train, Y @ W)
    scale = np.abs(signals.X_test).max()
    np.testing.assert_allclose(ours.predict(T), by_hand.predict(T @ W), atol=1e-6 * scale)
    np.testing.assert_allclose(
        ours.posterior_covariance(T[:20]), by_hand.posterior_covariance(T[:20] @ W), rtol=1e-4
    )
    assert ours.noise_level_ == pytest.approx(np.sqrt(np.trace(covariance) / M))
    np.testing.assert_allclose(ours.noise_std_, np.sqrt(covariance.diagonal()))
    assert (ours.noise_covariance_ is None) == (kind == "unequal")
    assert ours.operator_.shape == (M, D)
    np.testing.assert_array_equal(ours.operator_.to_dense(), A)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_found_out(kind, signals, A):
    Y, T = (measured(X, A, KINDS[kind], s) for s, X in enumerate((signals.X_train, signals.X_test)))
    known = {"operator": A, "noise_covariance": KINDS[kind]}
    best = rmse(posterior_mean(signals.prior, T, **known), signals.X_test)
    estimator = ReconstructionINN(operator=A, random_state=0, max_iter=50).fit(signals.X_train, Y)
    assert (
        rmse(estimator.predict(T), signals.X_test) < 1.06 * best
    )  # as with white noise, of as few pairs
    lower, upper = estimator.posterior_interval(T)
    covered = ((lower <= signals.X_test) & (signals.X_test <= upper)).mean()
    assert 0.87 < covered < 0.93
    np.testing.assert_allclose(estimator.noise_std_, np.sqrt(KINDS[kind].diagonal()), rtol=0.1)


def test_white_noise_stays_as_it_is(signals, A):
    Y = measured(signals.X_train, A, 0.04 * np.eye(M), 0)
    model, clean = model_of(A, signals.X_train, Y)
    assert model.noise.kind == "white"
    assert model.whitened is model.operator
    assert clean is Y


@pytest.mark.parametrize("wrap", [csr_array, aslinearoperator])
@pytest.mark.parametrize("kind", KINDS)
def test_operators_of_every_kind_are_whitened(kind, wrap, A, rng):
    noise = NoiseModel.given(noise_covariance=KINDS[kind], n_measurements=M)
    dense, other = (MeasurementModel(Operator(a), None, noise) for a in (A, wrap(A)))
    X, Y = rng.standard_normal((4, D)), rng.standard_normal((4, M))
    np.testing.assert_allclose(other.whitened.forward(X), dense.whitened.forward(X))
    np.testing.assert_allclose(other.targets(Y), dense.targets(Y))


def test_units_of_measurements_do_not_matter(signals, A):
    """Sensors in different units need no scaler: the noise model whitens them."""
    units = np.array([1.0, 1e3, 1e-3, 50.0, 0.2])
    Y = measured(signals.X_train, A, 0.04 * np.eye(M), 0)
    T = measured(signals.X_test, A, 0.04 * np.eye(M), 1)
    options = {"random_state": 0, "max_iter": 30}
    plain = DivergenceRegularizedINN(operator=A, **options).fit(signals.X_train, Y)
    other = DivergenceRegularizedINN(operator=units[:, None] * A, **options)
    other.fit(signals.X_train, Y * units)
    error = rmse(plain.predict(T), signals.X_test)
    assert rmse(other.predict(T * units), signals.X_test) < 1.01 * error
    np.testing.assert_allclose(other.noise_std_, 0.2 * units, rtol=0.1)


def test_a_linear_change_of_the_measurements_changes_nothing(signals, A, rng):
    change = rng.standard_normal((M, M))
    Y = measured(signals.X_train, A, CORRELATED, 0)
    options = {"random_state": 0, "max_iter": 8}
    plain = ReconstructionINN(operator=A, noise_covariance=CORRELATED, **options)
    plain.fit(signals.X_train, Y)
    other = ReconstructionINN(
        operator=change.T @ A, noise_covariance=change.T @ CORRELATED @ change, **options
    ).fit(signals.X_train, Y @ change)
    expected = plain.predict(Y[:50])
    scale = np.abs(expected).max()
    np.testing.assert_allclose(other.predict(Y[:50] @ change), expected, atol=1e-6 * scale)


def test_without_an_operator_unequal_noise_asks_for_the_normal_equation(rng):
    X = rng.standard_normal((800, 3))
    Y = X + rng.standard_normal((800, 3)) * [0.1, 0.3, 0.9]
    with pytest.warns(UserWarning, match="noise of the measurements is unequal"):
        model, _ = model_of(None, X, Y)
    assert model.operator is model.fitted
    model, _ = model_of("estimate", X, Y)  # without a warning
    assert model.noise.kind == "unequal"


@pytest.mark.parametrize("cls", [ApproximationINN, DivergenceRegularizedINN])
def test_one_very_precise_measurement_spoils_nothing(cls, signals, A):
    levels = np.array([1e-6, 0.2, 0.2, 0.2, 0.2])
    Y, T = (
        measured(X, A, np.diag(levels**2), s)
        for s, X in enumerate((signals.X_train, signals.X_test))
    )
    white = cls(operator=A, noise_level=0.2, max_iter=60, random_state=0).fit(signals.X_train, Y)
    ours = cls(operator=A, noise_level=levels, max_iter=60, random_state=0).fit(signals.X_train, Y)
    error = rmse(ours.predict(T), signals.X_test)
    assert error < 1.05 * rmse(white.predict(T), signals.X_test)


@pytest.mark.parametrize("precise", [[0, 1, 2, 3, 4], [0]])
def test_measurements_without_noise_are_no_surprise(precise, rng):
    X = rng.standard_normal((60, 3))
    Y = X @ rng.standard_normal((3, 5)) + np.where(np.isin(np.arange(5), precise), 0, 0.2) * (
        rng.standard_normal((60, 5))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model, _ = model_of("estimate", X, Y)
    assert np.ptp(np.log(model.noise.std)) < np.log(100)


# -------------------------------------------------------------------------------------- outliers


@pytest.mark.parametrize("operator", ["given", "estimate"])
@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
def test_outliers_do_not_count(cls, operator, signals, A):
    Y = measured(signals.X_train, A, 0.04 * np.eye(M), 0)
    T = measured(signals.X_test, A, 0.04 * np.eye(M), 1)
    rng = np.random.RandomState(1)
    bad = rng.uniform(size=Y.shape) < 0.01
    spoilt = np.where(bad, Y + 4 * rng.choice([-1, 1], Y.shape), Y)
    before, kept = spoilt.copy(), ~bad.any(axis=1)
    operator = A if operator == "given" else operator
    options = {"operator": operator, "random_state": 0, "max_iter": 10}
    with pytest.warns(UserWarning, match=rf"{bad.sum()} readings in .* cannot be Gaussian"):
        estimator = cls(**options).fit(signals.X_train, spoilt)
    np.testing.assert_array_equal(spoilt, before)
    dropped = cls(**options).fit(signals.X_train[kept], Y[kept])
    error = rmse(dropped.predict(T), signals.X_test)
    assert rmse(estimator.predict(T), signals.X_test) < 1.03 * error
    assert estimator.noise_level_ == pytest.approx(0.2, rel=0.05)


def test_signals_that_are_rare_are_no_outliers(rng):
    X = rng.standard_t(3, (1000, 3))
    Y = X @ rng.standard_normal((3, 4)) + 0.1 * rng.standard_normal((1000, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, clean = model_of("estimate", X, Y)
    assert clean is Y


WRONG = {
    "twice": lambda A: 2 * A,
    "negative": lambda A: -A,
    "columns reversed": lambda A: A[:, ::-1],
    "other units": lambda A: A / 100,
}
CLOSE = {"itself": lambda A: A, "nearly": lambda A: 1.05 * A}


@pytest.mark.parametrize("noise_level", ["auto", 0.3])
@pytest.mark.parametrize("n", [40, 300])
@pytest.mark.parametrize("change", [*WRONG, *CLOSE])
def test_operators_that_did_not_measure_are_told(change, n, noise_level, rng):
    A, X = rng.standard_normal((6, 4)), rng.exponential(size=(n, 4))
    Y = X @ A.T + 0.3 * rng.standard_normal((n, 6))
    operator = (WRONG | CLOSE)[change](A)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MeasurementModel.from_pairs(operator, noise_level, None, X, Y, np.ones(n))
    told = any("were measured by another one" in str(w.message) for w in caught)
    assert told == (change in WRONG)


# ------------------------------------------------------------------------------ not linear at all


def test_maps_that_are_not_linear_are_told(rng):
    X = 1.5 * rng.standard_normal((1000, 3))
    Y = np.tanh(X @ rng.standard_normal((3, 5))) + 0.05 * rng.standard_normal((1000, 5))
    with pytest.warns(UserWarning, match="does not look linear"):
        model, clean = model_of("estimate", X, Y)
    assert model.noise.kind == "white"
    assert clean is Y


def cubed(rng, X):
    return X**3


def rotated_cube(rng, X):
    return X**3 @ np.linalg.qr(rng.standard_normal((3, 3)))[0]


def saturated(rng, X):
    return np.tanh(1.5 * X)


@pytest.mark.parametrize("n", [50, 100])
@pytest.mark.parametrize("curve", [cubed, rotated_cube, saturated])
def test_few_pairs_of_a_curved_map_are_no_outliers(curve, n, rng):
    for _ in range(5):
        X = rng.standard_normal((n, 3))
        Y = curve(rng, X) + 0.05 * rng.standard_normal((n, 3))
        with pytest.warns(UserWarning) as caught:
            model, clean = model_of("estimate", X, Y)
        assert ["does not look linear" in str(w.message) for w in caught] == [True]
        assert model.noise.kind == "white" and clean is Y


@pytest.mark.parametrize("n", [200, 2000])
def test_noise_that_grows_with_the_signals_is_no_curved_map(n, rng):
    X = rng.standard_normal((n, 3))
    Y = X @ rng.standard_normal((3, 4))
    Y = Y + 0.3 * np.abs(Y + 1) * rng.standard_normal(Y.shape)
    with pytest.warns(UserWarning) as caught:
        model, clean = model_of("estimate", X, Y)
    assert ["noise of the measurements depends on the" in str(w.message) for w in caught] == [True]
    assert model.noise.kind == "white" and clean is Y


def test_a_curved_map_is_told_from_weighted_pairs_too(rng):
    X = rng.standard_normal((60, 2))
    Y, weight = X**3 + 0.05 * rng.standard_normal((60, 2)), rng.randint(1, 4, 60).astype(float)
    with pytest.warns(UserWarning, match="does not look linear"):
        MeasurementModel.from_pairs("estimate", "auto", None, X, Y, weight)


@pytest.mark.parametrize("n", [30, 60, 300])
@pytest.mark.parametrize("kind", ["white", "unequal", "correlated", "heavy tails"])
def test_linear_maps_are_not_accused(kind, n):
    """Chances of 1e-5 in each of four tests: not once in 40 problems."""
    for seed in range(40):
        rng = np.random.RandomState(seed)
        X, A = rng.standard_normal((n, 4)), rng.standard_normal((4, M))
        noise = rng.standard_t(5, (n, M)) if kind == "heavy tails" else rng.standard_normal((n, M))
        noise = noise @ np.linalg.cholesky(KINDS.get(kind, np.eye(M))).T
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*depend")
            model_of("estimate", X, X @ A + noise)


# ------------------------------------------------------------------------------------ the oracles


def test_oracles_take_any_noise(signals, A):
    """Rao's information form of the posterior of a Gaussian, and a grid for the mixture's mode."""
    Y = measured(signals.X_test[:10], A, CORRELATED, 0)
    known = {"operator": A, "noise_covariance": CORRELATED}
    values, axes = np.linalg.eigh(CORRELATED)
    W = (axes / np.sqrt(values)) @ axes.T
    white = {"operator": W @ A, "noise_level": 1.0}
    for oracle in (posterior_mean, posterior_covariance, map_estimate):
        np.testing.assert_allclose(
            oracle(signals.prior, Y, **known), oracle(signals.prior, Y @ W, **white), atol=1e-9
        )
    distribution = measurement_distribution(signals.prior, **known)
    expected = A @ signals.prior.covariances @ A.T + CORRELATED
    np.testing.assert_allclose(distribution.covariances, expected)


def test_oracles_need_some_noise(signals, A):
    Y = np.zeros((2, M))
    for known in ({}, {"noise_level": 0.1, "noise_covariance": CORRELATED}):
        with pytest.raises(ValueError, match="either noise_level or noise_covariance"):
            posterior_mean(signals.prior, Y, operator=A, **known)
    with pytest.raises(ValueError, match="positive"):
        posterior_mean(signals.prior, Y, operator=A, noise_level=0.0)


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"noise_level": [0.1, 0.2]}, "noise_level has shape"),
        ({"noise_level": [0.1, 0.2, 0.3, 0.4, -1]}, "must be positive for every measurement"),
        ({"noise_level": [0.1, 0.2, 0.3, 0.4, np.nan]}, "must be finite"),
        ({"noise_covariance": np.eye(3)}, "noise_covariance has shape"),
        ({"noise_covariance": -np.eye(M)}, "positive definite"),
        ({"noise_covariance": np.eye(M), "noise_level": 0.1}, "either"),
    ],
)
def test_noise_that_cannot_be_used_is_refused(parameters, message, signals, A):
    Y = measured(signals.X_train, A, 0.04 * np.eye(M), 0)
    with pytest.raises(ValueError, match=message):
        ApproximationINN(operator=A, max_iter=2, **parameters).fit(signals.X_train, Y)


def test_an_estimator_with_arrays_is_cloned(A):
    estimator = DivergenceRegularizedINN(operator=A, noise_covariance=CORRELATED)
    copy = clone(estimator)
    np.testing.assert_array_equal(copy.noise_covariance, CORRELATED)
    assert copy.get_params()["noise_level"] == "auto"


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (2, 4)], ids=["square", "tall", "wide"])
def test_measurements_may_be_mixed(shape):
    """Y M with the covariance Mᵀ Σ M says the same of the signals."""
    rng = np.random.default_rng(0)
    A, root, M = (rng.standard_normal(size) for size in (shape, shape[:1] * 2, shape[:1] * 2))
    sigma, M = 0.1 * (root @ root.T + 0.3 * np.eye(len(A))), M + 2 * np.eye(len(A))
    X = rng.standard_normal((600, shape[1])) + 2 * (rng.random((600, 1)) < 0.5)
    Y = X @ A.T + rng.multivariate_normal(np.zeros(len(A)), sigma, 600)
    options = {"max_iter": 20, "random_state": 0}
    estimator = DivergenceRegularizedINN(operator=A, noise_covariance=sigma, **options).fit(X, Y)
    known = {"operator": M.T @ A, "noise_covariance": M.T @ sigma @ M}
    mixed = DivergenceRegularizedINN(**known, **options).fit(X, Y @ M)
    np.testing.assert_allclose(mixed.predict(Y[:50] @ M), estimator.predict(Y[:50]), atol=1e-6)


@pytest.mark.filterwarnings("ignore:On pairs that were held out")
@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
@pytest.mark.parametrize("kind", ["gravity", "abel"])
def test_measurements_of_an_ill_conditioned_operator_may_be_mixed(cls, kind, rng):
    """Rounding does not choose the axes that hardly tell anything."""
    data = make_ill_posed(kind, 300, 20, prior="piecewise_constant", n_features=32)
    A, sigma = data.operator, data.noise_level**2 * np.eye(32)
    M = np.linalg.qr(rng.standard_normal((32, 32)))[0] * rng.uniform(0.5, 3, 32)
    options = {"max_iter": 5, "random_state": 0}
    estimator = cls(operator=A, noise_covariance=sigma, **options).fit(data.X_train, data.Y_train)
    known = {"operator": M.T @ A, "noise_covariance": M.T @ sigma @ M}
    mixed = cls(**known, **options).fit(data.X_train, data.Y_train @ M)
    found = mixed.predict(data.Y_test @ M)
    np.testing.assert_allclose(found, estimator.predict(data.Y_test), atol=1e-8)


@pytest.mark.filterwarnings("ignore:On pairs that were held out")
@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
def test_denoising_of_features_that_do_not_vary(cls, rng):
    """They spoil no standard deviation, and have none themselves."""
    X = rng.standard_normal((400, 5))
    X[:, 2], X[:, 3], X[:, 4] = 3.0, 0.0, X[:, 0] - X[:, 1]
    Y = X + 0.2 * rng.standard_normal(X.shape)
    found, std = cls(max_iter=15, random_state=0).fit(X, Y).predict(Y, return_std=True)
    errors = np.sqrt(((found - X) ** 2).mean(axis=0))
    np.testing.assert_allclose(std.mean(axis=0)[[0, 1, 4]], errors[[0, 1, 4]], rtol=0.15)
    assert std[:, 2:4].max() < 0.02

"""Nonlinear operators: Gauss–Newton with the prior of the divergence loss."""

import io
import pickle
import warnings

import joblib
import numpy as np
import pytest
import torch
from scipy.optimize import minimize as scipy_minimize
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor

from helpers import rmse
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.datasets import make_saturating_sensor
from skinvbayes.inference.gauss_newton import line_integral, minimize
from skinvbayes.operators import NonlinearOperator, as_nonlinear_operator, check_jacobian
from skinvbayes.priors import GaussianMixturePrior
from skinvbayes.training.specification import Pairs

pytestmark = [
    pytest.mark.filterwarnings("ignore:The loss was still falling"),
    pytest.mark.filterwarnings("ignore:On pairs that were held out"),
    pytest.mark.filterwarnings("ignore:For .* rows .* standard deviations"),
]

MIXING = np.array([[1.0, 0.4], [-0.5, 1.0], [0.3, 0.8]])
DELTA = 0.1
PRIOR = GaussianMixturePrior([[0.8, 0.0], [-0.8, 0.5]], [0.4 * np.eye(2), 0.5 * np.eye(2)])


def saturating(x):
    """tanh of a linear map, 2 → 3, in torch."""
    return torch.tanh(x @ torch.as_tensor(MIXING.T))


def cubes(X):
    return X**3 / 3 + X / 2


def slopes_of_cubes(X):
    return (X**2 + 0.5)[:, :, None] * np.eye(X.shape[1])


def wave(x):
    """Real and imaginary part of a wave whose phase and log amplitude are the signal."""
    amplitude = torch.exp(0.5 * x[:, 1])
    return torch.stack([amplitude * torch.cos(x[:, 0]), amplitude * torch.sin(x[:, 0])], 1)


MAPS = {"tanh": saturating, "cubes": NonlinearOperator(cubes, slopes_of_cubes), "wave": wave}


def measure(operator, X, seed, delta=DELTA):
    clean = as_nonlinear_operator(operator).forward(X)
    return clean + delta * np.random.RandomState(seed).standard_normal(clean.shape)


@pytest.fixture(scope="module")
def signals():
    return PRIOR.sample(2000, random_state=0), PRIOR.sample(200, random_state=1)


@pytest.fixture(scope="module")
def denoiser(signals):
    X = signals[0]
    Y = X + 0.2 * np.random.RandomState(0).standard_normal(X.shape)
    return DivergenceRegularizedINN(operator=np.eye(2), max_iter=60, random_state=0).fit(X, Y)


# ------------------------------------------------------------------------------------- operators


def test_the_derivative_is_automatic_in_torch():
    X = np.random.RandomState(0).standard_normal((5, 2))
    F = NonlinearOperator(saturating, n_measurements=3)
    expected = (1 - np.tanh(X @ MIXING.T) ** 2)[:, :, None] * MIXING
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            np.testing.assert_allclose(F.jacobian(X), expected, atol=1e-12)
            np.testing.assert_allclose(F(X), np.tanh(X @ MIXING.T), atol=1e-12)
    constant = NonlinearOperator(lambda x: torch.stack([x[:, 0], torch.ones(len(x)).to(x)], 1))
    np.testing.assert_array_equal(constant.jacobian([[1.0, 2.0]]), [[[1, 0], [0, 0]]])


@pytest.mark.parametrize(
    "function", [lambda X: np.tanh(X), lambda X: np.asarray(X) ** 2, lambda x: x.detach()]
)
def test_what_is_not_of_torch_needs_a_derivative(function, signals):
    with pytest.raises(ValueError, match="function of torch.*numpy.*jacobian"):
        DivergenceRegularizedINN(operator=function).fit(signals[0], signals[0])


def test_a_wrong_jacobian_is_told(signals, denoiser):
    wrong = NonlinearOperator(cubes, lambda X: 1.01 * slopes_of_cubes(X))
    check_jacobian(MAPS["cubes"], signals[1])
    check_jacobian(saturating, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="does not agree with differences"):
        check_jacobian(wrong, signals[1][:2])
    with pytest.raises(ValueError, match="does not agree with differences"):
        DivergenceRegularizedINN(operator=wrong).fit(signals[0], signals[0])
    with pytest.raises(ValueError, match="does not agree with differences"):
        denoiser.adapt(operator=wrong)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (NonlinearOperator(lambda X: X[:, 0], slopes_of_cubes), r"forward gave .* \(2000,\)"),
        (NonlinearOperator(cubes, lambda X: X), "jacobian gave an array of shape"),
        (NonlinearOperator(cubes, slopes_of_cubes, n_measurements=3), "forward gave .* 3"),
        (saturating, "to 3 measurements, but y has 2"),
        (lambda x: torch.log(x), "finite"),
    ],
)
def test_operators_that_do_not_fit_are_refused(operator, message, signals):
    with pytest.raises(ValueError, match=message):
        DivergenceRegularizedINN(operator=operator).fit(signals[0], signals[0])


# ---------------------------------------------------------------------------------------- solver


class KnownPosterior:
    """Minus the log posterior of a Gaussian mixture and cubes."""

    def __init__(self, Y):
        self.Y = Y

    def residual(self, u, rows):
        return (cubes(u) - self.Y[rows]) / DELTA

    def jacobian(self, u, rows):
        return slopes_of_cubes(u) / DELTA

    def gradient(self, u, rows):
        return -PRIOR.score(u)

    def hessian(self, u, rows):
        columns = [
            (self.gradient(u + 1e-5 * v, rows) - self.gradient(u - 1e-5 * v, rows)) / 2e-5
            for v in np.eye(2)
        ]
        return np.stack(columns, axis=2)


def minus_log_prior(x):
    squares = [
        0.5 * ((x - m) ** 2).sum(-1) / v + np.log(v)
        for m, v in zip(PRIOR.means, np.array(PRIOR.covariances)[:, 0, 0], strict=True)
    ]
    return -logsumexp(-np.stack(squares), axis=0)


def test_the_solver_finds_what_scipy_finds(signals):
    Y = measure(MAPS["cubes"], signals[1][:20], 3)
    posterior = KnownPosterior(Y)
    found = minimize(posterior, np.zeros((20, 2)))
    assert found.converged.all()
    for row, y in enumerate(Y):

        def objective(x, y=y):
            return ((cubes(x) - y) ** 2).sum() / (2 * DELTA**2) + minus_log_prior(x)

        best = scipy_minimize(objective, found.u[row] + 0.01, options={"gtol": 1e-8}).x
        np.testing.assert_allclose(found.u[row], best, atol=1e-5)
    lonely = minimize(posterior, np.full((20, 2), 50.0))  # from far away
    assert lonely.converged.all()


def test_the_integral_of_the_gradient_is_the_difference():
    start, end = np.random.RandomState(0).standard_normal((2, 10, 2))
    difference = line_integral(lambda u: -PRIOR.score(u), start, end)
    expected = minus_log_prior(end) - minus_log_prior(start)
    np.testing.assert_allclose(difference, expected, atol=1e-8)


# ------------------------------------------------------------------------------------ estimators


def grid_map(F, Y):
    """The maximum of the exact posterior density on a grid."""
    axis = np.linspace(-3.5, 3.5, 281)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    image, prior = as_nonlinear_operator(F).forward(grid), minus_log_prior(grid)
    return grid[[(((image - y) ** 2).sum(1) / (2 * DELTA**2) + prior).argmin() for y in Y]]


@pytest.mark.parametrize("name", MAPS)
def test_it_is_the_map_estimate_however_it_was_trained(name, signals, denoiser):
    X, T = signals
    F = MAPS[name]
    Y, V = measure(F, X, 1), measure(F, T, 2)
    exact = grid_map(F, V)
    adapted = denoiser.adapt(operator=F, noise_level=DELTA)
    trained = DivergenceRegularizedINN(operator=F, max_iter=30, random_state=0).fit(X, Y)
    assert trained.noise_level_ == pytest.approx(DELTA, rel=0.04)
    for estimator in (adapted, trained):
        found = estimator.predict(V)
        assert np.median(np.linalg.norm(found - exact, axis=1)) < 0.06
        assert rmse(found, T) < 1.05 * rmse(exact, T)
        assert rmse(found, T) < 0.9 * rmse(Ridge().fit(Y, X).predict(V), T)
        lower, upper = estimator.posterior_interval(V)
        assert 0.83 < ((lower <= T) & (upper >= T)).mean() < 0.95
        assert estimator.score(T, V) > 0.5


def test_the_saturating_sensor():
    data = make_saturating_sensor(800, 100, n_pixels=24)
    check_jacobian(data.forward, data.X_test[:3])
    estimator = DivergenceRegularizedINN(operator=data.forward, max_iter=60, random_state=0)
    estimator.fit(data.X_train, data.Y_train)
    assert estimator.noise_level_ == pytest.approx(data.noise_level, rel=0.03)
    error = rmse(estimator.predict(data.Y_test), data.X_test)
    network = MLPRegressor(early_stopping=True, random_state=0, max_iter=300)
    for other in (Ridge(alpha=0.01), network):
        assert error < rmse(other.fit(data.Y_train, data.X_train).predict(data.Y_test), data.X_test)


def test_a_linear_map_gives_what_the_linear_operator_gives(signals, denoiser):
    V = signals[1][:50] @ MIXING.T
    covariance = 0.01 * (np.eye(3) + 0.5)
    options = {"noise_level": 0.2}, {"noise_level": [0.1, 0.2, 0.3]}
    for noise in (*options, {"noise_covariance": covariance}):
        linear = denoiser.adapt(operator=MIXING, **noise)
        F = NonlinearOperator(lambda X: X @ MIXING.T, lambda X: np.tile(MIXING, (len(X), 1, 1)))
        other = denoiser.adapt(operator=F, **noise)
        np.testing.assert_allclose(other.predict(V), linear.predict(V), atol=1e-5)
        expected = linear.posterior_covariance(V)
        np.testing.assert_allclose(other.posterior_covariance(V), expected, atol=1e-5)
        samples = (e.sample_posterior(V, 2, random_state=0) for e in (linear, other))
        np.testing.assert_allclose(*samples, atol=1e-4)
        levels = (e.predict(V, noise_level=0.3) for e in (linear, other))
        np.testing.assert_allclose(*levels, atol=1e-5)


@pytest.mark.parametrize("correlated", [False, True])
def test_a_missing_measurement_is_left_out(correlated, signals, denoiser):
    covariance = np.diag([0.01, 0.02, 0.04])
    if correlated:
        covariance[0, 1] = covariance[1, 0] = 0.01
    V = measure(saturating, signals[1][:30], 2)
    V[::3, 0], V[1::3, 2] = np.nan, np.nan
    estimator = denoiser.adapt(operator=saturating, noise_covariance=covariance)
    found, std = estimator.predict(V, return_std=True)
    for row in range(3):
        kept = ~np.isnan(V[row])
        part = denoiser.adapt(
            operator=lambda x, kept=kept: saturating(x)[:, kept],
            noise_covariance=covariance[np.ix_(kept, kept)],
        )
        y = V[row : row + 1, kept]
        np.testing.assert_allclose(found[row : row + 1], part.predict(y), atol=1e-4)
        np.testing.assert_allclose(std[row : row + 1], part.posterior_std(y), rtol=1e-3)


def test_training_measurements_may_be_missing_and_go_on(signals):
    X, T = signals
    Y, V = measure(saturating, X, 1), measure(saturating, T, 2)
    missing = np.random.RandomState(0).uniform(size=Y.shape) < 0.1
    missing[:, 0] &= ~missing.all(axis=1)
    Y[missing] = np.nan
    estimator = DivergenceRegularizedINN(operator=saturating, max_iter=10, random_state=0)
    estimator.fit(X, Y)
    assert estimator.noise_level_ == pytest.approx(DELTA, rel=0.1)
    before = rmse(estimator.predict(V), T)
    assert rmse(estimator.partial_fit(X, Y).predict(V), T) < 1.1 * before
    pairs = Pairs(X, as_nonlinear_operator(saturating).forward(X), np.ones(len(X)))
    linear = estimator.problem_.measurement.operator.forward(X)  # what further pairs are made
    np.testing.assert_allclose(estimator.problem_.completed(pairs).Y, linear, atol=1e-12)


def test_a_map_that_is_not_one_to_one(denoiser, signals):
    """Squares forget signs; the prior and the other measurement tell them."""
    T = signals[1]
    V = measure(squares, T, 2)
    found = denoiser.adapt(operator=squares, noise_level=DELTA).predict(V)
    assert rmse(found, T) < 1.05 * rmse(grid_map(squares, V), T)


def squares(x):
    return torch.stack([x[:, 0] ** 2, x.sum(1)], dim=1)


def test_rows_and_types_stand_alone(denoiser, signals):
    V = measure(wave, signals[1][:20], 2)
    estimator = denoiser.adapt(operator=wave, noise_level=DELTA)
    found = estimator.predict(V)
    np.testing.assert_allclose(estimator.predict(V[7:8]), found[7:8], atol=1e-8)
    single = estimator.predict(V.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, found, atol=1e-4)


def test_it_is_stored_and_cloned(signals):
    X, T = signals
    V = measure(saturating, T[:10], 2)
    estimator = DivergenceRegularizedINN(operator=saturating, max_iter=10, random_state=0)
    estimator.fit(X, measure(saturating, X, 1))
    file = io.BytesIO()
    joblib.dump(estimator.adapt(operator=wave), file)
    file.seek(0)
    stored = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_allclose(stored.predict(V), estimator.predict(V), atol=1e-10)
    assert joblib.load(file).n_measurements_in_ == 2
    assert clone(estimator).operator is saturating
    np.testing.assert_allclose(estimator.adapt().predict(V), estimator.predict(V), atol=1e-10)
    np.testing.assert_allclose(estimator.operator_(X[:5]), np.tanh(X[:5] @ MIXING.T))


def test_the_score_of_the_prior_stays(denoiser, signals):
    T = signals[1]
    other = denoiser.adapt(operator=wave, noise_level=DELTA)
    np.testing.assert_allclose(other.prior_score(T), denoiser.prior_score(T), atol=1e-4)
    for method in ("transform", "inverse_transform", "jacobian"):
        with pytest.raises(ValueError, match="nonlinear operator there is no z-space"):
            getattr(other, method)(T)


@pytest.mark.parametrize("cls", [ApproximationINN, ReconstructionINN, LogDetRegularizedINN])
def test_other_losses_refuse_with_a_reason(cls, signals):
    with pytest.raises(ValueError, match="nonlinear.*DivergenceRegularizedINN"):
        cls(operator=saturating).fit(signals[0], measure(saturating, signals[0], 1))


def test_rows_that_do_not_converge_are_named(denoiser, signals, monkeypatch):
    V = measure(wave, signals[1][:8], 2)
    estimator = denoiser.adapt(operator=wave, noise_level=DELTA)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        estimator.predict(V)
    monkeypatch.setitem(minimize.__kwdefaults__, "max_iter", 1)
    with pytest.warns(ConvergenceWarning, match=r"Gauss–Newton .* 8 of 8 rows \(rows 0, 1, 2"):
        estimator.predict(V)

"""How long intervals are: errors of held-out pairs, the fewest pairs, and deviations too large."""

import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from helpers import rmse
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_bimodal, make_ill_posed, make_mixture
from skinvbayes.inference.posterior import interval_factor
from skinvbayes.problem.error_quantiles import ErrorQuantiles
from skinvbayes.problem.gaussian import linear_estimator
from skinvbayes.problem.shrinkage import shrunk_covariance
from skinvbayes.training import trial
from skinvbayes.training.held_out_errors import (
    HeldOutErrors,
    error_quantiles,
    warn_of_small_deviations,
)
from skinvbayes.training.specification import Pairs


def test_intervals_know_what_no_measurement_says():
    """The trial that they are told by is calibrated like the training: without it, 98 %."""
    data = make_mixture(1000, 1000, n_features=2, operator="wide", random_state=2)
    options = {"prior_bandwidth": 0.0, "max_iter": 60, "random_state": 0}
    estimator = ReconstructionINN(operator=data.operator, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(data.X_train, data.Y_train)
    lower, upper = estimator.posterior_interval(data.Y_test)
    assert 0.85 < ((lower <= data.X_test) & (data.X_test <= upper)).mean() < 0.95


@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
@pytest.mark.parametrize("n", [12, 25, 60])
def test_few_pairs_of_many_features(cls, n):
    """A sample covariance denies what they have not seen: 16 times the error, covered 2 to 60 %."""
    rng = np.random.default_rng(n)
    A, X = rng.standard_normal((100, 50)) / 7, rng.standard_normal((n + 300, 50))
    Y = X @ A.T + 0.05 * rng.standard_normal((n + 300, 100))
    estimator = cls(operator=A, max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X[:n], Y[:n])
    least_squares = np.linalg.lstsq(A, (Y[n:] - Y[:n].mean(axis=0)).T, rcond=None)[0].T
    least_squares += X[:n].mean(axis=0)
    assert rmse(estimator.predict(Y[n:]), X[n:]) < 1.1 * rmse(least_squares, X[n:])
    lower, upper = estimator.posterior_interval(Y[n:])
    assert 0.87 < ((lower <= X[n:]) & (X[n:] <= upper)).mean() < 0.99


@pytest.mark.parametrize("n", [2, 3, 7])
@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
def test_the_fewest_pairs_get_the_linear_estimator(cls, n, rng):
    """A network learned five of them by heart: twice the error, and intervals covered 14 %."""
    A, X = rng.standard_normal((6, 4)), rng.exponential(size=(n + 300, 4))
    Y = X @ A.T + 0.3 * rng.standard_normal((n + 300, 6))
    estimator = cls(operator=A, noise_level=0.3, random_state=0)
    with pytest.warns(UserWarning, match=f"^{n} pairs are too few to tell"):
        estimator.fit(X[:n], Y[:n])
    found = estimator.predict(Y[n:])
    covariance = shrunk_covariance(X[:n], np.full(n, 1 / n), A.T @ A, 0.09)
    centred = Y[n:] - Y[:n].mean(axis=0) + A @ X[:n].mean(axis=0)
    linear = linear_estimator(X[:n].mean(axis=0), covariance, A, 0.3)(centred)
    assert rmse(found, X[n:]) == pytest.approx(rmse(linear, X[n:]), rel=1e-3)
    if n > 2:  # of two, none tells the error of the other
        lower, upper = estimator.posterior_interval(Y[n:])
        assert ((lower <= X[n:]) & (X[n:] <= upper)).mean() > 0.9


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
def test_intervals_of_few_pairs_are_long_enough(cls, n):
    data = make_ill_posed("gravity", n, 300, random_state=1)
    estimator = cls(operator=data.operator, max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(data.X_train, data.Y_train)
    lower, upper = estimator.posterior_interval(data.Y_test)
    covered = ((lower <= data.X_test) & (data.X_test <= upper)).mean()
    assert 0.87 < covered < 0.99


def test_intervals_go_by_the_errors_of_all_trials(monkeypatch):
    """Each holds out 20 signals, of which alone the quantile of 0.9 is that of 0.945."""
    rng = np.random.default_rng(0)
    learned = SimpleNamespace(history=SimpleNamespace(interrupted=False))

    def verdict(prior):
        X = np.zeros((20, 10))
        found = {"held_out": (HeldOutErrors(rng.standard_normal(200), np.ones(200), X, X[None]),)}
        found["gain"] = 0.3 + rng.standard_normal(20)
        return trial.Verdict(np.ones(20), learned, 0.0, **found)

    others = SimpleNamespace(verdict=verdict, linear_errors=np.full(20, 1.1))
    monkeypatch.setattr(trial._Trial, "of", lambda *_: others)
    first = verdict(None)
    found = trial._after_more_trials(first, ())
    assert found.is_chance and len(found.gain) == 60 and len(found.held_out) == 3
    ratios = np.abs(np.concatenate([part.errors for part in found.held_out]))
    np.testing.assert_array_equal(ratios[:200], np.abs(first.held_out[0].errors))
    network = SimpleNamespace(explicit_inverse=object())
    quantiles = error_quantiles(found.held_out, SimpleNamespace(network=network, problem=None))
    level = interval_factor(0.9, quantiles)
    assert level == pytest.approx(np.quantile(ratios, 0.9 * 61 / 60), rel=1e-6)


def test_what_learned_its_signals_by_heart_takes_them_for_too_certain(rng):
    """Of 300 log-normal signals Gaussian intervals cover 74 %, those by errors 82 %."""
    t = (np.arange(16) + 0.5) / 16
    A = np.cos(6 * np.pi * t[:, None] * t) / 8
    smooth = np.linalg.cholesky(np.exp(-50 * (t[:, None] - t) ** 2) + 1e-8 * np.eye(16))
    X = np.exp(0.7 * rng.standard_normal((1300, 16)) @ smooth.T)
    Y = X @ A.T + 0.02 * (X @ A.T).std() * rng.standard_normal(X.shape)
    estimator = DivergenceRegularizedINN(operator=A, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X[:300], Y[:300])
        lower, upper = estimator.posterior_interval(Y[300:])
    std = estimator.posterior_std(Y[300:])
    covered, error = (lower <= X[300:]) & (X[300:] <= upper), estimator.predict(Y[300:]) - X[300:]
    assert (np.abs(error) < 1.645 * std).mean() + 0.06 < covered.mean() < 0.95


@pytest.mark.parametrize("size, told", [(1.4, False), (2.0, True)])
def test_deviations_that_are_too_small_are_told(size, told):
    rng = np.random.default_rng(0)
    pairs = Pairs(np.zeros((7, 30)), np.zeros((7, 3)), np.ones(7))
    quantiles = ErrorQuantiles.of(size * rng.standard_normal(9999), np.ones(9999), 9999)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_small_deviations(quantiles, pairs)
        warn_of_small_deviations(None, pairs)
    assert len(caught) == told
    assert not told or "2 times as large" in str(caught[0].message)
    assert not told or "7 pairs tell too little about 30 features" in str(caught[0].message)


def test_pairs_of_a_group_are_not_judged_by_each_other(rng):
    """Five copies of each signal, measured afresh: without groups their errors look small."""
    A = np.diag(np.linspace(1, 0.01, 12))
    X = np.repeat(rng.standard_normal((20, 12)), 5, axis=0)
    Y = X @ A.T + 0.1 * rng.standard_normal(X.shape)
    estimator = DivergenceRegularizedINN(operator=A, noise_level=0.1, max_iter=20, random_state=0)
    factors = []
    for groups in (None, np.repeat(np.arange(20), 5)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, Y, **({} if groups is None else {"groups": groups}))
        factors.append(estimator.problem_.error_quantiles.factor(0.9))
    assert factors[1] > 1.2 * factors[0]


def test_signals_that_are_measured_again_are_one_of_the_prior(monkeypatch, rng):
    """Copies on both sides of a fold made signals the prior themselves: 7 % more error."""
    seen, chosen = [], trial.chosen_prior
    monkeypatch.setattr(
        trial, "chosen_prior", lambda p, pairs, r: seen.append(pairs) or chosen(p, pairs, r)
    )
    data = make_mixture(120, 1, n_features=3, operator="tall", random_state=4)
    groups = rng.permutation(np.repeat(np.arange(120), 5))
    X = data.X_train[groups]
    Y = X @ data.operator.T + data.noise_level * rng.standard_normal((600, 6))
    estimator = ReconstructionINN(operator=data.operator, max_iter=15, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, Y, groups=groups)
    (kept,) = seen
    assert len(kept.X) == len(np.unique(kept.X, axis=0)) == 0.85 * 120
    np.testing.assert_allclose(kept.weight, kept.weight[0])
    for row, x in zip(kept.Y, kept.X, strict=True):
        assert np.abs(Y[(x == X).all(axis=1)] - row).max(axis=1).min() == 0


def test_few_signals_are_few_however_often_they_are_measured(rng):
    groups = np.repeat(np.arange(5), 30)
    X = rng.exponential(size=(5, 4))[groups]
    estimator = ReconstructionINN(operator=np.eye(4), random_state=0)
    with pytest.warns(UserWarning, match="^5 distinct signals are too few to tell"):
        estimator.fit(X, X + 0.3 * rng.standard_normal(X.shape), groups=groups)


def test_deviations_above_those_of_the_signals_are_told():
    data = make_bimodal(1500, noise_level=0.3, random_state=0)
    estimator = ReconstructionINN(max_iter=20, random_state=0).fit(data.X, data.Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.posterior_std(data.Y)
    estimator.problem_ = replace(estimator.problem_, signal_std=np.array([1e-3, 1.0]))
    with pytest.warns(UserWarning, match=r"For 3 of 3 rows \(rows 0, 1, 2\) standard deviations"):
        estimator.posterior_std(data.Y[:3])
    with pytest.warns(UserWarning, match="1 of them lie far outside the training data"):
        estimator.posterior_covariance(np.vstack([data.Y[:2], [[50.0, 0.0]]]))

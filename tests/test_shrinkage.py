"""The covariance of few signals: drawn towards its diagonal where the linear estimator gains."""

import numpy as np
import pytest
from sklearn.covariance import oas

from helpers import rmse
from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import make_ill_posed
from skinvbayes.problem import shrinkage
from skinvbayes.problem.gaussian import linear_estimator
from skinvbayes.problem.shrinkage import shrunk_covariance

# kind, prior, pairs, features, noise, and the shares that suit them
PROBLEMS = [
    ("abel", "smooth", 300, 64, 0.01, (0.1, 0.0)),
    ("deriv2", "piecewise_constant", 60, 16, 0.3, (1.0,)),
]


def make(kind, prior, n, n_features, noise, random_state=0):
    sizes = {"n_train": n, "n_test": 400, "n_features": n_features}
    known = {"prior": prior, "relative_noise": noise, "random_state": random_state}
    return make_ill_posed(kind, **sizes, **known)


def error(data, covariance):
    known = {"operator": data.operator, "noise_level": data.noise_level}
    linear = linear_estimator(data.X_train.mean(axis=0), covariance, **known)
    return rmse(linear(data.Y_test), data.X_test)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p[0])
def test_held_out_signals_choose_the_share(problem, seed):
    data, expected = make(*problem[:-1], random_state=seed), problem[-1]
    X, G = data.X_train, data.operator.T @ data.operator
    weight = np.ones(len(X))
    found = shrunk_covariance(X, weight, G, data.noise_level**2)
    shares = {share: shrinkage._shrunk(X, weight, share) for share in shrinkage._SHARES}
    assert any((found == shares[share]).all() for share in expected)
    assert error(data, found) < 1.02 * min(error(data, shares[0.0]), error(data, shares[1.0]))


def test_linear_estimators_of_smooth_signals_and_little_noise():
    """With all of the shrinkage errors were 31 % larger than with none."""
    data = make(*PROBLEMS[0][:-1], random_state=1)
    estimator = DivergenceRegularizedINN(operator=data.operator, random_state=1, max_iter=20)
    estimator.fit(data.X_train, data.Y_train)
    sample = error(data, np.cov(data.X_train.T))
    assert rmse(estimator.predict(data.Y_test), data.X_test) < 1.02 * sample


def test_copies_of_a_signal_do_not_judge_each_other(rng):
    """Without that a covariance that denies all other signals would seem best."""
    X = np.repeat(rng.standard_normal((15, 40)), 6, axis=0)
    found = shrunk_covariance(X, np.ones(90), np.eye(40), 0.01)
    np.testing.assert_array_equal(found, shrinkage._shrunk(X, np.ones(90), 1.0))


def test_units_weights_and_unknown_operators(rng):
    X = rng.standard_normal((50, 12)) @ rng.standard_normal((12, 12))
    weight, units = rng.uniform(0.5, 2, 50), 10.0 ** rng.uniform(-3, 3, 12)
    G = np.diag(np.linspace(1, 0.1, 12))
    found = shrunk_covariance(X, weight, G, 0.1)
    scaled = shrunk_covariance(X * units, weight, G / units / units[:, None], 0.1)
    np.testing.assert_allclose(scaled / units / units[:, None], found, rtol=1e-9)
    unknown = shrunk_covariance(X, np.ones(50))
    deviations = X.std(axis=0)
    correlation, _ = oas((X - X.mean(axis=0)) / deviations, assume_centered=True)
    np.testing.assert_allclose(unknown, correlation * deviations * deviations[:, None])
    np.testing.assert_array_equal(
        shrunk_covariance(X[:5], np.ones(5), G, 0.1), shrunk_covariance(X[:5], np.ones(5))
    )


@pytest.mark.parametrize("variance", [1e-30, 1e30])
def test_any_noise(variance, rng):
    X, G = rng.standard_normal((30, 12)), np.diag([*np.ones(6), *np.zeros(6)])
    assert np.isfinite(shrunk_covariance(X, np.ones(30), G, variance)).all()

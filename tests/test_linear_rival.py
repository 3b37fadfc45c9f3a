"""Trainings that no trial has judged say where the best linear filter is better."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import eye_array
from sklearn.datasets import load_digits

from helpers import rmse
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_ill_posed, make_mixture
from skinvbayes.networks.gradient import GradientBlock
from skinvbayes.problem.gaussian import linear_estimator
from skinvbayes.training import linear_rival
from skinvbayes.training.linear_rival import linear_reconstructions
from skinvbayes.training.specification import Pairs

WORSE = "times the root mean square error of the best linear filter"


@pytest.fixture(scope="module")
def heat():
    return make_ill_posed("heat", 400, 200, prior="piecewise_constant", n_features=24)


def test_estimate_is_that_of_the_covariance(heat):
    known = {"operator": heat.operator, "noise_level": heat.noise_level}
    estimator = DivergenceRegularizedINN(**known, max_iter=1, random_state=0)
    problem = estimator.fit(heat.X_train, heat.Y_train).problem_
    pairs = Pairs(heat.X_train, heat.Y_train, np.ones(400))
    found = linear_reconstructions(problem, pairs, problem.targets(heat.Y_test))
    mean, covariance = heat.X_train.mean(axis=0), np.cov(heat.X_train.T, bias=True)
    linear = linear_estimator(mean, covariance, *known.values())
    expected = linear(heat.Y_test - heat.Y_train.mean(axis=0) + heat.operator @ mean)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_networks_that_are_worse_say_so(heat, monkeypatch):
    """As with too many features for matrices, where the operator is a part of the network."""
    monkeypatch.setattr(GradientBlock, "most_features_of_matrices", 20)
    estimator = DivergenceRegularizedINN(operator=heat.operator, max_iter=20, random_state=0)
    with pytest.warns(UserWarning, match=WORSE) as caught:
        estimator.fit(heat.X_train, heat.Y_train)
    (message,) = [str(w.message) for w in caught if WORSE in str(w.message)]
    ratio = float(message.split("with ")[1].split()[0])
    linear = linear_estimator(
        heat.X_train.mean(0), np.cov(heat.X_train.T), heat.operator, heat.noise_level
    )
    truth = rmse(estimator.predict(heat.Y_test), heat.X_test)
    assert ratio == pytest.approx(truth / rmse(linear(heat.Y_test), heat.X_test), rel=0.25)


def test_the_ratio_is_that_of_other_pairs():
    """Of few pairs: a filter of half of them was so much worse that the network was none."""
    images = np.random.default_rng(0).permutation(load_digits().data / 16)[:300]
    blur = np.exp(-0.5 * np.subtract.outer(np.arange(8), np.arange(8)) ** 2)
    A = np.kron(*2 * (blur / blur.sum(axis=1, keepdims=True),))
    Y = images @ A.T + 0.03 * np.random.default_rng(1).standard_normal(images.shape)
    options = {"residual": "conv", "image_shape": (8, 8), "kernel_size": 5, "max_iter": 30}
    estimator = ReconstructionINN(operator=A, noise_level=0.03, batch_size=20, random_state=0)
    estimator.set_params(hidden_layer_sizes=10, **options)
    with pytest.warns(UserWarning, match=WORSE) as caught:
        estimator.fit(images[:100], Y[:100])
    (message,) = [str(w.message) for w in caught if WORSE in str(w.message)]
    linear = linear_estimator(images[:100].mean(axis=0), np.cov(images[:100].T), A, 0.03)
    truth = rmse(estimator.predict(Y[100:]), images[100:]) / rmse(linear(Y[100:]), images[100:])
    assert truth > 1.1
    assert float(message.split("with ")[1].split()[0]) == pytest.approx(truth, rel=0.05)


def test_networks_that_are_better_are_silent():
    data = make_mixture(400, 1, n_features=2, operator="tall", random_state=0)
    denoised = data.X_train + 0.3 * np.random.default_rng(0).standard_normal(data.X_train.shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", WORSE)
        for options in ({"residual": "mlp"}, {"n_blocks": 2}, {"early_stopping": True}):
            estimator = ReconstructionINN(random_state=0, max_iter=20, **options)
            estimator.set_params(operator=data.operator).fit(data.X_train, data.Y_train)
            estimator.set_params(operator=eye_array(2)).fit(data.X_train, denoised)


@pytest.mark.parametrize("cls", [DivergenceRegularizedINN, ReconstructionINN])
def test_hundreds_of_features_are_no_worse(cls):
    """Natural coordinates serve them too; without, errors were twice as large."""
    data = make_ill_posed("heat", 120, 200, prior="piecewise_constant", n_features=260)
    estimator = cls(operator=data.operator, max_iter=10, random_state=0)
    estimator.fit(data.X_train, data.Y_train)
    assert_no_worse_than_linear(estimator, data)


FEW = [("deriv2", "smooth", 60, 16, 1), ("gravity", "piecewise_constant", 40, 10, 0)]


@pytest.mark.parametrize(("kind", "prior", "n", "n_features", "seed"), FEW)
def test_few_held_out_pairs_are_not_trusted_at_once(kind, prior, n, n_features, seed):
    """One trial likes the network, by chance: errors were 11 % larger."""
    sizes = {"n_train": n, "n_test": 400, "n_features": n_features}
    data = make_ill_posed(kind, prior=prior, random_state=seed, **sizes)
    estimator = DivergenceRegularizedINN(operator=data.operator, random_state=seed)
    assert_no_worse_than_linear(estimator.fit(data.X_train, data.Y_train), data)


def assert_no_worse_than_linear(estimator, data):
    linear = linear_estimator(
        data.X_train.mean(0), np.cov(data.X_train.T), data.operator, data.noise_level
    )
    limit = 1.02 * rmse(linear(data.Y_test), data.X_test)
    assert rmse(estimator.predict(data.Y_test), data.X_test) < limit


@pytest.mark.parametrize("n", [20, 100, 103, 2999, 3500, 7000])
def test_judges_are_pairs_that_the_filter_has_not_seen(n, monkeypatch):
    """Of all folds; with far more pairs than are looked at, spread over them."""
    seen, filtered, judged = [], [], []
    problem = SimpleNamespace(targets=lambda Y: Y)

    def reconstructions(_, pairs, Z):
        seen.append(pairs.X)
        filtered.append(Z)
        return Z

    def errors(network, problem, X, Z, shares):
        judged.append(X)
        return np.zeros((1, len(X)))

    monkeypatch.setattr(linear_rival, "linear_reconstructions", reconstructions)
    monkeypatch.setattr(linear_rival, "reconstruction_errors", errors)
    X = np.arange(n)[:, None]
    linear_rival.warn_if_worse(SimpleNamespace(problem=problem, network=None), Pairs(X, X, X[:, 0]))
    for others, part in zip(seen, filtered, strict=True):
        assert not np.isin(part, others).any()
        assert min(500, n * 4 // 5) <= len(others) <= 1000 and np.ptp(others) > 0.9 * n - 3
    judged = np.concatenate(judged)
    np.testing.assert_array_equal(np.concatenate(filtered), judged)
    assert min(100, n) <= len(judged) <= 200 and len(np.unique(judged)) == len(judged)

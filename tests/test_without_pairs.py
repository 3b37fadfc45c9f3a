"""Signals alone, where operator and noise are given; and pairs that say nothing of the noise."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags

from skinvbayes import ApproximationINN, DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_mixture
from skinvbayes.numerics.errors import entry_rmse


@pytest.fixture(scope="module")
def data():
    return make_mixture(800, 500, n_features=2, operator="tall", random_state=4)


@pytest.fixture(scope="module")
def known(data):
    return {"operator": data.operator, "noise_level": data.noise_level, "random_state": 0}


@pytest.mark.parametrize("cls", [ReconstructionINN, DivergenceRegularizedINN])
def test_signals_are_as_good_as_pairs(cls, data, known):
    from_signals = cls(max_iter=15, **known).fit(data.X_train)
    from_pairs = cls(max_iter=15, **known).fit(data.X_train, data.Y_train)
    alone, paired = (
        entry_rmse(estimator.predict(data.Y_test), data.X_test)
        for estimator in (from_signals, from_pairs)
    )
    assert alone <= 1.01 * paired
    assert from_signals.n_measurements_in_ == data.Y_train.shape[1]


def test_the_noise_that_is_drawn_is_the_given_one(data):
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 3)) / 2
    covariance = root @ root.T + 0.1 * np.eye(3)
    X = rng.standard_normal((4000, 2))
    known = {"operator": rng.standard_normal((3, 2)), "noise_covariance": covariance}
    estimator = ApproximationINN(max_iter=2, random_state=0, **known).fit(X)
    noise = estimator.problem_.measurement.drawn(X, np.random.RandomState(0))
    noise -= X @ known["operator"].T
    np.testing.assert_allclose(np.cov(noise.T), covariance, atol=0.05)


def test_repetition_is_a_weight_and_order_does_not_matter(data, known):
    X = data.X_train[:200]
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(200), 2))
    estimator = DivergenceRegularizedINN(max_iter=4, **known)
    repeated = estimator.fit(X[rows]).predict(data.Y_test)
    weighted = estimator.fit(X, sample_weight=np.full(200, 2.0)).predict(data.Y_test)
    np.testing.assert_array_equal(repeated, weighted)


def test_passes_draw_new_noise(data, known):
    estimator = ReconstructionINN(**known).partial_fit(data.X_train)
    generator = estimator._continuation.generator
    before = generator.get_state()
    estimator.partial_fit(data.X_train)
    assert not np.array_equal(before, estimator._continuation.generator.get_state())
    assert estimator.score(data.X_test, data.Y_test) > 0.3


def test_scores_and_searches_need_no_pairs(data, known):
    estimator = DivergenceRegularizedINN(max_iter=20, **known).fit(data.X_train)
    drawn, real = estimator.score(data.X_test), estimator.score(data.X_test, data.Y_test)
    assert drawn == estimator.score(data.X_test)
    assert drawn == pytest.approx(real, abs=0.05)
    search = GridSearchCV(estimator, {"epsilon": [1e-4, "auto"]}, cv=2).fit(data.X_train)
    assert search.best_params_ == {"epsilon": "auto"}


@pytest.mark.parametrize("left_out", ["operator", "noise_level"])
def test_without_operator_or_noise_pairs_are_required(left_out, data, known):
    estimator = DivergenceRegularizedINN(**{k: v for k, v in known.items() if k != left_out})
    assert get_tags(estimator).target_tags.required
    assert not get_tags(DivergenceRegularizedINN(**known)).target_tags.required
    with pytest.raises(ValueError, match=f"requires y to be passed.*; it lacks {left_out}"):
        estimator.fit(data.X_train)


def test_an_operator_of_another_size_is_told(data, known):
    with pytest.raises(ValueError, match="operator of shape"):
        DivergenceRegularizedINN(**known).fit(data.X_train[:, :1])


@pytest.mark.parametrize("operator", ["given", "estimate", None])
def test_clean_pairs_do_not_tell_the_noise(operator):
    rng = np.random.default_rng(1)
    X, A = rng.standard_normal((200, 3)), np.diag([1.0, 2.0, 0.5])
    operator, Y = (A if operator == "given" else operator), X @ A + 3
    with pytest.raises(ValueError, match="noise_level cannot be told.*noise_level"):
        DivergenceRegularizedINN(operator=operator).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for known in ({"noise_level": 0.1}, {"epsilon": 0.01}):
            DivergenceRegularizedINN(operator=operator, max_iter=2, **known).fit(X, Y)
        ApproximationINN(operator=operator, max_iter=2).fit(X, Y)


def test_signals_alone_for_a_nonlinear_operator():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 2)) * [1, 0.3] + np.where(rng.random((600, 1)) < 0.5, 1, -1)
    Y = np.tanh(X) + 0.1 * rng.standard_normal(X.shape)
    options = {"noise_level": 0.1, "max_iter": 15, "random_state": 0}
    estimator = DivergenceRegularizedINN(operator=torch.tanh, **options)
    alone, paired = (estimator.fit(X, y).score(X, Y) for y in (None, Y))
    assert alone > paired - 0.02
    assert estimator.score(X) == pytest.approx(paired, abs=0.05)

"""A fit or a pass that fails leaves the estimator as it was."""

import copy

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV

from helpers import every, needs_callbacks
from skinvbayes import DivergenceRegularizedINN, LogDetRegularizedINN, Reconstructor
from skinvbayes.training import stages


class Failing:
    """A callback that fails in the n-th iteration, or at the end for n = None."""

    def __init__(self, n):
        self.n, self.count, self.ended = n, 0, False

    def setup(self, estimator, context):
        pass

    on_fit_task_begin = setup

    def teardown(self, estimator, context):
        self.ended = True

    def on_fit_task_end(self, estimator, context):
        self.count += context.task_name == "iteration"
        if self.count == self.n or (self.n is None and context.task_name == "fit"):
            raise RuntimeError("callback")


def state(estimator, Y):
    """All that a failure must not change: the attributes, and the bits behind them."""
    attributes = dict(vars(estimator))
    weights = {k: v.clone() for k, v in estimator.network_.state_dict().items()}
    random = estimator._continuation.generator.get_state().clone()
    return attributes, weights, random, list(estimator.loss_curve_), estimator.predict(Y)


def assert_unchanged(estimator, before, Y):
    attributes, weights, random, curve, found = before
    assert vars(estimator).keys() == attributes.keys()
    assert all(vars(estimator)[name] is value for name, value in attributes.items())
    assert all((v == weights[k]).all() for k, v in estimator.network_.state_dict().items())
    assert (estimator._continuation.generator.get_state() == random).all()
    assert estimator.loss_curve_ == curve
    np.testing.assert_array_equal(estimator.predict(Y), found)


@every
@pytest.mark.parametrize("warm_start", [False, True])
def test_bad_data(cls, warm_start, pairs):
    X, Y = pairs
    estimator = cls(max_iter=5, warm_start=warm_start, random_state=0, batch_size=10).fit(X, Y)
    estimator.partial_fit(X, Y)
    before = state(estimator, Y)
    ones = np.ones((30, 3))
    for call in [
        lambda: estimator.fit(X, np.full_like(Y, np.nan)),
        lambda: estimator.fit(ones, ones),  # signals that do not vary, of another size
        lambda: estimator.fit(pd.DataFrame(X[:1], columns=list("ab")), Y[:1]),
        lambda: estimator.fit(X, Y, X_val=X, y_val=Y),
        lambda: estimator.partial_fit(np.vstack([X, 1e200 * X]), np.vstack([Y, Y])),
        lambda: estimator.partial_fit(ones, ones),
    ]:
        with pytest.raises(ValueError):
            call()
        assert_unchanged(estimator, before, Y)


@pytest.mark.parametrize("warm_start", [False, True])
def test_training_that_fails_in_the_first_iteration(warm_start, pairs):
    X, Y = pairs
    options = {"max_iter": 5, "warm_start": warm_start, "random_state": 0}
    estimator = LogDetRegularizedINN(solver="adam", **options).fit(X, Y)
    before = state(estimator, Y)
    estimator.set_params(learning_rate_init=1e30)
    with pytest.raises(ValueError, match="not finite in the first iteration"):
        estimator.fit(X, Y)
    estimator.set_params(learning_rate_init="auto")
    before[0]["learning_rate_init"] = estimator.learning_rate_init
    assert_unchanged(estimator, before, Y)


def test_an_interrupt_before_training(pairs, monkeypatch):
    X, Y = pairs
    estimator = DivergenceRegularizedINN(max_iter=3, random_state=0).fit(X, Y)
    before = state(estimator, Y)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "objective_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(np.hstack([X, X]), np.hstack([Y, Y]))
    assert_unchanged(estimator, before, Y)


def test_a_pass_without_pairs(pairs):
    """Its measurements are drawn from the generator of the training."""
    options = {"operator": np.eye(2), "noise_level": 0.3, "random_state": 0}
    estimator = DivergenceRegularizedINN(**options).partial_fit(pairs[0])
    before = state(estimator, pairs[1])
    with pytest.raises(ValueError, match="not finite"):
        estimator.partial_fit(1e200 * pairs[0])
    assert_unchanged(estimator, before, pairs[1])


@needs_callbacks
@pytest.mark.parametrize("n", [1, 4, None])
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_a_callback_that_fails(solver, n, pairs):
    X, Y = pairs
    options = {"max_iter": 6, "warm_start": True, "random_state": 0}
    estimator = DivergenceRegularizedINN(solver=solver, **options).fit(X, Y)
    callback = Failing(n)
    estimator.set_callbacks(callback)
    before = state(estimator, Y)
    with pytest.raises(RuntimeError, match="callback"):
        estimator.fit(X, Y)
    assert callback.ended
    assert_unchanged(estimator, before, Y)


def test_reconstructor(pairs):
    X, Y = pairs
    regressor = Reconstructor(DivergenceRegularizedINN(max_iter=3, random_state=0))
    regressor.fit(pd.DataFrame(Y, columns=list("ab")), X[:, 0])
    before, found = dict(vars(regressor)), regressor.predict(Y)
    for bad in [np.hstack([Y, Y]), Y[:1]]:
        with pytest.raises(ValueError):
            regressor.fit(bad, np.ones((len(bad), 2)))
        assert vars(regressor).keys() == before.keys()
        assert all(vars(regressor)[name] is value for name, value in before.items())
        np.testing.assert_array_equal(regressor.predict(Y), found)


def test_names_and_sizes_follow_a_refit(pairs, rng):
    X, Y = (pd.DataFrame(part, columns=list("ab")) for part in pairs)
    wide = rng.standard_normal((30, 3))
    noisy = wide + 0.1 * rng.standard_normal((30, 3))
    table, measured = (pd.DataFrame(part, columns=list("xyz")) for part in (wide, noisy))
    estimator = DivergenceRegularizedINN(max_iter=2, random_state=0).fit(X, Y)
    estimator.fit(table, measured)
    assert estimator.n_features_in_ == estimator.n_measurements_in_ == 3
    assert list(estimator.feature_names_in_) == list(estimator.measurement_names_in_) == [*"xyz"]
    estimator.fit(wide, noisy)
    assert not hasattr(estimator, "feature_names_in_")
    assert not hasattr(estimator, "measurement_names_in_")
    regressor = Reconstructor(estimator).fit(Y, X)
    assert list(regressor.fit(table, X[:30]).feature_names_in_) == [*"xyz"]
    assert not hasattr(regressor.fit(wide, X[:30]), "feature_names_in_")


def test_a_fitted_copy_stays_as_it_is(pairs):
    """Copies share the network until one of them is trained on."""
    estimator = DivergenceRegularizedINN(max_iter=5, random_state=0).fit(*pairs)
    other = copy.copy(estimator)
    found = other.predict(pairs[1])
    estimator.partial_fit(*pairs)
    np.testing.assert_array_equal(other.predict(pairs[1]), found)
    assert not np.array_equal(estimator.predict(pairs[1]), found)


def test_a_search_that_fails(pairs):
    X, Y = pairs
    search = GridSearchCV(DivergenceRegularizedINN(max_iter=3), {"epsilon": [0.1]}, cv=2)
    regressor = Reconstructor(search).fit(Y, X)
    before, found = regressor.estimator_, regressor.predict(Y)
    with pytest.raises(ValueError):
        regressor.fit(Y, np.ones((300, 2)))
    assert regressor.estimator_ is before
    np.testing.assert_array_equal(regressor.predict(Y), found)

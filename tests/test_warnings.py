"""Warnings point at the user's line, whichever way leads there."""

import warnings
from functools import partial

import numpy as np
import pandas
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor
from skinvbayes.inference import trained_map
from skinvbayes.training import stages as training


def messages_at_this_file(call):
    """The messages of the warnings of a call, all of which point at this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert caught
    assert {warning.filename for warning in caught} == {__file__}
    return [str(warning.message) for warning in caught]


@pytest.fixture(scope="module")
def tempered(pairs):
    return DivergenceRegularizedINN(epsilon=0.02, max_iter=3, random_state=0).fit(*pairs)


@pytest.fixture
def hasty(monkeypatch):
    """Inversions that stop too early."""
    invert = trained_map.invert
    monkeypatch.setattr(trained_map, "invert", partial(invert, max_iter=1, tol=1e-15))


RECONSTRUCTIONS = {
    "predict": lambda e, X, Y: e.predict(Y),
    "score": lambda e, X, Y: e.score(X, Y),
    "inverse_transform": lambda e, X, Y: e.inverse_transform(Y),
    "posterior_covariance": lambda e, X, Y: e.posterior_covariance(Y),
    "posterior_std": lambda e, X, Y: e.posterior_std(Y),
    "posterior_std by probing": lambda e, X, Y: e.posterior_std(Y, method="probing", n_probes=2),
    "posterior_interval": lambda e, X, Y: e.posterior_interval(Y),
    "sample_posterior": lambda e, X, Y: e.sample_posterior(Y),
}


@pytest.mark.parametrize("method", RECONSTRUCTIONS)
def test_inversion_that_does_not_converge(method, pairs, tempered, hasty):
    X, Y = pairs
    call = RECONSTRUCTIONS[method]
    (first, *_) = messages_at_this_file(lambda: call(tempered, 3 * X, 3 * Y))
    assert "did not converge" in first or "epsilon" in first


@pytest.mark.parametrize("method", list(RECONSTRUCTIONS)[3:])
def test_uncertainty_of_another_prior(method, pairs, tempered):
    (message,) = messages_at_this_file(lambda: RECONSTRUCTIONS[method](tempered, *pairs))
    assert "times the squared noise level" in message
    (message,) = messages_at_this_file(lambda: tempered.predict(pairs[1], return_std=True))
    assert "times the squared noise level" in message


def test_through_a_reconstructor(pairs, hasty):
    X, Y = pairs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        regressor = Reconstructor(
            DivergenceRegularizedINN(noise_level=0.1, max_iter=40, random_state=0)
        )
        regressor.fit(Y, X)
    for call in (
        lambda: regressor.predict(3 * Y),
        lambda: regressor.score(3 * Y, X),
        lambda: regressor.posterior_covariance(3 * Y),
        lambda: regressor.posterior_interval(3 * Y),
        lambda: regressor.sample_posterior(3 * Y),
    ):
        assert "did not converge" in messages_at_this_file(call)[0]


def test_through_a_pipeline(pairs, hasty):
    X, Y = pairs
    inner = DivergenceRegularizedINN(max_iter=40, random_state=0)
    pipeline = make_pipeline(StandardScaler(), inner).fit(X, Y)
    regressor = Reconstructor(make_pipeline(StandardScaler(), inner)).fit(Y, X)
    for call in (
        lambda: pipeline.inverse_transform(3 * Y),
        lambda: pipeline.score(3 * X, 3 * Y),
        lambda: regressor.predict(3 * Y),
    ):
        assert "did not converge" in messages_at_this_file(call)[0]


def test_with_named_output(pairs, hasty):
    X, Y = pairs
    frame = pandas.DataFrame(X, columns=["a", "b"])
    estimator = DivergenceRegularizedINN(max_iter=40, random_state=0).set_output(transform="pandas")
    estimator.fit(frame, Y)
    (message,) = messages_at_this_file(lambda: estimator.inverse_transform(3 * Y))
    assert "did not converge" in message


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_while_training(method, pairs, monkeypatch):
    X, Y = pairs

    def train():
        return getattr(ReconstructionINN(max_iter=3, random_state=0), method)(X, -Y)

    assert "not close to symmetric" in messages_at_this_file(train)[0]
    regressor = Reconstructor(ReconstructionINN(max_iter=3, random_state=0))
    assert "not close to symmetric" in messages_at_this_file(lambda: regressor.fit(-Y, X))[0]
    many = np.random.RandomState(0).standard_normal((5, 9))
    few = DivergenceRegularizedINN(max_iter=1, operator="estimate", random_state=0)
    (message,) = messages_at_this_file(lambda: getattr(few, method)(many, many))
    assert "cannot be told from 5 pairs" in message

    def interrupt(trained):
        raise KeyboardInterrupt

    minimize = training.minimize

    def interrupted(*args, **kwargs):
        return minimize(*args, **kwargs | {"callback": interrupt})

    monkeypatch.setattr(training, "minimize", interrupted)
    estimator = DivergenceRegularizedINN(max_iter=2, random_state=0)
    (message,) = messages_at_this_file(lambda: getattr(estimator, method)(X, Y))
    assert "interrupted" in message
    with pytest.warns(ConvergenceWarning):
        estimator.fit(X, Y)

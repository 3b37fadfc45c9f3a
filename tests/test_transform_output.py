"""scikit-learn's ``transform_output`` changes what ``transform`` returns, and nothing else."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from helpers import ALL
from skinvbayes import DivergenceRegularizedINN, Reconstructor, reconstruction_scorer
from skinvbayes import diagnostics as diag
from skinvbayes.plotting import (
    EpsilonPathDisplay,
    ErrorTradeOffDisplay,
    ImagesDisplay,
    SignalDisplay,
    UncertaintyDisplay,
    VectorFieldDisplay,
)
from skinvbayes.priors import GaussianMixturePrior

pytestmark = [
    pytest.mark.filterwarnings("error:.*valid (feature|measurement) names:UserWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:(?s).*(held out|epsilon):UserWarning"),
]
A = np.array([[1.0, 0.5], [0.0, 1.0], [0.3, 0.3]])
X = np.random.RandomState(0).standard_normal((60, 2)) + 1
Y = X @ A.T + 0.1 * np.random.RandomState(1).standard_normal((60, 3))
PRIOR = GaussianMixturePrior(np.ones((1, 2)), 1.0)
SCORING = {"scoring": reconstruction_scorer(), "cv": 2, "error_score": "raise"}


@pytest.fixture(params=["pandas", "polars"])
def library(request):
    return pytest.importorskip(request.param)


def frames(library):
    """Signals and measurements with names."""
    return tuple(
        library.DataFrame({f"{name}{j}": column for j, column in enumerate(values.T)})
        for name, values in (("x", X), ("y", Y))
    )


@pytest.fixture(scope="module", params=ALL)
def fitted(request):
    return request.param(operator=A, max_iter=2, random_state=0).fit(*frames(pd))


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def assert_nothing_changes(function, library):
    """A function of nothing returns the same arrays whatever the output of transform is."""
    expected = function()
    with sklearn.config_context(transform_output=library.__name__):
        found = function()
    for name, value in found.items():
        assert not hasattr(value, "columns"), f"{name} is a frame"
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_methods_diagnostics_and_displays(fitted, library):
    e, (X, Y) = fitted, frames(pd)

    def everything():
        trade_off = ErrorTradeOffDisplay.from_estimator(e, X, Y)
        images = ImagesDisplay.from_estimator(e, X, Y, image_shape=(1, 2))
        return {
            "predict": e.predict(Y),
            "std": e.predict(Y, return_std=True)[1],
            "covariance": e.posterior_covariance(Y),
            "score": e.score(X, Y),
            "scorer": reconstruction_scorer()(e, X, Y),
            "inverse": e.inverse_transform(e.transform(X)),
            "prior_term": e.prior_term(X),
            "jacobian": e.jacobian(X),
            "optimal": diag.optimal_prior_term(e, X, PRIOR),
            "stationarity": diag.stationarity(e, Y, PRIOR),
            "pushforward": diag.pushforward_score(e, X, PRIOR),
            "recovered": diag.recovered_forward(e, X, PRIOR),
            "operator": diag.recovered_operator(e, X, Y),
            "trade-off": [trade_off.forward_error, trade_off.reconstruction_error],
            "uncertainty": UncertaintyDisplay.from_estimator(e, X, Y).error,
            "images": images.rows[type(e).__name__],
            "signals": SignalDisplay.from_estimator(e, Y, X=X, rows=[0, 1]).truth,
            "arrows": VectorFieldDisplay.from_estimator(e, X).vectors,
        }

    assert_nothing_changes(everything, library)


def test_fits_pipelines_and_searches(library):
    X_, Y_ = frames(library)
    new = DivergenceRegularizedINN(operator=A, max_iter=2, random_state=0)
    without = clone(new).set_params(operator=None)
    path = {"epsilon": [0.01, 0.1]} | SCORING

    def everything():
        e = clone(new).fit(X_, Y_)
        regressor = Reconstructor(new).fit(Y_, X_)
        scaled = make_pipeline(StandardScaler(with_std=False), MinMaxScaler(), without)
        before = make_pipeline(StandardScaler(), Reconstructor(without))
        search = GridSearchCV(new, {"max_iter": [1, 2]}, **SCORING)
        arrows = VectorFieldDisplay.from_estimator(e, X_, response_method="prior_score")
        return {
            "prior_score": e.prior_score(X_),
            "error": diag.score_error(e, X_, PRIOR),
            "adapted": e.adapt(operator=2 * A, noise_level=0.1).predict(2 * Y),
            "arrows": arrows.vectors,
            "partial_fit": e.partial_fit(X_, Y_).predict(Y_),
            "path": EpsilonPathDisplay.from_estimator(new, X_, Y_, **path).test_scores,
            "regressor": regressor.predict(Y_),
            "regressor score": regressor.score(Y_, X_),
            "forward": np.array(regressor.forward(X_)),
            "scaled": reconstruction_scorer()(scaled.fit(X_, Y_), X_, Y_),
            "inside": Reconstructor(scaled).fit(Y_, X_).predict(Y_),
            "before": before.fit(Y_, X_).predict(Y_),
            "search": Reconstructor(search).fit(Y_, X_).predict(Y_),
        }

    assert_nothing_changes(everything, library)


@pytest.mark.parametrize("signals", [X, X[:, 0], pd.DataFrame(X, columns=["a", "b"])])
def test_scaled_signals(signals):  # with polars, scikit-learn's TransformedTargetRegressor fails
    inner = Reconstructor(DivergenceRegularizedINN(max_iter=2, random_state=0))
    regressor = TransformedTargetRegressor(inner, transformer=StandardScaler())
    with sklearn.config_context(transform_output="pandas"):
        found = regressor.fit(Y, signals).predict(Y)
    np.testing.assert_array_equal(found, regressor.fit(Y, signals).predict(Y))


def test_transform_returns_frames(library):
    e = DivergenceRegularizedINN(operator=A, max_iter=2, random_state=0)
    frame = e.set_output(transform=library.__name__).fit(X, Y).transform(X)
    assert isinstance(frame, library.DataFrame)
    assert list(frame.columns) == list(e.get_feature_names_out())
    np.testing.assert_array_equal(frame, e.set_output(transform="default").transform(X))

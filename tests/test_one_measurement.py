"""One measurement for each signal: an array of shape (n_samples,) wherever ``fit`` takes it."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers import ALL
from skinvbayes import DivergenceRegularizedINN, Reconstructor, oracles, reconstruction_scorer
from skinvbayes import diagnostics as diag
from skinvbayes.operators import estimate_operator
from skinvbayes.plotting import (
    EpsilonPathDisplay,
    ErrorTradeOffDisplay,
    ImagesDisplay,
    SignalDisplay,
    UncertaintyDisplay,
)
from skinvbayes.priors import GaussianMixturePrior

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("error::sklearn.exceptions.DataConversionWarning"),
]
A = np.array([[1.0, 0.5]])
X = np.random.RandomState(0).standard_normal((60, 2))
Y = X @ A.T + 0.1 * np.random.RandomState(1).standard_normal((60, 1))
PRIOR = GaussianMixturePrior(np.zeros((1, 2)), 1.0)
KNOWN = {"operator": A, "noise_level": 0.1}
CASES = [(cls, n) for cls in ALL for n in (1, 2)]  # number of features


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].__name__}-{case[1]}")
def case(request):
    """A fitted estimator, its signals and a prior."""
    cls, n = request.param
    operator = A if n == 2 else None  # the original problem has as many features
    estimator = cls(operator=operator, max_iter=3, random_state=0).fit(X[:, :n], Y[:, 0])
    return estimator, X[:, :n], GaussianMixturePrior(np.zeros((1, n)), 1.0)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def same(function, *forms):
    """Whether all forms of the measurements give the same arrays."""
    results = [function(form) for form in (Y, *forms)]
    for result in results[1:]:
        for array, expected in zip(np.atleast_1d(result), np.atleast_1d(results[0]), strict=True):
            np.testing.assert_array_equal(array, expected)
    return results[0]


def test_what_reads_measurements(case):
    estimator, signals, _ = case
    forms = Y[:, 0], Y[:, 0].tolist(), pd.Series(Y[:, 0]), pd.Series(Y[:, 0], name="level")
    assert same(estimator.predict, *forms).shape == signals.shape
    for name in ("posterior_covariance", "posterior_std", "posterior_interval"):
        same(getattr(estimator, name), Y[:, 0])
    same(lambda y: estimator.predict(y, return_std=True), Y[:, 0])
    same(lambda y: estimator.sample_posterior(y, 2, random_state=0), Y[:, 0])
    same(lambda y: estimator.score(signals, y), *forms)
    same(lambda y: reconstruction_scorer()(estimator, signals, y), *forms)
    same(lambda y: clone(estimator).partial_fit(signals, y).predict(y), Y[:, 0])


def test_diagnostics(case):
    estimator, signals, prior = case
    same(lambda y: diag.stationarity(estimator, y, prior), Y[:, 0])
    same(lambda y: diag.recovered_operator(estimator, signals, y), Y[:, 0])


def test_displays(case):
    estimator, signals, _ = case
    images = {"image_shape": (1, signals.shape[1])}

    def drawn(y):
        error = ErrorTradeOffDisplay.from_estimator(estimator, signals, y)
        spread = UncertaintyDisplay.from_estimator(estimator, signals, y)
        pictures = ImagesDisplay.from_estimator(estimator, signals, y, **images)
        lines = SignalDisplay.from_estimator(estimator, y, X=signals, rows=[0, 3])
        line = SignalDisplay.from_estimator(estimator, y, X=signals, rows=3)
        assert line.signals.shape == signals[3].shape
        return [
            *(error.forward_error, error.reconstruction_error, spread.std, spread.error),
            *(list(pictures.rows.values())[-1], lines.signals, lines.lower, lines.truth),
        ]

    for array, expected in zip(drawn(Y[:, 0]), drawn(Y), strict=True):
        np.testing.assert_array_equal(array, expected)


def test_searches_pipelines_and_paths():
    new = DivergenceRegularizedINN(operator=A, max_iter=3, random_state=0)
    options = {"scoring": reconstruction_scorer(), "cv": 2, "error_score": "raise"}
    same(lambda y: cross_val_score(new, X, y, **options), Y[:, 0])
    same(lambda y: GridSearchCV(new, {"max_iter": [2, 3]}, **options).fit(X, y).predict(y), Y[:, 0])
    scaled = make_pipeline(StandardScaler(with_std=False), new)
    same(lambda y: reconstruction_scorer()(scaled.fit(X, y), X, y), Y[:, 0])
    path = {"epsilon": [0.01, 0.1]} | options
    same(lambda y: EpsilonPathDisplay.from_estimator(new, X, y, **path).test_scores, Y[:, 0])


def test_adapted_estimators():
    fitted = DivergenceRegularizedINN(0.1, operator=np.eye(2), max_iter=2).fit(X, X)
    adapted = fitted.adapt(operator=A, noise_level=0.1)
    assert same(adapted.predict, Y[:, 0]).shape == X.shape


def test_oracles_and_fits():
    for name in ("posterior_mean", "posterior_covariance", "map_estimate"):
        same(lambda y, name=name: getattr(oracles, name)(PRIOR, y, **KNOWN), Y[:, 0])
    same(lambda y: diag.tweedie_gap(PRIOR, y, **KNOWN), Y[:, 0])
    same(lambda y: diag.sufficiency_gap(PRIOR, y, **KNOWN), Y[:, 0])
    same(lambda y: estimate_operator(X, y).to_dense(), Y[:, 0])


def test_a_single_row_of_several_measurements_is_still_refused():
    fitted = DivergenceRegularizedINN(0.1, max_iter=2).fit(X, X)
    with pytest.raises(ValueError, match="Reshape your data"):
        fitted.predict(X[0])
    with pytest.raises(ValueError, match="Reshape your data"):
        fitted.score(X[:2], X[0])
    with pytest.raises(ValueError, match="Reshape your data"):
        oracles.posterior_mean(PRIOR, X[0], noise_level=0.1)


def test_signals_of_one_feature_in_the_usual_direction():
    regressor = Reconstructor(DivergenceRegularizedINN(max_iter=3)).fit(Y, X[:, 0])
    assert regressor.predict(Y).shape == (60,)
    assert SignalDisplay.from_estimator(regressor, Y, X=X[:, 0], rows=2).signals.shape == (1,)
    several = SignalDisplay.from_estimator(regressor, Y, X=X[:, 0], rows=[1, 2])
    assert several.signals.shape == several.lower.shape == (2, 1)


@pytest.mark.parametrize(
    ("metric", "label"),
    [("r2", "R2 score"), ("neg_mean_squared_error", "Negative mean squared error")],
)
def test_a_path_is_labelled_with_the_metric(metric, label):
    new = DivergenceRegularizedINN(operator=A, max_iter=2, random_state=0)
    options = {"epsilon": [0.1, 1.0], "cv": 2, "scoring": reconstruction_scorer(metric)}
    display = EpsilonPathDisplay.from_estimator(new, X, Y, **options)
    assert display.ax_.get_ylabel() == label

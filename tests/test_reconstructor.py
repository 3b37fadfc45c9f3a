"""The usual direction: every tool of scikit-learn for regressors."""

import warnings

import numpy as np
import pandas
import polars
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    validation_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import get_tags

from skinvbayes import DivergenceRegularizedINN, ReconstructionINN, Reconstructor
from skinvbayes.datasets import make_bimodal

EPSILON = {"estimator__epsilon": [1e-3, 0.09, 4.0]}


@pytest.fixture
def regressor():
    return Reconstructor(DivergenceRegularizedINN(max_iter=8, random_state=0))


@pytest.fixture(scope="module")
def data():
    """300 pairs with three measurements each, and as many for testing."""
    A = [[1.0, 0.3], [0.0, 0.8], [0.4, -0.2]]
    train, test = (make_bimodal(300, operator=A, noise_level=0.3, random_state=i) for i in (0, 1))
    return train.X, train.Y, test.X, test.Y


def score(X, found):
    return r2_score(X, found, multioutput="variance_weighted")


def test_is_the_estimator_turned_round(regressor, data):
    X, Y, X_test, Y_test = data
    regressor.fit(Y, X)
    estimator = clone(regressor.estimator).fit(X, Y)
    np.testing.assert_array_equal(regressor.predict(Y_test), estimator.predict(Y_test))
    np.testing.assert_array_equal(regressor.forward(X_test), estimator.transform(X_test))
    assert regressor.score(Y_test, X_test) == estimator.score(X_test, Y_test) > 0.8
    assert regressor.n_features_in_ == 3
    assert not hasattr(regressor.estimator, "network_")  # it was cloned


def test_default_estimator(data):
    X, Y, *_ = data
    regressor = Reconstructor(random_state=0).fit(Y[:50], X[:50])
    assert isinstance(regressor.estimator_, DivergenceRegularizedINN)
    assert regressor.estimator is None


def test_one_dimensional_signals(regressor, data):
    X, Y, *_ = data
    found = regressor.fit(Y, X[:, 0]).predict(Y)
    assert found.shape == (300,)
    assert regressor.score(Y, X[:, 0]) == pytest.approx(r2_score(X[:, 0], found))


def test_random_state_reaches_the_estimator(data):
    X, Y, *_ = data
    inner = DivergenceRegularizedINN(max_iter=3)

    def fit(estimator, seed):
        return Reconstructor(estimator, random_state=seed).fit(Y, X).predict(Y)

    for estimator in (inner, make_pipeline(StandardScaler(), inner)):
        assert np.array_equal(fit(estimator, 0), fit(estimator, 0))
        assert not np.array_equal(fit(estimator, 0), fit(estimator, 1))


def test_unfitted(regressor, data):
    with pytest.raises(NotFittedError):
        regressor.predict(data[1])
    with pytest.raises(NotFittedError):
        regressor.forward(data[0])


def test_forward_is_there_only_where_the_estimator_has_it(data):
    from sklearn.linear_model import Ridge

    assert not hasattr(Reconstructor(Ridge()), "forward")


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler((-3, 3))], ids=str)
def test_around_a_pipeline(scaler, data):
    """Scaled signals: what Pipeline.predict cannot do, the reconstructor does."""
    X, Y, X_test, Y_test = data
    scale = [100.0, 0.1]
    inner = make_pipeline(scaler, ReconstructionINN(max_iter=6, random_state=0))
    regressor = Reconstructor(inner).fit(Y, scale * X)
    found = regressor.predict(Y_test)
    by_hand = inner.fit(scale * X, Y)
    expected = by_hand[0].inverse_transform(by_hand[1].predict(Y_test))
    np.testing.assert_array_equal(found, expected)
    assert min(r2_score(scale * X_test, found, multioutput="raw_values")) > 0.5


def test_around_a_search(data):
    X, Y, X_test, Y_test = data
    pipeline = make_pipeline(
        StandardScaler(), DivergenceRegularizedINN(max_iter=10, random_state=0)
    )
    search = GridSearchCV(pipeline, {"divergenceregularizedinn__epsilon": [0.09, 3.0]}, cv=2)
    assert Reconstructor(search).fit(Y, X).score(Y_test, X_test) > 0.8


# ---------------------------------------------------------------------------- scikit-learn's tools


def test_pipeline(regressor, data):
    X, Y, X_test, Y_test = data
    shifted = make_pipeline(StandardScaler(), regressor).fit(100 + 5 * Y, X)
    assert score(X_test, shifted.predict(100 + 5 * Y_test)) > 0.8
    assert shifted.score(100 + 5 * Y_test, X_test) > 0.8


def test_transformed_target_regressor(regressor, data):
    X, Y, X_test, Y_test = data
    scaled = TransformedTargetRegressor(regressor, transformer=StandardScaler())
    found = scaled.fit(Y, [100, 0.1] * X).predict(Y_test)
    assert min(r2_score([100, 0.1] * X_test, found, multioutput="raw_values")) > 0.5


def test_cross_val_predict(regressor, data):
    X, Y, *_ = data
    found = cross_val_predict(regressor, Y, X, cv=3)
    assert found.shape == X.shape
    assert score(X, found) > 0.8


def test_learning_curve(regressor, data):
    X, Y, *_ = data
    sizes, train, test = learning_curve(regressor, Y, X, train_sizes=[20, 150], cv=2)
    assert list(sizes) == [20, 150]
    assert train.shape == test.shape == (2, 2)
    assert test[1].mean() > test[0].mean()


def test_validation_curve(regressor, data):
    X, Y, *_ = data
    curve = {"param_name": "estimator__epsilon", "param_range": [1e-3, 0.09, 4.0]}
    _, test = validation_curve(regressor, Y, X, cv=2, **curve)
    assert test.mean(axis=1).argmax() == 1


@pytest.mark.parametrize("scoring", [None, "r2", "neg_root_mean_squared_error"])
def test_grid_search(scoring, regressor, data):
    X, Y, X_test, Y_test = data
    search = GridSearchCV(regressor, EPSILON, cv=2, scoring=scoring).fit(Y, X)
    assert search.best_params_ == {"estimator__epsilon": 0.09}
    assert score(X_test, search.predict(Y_test)) > 0.8


def test_randomized_search(regressor, data):
    X, Y, *_ = data
    search = RandomizedSearchCV(regressor, EPSILON, n_iter=3, cv=2, random_state=0).fit(Y, X)
    assert search.best_params_ == {"estimator__epsilon": 0.09}


def test_halving_grid_search(regressor, data):
    X, Y, *_ = data
    search = HalvingGridSearchCV(regressor, EPSILON, cv=2, random_state=0, min_resources=100)
    assert search.fit(Y, X).best_params_ == {"estimator__epsilon": 0.09}


def test_bagging(regressor, data):
    X, Y, X_test, Y_test = data
    bagging = BaggingRegressor(regressor, n_estimators=3, max_samples=0.5, random_state=0)
    found = bagging.fit(Y, X).predict(Y_test)
    members = [member.predict(Y_test) for member in bagging.estimators_]
    np.testing.assert_allclose(found, np.mean(members, axis=0))
    assert score(X_test, found) > 0.8


def test_permutation_importance(regressor, data):
    X, Y, X_test, Y_test = data
    irrelevant = np.random.RandomState(0).standard_normal((2, 300, 1))
    regressor.fit(np.hstack([Y, irrelevant[0]]), X)
    measured = np.hstack([Y_test, irrelevant[1]])
    importance = permutation_importance(regressor, measured, X_test, random_state=0)
    assert importance.importances_mean.argmin() == 3
    assert importance.importances_mean[0] > 0.1


# --------------------------------------------------------------------------- metadata and names


def test_sample_weight_without_routing(regressor, data):
    X, Y, X_test, Y_test = data
    weight = (X[:, 0] > 0).astype(float)
    found = regressor.fit(Y, X, sample_weight=weight).predict(Y_test)
    expected = clone(regressor).fit(Y[weight > 0], X[weight > 0]).predict(Y_test)
    np.testing.assert_array_equal(found, expected)
    weighted = regressor.score(Y_test, X_test, sample_weight=np.arange(300) < 10)
    assert weighted == pytest.approx(regressor.score(Y_test[:10], X_test[:10]))


def test_metadata_is_routed(regressor, data):
    X, Y, *_ = data
    weight = np.where(X[:, 0] > 0, 1.0, 0.0)
    with sklearn.config_context(enable_metadata_routing=True):
        with pytest.raises(ValueError, match="sample_weight"):
            regressor.fit(Y, X, sample_weight=weight)
        regressor.estimator.set_fit_request(sample_weight=True)
        regressor.set_score_request(sample_weight=True)
        routed = cross_validate(regressor, Y, X, cv=3, params={"sample_weight": weight})
        plain = cross_validate(regressor, Y, X, cv=3)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=True), regressor)
        pipeline.fit(Y, X, sample_weight=weight)
    assert not np.allclose(routed["test_score"], plain["test_score"])


@pytest.mark.parametrize("library", [pandas, polars], ids=lambda module: module.__name__)
def test_names_of_signals_reach_the_estimator(library, regressor, data):
    X, Y, *_ = data
    signals = library.DataFrame(dict(zip(["left", "right"], X.T, strict=True)))
    measurements = library.DataFrame(dict(zip("abc", Y.T, strict=True)))
    regressor.fit(measurements, signals)
    assert list(regressor.feature_names_in_) == list("abc")
    assert list(regressor.estimator_.feature_names_in_) == ["left", "right"]
    assert regressor.predict(measurements).shape == X.shape
    with pytest.raises(ValueError, match="feature names"):
        regressor.predict(measurements[list("cba")])


A_NAN = np.array([[1.0, 0.2], [0.0, 0.7], [0.5, 0.5]])


@pytest.fixture(scope="module")
def holes():
    """Signals, measurements of which a tenth is missing, and those without NaN."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((150, 2))
    Y = X @ A_NAN.T + 0.2 * rng.standard_normal((150, 3))
    missing = rng.uniform(size=Y.shape) < 0.1
    missing[missing.all(axis=1), 0] = False
    return X, np.where(missing, np.nan, Y), Y


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wrap", [None, "pipeline", "search"])
def test_missing_measurements_go_through(wrap, holes):
    X, Y, _ = holes
    inner = DivergenceRegularizedINN(operator=A_NAN, max_iter=3, random_state=0)
    wrapped = {
        None: inner,
        "pipeline": make_pipeline(inner),
        "search": GridSearchCV(inner, {"max_iter": [3]}, cv=2),
    }[wrap]
    regressor = Reconstructor(wrapped)
    assert get_tags(regressor).input_tags.allow_nan
    expected = inner.fit(X, Y).predict(Y)
    found = regressor.fit(Y, X).predict(Y)
    np.testing.assert_allclose(found, expected)
    assert regressor.score(Y, X) == pytest.approx(inner.score(X, Y))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "inner",
    [
        None,
        DivergenceRegularizedINN(operator="estimate", max_iter=2),
        make_pipeline(StandardScaler(), ReconstructionINN(max_iter=2)),
    ],
    ids=["default", "estimate", "pipeline"],
)
def test_missing_measurements_without_an_operator_are_refused(inner, holes):
    X, Y, complete = holes
    regressor = Reconstructor(inner)
    assert not get_tags(regressor).input_tags.allow_nan
    with pytest.raises(ValueError, match="X contains NaN.*with an operator that is given"):
        regressor.fit(Y, X)
    with pytest.raises(ValueError, match="X contains NaN.*with an operator that is given"):
        regressor.fit(complete, X).predict(Y)


@pytest.mark.filterwarnings("ignore")
def test_missing_measurements_that_cannot_be_read_are_refused(holes):
    X, Y, complete = holes
    regressor = Reconstructor(ReconstructionINN(operator=A_NAN, max_iter=2))
    assert not get_tags(regressor).input_tags.allow_nan
    regressor.fit(Y, X).predict(complete)
    for call in (regressor.predict, regressor.posterior_covariance):
        with pytest.raises(ValueError, match="X contains NaN.*Only Reconstructor"):
            call(Y)


@pytest.mark.parametrize("library", [pandas, polars], ids=lambda module: module.__name__)
def test_frames_raise_no_warnings_of_names(library, holes):
    X, _, Y = holes
    signals = library.DataFrame(dict(zip(["left", "right"], X.T, strict=True)))
    measurements = library.DataFrame(dict(zip("abc", Y.T, strict=True)))
    inner = DivergenceRegularizedINN(operator=A_NAN, max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".* names")
        regressor = Reconstructor(inner).fit(measurements, signals)
        found = regressor.predict(measurements)
        regressor.score(measurements, signals)
        regressor.posterior_interval(measurements)
        regressor.sample_posterior(measurements)
        regressor.forward(signals)
    assert not hasattr(regressor.estimator_, "measurement_names_in_")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(found, Reconstructor(inner).fit(Y, X).predict(Y))

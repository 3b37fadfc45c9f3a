"""Operators that cannot be copied, in searches and clones, and matrices that are not printed."""

import copy
import threading

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.sparse.linalg import LinearOperator
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinvbayes import DivergenceRegularizedINN, Reconstructor, reconstruction_scorer
from skinvbayes.datasets import make_bimodal
from skinvbayes.operators import as_operator

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
MATRIX = np.array([[1.0, 0.3], [0.0, 0.5], [0.2, 0.2]])
DATA = make_bimodal(60, operator=MATRIX, noise_level=0.1, random_state=0)
X, Y = DATA.X, DATA.Y


class Locked(LinearOperator):
    """An operator that holds a lock."""

    def __init__(self, matrix):
        self.matrix, self.lock = matrix, threading.Lock()
        super().__init__(float, matrix.shape)

    def _matvec(self, x):
        with self.lock:
            return self.matrix @ x

    def _rmatvec(self, y):
        with self.lock:
            return self.matrix.T @ y


class OnFile:
    """An operator that holds an open file, and is no LinearOperator."""

    def __init__(self, matrix):
        self.matrix, self.shape, self.file = matrix, matrix.shape, open(__file__)  # noqa: SIM115

    def matvec(self, x):
        return self.matrix @ x

    def rmatvec(self, y):
        return self.matrix.T @ y


@pytest.fixture(params=[Locked, OnFile])
def operator(request):
    operator = request.param(MATRIX)
    yield operator
    if request.param is OnFile:
        operator.file.close()


@pytest.fixture
def estimator(operator):
    return DivergenceRegularizedINN(operator=operator, max_iter=3, random_state=0)


def expected(**params):
    known = DivergenceRegularizedINN(operator=MATRIX, max_iter=3, random_state=0, **params)
    return known.fit(X, Y).predict(Y)


def test_clones_share_the_operator(estimator, operator):
    assert clone(estimator).operator is operator
    assert clone(make_pipeline(StandardScaler(), estimator))[-1].operator is operator
    assert clone(Reconstructor(estimator)).estimator.operator is operator
    fitted = clone(estimator).set_output(transform="pandas").fit(X, Y)
    again = clone(fitted)
    assert again.get_params() == estimator.get_params() and not hasattr(again, "network_")
    assert isinstance(again.fit(X, Y).transform(X), pd.DataFrame)


def test_operators_that_can_be_copied_are_copied():
    cloned = clone(DivergenceRegularizedINN(operator=MATRIX))
    assert cloned.operator is not MATRIX and np.array_equal(cloned.operator, MATRIX)


def test_a_fitted_estimator_is_copied(estimator, operator):
    fitted = Reconstructor(estimator).fit(Y, X)
    other = copy.deepcopy(fitted)
    np.testing.assert_array_equal(other.predict(Y), fitted.predict(Y))
    assert other.estimator_.network_ is not fitted.estimator_.network_
    adapted = copy.deepcopy(fitted.estimator_).adapt(operator=operator, noise_level=0.2)
    assert copy.deepcopy(adapted).predict(Y).shape == X.shape


def test_searches_and_wrappers(estimator, operator):
    options = {"cv": 2, "error_score": "raise"}
    search = GridSearchCV(
        estimator, {"epsilon": [0.01, 0.02]}, scoring=reconstruction_scorer(), **options
    ).fit(X, Y)
    found = search.predict(Y)
    np.testing.assert_allclose(found, expected(**search.best_params_), rtol=1e-9)
    assert np.isfinite(cross_val_score(Reconstructor(estimator), Y, X, **options)).all()
    found = Reconstructor(estimator).fit(Y, X).predict(Y)
    np.testing.assert_allclose(found, expected(), rtol=1e-9)
    grid = {"operator": [as_operator(operator), MATRIX]}
    GridSearchCV(estimator, grid, scoring=reconstruction_scorer(), **options).fit(X, Y)


def test_another_operator_after_the_fit_is_told(estimator, operator):
    fitted = estimator.fit(X, Y).set_params(operator=Locked(MATRIX))
    with pytest.raises(ValueError, match="operator of this .* was changed after it was fitted"):
        fitted.predict(Y)


# ---------------------------------------------------------------------------------------- prints


LARGE = np.random.RandomState(0).standard_normal((24, 16))
PRINTED = {
    "ndarray": LARGE,
    "csr_array": sparse.csr_array(LARGE),
    "DataFrame": pd.DataFrame(LARGE),
    "list": LARGE.tolist(),
    "Operator": as_operator(LARGE),
}


@pytest.mark.parametrize("name", PRINTED)
def test_a_matrix_is_printed_by_its_shape(name):
    estimator = DivergenceRegularizedINN(0.1, operator=PRINTED[name])
    short = f"operator=<(24, 16) {name}>"
    assert repr(estimator) == f"DivergenceRegularizedINN(epsilon=0.1, {short})"
    wrapped = repr(Reconstructor(make_pipeline(StandardScaler(), estimator))).replace("\n", "")
    assert short in wrapped and wrapped.count("Pipeline") == 1
    for shown in (wrapped, estimator._repr_html_(), estimator._repr_mimebundle_()["text/html"]):
        assert f"{LARGE[1, 1]:.4f}" not in shown


def test_html_of_a_fitted_estimator_has_no_matrix(rng):
    signals = rng.standard_normal((40, 16))
    estimator = DivergenceRegularizedINN(0.1, operator=LARGE, max_iter=2, random_state=0)
    estimator.fit(signals, signals @ LARGE.T)
    assert f"{LARGE[1, 1]:.4f}" not in estimator._repr_html_()


def test_what_else_is_printed_is_as_in_scikit_learn():
    assert repr(DivergenceRegularizedINN()) == "DivergenceRegularizedINN()"
    words = DivergenceRegularizedINN(
        operator="estimate", hidden_layer_sizes=(8,), image_shape=[2, 2]
    )
    assert repr(words) == (
        "DivergenceRegularizedINN(hidden_layer_sizes=(8,), image_shape=[2, 2],\n"
        "                         operator='estimate')"
    )
    levels = DivergenceRegularizedINN(noise_level=np.array([0.1, 0.2]))
    assert repr(levels) == "DivergenceRegularizedINN(noise_level=array([0.1, 0.2]))"
    covariance = Reconstructor(DivergenceRegularizedINN(noise_covariance=np.eye(3)))
    assert repr(covariance) == (
        "Reconstructor(estimator=DivergenceRegularizedINN(noise_covariance=<(3, 3) ndarray>))"
    )

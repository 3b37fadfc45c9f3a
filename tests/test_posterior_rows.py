"""The posterior of a row, and its error message, do not depend on the rows beside it."""

import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from helpers import every
from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import make_bimodal
from skinvbayes.inference.posterior import Posterior
from skinvbayes.inversion import InvertibleMap
from skinvbayes.operators import as_operator
from skinvbayes.priors import GaussianMixturePrior
from skinvbayes.problem.error_model import ErrorModel

A = np.array([[3.0, 0.3], [0.0, 0.6], [0.2, 0.2]])
FACTORS = [65_535.0, 1e12, 1e20]


def assert_independent(call, Y, factor):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = call(Y)
        spoiled = call(np.vstack([Y, factor * Y[:1]]))[: len(Y)]
    assert_allclose(spoiled, alone, rtol=1e-9, atol=1e-9 * np.abs(alone).max())


@pytest.fixture(scope="module")
def fitted():
    """Estimators by loss and problem, fitted once."""
    cache = {}

    def fit(cls, operator, **options):
        key = (cls, operator is None, *options.values())
        if key not in cache:
            data = make_bimodal(300, operator=operator, noise_level=0.3, random_state=0)
            estimator = cls(operator=operator, max_iter=20, random_state=0, **options)
            cache[key] = data.Y[:40], estimator.fit(data.X, data.Y)
        return cache[key]

    return fit


@every
def test_rows_where_nothing_was_learned_are_told(cls, fitted):
    Y, estimator = fitted(cls, A)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The reconstructions of")
        inside = estimator.predict(Y)
    far = np.vstack([Y[:2], 100 * Y[:1]])
    with pytest.warns(UserWarning, match=r"of 1 of 3 rows \(rows 2\) are more than 2 times"):
        assert_allclose(estimator.predict(far)[:2], inside[:2], rtol=1e-9)


@every
@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("method", ["dense", "probing"])
@pytest.mark.parametrize("operator", [None, A], ids=["original", "normal"])
def test_samples_beside_a_huge_row(cls, method, factor, operator, fitted):
    Y, estimator = fitted(cls, operator)
    options = {"n_samples": 2, "random_state": 0, "method": method}
    assert_independent(lambda rows: estimator.sample_posterior(rows, **options), Y, factor)


@pytest.mark.parametrize("factor", FACTORS)
@every
def test_one_huge_point(cls, factor, fitted):
    _, estimator = fitted(cls, A)
    Z = np.random.RandomState(0).standard_normal((40, 2))
    assert_independent(estimator.inverse_transform, Z, factor)


@pytest.mark.parametrize("bandwidth", [0.0, 0.4])
def test_one_indefinite_jacobian(bandwidth):
    """Eigenvalues are raised for the rows that need it; the others keep every bit."""
    rng = np.random.RandomState(0)
    model = ErrorModel(None, as_operator(np.eye(3)), 0.3, bandwidth)
    J = np.eye(3) + 0.1 * rng.standard_normal((5, 3, 3))
    alone, _ = model.covariance(J)
    beside, indefinite = model.covariance(np.concatenate([J, -J[:1]]))
    assert indefinite.tolist() == [False] * 5 + [True]
    np.testing.assert_array_equal(beside[:5], alone)


class OnTheCPU(InvertibleMap):
    """A map of no parameters that could tell where they are."""

    device = "cpu"


class IsotropicMap:
    """Reconstructs y itself, with the precision |y|² in every direction."""

    network = OnTheCPU()

    def for_rows(self, Y):
        return self

    def reconstruct(self, Y, targets):
        return Y

    def precision_product(self, X, factor, dtype):
        precision = torch.from_numpy((X**2).sum(axis=1, keepdims=True))
        return lambda v: precision * v


@pytest.mark.parametrize("method", ["std", "sample"])
def test_one_row_without_information(method):
    model = ErrorModel(None, as_operator(np.eye(2)), 1.0, 0.0)
    Y = np.array([[0.6, 0.8], [1.2, 1.6]])

    def ask(rows):
        posterior = Posterior(rows, IsotropicMap(), model, None)
        if method == "std":
            return posterior.std("probing")[0]
        return posterior.sample(3, 0, "probing")

    alone, beside = ask(Y), ask(np.vstack([Y, 1e-10 * Y[:1]]))[:2]
    assert_allclose(beside, alone, rtol=1e-9)
    assert_allclose(ask(Y[:1]), alone[:1], rtol=1e-9)


@pytest.mark.parametrize("row", [0, 7])
def test_rows_whose_result_is_too_large_are_named(row, fitted):
    Y, estimator = fitted(DivergenceRegularizedINN, None)
    X = Y.astype(np.float32)
    X[row] = 3e38
    with pytest.raises(ValueError, match=rf"do not fit into float32 \(rows {row}\)"):
        estimator.transform(X * np.float32(1))


# ------------------------------------------------------------------------- rows with missing values


@pytest.fixture(scope="module")
def two_modes():
    """An estimator that knows two modes far apart, and rows of which some do not tell which."""
    prior = GaussianMixturePrior([[-3.0, 0], [3.0, 0]], 0.5)
    X = prior.sample(1000, random_state=0)
    Y = X + 0.3 * np.random.RandomState(0).standard_normal(X.shape)
    estimator = DivergenceRegularizedINN(operator=np.eye(2), random_state=0).fit(X, Y)
    rows = Y[:12].copy()
    rows[[3, 8]] = [np.nan, 0.0]
    rows[[5, 6]] = [0.0, np.nan]
    return estimator, rows


CALLS = {
    "predict": lambda estimator, Y: estimator.predict(Y, return_std=True),
    "covariance": lambda estimator, Y: estimator.posterior_covariance(Y),
    "interval": lambda estimator, Y: estimator.posterior_interval(Y),
    "sample": lambda estimator, Y: estimator.sample_posterior(Y, random_state=0),
    "score": lambda estimator, Y: estimator.score(np.zeros(Y.shape), Y),
}


def caught(call, *arguments):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call(*arguments)
    return found


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_rows_with_holes_are_named_by_the_numbers_of_the_caller(call, two_modes):
    messages = [str(w.message) for w in caught(call, *two_modes)]
    assert len(messages) == len(set(messages))
    failed = [m for m in messages if "did not converge" in m]
    assert [m.split(" did")[0] for m in failed] == ["The inversion of 2 of 12 rows"]
    assert "(rows 3, 8)" in failed[0]
    for kind in ("exceed those of the signals", "not positive definite"):
        assert sum(kind in m for m in messages) <= 1


def test_constant_features_are_not_compared_with_the_signals():
    """Any standard deviation exceeds that of a feature that does not vary."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3)) * [1, 0, 1e-3] + [0, 0.7, 0]
    Y = X + 0.1 * rng.standard_normal(X.shape)
    estimator = DivergenceRegularizedINN(operator=np.eye(3), max_iter=2, random_state=0)
    estimator.fit(X, Y)
    messages = [str(w.message) for w in caught(estimator.posterior_std, Y[:5])]
    assert not any("exceed those of the signals" in m for m in messages)


def test_what_is_wrong_with_epsilon_is_said_once(two_modes):
    Y = two_modes[1]
    X = np.random.RandomState(0).standard_normal((200, 2))
    estimator = DivergenceRegularizedINN(epsilon=3.0, operator=np.eye(2), max_iter=2)
    estimator.fit(X, X + 0.3 * np.random.RandomState(1).standard_normal(X.shape))
    found = [str(w.message) for w in caught(estimator.posterior_std, Y)]
    assert sum("times the squared noise level" in m for m in found) == 1


def test_rows_between_modes_end_in_one_of_them():
    """The map is not monotone there, and an inversion may stall; what is returned is stationary."""
    rng = np.random.default_rng(2)
    modes = 3 * rng.standard_normal((5, 6))
    X = modes[rng.integers(5, size=800)] + 0.3 * rng.standard_normal((800, 6))
    known = {"operator": np.eye(6), "noise_level": 0.5, "random_state": 0}
    estimator = DivergenceRegularizedINN(max_iter=60, **known).fit(X)
    Y = X[:60] + 0.5 * rng.standard_normal((60, 6))
    Y[:, :3] = np.nan
    other = estimator.adapt(operator=np.eye(6)[3:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = estimator.predict(Y)
    residual = other.transform(found) - other.problem_.targets(Y[:, 3:])
    assert_allclose(residual, 0, atol=1e-6)

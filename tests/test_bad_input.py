"""What the estimators refuse, and the messages and warnings that say why."""

import warnings
from functools import partial

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from helpers import every
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
)
from skinvbayes.inference import trained_map

BAD_DATA = {
    "NaN in X": (lambda X, Y: (np.where(X > 1, np.nan, X), Y), "contains NaN"),
    "inf in X": (lambda X, Y: (np.where(X > 1, np.inf, X), Y), "contains infinity"),
    "NaN in y": (lambda X, Y: (X, np.where(Y > 1, np.nan, Y)), "y contains NaN"),
    "lengths": (lambda X, Y: (X, Y[:-1]), "inconsistent numbers of samples"),
    "one-dimensional X": (lambda X, Y: (X[:, 0], Y), "Expected 2D array, got 1D array"),
    "three-dimensional y": (lambda X, Y: (X, Y[:, None, None]), "dim"),
    "empty": (lambda X, Y: (X[:0], Y[:0]), "0 sample"),
    "one sample": (lambda X, Y: (X[:1], Y[:1]), "minimum of 2 is required"),
    "text": (lambda X, Y: (X.astype(str).astype(object) + "a", Y), "could not convert|string"),
    "the same signals": (lambda X, Y: (X * 0 + 3, Y), "300 distinct pair.*signals that vary"),
    "the same pair": (lambda X, Y: (X * 0 + 3, Y * 0), "1 distinct pair"),
    "huge signals": (lambda X, Y: (1e307 * X, Y), "size of the signals X is .*e.307.*other units"),
    "tiny measurements": (lambda X, Y: (X, 1e-200 * Y), "size of the measurements y is .*e-200"),
    "no y": (lambda X, Y: (X, None), "requires y to be passed, but the target y is None"),
}


@every
@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(cls, case, pairs):
    spoil, message = BAD_DATA[case]
    with pytest.raises(ValueError, match=message):
        cls(max_iter=2).fit(*spoil(*pairs))


BAD_PARAMETERS = {
    "noise_level": (-1.0, "noise_level"),
    "prior_bandwidth": (-0.1, "prior_bandwidth"),
    "lipschitz": (1.0, "lipschitz"),
    "residual": ("dense", "residual"),
    "solver": ("sgd", "solver"),
    "max_iter": (0, "max_iter"),
    "hidden_layer_sizes": ((3, 0), "hidden_layer_sizes must be positive integers"),
    "operator": (np.ones((3, 5)), r"operator has shape \(3, 5\).*shape \(2, 2\) is needed"),
}


@every
@pytest.mark.parametrize("name", BAD_PARAMETERS)
def test_bad_parameters(cls, name, pairs):
    value, message = BAD_PARAMETERS[name]
    with pytest.raises(ValueError, match=message):
        cls(**{name: value}).fit(*pairs)


TINY = {
    "float": ({"noise_level": 1e-300}, "noise_level must be .* at least 1e-100; got 1e-300"),
    "array": ({"noise_level": [0.1, 1e-300]}, "noise_level must be .* at least 1e-100; got 1e-300"),
    "covariance": (
        {"noise_covariance": 1e-300 * np.eye(2)},
        "noise_covariance must have variances",
    ),
}


@pytest.mark.parametrize("case", TINY)
def test_noise_that_cannot_be_squared(case, pairs):
    parameters, message = TINY[case]
    with pytest.raises(ValueError, match=message):
        DivergenceRegularizedINN(operator=np.eye(2), max_iter=2, **parameters).fit(*pairs)
    estimator = DivergenceRegularizedINN(operator=np.eye(2), max_iter=2).fit(*pairs)
    with pytest.raises(ValueError, match=message):
        estimator.adapt(**parameters)
    if case == "float":
        with pytest.raises(ValueError, match=message):
            estimator.predict(pairs[1], **parameters)


@pytest.mark.parametrize("level", [0.0, 1e-99])
def test_noise_that_can_be_squared(level, pairs):
    estimator = DivergenceRegularizedINN(operator=np.eye(2), noise_level=level, max_iter=2)
    assert np.isfinite(estimator.fit(*pairs).posterior_std(pairs[1][:3])).all()


@pytest.mark.parametrize("size", [1e-160, 1e90])
def test_operators_that_cannot_be_computed_with(size, pairs):
    with pytest.raises(ValueError, match="size of the operator is 1e.*other units"):
        ApproximationINN(operator=size * np.eye(2)).fit(*pairs)


def test_results_that_do_not_fit_the_dtype(pairs):
    X, Y = (part.astype(np.float32) for part in pairs)
    estimator = ApproximationINN(max_iter=2).fit(X, 1e5 * Y)
    with pytest.raises(ValueError, match=r"do not fit into float32 \(rows 0, 1, .*pass float64"):
        estimator.transform(np.float32(1e37) * X)


@pytest.mark.parametrize("operator", ["guess", "identity"])
def test_unknown_operator_name(operator, pairs):
    with pytest.raises(ValueError, match='operator must be None, "estimate" or a linear operator'):
        ApproximationINN(operator=operator).fit(*pairs)


@pytest.mark.parametrize("cls", [LogDetRegularizedINN, DivergenceRegularizedINN])
def test_negative_epsilon(cls, pairs):
    with pytest.raises(ValueError, match="epsilon"):
        cls(epsilon=-0.1).fit(*pairs)


def test_sizes_must_suit_the_branch(pairs):
    with pytest.raises(ValueError, match="one hidden layer"):
        ApproximationINN(hidden_layer_sizes=(5, 5)).fit(*pairs)
    with pytest.raises(ValueError, match="residual must be"):
        ApproximationINN(residual=dict).fit(*pairs)


@every
@pytest.mark.parametrize(
    "method", ["predict", "transform", "inverse_transform", "jacobian", "prior_term"]
)
def test_unfitted_and_misshapen(cls, method, pairs):
    estimator = cls(max_iter=2)
    with pytest.raises(NotFittedError):
        getattr(estimator, method)(pairs[0])
    estimator.fit(*pairs)
    with pytest.raises(ValueError, match="3"):
        getattr(estimator, method)(np.ones((4, 3)))
    with pytest.raises(ValueError, match="NaN"):
        getattr(estimator, method)(np.full((4, 2), np.nan))


def test_map_that_is_not_monotone_warns(pairs):
    X, _ = pairs
    with pytest.warns(UserWarning, match="not close to symmetric"):
        ApproximationINN(max_iter=2).fit(X, -X)


def test_inversion_that_fails_warns(pairs, monkeypatch):
    estimator = DivergenceRegularizedINN(max_iter=40, random_state=0).fit(*pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.predict(pairs[1])
    invert = trained_map.invert
    monkeypatch.setattr(trained_map, "invert", partial(invert, max_iter=1, tol=1e-15))
    with pytest.warns(ConvergenceWarning, match=r"of 300 rows did not converge.*Lower lipschitz"):
        estimator.predict(pairs[1] * 3)


def test_training_that_diverges_at_once_is_an_error(pairs):
    options = {"solver": "adam", "learning_rate_init": 1e6, "max_iter": 5}
    with pytest.raises(ValueError, match="Lower learning_rate_init"):
        ApproximationINN(random_state=0, **options).fit(*pairs)

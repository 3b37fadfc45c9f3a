"""What estimators accept: signals, measurements, pairs of them, and weights."""

import math
from dataclasses import replace

import joblib
import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from ..noise.model import NoiseModel
from ..operators import as_nonlinear_operator
from ..problem.nonlinear_measurement import measurement_by
from ..training.specification import Pairs
from .measurement_names import check_measurement_names

__all__ = [
    "can_measure",
    "check_measurements",
    "check_pairs",
    "check_ready",
    "check_signals",
    "check_targets",
    "is_given",
    "training_pairs",
]

_DTYPES = [np.float64, np.float32]


def can_measure(estimator):
    """Whether operator and noise are given, so that signals are enough to learn from."""
    noise = estimator.noise_level, estimator.noise_covariance
    return is_given(estimator.operator) and any(is_given(part) for part in noise)


def is_given(parameter):
    """Whether a parameter is neither None nor the name of a rule."""
    return parameter is not None and not isinstance(parameter, str)


def training_pairs(estimator, X, y, sample_weight, previous=None):
    """Distinct pairs and their weights, in double precision.

    Parameters
    ----------
    estimator : BaseINN
        The estimator; it takes up sizes and names of the first pairs.
    X, y, sample_weight
        As given to ``fit``. Without y, measurements are drawn where operator and noise are given.
    previous : Trained, default=None
        What was learned from the first pairs, which these must fit.

    Returns
    -------
    pairs : Pairs
        Each pair that counts once, in a fixed order.

    Raises
    ------
    ValueError
        If parameters, shapes or values are not as they must be.
    """
    estimator._validate_params()
    if not estimator._takes_nonlinear and as_nonlinear_operator(estimator.operator) is not None:
        raise ValueError(
            f"The operator {estimator.operator!r} is nonlinear, and {type(estimator).__name__} "
            "learns a reconstruction from z = Aᵀ y, which needs a linear one. "
            "DivergenceRegularizedINN learns the prior by itself, and takes nonlinear operators."
        )
    reset = previous is None
    drawn = y is None and can_measure(estimator)
    if drawn:
        X = validate_data(estimator, X, reset=reset, dtype=_DTYPES)
        Y = np.empty((len(X), 0))
        if reset:
            check_measurement_names(estimator, Y, reset=True)
    else:
        X, Y = check_pairs(estimator, X, y, reset=reset, allow_missing=True)
    if np.isnan(Y).any() and not is_given(estimator.operator):
        raise ValueError(
            f"Input y contains NaN: {np.isnan(Y).sum()} measurements are missing. Only with an "
            "operator that is given can missing measurements be left out; give it, or complete "
            "the rows."
        )
    if reset and len(X) < 2:
        raise ValueError(
            f"Found array with {len(X)} sample(s) (shape={X.shape}) while a minimum of 2 is "
            f"required by {type(estimator).__name__}: give at least 2 pairs of signal and "
            "measurement."
        )
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weight.sum() > 0:
        raise ValueError("sample_weight is zero for every sample; at least one must count.")
    pairs = _distinct_pairs(X.astype(np.float64), Y.astype(np.float64), weight)
    return _measured(estimator, pairs, previous) if drawn else pairs


def _measured(estimator, signals, previous):
    """Pairs of signals and measurements of them, whose noise is new in every pass."""
    if previous is None:
        measurement = measurement_by(estimator.operator, signals.X.shape[1], lambda: signals.X)
        estimator.n_measurements_in_ = n_measurements = measurement.noise.n_measurements
        level = estimator.noise_level if is_given(estimator.noise_level) else None
        noise = NoiseModel.given(level, estimator.noise_covariance, n_measurements=n_measurements)
        measurement = replace(measurement, noise=noise)
        rng = check_random_state(estimator.random_state)
    else:
        measurement, generator = previous.problem.measurement, previous.continuation.generator
        rng = check_random_state(int(torch.randint(2**31 - 1, (), generator=generator)))
    return signals._replace(Y=measurement.drawn(signals.X, rng))


def check_pairs(estimator, X, y, *, reset, allow_missing=False):
    """Signals of shape (n, n_features) and measurements of shape (n, n_measurements)."""
    checked = y if y is None else "no_validation"  # of None the message is scikit-learn's
    X = validate_data(estimator, X, y=checked, reset=reset, dtype=_DTYPES)
    expected = None if reset else estimator.n_measurements_in_
    Y = _measurements(estimator, y, expected, False, allow_missing)
    check_consistent_length(X, Y)
    if reset:
        estimator.n_measurements_in_ = Y.shape[1]
    return X, Y


def check_ready(estimator):
    """Refuse an estimator that is not fitted, or was fitted with another operator.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    ValueError
        If its parameter ``operator`` has been changed since.
    """
    check_is_fitted(estimator)
    given = getattr(estimator, "_given_operator", estimator.operator)  # callbacks have none
    if not _is_same(estimator.operator, given):
        raise ValueError(
            f"The parameter operator of this {type(estimator).__name__} was changed after it was "
            "fitted, which does not change what was learned: fit again, or take "
            "adapt(operator=…) of the fitted estimator, which trains nothing "
            "(DivergenceRegularizedINN)."
        )


def _is_same(first, second):
    """Whether two operators are one object, or equal as those are that were stored and loaded."""
    if first is second:
        return True
    return type(first) is type(second) and joblib.hash(first) == joblib.hash(second)


def check_signals(estimator, X):
    """Signals for a fitted estimator."""
    check_ready(estimator)
    return validate_data(estimator, X, reset=False, dtype=_DTYPES)


def check_measurements(estimator, Y, *, ensure_2d=True, allow_missing=False):
    """Measurements for a fitted estimator, with NaN where one is missing, if that is allowed."""
    check_ready(estimator)
    return _measurements(estimator, Y, estimator.n_measurements_in_, ensure_2d, allow_missing)


def check_targets(estimator, Z):
    """Points of z-space for a fitted estimator."""
    check_ready(estimator)
    Z = check_array(Z, dtype=_DTYPES, input_name="Z")
    if Z.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"Z has {Z.shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input."
        )
    return Z


def _measurements(estimator, Y, expected, ensure_2d, allow_missing=False):
    check_measurement_names(estimator, Y, reset=expected is None)
    # rows of another size are told by what they hold first, as scikit-learn does
    fits = expected is None or math.prod(np.shape(Y)[1:]) == expected
    finite = "allow-nan" if fits else True
    options = {"dtype": _DTYPES, "ensure_all_finite": finite, "input_name": "y"}
    Y = check_array(Y, ensure_2d=ensure_2d, **options)
    Y = Y.reshape(len(Y), -1)
    missing = np.isnan(Y)
    if missing.any() and not allow_missing:
        raise ValueError(
            f"Input y contains NaN: {missing.sum()} measurements are missing, and "
            f"{type(estimator).__name__} has learned to reconstruct from all of them. Only "
            "DivergenceRegularizedINN reads rows with missing measurements, since only it learns "
            "the prior by itself; take it, or impute the measurements."
        )
    empty = np.flatnonzero(missing.all(axis=1))
    if len(empty):
        raise ValueError(
            f"Input y contains NaN for all measurements of {len(empty)} row(s), the first of them "
            f"row {empty[0]}: leave these rows out."
        )
    if expected is not None and Y.shape[1] != expected:
        raise ValueError(
            f"y has {Y.shape[1]} measurements per sample, but {type(estimator).__name__} was "
            f"fitted with {expected}. predict takes measurements, not signals."
        )
    return Y


def _distinct_pairs(X, Y, weight):
    """The pairs that count, once each and in a fixed order, with the sums of their weights.

    A weight then means the same as repetition, and the order of the pairs does not matter, to the
    last bit of the model.
    """
    n_features = X.shape[1]
    counted = np.flatnonzero(weight > 0)
    rows = np.empty((len(counted), n_features + Y.shape[1]))
    np.take(X, counted, axis=0, out=rows[:, :n_features])
    np.take(Y, counted, axis=0, out=rows[:, n_features:])
    rows += 0.0  # -0.0 is 0.0
    bits = rows.view(np.dtype((np.void, rows.strides[0]))).ravel()
    order = bits.argsort(kind="stable")
    # by a noisy number first, whose order does not depend on the units
    order = order[rows[order, -1].argsort(kind="stable")]
    rows, weight = rows[order], weight[counted][order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    if not new.all():
        rows, weight = rows[new], np.add.reduceat(weight, np.flatnonzero(new))
    return Pairs(rows[:, :n_features], rows[:, n_features:], weight)

"""What estimators accept: signals, measurements, pairs of them, and weights."""

import math

import numpy as np
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from ..training.specification import Pairs

__all__ = [
    "check_measurements",
    "check_pairs",
    "check_signals",
    "check_targets",
    "training_pairs",
]

_DTYPES = [np.float64, np.float32]


def training_pairs(estimator, X, y, sample_weight, reset):
    """Distinct pairs and their weights, in double precision.

    Parameters
    ----------
    estimator : BaseINN
        The estimator; it takes up the sizes and names of the features with ``reset``.
    X, y, sample_weight
        As given to ``fit``.
    reset : bool
        True for the first pairs, False for those that must fit the first ones.

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
    X, Y = check_pairs(estimator, X, y, reset=reset, allow_missing=True)
    if np.isnan(Y).any() and (estimator.operator is None or isinstance(estimator.operator, str)):
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
    return _distinct_pairs(X.astype(np.float64), Y.astype(np.float64), weight)


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


def check_signals(estimator, X):
    """Signals for a fitted estimator."""
    check_is_fitted(estimator)
    return validate_data(estimator, X, reset=False, dtype=_DTYPES)


def check_measurements(estimator, Y, *, allow_missing=False):
    """Measurements for a fitted estimator, with NaN where one is missing, if that is allowed."""
    check_is_fitted(estimator)
    return _measurements(estimator, Y, estimator.n_measurements_in_, True, allow_missing)


def check_targets(estimator, Z):
    """Points of z-space for a fitted estimator."""
    check_is_fitted(estimator)
    Z = check_array(Z, dtype=_DTYPES, input_name="Z")
    if Z.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"Z has {Z.shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input."
        )
    return Z


def _measurements(estimator, Y, expected, ensure_2d, allow_missing=False):
    # rows of another size are told by what they hold first, as scikit-learn does
    fits = expected is None or math.prod(np.shape(Y)[1:]) == expected
    finite = "allow-nan" if allow_missing and fits else True
    options = {"dtype": _DTYPES, "ensure_all_finite": finite, "input_name": "y"}
    Y = check_array(Y, ensure_2d=ensure_2d, **options)
    Y = Y.reshape(len(Y), -1)
    empty = np.flatnonzero(np.isnan(Y).all(axis=1)) if allow_missing else []
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

"""What estimators accept: signals, measurements, pairs of them, and weights."""

import math
from dataclasses import replace

import joblib
import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import (
    check_array,
    check_consistent_length,
    validate_data,
)

from ..noise.model import NoiseModel
from ..numerics.checks import check_fitted
from ..numerics.sklearn_compat import check_sample_weight, validate_parameters
from ..numerics.types import Array
from ..operators import as_nonlinear_operator
from ..operators.real import refuse_complex_data
from ..problem.measurement import check_size
from ..problem.nonlinear_measurement import measurement_by
from ..training.specification import Pairs
from .measurement_names import check_measurement_names, check_operator_names

__all__ = [
    "can_measure",
    "check_measurements",
    "check_pairs",
    "check_ready",
    "check_signals",
    "check_targets",
    "is_given",
    "training_pairs",
    "validation_pairs",
]

_DTYPES = [np.float64, np.float32]


def can_measure(estimator):
    """Whether operator and noise are given, so that signals are enough to learn from."""
    noise = estimator.noise_level, estimator.noise_covariance
    return is_given(estimator.operator) and any(is_given(part) for part in noise)


def is_given(parameter):
    """Whether a parameter is neither None nor the name of a rule."""
    return parameter is not None and not isinstance(parameter, str)


def training_pairs(estimator, X, y, sample_weight, *, previous=None, groups=None):
    """Distinct pairs and their weights, in double precision.

    Parameters
    ----------
    estimator : BaseINN
        The estimator; it takes up sizes and names of the first pairs.
    X, y, sample_weight, groups
        As given to ``fit``. Without y, measurements are drawn where operator and noise are given.
    previous : Trained, default=None
        What was learned from the first pairs, which these must fit.

    Returns
    -------
    pairs : Pairs
        Each pair that counts once, in a fixed order.
    groups : ndarray of int of shape (n_pairs,) or None
        The group of each, counted from zero; of equal pairs the first one.

    Raises
    ------
    ValueError
        If parameters, shapes or values are not as they must be.
    """
    validate_parameters(estimator)
    if not estimator._takes_nonlinear and as_nonlinear_operator(estimator.operator) is not None:
        raise ValueError(
            f"The operator {estimator.operator!r} is nonlinear, and {type(estimator).__name__} "
            "learns a reconstruction from z = Aᵀ y, which needs a linear one. "
            "DivergenceRegularizedINN learns the prior by itself, and takes nonlinear operators."
        )
    reset = previous is None
    X, Y, weight = _checked(estimator, X, y, sample_weight, reset)
    if reset and len(X) < 2:
        raise ValueError(
            f"Found array with {len(X)} sample(s) (shape={X.shape}) while a minimum of 2 is "
            f"required by {type(estimator).__name__}: give at least 2 pairs of signal and "
            "measurement."
        )
    pairs, groups = _distinct_pairs(X, Y, weight, _checked_groups(X, groups))
    if Y.shape[1] == 0:
        if reset:
            measurement = _given_measurement(estimator, pairs.X)
            rng = check_random_state(estimator.random_state)
        else:
            measurement, generator = previous.problem.measurement, previous.continuation.generator
            seed = torch.randint(2**31 - 1, (), generator=generator, device="cpu")
            rng = check_random_state(int(seed))
        pairs = pairs._replace(Y=measurement.drawn(pairs.X, rng))
    return pairs, groups


def validation_pairs(estimator, X_val, y_val, sample_weight_val):
    """Distinct pairs that are not trained on; they must fit those that are.

    Parameters
    ----------
    estimator : BaseINN
        The estimator, with the sizes and names of the training's pairs.
    X_val, y_val, sample_weight_val
        As given to ``fit``. Without y_val, measurements are drawn where operator and noise are
        given.

    Returns
    -------
    pairs : Pairs
    """
    try:
        X, Y, weight = _checked(estimator, X_val, y_val, sample_weight_val, False)
        check_size("the signals X", np.abs(X).max())
        check_size("the measurements y", np.nanmax(np.abs(Y), initial=0))
    except ValueError as error:
        raise ValueError(f"X_val, y_val and sample_weight_val do not fit: {error}") from error
    pairs, _ = _distinct_pairs(X, Y, weight)
    if Y.shape[1] > 0:
        return pairs
    measurement = _given_measurement(estimator, pairs.X)
    return pairs._replace(Y=measurement.drawn(pairs.X, np.random.RandomState(len(X))))


def _checked(estimator, X, y, sample_weight, reset):
    """Signals, measurements and weights, in double precision; without y no measurements."""
    if y is None and can_measure(estimator):
        X = _signals(estimator, X, reset=reset)
        Y = np.empty((len(X), 0))
        if reset:
            check_measurement_names(estimator, Y, reset=True)
    else:
        X, Y = check_pairs(estimator, X, y, reset=reset, allow_missing=True)
    check_operator_names(estimator, estimator.operator)
    if np.isnan(Y).any() and not is_given(estimator.operator):
        raise ValueError(
            f"Input y contains NaN: {np.isnan(Y).sum()} measurements are missing. Only with an "
            "operator that is given can missing measurements be left out; give it, or complete "
            "the rows."
        )
    weight = check_sample_weight(sample_weight, X)
    if not weight.any():
        raise ValueError("sample_weight is zero for every sample; at least one must count.")
    # sums of large weights are finite
    return X.astype(np.float64), Y.astype(np.float64), weight / weight.max()


def _checked_groups(X, groups):
    """The group of each pair, or None."""
    if groups is None:
        return None
    groups = check_array(groups, input_name="groups", ensure_2d=False, dtype=None)
    if groups.size != len(groups):
        raise ValueError(
            f"groups must be of shape (n_samples,), one group for each pair; got an array of "
            f"shape {groups.shape}."
        )
    check_consistent_length(X, groups)
    return groups.ravel()


def _given_measurement(estimator, X):
    """How signals are measured, where operator and noise are given."""
    measurement = measurement_by(estimator.operator, X.shape[1], lambda: X)
    estimator.n_measurements_in_ = n_measurements = measurement.noise.n_measurements
    level = estimator.noise_level if is_given(estimator.noise_level) else None
    noise = NoiseModel.given(level, estimator.noise_covariance, n_measurements=n_measurements)
    return replace(measurement, noise=noise)


def check_pairs(estimator, X, y, *, reset, allow_missing=False):
    """Signals of shape (n, n_features) and measurements of shape (n, n_measurements)."""
    if y is None:
        raise ValueError(_asks_for_measurements(estimator))
    X = _signals(estimator, X, reset=reset)
    if not reset:
        check_fitted(estimator, "n_measurements_in_")
    expected = None if reset else estimator.n_measurements_in_
    Y = _measurements(estimator, y, expected, allow_missing)
    check_consistent_length(X, Y)
    if reset:
        estimator.n_measurements_in_ = Y.shape[1]
    return X, Y


def _asks_for_measurements(estimator):
    """scikit-learn's message for a y that is missing, and what would make up for it."""
    noise = "noise_level or noise_covariance"
    lacks = [] if is_given(estimator.operator) else ["operator"]
    if not any(map(is_given, (estimator.noise_level, estimator.noise_covariance))):
        lacks.append(noise)
    missing = (
        f", so that measurements can be drawn; it lacks {' and '.join(lacks)}" if lacks else ""
    )
    return (
        f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is "
        f"None. Signals alone do if operator and {noise} are given{missing}."
    )


def check_ready(estimator):
    """Refuse an estimator that is not fitted, or was fitted with another operator.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    ValueError
        If its parameter ``operator`` has been changed since.
    """
    check_fitted(estimator, "operator", "network_")
    if not _is_same(estimator.operator, estimator._given_operator):
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
    try:
        return type(first) is type(second) and joblib.hash(first) == joblib.hash(second)
    except Exception:  # what cannot be pickled was not loaded either
        return False


def check_signals(estimator, X) -> Array:
    """Signals for a fitted estimator."""
    check_ready(estimator)
    return _signals(estimator, X, reset=False)


def check_measurements(estimator, Y, *, allow_missing=False):
    """Measurements for a fitted estimator, with NaN where one is missing, if that is allowed."""
    check_ready(estimator)
    return _measurements(estimator, Y, estimator.n_measurements_in_, allow_missing)


def check_targets(estimator, Z) -> Array:
    """Points of z-space for a fitted estimator."""
    check_ready(estimator)
    refuse_complex_data(Z, "Z")
    Z = check_array(Z, dtype=_DTYPES, input_name="Z")
    if Z.shape[1] != estimator.n_features_in_:
        raise ValueError(
            f"Z has {Z.shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{estimator.n_features_in_} features as input."
        )
    return Z


def _signals(estimator, X, **options):
    refuse_complex_data(X, "X")
    return validate_data(estimator, X, dtype=_DTYPES, **options)


def _measurements(estimator, Y, expected, allow_missing=False):
    """Rows of measurements; an array of shape (n_samples,) holds one measurement for each."""
    refuse_complex_data(Y, "y")
    check_measurement_names(estimator, Y, reset=expected is None)
    # rows of another size are told by what they hold first, as scikit-learn does
    fits = expected is None or math.prod(np.shape(Y)[1:]) == expected
    finite = "allow-nan" if fits else True
    options = {"dtype": _DTYPES, "ensure_all_finite": finite, "input_name": "y"}
    Y = check_array(Y, ensure_2d=expected not in (None, 1), **options)
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


def _distinct_pairs(X, Y, weight, groups=None):
    """The pairs that count, once each and in a fixed order, with the sums of their weights.

    Their groups are counted from zero.

    A weight then means the same as repetition, and the order of the pairs does not matter, to the
    last bit of the model. Nor do the units of the weights: see :func:`_in_pairs`.
    """
    n_features = X.shape[1]
    counted = np.flatnonzero(weight > 0)
    rows = np.empty((len(counted), n_features + Y.shape[1]))
    np.take(X, counted, axis=0, out=rows[:, :n_features])
    np.take(Y, counted, axis=0, out=rows[:, n_features:])
    rows += 0.0  # -0.0 is 0.0
    bits = rows.view(np.dtype((np.void, rows.strides[0]))).ravel()
    order = bits.argsort(kind="stable")
    # by numbers whose order does not depend on units: a signal's, where these tie a noisy one
    for column in (-1, n_features - 1):
        order = order[rows[order, column].argsort(kind="stable")]
    rows, weight = rows[order], weight[counted][order]
    groups = None if groups is None else groups[counted][order]
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    if not new.all():
        rows, weight = rows[new], np.add.reduceat(weight, np.flatnonzero(new))
        groups = None if groups is None else groups[new]
    weight = _in_pairs(weight)
    pairs = Pairs(rows[:, :n_features], rows[:, n_features:], weight)
    if not weight.all():
        pairs, groups = pairs.rows(weight > 0), None if groups is None else groups[weight > 0]
    return pairs, None if groups is None else np.unique(groups, return_inverse=True)[1]


def _in_pairs(weight):
    """Weights whose sum is the number of equally weighted pairs that would tell as much.

    This is Kish's effective number, (Σ w)² / Σ w². The rounding makes the bits of the model
    independent of the units of the weights; ratios below 10⁻⁴⁵ become zero.
    """
    weight = (weight / weight.max()).astype(np.float32).astype(np.float64)
    return weight * (weight.sum() / (weight**2).sum())

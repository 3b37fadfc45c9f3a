"""What stands in for private names of scikit-learn in versions that do not have them."""

import numbers

import numpy as np
from sklearn.utils.validation import check_array

__all__ = [
    "CallbackSupportMixin",
    "Interval",
    "StrOptions",
    "column_names",
    "safe_indexing",
    "validate_parameter_constraints",
    "with_callbacks",
]


class CallbackSupportMixin:
    """No callbacks."""


def with_callbacks(method):
    """The method as it is."""
    return method


def safe_indexing(X, indices):
    """Rows of an array, a sparse matrix, a data frame or a list, by their numbers or a slice."""
    if hasattr(X, "iloc"):
        return X.iloc[indices]
    if hasattr(X, "__getitem__") and hasattr(X, "shape"):
        return X[indices]
    if isinstance(indices, slice):
        return X[indices]
    return [X[index] for index in indices]


def _check_sample_weight(sample_weight, X, *, dtype, ensure_non_negative):
    """Weights as an array, checked; see :func:`.sklearn_compat.check_sample_weight`."""
    n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
    if sample_weight is None or isinstance(sample_weight, numbers.Number):
        return np.full(n_samples, 1 if sample_weight is None else sample_weight, dtype=dtype)
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=dtype, order="C", input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weight.ndim}D array.")
    if len(weight) != n_samples:
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n_samples,)}!")
    if ensure_non_negative and (weight < 0).any():
        raise ValueError("Negative values in data passed to `sample_weight`.")
    return weight


def column_names(X):
    """Names of the columns of a data frame if all are strings, else None."""
    columns = getattr(X, "columns", None)
    if columns is None or len(columns) == 0:
        return None
    are_strings = [isinstance(name, str) for name in columns]
    if all(are_strings):
        return np.asarray(columns, dtype=object)
    if any(are_strings):
        raise TypeError("Feature names are only supported if all of them are strings.")
    return None


class StrOptions:
    """A parameter is one of some strings."""

    def __init__(self, options):
        self.options = options

    def is_satisfied_by(self, value):
        return isinstance(value, str) and value in self.options

    def __str__(self):
        return f"a str among {{{', '.join(map(repr, sorted(self.options)))}}}"


class Interval:
    """A parameter is a number between two bounds; None is no bound."""

    def __init__(self, type, left, right, *, closed):
        self.type, self.left, self.right, self.closed = type, left, right, closed

    def is_satisfied_by(self, value):
        if not isinstance(value, self.type) or np.isnan(value):
            return False
        left = -np.inf if self.left is None else self.left
        right = np.inf if self.right is None else self.right
        on_a_bound = (value == left and self.closed in ("left", "both")) or (
            value == right and self.closed in ("right", "both")
        )
        return bool(left < value < right or on_a_bound)

    def __str__(self):
        kind = "an int" if self.type is numbers.Integral else "a float"
        left = "[" if self.closed in ("left", "both") else "("
        right = "]" if self.closed in ("right", "both") else ")"
        bounds = [
            "-inf" if self.left is None else self.left,
            "inf" if self.right is None else self.right,
        ]
        return f"{kind} in the range {left}{bounds[0]}, {bounds[1]}{right}"


def _has_any(value, *names):
    return any(hasattr(value, name) for name in names)


_NAMED = {  # constraints by their names: words for the message, and the test
    "array-like": (
        "an array-like",
        lambda value: not np.isscalar(value) and _has_any(value, "__len__", "shape", "__array__"),
    ),
    "boolean": ("a bool", lambda value: isinstance(value, (bool, np.bool_))),
    "random_state": (
        "an int, a RandomState or None",
        lambda value: (
            value is None
            or isinstance(value, np.random.RandomState)
            or (isinstance(value, (int, np.integer)) and 0 <= value < 2**32)
        ),
    ),
    "verbose": (
        "an int not below 0 or a bool",
        lambda value: (
            isinstance(value, (bool, np.bool_))
            or (isinstance(value, (int, np.integer)) and value >= 0)
        ),
    ),
}


def validate_parameter_constraints(parameter_constraints, params, caller_name):
    """Raise a ValueError for the first parameter that meets none of its constraints."""
    for name, value in params.items():
        constraints = parameter_constraints.get(name, "no_validation")
        if constraints == "no_validation" or any(_is_met(one, value) for one in constraints):
            continue
        words = [_words(one) for one in constraints]
        listed = " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
        raise ValueError(
            f"The {name!r} parameter of {caller_name} must be {listed}. Got {value!r} instead."
        )


def _is_met(constraint, value):
    if hasattr(constraint, "is_satisfied_by"):
        return constraint.is_satisfied_by(value)
    if isinstance(constraint, str):
        return _NAMED[constraint][1](value)
    if constraint is callable:
        return callable(value)
    if constraint is None:
        return value is None
    return isinstance(value, constraint)


def _words(constraint):
    if isinstance(constraint, str):
        return _NAMED[constraint][0]
    if constraint is callable:
        return "a callable"
    if isinstance(constraint, type):
        return f"an instance of {constraint.__qualname__!r}"
    return str(constraint)

"""Checks of arguments that are objects or numbers: estimators, priors, axes, numbers of samples."""

import numbers

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

__all__ = ["check_count", "check_fitted", "check_flag", "check_has", "check_tolerance"]


def check_count(value, name, *, least=0):
    """A number of things as an int; refused if it is no integer or below the least.

    Raises
    ------
    TypeError, ValueError
        As of :func:`sklearn.utils.check_scalar`.
    """
    return int(check_scalar(value, name, numbers.Integral, min_val=least))


def check_tolerance(value, name):
    """A finite number that is not negative; TypeError or ValueError for anything else."""
    check_scalar(value, name, numbers.Real, min_val=0, max_val=np.inf, include_boundaries="left")


def check_flag(value, name):
    """A flag as a bool; a TypeError if it is neither that nor an integer."""
    return bool(check_scalar(value, name, (bool, np.bool_, numbers.Integral)))


def check_has(value, name, *attributes):
    """Refuse an argument without attributes that are needed.

    Parameters
    ----------
    value : object
        The argument.
    name : str
        What it is called.
    *attributes : str
        Names of attributes or methods.

    Raises
    ------
    TypeError
        If it lacks one of them.
    """
    lacking = [attribute for attribute in attributes if not hasattr(value, attribute)]
    if lacking:
        needed = ", ".join(attributes)
        raise TypeError(
            f"{name} must be an object with {needed}; got {type(value).__name__}, which has no "
            f"{', '.join(lacking)}."
        )


def check_fitted(estimator, *attributes):
    """Refuse what is no fitted estimator with these attributes.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    TypeError
        If it is no estimator, or lacks one of the attributes.
    """
    check_has(estimator, "estimator", "fit")
    check_is_fitted(estimator)
    check_has(estimator, "estimator", *attributes)

"""The one place that uses private names of scikit-learn, each with a substitute if it is gone.

scikit-learn may rename or remove what begins with an underscore in any release. The other modules
import these names from here, so that such a release changes this module only.
"""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import get_scorer

from .types import Method

if TYPE_CHECKING:  # scikit-learn has no types, and what it decorates would have none
    from sklearn.callback import CallbackSupportMixin

    def with_callbacks(method: Method) -> Method: ...
else:
    try:
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:  # before scikit-learn 1.9
        from .sklearn_substitutes import CallbackSupportMixin, with_callbacks

try:
    from sklearn.metrics._scorer import _BaseScorer
except ImportError:
    _BaseScorer = type(get_scorer("r2"))  # the public way to a class of scorers

try:
    from sklearn.utils import _safe_indexing as safe_indexing
except ImportError:
    from .sklearn_substitutes import safe_indexing

try:
    from sklearn.utils._param_validation import (
        Interval,
        StrOptions,
        validate_parameter_constraints,
    )
except ImportError:
    from .sklearn_substitutes import Interval, StrOptions, validate_parameter_constraints

try:
    from sklearn.utils.validation import _check_sample_weight
except ImportError:
    from .sklearn_substitutes import _check_sample_weight

try:
    from sklearn.utils.validation import _get_feature_names as column_names
except ImportError:
    from .sklearn_substitutes import column_names

__all__ = [
    "CALLBACK_ATTRIBUTES",
    "CallbackSupportMixin",
    "Interval",
    "Scorer",
    "StrOptions",
    "callbacks_of",
    "check_sample_weight",
    "column_names",
    "new_callback_context",
    "safe_indexing",
    "scorer_parts",
    "validate_parameters",
    "with_callbacks",
]

CALLBACK_ATTRIBUTES = frozenset(  # attributes that scikit-learn gives an estimator while it fits
    {
        "_callback_fit_ctx",
        "_parent_callback_ctx",
        "_skl_callbacks",
        "_skl_callbacks_to_teardown",
    }
)


def validate_parameters(estimator):
    """Check the parameters of an estimator against its ``_parameter_constraints``.

    Parameters
    ----------
    estimator : BaseEstimator
        With a dict of constraints for each parameter, in the form of scikit-learn.

    Raises
    ------
    ValueError
        If a parameter meets none of its constraints; the message lists them.
    """
    validate_parameter_constraints(
        estimator._parameter_constraints,
        estimator.get_params(deep=False),
        caller_name=type(estimator).__name__,
    )


def check_sample_weight(sample_weight, X):
    """Weights of samples as an array of doubles; ones for None.

    Parameters
    ----------
    sample_weight : None, float or array-like of shape (n_samples,)
        The weights.
    X : array-like of shape (n_samples, …)
        The samples.

    Returns
    -------
    sample_weight : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If a weight is negative or not finite, or the shape is not that of the samples.
    """
    return _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)


class Scorer(_BaseScorer):
    """Base of scorers: a subclass defines ``compared(estimator, X, y)``.

    Parameters
    ----------
    metric : callable
        ``metric(true, found, **arguments) -> float``.
    sign : int
        −1 if the metric is a loss, 1 otherwise.
    arguments : dict
        More arguments of the metric.
    """

    def compared(self, estimator, X, y):
        """What the metric compares: true values, and those that the estimator finds."""
        raise NotImplementedError

    def _score(self, method_caller, estimator, X, y_true, **kwargs):
        pair = self.compared(estimator, X, y_true)
        return self._sign * self._score_func(*pair, **self._kwargs | kwargs)

    @property
    def __name__(self):  # for scikit-learn's displays, as the name of a function
        name = getattr(self._score_func, "__name__", type(self._score_func).__name__)
        return name if self._sign > 0 else f"neg_{name}"


def scorer_parts(scorer):
    """The metric of one of scikit-learn's scorers, its sign, and its arguments.

    Parameters
    ----------
    scorer : callable
        From :func:`sklearn.metrics.get_scorer`.

    Returns
    -------
    metric : callable
        ``metric(y_true, y_pred, **arguments) -> float``.
    sign : int
        −1 if the metric is a loss, 1 otherwise.
    arguments : dict
        More arguments of the metric.

    Raises
    ------
    TypeError
        If the scorer does not have them, as in versions of scikit-learn that are not known yet.
    """
    try:
        return scorer._score_func, scorer._sign, scorer._kwargs
    except AttributeError as error:
        raise TypeError(
            f"The metric of {scorer!r} cannot be told in this version of scikit-learn: give "
            "reconstruction_scorer the metric itself, a function of X_true and X_found."
        ) from error


def new_callback_context(estimator, max_subtasks):
    """The context in which a fit reports to scikit-learn's callbacks; None without callbacks.

    Parameters
    ----------
    estimator : estimator instance
        The estimator that fits.
    max_subtasks : int
        Largest number of iterations.

    Returns
    -------
    context : CallbackContext or None
    """
    if not hasattr(estimator, "_init_callback_context"):
        return None
    return estimator._init_callback_context(max_subtasks=max_subtasks)


def callbacks_of(estimator):
    """The callbacks that ``set_callbacks`` gave an estimator.

    Parameters
    ----------
    estimator : estimator instance

    Returns
    -------
    callbacks : list
    """
    return list(getattr(estimator, "_skl_callbacks", None) or [])

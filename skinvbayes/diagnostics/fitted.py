"""What the diagnostics ask of a fitted estimator."""

import copy

import numpy as np

from ..estimators.validation import check_signals

__all__ = ["forward_of", "loss_of", "signals_of", "unknown_estimator", "without_names"]


def loss_of(estimator):
    """The loss that an estimator was trained with, on which its optimum depends."""
    if not hasattr(estimator, "loss"):
        raise unknown_estimator(estimator)
    return estimator.loss()


def signals_of(estimator, X):
    """Checked signals in double precision."""
    return check_signals(estimator, X).astype(np.float64)


def forward_of(estimator, X):
    """φ(x) as an array, whatever ``set_output`` makes ``transform`` return."""
    return np.ascontiguousarray(estimator.transform(X))


def without_names(estimator):
    """The same estimator for arrays, which have no names."""
    nameless = copy.copy(estimator)
    for names in ("feature_names_in_", "measurement_names_in_"):
        vars(nameless).pop(names, None)
    return nameless


def unknown_estimator(estimator):
    return TypeError(
        f"estimator must be fitted with one of the four losses; got {type(estimator).__name__}. Of "
        "a Reconstructor give estimator_, of a search best_estimator_, of a Pipeline the last step."
    )

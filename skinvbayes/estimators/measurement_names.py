"""Names of the measurements and of operators, as scikit-learn has them of the features."""

import numpy as np

from ..numerics.sklearn_compat import column_names
from ..numerics.warn import warn_caller

__all__ = ["check_measurement_names", "check_operator_names", "forget_measurement_names"]

_MOST_LISTED = 5


def check_measurement_names(estimator, Y, *, reset):
    """Take up the names of measurements, or compare them with those of the fit.

    Parameters
    ----------
    estimator : BaseINN
        The estimator; ``measurement_names_in_`` are set or removed with ``reset``.
    Y : array-like
        Measurements; of a data frame whose column names are strings they have names.
    reset : bool
        True for the first measurements, False for those that must have the names of the first.

    Raises
    ------
    TypeError
        If some column names are strings and others are not.
    ValueError
        If the names are not those of the fit, in the same order.

    Warns
    -----
    UserWarning
        If only these measurements have names, or only those of the fit.
    """
    names = _names(Y)
    if reset:
        vars(estimator).pop("measurement_names_in_", None)
        estimator._measurement_names_known = True
        if names is not None:
            estimator.measurement_names_in_ = names
        return
    fitted, name = getattr(estimator, "measurement_names_in_", None), type(estimator).__name__
    if fitted is not None and names is not None:
        _compare(fitted, names)
    elif fitted is not None:
        warn_caller(
            f"y does not have valid measurement names, but {name} was fitted with measurement names"
        )
    elif names is not None and estimator._measurement_names_known:
        warn_caller(f"y has measurement names, but {name} was fitted without measurement names")


def check_operator_names(estimator, operator):
    """Raise a ValueError if a data frame has the names of the pairs in another order.

    Its columns are the features, and the rows of one of pandas are the measurements, by position.
    """
    if not (hasattr(operator, "columns") and hasattr(operator, "to_numpy")):
        return  # no data frame
    given = {"columns": operator.columns, "rows": getattr(operator, "index", ())}
    fitted = {"columns": "feature_names_in_", "rows": "measurement_names_in_"}
    for what, names in given.items():
        known = list(getattr(estimator, fitted[what], ()))
        if list(names) != known and set(names) == set(known):
            raise ValueError(
                f"The {what} of the operator have the names of {fitted[what]}, but in another "
                f"order: {list(names)[:_MOST_LISTED]}. An operator is taken by position: bring its "
                f"{what} into the order of {known[:_MOST_LISTED]}."
            )


def forget_measurement_names(estimator):
    """Make an estimator for other measurements, whose names it does not know and does not check."""
    vars(estimator).pop("measurement_names_in_", None)
    estimator._measurement_names_known = False


def _names(Y):
    try:
        return column_names(Y)
    except TypeError:
        raise TypeError(
            "Measurement names are only supported if all columns of y have names that are strings. "
            "Convert them, for example by y.columns = y.columns.astype(str)."
        ) from None


def _compare(fitted, names):
    """Raise a ValueError that says which names are new, missing, or in another place."""
    if np.array_equal(fitted, names):
        return
    unexpected, missing = sorted(set(names) - set(fitted)), sorted(set(fitted) - set(names))
    message = "The measurement names should match those that were passed during fit.\n"
    if unexpected:
        message += "Measurement names unseen at fit time:\n" + _listed(unexpected)
    if missing:
        message += "Measurement names seen at fit time, yet now missing:\n" + _listed(missing)
    if not unexpected and not missing:
        message += "Measurement names must be in the same order as they were in fit.\n"
    raise ValueError(message)


def _listed(names):
    more = "- ...\n" if len(names) > _MOST_LISTED else ""
    return "".join(f"- {name}\n" for name in names[:_MOST_LISTED]) + more

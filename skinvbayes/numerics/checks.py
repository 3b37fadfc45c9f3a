"""Checks of arguments that are objects: estimators, priors and axes."""

from sklearn.utils.validation import check_is_fitted

__all__ = ["check_fitted", "check_has"]


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

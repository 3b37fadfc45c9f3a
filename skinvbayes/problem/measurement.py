"""How signals are measured: the operator, checked or estimated, and the level of the noise."""

import numpy as np

from ..numerics.warn import warn_caller
from ..operators import as_operator, check_adjoint
from ..priors import principal_axes

__all__ = ["check_size", "choose_operator", "estimate_noise_level", "warn_if_not_monotone"]

_LARGEST = 1e50  # of X, y and A: z = Aᵀ y, its square and 1/z must not overflow
_MOST_NEGATIVE = 0.1  # eigenvalue of the symmetric part of G, relative to ‖G‖, that is tolerated


def choose_operator(operator, fitted, n_features, n_measurements):
    """The operator A from the parameter ``operator`` of the estimators.

    Parameters
    ----------
    operator : None, "estimate" or linear operator
        The parameter.
    fitted : Operator or None
        The least-squares fit of y to x; None where the operator is given.
    n_features, n_measurements : int
        Sizes of a signal and of a measurement.

    Returns
    -------
    operator : Operator or None
        A; None for the original problem, z = y.

    Raises
    ------
    ValueError
        If it is of another kind, shape or size than can be used.
    """
    if operator is None:
        return None if n_measurements == n_features else fitted
    if isinstance(operator, str):
        if operator == "estimate":
            return fitted
        raise ValueError(
            f'operator must be None, "estimate" or a linear operator; got {operator!r}.'
        )
    operator, shape = as_operator(operator), (n_measurements, n_features)
    if operator.shape != shape:
        raise ValueError(
            f"operator has shape {operator.shape}, but X has {n_features} features and y has "
            f"{n_measurements} measurements: an operator of shape {shape} is needed."
        )
    check_adjoint(operator, random_state=0)
    check_size("the operator", operator.norm())
    return operator


def check_size(name, size):
    """Raise a ValueError if the size of something is too large or too small to compute with."""
    if size > _LARGEST or 0 < size < 1 / _LARGEST:
        raise ValueError(
            f"The size of {name} is {size:.3g}, outside the range from {1 / _LARGEST:g} to "
            f"{_LARGEST:g} that can be computed with: choose other units."
        )


def estimate_noise_level(operator, fitted, X, Y, weight):
    """The standard deviation δ of the noise: the root mean square residual of the measurements.

    The sum of squares is divided by the degrees of freedom: the pairs less what was fitted to them.

    Parameters
    ----------
    operator, fitted : Operator or None
        The operator A, and the least-squares fit of y to x; at least one of them.
    X : ndarray of shape (n_samples, n_features)
        Signals.
    Y : ndarray of shape (n_samples, n_measurements)
        Measurements.
    weight : ndarray of shape (n_samples,)
        How often each pair counts.

    Returns
    -------
    noise_level : float
        In the units of y.

    Warns
    -----
    UserWarning
        If there are so few pairs that the fitted operator leaves no residual.
    """
    n, n_used = weight.sum(), 1
    if operator is None or operator is fitted:
        operator = fitted
        n_used = 1 + np.linalg.matrix_rank(X - X.mean(axis=0))
        if n_used >= n:
            warn_caller(
                f"The noise level cannot be told from {n:g} pairs of signals with {X.shape[1]} "
                "features by themselves: every operator fits them. Give noise_level, the operator, "
                "or more pairs."
            )
    residual = Y - operator.forward(X)
    residual -= np.average(residual, axis=0, weights=weight)
    variance = np.average(residual**2, axis=0, weights=weight).mean()
    return float(np.sqrt(variance * n / max(n - n_used, 1)))


def warn_if_not_monotone(forward, X, weight):
    """Warn if the least-squares map is far from monotone in the directions in which signals vary.

    With fewer signals than features, the other directions are not determined by the pairs.
    """
    G = forward.to_dense()
    if len(X) <= len(G):
        axes = principal_axes(X, weight)[1]
        G = axes @ G @ axes.T
    lowest, size = np.linalg.eigvalsh((G + G.T) / 2)[0], forward.norm()
    if lowest < -_MOST_NEGATIVE * size:
        warn_caller(
            "The linear fit of y to X is far from monotone (its symmetric part has the "
            f"eigenvalue {lowest:.3g}, its norm is {size:.3g}), and an invertible residual "
            'network cannot represent such a map. Give the operator, or operator="estimate".'
        )

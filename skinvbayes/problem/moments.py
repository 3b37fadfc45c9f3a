"""Means and covariances: of rows, and of more pairs than are taken as a whole, from sums."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve

from ..operators import Operator
from ..operators.linear import LEAST_SQUARES_RIDGE, units_of_features

__all__ = ["Moments", "covariance_of", "moment_sums"]


def covariance_of(X, weight):
    """The covariance of the columns of X, a matrix also for one column; rows count by weight."""
    return np.cov(X.T, aweights=weight, bias=True).reshape(X.shape[1], -1)


@dataclass(frozen=True)
class Moments:
    """Means and covariances of signals x and measurements y.

    Attributes
    ----------
    signal_mean : ndarray of shape (n_features,)
        The mean of x.
    measurement_mean : ndarray of shape (n_measurements,)
        The mean of y.
    signal_covariance : ndarray of shape (n_features, n_features)
        The covariance of x.
    cross_covariance : ndarray of shape (n_measurements, n_features)
        The covariance of y with x.
    """

    signal_mean: np.ndarray
    measurement_mean: np.ndarray
    signal_covariance: np.ndarray
    cross_covariance: np.ndarray

    @classmethod
    def from_sums(cls, sums, origin):
        """From the sums of :func:`moment_sums` over all pairs, and their common origin."""
        weight, deviations, products = sums
        mean, n_features = deviations / weight, products.shape[1]
        covariance = products / weight - np.outer(mean, mean[:n_features])
        parts = np.split(origin + mean, [n_features])
        return cls(*parts, *np.split(covariance, [n_features]))

    def least_squares(self):
        """The least-squares fit of y to x, as :func:`skinvbayes.operators.estimate_operator`."""
        deviations = np.sqrt(self.signal_covariance.diagonal().clip(0))
        units = units_of_features(deviations, np.abs(self.signal_mean))
        unit = self.signal_covariance / units / units[:, None]
        regularized = unit + LEAST_SQUARES_RIDGE * np.eye(len(unit))
        fit = solve(regularized, (self.cross_covariance / units).T, assume_a="pos").T
        return Operator(fit / units)


def moment_sums(X, Y, weight, origin):
    """What a chunk of pairs adds to the moments of all.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Signals.
    Y : ndarray of shape (n_samples, n_measurements)
        Measurements.
    weight : ndarray of shape (n_samples,)
        How often each pair counts.
    origin : ndarray of shape (n_features + n_measurements,)
        A pair from which deviations are taken: without it, sums lose the digits of a covariance.

    Returns
    -------
    weight, deviations, products : float, ndarray, ndarray
        Sums of the weights, of the deviations, and of products of all with those of x.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.problem.moments import Moments, moment_sums
    >>> X, origin = np.array([[1.0], [3.0]]), np.array([1.0, 2.0])
    >>> moments = Moments.from_sums(moment_sums(X, 2 * X, np.ones(2), origin), origin)
    >>> moments.signal_mean, moments.least_squares().to_dense().round(6)
    (array([2.]), array([[2.]]))
    """
    deviations = np.hstack([X, Y]) - origin
    return (
        weight.sum(),
        weight @ deviations,
        (deviations * weight[:, None]).T @ deviations[:, : X.shape[1]],
    )

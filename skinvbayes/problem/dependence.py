"""Whether the residuals of a linear model depend on the signals, in their mean or in their size.

Of a map that is not linear, the mean of the residuals depends on the signals; of noise that grows
with the signals, only their size does. Both are compared with powers of the signals' coordinates,
and of the predictions of the measurement itself (J. B. Ramsey's RESET). Outliers and heavy tails
must not decide: the mean is that of the normal scores of the ranks (B. L. van der Waerden), the
size is clipped.

References
----------
J. B. Ramsey (1969), "Tests for specification errors in classical linear least-squares regression
analysis", Journal of the Royal Statistical Society B.
F. E. Satterthwaite (1946), "An approximate distribution of estimates of variance components",
Biometrics Bulletin.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..priors import principal_axes

__all__ = ["Dependence", "dependence_of_mean", "dependence_of_size"]

_EVIDENT, _POSSIBLE = 1e-5, 1e-3  # chance that independent residuals look as dependent
_EXPLAINED = 0.02  # share of the residuals, below which a dependence does not matter
_CLIPPED = 3.0  # standard deviations of signals and predictions, before powers are taken
_MOST_AXES = 10  # coordinates of the signals
_MOST_ROWS, _MOST_MEASUREMENTS = 4000, 100  # that are looked at
_LARGE = 4.0  # median sizes, at which the size of residuals is clipped
_FLAT = 1e-6  # singular value of functions, relative to the largest, that counts as zero
_LEAST_FREE = 1e-3  # share of its own residual that a row keeps, at least


@dataclass(frozen=True)
class Dependence:
    """How far residuals depend on the signals.

    Attributes
    ----------
    chance : float
        How likely independent residuals explain as much.
    share : float
        The share of the variance of the residuals that the signals explain beyond chance.
    """

    chance: float
    share: float

    @property
    def is_evident(self):
        """Whether there is a dependence that matters."""
        return self.chance < _EVIDENT and self.share > _EXPLAINED

    @property
    def is_possible(self):
        """Whether there may well be one."""
        return self.chance < _POSSIBLE


def dependence_of_mean(residual, X, predicted, weight, regressors):
    """How far the mean of the residuals depends on the signals.

    Parameters
    ----------
    residual : ndarray of shape (n_samples, n_measurements)
        Measurements less the linear model.
    X : ndarray of shape (n_samples, n_features)
        Signals.
    predicted : ndarray of shape (n_samples, n_measurements)
        What the linear model explains.
    weight : ndarray of shape (n_samples,)
        How often each row counts.
    regressors : ndarray of shape (n_samples, n_parameters)
        What was fitted to every measurement, with the column of the constant.

    Returns
    -------
    dependence : Dependence

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.problem.dependence import dependence_of_mean
    >>> x = np.random.default_rng(0).standard_normal((100, 1))
    >>> fitted = x, x, np.ones(100), np.hstack([np.ones((100, 1)), x])
    >>> dependence_of_mean(x**3 - 3 * x, *fitted).is_evident
    True
    """
    residual, X, predicted, weight, regressors = _thinned(
        residual, X, predicted, weight, regressors
    )
    Q = _basis(np.sqrt(weight)[:, None] * regressors)
    scores = stats.norm.ppf((stats.rankdata(residual, axis=0) - 0.5) / len(X))
    lost = len(X) / max(len(X) - Q.shape[1], 1)  # of the variance, by the fit
    return _dependence(scores, X, predicted, weight, Q, (1, 2, 3), lost)


def dependence_of_size(residual, X, predicted, weight, regressors):
    """How far the size of the residuals depends on the signals; arguments as of the mean."""
    residual, X, predicted, weight, regressors = _thinned(
        residual, X, predicted, weight, regressors
    )
    leverage = (_basis(np.sqrt(weight)[:, None] * regressors) ** 2).sum(axis=1)
    # about the median the size of skew noise does not depend on the errors of the fit
    sizes = np.abs(residual - np.median(residual, axis=0))
    sizes /= np.sqrt(np.maximum(1 - leverage, _LEAST_FREE))[:, None]
    sizes = np.minimum(sizes, _LARGE * np.median(sizes, axis=0))
    constant = _basis(np.sqrt(weight)[:, None])
    return _dependence(_standardised(sizes, weight), X, predicted, weight, constant, (1, 2), 1.0)


def _thinned(residual, X, predicted, weight, regressors):
    """At most so many rows and measurements, spread evenly."""
    rows, columns = -(-len(X) // _MOST_ROWS), -(-residual.shape[1] // _MOST_MEASUREMENTS)
    parts = residual[:, ::columns], X, predicted[:, ::columns], weight, regressors
    return (part[::rows] for part in parts)


def _dependence(values, X, predicted, weight, Q, exponents, lost):
    """Of values of unit variance, on functions that are orthogonal to the columns of Q."""
    root = np.sqrt(weight)[:, None]
    powers = _powers(_coordinates(X, weight), weight, exponents)
    shared = _basis(_orthogonal(root * np.hstack(powers), Q))
    powers = np.stack(_powers(predicted, weight, exponents), axis=2)
    own = [_basis(_orthogonal(root * part, Q)) for part in powers.transpose(1, 0, 2)]
    covariance = (weight * values.T) @ values / weight.sum()
    scale = lost * (weight**2).sum() / weight.sum()
    total, values = weight.sum() * covariance.trace(), root * values
    columns = np.repeat(np.arange(len(own)), [part.shape[1] for part in own])
    stacked = np.hstack(own)
    explained = (np.einsum("ij,ij->j", stacked, values[:, columns]) ** 2).sum()
    spread = scale * (stacked.T @ stacked) * covariance[np.ix_(columns, columns)]
    found = [_compared(explained, spread.trace(), (spread**2).sum(), total)]
    explained, n = ((shared.T @ values) ** 2).sum(), shared.shape[1]
    moments = n * scale * covariance.trace(), n * scale**2 * (covariance**2).sum()
    found.append(_compared(explained, *moments, total))
    return Dependence(min(f.chance for f in found), max(f.share for f in found))


def _compared(explained, mean, squares, total):
    """A sum of squares of Gaussians beside its mean and the squares of its covariance."""
    if mean <= 0 or total <= 0:
        return Dependence(1.0, 0.0)
    degrees = mean**2 / squares
    chance = stats.chi2.sf(explained / mean * degrees, degrees)
    return Dependence(float(chance), float((explained - mean) / total))


def _coordinates(X, weight):
    """The signals' own coordinates, or if there are many of them those along the leading axes."""
    if X.shape[1] <= _MOST_AXES:
        return X
    return X @ principal_axes(X, weight / weight.sum())[1][-_MOST_AXES:].T


def _powers(V, weight, exponents):
    """Powers of the columns, in which no row is extreme; the first is not clipped."""
    V = _standardised(V, weight)
    clipped = V.clip(-_CLIPPED, _CLIPPED)
    return [V if k == 1 else clipped**k for k in exponents]


def _standardised(V, weight):
    """Columns of zero mean and unit variance; zero where they are constant."""
    size = np.abs(V).max(axis=0)
    V = V - np.average(V, axis=0, weights=weight)
    std = np.sqrt(np.average(V**2, axis=0, weights=weight))
    return V / np.where(std > _FLAT * size, std, np.inf)


def _orthogonal(F, Q):
    """Functions less their part in the span of orthonormal columns; zero where that is all."""
    size = np.linalg.norm(F, axis=0)
    rest = F - Q @ (Q.T @ F)
    rest -= Q @ (Q.T @ rest)
    return np.where(np.linalg.norm(rest, axis=0) > _FLAT * size, rest, 0.0)


def _basis(F):
    """An orthonormal basis of the span of the columns, of shape (n_samples, rank)."""
    axes, sizes, _ = np.linalg.svd(F, full_matrices=False)
    return axes[:, sizes > _FLAT * sizes[0]]

"""The covariance of few signals: how far it is drawn towards its diagonal, held-out signals decide.

A sample covariance of fewer rows than columns denies that signals leave the span of the sample. But
where signals are smooth and noise is small, a shrunk one sees signals where there are none.
"""

import numpy as np
from sklearn.covariance import oas

from .moments import covariance_of

__all__ = ["are_few", "shrunk_covariance"]

_ENOUGH = 10  # rows for each column, from which on a covariance is taken as it is
_SHARES = 1.0, 0.3, 0.1, 0.0  # of the oracle approximating shrinkage
_FOLDS = 3
_LEAST_VARIANCE = 1e-12  # of noise, relative to that of targets: M is inverted


def are_few(X):
    """Whether rows tell too little about the covariance of their columns."""
    return len(X) < _ENOUGH * X.shape[1]


def shrunk_covariance(X, weight, forward=None, variance=0.0):
    """The covariance; of few rows drawn towards its diagonal.

    As far as the oracle approximating shrinkage (OAS) of the correlations says, or by a share of
    that, whichever the linear estimator of other signals is best with.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Signals.
    weight : ndarray of shape (n_samples,)
        How often each counts.
    forward : ndarray of shape (n_features, n_features), default=None
        The matrix G of the targets z = G x + noise of covariance δ² G; without it the share is one.
    variance : float, default=0.0
        The δ².

    Returns
    -------
    covariance : ndarray of shape (n_features, n_features)

    References
    ----------
    Y. Chen et al. (2010), "Shrinkage Algorithms for MMSE Covariance Estimation".
    """
    if not are_few(X):
        return covariance_of(X, weight)
    known = forward is not None and variance > 0
    return _shrunk(X, weight, _best_share(X, weight, forward, variance) if known else 1.0)


def _best_share(X, weight, forward, variance):
    """The share with the least error of the linear estimator in some folds, if surely less."""
    covariance = covariance_of(X, weight)
    units, energy = _units(covariance), abs(np.sum(covariance * forward)) / len(forward)
    variance = max(variance, _LEAST_VARIANCE * energy)
    _, signal = np.unique((X / units).sum(axis=1), return_inverse=True)
    if signal.max() < 2 * _FOLDS:
        return _SHARES[0]
    folds = signal % _FOLDS  # the same signal, measured twice, is in one of them
    errors = np.empty((len(_SHARES), len(X)))
    for fold in range(_FOLDS):
        held = folds == fold
        errors[:, held] = list(_errors(X, weight, held, units, forward, variance))
    best = int(np.argmin(errors @ weight))
    gain = weight * (errors[0] - errors[best])
    return _SHARES[best if gain.sum() > np.linalg.norm(gain - gain.mean()) else 0]


def _errors(X, weight, held, units, forward, variance):
    """The expected squared errors of held-out signals, features in their units, for every share.

    Of x̄ + L (z − G x̄) with L = M⁻¹ C and M = C G + δ² I, where L G = I − δ² M⁻¹, it is
    ‖δ² M⁻¹ (x − x̄)‖² + δ² tr L G Lᵀ.
    """
    X_kept, kept = X[~held], weight[~held]
    deviations, noise = X[held] - kept @ X_kept / kept.sum(), variance * np.eye(len(forward))
    sample, shrunk = (_shrunk(X_kept, kept, share) for share in (0.0, 1.0))
    parts = sample @ forward, shrunk @ forward
    for share in _SHARES:
        inverse = np.linalg.inv((1 - share) * parts[0] + share * parts[1] + noise)
        gain = inverse @ ((1 - share) * sample + share * shrunk)
        bias = variance * (deviations @ inverse.T) / units
        spread = gain.diagonal() - variance * np.sum(inverse * gain, axis=1)
        yield np.sum(bias**2, axis=1) + variance * np.sum(spread / units**2)


def _shrunk(X, weight, share):
    """The covariance, drawn towards its diagonal by a share of the OAS of the correlations."""
    covariance = covariance_of(X, weight)
    if share == 0:
        return covariance
    units, mean = _units(covariance), np.average(X, axis=0, weights=weight)
    correlation, _ = oas(
        np.sqrt(weight / weight.mean())[:, None] * (X - mean) / units, assume_centered=True
    )
    deviations = np.sqrt(covariance.diagonal())
    shrunk = correlation * deviations * deviations[:, None]
    return shrunk if share == 1 else share * shrunk + (1 - share) * covariance


def _units(covariance):
    """Standard deviations, one for features that are constant."""
    deviations = np.sqrt(covariance.diagonal())
    return np.where(deviations > 0, deviations, 1.0)

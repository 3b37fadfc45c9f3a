"""The covariance of the noise, told from the residuals of a linear fit: as simple as they allow.

White noise has one parameter, unequal noise one for every measurement, correlated noise one for
every pair of them. The richer model is taken where it raises the Gaussian likelihood by more than
a penalty: that of the extended Bayesian information criterion for the best single parameter, or
what chance explains for all of them together.

References
----------
J. Chen, Z. Chen (2008), "Extended Bayesian information criteria for model selection with large
model spaces", Biometrika.
O. Ledoit, M. Wolf (2004), "A well-conditioned estimator for large-dimensional covariance
matrices", Journal of Multivariate Analysis.
"""

import numpy as np
from scipy import stats
from sklearn.covariance import ledoit_wolf_shrinkage

from .outliers import refitted, single_outliers

__all__ = ["noise_covariance"]

_MOST_FITS = 10  # without outliers, until these do not change
_DOUBT = 11.0  # added to the penalty: white noise passes it less than once in 10,000 problems
_CHANCE = 1e-5  # that the gains of white noise add up to so much
_NOTICEABLE = 0.02  # twice the gain of the log-likelihood of one row, below which white will do
_LEAST_DEGREES = 5  # of freedom, below which residuals tell a level only
_DEAD = 1e-10  # standard deviation, relative to the largest, of a measurement without noise
_CLIPPED = 3.0  # standard deviations, beyond which readings say no more about a variance
_MOST_LEAKED = 0.9  # of a variance
_ROUNDING = 1e-14  # standard deviation relative to the largest residual, before it is centred
_FLATTEST = 1e-6  # eigenvalue of the correlations, below which they are raised


def noise_covariance(residual, weight, n_parameters, regressors=None, rounding=0.0):
    """The covariance Σ of the noise in its simplest form.

    Readings that cannot be Gaussian are left out, and the fit is done again without them. Where the
    regressors are not known, what they moved the fit by is taken off the variances in the mean, and
    no unequal or correlated noise is inferred from what this may explain.

    Parameters
    ----------
    residual : ndarray of shape (n_samples, n_measurements)
        Measurements less a linear fit.
    weight : ndarray of shape (n_samples,)
        How often each row counts.
    n_parameters : int
        Regressors for each measurement, with the constant.
    regressors : None or ndarray of shape (n_samples, n_parameters), default=None
        What was fitted.
    rounding : float or ndarray of shape (n_measurements,), default=0.0
        Standard deviation of a measurement that rounding errors explain.

    Returns
    -------
    covariance : float or ndarray of shape (n_measurements,) or (n_measurements, n_measurements)
        The variance of white noise, the variances of unequal noise, or the matrix.
    """
    n, counted = weight.sum(), weight > 0
    residual, weight = residual[counted], weight[counted]
    degrees = max(_effective(weight) - n_parameters, 1)
    mask, n_leaking = single_outliers(residual, weight, degrees), n_parameters
    if regressors is not None and mask.any():
        fit, n_leaking = (residual, weight, regressors[counted]), 0
        residual, mask = _without_outliers(fit, mask, degrees)
    rounding = np.maximum(rounding, _ROUNDING * np.abs(residual).max(axis=0))
    covariance = _simplest_covariance(residual, weight, mask, degrees, n_leaking, rounding)
    return covariance * n / max(n - n_parameters, 1)


def _without_outliers(fit, mask, degrees):
    """Residuals of the fit without outliers, and the outliers that these residuals show."""
    first, weight, regressors = fit
    for _ in range(_MOST_FITS):
        residual, before = refitted(first, mask, weight, regressors), mask
        mask = single_outliers(residual, weight, degrees)
        if (mask == before).all():
            break
    return residual, mask


def _simplest_covariance(residual, weight, mask, degrees, n_parameters, rounding):
    """The mean squares and products, with the parameters that outliers leak through."""
    n = weight.sum()
    shares = weight @ ~mask / n if mask.any() else 1.0
    kept = np.where(mask, 0.0, residual)
    kept = np.where(mask, 0.0, kept - np.average(kept, axis=0, weights=weight) / shares)
    variances = np.average(kept**2, axis=0, weights=weight) / shares
    leaked = _leaked(np.where(mask, residual, 0.0), weight / n, n_parameters / degrees)
    variances = variances - np.minimum(leaked.diagonal(), _MOST_LEAKED * variances)
    alive = variances > np.maximum(_DEAD * np.sqrt(variances.max()), rounding) ** 2
    if degrees < _LEAST_DEGREES or np.count_nonzero(alive) < 2:
        return _white(variances, alive)
    kept, leaked = kept[:, alive], leaked[np.ix_(alive, alive)]
    if _are_correlated(kept, weight, degrees, leaked, n_parameters):
        return _correlated(kept, weight, variances, alive)
    if _are_unequal(kept, weight, degrees, leaked.diagonal(), n_parameters):
        return np.where(alive, variances, _white(variances, alive))
    return _white(variances, alive)


def _leaked(lost, shares, ratio):
    """The covariance that outliers brought into the residuals of the other rows, in the mean.

    With a share h of the degrees of freedom used, an outlier o leaves (1 − h) o in its own row, and
    through the fit ``h (1 − h) o²`` in the sum of the squares of the others. The ratio is that of
    the used degrees to the free ones, h / (1 − h).
    """
    return ratio * (shares * lost.T) @ lost


def _spread(n_parameters):
    """By how much more than in the mean an outlier may move a fit of so many parameters."""
    if n_parameters == 0:
        return 0.0
    return stats.chi2.isf(_CHANCE, n_parameters) / n_parameters


def _effective(weight):
    """Kish's effective number of rows: weights that are all equal do not matter."""
    return weight.sum() ** 2 / (weight**2).sum()


def _white(variances, alive):
    """The mean variance; measurements without any noise say nothing about that of the others."""
    return float((variances[alive] if alive.any() else variances).mean())


def _are_unequal(kept, weight, degrees, leaked, n_parameters):
    """Whether single variances raise the likelihood enough, by ``ν (v − 1 − ln v)`` each.

    This is ``(9ν/2) (∛v − 1 + 2/(9ν))²`` to leading order, which is χ² for few degrees ν too. Large
    squares are clipped, so that few readings do not decide; and with tails heavier than those of a
    Gaussian, variances vary more by chance.
    """
    mean_variance = np.average(kept**2, axis=0, weights=weight).mean()
    squares = np.minimum(kept**2 / mean_variance, _CLIPPED**2)
    variances = np.average(squares, axis=0, weights=weight)
    fourth = np.average(squares**2, axis=0, weights=weight)
    tails = max(((fourth / variances**2).mean() - 1) / 2, 1)
    # what outliers may have added to the largest variances, and to the mean
    allowed = _spread(n_parameters) * leaked / mean_variance
    ratios = variances / variances.mean()
    ratios = np.where(
        ratios > 1,
        (ratios - allowed).clip(1),
        (ratios * (1 + allowed.mean())).clip(None, 1),
    )
    bias = 2 * tails / (9 * degrees)
    gains = (np.cbrt(ratios) - 1 + bias) ** 2 / bias
    return _is_evident(gains, degrees, len(gains) - 1)


def _are_correlated(kept, weight, degrees, leaked, n_parameters):
    """Whether correlations raise the likelihood enough, to second order by ``S² / Σ_a r_i² r_j²``.

    The sum S of the products ``r_i r_j`` is compared with the products themselves: so rows may have
    different scales, and noise other tails than a Gaussian. It is also compared with the variances.
    """
    unit = kept / np.sqrt(np.average(kept**2, axis=0, weights=weight))
    scaled, n, n_rows = weight[:, None] * unit, weight.sum(), _effective(weight)
    sums, sizes = scaled.T @ unit, (scaled**2).T @ unit**2
    chance = np.maximum(sizes * n_rows, n**2) / degrees
    if leaked.any():
        std = np.sqrt(np.average(kept**2, axis=0, weights=weight))
        leaked = leaked / np.outer(std, std) * n
        sums = (np.abs(sums) - _spread(n_parameters) * np.abs(leaked)).clip(0)
        size = leaked.diagonal()  # of outliers in different rows, the signs are random
        chance = chance + np.outer(size, size) / n_parameters
    pairs = np.triu_indices(len(sums), 1)
    return _is_evident((sums**2 / chance)[pairs], degrees, len(pairs[0]))


def _is_evident(gains, degrees, n_free):
    """Whether gains that are χ² of one degree each under the simpler model are too large for it."""
    penalty = np.log(degrees) + 2 * np.log(len(gains)) + _DOUBT
    # few rows make the sum of very many gains skewed
    shape = min(n_free, degrees * (degrees - 1) / 2)
    quantile = (stats.chi2.isf(_CHANCE, shape) - shape) / np.sqrt(2 * shape)
    by_chance = n_free + quantile * np.sqrt(2 * n_free)
    total = gains.sum()
    evident = gains.max() > penalty or total > by_chance
    return bool(evident and total > n_free + _NOTICEABLE * degrees)


def _correlated(kept, weight, variances, alive):
    """The covariance matrix: correlations of what was kept, drawn to zero where rows are few."""
    unit, present = kept / np.sqrt(variances[alive]), (kept != 0).astype(float)
    rows = unit * np.sqrt(weight / weight.mean())[:, None]
    correlations = rows.T @ rows / ((weight / weight.mean() * present.T) @ present).clip(1)
    scales = np.sqrt(correlations.diagonal())
    correlations /= np.outer(scales, scales)
    used = 1 - ledoit_wolf_shrinkage(rows / scales, assume_centered=True)
    correlations = used * correlations + (1 - used) * np.eye(len(scales))
    spectrum, axes = np.linalg.eigh((correlations + correlations.T) / 2)
    correlations = (axes * spectrum.clip(_FLATTEST)) @ axes.T
    correlations /= np.sqrt(np.outer(correlations.diagonal(), correlations.diagonal()))
    covariance = np.diag(np.where(alive, variances, _white(variances, alive)))
    std = np.sqrt(variances[alive])
    covariance[np.ix_(alive, alive)] = (correlations + correlations.T) / 2 * np.outer(std, std)
    return covariance

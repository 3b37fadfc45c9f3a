"""Readings that cannot be Gaussian: in one measurement by itself, or given the other ones."""

import numpy as np
from scipy import stats

__all__ = ["describe_outliers", "outliers", "refitted", "single_outliers"]

_CHANCE = 1e-3  # that any reading of Gaussian noise is taken for an outlier
_START = 4.0  # robust standard deviations, before the scale is told from the rest
_MOST_STEPS = 10
_MOST_FLAGGED = 0.2  # of a measurement; beyond, it is of another shape than Gaussian
_FLAT = 1e-10  # direction of regressors, relative to the largest, that does not count
_MOST_LISTED = 5  # measurements that a warning names


def outliers(residual, noise):
    """Which readings cannot be Gaussian noise of this model.

    A reading counts as one if noise alone would give a reading as far away among all of them with
    a chance of less than 0.1 %. Of correlated noise a reading is compared with what the others of
    its row let expect, ``z_i = (P r)_i / √P_ii`` with the precision P = Σ⁻¹. The farthest of a row
    is replaced by what the others let expect, before these are judged: one bad reading does not
    accuse its neighbours. The scale of a measurement is raised where the median of its residuals is
    larger than the noise explains; a noise level that was given too low accuses nobody.

    Parameters
    ----------
    residual : ndarray of shape (n_samples, n_measurements)
        Measurements less what the signals explain.
    noise : NoiseModel
        The noise.

    Returns
    -------
    mask : ndarray of bool, of shape (n_samples, n_measurements)
        True for outliers; nowhere if the level is zero.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.noise.model import NoiseModel
    >>> from skinvbayes.noise.outliers import outliers
    >>> residual = np.random.default_rng(0).standard_normal((100, 3))
    >>> residual[7, 2] += 20
    >>> np.argwhere(outliers(residual, NoiseModel.given(1.0, n_measurements=3)))
    array([[7, 2]])
    """
    n, m = residual.shape
    if noise.level == 0 or n == 0:
        return np.zeros((n, m), dtype=bool)
    residual = residual - np.median(residual, axis=0)
    limit = _limit(n * m, (n * m if noise.kind == "white" else n) - 1)
    z = residual / noise.std
    if noise.kind != "correlated":
        return np.abs(z) > limit * _median_scale(z).clip(1)
    precision = np.linalg.inv(noise.covariance / np.outer(noise.std, noise.std))
    roots = np.sqrt(precision.diagonal())
    limits = limit * _median_scale(z @ (precision / roots)).clip(1)
    return _conditional_outliers(z * roots, precision / np.outer(roots, roots), limits)


def _conditional_outliers(z, precision, limits):
    """The farthest reading of every row goes, and is replaced, until none is beyond its limit.

    The readings are in units in which the precision has a diagonal of ones.
    """
    mask, moved, conditional = np.zeros(z.shape, dtype=bool), np.zeros(z.shape), z @ precision
    rows = np.arange(len(z))
    for _ in range(_MOST_STEPS * z.shape[1]):
        excess = np.abs(conditional[rows]) / limits
        worst = excess.argmax(axis=1)
        beyond = excess[np.arange(len(rows)), worst] > 1
        rows, worst = rows[beyond], worst[beyond]
        if len(rows) == 0:
            break
        step = conditional[rows, worst]
        mask[rows, worst] = True
        moved[rows, worst] += step
        conditional[rows] -= step[:, None] * precision[worst]
    return mask & (np.abs(moved) > limits)


def single_outliers(residual, weight, degrees):
    """Which readings of single measurements cannot be Gaussian.

    The scale of a measurement starts at the median deviation, and is then that of the readings
    that were kept; these are as many as Gaussian noise allows. A measurement of which a fifth would
    go keeps all its readings: it is of another shape than Gaussian with outliers.

    Parameters
    ----------
    residual : ndarray of shape (n_samples, n_measurements)
        Residuals.
    weight : ndarray of shape (n_samples,)
        How often each counts.
    degrees : float
        Degrees of freedom of a variance.

    Returns
    -------
    mask : ndarray of bool, of shape (n_samples, n_measurements)
        True for outliers.
    """
    limit = _limit(residual.size, degrees)
    centred = residual - np.median(residual, axis=0)
    plain = np.sqrt(np.average(centred**2, axis=0, weights=weight))
    scales = _median_scale(centred)
    scales = np.where(scales > 0, scales, plain)
    mask = np.abs(centred) > _START * scales
    for _ in range(_MOST_STEPS):
        mask &= mask.mean(axis=0) < _MOST_FLAGGED
        kept = weight @ ~mask
        scales = np.sqrt(weight @ np.where(mask, 0, centred) ** 2 / np.where(kept > 0, kept, 1))
        before, mask = mask, np.abs(centred) > limit * scales
        if (mask == before).all():
            break
    return mask & (mask.mean(axis=0) < _MOST_FLAGGED)


def refitted(residual, mask, weight, regressors):
    """The residuals of the linear fit that leaves the outliers out.

    An outlier gets a parameter of its own. With an orthonormal basis Q of the regressors, in which
    the fit is Q Qᵀ, those of the outliers F of one measurement are ``o = (I − Q_F Q_Fᵀ)⁻¹ r_F``,
    and the residuals become ``r + Q Q_Fᵀ o``, which is o for the outliers themselves.

    Parameters
    ----------
    residual : ndarray of shape (n_samples, n_measurements)
        Residuals of the least-squares fit to all readings.
    mask : ndarray of bool, of shape (n_samples, n_measurements)
        The readings to leave out.
    weight : ndarray of shape (n_samples,)
        How often each row counts; above zero.
    regressors : ndarray of shape (n_samples, n_parameters)
        What was fitted to every measurement, with the column of the constant.

    Returns
    -------
    residual : ndarray of shape (n_samples, n_measurements)
        Residuals of all readings; a new array.
    """
    roots = np.sqrt(weight)[:, None]
    Q, sizes, _ = np.linalg.svd(roots * regressors, full_matrices=False)
    Q = Q[:, sizes > _FLAT * sizes[0]]
    fitted = residual * roots
    for k in np.flatnonzero(mask.any(axis=0)):
        part = Q[mask[:, k]]
        own = np.eye(len(part)) - part @ part.T
        own = np.linalg.lstsq(own, fitted[mask[:, k], k], rcond=None)[0]
        fitted[:, k] += Q @ (own @ part)
    return fitted / roots


def _limit(n_readings, degrees):
    """Standard deviations that so many Gaussian readings exceed with a chance of 0.1 %."""
    return stats.t.isf(_CHANCE / (2 * n_readings), max(degrees, 1))


def _median_scale(centred):
    """Standard deviations of Gaussian columns, told from the median of the absolute values."""
    return np.median(np.abs(centred), axis=0) / stats.norm.ppf(0.75)


def describe_outliers(mask):
    """How many outliers there are, in how many rows, and in which measurements most of them.

    Parameters
    ----------
    mask : ndarray of bool, of shape (n_samples, n_measurements)
        True for outliers.

    Returns
    -------
    text : str
        For a warning; measurements count from 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.noise.outliers import describe_outliers
    >>> describe_outliers(np.eye(4000, 3, dtype=bool))
    '3 readings in 3 of 4,000 rows (measurements 0, 1, 2)'
    """
    per_measurement, n_rows = mask.sum(axis=0), np.count_nonzero(mask.any(axis=1))
    count = int(per_measurement.sum())
    where = f"{count:,} reading{'s' * (count != 1)} in {n_rows:,} of {len(mask):,} rows"
    if count == 0:
        return where
    affected = np.argsort(-per_measurement, kind="stable")[: np.count_nonzero(per_measurement)]
    listed = [str(k) for k in sorted(affected[:_MOST_LISTED])]
    listed += ["…"] * (len(affected) > _MOST_LISTED)
    return f"{where} (measurement{'s' * (len(affected) != 1)} {', '.join(listed)})"

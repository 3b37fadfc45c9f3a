"""How signals are measured: the operator, checked or estimated, and the level of the noise."""

import numpy as np
from scipy import stats

from ..numerics.warn import warn_caller
from ..operators import as_operator, check_adjoint
from ..priors import principal_axes

__all__ = [
    "LARGEST",
    "as_denoising",
    "check_size",
    "choose_operator",
    "estimate_noise_level",
    "monotone_misfit",
    "residuals_are_white",
]

LARGEST = 1e50  # of X, y and A: z = Aᵀ y, its square and 1/z must not overflow

# When a symmetric positive semidefinite map counts as a worse fit of y to x than the linear one:
_CHANCE = 1e-4  # if noise alone costs it as much in fewer than this share of all problems,
_RESIDUAL_SHARE = 0.1  # and the cost exceeds this share of the linear fit's residual (2 % of error)
_ENERGY_SHARE = 1e-6  # and this share of what the linear fit explains (rounding errors are less).
# Also if a slope is negative, where a monotone inverse would be far too steep:
_MOST_NEGATIVE = 0.1  # by more than this share of the norm of the linear fit, and beyond chance.
_MOST_AXES = 200  # principal axes of the signals that are looked at
_PAIRS_PER_AXIS = 3  # at least
# How far residuals may be from white Gaussian noise beyond what chance explains:
_UNEQUAL = 0.15  # in the logarithm of a variance, in a correlation, in the excess kurtosis / 4,
_EXPLAINED = 0.02  # and in the share of residuals and of their squares that the signals explain.
_SURELY = 5.0  # standard errors that chance is allowed
_UNTOLD = 1e-3  # noise that no residual tells, relative to the measurements' variation
_SIGNAL_AXES = 10  # principal axes that may explain residuals
_FLAT = 1e-6  # variance along an axis, relative to the mean, below which it is left out


def choose_operator(operator, fitted, n_features, n_measurements, pairs=None):
    """The operator A from the parameter ``operator`` of the estimators.

    Without one, a network learns the map from x to y itself if there are as many measurements as
    features. An invertible residual network is monotone, and its default branch is the gradient of
    a convex function: this serves where the linear fit of y to x is close to symmetric positive
    definite. Otherwise, and where every operator fits the pairs, the fit becomes the operator of
    the normal equation.

    Parameters
    ----------
    operator : None, "estimate" or linear operator
        The parameter.
    fitted : Operator or None
        The least-squares fit of y to x; None where the operator is given.
    n_features, n_measurements : int
        Sizes of a signal and of a measurement.
    pairs : tuple (X, Y, weight), default=None
        The pairs and how often each counts; needed where the operator is None.

    Returns
    -------
    operator : Operator or None
        A; None for the original problem, z = y.

    Warns
    -----
    UserWarning
        If the operator is None and the linear fit is used, although there are as many measurements
        as features.

    Raises
    ------
    ValueError
        If it is of another kind, shape or size than can be used.
    """
    if operator is None:
        original = n_measurements == n_features and not _misfit_warns(*pairs)
        # fewer pairs do not tell whether the map is monotone
        original = original and len(pairs[0]) > n_features + 1
        return None if original else fitted
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


def as_denoising(fitted, covariance):
    """The fit of y to x where both mean the same: the identity where signals hardly vary.

    In directions without variance, such as pixels that are always black, the least-squares fit is
    zero or noise, and the error model needs a map that can be inverted: a multiple of the identity.

    Parameters
    ----------
    fitted : Operator of shape (n_features, n_features)
        The least-squares fit.
    covariance : ndarray of shape (n_features, n_features)
        The covariance of the signals.

    Returns
    -------
    fitted : Operator of shape (n_features, n_features)
        The same object where the signals vary in all directions.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.operators import as_operator
    >>> from skinvbayes.problem.measurement import as_denoising
    >>> as_denoising(as_operator(np.diag([2.0, 0.0])), np.diag([1.0, 0.0])).to_dense().round(6)
    array([[2., 0.],
           [0., 2.]])
    """
    variances, axes = np.linalg.eigh(covariance)
    flat = variances <= _FLAT * variances.mean()
    if not flat.any():
        return fitted
    A, U, V = fitted.to_dense(), axes[:, flat], axes[:, ~flat]
    size = (A * covariance).sum() / covariance.trace()  # of the multiple that fits best
    return as_operator(V @ (V.T @ A @ V) @ V.T + size * U @ U.T)


def check_size(name, size):
    """Raise a ValueError if the size of something is too large or too small to compute with."""
    if size > LARGEST or 0 < size < 1 / LARGEST:
        raise ValueError(
            f"The size of {name} is {size:.3g}, outside the range from {1 / LARGEST:g} to "
            f"{LARGEST:g} that can be computed with: choose other units."
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
                f"The noise level cannot be told from {_number_of_pairs(weight)} of signals with "
                f"{X.shape[1]} features by themselves: every operator fits them. It is taken to be "
                f"{_UNTOLD:.1%} of their variation at least. Give noise_level, the operator, or "
                "more pairs."
            )
    variance = _mean_variance(Y - operator.forward(X), weight)
    if n_used >= n:
        variance = max(variance, _UNTOLD**2 * _mean_variance(Y, weight))
    return float(np.sqrt(variance * n / max(n - n_used, 1)))


def _mean_variance(values, weight):
    """The mean over columns of their variances."""
    deviations = values - np.average(values, axis=0, weights=weight)
    return np.average(deviations**2, axis=0, weights=weight).mean()


def _number_of_pairs(weight):
    """The number of pairs, and what they amount to if their weights differ."""
    differ = weight.min() < weight.max()
    return f"{len(weight)} pairs" + (f" (by their weights {weight.sum():.3g})" if differ else "")


def monotone_misfit(X, Y, weight):
    """What symmetric positive semidefinite maps from x to y leave unexplained, beyond the noise.

    With the linear fit M of y to x in the principal axes of the signals, which have variances λ,
    a symmetric map S misses ``Σ_ij λ_j (M − S)²_ij`` of the variance of the measurements. The best
    one, ``S_ij = (λ_j M_ij + λ_i M_ji) / (λ_i + λ_j)``, is taken without its negative eigenvalues.

    For white noise of variance r the entry M_ij has the variance ``r / (n λ_j)``, so that noise
    alone makes the misfit of k axes at most ``k² r / n`` in the mean, and an F-distribution bounds
    it. A slope that is clearly negative counts too, however small the misfit. Only the leading axes
    are looked at, at most one for three pairs: the pairs say little about the other directions,
    and the residual must tell the noise.

    Parameters
    ----------
    X, Y : ndarrays of shape (n_samples, n_features)
        Signals and measurements.
    weight : ndarray of shape (n_samples,)
        How often each pair counts.

    Returns
    -------
    misfit : float
        The share of the variance that the linear fit explains, between 0 and 1; 0 where it may be
        due to noise, or is small against the residual of the linear fit.
    """
    weight = weight / weight.sum()
    n = 1 / (weight**2).sum()  # Kish's effective size: weights that are all equal do not matter
    axes, variances = _leading_axes(X, weight, int(n) // _PAIRS_PER_AXIS)
    k = len(axes)
    degrees = n - 1 - k
    if k == 0 or degrees < 1:
        return 0.0
    scores, outputs = ((part - weight @ part) @ axes.T for part in (X, Y))
    M = (outputs * weight[:, None]).T @ scores / variances
    residual = outputs - scores @ M.T
    noise = (residual * weight[:, None]).T @ residual * n / degrees
    slopes, directions = _symmetric_fit(M, variances)
    nearest = (directions * slopes.clip(0)) @ directions.T
    misfit, explained = ((part**2 @ variances).sum() for part in (M - nearest, M))
    errors = (noise @ directions * directions).sum(0) * (1 / variances @ directions**2) / n
    # of k slopes that are noise, the lowest is about √(2k) standard errors below zero
    allowed = (stats.t.isf(_CHANCE, degrees) + np.sqrt(2 * k)) * np.sqrt(errors.clip(0))
    negative = (slopes < -np.maximum(allowed, _MOST_NEGATIVE * np.linalg.norm(M, 2))).any()
    needed = max(_noticeable_misfit(noise, k, n, degrees), _ENERGY_SHARE * explained)
    return float(misfit / explained) if negative or misfit > needed else 0.0


def _noticeable_misfit(noise, k, n, degrees):
    """The smallest misfit of k axes that is neither due to noise nor small against the residual."""
    unexplained = noise.trace()
    n_outputs = max(unexplained**2 / max((noise**2).sum(), 1e-300), 1)  # k if the noise is white
    expected = k * unexplained / n
    by_chance = expected * stats.f.isf(_CHANCE, k * n_outputs, n_outputs * degrees)
    return max(by_chance, expected + _RESIDUAL_SHARE * unexplained)


def _misfit_warns(X, Y, weight):
    """Warn if the linear fit of y to x is far from monotone and symmetric; True if it is."""
    misfit = monotone_misfit(X, Y, weight)
    if misfit > 0:
        warn_caller(
            "The linear fit of y to X is not close to symmetric positive definite (the closest "
            f"such map misses {misfit:.1%} of the variance that the fit explains), and an "
            "invertible residual network cannot represent it. The fit is used as the operator of "
            'the normal equation instead. Give operator="estimate" to do so without this warning, '
            "or the operator itself."
        )
    return misfit > 0


def _leading_axes(X, weight, n_axes):
    """The leading principal axes of signals, without flat ones, and the variances along them."""
    n_axes = min(n_axes, _MOST_AXES)
    axes = principal_axes(X, weight)[1][::-1][:n_axes]
    # of many signals with many features, principal_axes takes a part: here they all count
    variances, rotation = principal_axes(X @ axes.T, weight)
    varying = variances > _FLAT * np.average((X - weight @ X) ** 2, axis=0, weights=weight).mean()
    return rotation[varying] @ axes, variances[varying]


def _symmetric_fit(M, variances):
    """Eigenvalues and eigenvectors (columns) of the best symmetric map for signals like these."""
    total = variances[:, None] + variances
    return np.linalg.eigh((M * variances + (M * variances).T) / total)


def residuals_are_white(residual, X, weight):
    """Whether residuals look like white Gaussian noise that does not depend on the signals.

    Only such noise can be drawn afresh in training. Otherwise the noise of the pairs is the better
    teacher: it may be unequal, correlated, of heavy tails, or an error of a linear model.

    Parameters
    ----------
    residual : ndarray of shape (n_samples, n_measurements)
        Measurements less what the signals explain.
    X : ndarray of shape (n_samples, n_features)
        Signals.
    weight : ndarray of shape (n_samples,)
        How often each pair counts.

    Returns
    -------
    white : bool

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.problem.measurement import residuals_are_white
    >>> rng = np.random.default_rng(0)
    >>> X, noise = rng.standard_normal((2, 1000, 3))
    >>> residuals_are_white(noise, X, np.ones(1000))
    True
    >>> residuals_are_white(noise * [1, 1, 3], X, np.ones(1000))
    False
    """
    residual = residual - np.average(residual, axis=0, weights=weight)
    scale = np.sqrt(np.average((residual**2).mean(axis=1), weights=weight))
    if scale <= 0:
        return True
    white, (n, m) = residual / scale, residual.shape
    chance = _SURELY * np.sqrt(2 / n)
    covariance = (weight * white.T) @ white / weight.sum()
    variances = covariance.diagonal().clip(1e-12)
    correlations = covariance / np.sqrt(np.outer(variances, variances)) - np.eye(m)
    kurtosis = (np.average(white**4, axis=0, weights=weight) / variances**2).mean() - 3
    similar = (
        np.abs(np.log(variances)).max() <= _UNEQUAL + chance
        and np.abs(correlations).max() <= _UNEQUAL + chance
        and abs(kurtosis) <= 4 * (_UNEQUAL + chance / np.sqrt(m))
    )
    return bool(similar and not _depend_on_signals(white, X, weight))


def _depend_on_signals(residual, X, weight):
    """Whether signals explain residuals, or their squares, beyond chance; arguments as above."""
    sizes = (residual**2).mean(axis=1, keepdims=True)
    return any(_depends_on(v, X, weight) for v in (residual, sizes))


def _depends_on(values, X, weight):
    """Whether powers of the signals' leading coordinates explain values, beyond chance."""
    # the weights of `_leading_axes` add up to one
    axes, variances = _leading_axes(
        X, weight / weight.sum(), min(_SIGNAL_AXES, max(len(X) // 20, 1))
    )
    u = (X - X.mean(axis=0)) @ axes.T / np.sqrt(variances)
    powers = np.column_stack([np.ones(len(u)), u, u**2, np.abs(u) ** 3 * np.sign(u)])
    values = values - values.mean(axis=0)
    if not values.any():
        return False
    fitted = powers @ np.linalg.lstsq(powers, values, rcond=None)[0]
    share = (fitted**2).sum() / (values**2).sum()
    by_chance = powers.shape[1] / len(u)
    return share > by_chance * (1 + _SURELY / np.sqrt(values.shape[1])) + _EXPLAINED

"""What Gaussian signals make of the problem: their covariance, their optimum, the linear estimator.

For Gaussian signals of covariance C the optimum of the divergence loss is linear,
φ(x) = (G + ε C⁻¹) x + constant, and its inverse is the linear minimum mean square error (LMMSE)
estimator. Training starts from this map, and the rules for the bandwidth look at its slopes.
"""

import numpy as np
import torch
from torch.nn import functional as F

from ..numerics.symmetric import small_gram
from ..numerics.tensors import identity_like
from ..operators import GramOperator, as_operator
from ..priors import principal_axes

__all__ = [
    "gaussian_optimum",
    "gaussian_precision",
    "gaussian_slopes",
    "linear_estimator",
    "linear_precision",
    "unit_optimum",
    "without_last_bits",
]

_FLAT = 1e-12  # variance along an axis, relative to the largest, below which it counts as zero
_FLATTEST = 1e-10  # variance, relative to the largest, that coordinates are made for at least
_SMALLEST_UNIT = 1e-15  # standard deviation, relative to the largest, of a constant feature
_LEAST_PRECISION = 1e-13  # eigenvalue of a precision, relative to the largest
_LEAST_EPSILON = 1e-8  # relative to the mean variance of a clean measurement's feature
_SMALLEST_SLOPE = 1e-3  # of the linear first guess, in unit scale
_GRID = 2.0**-40  # relative to the norm of G: coarser than rounding, finer than what matters
_JITTER = 1e-6  # added to the variances of the first guess, in unit scale


def gaussian_optimum(forward, inverse_covariance, epsilon):
    """The symmetric part of ``G + ε C⁻¹``.

    Parameters
    ----------
    forward, inverse_covariance : ndarrays or Tensors of shape (n_features, n_features)
        The forward map G and the inverse of the covariance C.
    epsilon : float
        Weight ε of the prior.

    Returns
    -------
    optimum : ndarray or Tensor of shape (n_features, n_features)
        A symmetric matrix.
    """
    return (forward + forward.T) / 2 + epsilon * inverse_covariance


def gaussian_precision(covariance, forward, epsilon, bandwidth):
    """The precision of the posterior of Gaussian signals times ε, ``G + ε (C + b² I)⁻¹``.

    Parameters
    ----------
    covariance : ndarray of shape (n_features, n_features)
        The covariance C of the signals.
    forward : ndarray of shape (n_features, n_features)
        The forward map G.
    epsilon : float
        Weight ε of the prior; a very small one is raised, because G may be singular.
    bandwidth : float
        Standard deviation b of the kernel that smooths the prior.

    Returns
    -------
    precision : ndarray of shape (n_features, n_features)
        Symmetric positive definite.
    """
    smoothed = covariance + bandwidth**2 * np.eye(len(covariance))
    units = _units(smoothed)
    variances, axes = _positive_axes(smoothed / units / units[:, None])
    forward = forward * units * units[:, None]
    energy = abs(np.sum((axes.T @ forward @ axes).diagonal() * variances)) / len(forward)
    epsilon = max(epsilon, _LEAST_EPSILON * energy)
    precision = gaussian_optimum(forward, (axes / variances) @ axes.T, epsilon)
    return _kept_positive(precision) / units / units[:, None]


def without_last_bits(covariance, forward, epsilon, bandwidth):
    """G and ε over a norm of G, that norm, and b, all without the last bits.

    Rounding would choose the axes that G hardly tells apart, and training starts elsewhere with
    others. On a grid that is coarser than rounding they are the same after any linear change of the
    measurements, which changes G by its norm alone.

    Parameters
    ----------
    covariance, forward, epsilon, bandwidth
        As of :func:`gaussian_precision`.

    Returns
    -------
    norm, forward, epsilon, bandwidth
        The norm is that of G in units of the features.
    """
    units, deviation = _units(covariance), np.sqrt(covariance.trace())
    unit = forward * units * units[:, None]
    norm = np.linalg.norm(unit) or 1.0
    unit = np.round(unit / norm / _GRID) * _GRID
    bandwidth = _on_grid(bandwidth / deviation) * deviation
    return norm, unit / units / units[:, None], _on_grid(epsilon / norm), bandwidth


def _on_grid(number):
    """The number rounded to as many digits as the entries of G."""
    mantissa, exponent = np.frexp(number)
    return float(np.ldexp(np.round(mantissa / _GRID) * _GRID, exponent))


def linear_precision(covariance, forward, epsilon, bandwidth):
    """The inverse of the gain of the linear estimator of x from z = G x + noise, where z = y.

    Parameters and result are as in :func:`gaussian_precision`. The gain is
    ``C Gᵀ (G C Gᵀ + ε I)⁻¹``, of which the symmetric part is taken.
    """
    variances, axes = _positive_axes(covariance + bandwidth**2 * np.eye(len(covariance)))
    image = forward @ (axes * variances) @ axes.T
    square = image @ forward.T
    ridge = max(epsilon, _LEAST_EPSILON * square.trace() / len(square)) or 1.0
    gain = np.linalg.solve(square + ridge * np.eye(len(square)), image).T
    spectrum, axes = np.linalg.eigh((gain + gain.T) / 2)
    largest = np.abs(spectrum).max() or 1.0
    return _kept_positive((axes / spectrum.clip(_FLATTEST * largest)) @ axes.T)


def _units(covariance):
    """The standard deviations of the features, the smallest of them for constant ones.

    In these units no feature is too small to be told from rounding beside another one.
    """
    deviations = np.sqrt(np.diagonal(covariance))
    varies = deviations > _SMALLEST_UNIT * deviations.max()
    return np.where(varies, deviations, deviations[varies].min() if varies.any() else 1.0)


def _positive_axes(covariance):
    """Eigenvalues and eigenvectors of a covariance; the eigenvalues are kept positive."""
    variances, axes = np.linalg.eigh(covariance)
    return variances.clip(_FLATTEST * variances[-1]), axes


def _kept_positive(precision):
    """A symmetric matrix with its eigenvalues kept above a small part of the largest."""
    spectrum, axes = np.linalg.eigh(precision)
    largest = np.abs(spectrum).max() or 1.0
    return (axes * spectrum.clip(_LEAST_PRECISION * largest)) @ axes.T


def linear_estimator(mean, covariance, operator, noise_level):
    """The linear minimum mean square error (LMMSE) estimator of x from y = A x + noise.

    For Gaussian signals it is the posterior mean, ``x̄ + (AᵀA + δ² C⁻¹)⁻¹ Aᵀ (y − A x̄)``.

    Parameters
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the signals.
    covariance : ndarray of shape (n_features, n_features)
        Covariance C of the signals; it may be singular.
    operator : None or linear operator of shape (n_measurements, n_features)
        The operator A; None for the identity.
    noise_level : float
        Standard deviation δ of the noise.

    Returns
    -------
    estimate : callable
        Map of measurements (n_samples, n_measurements) to signals (n_samples, n_features).

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.problem.gaussian import linear_estimator
    >>> estimate = linear_estimator(np.zeros(2), np.diag([1.0, 0.0]), None, 1.0)
    >>> estimate(np.array([[2.0, 3.0]]))
    array([[1., 0.]])
    """
    A = np.eye(len(mean)) if operator is None else as_operator(operator).to_dense()
    image = A @ covariance
    gain = np.linalg.solve(image @ A.T + noise_level**2 * np.eye(len(A)), image).T
    return lambda Y: mean + (Y - A @ mean) @ gain.T


def unit_optimum(problem, deviations, *, whole, max_condition):
    """The optimum for Gaussian signals in isotropic coordinates, as far as a network can hold it.

    Parameters
    ----------
    problem : InverseProblem
        The problem.
    deviations : Tensor of shape (n_samples, n_features)
        Differences of the signals from their mean in unit scale, times the roots of weights that
        add up to one.
    whole : bool
        True for the matrix ``G + ε C⁻¹``. False for a multiple of the identity, the mean of the
        eigenvalues of ``ε C⁻¹``, where the network adds G itself.
    max_condition : float
        Largest ratio of slopes that the network can hold.

    Returns
    -------
    slope : Tensor of shape (n_features, n_features) or ()
        The optimum, with its eigenvalues clipped.
    """
    epsilon = problem.unit_epsilon
    smoothing = problem.coordinates.unit_jitter(problem.bandwidth) ** 2 + _JITTER
    if not whole:
        n_features = deviations.shape[1]
        variances = torch.linalg.eigvalsh(small_gram(deviations)).clamp(min=0)
        variances = F.pad(variances, (n_features - len(variances), 0))
        return _clipped(epsilon / (variances.flip(0) + smoothing), max_condition).mean()
    covariance = deviations.T @ deviations
    smoothed = covariance + smoothing * identity_like(len(covariance), covariance)
    forward = problem.unit_forward.matrix(covariance)
    spectrum, axes = torch.linalg.eigh(
        gaussian_optimum(forward, torch.linalg.inv(smoothed), epsilon)
    )
    return (axes * _clipped(spectrum, max_condition)) @ axes.T


def _clipped(slopes, max_condition):
    """Ascending slopes, clipped to the range that a network of this condition can hold."""
    slopes = slopes.clamp(min=_SMALLEST_SLOPE)
    return slopes.clamp(max=max_condition * slopes[0])


def gaussian_slopes(X, weight, forward, epsilon):
    """The variances of signals along their principal axes, and the eigenvalues of ``G + ε C⁻¹``.

    Where G is only multiplied with, its eigenvectors are taken to be the principal axes.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Signals.
    weight : ndarray of shape (n_samples,)
        How often each counts.
    forward : Operator of shape (n_features, n_features)
        The forward map G.
    epsilon : float
        Weight ε of the prior.

    Returns
    -------
    variances, slopes : ndarrays of shape (n_axes,) and (n_axes,) or (n_features,)
        Both in ascending order.
    """
    variances, axes = principal_axes(X, weight)
    variances = variances.clip(_FLAT * variances[-1] or 1.0)
    if isinstance(forward, GramOperator):
        slopes = (axes * forward.forward(axes)).sum(axis=1) + epsilon / variances
        return variances, np.sort(slopes)
    G = forward.to_dense()
    inverse = (axes.T / variances) @ axes + (np.eye(len(G)) - axes.T @ axes) / variances[0]
    return variances, np.linalg.eigvalsh(gaussian_optimum(G, inverse, epsilon))

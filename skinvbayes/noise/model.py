"""The noise of the measurements: white, unequal or correlated, and how it is made white."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import diags_array, issparse

from .estimate import noise_covariance as estimated_covariance

__all__ = ["NoiseModel"]

_ASYMMETRY = 1e-8  # relative to the largest entry, that rounding explains
_SMALLEST = 1e-100  # level that can be squared, and divided by
_SINGULAR = 1e-12  # eigenvalue relative to the largest, of units that do not matter


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Gaussian noise of zero mean and covariance Σ.

    It is made with :meth:`given` or :meth:`estimated`. With ``W = δ̄ Σ^(-1/2)`` the noise of W y is
    white and has the same mean variance δ̄² as that of y. White noise is left alone: what is to be
    whitened comes back as the same object.

    Attributes
    ----------
    n_measurements : int
        Size m of a measurement.
    level : float
        δ̄, with ``δ̄² = tr Σ / m``; for white noise its standard deviation.
    variances : None or ndarray of shape (n_measurements,)
        The diagonal of Σ; None for white noise.
    matrix : None or ndarray of shape (n_measurements, n_measurements)
        Σ for correlated noise; else None.

    Examples
    --------
    >>> from skinvbayes.noise.model import NoiseModel
    >>> noise = NoiseModel.given([1.0, 7.0], n_measurements=2)
    >>> noise.kind, noise.level, noise.whitener
    ('unequal', 5.0, array([5.        , 0.71428571]))
    """

    n_measurements: int
    level: float
    variances: np.ndarray | None = None
    matrix: np.ndarray | None = None

    @classmethod
    def given(cls, noise_level=None, noise_covariance=None, *, n_measurements):
        """The noise that a user knows.

        Parameters
        ----------
        noise_level : None, float or array-like of shape (n_measurements,), default=None
            Standard deviation of all measurements, at least zero; or one, above zero, for each.
        noise_covariance : None or array-like, default=None
            Covariance Σ, of shape (n_measurements, n_measurements), symmetric and positive
            definite. One of the two is needed.
        n_measurements : int
            Size of a measurement.

        Returns
        -------
        noise : NoiseModel
            Of the simplest kind: equal levels are white, and so is a multiple of the identity.

        Raises
        ------
        ValueError
            If both or none is given, or one has a shape or values that cannot be used.
        """
        if (noise_level is None) == (noise_covariance is None):
            found = "neither" if noise_level is None else "both"
            raise ValueError(
                f"Give either noise_level or noise_covariance; got {found}. A covariance holds the "
                "levels as the square roots of its diagonal."
            )
        if noise_covariance is not None:
            return cls._of(_checked_covariance(noise_covariance, n_measurements), n_measurements)
        levels = _checked_levels(noise_level, n_measurements)
        if levels.ndim == 0 or (levels == levels.flat[0]).all():
            return cls(n_measurements, float(levels.flat[0]))
        return cls._of(levels**2, n_measurements)

    @classmethod
    def estimated(cls, residual, weight, n_parameters, regressors=None, rounding=0.0):
        """The noise that the residuals of a linear fit of y on x show.

        It is white, unequal or correlated as :mod:`skinvbayes.noise.estimate` decides.
        Readings that cannot be Gaussian do not count. Without residuals the level is zero, and the
        noise white. A measurement without any residual gets the mean variance of the other ones.

        Parameters
        ----------
        residual : ndarray of shape (n_samples, n_measurements)
            Measurements less the fit.
        weight : ndarray of shape (n_samples,)
            How often each row counts.
        n_parameters : int
            Regressors for each measurement, with the constant: degrees of freedom that were used.
        regressors : None or ndarray of shape (n_samples, n_parameters), default=None
            They let the fit be done again without outliers, which otherwise raise or lower the
            level where there are few rows for each parameter.
        rounding : float or ndarray of shape (n_measurements,), default=0.0
            Standard deviation that rounding errors explain, such as 1e-13 times the size of y:
            they are not equal and independent, and would be taken for such noise.

        Returns
        -------
        noise : NoiseModel
            Of the simplest kind that explains the residuals.
        """
        covariance = estimated_covariance(residual, weight, n_parameters, regressors, rounding)
        return cls._of(covariance, residual.shape[1])

    @classmethod
    def _of(cls, covariance, n_measurements):
        """The simplest model of a covariance: a variance, variances, or a matrix."""
        covariance = np.asarray(covariance)
        if covariance.ndim == 2 and not (covariance - np.diag(covariance.diagonal())).any():
            covariance = covariance.diagonal().copy()
        if covariance.ndim == 1 and (covariance == covariance[0]).all():
            covariance = covariance[0]
        if covariance.ndim == 0:
            return cls(n_measurements, float(np.sqrt(covariance)))
        matrix = covariance if covariance.ndim == 2 else None
        variances = covariance if matrix is None else matrix.diagonal()
        return cls(n_measurements, float(np.sqrt(variances.mean())), variances, matrix)

    @property
    def kind(self):
        """``"white"``, ``"unequal"`` or ``"correlated"``."""
        if self.matrix is not None:
            return "correlated"
        return "white" if self.variances is None else "unequal"

    @property
    def std(self):
        """Standard deviations of the single measurements, of shape (n_measurements,)."""
        if self.kind == "white":
            return np.full(self.n_measurements, self.level)
        return np.sqrt(self.variances)

    @property
    def covariance(self):
        """Σ as a matrix of shape (n_measurements, n_measurements), whatever the kind."""
        return np.diag(self.std**2) if self.matrix is None else self.matrix

    @cached_property
    def whitener(self):
        """``W = δ̄ Σ^(-1/2)``, symmetric.

        For correlated noise it is a matrix of shape (n_measurements, n_measurements), else the
        diagonal of one, of shape (n_measurements,); ones for white noise.
        """
        if self.kind == "white":
            return np.ones(self.n_measurements)
        if self.kind == "unequal":
            return self.level / self.std
        # by a root of the correlations: the levels may differ by many orders of magnitude
        std = self.std
        spectrum, axes = np.linalg.eigh(self.matrix / np.outer(std, std))
        axes, roots, _ = np.linalg.svd(std[:, None] * axes * np.sqrt(spectrum))
        return (axes * (self.level / roots)) @ axes.T

    def whiten(self, Y):
        """``W y`` for every row: (n_samples, n_measurements), the same array for white noise."""
        if self.kind == "white":
            return Y
        return Y @ self.whitener if self.kind == "correlated" else Y * self.whitener

    def drawn(self, n_samples, rng):
        """Noise of shape (n_samples, n_measurements), from a RandomState."""
        white = rng.standard_normal((n_samples, self.n_measurements))
        if self.kind == "correlated":
            return white @ np.linalg.cholesky(self.matrix).T
        return white * self.std

    def whitened_matrix(self, A):
        """``W A``, of a matrix of shape (n_measurements, n_features).

        It is the same object for white noise, and stays sparse for unequal noise.
        """
        if self.kind == "white":
            return A
        if self.kind == "correlated":
            return self.whitener @ A
        return diags_array(self.whitener) @ A if issparse(A) else self.whitener[:, None] * A

    def restricted(self, kept):
        """The noise of some measurements: a mask or indices of shape (n_measurements,)."""
        kept = np.arange(self.n_measurements)[kept]
        if self.kind == "white":
            return type(self)(len(kept), self.level)
        part = self.variances[kept] if self.matrix is None else self.matrix[np.ix_(kept, kept)]
        return self._of(part, len(kept))


def _checked_levels(noise_level, n_measurements):
    """One level or an array of them."""
    levels = _as_floats("noise_level", noise_level)
    if levels.ndim and levels.shape != (n_measurements,):
        raise ValueError(
            f"noise_level has shape {levels.shape}, but there are {n_measurements} measurements: "
            f"give one number, or an array of shape ({n_measurements},)."
        )
    if levels.ndim == 0 and levels < 0:
        raise ValueError(
            f"noise_level must not be negative; got {levels:g}. It is a standard deviation, in the "
            "units of y."
        )
    if levels.ndim and not (levels > 0).all():
        k = int((levels <= 0).argmax())
        raise ValueError(
            f"noise_level must be positive for every measurement; got {levels[k]:g} for "
            f"measurement {k}. Give a small positive level, or leave the measurement out."
        )
    if levels.any() and levels.min() < _SMALLEST:
        raise ValueError(
            f"noise_level must be zero or at least {_SMALLEST:g}; got {levels.min():g}, which is "
            "too small to be squared. Choose other units."
        )
    return levels


def _checked_covariance(noise_covariance, n_measurements):
    """A symmetric positive definite matrix."""
    covariance, shape = _as_floats("noise_covariance", noise_covariance), (n_measurements,) * 2
    if covariance.shape != shape:
        raise ValueError(
            f"noise_covariance has shape {covariance.shape}, but there are {n_measurements} "
            f"measurements: a matrix of shape {shape} is needed. Give levels as noise_level."
        )
    difference, size = np.abs(covariance - covariance.T).max(), np.abs(covariance).max()
    if difference > _ASYMMETRY * size:
        raise ValueError(
            "noise_covariance must be symmetric; entries and their mirror images differ by up to "
            f"{difference:.3g}. Give (C + C.T) / 2 if C is meant."
        )
    covariance = (covariance + covariance.T) / 2
    variances = covariance.diagonal()
    if not (variances > 0).all():
        k = int((variances <= 0).argmax())
        raise ValueError(
            f"noise_covariance must be positive definite; its diagonal is {variances[k]:.3g} for "
            f"measurement {k}. Give a small positive variance, or leave the measurement out."
        )
    if variances.min() < _SMALLEST**2:
        raise ValueError(
            f"noise_covariance must have variances of at least {_SMALLEST**2:g}, the square of the "
            f"smallest noise_level; got {variances.min():g}. Choose other units."
        )
    std = np.sqrt(variances)
    spectrum = np.linalg.eigvalsh(covariance / np.outer(std, std))
    if spectrum[0] <= _SINGULAR * spectrum[-1]:
        raise ValueError(
            "noise_covariance must be positive definite; the eigenvalues of its correlations go "
            f"from {spectrum[0]:.3g} to {spectrum[-1]:.3g}. Add a small multiple of its diagonal."
        )
    return covariance


def _as_floats(name, values):
    """An array of finite numbers."""
    try:
        array = np.array(values)
        if np.iscomplexobj(array):
            raise ValueError
        array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be made of real numbers; got {values!r}.") from None
    if not np.isfinite(array).all():
        n_bad = np.count_nonzero(~np.isfinite(array))
        raise ValueError(f"{name} must be finite; got {n_bad} NaN or infinite of {array.size}.")
    return array

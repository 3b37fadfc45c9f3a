"""Measurements of which some readings are missing."""

import copy

import numpy as np

__all__ = ["ObservedPrecision", "missing_patterns"]


def missing_patterns(Y):
    """Rows with the same missing measurements.

    Parameters
    ----------
    Y : ndarray of shape (n_samples, n_measurements)
        Measurements; NaN where one is missing.

    Yields
    ------
    rows : ndarray of int
        The rows.
    kept : ndarray of bool, of shape (n_measurements,)
        Which of their measurements there are.
    """
    patterns, labels = np.unique(~np.isnan(Y), axis=0, return_inverse=True)
    for k, kept in enumerate(patterns):
        yield np.flatnonzero(labels.ravel() == k), kept


class ObservedPrecision:
    """The matrices Q = δ² Σ⁻¹ of the readings that there are, with zeros where one is missing.

    They are W W with the symmetric W = δ Σ^(−1/2) of these readings, which makes the noise white.

    Parameters
    ----------
    noise : NoiseModel
        The noise of all measurements, of level δ.
    Y : ndarray of shape (n_samples, n_measurements)
        Measurements, with NaN where one is missing; every row has a matrix of its own.
    """

    def __init__(self, noise, Y):
        self.noise, self.missing = noise, np.isnan(Y)
        self._whiteners = {}

    def rows(self, index):
        """The same for some of the rows."""
        other = copy.copy(self)
        other.missing = self.missing[index]
        return other

    def product(self, residual):
        """``Q r`` for every row, of shape (n_samples, n_measurements).

        What stands where a measurement is missing does not count.
        """
        return self.whiten(self.whiten(residual))

    def whiten(self, residual):
        """``W r`` for every row, of shape (n_samples, …, n_measurements)."""
        missing = self.missing.reshape(len(residual), *(1,) * (residual.ndim - 2), -1)
        residual = np.where(missing, 0.0, residual)
        if self.noise.kind != "correlated":
            return residual * self.noise.whitener
        white = np.zeros_like(residual)
        for rows, kept in missing_patterns(np.where(self.missing, np.nan, 0.0)):
            part = np.zeros_like(residual[rows])
            part[..., kept] = residual[rows][..., kept] @ self._whitener(kept)
            white[rows] = part
        return white

    def _whitener(self, kept):
        """``δ Σ^(−1/2)`` of the measurements of a pattern, computed once."""
        key = kept.tobytes()
        if key not in self._whiteners:
            part = self.noise.restricted(kept)
            whitener = part.whitener * (self.noise.level / part.level)
            self._whiteners[key] = whitener if whitener.ndim == 2 else np.diag(whitener)
        return self._whiteners[key]

"""Measurements of which some readings are missing."""

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

    Parameters
    ----------
    noise : NoiseModel
        The noise of all measurements, of level δ.
    Y : ndarray of shape (n_samples, n_measurements)
        Measurements, with NaN where one is missing; every row has a matrix of its own.
    """

    def __init__(self, noise, Y):
        self.noise, self.missing = noise, np.isnan(Y)
        self._precisions = {}

    def rows(self, index):
        """The same for some of the rows."""
        other = type(self).__new__(type(self))
        other.noise, other.missing = self.noise, self.missing[index]
        other._precisions = self._precisions
        return other

    def product(self, residual):
        """``Q r`` for every row; what stands where a measurement is missing does not count."""
        residual = np.where(self.missing, 0.0, residual)
        if self.noise.kind != "correlated":
            return residual * self.noise.whitener**2
        weighted = np.zeros_like(residual)
        for rows, kept in missing_patterns(np.where(self.missing, np.nan, 0.0)):
            part = np.ix_(rows, kept)
            weighted[part] = residual[part] @ self._precision(kept)
        return weighted

    def _precision(self, kept):
        """``δ² Σ⁻¹`` of the measurements of a pattern, computed once."""
        key = kept.tobytes()
        if key not in self._precisions:
            std = self.noise.std[kept] / self.noise.level
            correlations = self.noise.matrix[np.ix_(kept, kept)] / self.noise.level**2
            correlations /= np.outer(std, std)
            self._precisions[key] = np.linalg.inv(correlations) / np.outer(std, std)
        return self._precisions[key]

"""Measurements of which some readings are missing."""

import numpy as np

__all__ = ["missing_patterns"]


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

"""Root mean square errors, of entries and of rows."""

import numpy as np

__all__ = ["entry_rmse", "row_rmse"]


def entry_rmse(first, second):
    """Root of the mean square difference of the entries of two arrays."""
    return float(np.sqrt(((np.asarray(first) - np.asarray(second)) ** 2).mean()))


def row_rmse(first, second):
    """Root of the mean square distance of the rows of two arrays of shape (n_samples, n)."""
    difference = np.asarray(first) - np.asarray(second)
    return float(np.sqrt((difference**2).sum(axis=1).mean()))

"""Root mean square errors of arrays of rows."""

import numpy as np

__all__ = ["entry_rmse", "row_rmse"]


def row_rmse(first, second):
    """Root mean square distance of rows, ``√ mean_i ‖a_i − b_i‖²``.

    It is √n_features times :func:`entry_rmse`.

    Parameters
    ----------
    first, second : array-likes of shape (n_samples, n_features)
        What is compared; one of them may be any array that broadcasts to the other's shape.

    Returns
    -------
    error : float
        The error of a whole row, in the units of the rows.
    """
    difference = np.asarray(first) - np.asarray(second)
    return float(np.sqrt((difference**2).sum(axis=1).mean()))


def entry_rmse(first, second):
    """Root mean square difference of entries, ``√ mean_ij (a_ij − b_ij)²``.

    It is the error of one pixel or coordinate, :func:`row_rmse` that of a whole row.

    Parameters
    ----------
    first, second : array-likes
        What is compared, of equal shapes or broadcast to one shape.

    Returns
    -------
    error : float
        The error of an entry, in the units of the entries.
    """
    return float(np.sqrt(((np.asarray(first) - np.asarray(second)) ** 2).mean()))

"""Matrices in all the forms in which people keep them, as real arrays or sparse matrices."""

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import check_array

from .real import refuse_complex_operator

__all__ = ["as_matrix"]


def as_matrix(operator):
    """A copy of an operator that is given by its entries; None for any other.

    Parameters
    ----------
    operator : object
        An array, a list of rows, a data frame, a tensor or a sparse matrix or array of any format
        has entries; what has ``matvec`` is asked for products instead.

    Returns
    -------
    matrix : ndarray or sparse matrix in CSR or CSC format, of dtype float64, or None

    Raises
    ------
    ValueError
        If it has entries, but is not a finite, real matrix.
    """
    if isinstance(operator, torch.Tensor):
        operator = operator.to_dense().numpy(force=True)
    if issparse(operator):
        return _sparse_matrix(operator)
    if isinstance(operator, (list, tuple)) or hasattr(operator, "__array__"):
        return None if hasattr(operator, "matvec") else _dense_matrix(operator)
    return None


def _sparse_matrix(matrix):
    refuse_complex_operator(matrix)
    _check_shape(matrix)
    options = {"dtype": np.float64, "copy": True, "input_name": "operator"}
    matrix = check_array(matrix, accept_sparse=["csr", "csc"], **options)
    matrix.sum_duplicates()
    return matrix


def _dense_matrix(matrix):
    refuse_complex_operator(matrix)
    try:
        matrix = np.array(np.asarray(matrix), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("operator must be a matrix of real numbers.") from error
    _check_shape(matrix)
    if not np.isfinite(matrix).all():
        raise ValueError("operator contains NaN or infinity; all its entries must be finite.")
    return matrix


def _check_shape(matrix):
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            "operator must be a matrix of shape (n_measurements, n_features); got an array of "
            f"shape {matrix.shape}."
        )

"""Products with operators that are functions, whatever these functions do with their arrays."""

from functools import cached_property

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .real import refuse_complex_operator

__all__ = ["Products"]

_AGREEMENT = 1e-3  # relative difference of products that were computed in two ways


class Products(LinearOperator):
    """A LinearOperator whose products are real arrays of dtype float64 of their own.

    Operators that people write may return one and the same array for all products, change the
    array that they are given, or take vectors of the shape (n,) alone, although scipy multiplies
    several vectors as a list of columns of the shape (n, 1). Products with two vectors tell, once,
    whether several can be multiplied at once; otherwise they are multiplied one by one.

    Parameters
    ----------
    operator : LinearOperator
        The operator.
    """

    def __init__(self, operator):
        refuse_complex_operator(operator.dtype)
        super().__init__(np.float64, operator.shape)
        self.operator = operator

    def _matvec(self, x):
        return self._matmat(x.reshape(-1, 1))

    def _rmatvec(self, y):
        return self._rmatmat(y.reshape(-1, 1))

    def _matmat(self, X):
        A = self.operator
        return _PRODUCTS[self._forward](A.matvec, A.matmat, X, A.shape[0])

    def _rmatmat(self, Y):
        A = self.operator
        return _PRODUCTS[self._adjoint_way](A.rmatvec, A.rmatmat, Y, A.shape[1])

    @cached_property
    def _forward(self):
        return _right_way(self.operator.matvec, self.operator.matmat, *self.shape)

    @cached_property
    def _adjoint_way(self):
        return _right_way(self.operator.rmatvec, self.operator.rmatmat, *self.shape[::-1])


def _vectors(vector, block, X, n_rows):
    """Products with the columns of X as vectors of shape (n,), one by one."""
    products = np.empty((n_rows, X.shape[1]))
    for j, x in enumerate(X.T):
        products[:, j] = _real(vector(np.array(x, dtype=np.float64)))
    return products


def _columns(vector, block, X, n_rows):
    """Products with the columns of X as arrays of shape (n, 1), one by one.

    From SciPy 1.18 on these are vectors too, unless the operator defines its products with several.
    """
    return _vectors(lambda x: block(x[:, None])[:, 0], block, X, n_rows)


def _together(vector, block, X, n_rows):
    """Products with all columns of X at once."""
    return np.array(_real(block(np.array(X, dtype=np.float64))), dtype=np.float64)


_PRODUCTS = {"vectors": _vectors, "columns": _columns, "together": _together}


def _right_way(vector, block, n_rows, n_columns):
    """How an operator is multiplied; "vectors" also if no way works, so that its error is seen."""
    probe = np.random.RandomState(0).standard_normal((n_columns, 2))
    found = {}
    for way, multiply in _PRODUCTS.items():
        try:
            found[way] = multiply(vector, block, probe, n_rows)
        except Exception:  # of the user's code
            continue
    alone = "vectors" if "vectors" in found or "columns" not in found else "columns"
    is_block = _agree(found.get(alone), found.get("together"))
    return "together" if is_block else alone


def _agree(first, second):
    if first is None or second is None or first.shape != second.shape:
        return False
    return np.linalg.norm(first - second) <= _AGREEMENT * np.linalg.norm(first)


def _real(product):
    refuse_complex_operator(product)
    return product

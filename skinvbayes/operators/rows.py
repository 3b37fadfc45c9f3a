"""Rows that two operators have in common, as where some detectors of an instrument are dead."""

from collections import defaultdict

import numpy as np
from scipy.sparse import csr_array, issparse

from .linear import Operator
from .products import Products

__all__ = ["common_rows"]


def common_rows(operator, other):
    """Which row of another operator every row of an operator is.

    Parameters
    ----------
    operator, other : object
        Operators of any kind. Only matrices have rows that can be seen; what is given by functions
        has those of the same functions.

    Returns
    -------
    rows : ndarray of int of shape (n_measurements,), or None
        -1 for a row that the other one has not; None where there is no other row. Of equal rows
        each is taken once, in order, before the last is taken again.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.operators import as_operator
    >>> from skinvbayes.operators.rows import common_rows
    >>> A = np.arange(6.0).reshape(3, 2)
    >>> common_rows(as_operator(A[[2, 0]]), as_operator(A)).tolist()
    [2, 0]
    """
    if not isinstance(operator, Operator) or not isinstance(other, Operator):
        return None
    if _source(operator) is _source(other):
        return np.arange(operator.shape[0])
    if not (_is_matrix(operator) and _is_matrix(other)):
        return None
    places = defaultdict(list)
    for row, entries in enumerate(_entries(other)):
        places[entries].append(row)
    rows = np.array([_next(places.get(entries)) for entries in _entries(operator)])
    return rows if (rows >= 0).any() else None


def _source(operator):
    """What was given: a matrix or functions."""
    base = operator.base
    return base.operator if isinstance(base, Products) else base


def _is_matrix(operator):
    return isinstance(operator.base, np.ndarray) or issparse(operator.base)


def _entries(operator):
    """What tells a row from others: where its entries are, and which."""
    matrix = csr_array(operator.base, dtype=np.float64, copy=True)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    columns, starts = matrix.indices.astype(np.int64), matrix.indptr
    parts = [slice(a, b) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    return [(columns[part].tobytes(), matrix.data[part].tobytes()) for part in parts]


def _next(rows):
    """The first of the rows that are left, which the last one always is."""
    if not rows:
        return -1
    return rows.pop(0) if len(rows) > 1 else rows[0]

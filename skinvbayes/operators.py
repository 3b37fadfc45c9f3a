"""The linear operator of an inverse problem: rows in, rows out, with its adjoint and its norm."""

import numpy as np
from scipy.linalg import solve
from scipy.sparse.linalg import aslinearoperator, svds
from sklearn.utils import check_random_state

__all__ = ["Operator", "as_operator", "check_adjoint", "estimate_operator"]

_DENSE_SIZE = 2**22  # entries up to which an operator's matrix is formed for its exact norm


class Operator:
    """A linear operator that acts on the rows of arrays.

    Parameters
    ----------
    linear_operator : LinearOperator of shape (n_measurements, n_features)
        The operator ``A`` with its adjoint.
    """

    def __init__(self, linear_operator):
        self.linear_operator = linear_operator

    @property
    def shape(self):
        """``(n_measurements, n_features)``."""
        return self.linear_operator.shape

    def forward(self, X):
        """``A x`` for every row: (n_samples, n_features) → (n_samples, n_measurements)."""
        return self.linear_operator.matmat(np.asarray(X).T).T

    def adjoint(self, Y):
        """``Aᵀ y`` for every row: (n_samples, n_measurements) → (n_samples, n_features)."""
        return self.linear_operator.rmatmat(np.asarray(Y).T).T

    def gram(self, X):
        """``AᵀA x`` for every row: (n_samples, n_features) → (n_samples, n_features)."""
        return self.adjoint(self.forward(X))

    def to_dense(self):
        """The matrix ``A`` as an ndarray of shape (n_measurements, n_features)."""
        return np.asarray(self.linear_operator.matmat(np.eye(self.shape[1])))

    def norm(self):
        """Spectral norm ``‖A‖₂``: exact for small operators, by Lanczos iteration for large."""
        if self.shape[0] * self.shape[1] <= _DENSE_SIZE:
            return float(np.linalg.norm(self.to_dense(), 2))
        start = np.random.RandomState(0).standard_normal(min(self.shape))
        return float(svds(self.linear_operator, k=1, v0=start, return_singular_vectors=False)[0])


def as_operator(operator):
    """Wrap anything that :func:`scipy.sparse.linalg.aslinearoperator` takes.

    Parameters
    ----------
    operator : array-like, sparse matrix or array, LinearOperator or Operator
        The operator ``A`` of shape (n_measurements, n_features). pylops operators are
        LinearOperators.

    Returns
    -------
    operator : Operator
        The same operator, acting on rows.

    Raises
    ------
    TypeError
        If it is not something that maps vectors linearly.
    ValueError
        If it is an array that is not a finite, real matrix.

    Examples
    --------
    >>> from skinvbayes.operators import as_operator
    >>> A = as_operator([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    >>> A.forward([[1.0, 1.0, 1.0]])
    array([[3., 2.]])
    >>> A.adjoint([[1.0, 1.0]])
    array([[1., 3., 1.]])
    """
    if isinstance(operator, Operator):
        return operator
    if isinstance(operator, (list, tuple, np.ndarray)):
        operator = _check_matrix(operator)
    try:
        return Operator(aslinearoperator(operator))
    except (TypeError, ValueError) as error:
        raise TypeError(
            "operator must be a matrix, a sparse matrix, or a LinearOperator with shape, matvec "
            f"and rmatvec; got {type(operator).__name__}."
        ) from error


def estimate_operator(X, Y, *, alpha=1e-8):
    """Estimate the operator from pairs by ridge least squares with an intercept.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Signals.
    Y : array-like of shape (n_samples, n_measurements)
        Measurements.
    alpha : float, default=1e-8
        Ridge penalty, relative to the mean variance of the signals' coordinates. It fixes the
        operator where the signals do not vary.

    Returns
    -------
    operator : Operator
        The minimiser of ``‖(Y − ȳ) − (X − x̄) Aᵀ‖² + n α v ‖A‖²``, ``v`` the mean variance.
    """
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    signals, measurements = X - X.mean(axis=0), Y - Y.mean(axis=0)
    second_moment = signals.T @ signals
    ridge = alpha * np.trace(second_moment) / X.shape[1] + np.finfo(np.float64).tiny
    second_moment[np.diag_indices_from(second_moment)] += ridge
    matrix = solve(second_moment, signals.T @ measurements, assume_a="pos").T
    return Operator(aslinearoperator(matrix))


def check_adjoint(operator, *, random_state=None, rtol=1e-6):
    """Check that an operator's adjoint is its adjoint: ``⟨A u, v⟩ = ⟨u, Aᵀ v⟩`` (dot test).

    Parameters
    ----------
    operator : array-like, sparse matrix, LinearOperator or Operator
        The operator to examine.
    random_state : int, RandomState instance or None, default=None
        Source of the random vectors ``u`` and ``v``.
    rtol : float, default=1e-6
        Largest allowed difference, relative to ``‖A u‖ ‖v‖``.

    Raises
    ------
    ValueError
        If the two inner products differ, with both of them.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse.linalg import LinearOperator
    >>> from skinvbayes.operators import check_adjoint
    >>> shift = LinearOperator((3, 3), matvec=lambda x: np.roll(x, 1),
    ...                        rmatvec=lambda y: np.roll(y, 1))
    >>> check_adjoint(shift, random_state=0)
    Traceback (most recent call last):
    ...
    ValueError: The operator's rmatvec is not the adjoint of its matvec: ⟨A u, v⟩ = ...
    """
    operator = as_operator(operator)
    rng = check_random_state(random_state)
    u = rng.standard_normal((1, operator.shape[1]))
    v = rng.standard_normal((1, operator.shape[0]))
    image, preimage = operator.forward(u), operator.adjoint(v)
    left, right = np.vdot(image, v), np.vdot(u, preimage)
    scale = max(
        np.linalg.norm(image) * np.linalg.norm(v), np.linalg.norm(u) * np.linalg.norm(preimage)
    )
    if not abs(left - right) <= rtol * scale:
        raise ValueError(
            f"The operator's rmatvec is not the adjoint of its matvec: ⟨A u, v⟩ = {left:.6g} but "
            f"⟨u, Aᵀ v⟩ = {right:.6g}. Correct its rmatvec."
        )


def _check_matrix(matrix):
    try:
        matrix = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("operator must be a matrix of real numbers.") from error
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(
            "operator must be a matrix of shape (n_measurements, n_features); got an array of "
            f"shape {matrix.shape}."
        )
    if not np.isfinite(matrix).all():
        raise ValueError("operator contains NaN or infinity; all its entries must be finite.")
    return matrix

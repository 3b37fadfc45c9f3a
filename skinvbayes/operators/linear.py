"""The linear operator of an inverse problem: it maps rows, and has an adjoint."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse.linalg import (
    ArpackNoConvergence,
    LinearOperator,
    aslinearoperator,
    eigsh,
    svds,
)
from sklearn.linear_model import Ridge
from sklearn.utils import check_random_state

from ..numerics.checks import check_tolerance
from ..numerics.chunks import MATRIX_FEATURES
from ..numerics.modes import OwnModes, own_modes
from ..numerics.sklearn_compat import check_sample_weight
from ..numerics.types import Array, RandomState
from .matrices import as_matrix
from .products import Products
from .real import refuse_complex_data, refuse_complex_operator

__all__ = ["GramOperator", "Operator", "as_operator", "check_adjoint", "estimate_operator"]

LEAST_SQUARES_RIDGE = 1e-8  # penalty for each pair, relative to the variance of the signals
_LANCZOS_STEPS = 50  # at most, for the lower bound of the spectrum of AᵀA
_MARGIN = 1e-3  # subtracted from that bound, relative to the norm of AᵀA
_DENSE_SIZE = 2**18  # the norm is exact for operators of at most this many entries
_ROUNDING = 1e-12  # standard deviation of a constant feature, relative to its values


class Operator(OwnModes):
    """A linear operator that acts on the rows of arrays.

    Parameters
    ----------
    base : ndarray, sparse matrix or LinearOperator of shape (n_measurements, n_features)
        The operator ``A``, with its adjoint. A matrix is kept as a matrix, not wrapped in a
        LinearOperator, so that it can be stored safely.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.operators import Operator
    >>> A = Operator(np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
    >>> A.forward([[1.0, 1.0]]), A.adjoint([[1.0, 1.0, 1.0]])
    (array([[1., 2., 2.]]), array([[2., 3.]]))
    """

    def __init__(self, base: Any):
        refuse_complex_operator(base)
        is_function = isinstance(base, LinearOperator) and not isinstance(base, Products)
        self.base = Products(base) if is_function else base

    def __repr__(self):
        return f"<{self.shape} {type(self).__name__}>"

    def __deepcopy__(self, memo):
        return self  # it does not change, may be large, and may hold what cannot be copied

    @property
    def linear_operator(self) -> LinearOperator:
        """The operator as a LinearOperator, which acts on columns."""
        return aslinearoperator(self.base)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_measurements, n_features)``."""
        return self.base.shape

    def forward(self, X: ArrayLike) -> Array:
        """``A x`` for every row: (n_samples, n_features) → (n_samples, n_measurements)."""
        return self.linear_operator.matmat(np.asarray(X).T).T

    def adjoint(self, Y: ArrayLike) -> Array:
        """``Aᵀ y`` for every row: (n_samples, n_measurements) → (n_samples, n_features)."""
        return self.linear_operator.rmatmat(np.asarray(Y).T).T

    def gram(self, X: ArrayLike) -> Array:
        """``AᵀA x`` for every row: (n_samples, n_features) → (n_samples, n_features)."""
        return self.adjoint(self.forward(X))

    def to_dense(self) -> Array:
        """The matrix ``A`` as an ndarray of shape (n_measurements, n_features)."""
        if isinstance(self.base, np.ndarray):
            return self.base
        if self.shape[0] < self.shape[1]:
            return np.asarray(self.linear_operator.rmatmat(np.eye(self.shape[0]))).T
        return np.asarray(self.linear_operator.matmat(np.eye(self.shape[1])))

    def normal(self) -> "Operator":
        """``AᵀA``: a matrix for at most 1,000 features, a :class:`GramOperator` for more."""
        if self.shape[1] > MATRIX_FEATURES:
            return GramOperator(self.base)
        A = self.to_dense()
        return Operator(A.T @ A)

    def lowest(self, norm: float) -> float:
        """A lower bound of the eigenvalues of this symmetric positive semidefinite operator.

        Parameters
        ----------
        norm : float
            The largest eigenvalue; a matrix needs none, its bound is exact.
        """
        return max(0.0, float(np.linalg.eigvalsh(self.to_dense())[0]))

    def trace(self, *, n_probes: int = 64) -> float:
        """Trace of a square operator: exact for matrices, estimated with random signs otherwise.

        References
        ----------
        M. F. Hutchinson (1989), "A stochastic estimator of the trace of the influence matrix for
        Laplacian smoothing splines", Communications in Statistics.
        """
        if not isinstance(self.base, LinearOperator):
            return float(self.base.trace())
        signs = np.random.RandomState(0).choice([-1.0, 1.0], (n_probes, self.shape[1]))
        return float(np.vdot(signs, self.forward(signs)) / n_probes)

    def norm(self) -> float:
        """Spectral norm ``‖A‖₂``: exact for small operators, by Lanczos iteration for large."""
        if self.shape[0] * self.shape[1] <= _DENSE_SIZE or min(self.shape) == 1:
            return float(np.linalg.norm(self.to_dense(), 2))
        rng = np.random.RandomState(0)
        if not self.forward(rng.standard_normal((1, self.shape[1]))).any():
            return 0.0
        start = rng.standard_normal(min(self.shape))
        return float(svds(self.linear_operator, k=1, v0=start, return_singular_vectors=False)[0])


class GramOperator(Operator):
    """The operator ``AᵀA``, applied as A and then its adjoint, without forming a matrix.

    Parameters
    ----------
    base : sparse matrix or LinearOperator of shape (n_measurements, n_features)
        The operator A.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.operators import GramOperator
    >>> GramOperator(np.array([[1.0, 0.0], [0.0, 2.0]])).forward([[1.0, 1.0]])
    array([[1., 4.]])
    """

    @property
    def linear_operator(self) -> LinearOperator:
        """The operator as a LinearOperator, which acts on columns."""
        A = aslinearoperator(self.base)
        return A.H @ A

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_features, n_features)``."""
        return 2 * (self.base.shape[1],)

    def forward(self, X: ArrayLike) -> Array:
        """``AᵀA x`` for every row."""
        if isinstance(self.base, LinearOperator):
            return super().forward(X)
        return (self.base.T @ (self.base @ np.asarray(X).T)).T

    def trace(self, *, n_probes: int = 64) -> float:
        """``tr AᵀA = ‖A‖²`` (Frobenius): exact for matrices, else estimated with random signs."""
        if isinstance(self.base, LinearOperator):
            return super().trace(n_probes=n_probes)
        return float((abs(self.base) ** 2).sum())

    def to_dense(self) -> Array:
        """The matrix ``AᵀA``."""
        A = Operator(self.base).to_dense()
        return A.T @ A

    def norm(self) -> float:
        """``‖A‖₂²``."""
        return Operator(self.base).norm() ** 2

    def lowest(self, norm: float) -> float:
        """A lower bound of the eigenvalues, from Lanczos iteration minus a margin.

        Parameters
        ----------
        norm : float
            The largest eigenvalue ``‖A‖₂²``. Lanczos iteration finds the largest eigenvalue of
            2 ‖A‖₂² I − AᵀA; where it does not converge, the bound is zero.
        """
        n = self.shape[0]
        flipped = LinearOperator(
            (n, n), lambda x: 2 * norm * x - self.linear_operator @ x, dtype=float
        )
        start = np.random.RandomState(0).standard_normal(n)
        try:
            options = {"k": 1, "v0": start, "tol": _MARGIN / 10, "return_eigenvectors": False}
            largest = float(eigsh(flipped, maxiter=_LANCZOS_STEPS, **options)[0])
        except ArpackNoConvergence:
            return 0.0
        return max(0.0, (2 - _MARGIN) * norm - largest)


def as_operator(operator: Any) -> "Operator":
    """Wrap anything that maps vectors linearly.

    Parameters
    ----------
    operator : array-like, data frame, tensor, sparse matrix or array, LinearOperator or Operator
        The operator ``A`` of shape (n_measurements, n_features). pylops operators are
        LinearOperators, and so is what has ``shape``, ``matvec`` and ``rmatvec``.

    Returns
    -------
    operator : Operator
        The same operator, acting on rows.

    Raises
    ------
    TypeError
        If it is not something that maps vectors linearly.
    ValueError
        If it is complex, or an array that is not a finite matrix.

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
    matrix = as_matrix(operator)
    if matrix is not None:
        return Operator(matrix)
    try:
        linear_operator = aslinearoperator(operator)
    except (TypeError, ValueError) as error:
        raise TypeError(
            "operator must be a matrix, a sparse matrix, or a LinearOperator with shape, matvec "
            f"and rmatvec; got {type(operator).__name__}."
        ) from error
    return Operator(linear_operator)


@own_modes()
def estimate_operator(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    alpha: float = LEAST_SQUARES_RIDGE,
) -> Operator:
    """Estimate the operator from pairs by ridge least squares with an intercept.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Signals.
    Y : array-like of shape (n_samples, n_measurements) or (n_samples,)
        Measurements.
    sample_weight : array-like of shape (n_samples,), default=None
        How often each pair counts; once by default.
    alpha : float, default=1e-8
        Ridge penalty for each pair, relative to the variances of the signals' coordinates. In
        directions in which the signals do not vary, it makes the estimated operator zero.

    Returns
    -------
    operator : Operator
        The minimiser of ``‖(Y − ȳ) − (X − x̄) Aᵀ‖² + n α ‖A D‖²``, ``D`` the diagonal matrix of the
        standard deviations.

    Examples
    --------
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.operators import estimate_operator
    >>> data = make_bimodal(2000, operator=[[1, 0], [1, 1]], noise_level=0.1, random_state=0)
    >>> A = estimate_operator(data.X, data.Y)
    >>> A.to_dense().round(1) + 0.0
    array([[1., 0.],
           [1., 1.]])
    """
    refuse_complex_data(X, "X"), refuse_complex_data(Y, "Y")
    check_tolerance(alpha, "alpha")
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    Y = Y.reshape(len(Y), -1)
    weight = check_sample_weight(sample_weight, X)
    if not weight.any():
        raise ValueError("sample_weight is zero for every sample; at least one must count.")
    mean = np.average(X, axis=0, weights=weight)
    deviations = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    units = units_of_features(deviations, np.abs(X).max(axis=0))
    ridge = Ridge(alpha=max(alpha * weight.sum(), np.finfo(float).tiny), solver="cholesky")
    ridge.fit((X - mean) / units, Y, sample_weight=weight)
    return Operator(ridge.coef_.reshape(Y.shape[1], X.shape[1]) / units)


def units_of_features(deviations, sizes):
    """Standard deviations; infinite for what is constant but for rounding, and gets no weight."""
    return np.where(deviations > _ROUNDING * sizes, deviations, np.inf)


@own_modes()
def check_adjoint(operator: Any, *, random_state: RandomState = None, rtol: float = 1e-6) -> None:
    """Check that ``rmatvec`` is the adjoint of ``matvec``: ``⟨A u, v⟩ = ⟨u, Aᵀ v⟩`` (dot test).

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
        If the two inner products differ (the message shows both), or if there is no adjoint.

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
    check_tolerance(rtol, "rtol")
    operator = as_operator(operator)
    rng = check_random_state(random_state)
    u = rng.standard_normal((2, operator.shape[1]))  # two at once, as in all later products
    v = rng.standard_normal((2, operator.shape[0]))
    try:
        image, preimage = operator.forward(u), operator.adjoint(v)
    except (NotImplementedError, TypeError) as error:
        raise ValueError(
            "The operator cannot be applied to a vector, or has no adjoint: define matvec and "
            "rmatvec."
        ) from error
    sizes = [np.linalg.norm(part, axis=1) for part in (image, v, u, preimage)]
    scale = np.maximum(sizes[0] * sizes[1], sizes[2] * sizes[3])
    left, right = (image * v).sum(axis=1), (u * preimage).sum(axis=1)
    wrong = np.flatnonzero(~(np.abs(left - right) <= rtol * scale))
    if len(wrong):
        left, right = left[wrong[0]], right[wrong[0]]
        raise ValueError(
            f"The operator's rmatvec is not the adjoint of its matvec: ⟨A u, v⟩ = {left:.6g} but "
            f"⟨u, Aᵀ v⟩ = {right:.6g}. Correct its rmatvec."
        )

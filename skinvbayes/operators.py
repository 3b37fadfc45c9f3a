"""The operator of an inverse problem: it maps rows, and has an adjoint, or a Jacobian."""

import numpy as np
import torch
from scipy.sparse import issparse
from scipy.sparse.linalg import (
    ArpackNoConvergence,
    LinearOperator,
    aslinearoperator,
    eigsh,
    svds,
)
from sklearn.linear_model import Ridge
from sklearn.utils import check_array, check_random_state

__all__ = [
    *("GramOperator", "NonlinearOperator", "Operator", "as_nonlinear_operator", "as_operator"),
    *("check_adjoint", "check_jacobian", "estimate_operator"),
]

_DENSE_FEATURES = 512  # AᵀA becomes a matrix for at most this many features
_LANCZOS_STEPS = 50  # at most, for the lower bound of the spectrum of AᵀA
_MARGIN = 1e-3  # subtracted from that bound, relative to the norm of AᵀA
_DENSE_SIZE = 2**18  # the norm is exact for operators of at most this many entries
_DIFFERENCE = 6e-6  # step of central differences relative to signals: the cube root of rounding
_NO_DERIVATIVE = (
    "forward cannot be differentiated: it must be a function of torch that maps a float64 tensor "
    "to a tensor. For a function of numpy give its derivative: NonlinearOperator(forward, jacobian)"
)


class Operator:
    """A linear operator that acts on the rows of arrays.

    Parameters
    ----------
    base : ndarray, sparse matrix or LinearOperator of shape (n_measurements, n_features)
        The operator ``A``, with its adjoint. A matrix is kept as a matrix, not wrapped in a
        LinearOperator, so that it can be stored safely.
    """

    def __init__(self, base):
        self.base = base

    @property
    def linear_operator(self):
        """The operator as a LinearOperator, which acts on columns."""
        return aslinearoperator(self.base)

    @property
    def shape(self):
        """``(n_measurements, n_features)``."""
        return self.base.shape

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
        if isinstance(self.base, np.ndarray):
            return self.base
        if self.shape[0] < self.shape[1]:
            return np.asarray(self.linear_operator.rmatmat(np.eye(self.shape[0]))).T
        return np.asarray(self.linear_operator.matmat(np.eye(self.shape[1])))

    def normal(self):
        """``AᵀA``: a matrix for at most 512 features, a :class:`GramOperator` for more."""
        if self.shape[1] > _DENSE_FEATURES:
            return GramOperator(self.base)
        A = self.to_dense()
        return Operator(A.T @ A)

    def lowest(self, norm):
        """A lower bound of the eigenvalues of this symmetric positive semidefinite operator.

        Parameters
        ----------
        norm : float
            The largest eigenvalue; a matrix needs none, its bound is exact.
        """
        return max(0.0, float(np.linalg.eigvalsh(self.to_dense())[0]))

    def trace(self, *, n_probes=64):
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

    def norm(self):
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
    """

    @property
    def linear_operator(self):
        """The operator as a LinearOperator, which acts on columns."""
        A = aslinearoperator(self.base)
        return A.H @ A

    @property
    def shape(self):
        """``(n_features, n_features)``."""
        return 2 * (self.base.shape[1],)

    def trace(self, *, n_probes=64):
        """``tr AᵀA = ‖A‖²`` (Frobenius): exact for matrices, else estimated with random signs."""
        if isinstance(self.base, LinearOperator):
            return super().trace(n_probes=n_probes)
        return float((abs(self.base) ** 2).sum())

    def to_dense(self):
        """The matrix ``AᵀA``."""
        A = Operator(self.base).to_dense()
        return A.T @ A

    def norm(self):
        """``‖A‖₂²``."""
        return Operator(self.base).norm() ** 2

    def lowest(self, norm):
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
        return Operator(_check_matrix(operator))
    if issparse(operator):
        kwargs = {"dtype": np.float64, "copy": True, "input_name": "operator"}
        return Operator(check_array(operator, accept_sparse=True, **kwargs))
    try:
        return Operator(aslinearoperator(operator))
    except (TypeError, ValueError) as error:
        raise TypeError(
            "operator must be a matrix, a sparse matrix, or a LinearOperator with shape, matvec "
            f"and rmatvec; got {type(operator).__name__}."
        ) from error


def estimate_operator(X, Y, *, sample_weight=None, alpha=1e-8):
    """Estimate the operator from pairs by ridge least squares with an intercept.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Signals.
    Y : array-like of shape (n_samples, n_measurements)
        Measurements.
    sample_weight : array-like of shape (n_samples,), default=None
        How often each pair counts; once by default.
    alpha : float, default=1e-8
        Ridge penalty for each pair, relative to the mean variance of the signals' coordinates. In
        directions in which the signals do not vary, it makes the estimated operator zero.

    Returns
    -------
    operator : Operator
        The minimiser of ``‖(Y − ȳ) − (X − x̄) Aᵀ‖² + n α v ‖A‖²``, ``v`` the mean variance.
    """
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    X = X * (np.ptp(X, axis=0) > 0)  # features that do not vary are zero, without rounding errors
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
    mean = np.average(X, axis=0, weights=weight)
    penalty = alpha * (weight @ (X - mean) ** 2).mean() or 1.0  # constant signals: A = 0
    ridge = Ridge(alpha=penalty, solver="cholesky").fit(X, Y, sample_weight=weight)
    return Operator(ridge.coef_.reshape(Y.shape[1], X.shape[1]))


def check_adjoint(operator, *, random_state=None, rtol=1e-6):
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
    operator = as_operator(operator)
    rng = check_random_state(random_state)
    u = rng.standard_normal((1, operator.shape[1]))
    v = rng.standard_normal((1, operator.shape[0]))
    try:
        image, preimage = operator.forward(u), operator.adjoint(v)
    except (NotImplementedError, TypeError) as error:
        raise ValueError(
            "The operator cannot be applied to a vector, or has no adjoint: define matvec and "
            "rmatvec."
        ) from error
    left, right = np.vdot(image, v), np.vdot(u, preimage)
    scale = max(
        np.linalg.norm(image) * np.linalg.norm(v), np.linalg.norm(u) * np.linalg.norm(preimage)
    )
    if not abs(left - right) <= rtol * scale:
        raise ValueError(
            f"The operator's rmatvec is not the adjoint of its matvec: ⟨A u, v⟩ = {left:.6g} but "
            f"⟨u, Aᵀ v⟩ = {right:.6g}. Correct its rmatvec."
        )


class NonlinearOperator:
    """A differentiable map F of signals to measurements, which acts on the rows of arrays.

    Parameters
    ----------
    forward : callable
        F, from rows (n_samples, n_features) to rows (n_samples, n_measurements), each row by
        itself. Without ``jacobian`` it is a function of torch, of float64 tensors; else of arrays.
    jacobian : callable, default=None
        DF, from rows to arrays (n_samples, n_measurements, n_features); by default it is found by
        automatic differentiation.
    n_measurements : int, default=None
        Size of a measurement, to be checked; any by default.

    Examples
    --------
    >>> from skinvbayes.operators import NonlinearOperator
    >>> F = NonlinearOperator(lambda x: x[:, :1] * x)
    >>> F.forward([[3.0, 2.0]]), F.jacobian([[3.0, 2.0]])
    (array([[9., 6.]]), array([[[6., 0.], [2., 3.]]]))
    """

    def __init__(self, forward, jacobian=None, *, n_measurements=None):
        self.function, self.derivative, self.n_measurements = forward, jacobian, n_measurements

    def __call__(self, X):
        """The same as :meth:`forward`."""
        return self.forward(X)

    def forward(self, X):
        """F(x) for every row: (n_samples, n_features) → (n_samples, n_measurements)."""
        X = np.asarray(X, dtype=np.float64)
        if self.derivative is not None:
            return self._checked("forward", self.function(X), X)
        with torch.inference_mode(False), torch.no_grad():
            return self._checked("forward", self._image(torch.tensor(X, device="cpu")), X)

    def jacobian(self, X):
        """DF(x) for every row, of shape (n_samples, n_measurements, n_features)."""
        X = np.asarray(X, dtype=np.float64)
        if self.derivative is not None:
            return self._checked("jacobian", self.derivative(X), X, X.shape[1:])
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.tensor(X, device="cpu", requires_grad=True)
            image = self._image(x)
            self._checked("forward", image.detach(), X)
            options = {"retain_graph": True, "materialize_grads": True}
            rows = [torch.autograd.grad(y.sum(), x, **options)[0] for y in image.unbind(1)]
            return torch.stack(rows, dim=1).numpy()

    def _image(self, x):
        try:
            image = self.function(x)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
            raise ValueError(f"{_NO_DERIVATIVE}. It failed with: {error}") from error
        if not isinstance(image, torch.Tensor) or image.requires_grad < torch.is_grad_enabled():
            raise ValueError(f"{_NO_DERIVATIVE}.")
        return image

    def _checked(self, name, values, X, further=()):
        """An array of shape (n_samples, n_measurements, *further)."""
        values, m = np.asarray(values, dtype=np.float64), self.n_measurements
        m = values.shape[1] if m is None and values.ndim > 1 else m
        if values.shape != (len(X), m, *further):
            expected = ", ".join(map(str, (len(X), m or "n_measurements", *further)))
            raise ValueError(
                f"{name} gave an array of shape {values.shape} for signals of shape {X.shape}; an "
                f"array of shape ({expected}) is needed."
            )
        return values


def as_nonlinear_operator(operator):
    """The NonlinearOperator that an estimator's parameter ``operator`` stands for, else None.

    It is one already, an object with methods ``forward`` and ``jacobian`` of rows, or a function
    of torch; anything else is left to :func:`as_operator`.
    """
    if isinstance(operator, NonlinearOperator):
        return operator
    if hasattr(operator, "shape") or hasattr(operator, "matvec"):
        return None
    if hasattr(operator, "forward") and hasattr(operator, "jacobian"):
        return NonlinearOperator(operator.forward, operator.jacobian)
    return NonlinearOperator(operator) if callable(operator) else None


def check_jacobian(operator, X, *, random_state=0, rtol=1e-4):
    """Check that a Jacobian agrees with central differences along random directions.

    Parameters
    ----------
    operator : NonlinearOperator or what :func:`as_nonlinear_operator` takes
        The map to examine.
    X : array-like of shape (n_samples, n_features)
        Signals at which it is examined; a few are enough.
    random_state : int, RandomState instance or None, default=0
        Source of the directions v, one for each signal.
    rtol : float, default=1e-4
        Largest allowed error of ``DF(x) v``, relative to its norm; more raises a ValueError.

    Examples
    --------
    >>> from skinvbayes.operators import NonlinearOperator, check_jacobian
    >>> check_jacobian(NonlinearOperator(lambda X: X**2, lambda X: X[:, :, None]), [[1.0]])
    Traceback (most recent call last):
    ...
    ValueError: The jacobian does not agree with differences of forward: ...
    """
    F, X = as_nonlinear_operator(operator), np.asarray(X, dtype=np.float64)
    v = check_random_state(random_state).standard_normal(X.shape)
    h = _DIFFERENCE * (np.sqrt((X**2).mean()) or 1.0)
    image, given = F.forward(X), np.einsum("nij,nj->ni", F.jacobian(X), v)
    if given.shape != image.shape or not (np.isfinite(given) & np.isfinite(image)).all():
        raise ValueError(
            "forward and jacobian must give finite values, of as many measurements; got "
            f"{image.shape[1]} and {given.shape[1]}."
        )
    difference = (F.forward(X + h * v) - F.forward(X - h * v)) / (2 * h)
    size = np.maximum(np.linalg.norm(given, axis=1), np.linalg.norm(difference, axis=1))
    rounding = 10 * np.finfo(float).eps / h * np.linalg.norm(image, axis=1)
    wrong = np.linalg.norm(given - difference, axis=1) > rtol * size + rounding
    if wrong.any():
        i = int(wrong.argmax())
        k = int(np.abs(given - difference)[i].argmax())
        raise ValueError(
            "The jacobian does not agree with differences of forward: along a random direction, "
            f"measurement {k} of signal {i} grows by {difference[i, k]:.6g}, and by "
            f"{given[i, k]:.6g} after its jacobian. Correct it, or give forward in torch alone."
        )


def _check_matrix(matrix):
    try:
        matrix = np.asarray(matrix)
        is_complex = np.iscomplexobj(matrix)
        matrix = np.array(matrix.real if is_complex else matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("operator must be a matrix of real numbers.") from error
    if is_complex:
        raise ValueError(
            "operator must be a matrix of real numbers; got complex ones. Stack the real and the "
            "imaginary parts of its rows."
        )
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(
            "operator must be a matrix of shape (n_measurements, n_features); got an array of "
            f"shape {matrix.shape}."
        )
    if not np.isfinite(matrix).all():
        raise ValueError("operator contains NaN or infinity; all its entries must be finite.")
    return matrix

"""The nonlinear operator of an inverse problem: it maps rows, and has a Jacobian."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from ..numerics.checks import check_tolerance
from ..numerics.modes import OwnModes, own_modes
from ..numerics.types import Array, RandomState

__all__ = ["NonlinearOperator", "as_nonlinear_operator", "check_jacobian"]

_DIFFERENCE = 6e-6  # step of central differences relative to signals: the cube root of rounding
_NO_DERIVATIVE = (
    "forward cannot be differentiated: it must be a function of torch that maps a float64 tensor "
    "to a tensor. For a function of numpy give its derivative: NonlinearOperator(forward, jacobian)"
)


class NonlinearOperator(OwnModes):
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

    def __init__(self, forward: Any, jacobian: Any = None, *, n_measurements: int | None = None):
        self.function, self.derivative, self.n_measurements = forward, jacobian, n_measurements

    def __call__(self, X: ArrayLike) -> Array:
        """The same as :meth:`forward`."""
        return self.forward(X)

    def forward(self, X: ArrayLike) -> Array:
        """F(x) for every row: (n_samples, n_features) → (n_samples, n_measurements)."""
        X = np.asarray(X, dtype=np.float64)
        if self.derivative is not None:
            return self._checked("forward", self.function(X), X)
        return self._checked("forward", self._image(torch.tensor(X, device="cpu")), X)

    def jacobian(self, X: ArrayLike) -> Array:
        """DF(x) for every row, of shape (n_samples, n_measurements, n_features)."""
        X = np.asarray(X, dtype=np.float64)
        if self.derivative is not None:
            return self._checked("jacobian", self.derivative(X), X, X.shape[1:])
        with torch.enable_grad():
            x = torch.tensor(X, device="cpu", requires_grad=True)
            image = self._image(x)
            self._checked("forward", image.detach(), X)
            options: Any = {"retain_graph": True, "materialize_grads": True}
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


def as_nonlinear_operator(operator: Any) -> "NonlinearOperator | None":
    """The NonlinearOperator that an estimator's parameter ``operator`` stands for, else None.

    It is one already, an object with methods ``forward`` and ``jacobian`` of rows, or a function
    of torch; anything else is left to :func:`as_operator`.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.operators import as_nonlinear_operator
    >>> as_nonlinear_operator(lambda x: x**2).forward([[3.0]])
    array([[9.]])
    >>> as_nonlinear_operator(np.eye(2)) is None
    True
    """
    if isinstance(operator, NonlinearOperator):
        return operator
    if hasattr(operator, "shape") or hasattr(operator, "matvec"):
        return None
    if hasattr(operator, "forward") and hasattr(operator, "jacobian"):
        return NonlinearOperator(operator.forward, operator.jacobian)
    return NonlinearOperator(operator) if callable(operator) else None


@own_modes()
def check_jacobian(
    operator: Any, X: ArrayLike, *, random_state: RandomState = 0, rtol: float = 1e-4
) -> None:
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
    check_tolerance(rtol, "rtol")
    F, X = as_nonlinear_operator(operator), np.asarray(X, dtype=np.float64)
    if F is None:
        raise TypeError(
            "operator must be a nonlinear one: a NonlinearOperator, an object with forward and "
            f"jacobian, or a function of torch; got {type(operator).__name__}."
        )
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

"""The measurement y = F(x) + c + n by a nonlinear F, and the linear one that training sees.

The divergence loss learns the score of the signals from any linear measurement of them. Training
is given A x + c + n, with the best linear fit A of F and the noise n = y − F(x) − c of the pairs.
Where A tells almost all about the signals, the prior is a small part of φ and hard to learn, so
that A is made smaller.
"""

from dataclasses import dataclass

import numpy as np

from ..noise.model import NoiseModel
from ..operators import (
    NonlinearOperator,
    Operator,
    as_nonlinear_operator,
    check_jacobian,
    estimate_operator,
)
from .measurement import check_size
from .measurement_model import MeasurementModel

__all__ = ["NonlinearMeasurement", "linear_part", "measurement_by", "measurement_from_pairs"]

_CHECKED = 3  # signals at which the Jacobian is compared with differences
_EXPLAINED = 0.1  # share of the variance of F(x) below which a linear fit says too little of F
_MOST_INFORMED = 30.0  # variance of A x relative to that of the noise, in the mean
_JACOBIANS = 200  # signals over which squared Jacobians are averaged


def measurement_from_pairs(operator, *arguments):
    """As :meth:`MeasurementModel.from_pairs`, whether the operator is linear or not."""
    F = as_nonlinear_operator(operator)
    if F is None:
        return MeasurementModel.from_pairs(operator, *arguments)
    return NonlinearMeasurement.from_pairs(F, *arguments)


def measurement_by(operator, n_features, signals):
    """As :meth:`MeasurementModel.by`, whether the operator is linear or not.

    Parameters
    ----------
    operator
        The operator.
    n_features : int
        Size of a signal.
    signals : callable
        Gives signals, at which a nonlinear operator is looked at.
    """
    F = as_nonlinear_operator(operator)
    if F is None:
        return MeasurementModel.by(operator, n_features)
    return NonlinearMeasurement.by(F, signals())


@dataclass(frozen=True, eq=False)
class NonlinearMeasurement(MeasurementModel):
    """How signals are measured by a nonlinear operator.

    Attributes
    ----------
    operator : Operator
        The linear A that stands for F in training.
    fitted, noise, offset
        As of :class:`MeasurementModel`.
    nonlinear : NonlinearOperator
        The operator F.
    """

    nonlinear: NonlinearOperator | None = None

    @classmethod
    def from_pairs(cls, operator, noise_level, noise_covariance, X, Y, weight):
        """What pairs and parameters say, and the measurements as A would have given them.

        Parameters
        ----------
        operator : NonlinearOperator
            The operator F.
        noise_level, noise_covariance, X, Y, weight
            As for :meth:`MeasurementModel.from_pairs`.

        Raises
        ------
        ValueError
            If shapes or values do not fit, or if the Jacobian is not the derivative of F.
        """
        check_nonlinear(operator, X, Y.shape[1])
        A = linear_part(operator, X, weight)
        linear_Y = Y + A.forward(X) - operator.forward(X)
        model, clean = MeasurementModel.from_pairs(
            A, noise_level, noise_covariance, X, linear_Y, weight
        )
        factor = _toned_down(model, X, weight)
        clean = clean + (factor - 1) * A.forward(X)
        A = Operator(factor * A.base)
        return cls(A, None, model.noise, model.offset, model.rejects_outliers, operator), clean

    @classmethod
    def by(cls, operator, X):
        """The measurement of signals such as X, of which the noise is not known yet."""
        X = X[np.isfinite(operator.forward(X)).all(axis=1)]
        if len(X) < _CHECKED:
            raise ValueError(
                "operator gives NaN or infinite values for signals of the mean and covariance of "
                "the training signals."
            )
        n_measurements = operator.forward(X[:1]).shape[1]
        check_nonlinear(operator, X, n_measurements)
        A, noise = linear_part(operator, X, np.ones(len(X))), NoiseModel(n_measurements, 0.0)
        return cls(A, None, noise, nonlinear=operator)

    @property
    def given(self):
        """The operator F."""
        return self.nonlinear

    def linearized(self, X, Y):
        """The measurements as A would have given them."""
        return Y + self.operator.forward(X) - self.nonlinear.forward(X)

    def image(self, X):
        """F(x) + c for every row, of shape (n_samples, n_measurements)."""
        image = self.nonlinear.forward(X)
        return image if self.offset is None else image + self.offset

    def jacobian(self, X):
        """DF(x) for every row, of shape (n_samples, n_measurements, n_features)."""
        return self.nonlinear.jacobian(X)


def check_nonlinear(operator, X, n_measurements):
    """Raise a ValueError if a nonlinear operator does not map signals to such measurements."""
    image = operator.forward(X)
    if image.shape[1] != n_measurements:
        raise ValueError(
            f"operator maps signals with {X.shape[1]} features to {image.shape[1]} measurements, "
            f"but y has {n_measurements}."
        )
    check_jacobian(operator, X[:: max(1, len(X) // _CHECKED)][:_CHECKED])
    if not np.isfinite(image).all():
        row = int(np.flatnonzero(~np.isfinite(image).all(axis=1))[0])
        raise ValueError(f"operator gives NaN or infinite values for signals such as {X[row]}.")
    check_size("the operator's values F(x)", np.abs(image).max())


def _toned_down(model, X, weight):
    """A factor of A with which the noise hides enough of the signals for the prior to matter."""
    image = model.whitened.forward(X)
    variance = np.average((image - np.average(image, 0, weight)) ** 2, 0, weight).sum()
    most = _MOST_INFORMED * model.noise.level**2 * min(model.operator.shape)
    return min(1.0, np.sqrt(most / variance)) if variance > 0 else 1.0


def linear_part(operator, X, weight):
    """A linear operator with about the information of a nonlinear one.

    It is the least-squares fit of F(x) to x, for Gaussian signals the mean of DF(x). Where this
    explains little of F, as for even functions, it is a root of the mean of DFᵀ DF. Reconstructions
    of mixtures by tanh, cubes, squares and phases were as good with that root or with the identity,
    or up to 25 % worse.

    Parameters
    ----------
    operator : NonlinearOperator
        The operator F.
    X : ndarray of shape (n_samples, n_features)
        Signals.
    weight : ndarray of shape (n_samples,)
        How often each counts.

    Returns
    -------
    operator : Operator of shape (n_measurements, n_features)
    """
    image = operator.forward(X)
    fitted = estimate_operator(X, image, sample_weight=weight)
    linear, mean = fitted.forward(X), np.average(image, axis=0, weights=weight)
    explained = weight @ (linear - np.average(linear, axis=0, weights=weight)) ** 2
    if explained.sum() >= _EXPLAINED * (weight @ (image - mean) ** 2).sum():
        return fitted
    J = operator.jacobian(X[:: max(1, len(X) // _JACOBIANS)]).reshape(-1, X.shape[1])
    _, sizes, axes = np.linalg.svd(np.sqrt(image.shape[1] / len(J)) * J, full_matrices=False)
    root = np.zeros((image.shape[1], X.shape[1]))
    n = min(*root.shape, len(sizes))
    root[:n] = sizes[:n, None] * axes[:n]
    return Operator(root)

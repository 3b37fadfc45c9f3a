"""The posterior for nonlinear measurements y = F(x) + c + n, with the prior of a trained network.

The network of the divergence loss holds the score of the prior, ``ε ∇log p(x) = G x − φ(x)`` up to
a constant. A reconstruction is a minimiser of ``½ ‖W (F(x) + c − y)‖²/δ² − log p(x)``, found by the
Gauss–Newton method, and its covariance is Laplace's approximation. This goes beyond the paper's
theory: the objective may have several minima, of which the lowest that was found is taken.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from ..inversion import InvertibleMap
from ..noise.missing import ObservedPrecision
from ..numerics import chunks
from ..numerics.progress import tracked
from ..numerics.tensors import as_tensor
from ..numerics.threads import single_thread
from ..numerics.warn import warn_caller
from ..operators import Operator
from ..problem.coordinates import Coordinates
from ..problem.nonlinear_measurement import NonlinearMeasurement
from ..problem.tensor_operator import TensorOperator
from .gauss_newton import Solution, line_integral, minimize
from .posterior import Posterior
from .starting_points import StartingPoints
from .trained_map import named_rows

__all__ = ["LearnedPrior", "NonlinearMap", "NonlinearPosterior"]


@dataclass
class LearnedPrior:
    """The prior of a trained network, in its coordinates u: ``−log p`` by its derivatives.

    Attributes
    ----------
    network : InvertibleMap
        The trained ψ, in double precision.
    forward : TensorOperator
        The map G of the training, in the coordinates of ψ.
    coordinates : Coordinates
        Those of the training.
    epsilon : float
        The weight of the penalty in training, in the user's units.
    signal_std : ndarray of shape (n_features,)
        Standard deviations of the training signals.
    """

    network: InvertibleMap
    forward: TensorOperator
    coordinates: Coordinates
    epsilon: float
    signal_std: np.ndarray

    def __post_init__(self):
        self._frozen = self.network.frozen()
        self._scale = self.coordinates.scale**2 / self.epsilon

    def gradient(self, u):
        """``−∇log p(u)``, of shape (n_samples, n_features)."""
        u = self._tensor(u)
        return self._scale * (self._frozen(u) - self.forward(u)).cpu().numpy()

    def hessian(self, u):
        """The symmetric part of its derivative, of shape (n_samples, n_features, n_features)."""
        u = self._tensor(u)
        H = (self._frozen.jacobian(u) - self.forward.matrix(u)).cpu().numpy()
        return self._scale * (H + H.transpose(0, 2, 1)) / 2

    def signals(self, n_samples=1000):
        """Gaussian signals with about the mean and covariance of the training signals."""
        n_samples = max(n_samples, 2 * self.coordinates.n_features)
        white = np.random.RandomState(0).standard_normal((n_samples, self.coordinates.n_features))
        return self.coordinates.to_signals(white * np.sqrt(self.variances))

    @property
    def variances(self):
        """About the variances of the coordinates u, of shape (n_features,)."""
        c = self.coordinates
        if c.isotropic_norm is not None:
            return (self.signal_std * c.inverse_basis / c.scale) ** 2
        like = torch.empty(0, dtype=torch.float64, device="cpu")
        informed = self.forward.matrix(like).diagonal().numpy()
        return c.unit_weight(self.epsilon) / np.maximum(1 - informed, np.finfo(np.float32).eps)

    def _tensor(self, u):
        return as_tensor(u).to(self.network.device)


@dataclass
class _LogPosterior:
    """An Objective: minus the logarithm of the posterior density of u, row by row."""

    prior: LearnedPrior
    measurement: NonlinearMeasurement
    level: float
    Y: np.ndarray
    whitener: ObservedPrecision  # of every row

    def residual(self, u, rows):
        difference = self._image(u) - self.Y[rows]
        return self.whitener.rows(rows).whiten(difference) / self.level

    def jacobian(self, u, rows):
        c = self.prior.coordinates
        J = self.measurement.jacobian(c.to_signals(u.copy()))
        J = self.whitener.rows(rows).whiten(J.transpose(0, 2, 1)).transpose(0, 2, 1)
        return c.scale / self.level * (J @ c.basis if np.ndim(c.basis) else c.basis * J)

    def gradient(self, u, rows):
        return self.prior.gradient(u)

    def hessian(self, u, rows):
        return self.prior.hessian(u)

    def energy(self, u):
        """The objective, up to a constant that does not depend on u."""
        R = self.residual(u, np.arange(len(u)))
        with np.errstate(over="ignore"):
            return (R**2).sum(axis=1) / 2 + line_integral(self.prior.gradient, np.zeros_like(u), u)

    def _image(self, u):
        return self.measurement.image(self.prior.coordinates.to_signals(u.copy()))


@dataclass
class NonlinearMap:
    """Reconstructions from nonlinear measurements, and their precisions.

    Attributes
    ----------
    prior : LearnedPrior
        The prior of the network.
    measurement : NonlinearMeasurement
        How the signals were measured.
    epsilon : float
        The square of the standard deviation δ of W y, or the weight that takes its place.
    """

    prior: LearnedPrior
    measurement: NonlinearMeasurement
    epsilon: float

    def reconstruct(self, Y, targets=None):
        """The lowest minimisers found, of shape (n_samples, n_features).

        Rows that do not converge raise a ConvergenceWarning.

        Parameters
        ----------
        Y : ndarray of shape (n_samples, n_measurements)
            Measurements; NaN where one is missing.
        targets : callable, default=None
            Not used: there is no z.
        """
        X = np.empty((len(Y), self.prior.coordinates.n_features), dtype=Y.dtype)
        decrement, converged = np.empty(len(Y)), np.empty(len(Y), dtype=bool)
        with single_thread(), torch.no_grad():
            starts, std = self._starting_points()
            size = self.chunk_size // starts.n_starts
            for part in tracked(chunks.slices(len(Y), size), "reconstruction"):
                points = starts.of(Y[part] / std)
                found = _lowest(self._objective(np.tile(Y[part], (len(points), 1))), points)
                X[part] = self.prior.coordinates.to_signals(found.u)
                decrement[part], converged[part] = found.decrement, found.converged
        _warn_of_failures(decrement, converged)
        return X

    def precision(self, X, Y):
        """δ² times the precision of the posterior at signals, and the part of the measurement.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Reconstructions.
        Y : ndarray of shape (n_samples, n_measurements)
            Their measurements, of which only matters what is missing.

        Returns
        -------
        precision, information : ndarrays of shape (n_samples, n_features, n_features)
        """
        c, objective = self.prior.coordinates, self._objective(Y)
        with single_thread(), torch.no_grad():
            u = c.from_signals(X.astype(np.float64))
            J = objective.jacobian(u, np.arange(len(u)))
            information, prior = J.transpose(0, 2, 1) @ J, self.prior.hessian(u)
        information, prior = (self._in_signals(matrix) for matrix in (information, prior))
        return information + prior, information

    @property
    def chunk_size(self):
        """The number of rows to work on at once."""
        n_features = self.prior.coordinates.n_features
        return chunks.chunk_size(n_features * (n_features + self.measurement.noise.n_measurements))

    def _objective(self, Y):
        Y, whitener = Y.astype(np.float64), ObservedPrecision(self.measurement.noise, Y)
        return _LogPosterior(self.prior, self.measurement, np.sqrt(self.epsilon), Y, whitener)

    def _starting_points(self):
        """Where to start from, and the levels of noise, which count as independent for that."""
        std = self.measurement.noise.std * np.sqrt(self.epsilon) / self.measurement.noise.level

        def measure(u):
            return self.measurement.image(self.prior.coordinates.to_signals(u.copy())) / std

        return StartingPoints.draw(self.prior.variances, measure), std

    def _in_signals(self, unit):
        """δ² times a matrix of second derivatives by x, from that by u."""
        c = self.prior.coordinates
        return self.epsilon / c.scale**2 * c.to_jacobian(unit)


class NonlinearPosterior(Posterior):
    """As a :class:`Posterior`, around a :class:`NonlinearMap`; matrices are always formed."""

    @classmethod
    def around(cls, map_, posterior):
        """The posterior around the reconstructions of a map, else like another one."""
        options = posterior.signal_std, posterior.is_outside, posterior.caveat
        return cls(posterior.Y, map_, posterior.error_model, posterior.targets, *options)

    def _is_dense(self, method):
        super()._is_dense(method)  # raises an error if there is no such method
        return True

    def _covariance_of(self, rows):
        precision, information = self.map.precision(self.mean[rows], self.Y[rows])
        error_model = replace(self.error_model, information=Operator(information))
        with single_thread():
            return error_model.covariance(precision)

    @property
    def _chunk_size(self):
        return self.map.chunk_size


def _lowest(objective, starts):
    """The lowest of the minimisers that are reached from several starts, row by row.

    Those that converged come first. The objective is of all rows, once for every start.
    """
    n_starts, n_samples, n_features = starts.shape
    found = minimize(objective, starts.reshape(-1, n_features))
    keys = objective.energy(found.u), ~found.converged
    first = np.lexsort([key.reshape(n_starts, n_samples) for key in keys], axis=0)[0]
    rows = first * n_samples + np.arange(n_samples)
    return Solution(*(part[rows] for part in found))


def _warn_of_failures(decrement, converged):
    failed = np.flatnonzero(~converged)
    if len(failed):
        warn_caller(
            f"The Gauss–Newton method did not converge for {len(failed)} of {len(converged)} rows "
            f"({named_rows(failed)}); the last steps were up to {decrement[failed].max():.3g} "
            "posterior standard deviations long. Check these rows and the operator's values near "
            "their reconstructions, or give a noise_level that suits them.",
            ConvergenceWarning,
        )

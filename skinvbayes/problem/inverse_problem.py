"""What the pairs say about the inverse problem, before a network sees it."""

import numbers
from dataclasses import dataclass, replace

import numpy as np

from ..operators import Operator, as_operator, estimate_operator
from .coordinates import Coordinates
from .measurement import check_size, choose_operator, estimate_noise_level
from .tensor_operator import TensorOperator

__all__ = ["InverseProblem"]


@dataclass
class InverseProblem:
    """An inverse problem in signal space: z = G x + noise, with z = Aᵀy, or z = y without A.

    Attributes
    ----------
    operator : Operator or None
        The operator A of the normal equation; None for the original problem.
    forward : Operator of shape (n_features, n_features)
        The forward map G: AᵀA, or the least-squares fit of y to x in the original problem.
    noise_level : float
        Standard deviation δ of the noise of y.
    bandwidth : float
        Standard deviation of the Gaussian that smooths the prior, in the units of x.
    coordinates : Coordinates
        Unit scale of signals and targets.
    """

    operator: Operator | None
    forward: Operator
    noise_level: float
    bandwidth: float
    coordinates: Coordinates

    @classmethod
    def from_pairs(
        cls,
        X,
        Y,
        weight,
        *,
        operator,
        noise_level,
        bandwidth,
        bandwidth_rule,
        common_mean,
        max_condition,
        random_state,
    ):
        """Derive the problem from weighted pairs and the estimators' parameters.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Signals.
        Y : ndarray of shape (n_samples, n_measurements)
            Measurements.
        weight : ndarray of shape (n_samples,)
            How often each pair counts.
        operator, noise_level, bandwidth
            As the parameters ``operator``, ``noise_level`` and ``prior_bandwidth``.
        bandwidth_rule : callable
            What "auto" means for the bandwidth, see :mod:`skinvbayes.problem.smoothing`.
        common_mean : bool
            Whether all features share one mean, as pixels do.
        max_condition : float
            Largest ratio of slopes that the network can hold.
        random_state : RandomState instance
            Source of the sample that decides on the bandwidth.

        Raises
        ------
        ValueError
            If the signals do not vary, if something is too large or too small to compute with, or
            if the operator does not fit.
        """
        _check_pairs(X, Y)
        operator, fitted = _operators(operator, X, Y, weight)
        forward = fitted if operator is None else operator.normal()
        if not isinstance(noise_level, numbers.Real):
            noise_level = estimate_noise_level(operator, fitted, X, Y, weight)
        known = {"X": X, "weight": weight, "forward": forward, "forward_norm": forward.norm()}
        known["information"] = forward if operator is not None else forward.normal()
        known |= {"noise_level": noise_level, "max_condition": max_condition}
        if not isinstance(bandwidth, numbers.Real):
            bandwidth = bandwidth_rule(**known, random_state=random_state)
        Z = Y if operator is None else operator.adjoint(Y)
        coordinates = Coordinates.from_data(X, Z, known["forward_norm"], weight)
        if common_mean:
            coordinates = coordinates.with_common_mean(forward)
        return cls(operator, forward, float(noise_level), float(bandwidth), coordinates)

    def resized(self, operator, n_features):
        """The same problem for another operator and number of features that share one mean."""
        operator = choose_operator(operator, None, n_features, as_operator(operator).shape[0])
        forward = operator.normal()
        coordinates = self.coordinates.with_common_mean(forward)
        return replace(self, operator=operator, forward=forward, coordinates=coordinates)

    @property
    def unit_forward(self):
        """G in unit scale, of norm one, for tensors."""
        return TensorOperator(self.forward, self.coordinates.forward_norm)

    @property
    def unit_bounds(self):
        """Bounds of the spectrum of AᵀA in unit scale."""
        norm = self.forward.norm()
        return tuple(b / self.coordinates.forward_norm for b in (self.forward.lowest(norm), norm))

    @property
    def information(self):
        """AᵀA, the Fisher information of a measurement times δ²: G, or GᵀG where G is A."""
        return self.forward.normal() if self.operator is None else self.forward

    def targets(self, Y):
        """z of shape (n_samples, n_features): the measurements, or Aᵀ y."""
        return Y if self.operator is None else self.operator.adjoint(Y)

    def forward_targets(self, X):
        """G x plus the constant that maps the mean of the signals to that of the targets."""
        coordinates = self.coordinates
        return coordinates.target_mean + self.forward.forward(X - coordinates.signal_mean)

    def expected_targets(self, X, Y, weight):
        """E[z|x] = G x + constant with a linear operator, and z without one.

        A loss that depends on z through E[z|x] alone has the same optimum with either, and less
        variance with E[z|x] (Rao–Blackwell).
        """
        Z = self.targets(Y)
        if self.operator is None:
            return Z
        expected = self.operator.gram(X)
        return expected + np.average(Z - expected, axis=0, weights=weight)


def _check_pairs(X, Y):
    """Raise a ValueError if pairs are too large or small, or if the signals do not vary."""
    check_size("the signals X", np.abs(X).max())
    check_size("the measurements y", np.abs(Y).max())
    spread = np.ptp(X, axis=0).max()
    check_size("the differences of the signals X", spread)
    if spread == 0:
        raise ValueError(
            f"The signals X of the {len(X)} distinct pair(s) that count are all the same, so "
            "that no forward map can be learned: give signals that vary."
        )


def _operators(operator, X, Y, weight):
    """The operator A or None, and the least-squares fit of y to x where none is given."""
    given = operator is not None and not isinstance(operator, str)
    fitted = None if given else estimate_operator(X, Y, sample_weight=weight)
    sizes = X.shape[1], Y.shape[1]
    return choose_operator(operator, fitted, *sizes, pairs=(X, Y, weight)), fitted

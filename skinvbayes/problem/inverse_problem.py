"""What the pairs say about the inverse problem, before a network sees it."""

import numbers
import warnings
from dataclasses import dataclass, replace

import numpy as np

from ..operators import Operator, as_operator, check_adjoint, estimate_operator
from .coordinates import Units
from .smoothing import principal_axes
from .tensor_operator import ForwardTerm

__all__ = ["InverseProblem"]

_LARGEST = 1e50  # of X, y and A: z = Aᵀ y and its square must not overflow, nor 1/z


@dataclass
class InverseProblem:
    """An inverse problem in signal space: z = G x + noise, with z = Aᵀy, or z = y without A.

    Attributes
    ----------
    operator : Operator or None
        The operator A of the normal equation; None for the original problem.
    forward : Operator of shape (n_features, n_features)
        G: AᵀA, or the least-squares fit of y to x in the original problem.
    noise_level : float
        Standard deviation δ of the noise of y.
    bandwidth : float
        Standard deviation of the Gaussian that smooths the prior.
    units : Units
        Unit scale of signals and targets.
    """

    operator: Operator | None
    forward: Operator
    noise_level: float
    bandwidth: float
    units: Units

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
            Whether all features are alike, as pixels are: they share one mean then.
        max_condition : float
            Largest ratio of slopes that the network can hold.
        random_state : RandomState instance
            Source of the sample that decides on the bandwidth.

        Raises
        ------
        ValueError
            If the signals do not vary, if something is too large or too small to be computed with,
            or if the operator does not fit.
        """
        _check_size("the signals X", np.abs(X).max())
        _check_size("the measurements y", np.abs(Y).max())
        spread = np.ptp(X, axis=0).max()
        _check_size("the differences of the signals X", spread)
        if spread == 0:
            raise ValueError(
                f"The signals X of the {len(X)} distinct pair(s) that count are all the same, so "
                "that no forward map can be learned: give signals that vary."
            )
        given = operator is not None and not isinstance(operator, str)
        fitted = None if given else estimate_operator(X, Y, sample_weight=weight)
        operator = _choose_operator(operator, fitted, X.shape[1], Y.shape[1])
        if operator is None:
            forward = fitted
            _warn_if_not_monotone(forward, X, weight)
        else:
            forward = operator.normal()
        if not isinstance(noise_level, numbers.Real):
            noise_level = _estimate_noise_level(operator, fitted, X, Y, weight)
        norm = forward.norm()
        if not isinstance(bandwidth, numbers.Real):
            bandwidth = bandwidth_rule(
                X=X,
                weight=weight,
                forward=forward,
                forward_norm=norm,
                noise_level=noise_level,
                max_condition=max_condition,
                random_state=random_state,
            )
        Z = Y if operator is None else operator.adjoint(Y)
        units = Units.from_data(X, Z, norm, weight)
        if common_mean:
            units = units.with_common_mean(forward)
        return cls(operator, forward, float(noise_level), float(bandwidth), units)

    def resized(self, operator, n_features):
        """The same problem for another operator and number of features, all of them alike."""
        operator = _choose_operator(operator, None, n_features, as_operator(operator).shape[0])
        forward = operator.normal()
        units = self.units.with_common_mean(forward)
        return replace(self, operator=operator, forward=forward, units=units)

    @property
    def unit_bandwidth(self):
        """The bandwidth in unit scale."""
        return self.bandwidth / self.units.signal_scale

    @property
    def unit_forward(self):
        """G in unit scale, of norm one, for tensors."""
        return ForwardTerm(self.forward, self.units.forward_norm)

    @property
    def unit_bounds(self):
        """Bounds of the spectrum of AᵀA in unit scale."""
        norm = self.forward.norm()
        return tuple(b / self.units.forward_norm for b in (self.forward.lowest(norm), norm))

    @property
    def information(self):
        """``AᵀA``, what a measurement says, times δ²: G, or GᵀG in the original problem."""
        return self.forward.normal() if self.operator is None else self.forward

    def targets(self, Y):
        """z: the measurements, or Aᵀ y."""
        return Y if self.operator is None else self.operator.adjoint(Y)

    def forward_targets(self, X):
        """G x, with the means of the pairs it was learned from matched."""
        return self.units.target_mean + self.forward.forward(X - self.units.signal_mean)

    def expected_targets(self, X, Y, weight):
        """E[z|x] = G x + g: with a linear operator the losses that only see it are free of noise.

        Rao–Blackwell: the optimum is the same, the noise of z no longer adds to the variance.
        """
        Z = self.targets(Y)
        if self.operator is None:
            return Z
        expected = self.operator.gram(X)
        return expected + np.average(Z - expected, axis=0, weights=weight)


def _choose_operator(operator, fitted, d, m):
    if operator is None:
        return None if m == d else fitted
    if isinstance(operator, str):
        if operator == "estimate":
            return fitted
        raise ValueError(
            f'operator must be None, "estimate" or a linear operator; got {operator!r}.'
        )
    operator = as_operator(operator)
    if operator.shape != (m, d):
        raise ValueError(
            f"operator has shape {operator.shape}, but X has {d} features and y has {m} "
            f"measurements: an operator of shape {(m, d)} is needed."
        )
    check_adjoint(operator, random_state=0)
    _check_size("the operator", operator.norm())
    return operator


def _check_size(name, size):
    if size > _LARGEST or 0 < size < 1 / _LARGEST:
        raise ValueError(
            f"The size of {name} is {size:.3g}, and can be computed with between {1 / _LARGEST:g} "
            f"and {_LARGEST:g}: choose other units."
        )


def _estimate_noise_level(operator, fitted, X, Y, weight):
    """δ̂: the root mean square residual of the measurements, by degrees of freedom."""
    n, n_used = weight.sum(), 1
    if operator is None or operator is fitted:
        operator = fitted
        n_used = 1 + np.linalg.matrix_rank(X - X.mean(axis=0))
        if n_used >= n:
            warnings.warn(
                f"The noise level cannot be told from {n:g} pairs of signals with {X.shape[1]} "
                "features by themselves: every operator fits them. Give noise_level, the operator, "
                "or more pairs.",
                UserWarning,
                stacklevel=5,
            )
    residual = Y - operator.forward(X)
    residual -= np.average(residual, axis=0, weights=weight)
    variance = np.average(residual**2, axis=0, weights=weight).mean()
    return float(np.sqrt(variance * n / max(n - n_used, 1)))


def _warn_if_not_monotone(forward, X, weight):
    """Look only where the signals vary: of fewer signals than features the rest is a guess."""
    G = forward.to_dense()
    if len(X) <= len(G):
        axes = principal_axes(X, weight)[1]
        G = axes @ G @ axes.T
    lowest, size = np.linalg.eigvalsh((G + G.T) / 2)[0], forward.norm()
    if lowest < -0.1 * size:
        warnings.warn(
            "The linear fit of y to X is far from monotone (its symmetric part has the "
            f"eigenvalue {lowest:.3g}, its norm is {size:.3g}), and an invertible residual "
            'network cannot represent such a map. Give the operator, or operator="estimate".',
            UserWarning,
            stacklevel=5,
        )

"""The four training losses, one class each, as the paper states them.

A loss maps a network, signals x and targets z to one number per sample. It is written in unit
scale: with x = x̄ + s u, a = ‖G‖ and φ(x) = z̄ + s a ψ(u), each loss of φ is a multiple of the same
loss of ψ with another weight ε' (:meth:`Loss.unit_epsilon`, with :class:`skinvbayes.problem.coordinates.Units`).

A fifth loss is one class and one line in ``LOSSES``.

References
----------
N. Heilenkötter (2025), "How Regularization Terms Make Invertible Neural Networks Bayesian Point
Estimators", arXiv:2510.26704.
"""

import numpy as np
import torch
from torch.nn import functional as F

from .inversion import implicit_inverse

__all__ = [
    "LOSSES",
    "ApproximationLoss",
    "DivergenceLoss",
    "LogDetLoss",
    "Loss",
    "ReconstructionLoss",
]

_EXACT_ROWS = 4  # of a mini-batch at least, with exact divergences or log-determinants


class Loss:
    """Base of the losses: ``loss(network, x, z)`` gives a Tensor of shape (n_samples,).

    Attributes
    ----------
    expects_noise : bool
        False where only ``E[z | x]`` matters for the optimum, so that noise in z adds variance and
        nothing else.
    decay : float
        Weight of the squared weights of the network that holds the statistical error down best,
        over the number of samples and times the noise variance; measured on 2-D mixtures.
    """

    expects_noise = False
    decay = 60.0

    def __init__(self, epsilon=0.0):
        self.epsilon = epsilon

    def __call__(self, network, x, z):
        """Loss of every sample."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__.")

    def value_of_known(self, trace):
        """The loss of a linear part of φ that is known and left out, but for what is in φ(x) − z.

        Parameters
        ----------
        trace : float
            Its trace.
        """
        return 0.0

    @staticmethod
    def unit_epsilon(epsilon, units):
        """The weight ε' that ε becomes in unit scale."""
        return epsilon

    def in_user_units(self, value, units):
        """The mean loss of φ from the mean loss of ψ."""
        return value * units.target_scale**2


class ApproximationLoss(Loss):
    """½‖φ(x) − z‖²."""

    def __call__(self, network, x, z):
        return _half_square(network(x), z)


class ReconstructionLoss(Loss):
    """½‖φ⁻¹(z) − x‖², with the implicit gradient."""

    expects_noise = True
    decay = 4.0

    def __call__(self, network, x, z):
        return _half_square(implicit_inverse(network, z, start=x), x)

    def in_user_units(self, value, units):
        return value * units.signal_scale**2


class LogDetLoss(Loss):
    """½‖φ(x) − z‖² − ε log|det Dφ(x)|."""

    decay = 8.0  # a steep slope costs only its logarithm: less to hold down than in the divergence

    def __call__(self, network, x, z):
        n_exact = _n_exact(network, x, len(x) // x.shape[1])
        image, logabsdet = network.call_and_logabsdet(x, n_exact)
        return torch.sub(_half_square(image, z), logabsdet, alpha=self.epsilon)

    @staticmethod
    def unit_epsilon(epsilon, units):
        return epsilon / units.target_scale**2

    def in_user_units(self, value, units):
        # Dφ = a Dψ, so the log-determinant gains d log a
        n_features = len(units.signal_mean)
        constant = self.epsilon * n_features * np.log(units.forward_norm)
        return super().in_user_units(value - constant, units)


class DivergenceLoss(Loss):
    """½‖φ(x) − z‖² − ε div φ(x)."""

    def __call__(self, network, x, z):
        image, divergence = network.call_and_divergence(x, _n_exact(network, x))
        return torch.sub(_half_square(image, z), divergence, alpha=self.epsilon)

    def value_of_known(self, trace):
        return -self.epsilon * trace

    @staticmethod
    def unit_epsilon(epsilon, units):
        return epsilon / (units.signal_scale**2 * units.forward_norm)


def _n_exact(network, x, n_cheap=0):
    """The number of exact rows: all, in training so few that they cost little."""
    return min(max(_EXACT_ROWS, n_cheap), len(x)) if network.training else len(x)


def _half_square(a, b):
    """½‖a − b‖², row by row."""
    return 0.5 * F.mse_loss(a, b, reduction="none").sum(1)


LOSSES = {
    "approximation": ApproximationLoss,
    "reconstruction": ReconstructionLoss,
    "logdet": LogDetLoss,
    "divergence": DivergenceLoss,
}

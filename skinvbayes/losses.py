"""The training losses, one class each, as the paper states them.

A loss maps a network, signals x and targets z to one number per sample. It is written in unit
scale: with x = x̄ + s u, a = ‖G‖ and φ(x) = z̄ + s a ψ(u), each loss of φ is a multiple of the same
loss of ψ with another weight ε' (see :class:`skinvbayes.problem.coordinates.Coordinates`).

A loss of your own is one subclass of :class:`Loss`, which an estimator names as its ``loss``.

References
----------
N. Heilenkötter (2025), "How Regularization Terms Make Invertible Neural Networks Bayesian Point
Estimators", arXiv:2510.26704.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .inversion import implicit_inverse
from .problem.coordinates import Coordinates

__all__ = [
    "LOSSES",
    "ApproximationLoss",
    "DivergenceLoss",
    "LogDetLoss",
    "Loss",
    "ReconstructionLoss",
]

_EXACT_ROWS = 4  # fewest rows of a mini-batch with exact divergences or log-determinants


class Loss:
    """Base of the losses: ``loss(network, x, z)`` gives a Tensor of shape (n_samples,).

    A subclass defines :meth:`__call__`; everything else has a default that suits a square of the
    targets' units without a penalty.

    Parameters
    ----------
    epsilon : float, default=0.0
        Weight of the penalty in unit scale.

    Attributes
    ----------
    first_stage : type of Loss or None
        A cheaper loss, with which training starts because its optimum is close to this one's.
    needs_log_determinant : bool
        Whether the loss calls for log|det Dφ|, which not every branch has.
    expects_noise : bool
        False where the optimum depends on z only through ``E[z | x]``, so that the noise of z
        only adds variance. True is always right.
    leaves_known_out : bool
        True where the loss depends on φ only through φ(x) − z and a penalty that is linear in φ. A
        known linear part of φ then drops out of training, but for its :meth:`value_of_known`.
        False is always right.
    decay : float
        Strength of the weight penalty: training adds about ``decay ν/n`` times the sum of squared
        weights, with n pairs and noise of variance ν in unit scale. Chosen for the least
        statistical error on 2-D mixtures.

    Examples
    --------
    The absolute error instead of the square:

    >>> from skinvbayes.estimators import BaseINN
    >>> from skinvbayes.losses import Loss
    >>> class AbsoluteLoss(Loss):
    ...     def __call__(self, network, x, z):
    ...         return (network(x) - z).abs().sum(1)
    ...     def in_user_units(self, value, coordinates):
    ...         return value * coordinates.target_scale
    >>> class AbsoluteINN(BaseINN):
    ...     loss = AbsoluteLoss
    """

    first_stage: "type[Loss] | None" = None
    needs_log_determinant: bool = False
    expects_noise: bool = True
    leaves_known_out: bool = False
    decay: float = 60.0

    def __init__(self, epsilon: float = 0.0):
        self.epsilon = epsilon

    def __call__(self, network: nn.Module, x: Tensor, z: Tensor) -> Tensor:
        """Loss of every sample."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__.")

    def value_of_known(self, trace: float) -> float:
        """The penalty of a known linear part of φ, where training leaves that part out.

        Parameters
        ----------
        trace : float
            The trace of the linear part.
        """
        return 0.0

    @staticmethod
    def unit_epsilon(epsilon: float, coordinates: Coordinates) -> float:
        """The weight ε' in unit scale, from ε in the user's units."""
        return epsilon

    def in_user_units(self, value: float, coordinates: Coordinates) -> float:
        """The mean loss of φ, from the mean loss of ψ."""
        return value * coordinates.target_scale**2


class ApproximationLoss(Loss):
    """½‖φ(x) − z‖²."""

    expects_noise = False
    leaves_known_out = True

    def __call__(self, network, x, z):
        return _half_square(network(x), z)


class DivergenceLoss(Loss):
    """½‖φ(x) − z‖² − ε div φ(x)."""

    expects_noise = False
    leaves_known_out = True

    def __call__(self, network, x, z):
        image, divergence = network.call_and_divergence(x, _n_exact(network, x))
        return torch.sub(_half_square(image, z), divergence, alpha=self.epsilon)

    def value_of_known(self, trace):
        return -self.epsilon * trace

    @staticmethod
    def unit_epsilon(epsilon, coordinates):
        return coordinates.unit_divergence_weight(epsilon)


class LogDetLoss(Loss):
    """½‖φ(x) − z‖² − ε log|det Dφ(x)|."""

    first_stage = DivergenceLoss
    needs_log_determinant = True
    expects_noise = False
    decay = 8.0  # less than for the divergence: a steep slope costs only its logarithm

    def __call__(self, network, x, z):
        n_exact = _n_exact(network, x, len(x) // x.shape[1])
        image, logabsdet = network.call_and_logabsdet(x, n_exact)
        return torch.sub(_half_square(image, z), logabsdet, alpha=self.epsilon)

    @staticmethod
    def unit_epsilon(epsilon, coordinates):
        return coordinates.unit_logdet_weight(epsilon)

    def in_user_units(self, value, coordinates):
        constant = self.epsilon * coordinates.logdet_constant()
        return super().in_user_units(value - constant, coordinates)


class ReconstructionLoss(Loss):
    """½‖φ⁻¹(z) − x‖², with the implicit gradient."""

    first_stage = DivergenceLoss
    decay = 4.0

    def __call__(self, network, x, z):
        return _half_square(implicit_inverse(network, z, start=x), x)

    def in_user_units(self, value, coordinates):
        return value * coordinates.signal_scale**2


def _n_exact(network, x, n_cheap=0):
    """The number of rows with an exact penalty: all of them, but only a few in training."""
    return min(max(_EXACT_ROWS, n_cheap), len(x)) if network.training else len(x)


def _half_square(a, b):
    """½‖a − b‖², row by row."""
    return 0.5 * F.mse_loss(a, b, reduction="none").sum(1)


LOSSES = {  # the paper's four, by name
    "approximation": ApproximationLoss,
    "reconstruction": ReconstructionLoss,
    "logdet": LogDetLoss,
    "divergence": DivergenceLoss,
}

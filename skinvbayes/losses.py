"""The training losses, one class each, as the paper states them.

A loss maps a network, signals u and targets w to one number per sample. It is written in the
coordinates of the network, x = x̄ + s B u and φ(x) = z̄ + s B⁻ᵀ ψ(u) (see
:class:`skinvbayes.problem.coordinates.Coordinates`), with the weight ε/s² in place of ε. In the
user's terms its squares are taken in the metric of P = (B Bᵀ)⁻¹: ½‖φ(x) − z‖² stands for
½ (φ(x) − z)ᵀ P⁻¹ (φ(x) − z), the divergence for that of P⁻¹ φ, and ½‖φ⁻¹(z) − x‖² for
½ (φ⁻¹(z) − x)ᵀ P (φ⁻¹(z) − x). The optimum is the same in every metric, but for the log-determinant
loss, see there.

A loss of your own is one subclass of :class:`Loss`, which an estimator names as its ``loss``.

References
----------
N. Heilenkötter (2025), "How Regularization Terms Make Invertible Neural Networks Bayesian Point
Estimators", arXiv:2510.26704.
"""

import copy

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .inversion import InvertibleMap, Preimages, implicit_inverse
from .numerics.tensors import as_tensor
from .problem.coordinates import Coordinates, rounded_number
from .problem.inverse_problem import InverseProblem

__all__ = [
    "LOSSES",
    "ApproximationLoss",
    "DivergenceLoss",
    "EuclideanLogDetLoss",
    "LogDetLoss",
    "Loss",
    "NaturalLogDetLoss",
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
        Weight of the penalty in the coordinates of the network.

    Attributes
    ----------
    regularizes : bool
        Whether the optimum for Gaussian signals is the linear minimum mean square error estimator,
        so that pairs can tell whether training is worth more; False where it is G.
    inverts : bool
        Whether the loss depends on φ only through φ⁻¹, so that a network may be given by that.
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
    learns_prior : bool
        Whether φ − G is −ε∇log p at the optimum, so that pairs may weigh the prior afterwards.
    decay : float
        Strength of the weight penalty: training adds about ``decay ν/n`` times the penalty of the
        network, with n pairs and noise of variance ν in the coordinates of the network. Chosen for
        the least statistical error on 2-D mixtures.
    worthwhile_gain : float
        By how much the mean square error of the reconstruction has to fall, relative to its size,
        for an estimator to be drawn towards the linear one (:mod:`skinvbayes.training.guard`).

    Examples
    --------
    The absolute error instead of the square:

    >>> from skinvbayes.estimators import BaseINN
    >>> from skinvbayes.losses import Loss
    >>> class AbsoluteLoss(Loss):
    ...     def __call__(self, network: InvertibleMap, x: Tensor, z: Tensor) -> Tensor:
    ...         return (network(x) - z).abs().sum(1)
    ...     def in_user_units(self, value: float, coordinates: Coordinates) -> float:
    ...         return value * coordinates.scale
    >>> class AbsoluteINN(BaseINN):
    ...     loss = AbsoluteLoss
    """

    regularizes: bool = True
    inverts: bool = False
    first_stage: "type[Loss] | None" = None
    needs_log_determinant: bool = False
    expects_noise: bool = True
    leaves_known_out: bool = False
    learns_prior: bool = False
    decay: float = 200.0
    worthwhile_gain: float = 0.0

    def __init__(self, epsilon: float = 0.0):
        self.epsilon = epsilon

    def __call__(self, network: InvertibleMap, x: Tensor, z: Tensor) -> Tensor:
        """Loss of every sample."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__.")

    def starting_from(self, preimages: Preimages) -> "Loss":
        """The same loss, whose inversions of φ start from these points and are kept there.

        Parameters
        ----------
        preimages : Preimages
            Of the rows that the loss is called with, in this order.

        Returns
        -------
        loss : Loss
            The loss itself if it inverts nothing, or does not make use of them.
        """
        return self

    def value_of_known(self, trace: float) -> float:
        """The penalty of a known linear part of φ, where training leaves that part out.

        Parameters
        ----------
        trace : float
            The trace of the linear part.
        """
        return 0.0

    def integrated(self) -> "Loss | None":
        """The same loss with its penalty integrated by parts, for signals of known density.

        Returns
        -------
        loss : Loss or None
            What has the same mean, but for a constant, with the targets z − ε ∇log p(x) in place of
            z. None is always right.
        """
        return None

    @classmethod
    def for_problem(cls, epsilon: float, problem: InverseProblem) -> "Loss":
        """The loss in the coordinates of a problem, for the weight ε in the user's units."""
        return cls(rounded_number(problem.coordinates.unit_weight(epsilon)))

    def in_user_units(self, value: float, coordinates: Coordinates) -> float:
        """The mean loss of φ in squared units of y, from the mean loss of ψ."""
        return value * coordinates.scale**2


class ApproximationLoss(Loss):
    """½‖φ(x) − z‖².

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.losses import ApproximationLoss
    >>> from skinvbayes.networks import IResNet
    >>> x = torch.zeros(5, 2, dtype=torch.float64)
    >>> ApproximationLoss()(IResNet(2).double().eval(), x, x + 1).shape
    torch.Size([5])
    """

    regularizes = False
    expects_noise = False
    leaves_known_out = True

    def __call__(self, network: InvertibleMap, x: Tensor, z: Tensor) -> Tensor:
        return _half_square(network(x), z)


class DivergenceLoss(Loss):
    """½‖φ(x) − z‖² − ε div φ(x).

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.losses import DivergenceLoss
    >>> from skinvbayes.networks import IResNet
    >>> x = torch.zeros(5, 2, dtype=torch.float64)
    >>> DivergenceLoss(0.1)(IResNet(2).double().eval(), x, x + 1).shape
    torch.Size([5])
    """

    worthwhile_gain = 0.05  # the MAP estimate is what is asked for, and may cost something
    expects_noise = False
    leaves_known_out = learns_prior = True
    _is_integrated = False

    def __call__(self, network: InvertibleMap, x: Tensor, z: Tensor) -> Tensor:
        if self._is_integrated:
            return _half_square(network(x), z)
        image, divergence = network.call_and_divergence(x, _n_exact(network, x))
        return torch.sub(_half_square(image, z), divergence, alpha=self.epsilon)

    def value_of_known(self, trace: float) -> float:
        return -self.epsilon * trace

    def integrated(self) -> "DivergenceLoss | None":
        if type(self).__call__ is not DivergenceLoss.__call__:
            return None
        loss = copy.copy(self)
        loss._is_integrated = True
        return loss


class LogDetLoss(Loss):
    """½‖φ(x) − z‖² − ε log|det Dφ(x)|, in a metric M.

    The optimum is ``φ(x) = G x − ε M⁻¹ ∇log q(φ(x))``, with q the density of φ(X). For the natural
    metric M = P⁻¹, with the P of the coordinates, and Gaussian signals it is the posterior mean
    exactly: with the slopes g of G and r of ε C⁻¹, s² − g s = (g + r) r has the root s = g + r. For
    the Euclidean metric M = I, the paper's, it is so to first order in the noise and for G = I.

    Attributes
    ----------
    metric : {"auto", "natural", "euclidean"}
        The metric of the square; "auto" takes the natural one in the normal equation, and the
        Euclidean one in the original problem. Where there are too many features for natural
        coordinates it is always the Euclidean one.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.losses import LogDetLoss
    >>> from skinvbayes.networks import IResNet
    >>> x = torch.zeros(5, 2, dtype=torch.float64)
    >>> LogDetLoss(0.1)(IResNet(2).double().eval(), x, x + 1).shape
    torch.Size([5])
    """

    metric = "auto"
    first_stage = DivergenceLoss
    needs_log_determinant = True
    expects_noise = False
    decay = 60.0  # less than for the divergence: a steep slope costs only its logarithm

    def __init__(self, epsilon: float = 0.0, root: Tensor | None = None):
        super().__init__(epsilon)
        self.root = root

    @classmethod
    def for_problem(cls, epsilon: float, problem: InverseProblem) -> "LogDetLoss":
        loss = cls(super().for_problem(epsilon, problem).epsilon)
        if not cls.is_natural(problem):
            loss.root = as_tensor(np.asarray(problem.coordinates.inverse_basis)).float()
        return loss

    @classmethod
    def is_natural(cls, problem: InverseProblem) -> bool:
        """Whether the square is in the natural metric: isotropic coordinates have none."""
        auto = problem.operator is not None if cls.metric == "auto" else cls.metric == "natural"
        return auto and problem.coordinates.isotropic_norm is None

    @classmethod
    def inverse_metric(cls, problem: InverseProblem) -> np.ndarray:
        """The matrix M⁻¹ in the user's units, of shape (n_features, n_features)."""
        if cls.is_natural(problem):
            return problem.coordinates.precision
        return np.eye(problem.coordinates.n_features)

    def __call__(self, network: InvertibleMap, x: Tensor, z: Tensor) -> Tensor:
        n_exact = _n_exact(network, x, len(x) // x.shape[1])
        image, logabsdet = network.call_and_logabsdet(x, n_exact)
        return torch.sub(self._half_square(image - z), logabsdet, alpha=self.epsilon)

    def in_user_units(self, value: float, coordinates: Coordinates) -> float:
        constant = self.epsilon * coordinates.logdet_constant()
        return super().in_user_units(value - constant, coordinates)

    def _half_square(self, residual: Tensor) -> Tensor:
        """½ rᵀ M r, row by row."""
        if self.root is not None:
            root = self.root.to(residual)
            residual = residual @ root if root.ndim else residual * root
        return 0.5 * residual.square().sum(1)


class NaturalLogDetLoss(LogDetLoss):
    """The log-determinant loss in the natural metric, always.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.losses import NaturalLogDetLoss
    >>> from skinvbayes.networks import IResNet
    >>> x = torch.zeros(5, 2, dtype=torch.float64)
    >>> NaturalLogDetLoss(0.1)(IResNet(2).double().eval(), x, x + 1).shape
    torch.Size([5])
    """

    metric = "natural"


class EuclideanLogDetLoss(LogDetLoss):
    """The log-determinant loss in the Euclidean metric, the paper's, always.

    It is trained as it stands: no pairs decide how much of it counts.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.losses import EuclideanLogDetLoss
    >>> from skinvbayes.networks import IResNet
    >>> x = torch.zeros(5, 2, dtype=torch.float64)
    >>> EuclideanLogDetLoss(0.1)(IResNet(2).double().eval(), x, x + 1).shape
    torch.Size([5])
    """

    worthwhile_gain = np.inf
    metric = "euclidean"


class ReconstructionLoss(Loss):
    """½‖φ⁻¹(z) − x‖², with implicit gradients where the inverse has to be solved for.

    Parameters
    ----------
    epsilon : float, default=0.0
        As of every loss.
    metric : Tensor of shape (n_features,), default=None
        Positive weights of the squares, one by default. The optimum is the same for all of them.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.losses import ReconstructionLoss
    >>> from skinvbayes.networks import IResNet
    >>> x = torch.zeros(5, 2, dtype=torch.float64)
    >>> ReconstructionLoss()(IResNet(2).double().eval(), x, x + 1).shape
    torch.Size([5])
    """

    inverts = True
    first_stage = DivergenceLoss
    decay = 13.0
    _preimages: Preimages | None = None

    def __init__(self, epsilon: float = 0.0, metric: Tensor | None = None):
        super().__init__(epsilon)
        self.metric = metric

    def __call__(self, network: InvertibleMap, x: Tensor, z: Tensor) -> Tensor:
        found = implicit_inverse(network, z, x, self._preimages)
        if self.metric is None:
            return _half_square(found, x)
        return 0.5 * ((found - x).square() @ self.metric.to(x))

    def starting_from(self, preimages: Preimages) -> "ReconstructionLoss":
        loss = copy.copy(self)
        loss._preimages = preimages
        return loss


def _n_exact(network: InvertibleMap, x: Tensor, n_cheap: int = 0) -> int:
    """The number of rows with an exact penalty: all of them, but only a few in training."""
    return min(max(_EXACT_ROWS, n_cheap), len(x)) if network.training else len(x)


def _half_square(a: Tensor, b: Tensor) -> Tensor:
    """½‖a − b‖², row by row."""
    return 0.5 * F.mse_loss(a, b, reduction="none").sum(1)


LOSSES = {  # the paper's four, by name
    "approximation": ApproximationLoss,
    "reconstruction": ReconstructionLoss,
    "logdet": LogDetLoss,
    "divergence": DivergenceLoss,
}

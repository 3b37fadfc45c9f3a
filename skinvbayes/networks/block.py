"""The base class of the residual blocks.

A branch of your own is one subclass of :class:`ResidualBlock`, handed to an estimator as
``residual=YourBlock``; those whose Jacobian is symmetric and positive definite start from
:class:`skinvbayes.networks.monotone.MonotoneBlock`.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..inversion import InvertibleMap
from ..numerics.tensors import INITIAL
from ..problem.smoothing import signal_bandwidth
from .architecture import Architecture

__all__ = ["ResidualBlock", "add_identity"]

PENALTY = 0.3  # of the sum of squares of weights, to suit the strengths that losses ask for
_MARGIN = 1e-5  # relative distance kept from the bound, above float32 rounding


class ResidualBlock(InvertibleMap):
    """A map φ(x) = c (x − f(x)) + t with learned scale c > 0 and shift t.

    Subclasses define the branch: :meth:`residual`, the function f, and :meth:`lipschitz`, a
    certified bound of its Lipschitz constant, at most ``max_lipschitz``. The bound must hold for
    every value of the parameters, so that it holds during training too. Derivatives come from
    automatic differentiation unless a subclass knows better.

    Parameters
    ----------
    n_features : int
        Dimension d of the space.
    hidden_layer_sizes : tuple of int
        Widths of the hidden layers.
    max_lipschitz : float
        The bound to respect, in (0, 1).
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    A branch that is linear, f(x) = L R x / max(1, ‖R‖₂):

    >>> import torch
    >>> from skinvbayes.networks import IResNet, ResidualBlock
    >>> class LinearBlock(ResidualBlock):
    ...     def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
    ...         super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
    ...         weight = torch.randn(n_features, n_features, generator=generator)
    ...         self.weight = torch.nn.Parameter(weight)
    ...     def residual(self, x):
    ...         weight = self.weight / torch.linalg.matrix_norm(self.weight, 2).clamp(min=1)
    ...         return self.max_lipschitz * x @ weight.T
    ...     def lipschitz(self):
    ...         return self.max_lipschitz * torch.linalg.matrix_norm(self.weight, 2).clamp(max=1)
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = IResNet(3, residual=LinearBlock, lipschitz=0.9, generator=generator)
    >>> network(torch.zeros(5, 3)).shape
    torch.Size([5, 3])
    """

    # What the branch decides where the user does not.
    common_mean = False  # whether all features share one mean, as pixels do
    bandwidth_rule = staticmethod(signal_bandwidth)  # the meaning of prior_bandwidth="auto"
    first_stage_bandwidth_rule: Callable[..., float] | None = None  # of the reconstruction loss
    weighed_bandwidth_rule: Callable[..., float] | None = None  # where pairs weigh the prior
    reconstruction_smoothing = 0.5  # share of the bandwidth for the reconstruction loss
    learns_smoothed_prior = True  # so that covariances can be corrected for the smoothing
    learns_by_heart = True  # so that errors on training signals say nothing of others

    @classmethod
    def default_hidden_layer_sizes(cls, architecture: Architecture) -> tuple[int, ...]:
        """Widths of the hidden layers, a tuple of int: 8 units for each feature, 32 to 512."""
        return (min(max(8 * architecture.n_features, 32), 512),)

    @classmethod
    def default_batch_size(cls, architecture: Architecture) -> int:
        """Pairs in each step of Adam."""
        return 128

    @classmethod
    def default_learning_rate(cls, architecture: Architecture) -> float:
        """First step size of Adam."""
        return 3e-3

    @classmethod
    def first_stage_share(cls, solver: str) -> float:
        """Share of the iterations that train a loss's cheaper first stage, if it has one."""
        return {"lbfgs": 0.5, "adam": 0.75}[solver]

    @classmethod
    def check_log_determinant(cls) -> None:
        """Raises a ValueError if the branch has no log-determinant; this one has."""

    @classmethod
    def options(cls, architecture: Architecture) -> dict[str, Any]:
        """Further arguments of the constructor, a dict; here none.

        Raises
        ------
        ValueError
            If the branch cannot do what is asked for; the message says what to change.
        """
        return {}

    def weigh(self, factor: float) -> None:
        """Replace φ by G + w (φ − G), in place; for branches with a ``weighed_bandwidth_rule``.

        Parameters
        ----------
        factor : float
            The w.
        """
        raise NotImplementedError(f"{type(self).__name__} must define weigh(factor).")

    @classmethod
    def options_at(cls, architecture: Architecture, options: dict[str, Any]) -> dict[str, Any]:
        """The options for images of another shape, from those of the training.

        Raises
        ------
        ValueError
            If the branch serves only the size that it was trained for, as most do.
        """
        raise ValueError(
            'Only residual="conv" serves images of other sizes; this estimator was fitted with '
            f"residual={cls.__name__}."
        )

    # A linear part of φ that is given and not learned, and the bounds of its spectrum.
    known: Callable[[Tensor], Tensor] | None = None
    known_bounds: tuple[float, float] = (0.0, 0.0)
    most_features_of_matrices = math.inf  # with more of them, a known part is never a matrix

    # Whether a block can be the inverse itself, whose Jacobian is symmetric positive definite.
    can_be_inverse = False

    def __init__(
        self,
        n_features: int,
        hidden_layer_sizes: tuple[int, ...],
        max_lipschitz: float,
        generator: torch.Generator,
    ):
        super().__init__()
        self.max_lipschitz = max_lipschitz * (1 - _MARGIN)
        self.log_scale = nn.Parameter(torch.zeros((), **INITIAL))
        self.shift = nn.Parameter(torch.zeros(n_features, **INITIAL))
        self._constants: Any = None
        self._memory: Any = None

    def residual(self, x: Tensor) -> Tensor:
        """The branch f, (n_samples, n_features) → (n_samples, n_features)."""
        raise NotImplementedError(f"{type(self).__name__} must define residual(x).")

    def lipschitz(self) -> Tensor:
        """Certified bound of Lip(f), of shape ()."""
        raise NotImplementedError(f"{type(self).__name__} must define lipschitz().")

    def scale(self) -> Tensor:
        """The scale c, of shape ()."""
        return self.log_scale.exp()

    def magnitude(self) -> Tensor:
        """Size of the terms of φ(x) per length of x, of shape ()."""
        return self.scale()

    def forward(self, x: Tensor) -> Tensor:
        """φ(x) = c (x − f(x)) + t."""
        return self.scale() * (x - self.residual(x)) + self.shift

    def weight_penalty(self) -> Tensor:
        """What training keeps small: a share of the squares of all weights, by their names."""
        weights = [p.square().sum() for name, p in self.named_parameters() if "weight" in name]
        return PENALTY * sum(weights, self.shift.new_zeros(()))

    def initialize(self, mean: Tensor, deviations: Tensor, slope: Tensor) -> None:
        """Adapt the initial weights to the signals and to a linear first guess; here, nothing.

        Parameters
        ----------
        mean : Tensor of shape (n_features,)
            Mean of the signals, in unit scale.
        deviations : Tensor of shape (n_samples, n_features)
            Signals less their mean, weighted such that ``deviationsᵀ deviations`` is their
            covariance.
        slope : Tensor of shape (n_features, n_features) or ()
            Symmetric positive definite matrix, the first guess of Dφ; where a part of φ is known,
            the mean slope of the rest.
        """

    # ------------------------------------------------- what depends on the parameters alone

    def constants(self) -> Any:
        """What depends on the parameters alone, such as normalised weights; here, nothing.

        A subclass that overrides this reads it by :meth:`current_constants`.
        """
        return ()

    def current_constants(self) -> Any:
        """The constants of a frozen block; otherwise they are computed now."""
        return self.constants() if self._constants is None else self._constants

    def frozen(self, gradient: bool = False) -> "ResidualBlock":
        """A view of the block whose constants are computed once; see ``InvertibleMap.frozen``."""
        if self._constants is not None:
            return self
        if gradient or self.training:
            with torch.set_grad_enabled(gradient):
                return self._view(_constants=self.constants())
        return self._view(_constants=self._remembered_constants())

    def without_known(self) -> "ResidualBlock":
        """A view of the block without the part of φ that is known."""
        return self if self.known is None else self._view(known=None)

    def _view(self, **attributes: Any) -> "ResidualBlock":
        """A shallow copy with other attributes: it shares the parameters."""
        view = copy.copy(self)
        vars(view).update(attributes)
        return view

    @torch.no_grad()
    def _remembered_constants(self) -> Any:
        """The constants of the call before, if no parameter has changed since."""
        versions = [(p.data_ptr(), p.dtype, p._version) for p in self.parameters()]
        memory = self._memory  # read once: threads may replace it, but never change it
        if memory is None or memory[0] != versions:
            self._memory = memory = versions, self.constants()
        return memory[1]

    def _is_inner_loop(self, x: Tensor) -> bool:
        """Whether this is the inner loop of training; see :mod:`skinvbayes.networks.fused_mlp`."""
        training = self.training and torch.is_grad_enabled() and self._constants is None
        return training and not x.requires_grad


def add_identity(matrices: Tensor) -> Tensor:
    """``I + M`` in the memory of a batch of matrices M."""
    matrices.diagonal(dim1=1, dim2=2).add_(1)
    return matrices

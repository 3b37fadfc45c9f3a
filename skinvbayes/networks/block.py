"""What the residual blocks of networks share: the base classes.

A branch of your own is one subclass of :class:`ResidualBlock`, handed to an estimator as
``residual=YourBlock``.
"""

import math
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.func import vjp
from torch.nn import functional as F

from ..numerics import jacobians
from ..problem.smoothing import signal_bandwidth
from .spectral_shift import lacking

__all__ = [
    "MonotoneBlock",
    "ResidualBlock",
    "add_identity",
    "estimate",
    "every",
    "with_derivatives",
]

_MARGIN = 1e-5  # relative distance kept from the bound, above float32 rounding
_SAMPLE_ROWS = 32  # whose Jacobians are averaged


class ResidualBlock(nn.Module):
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

    # What the branch decides where a user leaves it open.
    common_mean = False  # whether all features share one mean, as pixels do
    bandwidth_rule = staticmethod(signal_bandwidth)  # of prior_bandwidth="auto"
    reconstruction_smoothing = 0.5  # share of that for the reconstruction loss; measured on digits

    @classmethod
    def default_hidden_layer_sizes(cls, architecture):
        """Widths of the hidden layers, a tuple of int: 8 units for each feature, 32 to 512."""
        return (min(max(8 * architecture.n_features, 32), 512),)

    @classmethod
    def default_batch_size(cls, n_features):
        """Pairs in each step of Adam."""
        return 128

    @classmethod
    def first_stage_share(cls, solver):
        """The share of the iterations that go to a cheaper loss first, where a loss names one."""
        return {"lbfgs": 0.5, "adam": 0.75}[solver]

    @classmethod
    def options(cls, architecture):
        """What else a block is made with, a dict; here nothing.

        Raises
        ------
        ValueError
            If the branch cannot do what is asked for; the message says what to change.
        """
        return {}

    @classmethod
    def options_at(cls, architecture, options):
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

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__()
        self.max_lipschitz = max_lipschitz * (1 - _MARGIN)
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.shift = nn.Parameter(torch.zeros(n_features))
        self._frozen = self._memory = None

    def residual(self, x):
        """The branch f, (n_samples, n_features) → (n_samples, n_features)."""
        raise NotImplementedError(f"{type(self).__name__} must define residual(x).")

    def lipschitz(self):
        """Certified bound of Lip(f), a Tensor of shape ()."""
        raise NotImplementedError(f"{type(self).__name__} must define lipschitz().")

    def scale(self):
        """The scale c, a Tensor of shape ()."""
        return self.log_scale.exp()

    def forward(self, x):
        """φ(x) = c (x − f(x)) + t."""
        return self.scale() * (x - self.residual(x)) + self.shift

    @contextmanager
    def frozen(self, gradient=False, constants=None):
        """A context in which the parameters stay as they are; a gradient in them only if so asked.

        What :meth:`constants` gives is computed once then, if it is not handed over. The context
        is entered with it.
        """
        frozen = self._frozen
        if constants is not None:
            self._frozen = constants
        elif frozen is None and (gradient or self.training):
            with torch.set_grad_enabled(gradient):
                self._frozen = self.constants()
        elif frozen is None:
            self._frozen = self._remembered_constants()
        try:
            yield self._frozen
        finally:
            self._frozen = frozen

    @torch.no_grad()
    def _remembered_constants(self):
        """The constants of the call before, if no parameter has changed since."""
        versions = [(p.data_ptr(), p.dtype, p._version) for p in self.parameters()]
        if self._memory is None or self._memory[0] != versions:
            self._memory = versions, self.constants()
        return self._memory[1]

    def constants(self):
        """What depends on the parameters alone, for :meth:`frozen`; here, nothing."""
        return ()

    def _current_constants(self):
        frozen = self._frozen  # read once: another thread may reset it
        return self.constants() if frozen is None else frozen

    def _fusible(self, x):
        """Whether this is the inner loop of training, for which see :mod:`skinvbayes.networks.fused`."""
        training = self.training and torch.is_grad_enabled() and self._frozen is None
        return training and not x.requires_grad

    def width(self, n_features):
        """The numbers that are kept for each row where φ is evaluated."""
        return n_features

    def magnitude(self):
        """Size of the terms of φ(x) per length of x, to judge rounding by; a Tensor of shape ()."""
        return self.scale()

    def hidden_form(self):
        """The block seen from its hidden units, if it has fewer of them than features, or None."""
        return

    majorant = None  # products with matrices that majorise Dφ, see those of filters
    positive_definite = False  # whether all Jacobians are symmetric and so
    tolerance = 0.0  # relative residual that an inversion stops at, if rounding does not before
    matrix_free = False  # whether products with Jacobians are to be taken, never their matrices

    def adjoint_product(self, x):
        """Multiplication of rows by Dφ(x)ᵀ, without forming it."""
        pull_back = vjp(self, x)[1]
        return lambda v: pull_back(v)[0]

    def mean_jacobian(self, x):
        """Dφ averaged over some of the rows, of shape (n_features, n_features)."""
        return self.jacobian(x[:: every(x)]).mean(0)

    def jacobian(self, x):
        """Dφ(x), of shape (n_samples, n_features, n_features)."""
        return jacobians.jacobian(self.forward, x)

    def call_and_divergence(self, x, n_exact):
        """φ(x), and div φ(x) of shape (n_samples,).

        With less than all rows exact, it may be an estimate: an approximation, its error in the
        first rows taken out of the mean, which is unbiased if these are drawn at random.
        """
        return self(x), self.jacobian(x).diagonal(dim1=1, dim2=2).sum(-1)

    def call_and_logabsdet(self, x, n_exact):
        """φ(x), and log|det Dφ(x)| or an estimate of it, of shape (n_samples,).

        The estimate is an approximation that is right to first order around the averaged Jacobian,
        if the block knows one, its error in the first rows taken out of the mean, which is unbiased
        if these are drawn at random.
        """
        exact = jacobians.logabsdet(self.jacobian(x[:n_exact]))
        return self(x), exact if n_exact == len(x) else estimate(exact, x.new_zeros(len(x)))

    def initialize(self, mean, deviations, slope):
        """Adapt the initial weights to the signals and to a linear first guess; here, nothing.

        Parameters
        ----------
        mean : Tensor of shape (n_features,)
            Mean of the signals, in unit scale.
        deviations : Tensor of shape (n_samples, n_features)
            Signals less their mean, weighted such that ``deviationsᵀ deviations`` is their
            covariance.
        slope : Tensor of shape (n_features, n_features) or ()
            Symmetric positive definite matrix, the first guess of Dφ; where a part of it is known,
            the mean slope of the rest.
        """

    known = None  # a linear part of φ that is not learned; only where a subclass knows of it
    known_bounds = 0.0, 0.0  # of its spectrum
    most_features_of_matrices = math.inf  # beyond, a known part is never a matrix


class MonotoneBlock(ResidualBlock):
    """A block whose Jacobian is symmetric with its spectrum in [a, b], a > 0.

    It is φ = c (x − f(x)) + t with c = (a + b)/2 and Lip(f) ≤ (b − a)/(b + a). A multiple of the
    identity in φ, which has no bound of its own, is raised as far as that demands.

    Subclasses define φ, the values and slopes of their units (:meth:`call_and_slopes`), products
    with Dφ from these (:meth:`product_from`), and :meth:`_free_bounds`.
    """

    SMOOTHING = 5e-4  # of min and max in the bound: L-BFGS gets stuck at kinks
    positive_definite = True

    def bounds(self):
        """The bounds (a, b) of the Jacobian's spectrum, Tensors of shape ()."""
        lower, b = self._free_bounds()
        raised = self._raise(lower, b)
        return lower.min() + raised, b + raised

    def lipschitz(self):
        """Exact bound (b − a)/(b + a) of Lip(f)."""
        a, b = self.bounds()
        return (b - a) / (b + a)

    def scale(self):
        """The scale c = (a + b)/2."""
        return sum(self.bounds()) / 2

    def residual(self, x):
        """f(x) = x − (φ(x) − t)/c."""
        return x - (self(x) - self.shift) / self.scale()

    def call_and_slopes(self, x):
        """φ(x), and the slopes of the units at x."""
        raise NotImplementedError(f"{type(self).__name__} must define call_and_slopes(x).")

    def product_from(self, slopes, dtype=None):
        """Multiplication by Dφ(x) from the slopes at x, without forming it; in this precision."""
        raise NotImplementedError(f"{type(self).__name__} must define product_from(slopes).")

    def corrected_inverse(self, inverse, x):
        """From rows and slopes to the product with ``P (2 I − Dφ P)``, P near the inverse of Dφ.

        One step of the iterative refinement of P, a symmetric matrix. The rows are near some of
        the rows x.
        """

        def product(rows, slopes):
            image = rows @ inverse
            return image + (rows - self.product_from(slopes)(image)) @ inverse

        return product

    def adjoint_product(self, x):
        """Multiplication of rows by Dφ(x), which is symmetric."""
        return self.product_from(self.call_and_slopes(x)[1])

    def _free_bounds(self):
        """Lower bounds of the spectrum, a the least of them, and b, before anything is raised."""
        raise NotImplementedError(f"{type(self).__name__} must define _free_bounds().")

    def _raise(self, lower, b):
        """The multiple of the identity that is lacking, or a little more."""
        arrays = (tensor.detach().cpu().numpy() for tensor in (lower, b))
        found = lacking(*arrays, self._ratio, self.SMOOTHING)
        value, *derivatives = (torch.from_numpy(np.asarray(part)).to(lower) for part in found)
        return with_derivatives(value, zip((lower, b), derivatives, strict=True))

    @property
    def _ratio(self):
        return (1 - self.max_lipschitz) / (1 + self.max_lipschitz)


def estimate(exact, approximation):
    """The approximation of all rows, its error in the first rows taken out of the mean."""
    n, n_exact = len(approximation), len(exact)
    error = n / n_exact * (exact - approximation[:n_exact])
    return approximation + F.pad(error, (0, n - n_exact))


def every(rows):
    """The step from one row of the sample to the next."""
    return max(1, len(rows) // _SAMPLE_ROWS)


def add_identity(matrices):
    """``I + M`` in the memory of a batch of matrices M."""
    matrices.diagonal(dim1=1, dim2=2).add_(1)
    return matrices


def with_derivatives(value, pairs):
    """A number with its derivative in every tensor of pairs (tensor, derivative)."""
    tensors, derivatives = zip(*pairs, strict=True)
    return _WithDerivatives.apply(value, derivatives, *tensors)


class _WithDerivatives(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value, derivatives, *tensors):
        ctx.save_for_backward(*derivatives)
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return None, None, *(gradient * derivative for derivative in ctx.saved_tensors)

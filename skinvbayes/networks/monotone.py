"""The base class of the blocks whose Jacobian is symmetric positive definite."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .block import ResidualBlock

__all__ = ["MonotoneBlock", "smallest_shift", "unshifted"]


class MonotoneBlock(ResidualBlock):
    """A block whose Jacobian is symmetric with its spectrum in [a, b], a > 0.

    It is φ = c (x − f(x)) + t with c = (a + b)/2 and Lip(f) ≤ (b − a)/(b + a). A multiple s of the
    identity is added to φ, the smallest that gives (b − a)/(b + a + 2s) ≤ L.

    Subclasses define two methods: :meth:`call_and_slopes`, with ``self.spectral_shift() * x`` among
    the terms of φ(x), and :meth:`free_bounds`, the bounds of the spectrum without that term. With
    the points x as slopes, products with the Jacobian come from automatic differentiation; with
    the slopes of its units, as below, a subclass defines :meth:`product_from` too. One that keeps
    its bounds by construction needs no shift, and defines :meth:`bounds` instead.

    Examples
    --------
    The gradient of Σ log cosh(w_j·x), whose Hessian lies between 0 and ‖W‖²:

    >>> import torch
    >>> from skinvbayes.networks import IResNet, MonotoneBlock
    >>> class LogCoshBlock(MonotoneBlock):
    ...     def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
    ...         super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
    ...         weight = torch.randn(*hidden_layer_sizes, n_features, generator=generator)
    ...         self.weight = torch.nn.Parameter(weight / 4)
    ...     def call_and_slopes(self, x):
    ...         units = torch.tanh(x @ self.weight.T)
    ...         image = units @ self.weight + self.spectral_shift() * x + self.shift
    ...         return image, 1 - units**2
    ...     def product_from(self, slopes, dtype=None):
    ...         shift, weight = self.spectral_shift().to(slopes), self.weight.to(slopes)
    ...         return lambda v: ((v @ weight.T) * slopes) @ weight + shift * v
    ...     def free_bounds(self):
    ...         norm = torch.linalg.matrix_norm(self.weight, 2)
    ...         return norm.new_zeros(1), norm**2
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = IResNet(3, residual=LogCoshBlock, lipschitz=0.9, generator=generator)
    >>> bool(network.lipschitz() <= 0.9)
    True
    """

    SMOOTHING = 5e-4  # of min and max in the bound, relative to b: L-BFGS gets stuck at kinks
    positive_definite = True

    def __init__(
        self,
        n_features: int,
        hidden_layer_sizes: tuple[int, ...],
        max_lipschitz: float,
        generator: torch.Generator,
    ):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        del self.log_scale  # the bounds give the scale

    def free_bounds(self) -> tuple[Tensor, Tensor]:
        """Bounds of the spectrum of Dφ before anything is added.

        Returns
        -------
        lower : Tensor of shape (n,)
            Lower bounds; a is the least of them.
        upper : Tensor of shape ()
            The upper bound b.
        """
        raise NotImplementedError(f"{type(self).__name__} must define free_bounds().")

    def spectral_shift(self) -> Tensor:
        """The s that is added, of shape (); computed once for a frozen block."""
        return self.current_constants()

    def constants(self) -> Any:
        """The spectral shift; a subclass that overrides this overrides :meth:`spectral_shift`."""
        return self._shift_for(*self.free_bounds())

    def bounds(self) -> tuple[Tensor, Tensor]:
        """The bounds (a, b) of the Jacobian's spectrum, of shape () each."""
        lower, b = self.free_bounds()
        shift = self._shift_for(lower, b)
        return lower.min() + shift, b + shift

    def lipschitz(self) -> Tensor:
        """Exact bound (b − a)/(b + a) of Lip(f)."""
        a, b = self.bounds()
        return (b - a) / (b + a)

    def scale(self) -> Tensor:
        """The scale c = (a + b)/2."""
        a, b = self.bounds()
        return (a + b) / 2

    def residual(self, x: Tensor) -> Tensor:
        """f(x) = x − (φ(x) − t)/c."""
        return x - (self(x) - self.shift) / self.scale()

    def forward(self, x: Tensor) -> Tensor:
        """φ(x)."""
        return self.call_and_slopes(x)[0]

    def call_and_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """φ(x), and what :meth:`product_from` has to know about x: slopes, or x itself."""
        raise NotImplementedError(f"{type(self).__name__} must define call_and_slopes(x).")

    def adjoint_product(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Multiplication of rows by Dφ(x), which is symmetric."""
        if type(self).product_from is MonotoneBlock.product_from:
            return super().adjoint_product(x)
        return self.product_from(self.call_and_slopes(x)[1])

    def _shift_for(self, lower: Tensor, b: Tensor) -> Tensor:
        """The smallest shift, or a little more."""
        return smallest_shift(lower, b, self._ratio, self._smoothing(b))

    def _smoothing(self, b: Tensor) -> float:
        return self.SMOOTHING * float(b.detach())

    @property
    def _ratio(self) -> float:
        """The least a over b."""
        return (1 - self.max_lipschitz) / (1 + self.max_lipschitz)

    def _n_features(self, slopes: Tensor) -> int:
        return len(self.shift)


def smallest_shift(lower: Tensor, b: Tensor, ratio: float, smoothing: float) -> Tensor:
    """A smooth upper bound of the s ≥ 0 with ``a + s ≥ ratio (b + s)``.

    Parameters
    ----------
    lower : Tensor of shape (n,)
        Lower bounds of a spectrum; a is the least of them.
    b : Tensor of shape ()
        Upper bound of the spectrum.
    ratio : float
        The least a over b, in [0, 1).
    smoothing : float
        Of the minimum and of s, in units of ``lower``.

    Returns
    -------
    shift : Tensor of shape ()
        The s.
    """
    a = -smoothing * torch.logsumexp(-lower / smoothing, dim=0)
    return smoothing * F.softplus((ratio * b - a) / ((1 - ratio) * smoothing))


def unshifted(slope: Tensor, lower: Tensor, b: Tensor, ratio: float, smoothing: float) -> Tensor:
    """The r with ``r + s = slope``, where s is the :func:`smallest_shift` for bounds raised by r.

    Parameters
    ----------
    slope : Tensor of shape ()
        The sum; where it is less than a shift has to be, r is well below it.
    lower, b, ratio, smoothing
        As of :func:`smallest_shift`, with one lower bound.

    Returns
    -------
    rest : Tensor of shape ()
        The r, from r + s = σ log(exp(r/σ) + exp(c/σ)) with the smoothing σ and the least shift c.
    """
    least = (ratio * b - lower[0]) / (1 - ratio)
    excess = ((slope - least) / smoothing).clamp(min=torch.finfo(slope.dtype).eps)
    return slope + smoothing * torch.log(-torch.expm1(-excess))

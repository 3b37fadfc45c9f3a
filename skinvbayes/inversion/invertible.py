"""The contract between an invertible map and all that inverts, trains or judges it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import vjp

from ..numerics import jacobians
from ..numerics.tensors import INITIAL, identity_like
from .hidden_units import HiddenUnits
from .settings import SETTINGS

__all__ = ["InvertibleMap", "reference_sample", "sample_stride", "working_dtype"]

LARGE_ROW = 2**16  # numbers that are kept for a row

Product = Callable[[Tensor], Tensor]


class InvertibleMap(nn.Module):
    """An invertible map φ of R^d, applied to the rows of a batch.

    A subclass defines :meth:`forward`, whose rows must not interact. Everything else has a default
    that works, by automatic differentiation; a subclass that knows better overrides it.

    Attributes
    ----------
    positive_definite : bool
        Whether all Jacobians are symmetric positive definite. Then :meth:`call_and_slopes` and
        :meth:`product_from` are used.
    matrix_free : bool
        Whether Jacobians of many features are only multiplied with, and never formed.
    few_features : int
        Up to so many features, the Jacobians of all rows cost next to nothing.
    any_precision : bool
        Whether φ is computed in the precision of its argument; see :func:`working_dtype`.
    tolerance : float
        Relative residual at which an inversion stops, if rounding does not stop it before.
    noise_tolerance : float
        The same relative to the noise of z, if that is more.
    explicit_inverse : InvertibleMap or None
        The inverse, where that is evaluated and φ itself solved for.
    differs_by_row : bool
        Whether every row has a map of its own; see :meth:`rows`.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.inversion import InvertibleMap, invert
    >>> class Cubic(InvertibleMap):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    ...     def forward(self, x):
    ...         return self.weight * (x + x**3)
    >>> invert(Cubic(), torch.full((1, 2), 10.0, dtype=torch.float64)).x
    tensor([[2., 2.]], dtype=torch.float64)
    """

    positive_definite: bool = False
    matrix_free: bool = False
    few_features: int = 8
    any_precision: bool = False
    tolerance: float = 0.0
    noise_tolerance: float = 0.0
    explicit_inverse: "InvertibleMap | None" = None
    differs_by_row: bool = False

    def forward(self, x: Tensor) -> Tensor:
        """φ(x), (n_samples, n_features) → (n_samples, n_features)."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(x).")

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def blocks(self) -> Sequence["InvertibleMap"]:
        """The maps that φ is composed of, the first one first; here, φ itself."""
        return (self,)

    def frozen(self, gradient: bool = False) -> "InvertibleMap":
        """The same map, with what depends on its parameters alone computed once.

        It shares the parameters, which must not change while it is in use; this map stays as it
        is. Gradients flow to the parameters only with ``gradient``. Blocks in evaluation mode keep
        what was computed until torch raises the version of a parameter, which its fused optimizers
        do not: after steps of these in evaluation mode, ``torch.autograd.graph.increment_version``.
        """
        return self

    def for_step(self) -> "InvertibleMap":
        """The same map for one step of training, whose loss and penalty share what they can.

        Where that pays, what depends on the parameters alone is computed once, with gradients but
        without derivatives of these.
        """
        return self

    def rows(self, index: Tensor | slice) -> "InvertibleMap":
        """The map of some of the rows, where every row has its own; elsewhere the same map."""
        return self

    def reference_points(self, like: Tensor) -> Tensor:
        """Typical arguments, over which Jacobians are averaged; here standard normal.

        Parameters
        ----------
        like : Tensor of shape (n_samples, n_features)
            Gives the number of features, dtype and device.

        Returns
        -------
        points : Tensor of shape (n_points, n_features)
        """
        return reference_sample(like.shape[1]).to(like)

    def row_entries(self, n_features: int) -> int:
        """How many numbers are kept for each row while φ is evaluated."""
        return n_features

    def magnitude(self) -> Tensor:
        """Size of the terms of φ(x) per length of x, to judge rounding by, of shape ()."""
        return torch.ones((), **INITIAL)

    def scale(self) -> Tensor:
        """The c of φ(x) = c (x − f(x)) + t with Lip(f) < 1, for the fixed-point iteration."""
        return self.magnitude()

    def precondition(self, v: Tensor) -> Tensor:
        """Cheap: about Dφ(x)⁻¹ v at typical x, but for a factor; here v itself."""
        return v

    # ------------------------------------------------------------------------------- derivatives

    def jacobian(self, x: Tensor) -> Tensor:
        """Dφ(x), of shape (n_samples, n_features, n_features)."""
        return jacobians.jacobian(self.forward, x)

    def jacobian_at_image(self, x: Tensor, image: Tensor) -> Tensor:
        """Dφ(x) where φ(x) is known already."""
        return self.jacobian(x)

    def mean_jacobian(self, x: Tensor) -> Tensor:
        """Dφ averaged over a sample of the rows, of shape (n_features, n_features)."""
        return self.jacobian(x[:: sample_stride(x)]).mean(0)

    def adjoint_product(self, x: Tensor) -> Product:
        """Multiplication of rows by Dφ(x)ᵀ, without forming it."""
        pull_back = vjp(self.frozen(torch.is_grad_enabled()).forward, x)[1]
        return lambda v: pull_back(v)[0]

    def call_and_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """φ(x), and the slopes: what :meth:`product_from` needs to know about x, row by row."""
        return self(x), x

    def product_from(self, slopes: Tensor, dtype: torch.dtype | None = None) -> Product:
        """Multiplication by a symmetric Dφ(x), from the slopes at x; rounded to this precision."""
        product = self.adjoint_product(slopes)
        return lambda v: product(v.to(slopes)).to(v)

    def jacobian_from(self, slopes: Tensor) -> Tensor:
        """A symmetric Dφ(x) from the slopes at x; here by products with the coordinates."""
        product, n_features = self.product_from(slopes), self._n_features(slopes)
        directions = identity_like(n_features, slopes)
        columns = [product(d.expand(len(slopes), n_features)) for d in directions]
        return torch.stack(columns, dim=2)

    # ------------------------------------------------------------------ what the losses ask for

    def call_and_divergence(self, x: Tensor, n_exact: int) -> tuple[Tensor, Tensor]:
        """φ(x), and div φ(x) of shape (n_samples,).

        With ``n_exact`` below the number of rows, the divergence may be an estimate: an
        approximation for all rows, corrected by its error in the first ``n_exact``. The mean of the
        estimate is unbiased if these rows are drawn at random.
        """
        return self(x), self.jacobian(x).diagonal(dim1=1, dim2=2).sum(-1)

    def call_and_logabsdet(self, x: Tensor, n_exact: int) -> tuple[Tensor, Tensor]:
        """φ(x), and log|det Dφ(x)| of shape (n_samples,), estimated in the same way."""
        exact = jacobians.logabsdet(self.jacobian(x[:n_exact]))
        if n_exact == len(x):
            return self(x), exact
        return self(x), jacobians.corrected_estimate(exact, x.new_zeros(len(x)))

    def logabsdet(self, x: Tensor) -> Tensor:
        """log|det Dφ(x)|, of shape (n_samples,)."""
        return self.call_and_logabsdet(x, len(x))[1]

    def divergence(self, x: Tensor) -> Tensor:
        """div φ(x), of shape (n_samples,)."""
        return self.call_and_divergence(x, len(x))[1]

    # --------------------------------------------------------------------- shortcuts of inversion

    def corrected_inverse(
        self, inverse: Tensor, reference: Tensor
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """A function (rows, slopes) ↦ rows · ``P (2 I − Dφ P)``, where P approximates Dφ⁻¹.

        One step of iterative refinement of the symmetric matrix P, for positive definite Dφ.
        """

        def product(rows: Tensor, slopes: Tensor) -> Tensor:
            image = rows @ inverse
            return image + (rows - self.product_from(slopes)(image)) @ inverse

        return product

    def hidden_units(self) -> HiddenUnits | None:
        """φ seen from its hidden units, if there are fewer of them than features; else None."""
        return None

    def _n_features(self, slopes: Tensor) -> int:
        return slopes.shape[1]


def working_dtype(network: InvertibleMap, n_features: int) -> torch.dtype:
    """Single precision for large rows, where it saves most, if φ allows it.

    Its rounding may depend on the rows beside, where products with a matrix do; that is far below
    the tolerances of such maps.
    """
    large = network.row_entries(n_features) >= LARGE_ROW and n_features > network.few_features
    return torch.float32 if large and network.any_precision else torch.float64


def sample_stride(rows: Tensor) -> int:
    """The k such that ``rows[::k]`` is a sample of ``n_reference`` rows or more, or of all."""
    return max(1, len(rows) // SETTINGS.n_reference)


def reference_sample(n_features: int) -> Tensor:
    """Standard normal points, always the same, of shape (n_points, n_features)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(SETTINGS.n_reference, n_features, generator=generator, **INITIAL)

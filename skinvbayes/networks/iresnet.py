"""Invertible residual networks φ(x) = c (x − f(x)) + t, with certified Lip(f) < 1.

A block is one such map, an :class:`IResNet` a composition of blocks.
"""

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..inversion import InvertibleMap
from ..inversion.invertible import Product, reference_sample
from ..inversion.settings import SETTINGS
from ..numerics.tensors import INITIAL, identity_like
from .block import ResidualBlock
from .conv import ConvBlock
from .gradient import GradientBlock
from .mlp import MLPBlock

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RESIDUALS", "IResNet", "branch_of", "name_of"]

RESIDUALS = {"gradient": GradientBlock, "mlp": MLPBlock, "conv": ConvBlock}


def branch_of(residual):
    """The class of the residual blocks, given by its name or as a class.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(residual, str) and residual in RESIDUALS:
        return RESIDUALS[residual]
    if isinstance(residual, type) and issubclass(residual, ResidualBlock):
        return residual
    raise ValueError(
        'residual must be "gradient", "mlp", "conv" or a subclass of '
        f"skinvbayes.networks.ResidualBlock; got {residual!r}."
    )


def name_of(branch):
    """The name of a built-in branch; of any other, its class."""
    return next((name for name, known in RESIDUALS.items() if known is branch), branch)


class IResNet(InvertibleMap):
    """Invertible residual network: one or several residual blocks in a row.

    Parameters
    ----------
    n_features : int
        Dimension d of the space.
    residual : {"gradient", "mlp", "conv"} or a subclass of ResidualBlock, default="gradient"
        The branch of every block.
    n_blocks : int, default=1
        Number of blocks.
    hidden_layer_sizes : tuple of int, default=(32,)
        Widths of the hidden layers of each branch.
    known : callable, default=None
        A symmetric positive semidefinite linear map of rows that is added to the only block and not
        learned, such as a :class:`skinvbayes.problem.tensor_operator.TensorOperator`.
    known_bounds : tuple of two floats, default=None
        Bounds of the spectrum of ``known``; None where there is no such map.
    block_options : dict, default=None
        What else the blocks are made with: ``image_shape`` and ``kernel_size`` of "conv".
    lipschitz : float, default=0.999
        Bound L < 1 of the Lipschitz constant of each branch.
    generator : torch.Generator, default=None
        Source of the initial weights; a fresh one of seed 0 by default.

    Attributes
    ----------
    config : dict
        The parameters above but ``known`` and the generator; a branch by its name, if it has one.
    reference : Tensor of shape (n_points, n_features)
        Typical signals in unit scale, over which an inversion averages Jacobians; of a network
        whose Jacobians are never formed there are none.

    References
    ----------
    J. Behrmann et al. (2019), "Invertible Residual Networks"; N. Heilenkötter (2025),
    arXiv:2510.26704.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.inversion import invert
    >>> from skinvbayes.networks import IResNet
    >>> network = IResNet(2, residual="mlp", n_blocks=2, lipschitz=0.9).double()
    >>> x = torch.zeros(5, 2, dtype=torch.float64)
    >>> bool(torch.allclose(invert(network, network(x)).x, x, atol=1e-10))
    True
    """

    def __init__(
        self,
        n_features: int,
        *,
        residual: str | type[ResidualBlock] = "gradient",
        n_blocks: int = 1,
        hidden_layer_sizes: tuple[int, ...] = (32,),
        lipschitz: float = 0.999,
        known: Callable[[Tensor], Tensor] | None = None,
        known_bounds: tuple[float, float] | None = None,
        block_options: dict[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        block = branch_of(residual)
        self.n_features = n_features
        self.config = {
            "n_features": n_features,
            "residual": name_of(block),
            "n_blocks": n_blocks,
            "hidden_layer_sizes": tuple(hidden_layer_sizes),
            "lipschitz": lipschitz,
            "known_bounds": known_bounds,
            "block_options": block_options or {},
        }
        sizes, options = tuple(hidden_layer_sizes), self.config["block_options"]
        with torch.device("cpu"):  # where the generator is, whatever the default device
            self.block_list = nn.ModuleList(
                block(n_features, sizes, lipschitz, generator, **options) for _ in range(n_blocks)
            )
        if known_bounds is not None:
            (only,) = self.blocks
            only.known, only.known_bounds = known, (known_bounds[0], known_bounds[1])
        points = torch.empty(0, **INITIAL) if self.matrix_free else reference_sample(n_features)
        self.register_buffer("reference", points)
        self.eval()  # norms and bounds are exact; in training mode they are approximate

    @property
    def blocks(self) -> tuple[ResidualBlock, ...]:
        """The blocks, the first one first, a tuple."""
        return tuple(self.block_list)  # type: ignore[arg-type]  # torch says Module

    @property
    def knows_forward(self) -> bool:
        """Whether a part of φ is known."""
        return self.config["known_bounds"] is not None

    # The base class has constants where these depend on the blocks: hence the ignored overrides

    @property
    def positive_definite(self) -> bool:  # type: ignore[override]
        """Whether all Jacobians are symmetric positive definite."""
        return len(self.blocks) == 1 and self.blocks[0].positive_definite

    @property
    def matrix_free(self) -> bool:  # type: ignore[override]
        """Whether Jacobians are only multiplied with."""
        return any(block.matrix_free for block in self.blocks)

    @property
    def few_features(self) -> int:  # type: ignore[override]
        """Up to how many features the Jacobians of all blocks cost next to nothing."""
        return min(block.few_features for block in self.blocks)

    @property
    def any_precision(self) -> bool:  # type: ignore[override]
        """Whether φ is computed in the precision of its argument."""
        return all(block.any_precision for block in self.blocks)

    @property
    def tolerance(self) -> float:  # type: ignore[override]
        """The largest tolerance of the blocks."""
        return max(block.tolerance for block in self.blocks)

    @property
    def noise_tolerance(self) -> float:  # type: ignore[override]
        """The smallest of its blocks."""
        return min(block.noise_tolerance for block in self.blocks)

    def row_entries(self, n_features: int) -> int:
        """Those of the block that needs most."""
        return max(block.row_entries(n_features) for block in self.blocks)

    def frozen(self, gradient: bool = False) -> "Self":
        """A view of the network whose blocks are frozen; it shares the parameters."""
        return self._with_blocks([block.frozen(gradient) for block in self.blocks])

    def for_step(self) -> "Self":
        """A view of the network for one step of training; it shares the parameters."""
        return self._with_blocks([block.for_step() for block in self.blocks])

    def rest(self) -> "Self":
        """A view of the network without the part of φ that is known; it shares the parameters.

        Its certified bounds are those of φ all the same.
        """
        return self._with_blocks([block.without_known() for block in self.blocks])

    def _with_blocks(self, blocks):
        if all(new is old for new, old in zip(blocks, self.blocks, strict=True)):
            return self
        view = copy.copy(self)
        view._modules = {**self._modules, "block_list": nn.ModuleList(blocks)}
        return view

    def reference_points(self, like: Tensor) -> Tensor:
        """Typical signals; see the attribute ``reference``. Where there are none, their mean."""
        return like.new_zeros(1, like.shape[1]) if self.matrix_free else self.reference

    def initialize(self, mean: Tensor, deviations: Tensor, slope: Tensor) -> None:
        """Adapt the initial weights to signals of unit scale and a linear first guess of φ.

        The first block starts from the slope, the others from the identity.
        """
        with torch.no_grad():
            if not self.matrix_free:
                self.reference = _spread(mean, deviations)
            for block in self.blocks:
                block.initialize(mean, deviations, slope)
                if len(self.blocks) > 1:
                    mean, deviations = block(mean[None])[0], deviations @ slope
                    slope = identity_like(self.n_features, slope)

    def forward(self, x: Tensor) -> Tensor:
        """φ(x), (n_samples, n_features) → (n_samples, n_features)."""
        for block in self.blocks:
            x = block(x)
        return x

    def jacobian(self, x: Tensor) -> Tensor:
        """Dφ(x), of shape (n_samples, n_features, n_features): the product of the blocks'."""
        first, *rest = self.blocks
        product = first.jacobian(x)
        for block in rest:
            x = first(x)
            product = block.jacobian(x) @ product
            first = block
        return product

    def adjoint_product(self, x: Tensor) -> Product:
        """Multiplication of rows by Dφ(x)ᵀ, without forming it."""
        inputs = [x]
        for block in self.blocks[:-1]:
            inputs.append(block(inputs[-1]))
        products = [b.adjoint_product(v) for b, v in zip(self.blocks, inputs, strict=True)]

        def product(v):
            for pull_back in reversed(products):
                v = pull_back(v)
            return v

        return product

    def magnitude(self) -> Tensor:
        """Size of the terms of φ(x) per length of x, to judge rounding by; a Tensor of shape ()."""
        first, *others = (block.magnitude() for block in self.blocks)
        return math.prod(others, start=first)

    def call_and_divergence(self, x: Tensor, n_exact: int) -> tuple[Tensor, Tensor]:
        """φ(x), and div φ(x) of shape (n_samples,): not the sum of the blocks' divergences.

        With ``n_exact`` below the number of rows, it may be an estimate, unbiased in the mean.
        """
        if len(self.blocks) == 1:
            return self.blocks[0].call_and_divergence(x, n_exact)
        return self(x), self.jacobian(x).diagonal(dim1=1, dim2=2).sum(-1)

    def call_and_logabsdet(self, x: Tensor, n_exact: int) -> tuple[Tensor, Tensor]:
        """φ(x), and log|det Dφ(x)|, of shape (n_samples,): the sum of the blocks'.

        With ``n_exact`` below the number of rows, it is an estimate, unbiased in the mean.
        """
        first, *others = self.blocks
        x, total = first.call_and_logabsdet(x, n_exact)
        for block in others:
            x, logabsdet = block.call_and_logabsdet(x, n_exact)
            total = total + logabsdet
        return x, total

    def lipschitz(self) -> Tensor:
        """Certified bound of Lip(f) of each block, a Tensor of shape (n_blocks,)."""
        return torch.stack([block.lipschitz() for block in self.blocks])

    def weight_penalty(self) -> Tensor:
        """The sum of the blocks' penalties, of shape ()."""
        first, *others = (block.weight_penalty() for block in self.blocks)
        return sum(others, start=first)


def _spread(mean, deviations):
    """Some of the signals, from their mean and their deviations, weighted as in ``initialize``."""
    n, n_points = len(deviations), SETTINGS.n_reference
    rows = torch.arange(n_points, device=mean.device) * n // n_points
    return mean + n**0.5 * deviations[rows]

"""An invertible residual network that is given by its inverse."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..inversion import InvertibleMap, invert
from ..inversion.invertible import Product
from .iresnet import IResNet

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ExplicitInverse", "build_network"]


class ExplicitInverse(InvertibleMap):
    """The map φ = ψ⁻¹ for an iResNet ψ with symmetric positive definite Jacobians.

    φ is an iResNet like its inverse: where the spectrum of Dψ lies in [a, b], that of Dφ lies in
    [1/b, 1/a], which gives the same bound (b − a)/(b + a) of Lip(f). Here the inverse is evaluated
    and the map itself is solved for. It is what the reconstruction loss trains: the posterior
    mean as a function of z.

    Parameters
    ----------
    inverse : IResNet
        The ψ.

    Attributes
    ----------
    inverse, explicit_inverse : IResNet
        The ψ.
    config : dict
        The parameters of ψ, and ``explicit_inverse=True``.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.networks import ExplicitInverse, IResNet
    >>> inverse = IResNet(2).double()
    >>> network, z = ExplicitInverse(inverse), torch.zeros(5, 2, dtype=torch.float64)
    >>> bool(torch.allclose(network(inverse(z)), z, atol=1e-10))
    True
    """

    knows_forward = False

    def __init__(self, inverse: IResNet):
        super().__init__()
        self.inverse = inverse
        self.config = inverse.config | {"explicit_inverse": True}

    # The base class has constants where these depend on ψ: hence the ignored overrides

    @property
    def explicit_inverse(self) -> IResNet:  # type: ignore[override]
        """The ψ."""
        return self.inverse

    @property
    def positive_definite(self) -> bool:  # type: ignore[override]
        """Whether all Jacobians are symmetric positive definite."""
        return self.inverse.positive_definite

    def frozen(self, gradient: bool = False) -> "Self":
        """A view of the map with a frozen inverse; it shares the parameters."""
        return self._with_inverse(self.inverse.frozen(gradient))

    def for_step(self) -> "Self":
        """A view of the map for one step of training; it shares the parameters."""
        return self._with_inverse(self.inverse.for_step())

    def _with_inverse(self, inverse):
        view = type(self)(inverse)
        view.training = self.training
        return view

    def rest(self) -> "Self":
        """The map itself, of which no part is known."""
        return self

    def initialize(self, mean: Tensor, deviations: Tensor, slope: Tensor) -> None:
        """Adapt the initial weights to the images of the signals and a linear first guess of φ."""
        inverse = torch.linalg.inv(slope) if slope.ndim else 1 / slope
        images = deviations @ slope if slope.ndim else deviations * slope
        self.inverse.initialize(mean, images, inverse)

    def forward(self, x: Tensor) -> Tensor:
        """φ(x), by solving ψ(w) = x; differentiable in x, and not in the parameters."""
        image = invert(self.inverse, x.detach()).x
        if not (x.requires_grad and torch.is_grad_enabled()):
            return image
        slope = self.jacobian_at_image(x, image).detach()
        return image + torch.einsum("nij,nj->ni", slope, x - x.detach())

    def jacobian(self, x: Tensor) -> Tensor:
        """Dφ(x) = Dψ(φ(x))⁻¹."""
        return self.jacobian_at_image(x, self(x))

    def jacobian_at_image(self, x: Tensor, image: Tensor) -> Tensor:
        """Dφ(x) where φ(x) is known."""
        return torch.linalg.inv(self.inverse.jacobian(image))

    def adjoint_product(self, x: Tensor) -> Product:
        """Multiplication of rows by Dφ(x)ᵀ."""
        J = self.jacobian(x)
        return lambda v: torch.einsum("nij,ni->nj", J, v)

    def lipschitz(self) -> Tensor:
        """Certified bound of Lip(f) of each block of ψ, which is that of its inverse."""
        return self.inverse.lipschitz()

    def weight_penalty(self) -> Tensor:
        """The penalty of ψ."""
        return self.inverse.weight_penalty()


def build_network(config, *, known=None, generator=None):
    """The network of a configuration.

    Parameters
    ----------
    config : dict
        The ``config`` of a network.
    known, generator
        As in :class:`IResNet`.

    Returns
    -------
    network : IResNet or ExplicitInverse
    """
    config = dict(config)
    explicit = config.pop("explicit_inverse", False)
    network = IResNet(**config, known=known, generator=generator)
    return ExplicitInverse(network).eval() if explicit else network

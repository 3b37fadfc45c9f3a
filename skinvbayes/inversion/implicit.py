"""The gradient through an inverse, by the implicit function theorem."""

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ..numerics.krylov import conjugate_gradients
from ..numerics.threads import single_thread
from .chord import chord
from .invert import invert
from .invertible import InvertibleMap
from .linear import directly, preconditioner
from .preimages import Preimages
from .rows import iterate_rows, without_slopes
from .settings import SETTINGS

__all__ = ["implicit_inverse"]


def implicit_inverse(
    network: InvertibleMap, z: Tensor, start: Tensor, preimages: Preimages | None = None
) -> Tensor:
    """φ⁻¹(z) with the gradient of the implicit function theorem, nothing unrolled.

    Where φ(x) = z, the gradient g of a loss in x is that of −⟨φ(x), λ⟩ in the parameters of φ and λ
    in z, with the adjoint λ = (Dφ)⁻ᵀ g.

    Parameters
    ----------
    network : InvertibleMap
        The map φ.
    z : Tensor of shape (n_samples, n_features)
        Points to invert.
    start : Tensor of shape (n_samples, n_features)
        First guess. Maps with a ``tolerance`` are inverted to a share of its residual.
    preimages : Preimages, default=None
        What was found last for these points, a better guess. What is found now is kept there;
        nothing is where the inverse is in closed form.

    Returns
    -------
    x : Tensor of shape (n_samples, n_features)
        Preimages, differentiable in the parameters of φ.

    Examples
    --------
    >>> import torch
    >>> from skinvbayes.inversion import implicit_inverse
    >>> from skinvbayes.networks import IResNet
    >>> network, z = IResNet(2).double(), torch.ones(5, 2, dtype=torch.float64)
    >>> implicit_inverse(network, z, start=z).square().sum().backward()
    >>> all(weight.grad is not None for weight in network.parameters())
    True
    """
    if network.explicit_inverse is not None:
        return network.explicit_inverse(z)
    network = network.frozen(gradient=True)
    blocks = tuple(network.blocks)
    tol = _tolerance(network, z, start)
    start = start if preimages is None else preimages.latest()
    inputs = [invert(network, z, start=start, tol=tol).x]  # of every block
    if preimages is not None:
        preimages.keep(inputs[0])
    with torch.no_grad():
        for block in blocks[:-1]:
            inputs.append(block(inputs[-1]))
    for block, x in zip(reversed(blocks), reversed(inputs), strict=True):
        image, slopes = block.call_and_slopes(x) if block.matrix_free else (block(x), None)
        z = _ImplicitStep.apply(image, z, x, block, slopes)
    return z


@torch.no_grad()
def _tolerance(network, z, start):
    """The relative tolerance in training: that of rounding, by products alone a larger one."""
    tol = SETTINGS.tolerance_of(z.dtype, training=True)
    if not network.tolerance:
        return tol
    # Training starts at the true signal; the tolerance is a share of the residual there.
    distance = (network(start) - z).norm() / z.norm().clamp(min=torch.finfo(z.dtype).tiny)
    few = z.shape[1] <= network.few_features
    share = SETTINGS.approximate_training if few else SETTINGS.matrix_free_training
    return max(tol, share * float(distance))


class _ImplicitStep(torch.autograd.Function):
    """The solution x of φ(x) = z as a function of φ(x), at this x, and of z.

    The slopes at x serve for the adjoint where they were found with φ(x).
    """

    @staticmethod
    def forward(ctx, image, z, x, block, slopes):
        ctx.block, ctx.slopes = block, slopes
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        with single_thread(), torch.no_grad():
            adjoint = _solve_adjoint(ctx.block, x, gradient, ctx.slopes)
        return -adjoint, adjoint, None, None, None


def _solve_adjoint(block, x, gradient, slopes):
    """λ with Dφ(x)ᵀ λ = gradient, row by row."""
    if x.shape[1] <= block.few_features:
        return directly(block, x, gradient, adjoint=True)
    units = block.hidden_units()
    product = block.adjoint_product(x) if slopes is None else block.product_from(slopes)
    if block.positive_definite and units is None:
        return _by_products(block, x, gradient, product)
    threshold = torch.finfo(x.dtype).eps ** SETTINGS.adjoint_power * vector_norm(gradient, dim=1)
    if units is None:
        inverse = torch.linalg.inv(block.mean_jacobian(x))
        adjoint, residual = _solve_linear(product, gradient, inverse, threshold)
    else:
        h = units.preactivation(x)
        equation = units.adjoint_equation(h, gradient)
        y, _ = _solve_linear(*equation, threshold / units.inner.norm())
        adjoint = units.adjoint_solution(h, gradient, y)
        residual = vector_norm(product(adjoint) - gradient, dim=1)
    left = ~(residual <= 10 * threshold)
    if left.any():
        x, gradient = x[left], gradient[left]
        if block.positive_definite:
            adjoint[left] = _by_products(block, x, gradient, block.adjoint_product(x))
        else:
            adjoint[left] = directly(block, x, gradient, adjoint=True)
    return adjoint


def _solve_linear(function, target, inverse, threshold):
    """By the chord method from zero: the points and the residuals."""
    start, function = torch.zeros_like(target), without_slopes(function)
    steps = SETTINGS.fast_steps
    found = iterate_rows(function, target, chord(inverse), start, threshold, steps, leave=False)
    return found[0], found[2]


def _by_products(block, x, gradient, product):
    """By conjugate gradients."""
    tol = torch.finfo(x.dtype).eps ** SETTINGS.adjoint_power
    tol = SETTINGS.matrix_free_adjoint if block.matrix_free else tol
    precondition = preconditioner(block, x)
    options = {"tol": tol, "precondition": precondition, "verified": False}
    return conjugate_gradients(product, gradient, **options)[0]

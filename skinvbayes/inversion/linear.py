"""Newton's equations and their adjoints: from Jacobians, or from products with them."""

from functools import partial

import torch

from ..numerics.chunks import chunk_size
from ..numerics.jacobians import solve
from ..numerics.krylov import conjugate_gradients
from .settings import SETTINGS

__all__ = ["directly", "preconditioner", "solve_loosely", "solver_for"]


def solver_for(block, n_features, reference):
    """Choose how to solve Newton's equations: (block, x, residual) ↦ Dφ(x)⁻¹ residual."""
    by_matrices = block.differs_by_row and not block.matrix_free
    if not block.positive_definite or n_features <= block.few_features or by_matrices:
        return directly
    precondition = preconditioner(block, reference)

    def by_products(block, x, residual):
        slopes = block.call_and_slopes(x)[1]
        if block.matrix_free:
            return solve_loosely(block.product_from(slopes, torch.float32), residual)
        options = {"tol": SETTINGS.forcing, "precondition": precondition, "verified": False}
        solve = partial(conjugate_gradients, **options)
        return solve(block.product_from(slopes), residual)[0]

    return by_products


def directly(block, x, residual, *, adjoint=False):
    """Dφ(x)⁻¹ or Dφ(x)⁻ᵀ times the residual, from Jacobians."""
    size = chunk_size(x.shape[1] ** 2)
    parts = []
    for k, right in enumerate(residual.split(size)):
        part = slice(k * size, (k + 1) * size)
        jacobian = block.rows(part).jacobian(x[part])
        parts.append(solve(jacobian.transpose(1, 2) if adjoint else jacobian, right))
    return torch.cat(parts)


def solve_loosely(product, residual):
    """By conjugate gradients in single precision, which is enough for a step."""
    size = residual.norm(dim=1, keepdim=True).clamp(min=torch.finfo(residual.dtype).tiny)
    right = (residual / size).float()
    options = {"tol": SETTINGS.matrix_free_forcing, "verified": False}
    found, _ = conjugate_gradients(product, right, **options)
    return found.to(residual) * size


def preconditioner(block, x):
    """Multiplication by the inverse of the Jacobian averaged over x; None if that is too large."""
    if block.matrix_free or block.hidden_units() is not None:
        return None
    inverse = torch.linalg.inv(block.mean_jacobian(x))
    return lambda v: v @ inverse

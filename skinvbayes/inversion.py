"""The inverse φ⁻¹ of an invertible residual network, with a residual for every sample."""

import math
from dataclasses import dataclass

import torch

from .jacobians import solve
from .krylov import conjugate_gradients
from .threads import single_thread

__all__ = ["Inversion", "implicit_inverse", "invert"]

_CHUNK_ENTRIES = 2**22  # entries of the largest batch of Jacobians
_DENSE_FEATURES = 128  # up to so many, Newton's method forms Jacobians
_INEXACT = 1e-4  # relative residual of Newton's equations without Jacobians
_SHORTEST_STEP = 2.0**-20
_ARMIJO = 1e-4
_POLISHING_STEPS = 5


@dataclass
class Inversion:
    """What an inversion found.

    Attributes
    ----------
    x : Tensor of shape (n_samples, n_features)
        The preimages.
    residual : Tensor of shape (n_samples,)
        ``‖φ(x) − z‖`` of every sample.
    n_iter : Tensor of shape (n_samples,)
        Number of steps that every sample took, over all blocks.
    converged : Tensor of shape (n_samples,)
        Whether the tolerance was met.
    """

    x: torch.Tensor
    residual: torch.Tensor
    n_iter: torch.Tensor
    converged: torch.Tensor


@torch.no_grad()
def invert(network, z, *, start=None, method="newton", tol=None, max_iter=200):
    """Solve φ(x) = z, block by block from the last to the first.

    Parameters
    ----------
    network : IResNet
        The map φ.
    z : Tensor of shape (n_samples, n_features)
        Points to invert; never modified.
    start : Tensor of shape (n_samples, n_features), default=None
        First guess of x; z itself by default.
    method : {"newton", "fixed_point"}, default="newton"
        Newton's method with the exact Jacobian and a step-length test (of more than 128 features,
        with the gradient branch, by conjugate gradients without forming it), or Banach's iteration
        ``x ← x − (φ(x) − z)/c``, which converges with the factor Lip(f).
    tol : float, default=None
        Largest residual that counts as converged, relative to the root mean square of z's rows, or
        to the terms that φ(x) is the sum of where these are larger; by default 100 units of
        rounding.
    max_iter : int, default=200
        Largest number of steps for each block.

    Returns
    -------
    inversion : Inversion
        Preimages, residuals, iteration counts and convergence.
    """
    if method not in _STEPS:
        raise ValueError(f"method must be one of {sorted(_STEPS)}; got {method!r}.")
    tol = 100 * torch.finfo(z.dtype).eps if tol is None else tol
    size = _chunk_size(network, z.shape[1]) if method == "newton" else len(z)
    start = z if start is None else start
    with single_thread(), network.frozen():
        threshold = tol * z.square().sum(1).mean().sqrt().clamp(min=torch.finfo(z.dtype).tiny)
        chunks = [
            _invert_chunk(network, part, guess, tol, threshold, method, max_iter)
            for part, guess in zip(z.split(size), start.split(size), strict=True)
        ]
    return Inversion(*(torch.cat(field) for field in zip(*chunks, strict=True)))


def implicit_inverse(network, z, start):
    """φ⁻¹(z) with the gradient of the implicit function theorem, nothing unrolled.

    One Newton step with a detached Jacobian from the solution: it leaves the value as it is and
    carries the gradient ``−(Dφ)⁻¹ ∂φ``.

    Parameters
    ----------
    network : IResNet
        The map φ.
    z : Tensor of shape (n_samples, n_features)
        Points to invert.
    start : Tensor of shape (n_samples, n_features)
        First guess.

    Returns
    -------
    x : Tensor of shape (n_samples, n_features)
        Preimages, differentiable in the parameters of φ.
    """
    x = invert(network, z, start=start).x
    with torch.no_grad():
        jacobian = network.jacobian(x)
    return x - solve(jacobian, network(x) - z)


def _chunk_size(network, n_features):
    """Rows whose Jacobians, or without them intermediate results, have so many entries at most."""
    several = len(network.blocks) > 1  # the polishing forms Jacobians
    formed = several or _forms_jacobians(network.blocks[0], n_features)
    return max(1, _CHUNK_ENTRIES // n_features ** (2 if formed else 1))


def _forms_jacobians(block, n_features):
    """Whether Newton's method needs matrices: for few features, or where products are not known."""
    return n_features <= _DENSE_FEATURES or getattr(block, "jacobian_product", None) is None


def _invert_chunk(network, z, start, tol, threshold, method, max_iter):
    guesses = [start]  # of the input of every block, from the guess of x
    for block in network.blocks[:-1]:
        guesses.append(block(guesses[-1]))
    x, n_iter = z, torch.zeros(len(z), dtype=torch.int64, device=z.device)
    for block, guess in zip(reversed(network.blocks), reversed(guesses), strict=True):
        x, steps = _invert_block(block, x, guess, threshold / 4, _STEPS[method], max_iter)
        n_iter = n_iter + steps
    if len(network.blocks) > 1:  # what one block leaves, the next ones may amplify: polish
        x, steps = _invert_block(network, z, x, threshold, _newton_step, _POLISHING_STEPS)
        n_iter = n_iter + steps
    residual = (network(x) - z).norm(dim=1)
    terms = math.prod(block.scale() for block in network.blocks) * x.norm(dim=1)
    return x, residual, n_iter, residual <= torch.maximum(threshold, tol * terms)


def _invert_block(block, z, start, threshold, step, max_iter):
    """Iterate until every row has converged or stalled; such rows leave the batch."""
    x = start.clone()
    n_iter = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    residual = block(x) - z
    active = (~(residual.norm(dim=1) <= threshold)).nonzero()[:, 0]
    residual = residual[active]
    for _ in range(max_iter):
        if len(active) == 0:
            break
        moved, residual, stalled = step(block, x[active], residual, z[active])
        x[active] = moved
        n_iter[active] += 1
        going = ~(residual.norm(dim=1) <= threshold) & ~stalled
        active, residual = active[going], residual[going]
    return x, n_iter


def _newton_step(block, x, residual, z):
    """A Newton step, halved until the residual falls (Armijo); stalled where it never does."""
    direction = _newton_direction(block, x, residual)
    size = residual.norm(dim=1)
    length = torch.ones_like(size)
    moved = x - direction
    new_residual = block(moved) - z
    while True:
        fell = new_residual.norm(dim=1) <= (1 - _ARMIJO * length) * size
        retry = (~fell & (length > _SHORTEST_STEP)).nonzero()[:, 0]
        if len(retry) == 0:
            break
        length[retry] /= 2
        moved[retry] = x[retry] - length[retry, None] * direction[retry]
        new_residual[retry] = block(moved[retry]) - z[retry]
    moved = torch.where(fell[:, None], moved, x)
    return moved, torch.where(fell[:, None], new_residual, residual), ~fell


def _newton_direction(block, x, residual):
    """(Dφ)⁻¹ times the residual; of many features by conjugate gradients where that can be."""
    if _forms_jacobians(block, x.shape[1]):
        return solve(block.jacobian(x), residual)
    return conjugate_gradients(block.jacobian_product(x), residual, tol=_INEXACT)[0]


def _fixed_point_step(block, x, residual, z):
    moved = x - residual / block.scale()
    return moved, block(moved) - z, torch.zeros(len(x), dtype=torch.bool, device=x.device)


_STEPS = {"newton": _newton_step, "fixed_point": _fixed_point_step}

"""The robust method, Newton's with a step-length test, and Banach's fixed-point iteration."""

from dataclasses import replace
from functools import partial

import torch
from torch.linalg import vector_norm

from ..numerics.progress import report_residuals
from .chord import approach, smallest_residual
from .linear import directly, solver_for
from .settings import SETTINGS

__all__ = ["METHODS", "polish"]


def newton(equation, max_iter):
    """The fast method first; the rows that it leaves go on with the step-length test.

    The fast methods average over rows, and do not serve where every row has its own map.
    """
    block, z = equation.block, equation.target
    magnitude = block.magnitude().to(z)
    start = z if equation.start is None else equation.start
    floor = torch.maximum(smallest_residual(z), magnitude * smallest_residual(start))
    equation = replace(equation, threshold=torch.maximum(equation.threshold, floor))
    if block.differs_by_row:
        n_fast, x = 0, start.clone()
        residual = torch.full_like(equation.threshold, torch.inf)
        n_iter = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    else:
        n_fast = max_iter // 2
        x, n_iter, residual = approach(equation, n_fast)
    left = ~(residual <= equation.threshold)
    if left.any():
        step = partial(_newton_step, direction=solver_for(block, z.shape[1], equation.reference))
        x[left], steps, residual[left] = _iterate(
            block.rows(left), z[left], x[left], equation.threshold[left], step, max_iter - n_fast
        )
        n_iter[left] += steps
    return x, n_iter, residual


def fixed_point(equation, max_iter):
    """Banach's iteration x ← x − (φ(x) − z)/c."""
    block, z = equation.block, equation.target
    start = z if equation.start is None else equation.start
    return _iterate(block, z, start, equation.threshold, _fixed_point_step, max_iter)


def polish(network, z, x, threshold, max_iter):
    """A few Newton steps on all blocks together."""
    step = partial(_newton_step, direction=directly)
    return _iterate(network, z, x, threshold, step, min(max_iter, SETTINGS.polishing_steps))


METHODS = {"newton": newton, "fixed_point": fixed_point}


def _iterate(block, z, start, threshold, step, max_iter):
    """Iterate until every row has converged or stalled; such rows leave the batch."""
    x = start.clone()
    n_iter = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    rounding = SETTINGS.rounding * torch.finfo(z.dtype).eps * block.magnitude().to(z)
    active = torch.arange(len(z), device=z.device)
    stalled = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    residual = block(x) - z
    sizes = vector_norm(residual, dim=1)
    first = sizes.clone()
    for _ in range(max_iter):
        report_residuals(first, sizes, threshold)
        limit = torch.maximum(rounding * vector_norm(x[active], dim=1), threshold[active])
        going = ~(sizes[active] <= limit) & ~stalled
        active, residual = active[going], residual[going]
        if len(active) == 0:
            break
        some = block.rows(active)
        x[active], residual, stalled = step(some, x[active], residual, z[active])
        sizes[active] = vector_norm(residual, dim=1)
        n_iter[active] += 1
    return x, n_iter, sizes


def _newton_step(block, x, residual, z, direction):
    """A Newton step, halved until the residual falls (Armijo); stalled where it never does."""
    direction = direction(block, x, residual)
    size = vector_norm(residual, dim=1)
    length = torch.ones_like(size)
    moved = x - direction
    new_residual = block(moved) - z
    while True:
        fell = vector_norm(new_residual, dim=1) <= (1 - SETTINGS.armijo * length) * size
        retry = (~fell & (length > SETTINGS.shortest_step)).nonzero()[:, 0]
        if len(retry) == 0:
            break
        length[retry] /= 2
        moved[retry] = x[retry] - length[retry, None] * direction[retry]
        new_residual[retry] = block.rows(retry)(moved[retry]) - z[retry]
    moved = torch.where(fell[:, None], moved, x)
    return moved, torch.where(fell[:, None], new_residual, residual), ~fell


def _fixed_point_step(block, x, residual, z):
    moved = x - residual / block.scale()
    return moved, block(moved) - z, torch.zeros(len(x), dtype=torch.bool, device=x.device)

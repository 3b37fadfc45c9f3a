"""The limited-memory quasi-Newton method (L-BFGS) for all rows at once, from values of φ alone.

φ is the gradient of a strongly convex function, so that the method needs no products with
Jacobians. Steps are full ones, but halved where the function rises too much at their ends. Every
row has its own memory, and goes on by the robust method if its residual does not fall.

References
----------
J. Nocedal (1980), "Updating quasi-Newton matrices with limited storage", Mathematics of
Computation.
"""

import torch
from torch.linalg import vecdot

from .invertible import working_dtype
from .rows import iterate_rows, without_slopes
from .settings import SETTINGS

__all__ = ["descend", "half_back_or_on", "leads_too_far"]


def descend(equation, max_iter):
    """Solve φ(x) = z: for large rows in single precision as far as that leads, then in that of z.

    Parameters
    ----------
    equation : Equation
        The equation, of a map that computes in the precision of its argument.
    max_iter : int
        Largest number of steps; where there are two precisions, the last few in that of z.

    Returns
    -------
    x : Tensor of shape (n_samples, n_features)
        The points.
    n_iter : Tensor of shape (n_samples,)
        The steps that each row took.
    residual : Tensor of shape (n_samples,)
        The norms of φ(x) − z, in the precision of z.
    """
    block, z = equation.block, equation.target
    x = equation.start
    if x is None:  # slopes at z itself are not typical: the noise is still there
        x = block.precondition(block.precondition(z))
    function = without_slopes(block)
    solver = limited_memory(1 / block.magnitude(), block.precondition)
    patience = SETTINGS.quasi_newton_patience
    total = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    dtype = working_dtype(block, z.shape[1])
    if max_iter > patience and dtype not in (z.dtype, torch.float64):
        n_single, max_iter = max_iter - patience, patience
        # in the other precision the residual differs by rounding
        threshold = SETTINGS.safety_factor * equation.threshold
        target, start, threshold = (part.to(dtype) for part in (z, x, threshold))
        found = iterate_rows(
            function, target, solver, start, threshold, n_single, patience=patience
        )
        x, total = found[0].to(z), found[1]
    x, n_iter, residual = iterate_rows(
        function, z, solver, x, equation.threshold, max_iter, patience=patience
    )
    return x, total + n_iter, residual


def limited_memory(first_length, precondition):
    """A solver with steps of L-BFGS, for :func:`iterate_rows`.

    Parameters
    ----------
    first_length : Tensor of shape ()
        The length of the first step, in units of the residual.
    precondition : callable
        Multiplies rows by a symmetric positive definite matrix, about the inverse Hessian.
    """

    def solver(residual, slopes, last):
        length = first_length.to(residual)
        if last is None:
            step = -length * precondition(residual)
            return step, (step, residual)
        *memory, step, before = last
        back = leads_too_far(step, before, residual, SETTINGS.overshoot)[:, None]
        memory += (torch.where(back, 0, new) for new in (step, residual - before))
        memory = memory[-2 * SETTINGS.quasi_newton_memory :]
        pairs = memory[::2], memory[1::2]
        following = -_inverse_hessian_product(residual, *pairs, length, precondition)
        move, *course = half_back_or_on(back, step, before, following, residual)
        return move, (*memory, *course)

    return solver


def leads_too_far(step, before, residual, share):
    """Whether the function rises at the end of a step by this share of its fall at the start."""
    return vecdot(residual, step) > -share * vecdot(before, step)


def half_back_or_on(back, step, before, following, residual):
    """Back to the middle of a step or on with the following one, row by row.

    Returns the move, the step that this makes from its start, and the residual at that start.
    """
    move = torch.where(back, -step / 2, following)
    step = torch.where(back, step / 2, following)
    return move, step, torch.where(back, before, residual)


def _inverse_hessian_product(residual, steps, changes, length, precondition):
    """The approximate inverse Hessian times the residual, from steps and changes of it."""
    curvatures = [vecdot(s, y)[:, None] for s, y in zip(steps, changes, strict=True)]
    # elsewhere the function is not convex, or the row does not move
    inverses = [torch.where(curvature > 0, 1 / curvature, 0) for curvature in curvatures]
    pairs = list(zip(steps, changes, inverses, strict=True))
    q, shares = residual, []
    for s, y, rho in pairs[::-1]:
        shares.append(rho * vecdot(s, q)[:, None])
        q = q - shares[-1] * y
    newest, change = curvatures[-1], changes[-1]
    square = vecdot(change, precondition(change))[:, None]
    q = torch.where(newest > 0, newest / square, length) * precondition(q)
    for (s, y, rho), share in zip(pairs, shares[::-1], strict=True):
        q = q + (share - rho * vecdot(y, q)[:, None]) * s
    return q

"""The fast methods for all rows at once: Newton's, whose steps may be halved, and the chord method.

The chord method is Newton's with one averaged Jacobian for all rows, and Anderson's mixing with the
step before. Jacobians are averaged over the reference points of the map, not over the rows at
hand, so that a row takes the same steps whatever stands beside it. Where Jacobians are not formed,
:mod:`skinvbayes.inversion.quasi_newton` takes their place.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ..numerics.jacobians import solve
from .invertible import InvertibleMap
from .quasi_newton import descend, half_back_or_on, leads_too_far
from .rows import iterate_rows, without_slopes
from .settings import SETTINGS

__all__ = ["Equation", "approach", "chord"]


@dataclass
class Equation:
    """φ(x) = z, one equation for each row of z.

    Attributes
    ----------
    block : InvertibleMap
        The map φ.
    target : Tensor of shape (n_samples, n_features)
        The z.
    start : Tensor of shape (n_samples, n_features) or None
        First guess of x.
    reference : Tensor of shape (n_points, n_features)
        Typical x, over which Jacobians are averaged.
    threshold : Tensor of shape (n_samples,)
        The residual ‖φ(x) − z‖ to reach.
    """

    block: InvertibleMap
    target: Tensor
    start: Tensor | None
    reference: Tensor
    threshold: Tensor


def approach(equation, max_iter):
    """Run the fast method; return the points, the steps of each row and the residuals."""
    block, few = equation.block, equation.target.shape[1] <= equation.block.few_features
    if block.matrix_free and not few:
        return descend(equation, max_iter if block.any_precision else 0)
    max_iter = min(SETTINGS.fast_steps, max_iter)
    units = block.hidden_units()
    if units is not None:
        return _solve_for_units(equation, units, max_iter)
    return _solve_for_features(equation, max_iter)


def _solve_for_units(equation, units, max_iter):
    """The chord method on the hidden units, which are fewer than the features."""
    z, start = equation.target, equation.start
    function, target = units.equation(z)
    inverse = units.inverse_slope(units.preactivation(equation.reference))
    h = units.preactivation(z if start is None else start)
    limit = torch.maximum(equation.threshold / units.amplification(), smallest_residual(h))
    h, n_iter, _ = iterate_rows(
        without_slopes(function), target, chord(inverse), h, limit, max_iter
    )
    x = units.solution(z, h)
    return x, n_iter, vector_norm(equation.block(x) - z, dim=1)


def _solve_for_features(equation, max_iter):
    """Newton's method for few features and symmetric Jacobians, else the chord method."""
    block, z, start = equation.block, equation.target, equation.start
    few = z.shape[1] <= block.few_features
    newton = few and block.positive_definite
    middle = equation.reference.mean(0, keepdim=True)
    mean = block.jacobian(middle)[0] if newton else block.mean_jacobian(equation.reference)
    inverse = torch.linalg.inv(mean).T
    if start is None:
        linear = few or block.positive_definite
        start = middle + (z - block(middle)) @ inverse if linear else z
    if not block.positive_definite:
        arguments = chord(inverse), start, equation.threshold, max_iter
        return iterate_rows(without_slopes(block), z, *arguments)
    if newton:
        function, solver = _with_jacobians(block), _newton
    else:
        function = block.call_and_slopes
        solver = chord(inverse, block.corrected_inverse(inverse, equation.reference))
    options = {"gain": SETTINGS.gain_before_cheap}
    if block.matrix_free:
        options = {"patience": SETTINGS.quasi_newton_patience}
    return iterate_rows(function, z, solver, start, equation.threshold, max_iter, **options)


def _with_jacobians(block):
    def function(x):
        image, slopes = block.call_and_slopes(x)
        return image, block.jacobian_from(slopes)

    return function


def _newton(residual, jacobian, last):
    """A solver by Jacobians; a step that leads too far is halved."""
    following = -solve(jacobian, residual)
    if last is None:
        return following, (following, residual)
    step, before = last
    back = leads_too_far(step, before, residual, SETTINGS.newton_overshoot)[:, None]
    move, *course = half_back_or_on(back, step, before, following, residual)
    return move, course


def smallest_residual(rows):
    """The residual of each row that is left by rounding where terms of its size add up."""
    return SETTINGS.floor * torch.finfo(rows.dtype).eps * vector_norm(rows, dim=1)


def chord(inverse, corrected=None):
    """A solver with steps −F J̄⁻¹, mixed with the last step as is best for linear F (Anderson).

    Parameters
    ----------
    inverse : Tensor of shape (n, n)
        J̄⁻¹, transposed.
    corrected : callable, default=None
        A better multiplication by an inverse, which also looks at the slopes.

    Returns
    -------
    solver : callable
        For :func:`iterate_rows`.
    """

    def solver(residual, slopes, last):
        image = residual @ inverse if corrected is None else corrected(residual, slopes)
        if last is None:
            step = -image
            return step, (step, image)
        step, change = last  # their memory is used again
        torch.sub(image, change, out=change)
        squares = torch.linalg.vecdot(change, change)
        squares.clamp_(min=torch.finfo(change.dtype).tiny)
        share = torch.linalg.vecdot(image, change).div_(squares).clamp_(-1, 1).neg_()
        step.sub_(change).mul_(share[:, None]).sub_(image)
        return step, (step, image)

    return solver

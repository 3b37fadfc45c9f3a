"""The fast methods: Newton's and the chord method for all rows at once, without safeguards.

The chord method is Newton's with one averaged Jacobian for all rows, and Anderson's mixing with the
step before. Jacobians are averaged over the reference points of the map, not over the rows at
hand, so that a row takes the same steps whatever stands beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ..numerics.jacobians import solve
from ..numerics.progress import report_residuals
from .invertible import InvertibleMap
from .linear import solve_loosely
from .settings import SETTINGS

__all__ = ["Equation", "approach", "chord", "iterate_rows", "without_slopes"]


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
    if equation.block.matrix_free:
        return _majorise(equation, max_iter)
    units = equation.block.hidden_units()
    if units is not None:
        return _solve_for_units(equation, units, max_iter)
    return _solve_for_features(equation, max_iter)


def _majorise(equation, max_iter):
    """Minimise the potential of φ(x) − z by quadratic functions above it, with products alone."""
    block = equation.block
    n_steps = min(max_iter, SETTINGS.majorising_steps) if block.has_majorant else 0

    def solver(residual, x, last):
        return -solve_loosely(block.majorant(x, torch.float32), residual), None

    start = equation.target if equation.start is None else equation.start
    return iterate_rows(
        lambda x: (block(x), x),
        *(equation.target, solver, start, equation.threshold, n_steps),
        gain=1.0,
    )


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
    few = z.shape[1] <= SETTINGS.few_features
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
    gain = SETTINGS.gain_before_cheap
    return iterate_rows(function, z, solver, start, equation.threshold, max_iter, gain=gain)


def _with_jacobians(block):
    def function(x):
        image, slopes = block.call_and_slopes(x)
        return image, block.jacobian_from(slopes)

    return function


def _newton(residual, jacobian, last):
    return -solve(jacobian, residual), None


def without_slopes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adapts a plain function to (value, slopes), with None for the slopes."""
    return lambda v: (function(v), None)


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


def iterate_rows(
    function, target, solver, start, threshold, max_iter, *, gain=SETTINGS.gain, leave=True
):
    """Solve F(v) = function(v) − target = 0 for each row by itself.

    A row ends where its ‖F‖ reaches its threshold, or has not fallen by ``gain`` within some steps.
    A row that came no closer to a solution is returned as it was. Rows that have ended leave the
    batch when they are a quarter of it.

    Parameters
    ----------
    function : callable
        From points to values and slopes: a Tensor with the same rows that the solver asks for, or
        None.
    target : Tensor of shape (n_samples, n)
        The values to reach.
    solver : callable
        From F, the slopes, and its own memory of the last step, to the next step and memory.
    start : Tensor of shape (n_samples, n)
        First guess.
    threshold : Tensor of shape (n_samples,)
        The norms of F to reach.
    max_iter : int
        Largest number of steps.
    gain : float
        The factor by which the norm of F has to fall within ``SETTINGS.patience`` steps.
    leave : bool, default=True
        Whether rows may leave; False if ``function`` or ``solver`` depend on the position of a row.

    Returns
    -------
    v : Tensor of shape (n_samples, n)
        The points.
    n_iter : Tensor of shape (n_samples,)
        The steps that each row took.
    size : Tensor of shape (n_samples,)
        The norms of F there.
    """
    batch = _Batch(function, target, start, threshold)
    found = start.clone(), torch.zeros_like(batch.rows), batch.size.clone()
    for n_steps in range(max_iter + 1):
        report_residuals(batch.first, batch.size, batch.threshold, n_rows=len(start))
        going = batch.going(gain)
        n_going = int(going.sum()) if n_steps < max_iter else 0
        if n_going == 0 or (leave and 4 * n_going <= 3 * len(going)):
            batch.write(found, start)
            if n_going == 0:
                break
            going = batch.keep(going)
        step, batch.memory = solver(batch.residual, batch.slopes, batch.memory)
        if n_going < len(going):  # a row that has ended stays where it is
            step = torch.where(going[:, None], step, 0)
        batch.move(function, step, going)
    return found


class _Batch:
    """The rows that have not left yet, and all that is known of each."""

    def __init__(self, function, target, start, threshold):
        self.rows = torch.arange(len(start), device=start.device)
        self.v, self.target = start, target
        self.threshold = threshold.expand(len(start))
        self.n_iter = torch.zeros_like(self.rows)
        self.stuck = torch.zeros_like(self.rows, dtype=torch.bool)
        self.memory, self.sizes = None, []
        self._evaluate(function)
        self.first = self.size

    @property
    def size(self):
        """The norms of F."""
        return self.sizes[-1]

    def going(self, gain):
        """Which rows go on: those that have neither converged nor got stuck."""
        if len(self.sizes) > SETTINGS.patience:
            self.stuck = self.stuck | ~(self.size <= gain * self.sizes[-1 - SETTINGS.patience])
        return ~((self.size <= self.threshold) | self.stuck)

    def move(self, function, step, going):
        """Take a step."""
        self.v = self.v + step
        self.n_iter = self.n_iter + going
        self._evaluate(function)

    def write(self, found, start):
        """Write the results of these rows; a row that came no closer keeps its start."""
        closer = self.size < self.first
        ended = (
            torch.where(closer[:, None], self.v, start.index_select(0, self.rows)),
            self.n_iter,
            torch.where(closer, self.size, self.first),
        )
        for whole, part in zip(found, ended, strict=True):
            whole.index_copy_(0, self.rows, part)

    def keep(self, going):
        """Only these rows stay; all of them go on."""
        chosen = going.nonzero()[:, 0]
        for name in ("rows", "v", "target", "threshold", "n_iter", "stuck", "residual", "first"):
            setattr(self, name, getattr(self, name).index_select(0, chosen))
        self.sizes = [size.index_select(0, chosen) for size in self.sizes[-SETTINGS.patience :]]
        if self.slopes is not None:
            self.slopes = self.slopes.index_select(0, chosen)
        if self.memory is not None:
            self.memory = [tensor.index_select(0, chosen) for tensor in self.memory]
        return going.index_select(0, chosen)

    def _evaluate(self, function):
        value, self.slopes = function(self.v)
        self.residual = value - self.target
        self.sizes.append(vector_norm(self.residual, dim=1))

"""Steps of all rows of a batch at once, each of which ends by itself."""

from collections.abc import Callable
from typing import Any

import torch
from torch.linalg import vector_norm

from ..numerics.progress import report_residuals
from .settings import SETTINGS

__all__ = ["iterate_rows", "without_slopes"]


def without_slopes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adapts a plain function to (value, slopes), with None for the slopes."""
    return lambda v: (function(v), None)


def iterate_rows(
    function,
    target,
    solver,
    start,
    threshold,
    max_iter,
    *,
    gain=SETTINGS.gain,
    patience=SETTINGS.patience,
    leave=True,
):
    """Solve F(v) = function(v) − target = 0 for each row by itself.

    A row ends where its ‖F‖ reaches its threshold, or did not fall by ``gain`` within some steps.
    A row that came no closer to a solution is returned as it was. Rows that have ended leave the
    batch when they are a quarter of it.

    Parameters
    ----------
    function : callable
        From points to values and slopes: what the solver asks for, with the same rows, or None.
    target, start : Tensors of shape (n_samples, n)
        The values to reach, and a first guess.
    solver : callable
        From F, the slopes, and its own memory of the last step, to the next step and memory.
    threshold : Tensor of shape (n_samples,)
        The norms of F to reach.
    max_iter : int
        Largest number of steps.
    gain, patience : float, int
        The factor by which the norm of F has to fall within so many steps.
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
    batch = _Batch(function, target, start, threshold, patience)
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

    def __init__(self, function, target, start, threshold, patience):
        self.rows = torch.arange(len(start), device=start.device)
        self.v, self.target = start, target
        self.threshold = threshold.expand(len(start))
        self.n_iter = torch.zeros_like(self.rows)
        self.stuck = torch.zeros_like(self.rows, dtype=torch.bool)
        self.memory, self.sizes, self.patience = None, [], patience
        self._evaluate(function)
        self.first = self.size

    @property
    def size(self):
        """The norms of F."""
        return self.sizes[-1]

    def going(self, gain):
        """Which rows go on: those that have neither converged nor got stuck."""
        if len(self.sizes) > self.patience:
            least = torch.stack(self.sizes[-self.patience :]).amin(0)
            self.stuck = self.stuck | ~(least <= gain * self.sizes[-1 - self.patience])
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
        self.sizes = [size.index_select(0, chosen) for size in self.sizes[-self.patience :]]
        if self.slopes is not None:
            self.slopes = self.slopes.index_select(0, chosen)
        if self.memory is not None:
            self.memory = [tensor.index_select(0, chosen) for tensor in self.memory]
        return going.index_select(0, chosen)

    def _evaluate(self, function):
        value, self.slopes = function(self.v)
        self.residual = value - self.target
        self.sizes.append(vector_norm(self.residual, dim=1))

"""Minimisers of ½ ‖R(u)‖² + V(u), for every row, by the damped Gauss–Newton method.

R is a residual with the Jacobian J, and V a function that is known by its gradient q and Hessian H
alone, such as minus the logarithm of a prior. A step solves
``(JᵀJ + H + λ m I) p = −(Jᵀ R + q)``, m the mean of the diagonal, and λ follows the ratio of the
decrease to what the quadratic model says of it. The decrease of V is the integral of ⟨q, p⟩ along
the step, which has no cancellation and needs no V. H need not be positive definite: where the
matrix is not, λ grows.

References
----------
D. W. Marquardt (1963), "An algorithm for least-squares estimation of nonlinear parameters", Journal
of the Society for Industrial and Applied Mathematics. J. Nocedal and S. J. Wright (2006),
"Numerical Optimization", chapters 4 and 10.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np
import torch

from ..numerics.tensors import as_tensor

__all__ = ["Objective", "Solution", "line_integral", "minimize", "solve_definite"]

_NODES, _PATH_NODES = 4, 32  # of the quadrature along a step, and along a path between far points
_FIRST, _LEAST, _MOST = 1e-2, 1e-12, 1e12  # damping λ
_RAISED, _LOWERED = 4.0, 0.2  # factors of the damping
_ACCEPTED, _POOR, _GOOD = 1e-4, 0.25, 0.75  # ratios of the decrease to that of the model
_UNDAMPED = 0.1  # damping up to which a step is long enough to judge the error by


class Objective(Protocol):
    """½ ‖R(u)‖² + V(u), row by row; ``rows`` are the numbers of the rows that u stands for."""

    def residual(self, u, rows):
        """R, of shape (n, n_measurements)."""

    def jacobian(self, u, rows):
        """J, of shape (n, n_measurements, n_features)."""

    def gradient(self, u, rows):
        """q = ∇V, of shape (n, n_features)."""

    def hessian(self, u, rows):
        """H, of shape (n, n_features, n_features), symmetric."""


class Solution(NamedTuple):
    """Where the steps ended: points, the last Newton decrements, and which of them are small.

    The decrement ``√(gᵀ (JᵀJ + H)⁻¹ g)``, with the gradient g, is the distance to the minimiser in
    standard deviations of a posterior whose negative logarithm is the objective.
    """

    u: np.ndarray
    decrement: np.ndarray
    converged: np.ndarray


@dataclass
class _State:
    """Points, their residuals, dampings and decrements, one for each row."""

    u: np.ndarray
    residual: np.ndarray
    damping: np.ndarray
    decrement: np.ndarray


def minimize(objective, u, *, tol=1e-6, max_iter=200):
    """Minimise an objective from given points.

    Parameters
    ----------
    objective : Objective
        The function.
    u : ndarray of shape (n_samples, n_features)
        Where to start.
    tol : float, default=1e-6
        Decrement at which a row ends.
    max_iter : int, default=200
        Largest number of steps of a row.

    Returns
    -------
    solution : Solution
    """
    u, rows = np.array(u, dtype=np.float64), np.arange(len(u))
    state = _State(u, objective.residual(u, rows), np.full(len(u), _FIRST), np.full(len(u), np.inf))
    going = np.isfinite(state.residual).all(axis=1)
    converged = np.zeros(len(u), dtype=bool)
    for _ in range(max_iter):
        rows = np.flatnonzero(going)
        if not len(rows):
            break
        _step(objective, state, rows)
        near = (state.decrement[rows] <= tol) & (state.damping[rows] <= _UNDAMPED)
        converged[rows] = near
        going[rows] = ~near & (state.damping[rows] < _MOST)
    return Solution(state.u, state.decrement, converged)


def _step(objective, state, rows):
    """One step of some rows, where it lowers the objective; their damping is updated."""
    u, R, damping = state.u[rows], state.residual[rows], state.damping[rows]
    J, q = objective.jacobian(u, rows), objective.gradient(u, rows)
    gradient = np.einsum("nij,ni->nj", J, R) + q
    matrix = J.transpose(0, 2, 1) @ J + objective.hessian(u, rows)
    size = np.abs(np.diagonal(matrix, axis1=1, axis2=2)).mean(axis=1)
    damped = matrix + (damping * size)[:, None, None] * np.eye(u.shape[1])
    p, definite = solve_definite(damped, -gradient)
    slope = (gradient * p).sum(axis=1)
    predicted = slope + np.einsum("ni,nij,nj->n", p, matrix, p) / 2
    new = objective.residual(u + p, rows)
    with np.errstate(invalid="ignore", over="ignore"):
        change = ((new - R) * (new + R)).sum(axis=1) / 2
        change += line_integral(lambda v: objective.gradient(v, rows), u, u + p, _NODES)
        ratio = change / np.minimum(predicted, -np.finfo(float).tiny)
    state.decrement[rows] = np.where(definite, np.sqrt(np.maximum(-slope, 0)), np.inf)
    # at a minimum rounding decides on the ratio, and the step is right
    small = definite & (state.decrement[rows] <= 1e-7) & np.isfinite(change)
    accepted = definite & (ratio > _ACCEPTED) | small
    state.u[rows[accepted]] += p[accepted]
    state.residual[rows[accepted]] = new[accepted]
    factor = np.where(accepted & (ratio > _GOOD) | small, _LOWERED, 1.0)
    factor[~(accepted & (ratio > _POOR) | small)] = _RAISED
    state.damping[rows] = np.clip(damping * factor, _LEAST, _MOST)


def line_integral(gradient, start, end, n_nodes=_PATH_NODES):
    """``V(end) − V(start)`` from the gradient of V, by Gauss–Legendre quadrature.

    Parameters
    ----------
    gradient : callable
        ∇V of rows.
    start, end : ndarrays of shape (n_samples, n_features)
        The points.
    n_nodes : int, default=32
        Number of evaluations.

    Returns
    -------
    difference : ndarray of shape (n_samples,)
    """
    nodes, weights = _nodes(n_nodes)
    step = end - start
    slopes = ((gradient(start + (1 + t) / 2 * step) * step).sum(axis=1) for t in nodes)
    return sum(w / 2 * slope for w, slope in zip(weights, slopes, strict=True))


_nodes = cache(np.polynomial.legendre.leggauss)


def solve_definite(matrices, vectors):
    """``M⁻¹ v`` for every row, by Cholesky's method.

    Parameters
    ----------
    matrices : ndarray of shape (n_samples, n_features, n_features)
        Symmetric matrices.
    vectors : ndarray of shape (n_samples, n_features)
        Right-hand sides.

    Returns
    -------
    solutions : ndarray of shape (n_samples, n_features)
        Zero where the matrix is not positive definite.
    definite : ndarray of shape (n_samples,)
        Whether it is.
    """
    lower, info = torch.linalg.cholesky_ex(as_tensor(matrices))
    definite = (info == 0).numpy() & np.isfinite(matrices).all(axis=(1, 2))
    solutions = np.zeros_like(vectors)
    right = as_tensor(vectors[definite])[:, :, None]
    solutions[definite] = torch.cholesky_solve(right, lower[definite])[:, :, 0].numpy()
    return solutions, definite

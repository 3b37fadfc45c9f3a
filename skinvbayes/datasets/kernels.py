"""The integral equations of classical test problems as matrices: ``y(s) = ∫ K(s, t) x(t) dt``.

Signals are constant on the cells of an interval, and measurements are taken at the centres s of the
cells. An entry of the matrix is the integral of the kernel over a cell: the difference between its
edges of a function F(s, t) with ``∂F/∂t = K``. It is exact, except in :func:`shaw`, which takes the
midpoint rule.

Every kernel is a function of the centres s, of shape (n_cells, 1), and the edges t, of shape
(n_cells + 1,).

References
----------
P. C. Hansen (1994), "Regularization Tools: a Matlab package for analysis and solution of discrete
ill-posed problems", Numerical Algorithms. C. J. Dasch (1992), "One-dimensional tomography: a
comparison of Abel, onion-peeling, and filtered backprojection methods", Applied Optics.
"""

import numpy as np
from scipy.special import erfc

__all__ = ["KERNELS", "integral_operator"]

_DEPTH = 0.25  # of the masses, in lengths of the surface


def integral_operator(kind, n_cells):
    """The matrix of one of the ``KERNELS``, of shape (n_cells, n_cells)."""
    kernel, (start, end) = KERNELS[kind]
    edges = np.linspace(start, end, n_cells + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    return kernel(centres[:, None], edges)


def gravity(s, t):
    """Gravity at the surface of masses at depth d: ``K = d (d² + (t − s)²)^(−3/2)``."""
    distance = t - s
    return np.diff(distance / (_DEPTH * np.hypot(_DEPTH, distance)), axis=1)


def shaw(s, t):
    """Light behind a slit: ``K = (cos s + cos t)² (sin u / u)²``, ``u = π (sin s + sin t)``."""
    centres = (t[1:] + t[:-1]) / 2
    slit = np.sinc(np.sin(s) + np.sin(centres))
    return np.diff(t) * ((np.cos(s) + np.cos(centres)) * slit) ** 2


def phillips(s, t):
    """Phillips' problem: ``K = 1 + cos(π (t − s) / 3)`` where ``|t − s| < 3``, and 0 elsewhere."""
    distance = np.clip(t - s, -3, 3)
    return np.diff(distance + 3 / np.pi * np.sin(np.pi / 3 * distance), axis=1)


def heat(s, t):
    """Temperature inside a body at time s, from the temperature of its surface until then.

    ``K = k(s − t)`` where ``t < s``, and 0 elsewhere, ``k(r) = exp(−1/(4 r)) / (2 √π r^(3/2))``.
    """
    elapsed = np.maximum(s - t, np.finfo(float).tiny)
    return -np.diff(erfc(0.5 / np.sqrt(elapsed)), axis=1)


def deriv2(s, t):
    """``y`` with ``y'' = x`` and ``y(0) = y(1) = 0``: ``K = s t − min(s, t)``."""
    return np.diff(s * t**2 / 2 - np.where(t < s, t**2 / 2, s * t - s**2 / 2), axis=1)


def abel(s, t):
    """Abel's transform, the integral of a radial signal x(t) along a chord at distance s.

    ``K = 2 t / √(t² − s²)`` where ``t > s``, and 0 elsewhere.
    """
    return np.diff(2 * np.sqrt(np.maximum(t**2 - s**2, 0)), axis=1)


KERNELS = {  # with the interval of s and t
    "gravity": (gravity, (0.0, 1.0)),
    "shaw": (shaw, (-np.pi / 2, np.pi / 2)),
    "phillips": (phillips, (-6.0, 6.0)),
    "heat": (heat, (0.0, 1.0)),
    "deriv2": (deriv2, (0.0, 1.0)),
    "abel": (abel, (0.0, 1.0)),
}

"""The smallest shift s with (b − a)/(b + a + 2s) ≤ L, for the gradient branch.

In numpy: at these sizes the book-keeping of torch costs several times the arithmetic.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ..numerics.symmetric import cholesky, eigenpairs, narrow, norm_bound

__all__ = ["SpectralShift", "smallest_shift"]

_NEGLIGIBLE = 30.0  # softplus(−30) is beyond rounding
_FAR = 0.1  # from the bound, in parts of b
_EVERY = 4  # steps of training from one look at the bound to the next
_N_FOLLOWED = 8  # lowest eigenvalues in between


def smallest_shift(lower, b, ratio, smoothing):
    """A smooth upper bound of the s ≥ 0 with ``a + s ≥ ratio (b + s)``, and its derivatives.

    Parameters
    ----------
    lower : ndarray of shape (n,)
        Lower bounds of a spectrum; a is the least of them.
    b : float
        Upper bound of the spectrum.
    ratio : float
        a over b at least, in [0, 1).
    smoothing : float
        Of the minimum and of s, in units of ``lower``.

    Returns
    -------
    raised, of_lower, of_b : float, ndarray of shape (n,), float
        s, and its derivatives.
    """
    weights = np.exp((lower.min() - lower) / smoothing)
    total = float(weights.sum())
    smooth_a = float(lower.min()) - smoothing * math.log(total)  # ≤ a
    scaled = (ratio * float(b) - smooth_a) / ((1 - ratio) * smoothing)
    small = math.exp(-abs(scaled))
    share = (1 if scaled > 0 else small) / ((1 + small) * (1 - ratio))
    raised = smoothing * (max(scaled, 0) + math.log1p(small))
    return raised, weights * (-share / total), ratio * share


class SpectralShift:
    """The multiple of the identity to be added to S so that a ≥ ratio · b.

    Parameters
    ----------
    ratio, smoothing : floats
        See :func:`smallest_shift`.
    n_down : int
        The number of rows of W₊, which come before those of W₋.
    """

    def __init__(self, ratio, smoothing, n_down):
        self.ratio, self.smoothing, self.n_down = ratio, smoothing, n_down
        self.forget()

    def forget(self):
        """Start again, as at the beginning of a training."""
        self._n_steps, self._followed = 0, None  # eigenvectors of both ends, where they are near

    def exact(self, slope, weight, known_bounds):
        """The shift, with its derivatives.

        Parameters
        ----------
        slope : ndarray of shape (n_features, n_features) or ()
            A matrix, the symmetric part of which is S, or the multiple of the identity that S is.
        weight : ndarray of shape (n_units, n_features)
            All weights.
        known_bounds : tuple of two floats
            Of the spectrum of what is known and added to a multiple of the identity.

        Returns
        -------
        raised, of_slope, of_weight : float and ndarrays of the shapes of slope and weight
            The shift and its derivatives; None instead of all where no shift is needed.
        """
        spectra = _Spectra.of(slope, weight, self.n_down, known_bounds)
        if spectra.surely_within(self.ratio, self.smoothing):
            return None
        return self._raised(spectra, spectra.ends())

    def followed(self, slope, weight, known_bounds):
        """The same in training: exact in every fourth step.

        In between, there is no shift if the bound was far; otherwise the shift comes from the space
        of some of the lowest eigenvectors and of the highest one (Rayleigh and Ritz): it is never
        above the exact one, and its error is the square of the change.
        """
        look = self._n_steps % _EVERY == 0
        self._n_steps += 1
        if not look and self._followed is None:
            return None
        spectra = _Spectra.of(slope, weight, self.n_down, known_bounds)
        if not look:
            return self._raised(spectra, spectra.ends_within(*self._followed))
        self._followed = None
        if spectra.surely_within(self.ratio + _FAR, self.smoothing):
            return None
        ends = spectra.ends()
        self._followed = ends.V[:, :_N_FOLLOWED], ends.u
        return self._raised(spectra, ends)

    def ends(self, slope, weight, known_bounds):
        """Lower bounds of the spectrum, a the least of them, and b, without the shift."""
        ends = _Spectra.of(slope, weight, self.n_down, known_bounds).ends()
        return ends.lower, ends.b

    def _raised(self, spectra, ends):
        raised, of_lower, of_b = smallest_shift(ends.lower, ends.b, self.ratio, self.smoothing)
        return raised, *spectra.derivatives(ends, of_lower, of_b)


class _Ends(NamedTuple):
    """Of a spectrum: the lowest eigenvalues, the highest, and their vectors v_i and u."""

    lower: np.ndarray
    V: np.ndarray
    FV: np.ndarray
    b: float
    u: np.ndarray
    Gu: np.ndarray


@dataclass
class _Spectra:
    """S − FᵀF and S + GᵀG, seen in the smaller of the spaces of features and of units.

    Where S is a multiple of the identity that is the space of the units, if they are fewer: the
    zeros in the spectra of the products never matter. F is W₊ or its transpose, G is W₋ or its.

    Attributes
    ----------
    weight : ndarray of shape (n_units, n_features)
        W₊, and W₋ below it.
    n_down : int
        The number of rows of W₊.
    F, G : ndarrays of shape (n, n_lower) and (n, n_upper)
        The factors.
    S : ndarray of shape (n_features, n_features) or None
        A matrix, the symmetric part of which is S, or none but for these multiples of the identity:
    low, high : floats
    """

    weight: np.ndarray
    n_down: int
    F: np.ndarray
    G: np.ndarray
    S: np.ndarray | None = None
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def of(cls, slope, weight, n_down, known_bounds):
        """From a matrix, the symmetric part of which is S, or a number, and all weights."""
        down, up = weight[:n_down], weight[n_down:]
        if slope.ndim:
            return cls(weight, n_down, down, up, slope)
        low, high = (float(slope) + bound for bound in known_bounds)
        down = down if n_down else np.zeros((1, 1), weight.dtype)
        return cls(weight, n_down, narrow(down), narrow(up), low=low, high=high)

    def ends(self):
        """Both ends of the spectrum, exact."""
        (lower, V), (upper, U) = map(eigenpairs, self._matrices)
        u = U[:, -1]
        return _Ends(lower + self.low, V, self.F @ V, upper[-1] + self.high, u, self.G @ u)

    def ends_within(self, V, u):
        """The same within the spaces of these vectors (Rayleigh and Ritz)."""
        FV, Gu = self.F @ V, self.G @ u
        lower, b = -FV.T @ FV, self.high + Gu @ Gu
        if self.S is not None:
            square = V.T @ (self.S @ V)
            lower += (square + square.T) / 2
            b += u @ (self.S @ u)
        values, R = eigenpairs(lower)
        return _Ends(values + self.low, V @ R, FV @ R, b, u, Gu)

    def derivatives(self, ends, of_lower, of_b):
        """In S and in all weights, from those in the ends."""
        _, V, FV, _, u, Gu = ends
        VD = V * of_lower
        of_weight = np.empty_like(self.weight.T, order="C").T  # laid out like W in fused.py
        down, up = of_weight[: self.n_down], of_weight[self.n_down :]
        if self.n_down:
            np.matmul(FV, -2 * VD.T, out=_like(down, self.F))
        np.multiply(2 * of_b * Gu[:, None], u, out=_like(up, self.G))
        if self.S is None:
            return of_lower.sum() + of_b, of_weight
        return VD @ V.T + (of_b * u)[:, None] * u, of_weight

    def surely_within(self, ratio, smoothing):
        """Whether a is so far above ``ratio b`` that no shift is needed.

        Without any eigenvalue: Cholesky's factor exists only of a positive definite matrix.
        """
        lower, upper = self._matrices
        b = self.high + norm_bound(upper)
        least = ratio * b + smoothing * (_NEGLIGIBLE + np.log(len(lower)))
        return cholesky(lower, self.low - least) is not None

    @cached_property
    def _matrices(self):
        lower, upper = -self.F.T @ self.F, self.G.T @ self.G
        if self.S is not None:
            S = (self.S + self.S.T) / 2
            lower, upper = S + lower, S + upper
        return lower, upper


def _like(matrix, other):
    """The matrix or its transpose."""
    return matrix if matrix.shape == other.shape else matrix.T

"""How far a multiple of the identity in φ has to be raised for the bound of the gradient branch.

In numpy: at these sizes the book-keeping of torch costs several times the arithmetic.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from .spectra import LowestEigenpairs, cholesky, eigenpairs, norm_bound, small_gram

__all__ = ["Raising", "lacking"]

_NEGLIGIBLE = 30.0  # softplus(−30) is beyond rounding
_FAR = 0.1  # from the bound, in parts of b
_EVERY = 4  # steps of training from one look at the bound to the next


def lacking(lower, b, ratio, smoothing):
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
    a = lower.min()
    weights = np.exp((a - lower) / smoothing)
    total = float(weights.sum())
    smooth_a = float(a) - smoothing * math.log(total)  # ≤ a
    scaled = (ratio * float(b) - smooth_a) / ((1 - ratio) * smoothing)
    share = float(expit(scaled)) / (1 - ratio)
    return smoothing * float(np.logaddexp(scaled, 0)), weights * (-share / total), ratio * share


class Raising:
    """What is to be added to S, so that a ≥ ratio · b.

    Parameters
    ----------
    ratio, smoothing : floats
        See :func:`lacking`.
    n_down : int
        The number of rows of W₊, which come before those of W₋.
    """

    def __init__(self, ratio, smoothing, n_down):
        self.ratio, self.smoothing, self.n_down = ratio, smoothing, n_down
        self.forget()

    def forget(self):
        """Begin a training."""
        self._n_steps, self._followed = 0, None  # both ends of the spectrum, where they are near

    def exact(self, slope, weight, known_bounds):
        """Number to be added, with its derivatives in S and in all weights; None if it is zero."""
        spectra = _Spectra.of(slope, weight, self.n_down, known_bounds)
        if spectra.surely_within(self.ratio, self.smoothing):
            return None
        return self._raised(spectra, eigenpairs, eigenpairs)

    def followed(self, slope, weight, known_bounds):
        """The same in training: exact in every fourth step.

        In between, it is left alone if the bound was far, or followed
        (:class:`skinvbayes.spectra.LowestEigenpairs`).
        """
        look = self._n_steps % _EVERY == 0
        self._n_steps += 1
        if not look and self._followed is None:
            return None
        spectra = _Spectra.of(slope, weight, self.n_down, known_bounds)
        if look:
            far = spectra.surely_within(self.ratio + _FAR, self.smoothing)
            self._followed = None if far else (LowestEigenpairs(8), LowestEigenpairs(1))
        return None if self._followed is None else self._raised(spectra, *self._followed)

    def ends(self, slope, weight, known_bounds):
        """Lower bounds of the spectrum, a the least of them, and b, before anything is added."""
        spectra = _Spectra.of(slope, weight, self.n_down, known_bounds)
        (lower, _), (b, _) = spectra.ends(eigenpairs, eigenpairs)
        return lower, b

    def _raised(self, spectra, lowest, highest):
        (lower, V), (b, u) = spectra.ends(lowest, highest)
        raised, of_lower, of_b = lacking(lower, b, self.ratio, self.smoothing)
        return raised, *spectra.derivatives(V, of_lower, u, of_b)


@dataclass
class _Spectra:
    """S − W₊ᵀW₊ and S + W₋ᵀW₋, seen in the smaller of the spaces of features and of units.

    Where S is a multiple of the identity that is the space of the units, if they are fewer: the
    zeros in the spectra of the products never matter.

    Attributes
    ----------
    down, up : ndarrays of shape (n_down, n_features) and (n_up, n_features)
        W₊ and W₋.
    lower, upper : ndarrays of shape (n_lower, n_lower) and (n_upper, n_upper)
        The matrices, but for these multiples of the identity:
    low, high : floats
    dense : bool
        Whether S is a matrix.
    """

    down: np.ndarray
    up: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    low: float = 0.0
    high: float = 0.0
    dense: bool = True

    @classmethod
    def of(cls, slope, weight, n_down, known_bounds):
        """From a matrix, the symmetric part of which is S, or a number, and all weights."""
        down, up = weight[:n_down], weight[n_down:]
        if slope.ndim:
            slope = (slope + slope.T) / 2
            return cls(down, up, slope - down.T @ down, slope + up.T @ up)
        low, high = (slope + bound for bound in known_bounds)
        lower = -small_gram(down) if n_down else np.zeros_like(up[:1, :1])
        return cls(down, up, lower, small_gram(up), low, high, dense=False)

    def ends(self, lowest, highest):
        """Lower bounds of the spectrum and b, each with eigenvectors."""
        (lower, V), (upper, U) = lowest(self.lower), highest(-self.upper)
        return (lower + self.low, V), (self.high - upper[0], U[:, 0])

    def derivatives(self, V, of_lower, u, of_b):
        """In S and in all weights, from those in the ends."""
        down, up, VD = self.down, self.up, V * of_lower
        of_weight = np.empty((len(down) + len(up), up.shape[1]), up.dtype)
        if len(down):
            rows = (down @ VD, V.T) if len(V) == down.shape[1] else (VD, V.T @ down)
            np.matmul(-2 * rows[0], rows[1], out=of_weight[: len(down)])
        rows = (up @ u, u) if len(u) == up.shape[1] else (u, u @ up)
        np.outer(2 * of_b * rows[0], rows[1], out=of_weight[len(down) :])
        if not self.dense:
            return of_lower.sum() + of_b, of_weight
        return VD @ V.T + np.outer(of_b * u, u), of_weight

    def surely_within(self, ratio, smoothing):
        """Whether a is above ``ratio b`` so far that nothing is lacking.

        Without any eigenvalue: Cholesky's factor exists only of a positive definite matrix.
        """
        b = self.high + norm_bound(self.upper)
        least = ratio * b + smoothing * (_NEGLIGIBLE + np.log(len(self.lower)))
        return cholesky(self.lower, self.low - least) is not None

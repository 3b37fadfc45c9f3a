"""The coordinates that the network works in, and the way back to the user's units.

With the precision P = G + ε (C + b² I)⁻¹ of the Gaussian posterior, times ε, the natural
coordinates u and w have x = x̄ + s B u and z = z̄ + s B⁻ᵀ w, where Bᵀ P B = I. The problem keeps its
form: G becomes G̃ = Bᵀ G B, which is diagonal with entries between 0 and 1 for a symmetric G, and
ε becomes ε/s². For Gaussian signals the identity is the optimum of every regularised loss, so
that a network starts at the linear minimum mean square error (LMMSE) estimator.

Where there are too many features for matrices, B is a number: the P of these coordinates is ‖G‖ I.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import eigh

from ..numerics.tensors import as_tensor

__all__ = ["Coordinates", "rounded_number", "rounded_rows"]

_SILENT = 1e-10  # information of a coordinate, relative to the largest, that counts as none


@dataclass
class Coordinates:
    """x = x̄ + s B u and z = z̄ + s B⁻ᵀ w.

    Attributes
    ----------
    signal_mean, target_mean : ndarrays of shape (n_features,)
        The means x̄ and z̄.
    scale : float
        The scale s, with which the coordinates u have variance one on average. It has the units of
        the measurements.
    basis, inverse_basis : ndarrays of shape (n_features, n_features), or floats
        B and its inverse; two floats stand for multiples of the identity.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.problem import Coordinates
    >>> X = np.array([[1.0, 0.0], [3.0, 0.0], [2.0, 5.0]])
    >>> coordinates = Coordinates.isotropic(X, X, np.ones(3), norm=1.0)
    >>> coordinates.from_signals(X).mean(axis=0).round(12) + 0.0
    array([0., 0.])
    """

    signal_mean: np.ndarray
    target_mean: np.ndarray
    scale: float
    basis: np.ndarray | float
    inverse_basis: np.ndarray | float

    @classmethod
    def natural(cls, X, Z, weight, *, forward, precision, exact=None, norm=1.0):
        """The coordinates in which a precision is the identity and G is diagonal.

        Parameters
        ----------
        X, Z : ndarrays of shape (n_samples, n_features)
            Signals and targets.
        weight : ndarray of shape (n_samples,)
            How often each pair counts.
        forward, precision : ndarrays of shape (n_features, n_features)
            The forward map G, of which the symmetric part is made diagonal, and the precision P,
            symmetric positive definite.
        exact : ndarray of shape (n_features, n_features), default=None
            G before it was rounded, to see which coordinates it tells nothing about.
        norm : float, default=1.0
            What all three were divided by.

        Returns
        -------
        coordinates : Coordinates
            Their axes come in the order of descending information, with positive skewness: they
            do not depend on the units or on a linear change of the signals.
        """
        basis = eigh((forward + forward.T) / 2, precision)[1][:, ::-1]
        information = np.sum(basis * ((forward if exact is None else exact) @ basis), axis=0)
        inverse_basis = basis.T @ precision
        mean = np.average(X, axis=0, weights=weight)
        u = (X - mean) @ inverse_basis.T
        axes = _distinct_axes(information, u, weight)
        basis, inverse_basis, u = basis @ axes, axes.T @ inverse_basis, u @ axes
        signs = np.where(weight @ u**3 < 0, -1.0, 1.0)
        root = np.sqrt(norm)
        basis, inverse_basis = basis * signs / root, inverse_basis * signs[:, None] * root
        return cls._scaled(X, Z, weight, basis, inverse_basis)

    @classmethod
    def isotropic(cls, X, Z, weight, *, norm):
        """The coordinates with one scalar scale, in which G has norm one.

        Parameters
        ----------
        X, Z, weight
            As in :meth:`natural`.
        norm : float
            Spectral norm of G in the user's units.
        """
        root = float(np.sqrt(norm or 1.0))
        return cls._scaled(X, Z, weight, 1 / root, root)

    @classmethod
    def _scaled(cls, X, Z, weight, basis, inverse_basis):
        x_mean, z_mean = (np.average(values, axis=0, weights=weight) for values in (X, Z))
        coordinates = cls(x_mean, z_mean, 1.0, basis, inverse_basis)
        u = coordinates.from_signals(X)
        scale = float(np.sqrt(np.average(u**2, axis=0, weights=weight).mean()))
        return replace(coordinates, scale=scale or 1.0)

    def with_moments(self, signal_mean, target_mean, covariance):
        """The same axes, with means and scale of signals of this mean and covariance."""
        unit = self.inverse_basis @ covariance @ self.inverse_basis.T
        scale = float(np.sqrt(unit.trace() / len(unit))) or 1.0
        return replace(self, signal_mean=signal_mean, target_mean=target_mean, scale=scale)

    def with_common_mean(self, forward):
        """The same scales, one mean for all features, and the image of this mean under G."""
        mean = np.full(forward.shape[0], self.signal_mean.mean())
        return replace(self, signal_mean=mean, target_mean=forward.forward(mean[None])[0])

    @property
    def n_features(self):
        """Dimension d of the signals."""
        return len(self.signal_mean)

    @property
    def isotropic_norm(self):
        """The number a where P = a I; None in natural coordinates."""
        return None if np.ndim(self.basis) else self.inverse_basis**2

    @property
    def precision(self):
        """The matrix P = (B Bᵀ)⁻¹, of shape (n_features, n_features)."""
        if self.isotropic_norm is not None:
            return self.isotropic_norm * np.eye(self.n_features)
        return self.inverse_basis.T @ self.inverse_basis

    # -------------------------------------------------------------------------------- rows

    def to_signals(self, u):
        """x from u."""
        x = _times(u, self.basis, transposed=True)
        x *= self.scale
        x += self.signal_mean
        return x

    def from_signals(self, X):
        """u from x."""
        u = _times(X - self.signal_mean, self.inverse_basis, transposed=True)
        u /= self.scale
        return u

    def to_targets(self, w):
        """z from w."""
        z = _times(w, self.inverse_basis)
        z *= self.scale
        z += self.target_mean
        return z

    def to_target_noise(self, w):
        """The difference of two z from that of their w."""
        return self.to_targets(w) - self.target_mean

    def from_targets(self, Z):
        """w from z."""
        w = _times(Z - self.target_mean, self.basis)
        w /= self.scale
        return w

    def to_signal_gradient(self, unit):
        """∇_x from ∇_u."""
        return _times(unit, self.inverse_basis) / self.scale

    # -------------------------------------------------------------------------- linear maps

    def to_jacobian(self, unit):
        """Dφ = B⁻ᵀ Dψ B⁻¹ from Dψ, of shape (…, n_features, n_features)."""
        if not np.ndim(self.basis):
            return self.isotropic_norm * unit
        return self.inverse_basis.T @ unit @ self.inverse_basis

    def to_product(self, product):
        """Multiplication of rows of tensors by Dφ, from that by a symmetric Dψ."""
        if not np.ndim(self.basis):
            return lambda v: self.isotropic_norm * product(v)
        inverse = as_tensor(self.inverse_basis)
        return lambda v: product(v @ inverse.T.to(v)) @ inverse.to(v)

    def unit_map(self, matrix):
        """Bᵀ M B, which is M as a map from u to w."""
        return _times(_times(matrix, self.basis).T, self.basis).T

    def unit_maps(self, matrices):
        """The same for matrices of shape (…, n_features, n_features)."""
        if self.isotropic_norm is not None:
            return matrices / self.isotropic_norm
        return self.basis.T @ matrices @ self.basis

    def unit_jitter(self, bandwidth):
        """The M with which ξ Mᵀ is jitter on u, from the standard deviation of jitter on x.

        Returns
        -------
        matrix : ndarray of shape (n_features, n_features) or float
        """
        return bandwidth / self.scale * self.inverse_basis

    # ----------------------------------------------------------------------------- numbers

    def unit_weight(self, epsilon):
        """The weight ε/s² that stands for ε in front of a penalty, or for a variance of y."""
        return epsilon / self.scale**2

    def logdet_constant(self):
        """The difference log|det Dφ| − log|det Dψ|."""
        if not np.ndim(self.basis):
            return self.n_features * np.log(self.isotropic_norm)
        return 2 * np.linalg.slogdet(self.inverse_basis)[1]


def _distinct_axes(information, u, weight):
    """A rotation of the coordinates that tell nothing, so that rounding does not choose them.

    Where no measurement tells them apart, their fourth moments do, as in blind identification
    (J.-F. Cardoso 1989).
    """
    axes = np.eye(len(information))
    silent = np.flatnonzero(information <= _SILENT * information[0])
    if len(silent) > 1:
        part = u[:, silent]
        moments = (weight * (part**2).sum(axis=1) * part.T) @ part
        axes[np.ix_(silent, silent)] = np.linalg.eigh(moments)[1]
    return axes


def _times(rows, factor, transposed=False):
    """Rows times a matrix or its transpose; or times a number."""
    if not np.ndim(factor):
        return rows * factor
    return rows @ (factor.T if transposed else factor)


def rounded_number(value):
    """A number of unit scale rounded to float32, so that its bits do not depend on the units."""
    return float(np.float32(value))


def rounded_rows(rows, device, dtype):
    """Rows of unit scale rounded to float32, as a Tensor; see :func:`rounded_number`."""
    return as_tensor(rows).to(device=device, dtype=torch.float32).to(dtype)

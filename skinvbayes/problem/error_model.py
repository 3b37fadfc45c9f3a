"""How sure a reconstruction is: the posterior as a Gaussian, from the Jacobian of the trained map.

For measurements y = A x + n, n ~ N(0, δ² I), second-order Tweedie gives the posterior covariance by
the derivative of the posterior mean, ``Cov[x | y] = δ² Dφ(x̂)⁻¹`` with φ(x̂) = z = Aᵀ y. For a map φ
of the original problem, z = y, the factor of the operator is needed, ``δ² (Aᵀ Dφ(x̂))⁻¹``. At the
MAP estimate the same expression is Laplace's approximation.

Where training has smoothed the prior by a Gaussian of bandwidth b, this is the covariance of the
smoothed signal x + b ξ. To first order the jitter moves the error of the reconstruction by −b R ξ,
with R = I − Dφ(x̂)⁻¹ G the part of the signal that the data do not determine; so the covariance of
the error for the signal itself is less by b² R Rᵀ.

References
----------
N. Heilenkötter (2025), arXiv:2510.26704. B. Efron (2011), "Tweedie's formula and selection bias",
Journal of the American Statistical Association.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ..numerics.krylov import conjugate_gradients, matrix_power
from ..numerics.progress import portion, report_residuals
from ..numerics.tensors import as_tensor
from ..operators import Operator

__all__ = ["ErrorModel"]

_SMALLEST = 1e-6  # eigenvalue of a precision, relative to the largest
# relative residual of equations; single precision serves probes, which differ by far more
_TOLERANCE = {torch.float32: 2e-2, torch.float64: 1e-6}
_REMAINING = 0.01  # share of the variance that the correction for the bandwidth leaves at least


@dataclass
class ErrorModel:
    """The Gaussian model of a reconstruction's error, from Jacobians or from products with them.

    Attributes
    ----------
    factor : Operator of shape (n_features, n_features) or None
        The A of ``Aᵀ Dφ``: None in the normal equation, where it is the identity.
    information : Operator of shape (n_features, n_features)
        ``AᵀA``, the Fisher information of a measurement times δ².
    noise_level : float
        Standard deviation δ of the noise.
    bandwidth : float
        Standard deviation b of the Gaussian that smoothed the prior.
    """

    factor: Operator | None
    information: Operator
    noise_level: float
    bandwidth: float

    @classmethod
    def of(cls, problem, bandwidth, noise_level=None):
        """The model of a problem; of the noise level of its measurements by default."""
        return cls(
            factor=problem.forward if problem.operator is None else None,
            information=problem.information,
            noise_level=problem.noise_level if noise_level is None else float(noise_level),
            bandwidth=bandwidth,
        )

    def covariance(self, jacobian):
        """Covariances of the error from Jacobians Dφ(x̂).

        Parameters
        ----------
        jacobian : ndarray of shape (n_samples, n_features, n_features)
            The Jacobians.

        Returns
        -------
        covariance : ndarray of shape (n_samples, n_features, n_features)
            Symmetric positive definite matrices.
        indefinite : ndarray of shape (n_samples,)
            Whether the symmetric part of ``Aᵀ Dφ`` was not positive definite, so that its
            eigenvalues were raised. Never so for one block of the gradient branch and z = Aᵀ y.
        """
        precision = jacobian if self.factor is None else self.factor.to_dense().T @ jacobian
        precision = (precision + precision.transpose(0, 2, 1)) / 2
        inverse_root, root, indefinite = _roots(precision)
        variance = self.noise_level**2 * np.eye(precision.shape[1])
        if self.bandwidth > 0:
            # δ² P⁻¹ − b² R Rᵀ = root (δ² − b² Q Qᵀ) rootᵀ with P⁻¹ = root rootᵀ and Q = root⁻¹ R
            Q = inverse_root - root.transpose(0, 2, 1) @ self.information.to_dense()
            variance = variance - self.bandwidth**2 * Q @ Q.transpose(0, 2, 1)
            variance = _raised(variance, _REMAINING * self.noise_level**2)
        covariance = root @ variance @ root.transpose(0, 2, 1)
        return (covariance + covariance.transpose(0, 2, 1)) / 2, indefinite

    def product(self, precision_product, v):
        """Products of the covariance with vectors, from products with ``sym(Aᵀ Dφ(x̂))``.

        Eigenvalues are not raised here as :meth:`covariance` raises them.

        Parameters
        ----------
        precision_product : callable
            Multiplies a Tensor of shape (n_samples, n_features), row by row.
        v : Tensor of shape (n_samples, n_features)
            Vectors.

        Returns
        -------
        product : Tensor of shape (n_samples, n_features)
            ``(δ² P⁻¹ − b² R Rᵀ) v``.
        residual : Tensor of shape (n_samples,)
            The largest relative residual of the equations that were solved for a row.
        """
        if self.bandwidth == 0:
            solution, residual = _solve(precision_product, v)
            return self.noise_level**2 * solution, residual
        with portion(0, 1 / 2):
            solution, residual = _solve(precision_product, v)
        middle = self._middle(precision_product, solution)
        with portion(1 / 2, 1):
            result, other = _solve(precision_product, middle)
        return result, torch.maximum(residual, other)

    def root_product(self, precision_product, v):
        """Products of a root of the covariance with vectors: random errors, for white noise v.

        Parameters and results are as in :meth:`product`.
        """
        with portion(0, 1 / 2):
            middle, change = matrix_power(
                lambda w: self._middle(precision_product, w), v, 0.5, report=report_residuals
            )
        with portion(1 / 2, 1):
            result, residual = _solve(precision_product, middle)
        return result, torch.maximum(residual, change)

    def _middle(self, precision_product, v):
        """``M v`` with ``M = δ² P − b² (P − AᵀA)²``; the covariance is ``P⁻¹ M P⁻¹``."""
        image = precision_product(v)
        if self.bandwidth == 0:
            return self.noise_level**2 * image
        prior = image - self._informed(v)
        prior = precision_product(prior) - self._informed(prior)
        return self.noise_level**2 * image - self.bandwidth**2 * prior

    def _informed(self, v):
        """``AᵀA v``."""
        return as_tensor(self.information.forward(v.cpu().numpy())).to(v)


def _solve(product, b):
    tol = _TOLERANCE[b.dtype]
    return conjugate_gradients(product, b, tol=tol, report=report_residuals)


def _roots(P):
    """``root⁻¹`` and root with P⁻¹ = root rootᵀ; where P was not positive definite."""
    lower, definite = _cholesky(P)
    inverse_root, root = np.empty_like(P), np.empty_like(P)
    inverse_root[definite] = lower[definite].transpose(0, 2, 1)
    root[definite] = np.linalg.inv(lower[definite]).transpose(0, 2, 1)
    spectrum, axes = np.linalg.eigh(P[~definite])
    lowest = _SMALLEST * np.abs(spectrum).max(axis=1, keepdims=True)
    scale = np.sqrt(np.maximum(spectrum, lowest))
    inverse_root[~definite] = scale[:, :, None] * axes.transpose(0, 2, 1)
    root[~definite] = axes / scale[:, None, :]
    indefinite = np.zeros(len(P), dtype=bool)
    indefinite[~definite] = spectrum[:, 0] < lowest[:, 0]
    return inverse_root, root, indefinite


def _raised(matrices, least):
    """Symmetric matrices, with the eigenvalues below ``least`` raised to it."""
    low = ~_cholesky(matrices - least * np.eye(matrices.shape[1]))[1]
    spectrum, axes = np.linalg.eigh(matrices[low])
    raised = matrices.copy()
    raised[low] = (axes * np.maximum(spectrum, least)[:, None, :]) @ axes.transpose(0, 2, 1)
    return raised


def _cholesky(matrices):
    """Lower triangular factors, and which of the matrices have one: the positive definite ones."""
    lower, info = torch.linalg.cholesky_ex(as_tensor(matrices))
    return lower.numpy(), (info == 0).numpy()

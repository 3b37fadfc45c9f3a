"""Norms and eigenvalues of small matrices: exact, or followed through training.

Norms are followed in numpy: at these sizes the book-keeping of torch costs more than the
arithmetic.
"""

import math

import numpy as np
import scipy.linalg
import torch

from .tensors import as_tensor

__all__ = [
    "LEAST_NORM",
    "NormTracker",
    "eigenpairs",
    "normalize",
    "of_quotient",
    "semidefinite_root",
    "slope_of_square_norm",
    "small_gram",
    "spectral_norm",
    "square_norm",
]

LEAST_NORM = 1e-30  # in a denominator, where single precision goes on
_TINY = 16  # for matrices up to this size, SciPy is faster than a call of torch


def narrow(matrix):
    """M, or Mᵀ if M has more columns than rows."""
    return matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T


def small_gram(matrix):
    """``MᵀM`` or ``MMᵀ``, whichever is smaller: both have the squared singular values."""
    matrix = narrow(matrix)
    return matrix.T @ matrix


def square_norm(matrix, xp=torch):
    """An upper bound of ‖M‖², the Frobenius norm of M Mᵀ or MᵀM, by torch or numpy."""
    return xp.linalg.norm(small_gram(matrix))


def slope_of_square_norm(matrix):
    """Its derivative in M, an array of the shape of M; zero for M = 0."""
    gram = small_gram(matrix)
    unit = 2 / max(np.linalg.norm(gram), LEAST_NORM) * gram
    return unit @ matrix if len(unit) == len(matrix) else matrix @ unit


def semidefinite_root(matrix, least=1e-6):
    """A matrix L with L Lᵀ = M, or nearly so: columns of length zero would never be trained."""
    values, axes = torch.linalg.eigh((matrix + matrix.T) / 2)
    return axes * values.clamp(min=least).sqrt()


def spectral_norm(matrix):
    """Largest singular value: exact, and differentiable where it is simple.

    Parameters
    ----------
    matrix : Tensor of shape (n_rows, n_columns)
        Any matrix.

    Returns
    -------
    norm : Tensor of shape ()
        ``‖matrix‖₂``.
    """
    return torch.linalg.eigvalsh(small_gram(matrix))[-1].clamp(min=0).sqrt()


def normalize(matrix):
    """``M / max(1, ‖M‖₂)``, exact."""
    norm = spectral_norm(matrix)
    return matrix / norm if norm > 1 else matrix


def eigenpairs(matrix):
    """Eigenvalues of a symmetric array in ascending order, and eigenvectors in the columns."""
    if 1 < len(matrix) <= _TINY:  # SciPy 1.12 fails for a single entry
        return scipy.linalg.eigh(matrix, lower=False, driver="evd", check_finite=False)
    values, vectors = torch.linalg.eigh(as_tensor(matrix))  # faster than SciPy's where it is large
    return values.numpy(), vectors.numpy()


class NormTracker:
    """Division by the spectral norm of a matrix that changes little from step to step.

    Every call takes a step of the power method for the singular vector v. Every other one looks in
    the space of ``N_DIRECTIONS`` such steps before (Golub, Kahan and Lanczos), or is exact where
    one side of the matrix is small. ``‖M v‖`` is never above the norm; steps of Adam leave it
    below by one per cent on average, a few at most.
    """

    N_DIRECTIONS = 6
    EVERY = 2

    def __init__(self):
        self.vector, self.n_calls = None, 0

    def normalize(self, matrix):
        """``M / max(1, ‖M v‖)``, with its gradient."""
        norm = self.norm(matrix)
        return matrix if norm is None else _Quotient.apply(matrix, *norm)

    def norm(self, matrix):
        """``‖M v‖``, a float, with its derivative u vᵀ in two factors; None if it is below one."""
        M = matrix.detach().cpu().numpy()
        if self.vector is None or min(M.shape) <= _TINY:
            self.vector = _leading_vector(M)
        elif self.n_calls % self.EVERY == 0:
            self.vector = self._follow(M)
        self.n_calls += 1
        v, image = self.vector, M @ self.vector
        norm = math.sqrt(image @ image)
        self.vector = _unit(image @ M) if norm > 0 else v
        if norm <= 1:
            return None
        u, v = (as_tensor(vector).to(matrix) for vector in (image / norm, v))
        return norm, u, v

    def _follow(self, M):
        directions = [self.vector]
        for _ in range(self.N_DIRECTIONS - 1):
            directions.append(_unit((M @ directions[-1]) @ M))
        basis, _ = scipy.linalg.qr(np.array(directions).T, mode="economic", check_finite=False)
        return basis @ eigenpairs(small_gram(M @ basis))[1][:, -1]


def _leading_vector(M):
    """The right singular vector of the largest singular value."""
    vector = eigenpairs(small_gram(M))[1][:, -1]
    return vector if len(vector) == M.shape[1] else _unit(vector @ M)


def _unit(vector):
    return vector / (math.sqrt(vector @ vector) or 1.0)


def of_quotient(gradient, quotient, norm, u, v):
    """The gradient in M, from that in M / n, where the norm n has the derivative u vᵀ."""
    change = torch.dot(gradient.flatten(), quotient.flatten())
    return torch.addr(gradient, u * change, v, beta=1 / norm, alpha=-1 / norm)


class _Quotient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrix, norm, u, v):
        quotient = matrix / norm
        ctx.norm = norm
        ctx.save_for_backward(quotient, u, v)
        return quotient

    @staticmethod
    def backward(ctx, gradient):
        quotient, *factors = ctx.saved_tensors
        return of_quotient(gradient, quotient, ctx.norm, *factors), None, None, None

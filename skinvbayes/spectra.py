"""Spectral norms of weight matrices: exact, or followed through training."""

import torch

__all__ = ["NormTracker", "norm_bound", "normalize", "small_gram", "spectral_norm"]


def small_gram(matrix):
    """``MᵀM`` or ``MMᵀ``, whichever is smaller: both have the squared singular values."""
    narrow = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    return narrow.T @ narrow


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


def norm_bound(matrix):
    """Upper bound of the spectral norm of a symmetric matrix, without any eigenvalue.

    The smaller one of its largest sum of a row, which is tight near multiples of the identity, and
    ``‖M⁴‖^(1/4)`` in the Frobenius norm, which is where few eigenvalues are large.
    """
    square = matrix @ matrix
    return torch.minimum(matrix.abs().sum(1).max(), (square @ square).norm() ** 0.25)


class NormTracker:
    """Division by the spectral norm of a matrix that changes little from call to call, in training.

    Every call takes a step of the power method for the singular vector v; every other one takes
    two steps of inverse iteration before, with a shift just above the squared norm. The Cholesky
    factor for them exists only if the shift is above all the squared singular values: it certifies
    that ``‖M v‖`` is less than half of ``TOLERANCE`` (relatively) below the norm. Where it does not
    exist, the vector is computed anew.
    """

    TOLERANCE = 0.05
    EVERY = 2

    def __init__(self):
        self.vector, self.n_calls = None, 0

    def normalize(self, matrix):
        """``M / max(1, ‖M v‖)``, with its gradient."""
        with torch.no_grad():
            if self.n_calls % self.EVERY == 0:
                self.vector = self._follow(matrix)
            self.n_calls += 1
            v = self.vector
            image = matrix @ v
            norm = image.norm()
            self.vector = _right_vector(matrix, image @ matrix)
        return _Quotient.apply(matrix, v, image, norm) if norm > 1 else matrix

    def _follow(self, matrix):
        if self.vector is None:
            return _leading_vector(matrix)
        image, gram = matrix @ self.vector, small_gram(matrix)
        shift = (1 + self.TOLERANCE) * image.square().sum()
        gram.neg_().diagonal().add_(shift)
        factor, failed = torch.linalg.cholesky_ex(gram)
        if failed:
            return _leading_vector(matrix)
        start = self.vector if len(gram) == matrix.shape[1] else image
        start = torch.cholesky_solve(start[:, None], factor)
        start = torch.cholesky_solve(start / start.norm(), factor)
        return _right_vector(matrix, start[:, 0])


def _leading_vector(matrix):
    return _right_vector(matrix, torch.linalg.eigh(small_gram(matrix))[1][:, -1])


def _right_vector(matrix, vector):
    """Of length one, from an eigenvector of either Gram matrix."""
    vector = vector if len(vector) == matrix.shape[1] else vector @ matrix
    return vector / vector.norm()


class _Quotient(torch.autograd.Function):
    """M / ‖M v‖; the derivative of the norm is u vᵀ with u = M v / ‖M v‖."""

    @staticmethod
    def forward(ctx, matrix, v, image, norm):
        quotient = matrix / norm
        ctx.save_for_backward(quotient, v, image, norm)
        return quotient

    @staticmethod
    def backward(ctx, gradient):
        quotient, v, image, norm = ctx.saved_tensors
        change = torch.dot(gradient.flatten(), quotient.flatten()) / norm
        return (gradient - torch.outer(image * change, v)).div_(norm), None, None, None

"""The forward map G in unit scale, for tensors: as a matrix or through its operator."""

import numpy as np
from torch.autograd import Function

from ..numerics.tensors import as_tensor
from ..operators import GramOperator

__all__ = ["TensorOperator"]


class TensorOperator:
    """``x ↦ G x / a`` for rows of tensors, with its derivative.

    Parameters
    ----------
    forward : Operator of shape (n_features, n_features)
        G. A :class:`~skinvbayes.operators.GramOperator` is only multiplied with, never formed.
    norm : float
        The number a.
    rounded : bool, default=True
        Whether the matrix is rounded to single precision: training then gives the same bits
        whatever the units of the data.
    """

    def __init__(self, forward, norm, rounded=True):
        self.forward, self.norm, self.rounded = forward, norm, rounded
        self._matrices = {}

    def __call__(self, x):
        """``G x / a``, of shape (n_samples, n_features)."""
        if isinstance(self.forward, GramOperator):
            return _Product.apply(x, self) if x.requires_grad else self.product(x)
        return x @ self.matrix(x).T

    def matrix(self, like):
        """The matrix ``G / a``, with dtype and device of a tensor."""
        key = like.dtype, like.device
        if key not in self._matrices:
            unit = as_tensor(self.forward.to_dense() / self.norm)
            self._matrices[key] = (unit.float() if self.rounded else unit).to(like)
        return self._matrices[key]

    def trace(self):
        """``tr G / a``, a float."""
        return self.forward.trace() / self.norm

    def product(self, x):
        """``G x / a`` by products with a symmetric G, without derivatives."""
        image = self.forward.forward(x.detach().cpu().double().numpy()) / self.norm
        return as_tensor(np.ascontiguousarray(image)).to(x)


class _Product(Function):
    @staticmethod
    def forward(x, term):
        return term.product(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.term = inputs

    @staticmethod
    def backward(ctx, gradient):
        return _Product.apply(gradient, ctx.term), None

"""Forward maps that differ from row to row, where different measurements are missing.

A missing reading is a row of the operator left out. With the matrices Q_i = δ² Σ⁻¹ of the readings
that there are in row i, among zeros, z_i = AᵀQ_i y_i and its forward map is G_i = AᵀQ_iA.
"""

import numpy as np
import torch

from ..numerics.tensors import as_tensor

__all__ = ["RowGram", "RowOperator"]


class RowGram:
    """``G_i = AᵀQ_iA``, a matrix for every row, in the user's units.

    Parameters
    ----------
    operator : Operator
        The operator A.
    precision : ObservedPrecision
        The matrices Q_i.
    """

    def __init__(self, operator, precision):
        self.operator, self.precision = operator, precision

    def rows(self, index):
        """The same for some of the rows."""
        return type(self)(self.operator, self.precision.rows(index))

    def forward(self, X):
        """``G_i x`` for every row."""
        return self.operator.adjoint(self.precision.product(self.operator.forward(X)))

    def to_dense(self):
        """The matrices, of shape (n_samples, n_features, n_features)."""
        A = self.operator.to_dense()
        columns = [A.T @ self.precision.product(np.tile(a, (self._n_rows, 1))).T for a in A.T]
        return np.stack(columns).transpose(2, 1, 0)

    @property
    def _n_rows(self):
        return len(self.precision.missing)


class RowOperator:
    """``Bᵀ G_i B``, as maps of unit signals, for rows of tensors.

    Parameters
    ----------
    gram : RowGram
        The maps G_i in the user's units.
    coordinates : Coordinates
        The coordinates of signals and targets.
    by_matrices : bool
        Whether the matrices are formed; else the coordinates must be isotropic.
    """

    def __init__(self, gram, coordinates, by_matrices):
        self.gram, self.coordinates, self.by_matrices = gram, coordinates, by_matrices
        self._matrices = None

    def rows(self, index):
        """The same for some of the rows."""
        index = index.numpy() if isinstance(index, torch.Tensor) else index
        part = type(self)(self.gram.rows(index), self.coordinates, self.by_matrices)
        part._matrices = None if self._matrices is None else self._matrices[index]
        return part

    def __call__(self, u):
        """``Bᵀ G_i B u`` for every row."""
        if self.by_matrices:
            return torch.einsum("nij,nj->ni", self.matrix(u), u)
        image = self.gram.forward(u.detach().cpu().double().numpy())
        return as_tensor(image / self.coordinates.isotropic_norm).to(u)

    def matrix(self, like):
        """The matrices, with dtype and device of a tensor."""
        if self._matrices is None:
            self._matrices = as_tensor(self.coordinates.unit_maps(self.gram.to_dense()))
        return self._matrices.to(like)

"""What a gradient block computes once for given parameters: its linear part and its units."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..numerics.tensors import identity_like
from .scale_units import SumOfUnits
from .units import SoftmaxUnits, TanhUnits

__all__ = ["GradientConstants"]


class GradientConstants(NamedTuple):
    """S and the units, as both are evaluated."""

    slope: Tensor  # S; of many features, the multiple of the identity in it
    units: SoftmaxUnits | TanhUnits | SumOfUnits

    def to(self, like):
        """The same in the dtype of a tensor."""
        return GradientConstants(self.slope.to(like), self.units.to(like))

    def linear(self, v):
        """S v."""
        if self.slope.ndim:
            return v @ self.slope
        return self.slope * v

    def matrix(self, n_features):
        """S as a matrix."""
        if self.slope.ndim:
            return self.slope
        return self.slope * identity_like(n_features, self.slope)

    def trace(self, n_features):
        """tr S."""
        if self.slope.ndim:
            return self.slope.trace()
        return n_features * self.slope

    def divide(self):
        """Multiplication of rows by S⁻¹."""
        if not self.slope.ndim:
            return lambda v: v / self.slope
        inverse = torch.linalg.inv(self.slope)
        return lambda v: v @ inverse

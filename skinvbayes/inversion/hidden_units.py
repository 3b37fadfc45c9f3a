"""An equation for the hidden units of a block, in place of that for its features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..numerics.tensors import identity_like

__all__ = ["HiddenUnits"]


@dataclass
class HiddenUnits:
    """φ(x) = B x + t + V g(h) with h = U x + b, for symmetric B; rows are points.

    With K = U B⁻¹ V, the equation φ(x) = z becomes h + K g(h) = U B⁻¹(z − t) + b, an equation for h
    alone, and its solution gives x = B⁻¹(z − t − V g(h)). That is the smaller problem where there
    are fewer units than features. The adjoint λ = (Dφ)⁻ᵀ r has the same form, with y = Vᵀ λ.

    Attributes
    ----------
    divide : callable
        Multiplication of rows by B⁻¹.
    inner, bias : Tensors of shape (n_inner, n_features) and (n_inner,)
        U and b.
    outer, shift : Tensors of shape (n_outer, n_features) and (n_features,)
        Vᵀ and t.
    response : callable
        g, from (n_samples, n_inner) to (n_samples, n_outer).
    pull_back : callable
        From h to the multiplication of rows y, of shape (n_samples, n_outer), by Dg(h).
    mean_slope : callable
        From h to the average of Dg(h)ᵀ, of shape (n_inner, n_outer).
    """

    divide: Callable[..., Any]
    inner: torch.Tensor
    bias: torch.Tensor
    outer: torch.Tensor
    shift: torch.Tensor
    response: Callable[..., Any]
    pull_back: Callable[..., Any]
    mean_slope: Callable[..., Any]

    def preactivation(self, x):
        """h = U x + b."""
        return torch.nn.functional.linear(x, self.inner, self.bias)

    def equation(self, z):
        """The function h ↦ h + K g(h), and the value U B⁻¹(z − t) + b that it has to take."""
        coupling = self._coupling()

        def function(h):
            return torch.addmm(h, self.response(h), coupling)

        return function, self.preactivation(self.divide(z - self.shift))

    def inverse_slope(self, h):
        """The inverse of the Jacobian of h ↦ h + K g(h), averaged over a sample of the rows h."""
        return _inverse_of_one_plus(self.mean_slope(h) @ self._coupling())

    def solution(self, z, h):
        """x = B⁻¹(z − t − V g(h))."""
        return self.divide(z - self.shift - self.response(h) @ self.outer)

    def amplification(self):
        """Bound of ‖φ(x) − z‖ divided by the residual of the equation for h."""
        return self.outer.norm()

    def adjoint_equation(self, h, r):
        """The function y ↦ y + Kᵀ (Dg)ᵀ y, its value Vᵀ B⁻¹ r, and its mean inverse slope."""
        coupling, pull_back = self._coupling().T, self.pull_back(h)

        def function(y):
            return torch.addmm(y, pull_back(y), coupling)

        inverse = _inverse_of_one_plus(self.mean_slope(h).T @ coupling)
        return function, self.divide(r) @ self.outer.T, inverse

    def adjoint_solution(self, h, r, y):
        """λ = B⁻¹(r − Uᵀ (Dg)ᵀ y)."""
        return self.divide(r - self.pull_back(h)(y) @ self.inner)

    def _coupling(self):
        return self.divide(self.outer) @ self.inner.T


def _inverse_of_one_plus(matrix):
    return torch.linalg.inv(identity_like(len(matrix), matrix) + matrix)

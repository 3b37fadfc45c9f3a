"""What a gradient block computes once for given parameters: its linear part and its units.

In a step of training it is one operation with the derivatives written down: the books that
automatic differentiation keeps of sixty operations on small matrices take longer than they do.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ..numerics.symmetric import slope_of_square_norm, square_norm
from ..numerics.tensors import identity_like
from .scale_units import SumOfUnits
from .units import SoftmaxUnits, TanhUnits, centred, of_centred

__all__ = ["GradientConstants", "LinearPart", "assembled", "bounding_rows", "root_of_sharpness"]

_MAX_LOG_SHARPNESS = 30.0  # or a unit of weight zero could sharpen until it overflows
_LEAST_FLOOR = 1e-12


class GradientConstants(NamedTuple):
    """S and the units, as both are evaluated."""

    slope: Tensor  # S; of many features, the multiple of the identity in it
    units: SoftmaxUnits | TanhUnits | SumOfUnits
    total: Tensor  # sum of the bounds of the units' slopes
    floor: Tensor  # a
    size: Tensor  # bound of the spectrum of all but a I

    def to(self, like):
        """The same in the dtype of a tensor."""
        return GradientConstants(*(part.to(like) for part in self))

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
            return self.slope.diagonal().sum()
        return n_features * self.slope

    def divide(self):
        """Multiplication of rows by S⁻¹."""
        if not self.slope.ndim:
            return lambda v: v / self.slope
        inverse = torch.linalg.inv(self.slope)
        return lambda v: v @ inverse


class LinearPart(NamedTuple):
    """How S = a I + L Lᵀ + ½ Σ β_j W_jᵀW_j is made.

    Attributes
    ----------
    n_subtracted : int
        Number of the units in the sum, which are the first.
    sign : Tensor of shape (n_units,)
        The signs of all.
    pace : float
        L over the parameter that stands for it.
    ratio : float
        The least a over the bound of the spectrum.
    known_bounds : tuple of two floats
        Bounds of the spectrum of what is added to S and not learned.
    """

    n_subtracted: int
    sign: Tensor
    pace: float
    ratio: float
    known_bounds: tuple[float, float]

    def floor(self, size):
        """The a for a bound of the spectrum of all but a I and what is known."""
        low, high = self.known_bounds
        return ((self.ratio * (high + size) - low) / (1 - self.ratio)).clamp(min=_LEAST_FLOOR)

    def slope_of_floor(self, floor):
        """Its derivative in that bound."""
        return self.ratio / (1 - self.ratio) * (floor > _LEAST_FLOOR).to(floor)


def assembled(weight, bias, log_sharpness, factor, linear, added=(0.0, 0.0), by_hand=False):
    """S and the units of the parameters of a gradient block.

    Parameters
    ----------
    weight, bias, log_sharpness : Tensors
        Of shape (n_units, n_pieces, n_features), (n_units, n_pieces) and (n_units,).
    factor : Tensor of shape (n_features, n_features) or ()
        L over its pace; a number for a multiple of the identity.
    linear : LinearPart
        How S is made of them.
    added : tuple of two Tensors of shape (), default=(0.0, 0.0)
        Of other units that are added: a bound of their slopes, and the sum of the bounds of each.
    by_hand : bool, default=False
        Whether first derivatives are those that are written down, in a third of the time; without
        derivatives of derivatives, and not for ``torch.func``.

    Returns
    -------
    constants : GradientConstants
        Differentiable in the parameters.
    """
    arguments = weight, bias, log_sharpness, factor, *added, linear
    found = _Assembled.apply(*arguments) if by_hand else _assembled(*arguments)[0]
    slope, *numbers, inner, centres, outer, root = found
    kind = TanhUnits if bias.shape[1] == 2 else SoftmaxUnits
    units = kind(inner, centres, outer, root, linear.sign)
    return GradientConstants(slope, units, *numbers)


def root_of_sharpness(log_sharpness):
    """√β, of shape (n_units, 1)."""
    return (log_sharpness / 2).clamp(max=_MAX_LOG_SHARPNESS / 2).exp()[:, None]


def bounding_rows(W, root):
    """B = √(κβ) W with 0 ≼ H ≼ BᵀB: a variance is at most half of the sum of squared distances."""
    return (_root_of_share(W) * root)[:, :, None] * W


def _root_of_share(W):
    """√κ for H ≼ κβ WᵀW."""
    return 1.0 if W.shape[1] == 1 else 0.5**0.5


def _assembled(weight, bias, log_sharpness, factor, added_size, added_total, linear):
    """Slope, sum of bounds, floor, size and units; and what the derivatives need."""
    W, n, dense = centred(weight), linear.n_subtracted, factor.ndim > 0
    root = root_of_sharpness(log_sharpness)
    sharpness = root.square()
    inner = sharpness[:, :, None] * W
    centres = sharpness * (centred(bias) if bias.shape[1] == 2 else bias)
    B = bounding_rows(W, root)
    matrix = linear.pace**2 * (factor @ factor.T if dense else factor.square())
    if n > 0:
        lower = B[:n].flatten(0, 1)
        matrix = matrix + (lower.T @ lower if dense else square_norm(lower))
    size = matrix.norm() + _size(B[n:]) + added_size
    floor = linear.floor(size)
    slope = matrix + (floor * identity_like(len(factor), factor) if dense else floor)
    outer = linear.sign[:, None, None] * W
    units = inner.flatten(0, 1), centres.flatten(), outer.flatten(0, 1), root
    found = slope, B.square().sum() + added_total, floor, size, *units
    return found, (matrix, floor, B, root, inner, centres)


class _Assembled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, bias, log_sharpness, factor, added_size, added_total, linear):
        parameters = weight, bias, log_sharpness, factor, added_size, added_total
        found, needed = _assembled(*parameters, linear)
        ctx.linear, ctx.n_pieces = linear, weight.shape[1]
        ctx.save_for_backward(log_sharpness, factor, *needed)
        ctx.mark_non_differentiable(found[2], found[3])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, of_slope, of_total, _floor, _size, of_inner, of_centres, of_outer, of_root):
        log_sharpness, factor, matrix, floor, B, root, inner, centres = ctx.saved_tensors
        linear, sharpness = ctx.linear, root.square()
        of_inner, of_outer = of_inner.view_as(inner), of_outer.view_as(inner)
        of_centres = of_centres.view_as(centres)
        of_floor = of_slope.trace() if of_slope.ndim else of_slope
        of_size = linear.slope_of_floor(floor) * of_floor
        norm = matrix.norm()
        of_norm = torch.where(norm > 0, of_size / norm, 0.0)
        of_matrix = torch.addcmul(of_slope, matrix, of_norm)
        of_factor, of_B = _of_squares(linear, of_matrix, factor, B)
        of_B[linear.n_subtracted :] += of_size * _slope_of_size(B[linear.n_subtracted :])
        of_B += 2 * of_total * B
        of_W = (_root_of_share(inner) * root)[:, :, None] * of_B
        of_W += sharpness[:, :, None] * of_inner + linear.sign[:, None, None] * of_outer
        of_log = (of_B * B / 2 + of_inner * inner).sum((1, 2))
        of_log += (of_centres * centres).sum(1) + (of_root * root / 2).squeeze(1)
        of_log *= log_sharpness <= _MAX_LOG_SHARPNESS
        of_bias = sharpness * of_centres
        of_bias = of_centred(of_bias) if ctx.n_pieces == 2 else of_bias
        of_added = (of_size, of_total) if ctx.needs_input_grad[4] else (None, None)
        return of_centred(of_W), of_bias, of_log, of_factor, *of_added, None


def _of_squares(linear, of_matrix, factor, B):
    """Derivatives in L over its pace and in B from those in L Lᵀ and the sum beside it."""
    n, of_B = linear.n_subtracted, torch.zeros_like(B)
    lower = B[:n].flatten(0, 1)
    if not factor.ndim:
        of_B[:n] = of_matrix * slope_of_square_norm(lower).view_as(B[:n])
        return 2 * linear.pace**2 * of_matrix * factor, of_B
    symmetric = of_matrix + of_matrix.T
    of_B[:n] = (lower @ symmetric).view_as(B[:n])
    return linear.pace**2 * (symmetric @ factor), of_B


def _size(B):
    """A bound of the slopes of units, at most the sum of the largest variances."""
    if B.shape[1] == 1:
        return square_norm(B.flatten(0, 1))
    return 2 * B.square().sum(2).amax(1).sum()  # the largest squared distance


def _slope_of_size(B):
    """Its derivative."""
    if B.shape[1] == 1:
        return slope_of_square_norm(B.flatten(0, 1)).view_as(B)
    farthest = F.one_hot(B.square().sum(2).argmax(1), B.shape[1])
    return 4 * farthest[:, :, None] * B

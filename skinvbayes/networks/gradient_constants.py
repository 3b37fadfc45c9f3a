"""What a gradient block computes once for given parameters: its linear part and its units.

In a step of training on the CPU it is one operation in numpy with the derivatives written down: the
books that torch keeps of sixty operations on small matrices take longer than they do. The formulas
serve both libraries, as in the array API standard: ``xp`` is either of them.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..numerics.symmetric import LEAST_NORM, slope_of_square_norm, square_norm
from ..numerics.tensors import as_arrays, as_tensors, identity_like
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

    def floor(self, size, xp):
        """The a for a bound of the spectrum of all but a I and what is known."""
        low, high = self.known_bounds
        return xp.clip((self.ratio * (high + size) - low) / (1 - self.ratio), _LEAST_FLOOR, None)

    def of_size(self, floor, of_floor):
        """The derivative in that bound, from that in a."""
        return self.ratio / (1 - self.ratio) * of_floor * (floor > _LEAST_FLOOR)


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
        Whether, on the CPU, first derivatives are those that are written down, in a fifth of the
        time; without derivatives of derivatives, and not for ``torch.func``.

    Returns
    -------
    constants : GradientConstants
        Differentiable in the parameters.
    """
    arguments = weight, bias, log_sharpness, factor, *added, linear
    if by_hand and weight.device.type == "cpu":
        found = _ByHand.apply(*arguments)
    else:
        found, _ = _assembled(*arguments, torch)
    slope, *numbers, inner, centres, outer, root = found
    kind = TanhUnits if bias.shape[1] == 2 else SoftmaxUnits
    units = kind(inner, centres, outer, root, linear.sign)
    return GradientConstants(slope, units, *numbers)


def root_of_sharpness(log_sharpness, xp=torch):
    """√β, of shape (n_units, 1)."""
    return xp.exp(xp.clip(log_sharpness, None, _MAX_LOG_SHARPNESS) / 2)[:, None]


def bounding_rows(W, root):
    """B = √(κβ) W with 0 ≼ H ≼ BᵀB: a variance is at most half of the sum of squared distances."""
    share = 1.0 if W.shape[1] == 1 else 0.5**0.5
    return (share * root)[:, :, None] * W


def _assembled(weight, bias, log_sharpness, factor, added_size, added_total, linear, xp):
    """Slope, sum of bounds, floor, size and units; and what the derivatives need."""
    W, n = centred(weight), linear.n_subtracted
    root = root_of_sharpness(log_sharpness, xp)
    sharpness = root**2
    inner = sharpness[:, :, None] * W
    centres = sharpness * (centred(bias) if bias.shape[1] == 2 else bias)
    outer = linear.sign[:, None, None] * W
    B = bounding_rows(W, root)
    matrix = linear.pace**2 * (factor @ factor.T if factor.ndim else factor**2)
    if n > 0:
        lower = _rows(B[:n])
        matrix = matrix + (lower.T @ lower if factor.ndim else square_norm(lower, xp))
    norm = xp.linalg.norm(matrix)
    size = norm + _size(B[n:], xp) + added_size
    floor = linear.floor(size, xp)
    slope = matrix + (xp.diag(floor * xp.ones_like(matrix[0])) if factor.ndim else floor)
    units = _rows(inner), centres.reshape(-1), _rows(outer), root
    found = slope, (B**2).sum() + added_total, floor, size, *units
    return found, (matrix, norm, floor, B, root, inner, centres)


class _ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *arguments):
        *parameters, linear = arguments
        parameters, linear = as_arrays(*parameters), linear._replace(sign=linear.sign.numpy())
        with np.errstate(all="ignore"):
            found, needed = _assembled(*parameters, linear, np)
        _, bias, log_sharpness, factor, *_ = parameters
        ctx.known = linear, bias.shape[1], log_sharpness, factor, *needed
        found = as_tensors(*found, dtype=bias.dtype)
        ctx.mark_non_differentiable(found[2], found[3])
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        dtype = gradients[0].numpy().dtype
        with np.errstate(all="ignore"):
            *found, of_size, of_total = _derivatives(*ctx.known, *as_arrays(*gradients))
        if not ctx.needs_input_grad[4]:
            return *as_tensors(*found, dtype=dtype), None, None, None
        return *as_tensors(*found, of_size, of_total, dtype=dtype), None


def _derivatives(linear, n_pieces, log_sharpness, factor, *needed_and_given):
    """Those in the parameters, from what was found with the values and those in the values."""
    matrix, norm, floor, B, root, inner, centres, *given = needed_and_given
    of_slope, of_total, _, _, of_inner, of_centres, of_outer, of_root = given
    n, sharpness = linear.n_subtracted, root**2
    of_inner, of_outer = of_inner.reshape(inner.shape), of_outer.reshape(inner.shape)
    of_centres = of_centres.reshape(centres.shape)
    of_size = linear.of_size(floor, of_slope.trace() if factor.ndim else of_slope)
    of_matrix = of_slope + of_size / max(norm, LEAST_NORM) * matrix
    of_factor, of_lower = _of_squares(linear, of_matrix, factor, _rows(B[:n]))
    of_B = np.concatenate([of_lower, of_size * _slope_of_size(B[n:])]).reshape(B.shape)
    of_B += 2 * of_total * B
    of_W = bounding_rows(of_B, root)
    of_W += sharpness[:, :, None] * of_inner
    of_W += linear.sign[:, None, None] * of_outer
    of_log = np.einsum("jkd,jkd->j", of_inner, inner) + np.einsum("jkd,jkd->j", of_B, B) / 2
    of_log += np.einsum("jk,jk->j", of_centres, centres) + (of_root * root)[:, 0] / 2
    of_log *= log_sharpness <= _MAX_LOG_SHARPNESS
    of_bias = sharpness * of_centres
    of_bias = of_centred(of_bias) if n_pieces == 2 else of_bias
    return of_centred(of_W), of_bias, of_log, of_factor, of_size, of_total


def _of_squares(linear, of_matrix, factor, lower):
    """Derivatives in L over its pace, and in the rows whose sum of squares is beside L Lᵀ."""
    if not factor.ndim:
        of_lower = of_matrix * slope_of_square_norm(lower)
        return 2 * linear.pace**2 * of_matrix * factor, of_lower
    symmetric = of_matrix + of_matrix.T
    return linear.pace**2 * (symmetric @ factor), lower @ symmetric


def _rows(W):
    """The pieces of all units, one below the other."""
    return W.reshape(-1, W.shape[2])


def _size(B, xp):
    """A bound of the slopes of units, at most the sum of the largest variances."""
    if B.shape[1] == 1:
        return square_norm(_rows(B), xp)
    return 2 * xp.amax((B**2).sum(2), 1).sum()  # the largest squared distance


def _slope_of_size(B):
    """Its derivative in the rows."""
    if B.shape[1] == 1:
        return slope_of_square_norm(_rows(B))
    farthest = (B**2).sum(2).argmax(1)
    slope, units = np.zeros_like(B), np.arange(len(B))
    slope[units, farthest] = 4 * B[units, farthest]
    return _rows(slope)

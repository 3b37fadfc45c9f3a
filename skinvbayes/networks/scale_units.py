"""Units that tell large signals from small ones: softplus functions of an energy.

The posterior mean of signals whose size is random, as of scale mixtures of Gaussians, is linear
with factors that depend on the energy of the measurement. Units of linear functions need many
pieces to come near to it; one of these is it, for signals of two sizes. In training their values
and bounds have the derivatives written down, as in :mod:`skinvbayes.networks.units`.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..numerics.symmetric import slope_of_square_norm, square_norm
from ..numerics.tensors import INITIAL, as_arrays, as_tensors

__all__ = ["ScaleLayer", "ScaleUnits", "SumOfUnits"]

_STEEPEST = 1.302  # the largest σ(l) + 2 l σ(l) (1 − σ(l)), rounded up
_MEAN_ENERGY = 2.9  # ½‖h‖² on average, at the start
_THRESHOLDS = 0.3, 3.0  # of the first and the last unit, at the start
_SHARE = 0.1  # of the slope of the whole map that the units have at the start, at most
_VANISHED = -30.0  # log-amplitude of units that count no more


class ScaleLayer(nn.Module):
    """Parameters and bound of the units Σ_j α_j W_jᵀ q_j h_j.

    With h_j = W_j x + b_j and q_j = σ(½‖h_j‖² − t_j), unit j is the gradient of the convex function
    α_j softplus(½‖h_j‖² − t_j). With the log-odds l = ½‖h‖² − t, its Hessian
    H = α Wᵀ (q I + q (1 − q) h hᵀ) W has 0 ≼ H ≼ α κ(t) WᵀW, where

        κ(t) = sup_l σ(l) + 2 (l + t) σ(l) (1 − σ(l)) ≤ 1.302 + max(t, 0)/2.

    Parameters
    ----------
    n_units, n_rows, n_features : int
        Number of units, of rows of each W_j, and of features.
    generator : torch.Generator
        Source of the initial weights.
    """

    def __init__(self, n_units, n_rows, n_features, generator):
        super().__init__()
        weight = torch.randn(n_units, n_rows, n_features, generator=generator, **INITIAL)
        weight *= math.sqrt(2 * _MEAN_ENERGY / (n_rows * n_features))
        self.weight = nn.Parameter(weight)  # W, for points of unit spread
        self.bias = nn.Parameter(torch.zeros(n_units, n_rows, **INITIAL))
        self.threshold = nn.Parameter(torch.linspace(*_THRESHOLDS, n_units, **INITIAL))
        self.log_amplitude = nn.Parameter(torch.zeros(n_units, **INITIAL))
        self.register_buffer("spread", torch.ones(n_features, **INITIAL))
        self._set_amplitude()

    @torch.no_grad()
    def initialize(self, mean, spread):
        """Measure energies about the mean of the points, in their spread in every coordinate."""
        self.spread.copy_(spread)
        self.bias.copy_(-self._rows() @ mean)
        self._set_amplitude()

    @torch.no_grad()
    def shrink(self, rest):
        """Multiply the units by a factor between 0 and 1."""
        if rest > 0:
            self.log_amplitude.add_(math.log(rest))
        else:
            self.log_amplitude.fill_(_VANISHED)

    def bounding(self):
        """Rows whose Gram matrix is an upper bound of the units' slopes."""
        _, (B, _) = _bounded(*self._bounding_parameters, torch)
        return B.flatten(0, 1)

    def units_and_bounds(self, by_hand=False):
        """The units as they are evaluated, a bound of their slopes, and the sum of those of each.

        All are differentiable in the parameters; with ``by_hand``, on the CPU, once and faster.
        """
        if by_hand and self.weight.device.type == "cpu":
            rows, amplitude, *bounds = _ByHand.apply(*self._bounding_parameters)
        else:
            (rows, amplitude, *bounds), _ = _bounded(*self._bounding_parameters, torch)
        return ScaleUnits(rows, self.bias, self.threshold, amplitude), bounds

    @property
    def _bounding_parameters(self):
        return self.weight, self.threshold, self.log_amplitude, self.spread

    def _rows(self):
        """The W_j."""
        return self.weight / self.spread

    @torch.no_grad()
    def _set_amplitude(self):
        """Such that the units have a small part of the slopes of the identity."""
        n_units, _, n_features = self.weight.shape
        squares = self._rows().square().sum((1, 2))
        self.log_amplitude.copy_((_SHARE * n_features / n_units / squares).log())


@dataclass(frozen=True)
class ScaleUnits:
    """The units as they are evaluated; their slopes are the q_j, with all h_j after them."""

    weight: Tensor  # W, of shape (n_units, n_rows, n_features)
    bias: Tensor  # b, of shape (n_units, n_rows)
    threshold: Tensor  # t, of shape (n_units,)
    amplitude: Tensor  # α

    def to(self, like):
        """The same in the dtype of a tensor."""
        return replace(self, **{name: tensor.to(like) for name, tensor in vars(self).items()})

    @property
    def n_slopes(self):
        """Number of slopes at each point."""
        return len(self.bias) + self.bias.numel()

    def image_and_slopes(self, x, linear):
        """``linear`` and the units at the points x, and their slopes."""
        slopes = self.slopes(x)
        q, h = self._parts(slopes)
        response = (self.amplitude * q)[:, :, None] * h
        return torch.addmm(linear, response.flatten(1), self._rows), slopes

    def slopes(self, x):
        """The slopes at the points x alone."""
        h = torch.addmm(self.bias.flatten(), x, self._rows.T)
        energy = h.unflatten(1, self.bias.shape).square().sum(2) / 2
        return torch.cat([torch.sigmoid(energy - self.threshold), h], 1)

    def image_and_divergence(self, x, linear, curvature=None):
        """``linear`` and the units at the points x, and with their curvature their divergence.

        No gradient is given for x.
        """
        if curvature is None:
            return _Fused.apply(x, linear, *vars(self).values()), None
        image, slopes = self.image_and_slopes(x, linear)
        return image, self.divergence(curvature, slopes)

    def product(self, slopes, v, linear):
        """``linear`` and the Jacobian of the units times v."""
        (q, h), v = self._parts(slopes), (v @ self._rows.T).unflatten(1, self.bias.shape)
        along = (1 - q) * (h * v).sum(2)
        through = (self.amplitude * q)[:, :, None] * (v + along[:, :, None] * h)
        return torch.addmm(linear, through.flatten(1), self._rows)

    def jacobian(self, slopes, S):
        """S and the Jacobian of the units, at every point."""
        q, h = self._parts(slopes)
        grams = self.weight.transpose(1, 2) @ self.weight
        rows = torch.einsum("njr,jrd->njd", h, self.weight)
        steep = self.amplitude * q * (1 - q)
        linear = ((self.amplitude * q) @ grams.flatten(1)).unflatten(1, grams.shape[1:])
        return S + linear + rows.transpose(1, 2) @ (steep[:, :, None] * rows)

    def mean_jacobian(self, slopes):
        """The Jacobian of the units, averaged over points."""
        q, h = self._parts(slopes)
        between = torch.einsum("nj,njr,njs->jrs", q * (1 - q), h, h) / len(q)
        between.diagonal(dim1=1, dim2=2).add_(q.mean(0)[:, None])
        between *= self.amplitude[:, None, None]
        return torch.einsum("jrd,jrs,jse->de", self.weight, between, self.weight)

    def curvature(self, P=None):
        """What the divergence is computed with: W Wᵀ, or W P Wᵀ for the trace of P Dφ."""
        weight = self.weight if P is None else self.weight @ P
        return weight @ self.weight.transpose(1, 2)

    def divergence(self, curvature, slopes):
        """The divergence of the units, at every point: Σ α (q ‖W‖² + q (1 − q) ‖Wᵀh‖²)."""
        q, h = self._parts(slopes)
        traces = curvature.diagonal(dim1=1, dim2=2).sum(1)
        squares = torch.einsum("njr,jrs,njs->nj", h, curvature, h)
        return (q * (traces + (1 - q) * squares)) @ self.amplitude

    @property
    def _rows(self):
        return self.weight.flatten(0, 1)

    def _parts(self, slopes):
        n_units = len(self.bias)
        return slopes[:, :n_units], slopes[:, n_units:].unflatten(1, self.bias.shape)


class _Fused(torch.autograd.Function):
    """``linear`` and the units; all is of shape (…, n_samples): sums over short rows are slow."""

    @staticmethod
    def forward(ctx, x, linear, weight, bias, threshold, amplitude):
        rows = weight.flatten(0, 1)
        h = torch.addmm(bias.flatten()[:, None], rows, x.T).unflatten(0, bias.shape)
        q = torch.sigmoid(h.square().sum(1) / 2 - threshold[:, None])
        response = ((amplitude[:, None] * q)[:, None] * h).flatten(0, 1)
        ctx.save_for_backward(x, weight, amplitude, h, q, response)
        return torch.addmm(linear, response.T, rows)

    @staticmethod
    def backward(ctx, of_image):
        x, weight, amplitude, h, q, response = ctx.saved_tensors
        of_response = (weight.flatten(0, 1) @ of_image.T).view_as(h)
        of_gate = q * (h * of_response).sum(1)  # q times the derivative in α q
        of_energy = amplitude[:, None] * (1 - q) * of_gate
        of_h = of_response.mul_((amplitude[:, None] * q)[:, None])
        of_h.addcmul_(of_energy[:, None], h)
        of_bias, of_rows = of_h.sum(2), of_h.flatten(0, 1) @ x
        of_weight = of_rows.addmm_(response, of_image).view_as(weight)
        return None, of_image, of_weight, of_bias, -of_energy.sum(1), of_gate.sum(1)


def _bounded(weight, threshold, log_amplitude, spread, xp):
    """W, α, a bound of ‖B‖² and the sum of all its squares; B = √(α κ(t)) W, with H ≼ BᵀB."""
    rows, amplitude = weight / spread, xp.exp(log_amplitude)
    steepest = _STEEPEST + xp.clip(threshold, 0, None) / 2
    B = xp.sqrt(amplitude * steepest)[:, None, None] * rows
    size = square_norm(B.reshape(-1, B.shape[2]), xp)
    return (rows, amplitude, size, (B**2).sum()), (B, steepest)


class _ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *parameters):
        ctx.parameters = as_arrays(*parameters)
        with np.errstate(all="ignore"):
            found, ctx.needed = _bounded(*ctx.parameters, np)
        ctx.amplitude = found[1]
        return as_tensors(*found, dtype=ctx.amplitude.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients):
        of_rows, of_amplitude, of_size, of_total = as_arrays(*gradients)
        (_, threshold, _, spread), (B, steepest) = ctx.parameters, ctx.needed
        with np.errstate(all="ignore"):
            of_B = of_size * slope_of_square_norm(B.reshape(-1, B.shape[2])).reshape(B.shape)
            of_B += 2 * of_total * B
            of_log = np.einsum("jrd,jrd->j", of_B, B) / 2  # of α κ(t)
            root = np.sqrt(ctx.amplitude * steepest)[:, None, None]
            of_weight = (of_rows + root * of_B) / spread
            of_threshold = of_log / steepest / 2 * (threshold > 0)
            found = of_weight, of_threshold, of_log + ctx.amplitude * of_amplitude
        return *as_tensors(*found, dtype=B.dtype), None


@dataclass(frozen=True)
class SumOfUnits:
    """Units of any kind and scale units, whose slopes come last; as both are evaluated."""

    others: object
    scales: ScaleUnits

    def to(self, like):
        """The same in the dtype of a tensor."""
        return SumOfUnits(self.others.to(like), self.scales.to(like))

    def image_and_slopes(self, x, linear):
        """``linear`` and the units at the points x, and their slopes."""
        image, others = self.others.image_and_slopes(x, linear)
        image, scales = self.scales.image_and_slopes(x, image)
        return image, torch.cat([others, scales], 1)

    def slopes(self, x):
        """The slopes at the points x alone."""
        return torch.cat([self.others.slopes(x), self.scales.slopes(x)], 1)

    def image_and_divergence(self, x, linear, curvature=None):
        """``linear`` and the units at the points x, and with their curvature their divergence."""
        others, scales = (None, None) if curvature is None else curvature
        image, divergence = self.others.image_and_divergence(x, linear, others)
        image, more = self.scales.image_and_divergence(x, image, scales)
        return image, None if curvature is None else divergence + more

    def product(self, slopes, v, linear):
        """``linear`` and the Jacobian of the units times v."""
        others, scales = self._parts(slopes)
        return self.scales.product(scales, v, self.others.product(others, v, linear))

    def jacobian(self, slopes, S):
        """S and the Jacobian of the units, at every point."""
        others, scales = self._parts(slopes)
        return self.scales.jacobian(scales, self.others.jacobian(others, S))

    def mean_jacobian(self, slopes):
        """The Jacobian of the units, averaged over points."""
        others, scales = self._parts(slopes)
        return self.others.mean_jacobian(others) + self.scales.mean_jacobian(scales)

    def curvature(self, P=None):
        """What the divergence is computed with."""
        return self.others.curvature(P), self.scales.curvature(P)

    def divergence(self, curvature, slopes):
        """The divergence of the units, at every point."""
        others, scales = self._parts(slopes)
        found = self.others.divergence(curvature[0], others)
        return found + self.scales.divergence(curvature[1], scales)

    def _parts(self, slopes):
        n = self.scales.n_slopes
        return slopes[:, :-n], slopes[:, -n:]

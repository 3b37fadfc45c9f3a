"""Log-sum-exp units as they are evaluated: with their slopes, divergence, Jacobians and products.

Two pieces, whose weights are opposite, are one hyperbolic tangent. In training, values and
divergence are one operation with the derivatives written down: automatic differentiation passes
over all rows three times as often.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..inversion.hidden_units import HiddenUnits
from ..inversion.invertible import sample_stride
from ..numerics.activations import slope_of_tanh, tanh_

__all__ = ["SoftmaxUnits", "TanhUnits", "centred", "of_centred"]


def centred(weight):
    """Weights of shape (n_units, n_pieces, …), of mean zero over the pieces; tensors or arrays.

    The mean would only add a constant. Of two opposite pieces the first one is returned.
    """
    if weight.shape[1] == 2:
        return (weight[:, :1] - weight[:, 1:]) / 2
    return weight - weight.mean(1, keepdims=True)


def of_centred(gradient):
    """The derivative in what :func:`centred` was given, from that in what it returned; arrays."""
    if gradient.shape[1] == 1:
        opposite = np.repeat(gradient / 2, 2, axis=1)
        np.negative(opposite[:, 1:], out=opposite[:, 1:])
        return opposite
    return gradient - gradient.mean(1, keepdims=True)


@dataclass(frozen=True)
class _Units:
    """Σ_j ±W_jᵀ g_j(β_j (W_j x + b_j)) with responses g_j, row by row; Σ_j n_j rows in all.

    "Slopes" are what derivatives at a point are computed from, of shape (n_samples, n_rows).
    """

    inner: Tensor  # β W, of shape (n_rows, n_features)
    bias: Tensor  # β b, of shape (n_rows,)
    outer: Tensor  # ±W
    root: Tensor  # √β, of shape (n_units, 1)
    sign: Tensor  # of shape (n_units,)

    def to(self, like):
        """The same in the dtype of a tensor."""
        return replace(self, **{name: tensor.to(like) for name, tensor in vars(self).items()})

    @property
    def weight(self):
        """√β W."""
        return (self.inner.unflatten(0, self.shape) / self.root[:, :, None]).flatten(0, 1)

    @property
    def shape(self):
        """Number of units, and of the rows of each."""
        return len(self.root), len(self.inner) // len(self.root)

    def image_and_slopes(self, x, linear):
        """``linear`` and the units at the points x, and their slopes."""
        response = self._response(x)
        return torch.addmm(linear, response.T, self.outer), self._slopes(response).T

    def slopes(self, x):
        """The slopes at the points x alone."""
        return self._slopes(self._response(x)).T

    def _response(self, x):
        # sums over rows are slow, if short
        return self._respond(torch.addmm(self.bias[:, None], self.inner, x.T))

    def image_and_divergence(self, x, linear, curvature=None):
        """``linear`` and the units at the points x, and with their curvature their divergence.

        No gradient is given for x.
        """
        return _Fused.apply(x, linear, self.inner, self.bias, self.outer, curvature, self)

    def hidden_units(self, divide, shift):
        """φ seen from h = β (W x + b), with the inverse of its linear part and its constant."""
        amount = (self.sign[:, None] / self.root).expand(self.shape).flatten()

        def response(h):
            return amount * self._respond(h.T.clone()).T

        def slopes(h):
            return self._slopes(self._respond(h.T.clone())).T

        def pull_back(h):
            at_h = slopes(h)
            return lambda y: amount * self._through(at_h, y)

        return HiddenUnits(
            divide=divide,
            inner=self.inner,
            bias=self.bias,
            outer=self.weight,
            shift=shift,
            response=response,
            pull_back=pull_back,
            mean_slope=lambda h: amount * self._mean_slope(slopes(h[:: sample_stride(h)])),
        )

    def product(self, slopes, v, linear):
        """``linear`` and the Jacobian of the units times v."""
        return torch.addmm(linear, self._through(slopes, v @ self.inner.T), self.outer)

    def mean_jacobian(self, slopes):
        """The Jacobian of the units, averaged over points."""
        signs = self.sign[:, None].expand(self.shape).flatten()
        return self.weight.T @ (signs[:, None] * self._mean_slope(slopes)) @ self.weight


class TanhUnits(_Units):
    """Units of one row, ±w tanh(β (w·x + b)): the slope of one is β w wᵀ (1 − tanh²)."""

    def jacobian(self, slopes, S):
        """S and the Jacobian of the units, at every point."""
        return _weighted_squares(S, self.sign * slopes, self.weight)

    def curvature(self, P=None):
        """What the divergence is computed with: ±β‖w‖², or ±β wᵀPw for the trace of P Dφ."""
        inner = self.inner if P is None else self.inner @ P
        return (inner * self.outer).sum(1)

    def divergence(self, curvature, slopes):
        """The divergence of the units, at every point."""
        return slopes @ curvature

    def _respond(self, h):
        return tanh_(h)

    def _slopes(self, response):
        return slope_of_tanh(response)

    def _through(self, slopes, v):
        return slopes * v

    def _mean_slope(self, slopes):
        return slopes.mean(0).diag()

    def _derivatives(self, of_response, response, curvature, of_divergence):
        """Those in h, in the memory of those in the response, and those in the curvature."""
        slopes, of_curvature = slope_of_tanh(response), None
        if curvature is not None:
            of_response.addcmul_(response, torch.outer(curvature, of_divergence), value=-2)
            of_curvature = slopes @ of_divergence
        return of_response.mul_(slopes), of_curvature


class SoftmaxUnits(_Units):
    """Units of several rows, ±Wᵀ p with p = softmax(β (W x + b)): β Wᵀ (diag p − p pᵀ) W."""

    def jacobian(self, slopes, S):
        """S and the Jacobian of the units, at every point."""
        p, sign, weight = slopes.unflatten(1, self.shape), self.sign[:, None], self.weight
        means = torch.einsum("nhk,hkd->nhd", p, weight.unflatten(0, self.shape))
        products = (sign * means).transpose(1, 2) @ means
        return _weighted_squares(S, (sign * p).flatten(1), weight) - products

    def curvature(self, P=None):
        """What the divergence is computed with: ±β W Wᵀ, or ±β W P Wᵀ for the trace of P Dφ."""
        weight = self.weight if P is None else self.weight @ P
        weight, others = weight.unflatten(0, self.shape), self.weight.unflatten(0, self.shape)
        return self.sign[:, None, None] * (weight @ others.transpose(1, 2))

    def divergence(self, curvature, slopes):
        """The divergence of the units, at every point: ±(Σ p_k ‖w_k‖² − ‖Σ p_k w_k‖²)."""
        p = slopes.T.unflatten(0, self.shape)
        squares = curvature.diagonal(dim1=1, dim2=2)[:, :, None]
        return ((squares - curvature @ p) * p).sum((0, 1))

    def _respond(self, h):
        return torch.softmax(h.unflatten(0, self.shape), dim=1).flatten(0, 1)

    def _slopes(self, response):
        return response

    def _through(self, slopes, v):
        p, v = slopes.unflatten(1, self.shape), v.unflatten(1, self.shape)
        return (p * (v - (p * v).sum(-1, keepdim=True))).flatten(1)

    def _mean_slope(self, slopes):
        p = slopes.unflatten(1, self.shape)
        of_units = torch.diag_embed(p.mean(0)) - torch.einsum("nhk,nhl->hkl", p, p) / len(p)
        return torch.block_diag(*of_units)

    def _derivatives(self, of_response, response, curvature, of_divergence):
        """Those in h, in the memory of those in the response, and those in the curvature."""
        p, of_p = (rows.unflatten(0, self.shape) for rows in (response, of_response))
        of_curvature = None
        if curvature is not None:
            squares = curvature.diagonal(dim1=1, dim2=2)[:, :, None]
            of_p.addcmul_(torch.sub(squares, curvature @ p, alpha=2), of_divergence)
            weighted = p * of_divergence
            of_curvature = -weighted @ p.transpose(1, 2)
            of_curvature.diagonal(dim1=1, dim2=2).add_(weighted.sum(2))
        of_p -= (of_p * p).sum(1, keepdim=True)
        return of_p.mul_(p).flatten(0, 1), of_curvature


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, linear, inner, bias, outer, curvature, units):
        response = units._response(x)
        ctx.units = units
        ctx.save_for_backward(x, inner, outer, curvature, response)
        image = torch.addmm(linear, response.T, outer)
        if curvature is None:
            return image, None
        return image, units.divergence(curvature, units._slopes(response).T)

    @staticmethod
    def backward(ctx, of_image, of_divergence):
        x, inner, outer, curvature, response = ctx.saved_tensors
        of_response = outer @ of_image.T
        of_h, of_curvature = ctx.units._derivatives(of_response, response, curvature, of_divergence)
        of_outer = response @ of_image
        return None, of_image, of_h @ x, of_h.sum(1), of_outer, of_curvature, None


def _weighted_squares(S, amounts, rows):
    """S + Σ_j a_j r_j r_jᵀ for the amounts of every sample."""
    n_features = len(S)
    if len(amounts) < n_features:
        return S + rows.T @ (amounts[:, :, None] * rows)
    squares = (rows[:, :, None] * rows[:, None]).flatten(1)
    return torch.addmm(S.flatten(), amounts, squares).unflatten(1, (n_features, n_features))

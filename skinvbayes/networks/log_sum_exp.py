"""What log-sum-exp units are evaluated with: their softmax, and an equation for their exponents."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..inversion.hidden_units import HiddenUnits
from ..inversion.invertible import sample_stride
from ..numerics.tensors import identity_like

__all__ = ["Constants", "hidden_units_of"]


class Constants(NamedTuple):
    slope: Tensor  # S; of many features, the multiple of the identity in it
    inner: Tensor  # β W
    bias: Tensor  # β b
    outer: Tensor  # ± W
    root: Tensor  # √β, of shape (n_units, 1)

    @property
    def weight(self):
        """√β W."""
        units = self.inner.unflatten(0, (len(self.root), -1))
        return (units / self.root[:, :, None]).flatten(0, 1)

    def to(self, like):
        """The same in the dtype of a tensor."""
        return Constants(*(tensor.to(like) for tensor in self))

    def softmax(self, x, shape):
        """p, flattened, of the units of this shape (n_units, n_pieces)."""
        h = torch.addmm(self.bias[:, None], self.inner, x.T)  # sums over rows are slow, if short
        return torch.softmax(h.unflatten(0, shape), dim=1).flatten(0, 1).T

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


def hidden_units_of(block, k):
    """φ seen from h = β (W x + b)."""
    shape, sign = block.bias.shape, block.sign[:, None]
    inverse = torch.linalg.inv(k.slope) if k.slope.ndim else None
    root = k.root

    def softmax(h):
        return torch.softmax(h.unflatten(1, shape), dim=-1)

    def response(h):
        return (sign * softmax(h) / root).flatten(1)

    def pull_back(h):
        p = softmax(h)

        def product(y):
            v = y.unflatten(1, shape)
            slopes = sign * p * (v - (p * v).sum(-1, keepdim=True))
            return (slopes / root).flatten(1)

        return product

    def mean_slope(h):
        p = softmax(h[:: sample_stride(h)])
        covariance = torch.diag_embed(p.mean(0)) - torch.einsum("nhk,nhl->hkl", p, p) / len(p)
        return torch.block_diag(*(sign[..., None] * covariance / root[..., None]))

    return HiddenUnits(
        divide=lambda v: v / k.slope if inverse is None else v @ inverse,
        inner=k.inner,
        bias=k.bias,
        outer=k.weight,
        shift=block.shift,
        response=response,
        pull_back=pull_back,
        mean_slope=mean_slope,
    )

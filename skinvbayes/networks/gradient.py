"""The default branch: the gradient of a strongly convex function made of log-sum-exp units."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..inversion.invertible import sample_stride
from ..numerics import jacobians
from ..numerics.tensors import INITIAL, identity_like
from .block import PENALTY
from .fused_units import divergence_of_units, units_and_divergence
from .log_sum_exp import Constants, hidden_units_of
from .monotone import MonotoneBlock

__all__ = ["GradientBlock"]

_MAX_LOG_SHARPNESS = 30.0  # or a unit of weight zero could sharpen until it overflows
_LEAST_REST = 1e-6  # of the weights: without any, training could not go on
_ROWS = 2048  # of signals, whose hidden units are in memory at once
_UNLIKELY = 20.0  # less in the exponent, for pieces that a start does not use
_FLOOR_STEPS = 5  # until a and L fit together
_FEW_FEATURES, _SOME_FEATURES = 3, 32  # up to which fewer units, or pieces, do in an inverse


class GradientBlock(MonotoneBlock):
    """The gradient of a strongly convex function.

    φ(x) = S x + Σ_j ±W_jᵀ p_j(x) + t with p_j(x) = softmax(β_j (W_j x + b_j)), where unit j is the
    gradient of (1/β_j) log Σ_k exp β_j (w_jk·x + b_jk), a convex function with K pieces: softplus
    for K = 2. The Hessian of a unit is H = β Wᵀ (diag p − p pᵀ) W, and 0 ≼ H ≼ ½ β WᵀW for weights
    that are centred over the pieces. So with

        S = a I + L Lᵀ + ½ Σ β_j W_jᵀW_j,

    the sum over the units that are subtracted, Dφ ≽ a I holds whatever the weights are. Nothing has
    to be enforced but a itself: with b, a bound of the spectrum, a ≥ b (1 − L)/(1 + L) makes φ an
    iResNet, φ = c (x − f(x)) + t with c = (a + b)/2 and Lip(f) ≤ (b − a)/(b + a) ≤ L.

    L is a matrix up to ``most_features_of_matrices`` features. Above, S is a multiple of the
    identity, with a bound of the norm in place of the matrix ½ Σ β_j W_jᵀW_j. Divergence,
    Jacobian and log-determinant are in closed form. A known part G is added to S.

    Parameters
    ----------
    n_features, hidden_layer_sizes, max_lipschitz, generator
        As in :class:`ResidualBlock`; the one hidden layer has so many units.
    n_pieces : int, default=2
        Number K of pieces of each unit.
    n_subtracted : int, default=None
        Number of the units that are subtracted; half of them by default.

    References
    ----------
    D. Böhning (1992), "Multinomial logistic regression algorithm", Annals of the Institute of
    Statistical Mathematics: the bound of H.
    """

    most_features_of_matrices = 256
    can_be_inverse = True

    def __init__(
        self,
        n_features,
        hidden_layer_sizes,
        max_lipschitz,
        generator,
        *,
        n_pieces=2,
        n_subtracted=None,
    ):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        if len(hidden_layer_sizes) != 1:
            raise ValueError(
                'residual="gradient" has one hidden layer, so hidden_layer_sizes must hold one '
                f"number; got {tuple(hidden_layer_sizes)}."
            )
        (n_units,) = hidden_layer_sizes
        n_subtracted = n_units // 2 if n_subtracted is None else n_subtracted
        sign = torch.ones(n_units, **INITIAL)
        sign[:n_subtracted] = -1
        self.n_pieces, self.n_subtracted = n_pieces, n_subtracted
        self.register_buffer("sign", sign)
        shape = n_units, n_pieces
        dense = n_features <= self.most_features_of_matrices
        amplitude, sharpness = math.sqrt(1.35 / n_units), 0.65 * math.sqrt(n_units)
        if n_pieces > 2:
            amplitude, sharpness = 0.15 * math.sqrt(n_features / n_units), 2.0
        direction = torch.randn(*shape, n_features, generator=generator, **INITIAL)
        self.register_buffer("anchor", torch.randn(shape, generator=generator, **INITIAL))
        factor = torch.eye(n_features, **INITIAL) if dense else torch.ones((), **INITIAL)
        self.factor = nn.Parameter(factor)
        self.weight = nn.Parameter(amplitude * F.normalize(direction, dim=-1))
        self.bias = nn.Parameter(torch.zeros(shape, **INITIAL))
        self.log_sharpness = nn.Parameter(torch.full((n_units,), math.log(sharpness), **INITIAL))

    @classmethod
    def default_hidden_layer_sizes(cls, architecture):
        """Number of units: 4 or 8 for an explicit inverse, else 8 for each feature, 32 to 512."""
        if architecture.explicit_inverse:
            return (4 if architecture.n_features <= _FEW_FEATURES else 8,)
        return super().default_hidden_layer_sizes(architecture)

    @classmethod
    def options(cls, architecture):
        """Number of pieces, and of the units that are subtracted: none in an explicit inverse."""
        if not architecture.explicit_inverse:
            return {"n_pieces": architecture.n_pieces or 2}
        sizes = architecture.hidden_layer_sizes or cls.default_hidden_layer_sizes(architecture)
        most = 32 if architecture.n_features <= _SOME_FEATURES else 64
        n_pieces = min(max(8 * most // sizes[0], 2), most)
        return {"n_pieces": architecture.n_pieces or n_pieces, "n_subtracted": 0}

    @classmethod
    def default_batch_size(cls, architecture):
        """Pairs in each step of Adam."""
        return 256 if architecture.explicit_inverse else 128

    @classmethod
    def default_learning_rate(cls, architecture):
        """First step size of Adam."""
        return 1e-2

    def initialize(self, mean, deviations, slope):
        """Start from the linear guess, with the kinks of the units spread over the signals."""
        with torch.no_grad():
            weight = self.weight.flatten(0, 1).T
            norms = [(rows @ weight).norm(dim=0) for rows in deviations.split(_ROWS)]
            spread = torch.stack(norms).norm(dim=0).view_as(self.bias)
            self.bias.copy_(self.anchor * spread - self.weight @ mean)
            self._set_slope(slope, mean)

    def start_from(self, slope, weight, bias, sharpness):
        """Start with S and the first of the units that are added in closed form.

        Parameters
        ----------
        slope : Tensor of shape (n_features, n_features)
            Symmetric positive definite matrix, in place of S.
        weight : Tensor of shape (n_pieces, n_features)
            The w_k of Σ_k w_k softmax(β (w_k·x + b_k)); there may be fewer than a unit has pieces.
        bias : Tensor of shape (n_pieces,)
            The b_k.
        sharpness : float
            The β.
        """
        with torch.no_grad():
            unit, n = self.n_subtracted, len(weight)
            self.weight[unit, :n], self.weight[unit, n:] = weight, weight.mean(0)
            self.bias[unit, :n], self.bias[unit, n:] = bias, bias.min() - _UNLIKELY / sharpness
            self.log_sharpness[unit] = math.log(sharpness)
            self.shift.add_(weight.mean(0))
            self._set_matrix(slope)

    def blend(self, share):
        """Replace φ by (1 − τ) φ + τ I, in place.

        Parameters
        ----------
        share : float
            The τ, in [0, 1].
        """
        with torch.no_grad():
            rest, identity = 1 - share, identity_like(len(self.shift), self.shift)
            parts = self._parts()
            square = rest * (parts.square + parts.floor * identity) + share * identity
            self.shift.mul_(rest)
            if rest > 0:
                self.bias.mul_(rest)
                self.log_sharpness.sub_(math.log(rest))
            self.weight.mul_(max(rest, _LEAST_REST))
            self._set_matrix(square)

    def add_slope(self, slope):
        """Add a symmetric matrix to S, in place, as far as L Lᵀ stays positive semidefinite."""
        with torch.no_grad():
            self.factor.copy_(_root(self.factor @ self.factor.T + slope))

    def forward(self, x):
        """φ(x)."""
        if x.requires_grad:
            return self.call_and_slopes(x)[0]
        return self._fused(self.current_constants(), x)[0]

    def call_and_slopes(self, x):
        """φ(x), and the softmax p of all units, of shape (n_samples, n_units · n_pieces)."""
        k = self.current_constants()
        p = k.softmax(x, self.bias.shape)
        return self._output(k, x, p), p

    def call_and_divergence(self, x, n_exact):
        """φ(x), and div φ(x) = tr S ± Σ_j (Σ_k p_k ‖w_k‖² − ‖Σ_k p_k w_k‖²)."""
        k = self.current_constants()
        trace = k.trace(x.shape[1])
        trace = trace if self.known is None else trace + self.known.trace()
        curvature = self._curvature(k.weight)
        if x.requires_grad:
            p = k.softmax(x, self.bias.shape)
            return self._output(k, x, p), trace + self._units_trace(p, curvature)
        image, divergence = self._fused(k, x, curvature)
        return image, trace + divergence

    def call_and_logabsdet(self, x, n_exact):
        """φ(x), and log|det Dφ(x)|, see :meth:`InvertibleMap.call_and_logabsdet`."""
        k = self.current_constants()
        p = k.softmax(x, self.bias.shape)
        exact = jacobians.logabsdet(self._jacobian(k, p[:n_exact]), positive_definite=True)
        output = self._output(k, x, p)
        return output, exact if n_exact == len(x) else jacobians.corrected_estimate(
            exact, self._first_order(k, p)
        )

    def jacobian(self, x):
        """Dφ(x), symmetric positive definite."""
        k = self.current_constants()
        return self._jacobian(k, k.softmax(x, self.bias.shape))

    def jacobian_from(self, slopes):
        """Dφ(x) from the softmax at x."""
        return self._jacobian(self.current_constants(), slopes)

    def mean_jacobian(self, x):
        """Dφ averaged over some of the rows."""
        k = self.current_constants()
        return self._mean_jacobian(k, k.softmax(x[:: sample_stride(x)], self.bias.shape))

    def product_from(self, slopes, dtype=None):
        """Multiplication by Dφ(x) from the softmax at x, without forming it; in this precision."""
        slopes = slopes.to(dtype)
        k = self.current_constants().to(slopes)
        p = slopes.unflatten(1, self.bias.shape)

        def product(v):
            q = (v @ k.inner.T).unflatten(1, self.bias.shape)
            q = p * (q - (p * q).sum(-1, keepdim=True))
            linear = k.linear(v) if self.known is None else k.linear(v) + self.known(v)
            return torch.addmm(linear, q.flatten(1), k.outer)

        return product

    @property
    def tolerance(self):
        """Relative residual at which an inversion by products alone stops."""
        return 1e-8 if self.matrix_free else 0.0

    @property
    def matrix_free(self):
        """Whether a part of φ is known: then no matrix is formed."""
        return self.known is not None

    def weight_penalty(self):
        """The sum of the bounds ½ β ‖W‖² of the units' slopes; a share of it for many features."""
        parts = self._parts()
        bounds = _halved(parts.weight, parts.root).square().sum()
        return bounds if self.factor.ndim else PENALTY * bounds

    @torch.no_grad()
    def magnitude(self):
        """Bound of the spectrum of Dφ."""
        parts = self._parts()
        return parts.floor + parts.size + self.known_bounds[1]

    def bounds(self):
        """The bounds (a, b) of the Jacobian's spectrum, of shape () each."""
        parts, n = self._parts(), self.n_subtracted
        low, high = (parts.floor + bound for bound in self.known_bounds)
        if not self.factor.ndim:
            lowest = parts.square
            added = 0.0  # before torch 2.5, matrices without rows have no norm
            if n < len(parts.weight):
                units = _halved(parts.weight[n:], parts.root[n:])
                added = torch.linalg.matrix_norm(units, 2) ** 2
            highest = parts.square + parts.lifted + added
        else:
            units = _halved(parts.weight, parts.root)
            lowest = torch.linalg.eigvalsh(parts.square)[0].clamp(min=0)
            highest = torch.linalg.eigvalsh(parts.square + units.T @ units)[-1]
        return low + lowest, high + torch.minimum(highest, parts.size)

    def hidden_units(self):
        """The block seen from the pieces of its units, if they are fewer than features, or None."""
        n_pieces, n_features = self.weight.flatten(0, 1).shape
        if n_pieces >= n_features or self.matrix_free:
            return None
        return hidden_units_of(self, self.current_constants())

    def constants(self):
        """S, and the weights between signals and units."""
        parts = self._parts()
        floor, beta = parts.floor, parts.root.square()
        if self.factor.ndim:
            floor = floor * identity_like(len(self.factor), floor)
        return Constants(
            slope=parts.square + parts.lifted + floor,
            inner=(beta[:, :, None] * parts.weight).flatten(0, 1),
            bias=(beta * self.bias).flatten(),
            outer=(self.sign[:, None, None] * parts.weight).flatten(0, 1),
            root=parts.root,
        )

    def _parts(self):
        """What the parameters stand for: centred weights, the parts of S, and the floor a."""
        # the mean over the pieces would only add to t
        weight = self.weight - self.weight.mean(1, keepdim=True)
        root = (self.log_sharpness / 2).clamp(max=_MAX_LOG_SHARPNESS / 2).exp()[:, None]
        n = self.n_subtracted
        # a variance is at most the largest squared distance, and at most half of their sum
        size = (root[n:] ** 2 * weight[n:].square().sum(2)).amax(1).sum()
        if self.n_pieces == 2:
            size = torch.minimum(size, _square_norm(_halved(weight[n:], root[n:])))
        square = self.factor @ self.factor.T if self.factor.ndim else self.factor**2
        lifted = 0.0
        if n > 0:
            lift = _halved(weight[:n], root[:n])
            lifted = lift.T @ lift if self.factor.ndim else _square_norm(lift)
        size = size + (square + lifted).norm()
        low, high = self.known_bounds
        floor = (self._ratio * (high + size) - low) / (1 - self._ratio)
        return _Parts(weight, root, square, lifted, floor.clamp(min=1e-12), size)

    def _set_slope(self, slope, mean):
        """L such that Dφ at the mean of the signals is the slope, as far as possible."""
        self.factor.zero_()
        if self.factor.ndim:
            known = self.jacobian(mean[None])[0]
            slope = slope if slope.ndim else slope * identity_like(len(known), known)
            self.factor.copy_(_root(slope - known))
        else:
            slope = slope.diagonal().mean() if slope.ndim else slope
            parts = self._parts()
            self.factor.copy_((slope - parts.lifted - parts.floor).clamp(min=1e-3 * slope).sqrt())

    def _set_matrix(self, matrix):
        """L such that L Lᵀ + a I is this matrix, as far as possible; a depends on L, but little."""
        for _ in range(_FLOOR_STEPS):
            floor = self._parts().floor
            self.factor.copy_(_root(matrix - floor * identity_like(len(matrix), matrix), 0.0))

    def _fused(self, k, x, curvature=None):
        """φ(x), and with the curvature the divergence of its units; not differentiable in x."""
        linear = k.linear(x) + self.shift
        linear = linear if self.known is None else linear + self.known(x)
        return units_and_divergence(x, linear, k, self.bias.shape, curvature)

    def _output(self, k, x, p):
        image = torch.addmm(k.linear(x) + self.shift, p, k.outer)
        return image if self.known is None else image + self.known(x)

    def _jacobian(self, k, p):
        """S ± Σ_j β_j W_jᵀ (diag p − p pᵀ) W_j, of every row."""
        S = k.matrix(len(self.shift))
        S = S if self.known is None else S + self.known.matrix(S)
        units, p = k.weight.unflatten(0, self.bias.shape), p.unflatten(1, self.bias.shape)
        if self.n_pieces == 2:  # p (1 − p) (w_1 − w_2)(w_1 − w_2)ᵀ
            slopes = self.sign * p[:, :, 0] * p[:, :, 1]
            return _weighted_squares(S, slopes, units[:, 0] - units[:, 1])
        slopes = (self.sign[:, None] * p).flatten(1)
        means = torch.einsum("nhk,hkd->nhd", p, units)
        products = (self.sign[:, None] * means).transpose(1, 2) @ means
        return _weighted_squares(S, slopes, k.weight) - products

    def _mean_jacobian(self, k, p):
        """The average of Dφ over rows."""
        weight = k.weight
        p, W = p.unflatten(1, self.bias.shape), weight.unflatten(0, self.bias.shape)
        slopes = torch.diag_embed(p.mean(0)) - torch.einsum("nhk,nhl->hkl", p, p) / len(p)
        units = (self.sign[:, None, None] * slopes @ W).flatten(0, 1)
        S = k.matrix(len(self.shift)) + weight.T @ units
        return S if self.known is None else S + self.known.matrix(S)

    def _curvature(self, weight):
        """±W_jW_jᵀ of every unit; of two pieces ±‖w_j1 − w_j2‖² says all."""
        weight = weight.unflatten(0, self.bias.shape)
        if self.n_pieces == 2:
            return self.sign * (weight[:, 0] - weight[:, 1]).square().sum(1)
        return self.sign[:, None, None] * (weight @ weight.transpose(1, 2))

    def _units_trace(self, p, curvature):
        """±(Σ p_k ‖w_k‖² − ‖Σ p_k w_k‖²), summed over the units."""
        p = p.unflatten(1, self.bias.shape).permute(1, 2, 0)
        return divergence_of_units(curvature, p)

    def _first_order(self, k, p):
        """tr(P Dφ(x)) with P, the inverse of the averaged Jacobian, held fixed."""
        with torch.no_grad():
            lower = torch.linalg.cholesky(torch.linalg.inv(self._mean_jacobian(k, p)))
        slope = k.matrix(len(self.shift))
        curvature = self._curvature(k.weight @ lower)
        return (lower * (slope @ lower)).sum() + self._units_trace(p, curvature)


class _Parts(NamedTuple):
    weight: Tensor  # W
    root: Tensor  # √β, of shape (n_units, 1)
    square: Tensor  # L Lᵀ
    lifted: Tensor | float  # ½ Σ β_j W_jᵀW_j of what is subtracted; or what bounds its norm
    floor: Tensor  # a
    size: Tensor  # bound of the spectrum of all but a I


def _halved(weight, root):
    """W √(β/2) of some units, of which the Gram matrix bounds the slopes."""
    return (0.5**0.5 * root[:, :, None] * weight).flatten(0, 1)


def _weighted_squares(S, amounts, rows):
    """S + Σ_j a_j r_j r_jᵀ for the amounts of every sample."""
    n_features = len(S)
    if len(amounts) < n_features:
        return S + rows.T @ (amounts[:, :, None] * rows)
    squares = (rows[:, :, None] * rows[:, None]).flatten(1)
    return torch.addmm(S.flatten(), amounts, squares).unflatten(1, (n_features, n_features))


def _square_norm(matrix):
    """An upper bound of ‖M‖², the Frobenius norm of M Mᵀ or MᵀM."""
    gram = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    return gram.norm()


def _root(matrix, least=1e-6):
    """A matrix L with L Lᵀ = M, or nearly so: columns of length zero would never be trained."""
    values, axes = torch.linalg.eigh((matrix + matrix.T) / 2)
    return axes * values.clamp(min=least).sqrt()

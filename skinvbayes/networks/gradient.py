"""The default branch: the gradient of a strongly convex function."""

import math
from functools import partial
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ..inversion.hidden_units import HiddenUnits
from ..inversion.invertible import sample_stride
from ..numerics import jacobians
from ..numerics.activations import (
    MAX_LOG_SHARPNESS,
    softplus,
    softplus_with_slope,
    softplus_with_slope_,
)
from .block import add_identity
from .fused import gradient_branch_and_divergence
from .monotone import MonotoneBlock, with_derivatives
from .spectral_shift import SpectralShift

__all__ = ["GradientBlock"]

_NEGLIGIBLE = 0.02  # share of the variation of all slopes that a correction may leave out


class GradientBlock(MonotoneBlock):
    """The gradient of a strongly convex function: the one-sided branch.

    φ(x) = S x − W₊ᵀσ(W₊x + b₊) + W₋ᵀσ(W₋x + b₋) + t with S symmetric and σ(h) = softplus(βh)/β, so
    that 0 ≤ σ' ≤ 1; the sharpness β is learned for each unit. The Jacobian is symmetric with its
    spectrum in [a, b], a = λ_min(S − W₊ᵀW₊) and b = λ_max(S + W₋ᵀW₋): φ = c (x − f(x)) + t with
    c = (a + b)/2 and Lip(f) ≤ (b − a)/(b + a). Where that exceeds L, a multiple of the identity is
    added to S, the least that respects it; all else stays free.

    S is a full matrix up to ``DENSE_SLOPE`` features and a multiple of the identity above.
    Divergence and Jacobian are in closed form. In training mode the bound is exact in every fourth
    step, see :class:`skinvbayes.networks.spectral_shift.SpectralShift`.

    With a known part G, φ(x) = G x + s x − …, and a and b are those of G more.
    """

    DENSE_SLOPE = most_features_of_matrices = 256

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        if len(hidden_layer_sizes) != 1:
            raise ValueError(
                'residual="gradient" has one hidden layer, so hidden_layer_sizes must hold one '
                f"number; got {tuple(hidden_layer_sizes)}."
            )
        n_units = hidden_layer_sizes[0]
        amplitude = math.sqrt(0.6 / n_units)
        direction = F.normalize(torch.randn(n_units, n_features, generator=generator))
        sign = torch.ones(n_units)
        sign[: n_units // 2] = -1
        self.register_buffer("sign", sign)
        self.register_buffer("anchor", torch.randn(n_units, generator=generator))
        dense = n_features <= self.DENSE_SLOPE
        self.slope = nn.Parameter(torch.eye(n_features) if dense else torch.ones(()))
        self.weight = nn.Parameter(amplitude * direction)
        self.bias = nn.Parameter(torch.zeros(n_units))
        self.log_sharpness = nn.Parameter(torch.full((n_units,), math.log(1.5 / amplitude)))
        self._followed_shift = SpectralShift(self._ratio, self.SMOOTHING, n_units // 2)

    def train(self, mode=True):
        """Switch to training mode, or back, and forget the eigenvectors that were followed."""
        self._followed_shift.forget()
        return super().train(mode)

    def initialize(self, mean, deviations, slope):
        """Start from the linear guess, with the kinks of the units spread over the signals."""
        with torch.no_grad():
            scalar = slope.ndim and not self.slope.ndim
            self.slope.copy_(slope.diagonal().mean() if scalar else slope)
            spread = (deviations @ self.weight.T).norm(dim=0)
            self.bias.copy_(-(self.weight @ mean + self.anchor * spread))

    def forward(self, x):
        """φ(x)."""
        k = self.current_constants()
        return self._output(k, x, softplus(k.preactivation(x)))

    def call_and_divergence(self, x, n_exact):
        """φ(x), and div φ(x) = tr S ± Σ_j σ'(h_j) ‖w_j‖²."""
        if self._is_inner_loop(x):
            return self._fused_call_and_divergence(x)
        k = self.current_constants()
        response, unit_slopes = softplus_with_slope(k.preactivation(x))
        trace = k.slope.trace() if k.slope.ndim else x.shape[1] * k.slope
        trace = trace if self.known is None else trace + self.known.trace()
        units = unit_slopes @ (self.sign * self.weight.square().sum(1))
        return self._output(k, x, response), trace + units

    def call_and_logabsdet(self, x, n_exact):
        """φ(x), and log|det Dφ(x)|, see :meth:`InvertibleMap.call_and_logabsdet`.

        In the space of the units if that is smaller: det(s I_d + WᵀDW) = s^d det(I_h + D W Wᵀ/s).
        """
        k = self.current_constants()
        response, unit_slopes = softplus_with_slope(k.preactivation(x))
        D, (n_units, n_features) = self.sign * unit_slopes, self.weight.shape
        if k.slope.ndim or n_features <= n_units or self.matrix_free:
            J = self._jacobian(k.slope, D[:n_exact])
            exact = jacobians.logabsdet(J, positive_definite=True)
        else:
            gram = self.weight @ self.weight.T / k.slope
            small = add_identity(D[:n_exact, :, None] * gram)
            exact = n_features * k.slope.log() + jacobians.logabsdet(small)
        output = self._output(k, x, response)
        return output, exact if n_exact == len(x) else jacobians.corrected_estimate(
            exact, self._first_order(k, D)
        )

    def _first_order(self, k, D):
        """tr(P Dφ(x)) with P, the inverse of the averaged Jacobian, held fixed."""
        W, n_features = self.weight, self.weight.shape[1]
        with torch.no_grad():
            mean = D.mean(0)
            if k.slope.ndim or n_features <= len(W) or self.matrix_free:
                P = torch.linalg.inv(self._jacobian(k.slope, mean[None])[0])
                WP, trace = W @ P, P.trace()
            else:  # P = (I − Wᵀ M W)/s with M = (s I + D̄ W Wᵀ)⁻¹ D̄
                gram, identity = W @ W.T, torch.eye(len(W)).to(W)
                M = torch.linalg.inv(k.slope * identity + mean[:, None] * gram) * mean
                WP = (W - (gram @ M) @ W) / k.slope
                trace = (n_features - (M.T * gram).sum()) / k.slope
            squares = (WP * W).sum(1)  # w_jᵀ P w_j, whose derivative is 2 P w_j
        linear = (k.slope * P).sum() if k.slope.ndim else k.slope * trace
        return linear + D @ (2 * (WP * W).sum(1) - squares)

    def call_and_slopes(self, x):
        """φ(x), and the signed slopes of the units, ± σ'(h), of shape (n_samples, n_units)."""
        k = self.current_constants()
        response, unit_slopes = softplus_with_slope_(k.preactivation(x))
        return self._output(k, x, response), unit_slopes.mul_(self.sign)

    def jacobian(self, x):
        """Dφ(x) = S − W₊ᵀ diag(σ') W₊ + W₋ᵀ diag(σ') W₋, symmetric positive definite."""
        k = self.current_constants()
        return self._jacobian(k.slope, self._unit_slopes(k.preactivation(x)))

    def jacobian_from(self, slopes):
        """Dφ(x) from the slopes at x."""
        return self._jacobian(self.current_constants().slope, slopes)

    def product_from(self, slopes, dtype=None):
        """Multiplication by Dφ(x) from the slopes at x, without forming it; in this precision."""
        slopes = slopes.to(dtype)
        slope, weight = self.current_constants().slope.to(slopes), self.weight.to(slopes)

        def product(v):
            linear = v @ slope if slope.ndim else slope * v
            linear = linear if self.known is None else linear + self.known(v)
            return torch.addmm(linear, (v @ weight.T).mul_(slopes), weight)

        return product

    def corrected_inverse(self, inverse, x):
        """P (2 I − Dφ P), with most of it computed beforehand.

        Units that hardly matter, often half of them, take their average slope over the reference.
        """
        k, units = self.current_constants(), self.weight @ inverse
        slopes = self._unit_slopes(k.preactivation(x[:: sample_stride(x)]))
        spread = slopes.std(0, correction=0)
        matter = _all_but_negligible(spread * (units * self.weight).sum(1))
        average = slopes.mean(0).index_fill_(0, matter, 0)
        known = self._jacobian(k.slope, average[None])[0]
        fixed, units = 2 * inverse - inverse @ known @ inverse, units[matter]

        def product(rows, slopes):
            slopes = slopes.index_select(1, matter)
            return torch.addmm(rows @ fixed, (rows @ units.T).mul_(slopes), units, alpha=-1)

        return product

    def adjoint_product(self, x):
        """Multiplication of rows by Dφ(x), which is symmetric."""
        return self.product_from(self._unit_slopes(self.current_constants().preactivation(x)))

    def mean_jacobian(self, x):
        """Dφ averaged over some of the rows."""
        k = self.current_constants()
        slopes = self._unit_slopes(k.preactivation(x[:: sample_stride(x)]))
        return self._jacobian(k.slope, slopes.mean(0)[None])[0]

    @property
    def tolerance(self):
        """Relative residual at which an inversion by products alone stops."""
        return 1e-8 if self.matrix_free else 0.0

    @property
    def matrix_free(self):
        """Whether a part of φ is known: then no matrix is formed."""
        return self.known is not None

    @torch.no_grad()
    def magnitude(self):
        """Size of S, its longest column, and of W₊ᵀW₊ + W₋ᵀW₋, its largest entry."""
        slope = self.current_constants().slope
        linear = slope.norm(dim=0).max() if slope.ndim else slope
        return linear + self.weight.square().sum(0).max() + self.known_bounds[1]

    def hidden_units(self):
        """The block seen from its units, if it has fewer of them than features, or None."""
        n_units, n_features = self.weight.shape
        if n_units >= n_features or self.matrix_free:
            return None
        k = self.current_constants()
        inverse = torch.linalg.inv(k.slope) if k.slope.ndim else None
        return HiddenUnits(
            divide=lambda v: v / k.slope if inverse is None else v @ inverse,
            inner=k.inner.T,
            bias=k.bias,
            outer=k.outer.T,
            shift=self.shift,
            response=softplus,
            pull_back=lambda h: partial(torch.mul, torch.sigmoid(h)),
            mean_slope=lambda h: torch.diag(torch.sigmoid(h[:: sample_stride(h)]).mean(0)),
        )

    def constants(self):
        """S, and the weights between signals and units."""
        sharpness = self.log_sharpness.clamp(max=MAX_LOG_SHARPNESS).exp()
        transposed = self.weight.T.contiguous()  # products of few features are faster with it
        inner, outer = transposed * sharpness, transposed * (self.sign / sharpness)
        return _GradientConstants(self._slope(), inner, sharpness * self.bias, outer)

    def _output(self, k, x, response):
        image = torch.addmm(k.linear(x, self.shift), response, k.outer.T)
        return image if self.known is None else image + self.known(x)

    def _unit_slopes(self, h):
        return torch.sigmoid(h) * self.sign

    def _jacobian(self, slope, D):
        """S + Wᵀ D W; of many rows as combinations of the matrices w_j w_jᵀ."""
        W, n_features = self.weight, self.weight.shape[1]
        S = slope if slope.ndim else slope * torch.eye(n_features).to(W)
        S = S if self.known is None else S + self.known.matrix(W)
        if len(D) < n_features:
            return S + W.T @ (D[:, :, None] * W)
        transposed = W.T.contiguous()
        squares = (transposed[:, None] * transposed).flatten(0, 1)
        return torch.addmm(S.flatten(), D, squares.T).unflatten(1, (n_features, n_features))

    def _fused_call_and_divergence(self, x):
        return gradient_branch_and_divergence(
            *(x, self.slope, self.weight, self.bias),
            *(self.log_sharpness, self.sign, self.shift, self._shift_with_derivatives()),
        )

    def _slope(self):
        """S with its spectral shift, the least one for which (b − a)/(b + a) ≤ L."""
        slope = (self.slope + self.slope.T) / 2 if self.slope.ndim else self.slope
        found = self._shift_with_derivatives()
        if found is None:
            return slope
        raised, *derivatives = found
        pairs = zip((self.slope, self.weight), derivatives, strict=True)
        raised = with_derivatives(slope.new_tensor(raised), pairs)
        return slope + (raised * torch.eye(len(slope)).to(slope) if slope.ndim else raised)

    def _shift_with_derivatives(self):
        """The spectral shift of S and its derivatives; None where no shift is needed."""
        raised = self._followed_shift.followed if self.training else self._followed_shift.exact
        found = raised(*self._arrays())
        if found is None:
            return None
        raised, *derivatives = found
        return raised, *(torch.as_tensor(part).to(self.weight) for part in derivatives)

    def spectral_shift(self):
        """The multiple of the identity that is added to S."""
        return self._shift_for(*self.free_bounds())

    def free_bounds(self):
        """The lowest eigenvalues, a first, and b, without the spectral shift."""
        return [
            torch.as_tensor(end).to(self.slope)
            for end in self._followed_shift.ends(*self._arrays())
        ]

    def _arrays(self):
        slope, weight = (tensor.detach().cpu().numpy() for tensor in (self.slope, self.weight))
        return slope, weight, self.known_bounds


def _all_but_negligible(sizes):
    """Indices of the largest numbers: the others add up to a negligible share of the sum."""
    ascending, order = sizes.sort()
    return order[ascending.cumsum(0) >= _NEGLIGIBLE * ascending.sum()]


class _GradientConstants(NamedTuple):
    slope: torch.Tensor  # S
    inner: torch.Tensor  # (β W)ᵀ
    bias: torch.Tensor  # β b
    outer: torch.Tensor  # (± W/β)ᵀ

    def linear(self, v, shift):
        """S v + shift."""
        if self.slope.ndim:
            return torch.addmm(shift, v, self.slope)
        return torch.addcmul(shift, self.slope, v)

    def preactivation(self, x):
        """h = β (W x + b)."""
        return torch.addmm(self.bias, x, self.inner)

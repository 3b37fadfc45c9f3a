"""The classical branch, a multilayer perceptron."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from ..inversion.hidden_units import HiddenUnits
from ..inversion.invertible import sample_stride
from ..numerics import jacobians
from ..numerics.activations import slope_of_tanh, tanh_, tanh_with_slope
from ..numerics.symmetric import NormTracker, normalize
from ..numerics.tensors import INITIAL, identity_like
from .block import ResidualBlock, add_identity
from .fused_mlp import mlp_branch_and_divergence

__all__ = ["MLPBlock"]


class MLPBlock(ResidualBlock):
    """The classical branch, f = L · W_k tanh(… tanh(W_1 x + b_1)) with every ‖W_i‖₂ ≤ 1.

    The certificate is the product of the norms. A weight is divided by its norm only where that
    exceeds one. In training mode the norms are followed from step to step, see
    :class:`skinvbayes.numerics.symmetric.NormTracker`; else they are exact.
    """

    @classmethod
    def default_hidden_layer_sizes(cls, architecture):
        """Two hidden layers of the default width."""
        return 2 * super().default_hidden_layer_sizes(architecture)

    def __init__(self, n_features, hidden_layer_sizes, max_lipschitz, generator):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        sizes = [n_features, *hidden_layer_sizes, n_features]
        shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.weights = nn.ParameterList(
            torch.randn(shape, generator=generator, **INITIAL) / math.sqrt(sum(shape))
            for shape in shapes
        )
        self.biases = nn.ParameterList(
            0.5 * torch.randn(shape[0], generator=generator, **INITIAL) for shape in shapes[:-1]
        )
        self._trackers = [NormTracker() for _ in shapes]

    def train(self, mode=True):
        """Switch to training mode, or back, and forget the singular vectors that were followed."""
        self._trackers = [NormTracker() for _ in self.weights]
        return super().train(mode)

    def residual(self, x):
        """f(x)."""
        *inner, last = self.current_constants()
        return self.max_lipschitz * self._activations(x, inner)[-1] @ last.T

    def forward(self, x):
        """φ(x)."""
        *inner, last = self.current_constants()
        return self._output(x, self._activations(x, inner)[-1], last)

    def call_and_divergence(self, x, n_exact):
        """φ(x), and div φ(x); with two hidden layers d₂ᵀ (W₂ ∘ (W₁W₃)ᵀ) d₁ gives its trace.

        In the inner loop of training it is an estimate, see the method of ``InvertibleMap``.
        """
        if len(self.biases) != 2:
            return super().call_and_divergence(x, n_exact)
        if self._is_inner_loop(x):
            norms = [t.norm(W) for t, W in zip(self._trackers, self.weights, strict=True)]
            return mlp_branch_and_divergence(
                *(x, self.weights, self.biases, norms),
                *(self.log_scale, self.shift, self.max_lipschitz, n_exact),
            )
        first, second, third = self.current_constants()
        hidden, slope_1 = tanh_with_slope(F.linear(x, first, self.biases[0]))
        last, slope_2 = tanh_with_slope(F.linear(hidden, second, self.biases[1]))
        trace = (slope_2 @ (second * (third.T @ first.T)) * slope_1).sum(1)
        divergence = self.scale() * (x.shape[1] - self.max_lipschitz * trace)
        return self._output(x, last, third), divergence

    def call_and_logabsdet(self, x, n_exact):
        """φ(x), and log|det Dφ(x)|, see :meth:`InvertibleMap.call_and_logabsdet`.

        In the space of the first units if that is smaller: det(I_d − L (W_k … W_2) D_1 W_1) =
        det(I_h − L W_1 (W_k … W_2) D_1). The approximation is that of f = 0.
        """
        weights, log_scale = self.current_constants(), x.shape[1] * self.log_scale
        activations = self._activations(x, weights[:-1])
        exact = self._logabsdet(weights, [slope_of_tanh(a[:n_exact]) for a in activations])
        output = self._output(x, activations[-1], weights[-1])
        return output, exact if n_exact == len(x) else jacobians.corrected_estimate(
            exact, log_scale.expand(len(x))
        )

    def _logabsdet(self, weights, slopes):
        *inner, last = weights
        slopes = [slope[:, None, :] for slope in slopes]
        if last.shape[0] <= len(inner[0]):
            return jacobians.logabsdet(self._jacobian_transposed(weights, slopes))
        product = inner[0] @ last
        for weight, slope in zip(inner[:0:-1], slopes[:0:-1], strict=True):
            product = (product * slope) @ weight
        small = add_identity(product * (-self.max_lipschitz * slopes[0]))
        return last.shape[0] * self.log_scale + jacobians.logabsdet(small)

    def lipschitz(self):
        """L times the product of the norms of the normalised weights."""
        norms = [torch.linalg.matrix_norm(weight, 2) for weight in self.weights]
        return self.max_lipschitz * torch.stack(norms).clamp(max=1).prod()

    def jacobian(self, x):
        """Dφ(x) = c (I − L W_k D_{k−1} W_{k−1} … D_1 W_1)."""
        weights = self.current_constants()
        activations = self._activations(x, weights[:-1])
        slopes = [slope_of_tanh(a)[:, None, :] for a in activations]
        return self._jacobian_transposed(weights, slopes).transpose(1, 2)

    def mean_jacobian(self, x):
        """Dφ averaged over some of the rows."""
        first, *middle, last = self.current_constants()
        slopes = [
            slope_of_tanh(a) for a in self._activations(x[:: sample_stride(x)], [first, *middle])
        ]
        residual = self.max_lipschitz * last @ _mean_slope(middle, slopes) @ first
        return self.scale() * (identity_like(len(residual), residual) - residual)

    def adjoint_product(self, x):
        """Multiplication of rows by Dφ(x)ᵀ."""
        form = self._units_equation()
        pull_back, scale = form.pull_back(form.preactivation(x)), self.scale()
        return lambda v: torch.addmm(scale * v, pull_back(v @ form.outer.T), form.inner)

    def hidden_units(self):
        """The block seen from its first units, if these are fewer than features, or None."""
        return self._units_equation() if len(self.biases[0]) < len(self.shift) else None

    def _units_equation(self):
        first, *middle, last = self.current_constants()
        bias, *biases = self.biases
        scale = self.scale()

        def activations(h):
            values = [tanh_(h.clone())]
            for weight, bias in zip(middle, biases, strict=True):
                values.append(tanh_(F.linear(values[-1], weight, bias)))
            return values

        def pull_back(h):
            slopes = [slope_of_tanh(a) for a in activations(h)]

            def product(y):
                for weight, slope in zip(middle[::-1], slopes[:0:-1], strict=True):
                    y = (y * slope) @ weight
                return y * slopes[0]

            return product

        def mean_slope(h):
            return _mean_slope(
                middle, [slope_of_tanh(a) for a in activations(h[:: sample_stride(h)])]
            ).T

        return HiddenUnits(
            divide=lambda v: v / scale,
            inner=first,
            bias=bias,
            outer=-self.max_lipschitz * scale * last.T,
            shift=self.shift,
            response=lambda h: activations(h)[-1],
            pull_back=pull_back,
            mean_slope=mean_slope,
        )

    def constants(self):
        """The weights, divided by their norms where these exceed one."""
        if not self.training:
            return [normalize(weight) for weight in self.weights]
        pairs = zip(self._trackers, self.weights, strict=True)
        return [tracker.normalize(weight) for tracker, weight in pairs]

    def _activations(self, x, inner):
        """The values of every hidden layer."""
        activations = []
        for weight, bias in zip(inner, self.biases, strict=True):
            x = tanh_(F.linear(x, weight, bias))
            activations.append(x)
        return activations

    def _output(self, x, activation, last):
        scale = self.scale()
        last = (-self.max_lipschitz * scale) * last.T
        return torch.addmm(torch.addcmul(self.shift, x, scale), activation, last)

    def _jacobian_transposed(self, weights, slopes):
        """Dφ(x)ᵀ: row i is the derivative of φ along the i-th coordinate."""
        directions = (
            slopes[0] * weights[0].T.contiguous()
        )  # contiguous: everything after it is faster
        for weight, slope in zip(weights[1:-1], slopes[1:], strict=True):
            directions = slope * F.linear(directions, weight)
        return self.scale() * add_identity(F.linear(directions, -self.max_lipschitz * weights[-1]))


def _mean_slope(middle, slopes):
    """D_k W_k … W_2 D_1 averaged over the rows, of which slopes are the diagonals."""
    first, *rest = slopes
    if not rest:
        return torch.diag(first.mean(0))
    (weight, *middle), (slope, *rest) = middle, rest
    if not rest:  # the entries are those of W_2, each times a product of two slopes
        return weight * (slope.T @ first / len(first))
    product = slope[:, :, None] * weight * first[:, None, :]
    for weight, slope in zip(middle, rest, strict=True):
        product = slope[:, :, None] * (weight @ product)
    return product.mean(0)

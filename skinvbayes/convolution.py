"""The gradient branch for images: learned filters, the same at every pixel."""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from .blocks import MonotoneBlock

__all__ = ["ConvBlock"]


class ConvBlock(MonotoneBlock):
    """The gradient of a strongly convex function of images, by convolution.

    φ(x) = G x + s x + Σ_j w_jᵀ * ψ_j(w_j * x) + t with a known part G, filters w_j of mean zero
    that are applied wherever they fit into the image, and

        ψ_j(h) = (ν_j + μ_j) h / √(1 + (β_j h)²) − μ_j h / √(1 + (γ_j h)²),  β_j ≥ γ_j:

    its slope is ν_j at zero, falls to no less than −μ_j and vanishes at infinity, so that small
    differences between pixels are smoothed and large ones, edges, are left alone. Neither the
    number of parameters nor the bounds depend on the size of the images: they serve images of any.

    The Jacobian is symmetric with its spectrum in [a, b],

        a = λ_min(G) + s − max_ω Σ_j μ_j |ŵ_j(ω)|²,  b = λ_max(G) + s + max_ω Σ_j ν_j |ŵ_j(ω)|²,

    as the filters where they fit are a part of a convolution in the whole plane. The maxima over
    all frequencies are bounded by those over a grid (Ehlich and Zeller). s is raised as far as
    (b − a)/(b + a) ≤ L demands.

    Parameters
    ----------
    n_features : int
        Number of pixels.
    hidden_layer_sizes : tuple of int
        Number of filters.
    max_lipschitz : float
        The bound L to respect, in (0, 1).
    generator : torch.Generator
        Source of the filters beyond those of a cosine transform.
    image_shape : tuple of int
        Height and width of the images.
    kernel_size : int
        Height and width of the filters.

    References
    ----------
    S. Roth and M. J. Black (2009), "Fields of Experts", International Journal of Computer Vision;
    A. Goujon, S. Neumayer and M. Unser (2024), "Learning weakly convex regularizers for convergent
    image-reconstruction algorithms", SIAM Journal on Imaging Sciences; H. Ehlich and K. Zeller
    (1964), "Schwankung von Polynomen zwischen Gitterpunkten", Mathematische Zeitschrift.
    """

    GRID = 128  # frequencies along each axis

    def __init__(
        self,
        n_features,
        hidden_layer_sizes,
        max_lipschitz,
        generator,
        *,
        image_shape,
        kernel_size,
    ):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        self.image_shape = tuple(image_shape)
        del self.log_scale  # s takes its place
        (n_filters,) = hidden_layer_sizes
        self.shift = nn.Parameter(torch.zeros(()))
        self.slope = nn.Parameter(torch.zeros(()))
        self.filters = nn.Parameter(_first_filters(n_filters, kernel_size, generator))
        self.log_steep = nn.Parameter(torch.full((n_filters,), math.log(6.0)))
        self.log_falling = nn.Parameter(torch.full((n_filters,), math.log(0.7)))
        self.log_sharpness = nn.Parameter(torch.full((n_filters,), math.log(30.0)))
        self.log_ratio = nn.Parameter(torch.full((n_filters,), math.log(6.0)))

    matrix_free = True
    most_features_of_matrices = 0

    def initialize(self, mean, deviations, slope):
        """Keep the filters; the identity is in G or, without it, in s."""
        with torch.no_grad():
            self.slope.fill_(0.0 if self.known_bounds[1] else 1.0)

    def forward(self, x):
        """φ(x)."""
        k = self._current_constants()
        h = self._features(k, x)
        return self._output(k, x, _response(k, h)[0])

    def call_and_divergence(self, x):
        """φ(x), and div φ(x) = tr G + s n + Σ_j ‖w_j‖² Σ ψ_j'(w_j * x)."""
        k = self._current_constants()
        value, slopes = _response(k, self._features(k, x))
        trace = x.shape[1] * k.slope + (0.0 if self.known is None else self.known.trace())
        units = slopes.sum((2, 3)) @ k.filters.square().sum((1, 2, 3))
        return self._output(k, x, value), trace + units

    def call_and_logabsdet(self, x, n_exact):
        """Not to be had without matrices."""
        raise ValueError(
            'The log-determinant loss needs matrices, which residual="conv" does not form: take '
            'DivergenceRegularizedINN or ReconstructionINN, or residual="gradient".'
        )

    def call_and_slopes(self, x):
        """φ(x), and the slopes ψ_j'(w_j * x), of shape (n_samples, n_filters, height, width)."""
        k = self._current_constants()
        value, slopes = _response(k, self._features(k, x))
        return self._output(k, x, value), slopes

    def jacobian(self, x):
        """Dφ(x), from as many products as there are pixels; for small images."""
        identity = torch.eye(x.shape[1]).to(x)
        slopes = self.call_and_slopes(x)[1]
        return torch.stack(
            [self.product_from(s.expand(len(identity), *s.shape))(identity) for s in slopes]
        )

    def product_from(self, slopes):
        """Multiplication by Dφ(x) from the slopes at x."""
        k = self._current_constants()
        filters, slope = k.filters.to(slopes), float(k.slope)

        @torch.no_grad()
        def product(v):
            h = F.conv2d(v.unflatten(1, self.image_shape)[:, None], filters)
            image = _Adjoint.apply(h.mul_(slopes), filters).add_(v, alpha=slope)
            return image if self.known is None else image.add_(self.known(v))

        return product

    def constants(self):
        """s, the filters and what makes up ψ."""
        slope, filters = self._slope(), self._filters()[:, None]
        steep, falling, sharpness, ratio = self._shape_of_response()
        columns = (steep + falling, falling, sharpness, sharpness / ratio)
        return _ConvConstants(slope, filters, *(column[:, None, None] for column in columns))

    def width(self, n_features):
        """A number for each filter at each pixel."""
        return n_features * len(self.filters)

    def magnitude(self):
        """Largest slope of φ."""
        return self.bounds()[1].detach()

    def _slope(self):
        return self.slope + self._raise(*self._free_bounds(self.slope))

    def _free_bounds(self, slope):
        down, up = self._spectra()
        lower = self.known_bounds[0] + slope - down
        return lower, self.known_bounds[1] + slope + up.max()

    def _spectra(self):
        """Bounds of Σ μ|ŵ|² and Σ ν|ŵ|² between the points of a grid of frequencies, and on it."""
        filters = self._filters()
        steep, falling, _, _ = self._shape_of_response()
        size = filters.shape[1]
        options = {"padding": size - 1, "groups": len(filters)}  # every filter with itself
        correlation = F.conv2d(filters[None], filters[:, None], **options)[0]
        weighted = torch.einsum("ij,jkl->ikl", torch.stack([falling, steep]), correlation)
        spectra = torch.fft.rfft2(weighted, s=2 * (self.GRID,)).abs()
        return spectra.flatten(1) / math.cos(math.pi * (size - 1) / self.GRID) ** 2

    def _filters(self):
        return (self.filters - self.filters.mean((1, 2), keepdim=True)) / self.filters.shape[1]

    def _shape_of_response(self):
        """ν, μ, β and β/γ ≥ 1."""
        logs = self.log_steep, self.log_falling, self.log_sharpness
        return *(log.exp() for log in logs), 1 + (self.log_ratio.exp() - 1).clamp(min=0)

    def _features(self, k, x):
        """w_j * x, of shape (n_samples, n_filters, height, width)."""
        return F.conv2d(x.unflatten(1, self.image_shape)[:, None], k.filters)

    def _output(self, k, x, value):
        image = _Adjoint.apply(value, k.filters) + k.slope * x + self.shift
        return image if self.known is None else image + self.known(x)


class _Adjoint(Function):
    """Σ_j w_jᵀ * h_j, flattened: faster than torch's own, which is made for many channels."""

    @staticmethod
    def forward(ctx, h, filters):
        ctx.save_for_backward(h, filters)
        n, n_filters, height, width = h.shape
        size = filters.shape[2]
        pieces = (filters.reshape(n_filters, -1).T @ h.flatten(2)).view(
            n, size, size, height, width
        )
        rows = h.new_zeros(n, size, height + size - 1, width)
        for i in range(size):
            rows[:, :, i : i + height] += pieces[:, i]
        image = h.new_zeros(n, height + size - 1, width + size - 1)
        for j in range(size):
            image[:, :, j : j + width] += rows[:, j]
        return image.flatten(1)

    @staticmethod
    def backward(ctx, gradient):
        h, filters = ctx.saved_tensors
        size = filters.shape[2] - 1
        gradient = gradient.view(len(h), 1, h.shape[2] + size, h.shape[3] + size)
        return F.conv2d(gradient, filters), conv2d_weight(gradient, filters.shape, h)


class _ConvConstants(NamedTuple):
    slope: torch.Tensor  # s
    filters: torch.Tensor
    total: torch.Tensor  # ν + μ
    falling: torch.Tensor  # μ
    sharpness: torch.Tensor  # β
    width: torch.Tensor  # γ


def _response(k, h):
    """ψ_j(h) and its slope."""
    first = (1 + (k.sharpness * h).square()).rsqrt()
    second = (1 + (k.width * h).square()).rsqrt()
    gain, loss = k.total * first, k.falling * second
    return h * (gain - loss), gain * first.square() - loss * second.square()


def _first_filters(n_filters, size, generator):
    """The two-dimensional cosine transform without its constant, the slow waves first."""
    position = torch.arange(size) + 0.5
    waves = torch.cos(math.pi / size * torch.arange(size)[:, None] * position)
    waves = F.normalize(waves, dim=1)
    pairs = sorted((i * i + j * j, i, j) for i in range(size) for j in range(size) if i + j > 0)
    filters = [torch.outer(waves[i], waves[j]) for _, i, j in pairs[:n_filters]]
    while len(filters) < n_filters:
        noise = torch.randn(size, size, generator=generator)
        filters.append((noise - noise.mean()) / noise.norm())
    return torch.stack(filters)

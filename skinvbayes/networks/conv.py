"""The gradient branch for images: learned filters, the same at every pixel."""

import math
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ..inversion.settings import SETTINGS
from ..numerics.krylov import conjugate_gradients
from ..numerics.tensors import INITIAL, identity_like
from ..problem.smoothing import noise_bandwidth
from .filter_bank import Scale
from .image_filters import (
    correlation,
    first_filters,
    fitting_dilations,
    row_squares,
    smoothed,
    support,
    weighted_squares,
)
from .monotone import MonotoneBlock, unshifted

__all__ = ["ConvBlock"]


_SHORT = 256  # samples of a signal
_PHOTO = 2**12  # pixels, beyond which the time of an inversion counts
_BATCH_PIXELS = 2**14  # of all images in a step of training
_SETTLING = 5  # steps until a slope and the smoothing of its bound fit together
_STEEP, _FALLING = 1.5, 0.15  # first ν and μ, relative to the mean slope of the prior's part


class ConvBlock(MonotoneBlock):
    """The gradient of a strongly convex function of images, by convolution.

    φ(x) = G x + s x + Σ_j w_jᵀ * ψ_j(w_j * x) + t with a known part G, filters w_j of mean zero, on
    a fine and on coarser scales, on images that are mirrored at their borders, and

        ψ_j(h) = (ν_j + μ_j) h / √(1 + (β_j h)²) − μ_j h / √(1 + (γ_j h)²),  β_j ≥ γ_j:

    its slope is ν_j at zero, falls to no less than −μ_j and vanishes at infinity, so that small
    differences between pixels are smoothed and large ones, edges, are left alone. Neither the
    number of parameters nor the bounds depend on the size of the images: they serve images of any.

    The Jacobian is symmetric with a P ≼ Dφ ≼ b P, where P = (G + b − g)/b with g = λ_min(G) and

        a = g + s − max_ω Σ_j μ_j |ŵ_j(ω)|²,  b = g + s + max_ω Σ_j ν_j |ŵ_j(ω)|²,

    for any image: with its mirror images it fills the plane periodically, and every filter is odd
    or even and comes with its own mirror image and the same response, so that all copies of the
    image have the same share in Σ_j μ_j ‖w_j * x‖². The maxima over all frequencies are bounded by
    those over a grid (Ehlich and Zeller). s is raised as far as (b − a)/(b + a) ≤ L demands. So L
    bounds how unequal the slopes of the prior's part are, whatever the condition of the operator:
    P^{1/2} x are natural coordinates of filters, for which no matrix is formed.

    Parameters
    ----------
    n_features : int
        Number of pixels.
    hidden_layer_sizes : tuple of int
        Number of filters, each with its mirror image.
    max_lipschitz : float
        The bound L to respect, in (0, 1).
    generator : torch.Generator
        Source of the filters beyond those of a cosine transform.
    image_shape : tuple of int
        Height and width of the images; or the length of signals alone.
    kernel_size : int
        Height and width of the filters, odd; of signals, their width.
    dilations : tuple of int, default=(1,)
        Powers of two: distances in pixels between neighbouring weights. Half of the filters have
        the first distance, the others share the rest, on images smoothed accordingly.

    References
    ----------
    S. Roth and M. J. Black (2009), "Fields of Experts", International Journal of Computer Vision;
    A. Goujon, S. Neumayer and M. Unser (2024), "Learning weakly convex regularizers for convergent
    image-reconstruction algorithms", SIAM Journal on Imaging Sciences; H. Ehlich and K. Zeller
    (1964), "Schwankung von Polynomen zwischen Gitterpunkten", Mathematische Zeitschrift.
    """

    common_mean = True
    bandwidth_rule = staticmethod(noise_bandwidth)
    first_stage_bandwidth_rule = staticmethod(partial(noise_bandwidth, share=0.5))
    weighed_bandwidth_rule = staticmethod(partial(noise_bandwidth, share=0.35))
    reconstruction_smoothing = 0.0  # the few parameters of filters need none
    learns_by_heart = False
    learns_smoothed_prior = False  # a few filters are steeper than a smoothed prior can be

    @classmethod
    def default_hidden_layer_sizes(cls, architecture):
        """24 filters, or as many as there are pairs of weights in one."""
        return (min(24, architecture.kernel_size**2 // 2),)

    @classmethod
    def default_batch_size(cls, architecture):
        """As many images as have 2¹⁴ pixels, between 4 and 128."""
        return min(max(_BATCH_PIXELS // architecture.n_features, 4), 128)

    @classmethod
    def default_learning_rate(cls, architecture):
        """First step size of Adam: few parameters learn fast."""
        return 2e-2

    @classmethod
    def first_stage_share(cls, solver):
        """A quarter: few parameters learn fast."""
        return 0.25

    @classmethod
    def check_log_determinant(cls):
        """Raises a ValueError: the log-determinant needs matrices."""
        raise ValueError(
            'The log-determinant loss needs matrices, which residual="conv" does not form: take '
            'DivergenceRegularizedINN or ReconstructionINN, or residual="gradient".'
        )

    @classmethod
    def options(cls, architecture):
        """The shape of the images, and the size and the dilations of the filters."""
        sizes, kernel_size = architecture.hidden_layer_sizes, architecture.kernel_size
        if not architecture.has_operator:
            raise ValueError(
                'residual="conv" needs the operator; for denoising give the identity, '
                f"scipy.sparse.eye_array({architecture.n_features})."
            )
        if architecture.n_blocks > 1 or (sizes is not None and len(sizes) > 1):
            raise ValueError(
                'residual="conv" has one block of one layer, so n_blocks must be 1 and '
                "hidden_layer_sizes one number, that of the filters; got "
                f"n_blocks={architecture.n_blocks} and {sizes!r}."
            )
        if kernel_size % 2 == 0:
            raise ValueError(
                "kernel_size must be odd, so that filters have a pixel in their middle; got "
                f"{kernel_size}."
            )
        shape = _checked_shape(architecture, least=kernel_size)
        dilations = fitting_dilations(shape, kernel_size)
        return {"image_shape": shape, "kernel_size": kernel_size, "dilations": dilations}

    @classmethod
    def options_at(cls, architecture, options):
        """The same filters for images of another shape, on the scales that they were trained on."""
        least = support(options["dilations"][-1], architecture.kernel_size)
        asked, fitted = architecture.image_shape, options["image_shape"]
        if asked is not None and len(asked) != len(fitted):
            raise ValueError(
                "Filters of images do not serve signals, nor the reverse: fitted with "
                f"image_shape={fitted}, asked for {asked}; give one of as many sides."
            )
        return {**options, "image_shape": _checked_shape(architecture, least)}

    def __init__(
        self,
        n_features,
        hidden_layer_sizes,
        max_lipschitz,
        generator,
        *,
        image_shape,
        kernel_size,
        dilations=(1,),
    ):
        super().__init__(n_features, hidden_layer_sizes, max_lipschitz, generator)
        self.image_shape = tuple(image_shape)
        kernel_shape = tuple(kernel_size if n > 1 else 1 for n in self.grid_shape)
        (n_filters,) = hidden_layer_sizes
        self.dilations, self.sizes = _shares(n_filters, dilations)
        first, signs = zip(
            *(first_filters(n, kernel_shape, generator) for n in self.sizes), strict=True
        )
        first[0].mul_(torch.linspace(0.75, 2.0, len(first[0]), **INITIAL)[:, None, None])
        self.register_buffer("signs", torch.cat(signs))
        scales = zip(self.sizes, self.dilations, strict=True)
        sharpness = torch.cat([torch.full((n,), 85.0 * d, **INITIAL) for n, d in scales])
        self.register_buffer("unit", torch.ones((), **INITIAL))  # of s and t
        self.shift = nn.Parameter(torch.zeros((), **INITIAL))
        self.slope = nn.Parameter(torch.zeros((), **INITIAL))
        self.filters = nn.Parameter(torch.cat(first))
        self.log_steep = nn.Parameter(torch.full((n_filters,), math.log(6.0), **INITIAL))
        self.log_falling = nn.Parameter(torch.full((n_filters,), math.log(0.6), **INITIAL))
        self.log_sharpness = nn.Parameter(sharpness.log())
        self.log_ratio = nn.Parameter(torch.full((n_filters,), math.log(7.0), **INITIAL))

    @property
    def grid_shape(self):
        """Height and width; a signal is an image of height one."""
        return (1,) * (2 - len(self.image_shape)) + self.image_shape

    @property
    def _n_copies(self):
        """Two, a filter and its mirror image; of a signal these are the same but for the sign."""
        return len(self.image_shape)

    matrix_free = True
    any_precision = True
    most_features_of_matrices = 0

    @property
    def few_features(self):
        """Jacobians of short signals are bands, but for the part of φ that is known."""
        return _SHORT if len(self.image_shape) == 1 else 0

    @property
    def tolerance(self):
        """Of images far below their noise; with Jacobians of all rows exactness costs nothing."""
        few = math.prod(self.image_shape) <= self.few_features
        return 1e-13 if few else SETTINGS.image_tolerance

    @property
    def noise_tolerance(self):
        """Of photos, and larger for a better conditioned G: errors are residuals over slopes."""
        low, high = self.known_bounds
        is_photo = math.prod(self.image_shape) > _PHOTO and high > 0
        return SETTINGS.noise_tolerance * low / high if is_photo else 0.0

    def initialize(self, mean, deviations, slope):
        """Start with responses as steep as the mean slope, and with s = 1 where no G is known."""
        with torch.no_grad():
            if self.known_bounds[1]:
                self.slope.zero_()
                self.unit.copy_(slope.mean())
            else:
                self.slope.fill_(1.0)
            self.log_steep.fill_(float((_STEEP * slope.mean()).log()))
            self.log_falling.fill_(float((_FALLING * slope.mean()).log()))

    @torch.no_grad()
    def weigh(self, factor):
        """Replace φ by G + w (φ − G), in place; or by the least more that L demands for w > 1."""
        slope = factor * self.current_constants().slope
        self.unit.mul_(factor)
        self.log_steep.add_(math.log(factor))
        self.log_falling.add_(math.log(factor))
        self.slope.zero_()
        lower, b = self.free_bounds()
        for _ in range(_SETTLING):
            smoothing = self._smoothing(b + self.unit * self.slope)
            self.slope.copy_(unshifted(slope, lower, b, self._ratio, smoothing) / self.unit)

    def precondition(self, v):
        """Damps fast waves, along which φ is steep where images are smooth."""
        k = self.current_constants()
        damped = (k.largest / (k.slope + self.known_bounds[1])) ** SETTINGS.damping
        images = v.unflatten(1, self.grid_shape)[:, None]
        return torch.lerp(smoothed(images, 2).flatten(1), v, damped.clamp(max=1).to(v))

    def forward(self, x):
        """φ(x), in the precision of x."""
        k = self.current_constants().to(x.dtype)
        return self._sum(k, x, (scale.value(x, self.grid_shape) for scale in k.scales))

    def call_and_divergence(self, x, n_exact):
        """φ(x), and div φ(x) = tr G + s n + Σ_j Σ_p ‖(w_j * ·)_p‖² ψ_j'((w_j * x)_p)."""
        k = self.current_constants()
        image, slopes = self._evaluate(k, x)
        divergence = x.shape[1] * k.slope + (0.0 if self.known is None else self.known.trace())
        for scale, part in zip(k.scales, slopes, strict=True):
            squares = row_squares(scale.filters[:, 0], scale.dilation, self.grid_shape)
            divergence = divergence + torch.einsum("njkl,jkl->n", part, squares)
        return image, divergence

    def call_and_logabsdet(self, x, n_exact):
        """Raises a ValueError: the log-determinant needs matrices."""
        self.check_log_determinant()

    def residual(self, x):
        """f(x) = x − P⁻¹ (φ(x) − t)/c, with c of P, by conjugate gradients where G is known."""
        a, b = self.bounds()
        image = (self(x) - self.unit * self.shift) * 2 / (a + b)
        if self.known is None:
            return x - image
        missing = b - self.known_bounds[0]
        return x - conjugate_gradients(lambda v: (self.known(v) + missing * v) / b, image)[0]

    def call_and_slopes(self, x):
        """φ(x), and for each scale the slopes ψ_j'(w_j * x)."""
        return self._evaluate(self.current_constants().to(x.dtype), x)

    def _evaluate(self, k, x):
        pairs = [scale.value_and_slopes(x, self.grid_shape) for scale in k.scales]
        values, slopes = zip(*pairs, strict=True)
        return self._sum(k, x, values), list(slopes)

    def _sum(self, k, x, values):
        image = k.slope * x + (self.unit * self.shift).to(x)
        for value in values:
            image = image + value
        return image if self.known is None else image + self.known(x)

    def jacobian(self, x):
        """Dφ(x), from as many products as there are pixels; for small images."""
        if len(self.image_shape) == 1:
            return self.jacobian_from(self.call_and_slopes(x)[1])
        identity, matrices = identity_like(x.shape[1], x), []
        for row in x:
            slopes = self.call_and_slopes(row[None])[1]
            matrices.append(self.product_from(slopes)(identity))
        return torch.stack(matrices)

    def jacobian_from(self, slopes):
        """Dφ(x) of signals from the slopes at x."""
        k = self.current_constants().to(slopes[0].dtype)
        identity = identity_like(slopes[0].shape[3], slopes[0])
        linear = k.slope * identity
        linear = linear if self.known is None else linear + self.known(identity)
        parts = zip(k.scales, slopes, strict=True)
        return linear + weighted_squares(
            (scale.filters[:, 0, 0], scale.dilation, part[:, :, 0]) for scale, part in parts
        )

    def product_from(self, slopes, dtype=None):
        """Multiplication by Dφ(x) from the slopes at x; in this precision."""
        dtype = slopes[0].dtype if dtype is None else dtype
        k, slopes = self.current_constants().to(dtype), [part.to(dtype) for part in slopes]

        @torch.no_grad()
        def product(v):
            image = k.slope * v
            for scale, part in zip(k.scales, slopes, strict=True):
                image += scale.product(v, part)
            return image if self.known is None else image.add_(self.known(v))

        return product

    def constants(self):
        """The slopes, and for each scale filters, their mirror images and the parameters of ψ."""
        filters = self._filters()
        steep, falling, sharpness, ratio = self._shape_of_response()
        amounts = torch.stack([steep + falling, falling]) * (2 / self._n_copies)
        columns = torch.cat([amounts, torch.stack([sharpness, sharpness / ratio])])
        scales = [
            Scale(
                dilation,
                torch.cat([part, part.flip(2)][: self._n_copies])[:, None],
                *response.repeat(1, self._n_copies)[:, :, None, None],
            )
            for dilation, part, response in self._by_scales(filters, columns)
        ]
        lower, b = self.free_bounds()
        shift, (low, high) = self._shift_for(lower, b), self.known_bounds
        return _ConvConstants(self.unit * self.slope + shift, b + shift + high - low, scales)

    def row_entries(self, n_features):
        """A number for each filter at each pixel, or the entries of a Jacobian if it is formed."""
        entries = n_features * self._n_copies * len(self.filters)
        return max(entries, n_features**2) if n_features <= self.few_features else entries

    def magnitude(self):
        """Largest slope of φ."""
        return self.current_constants().largest.detach()

    def scale(self):
        """The c of φ(x) = c (x − f(x)) + t without P."""
        return (self.bounds()[0] + self.magnitude()) / 2

    def spectral_shift(self):
        """What is added to s."""
        return self._shift_for(*self.free_bounds())

    def free_bounds(self):
        """Bounds relative to P, but for what raises s."""
        down, up = self._largest_responses()
        flattest = self.known_bounds[0] + self.unit * self.slope
        return (flattest - down)[None], flattest + up

    def _largest_responses(self):
        """Upper bounds of Σ μ|ŵ|² and Σ ν|ŵ|², from a grid of frequencies."""
        steep, falling, _, _ = self._shape_of_response()
        weights = torch.stack([falling, steep])
        degree = max(support(d, self.filters.shape[2]) for d in self.dilations) - 1
        n_axes = len(self.image_shape)
        total = 0.0
        for dilation, filters, weight in self._by_scales(self._filters(), weights):
            part = correlation(filters, weight, dilation)
            total = total + F.pad(part, 2 * n_axes * (degree - part.shape[2] // 2,))
        total = total + total.flip(2)  # of the mirror images, which makes it even along both axes
        n_grid = 2 ** math.ceil(math.log2(16 * degree))
        spectra = total
        for n_lags in total.shape[:0:-1][:n_axes]:
            spectra = (spectra @ _cosines(n_lags, n_grid).to(total)).transpose(1, 2)
        return spectra.amax((1, 2)) / math.cos(math.pi * degree / n_grid) ** n_axes

    def _by_scales(self, filters, columns):
        """For each scale, its dilation, its filters and its columns of a table."""
        parts = filters.split(self.sizes), columns.split(self.sizes, dim=1)
        return zip(self.dilations, *parts, strict=True)

    def _filters(self):
        """Odd or even, and of mean zero."""
        symmetric = (self.filters + self.signs[:, None, None] * self.filters.flip(1, 2)) / 2
        return (symmetric - symmetric.mean((1, 2), keepdim=True)) / math.sqrt(
            self.filters[0].numel()
        )

    def _shape_of_response(self):
        """ν, μ, β and β/γ ≥ 1."""
        logs = self.log_steep, self.log_falling, self.log_sharpness
        return *(log.exp() for log in logs), 1 + (self.log_ratio.exp() - 1).clamp(min=0)


class _ConvConstants(NamedTuple):
    slope: torch.Tensor  # s
    largest: torch.Tensor  # slope of φ
    scales: list[Any]

    def to(self, dtype):
        """The same in another precision."""
        scales = [scale.to(dtype) for scale in self.scales]
        return _ConvConstants(self.slope.to(dtype), self.largest.to(dtype), scales)


@cache
def _cosines(n_lags, n_grid):
    """cos(k ω) for the lags k of even coefficients and frequencies from 0 to π."""
    lag = torch.arange(n_lags, **INITIAL).double() - n_lags // 2
    frequency = torch.arange(n_grid // 2 + 1, **INITIAL).double() * (2 * math.pi / n_grid)
    return torch.cos(lag[:, None] * frequency)


def _checked_shape(architecture, least):
    """The image shape, checked: no side may be below the least."""
    d, shape = architecture.n_features, architecture.image_shape
    if shape is None or len(shape) not in (1, 2) or math.prod(shape) != d or min(shape) < least:
        raise ValueError(
            f'residual="conv" needs image_shape=(height, width) with height × width = {d}, the '
            f"number of features, or image_shape=({d},) for signals, and no side below {least}, "
            f"for the filters of kernel_size={architecture.kernel_size}"
            f"{' on coarser scales' if least > architecture.kernel_size else ''}; got {shape!r}."
        )
    return shape


def _shares(n_filters, dilations):
    """The scales and their numbers of filters: half for the first, equal shares for the others."""
    n_others = len(dilations) - 1
    share = n_filters // (2 * n_others) if n_others else 0
    if share == 0:
        return (dilations[0],), (n_filters,)
    return tuple(dilations), (n_filters - share * n_others, *n_others * (share,))

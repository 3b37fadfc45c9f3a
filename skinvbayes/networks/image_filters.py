"""Filters on images that are mirrored at their borders.

A signal is an image of height one, and so are its filters. The pixels of the border come twice
(half-sample symmetry). Filters are odd or even; a dilated one has so many pixels from one weight to
the next and works on images that were smoothed accordingly.
"""

import math
from functools import cache
from itertools import zip_longest
from operator import itemgetter

import torch
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from ..numerics.tensors import INITIAL

__all__ = [
    "Adjoint",
    "correlation",
    "first_filters",
    "fitting_dilations",
    "folded",
    "mirrored",
    "row_squares",
    "smoothed",
    "support",
    "weighted_squares",
]


_SMALL = 64  # pixels of a side, up to which products with matrices are the fastest smoothing


class Adjoint(Function):
    """Σ_j w_jᵀ * h_j: faster than torch's own, which is made for many channels."""

    @staticmethod
    def forward(ctx, h, filters, dilation):
        ctx.save_for_backward(h, filters)
        ctx.dilation = dilation
        n, n_filters, height, width = h.shape
        tall, wide = filters.shape[2:]
        flat = filters.reshape(n_filters, -1).T.expand(n, -1, -1)
        pieces = torch.bmm(flat, h.flatten(2))  # where weights are trained, matmul copies h
        pieces = pieces.view(n, tall, wide, height, width)
        rows = h.new_zeros(n, wide, height + dilation * (tall - 1), width)
        image = h.new_zeros(n, rows.shape[2], width + dilation * (wide - 1))
        for i, piece in enumerate(pieces.unbind(1)):
            rows.narrow(2, dilation * i, height).add_(piece)
        for j, column in enumerate(rows.unbind(1)):
            image.narrow(2, dilation * j, width).add_(column)
        return image[:, None]

    @staticmethod
    def backward(ctx, gradient):
        h, filters = ctx.saved_tensors
        options = {"dilation": ctx.dilation}
        of_filters = conv2d_weight(gradient, filters.shape, h, **options)
        return F.conv2d(gradient, filters, **options), of_filters, None


def _long_sides(images):
    """The axes along which images are more than a pixel long."""
    return [dim for dim in (2, 3) if images.shape[dim] > 1]


def mirrored(images, reach):
    """Images extended on every side by ``reach`` mirrored pixels, with the border pixel twice.

    Signals, images of height one, are extended to the left and to the right only.
    """
    for dim in _long_sides(images):
        size = images.shape[dim]
        before, after = images.narrow(dim, 0, reach), images.narrow(dim, size - reach, reach)
        images = torch.cat([before.flip(dim), images, after.flip(dim)], dim)
    return images


def folded(images, reach):
    """The adjoint of :func:`mirrored`."""
    for dim in _long_sides(images):
        size = images.shape[dim] - 2 * reach
        before, middle, after = images.split([reach, size, reach], dim)
        images = middle.clone()
        images.narrow(dim, 0, reach).add_(before.flip(dim))
        images.narrow(dim, size - reach, reach).add_(after.flip(dim))
    return images


def _surrounded(images, reach):
    """Images extended on every side by ``2 reach`` zeros; signals left and right only."""
    return F.pad(images, 2 * len(_long_sides(images)) * (2 * reach,))


def smoothed(images, dilation):
    """Mirrored images smoothed by binomials for a dilated filter; it is its own adjoint."""
    if dilation == 1 or max(images.shape[2:]) > _SMALL:
        return _by_binomials(images, dilation, mirrored)
    for dim in _long_sides(images):
        smoothing = _smoothing(images.shape[dim], dilation, images.dtype, images.device)
        images = smoothing @ images if dim == 2 else images @ smoothing
    return images


@cache
def _smoothing(n_pixels, dilation, dtype, device):
    """The symmetric matrix that smooths one side of images."""
    identity = torch.eye(n_pixels, dtype=dtype, device=device)[:, None, None]
    return _by_binomials(identity, dilation, mirrored)[:, 0, 0]


def _by_binomials(images, dilation, extend):
    """Images smoothed by binomials; ``extend`` continues them outwards."""
    step = 1
    while step < dilation:
        images = extend(images, step)
        for dim in _long_sides(images):
            size = images.shape[dim] - 2 * step
            before, middle, after = (images.narrow(dim, k * step, size) for k in range(3))
            images = torch.add(before + after, middle, alpha=2) / 4
        step *= 2
    return images


def support(dilation, kernel_size):
    """Height and width of a filter with its smoothing."""
    return dilation * (kernel_size - 1) + 2 * (dilation - 1) + 1


def _on_pixels(filters, dilation):
    """The filters with gaps and smoothing, of size :func:`support`."""
    sizes = (dilation * (n - 1) + 1 for n in filters.shape[1:])
    spread = filters.new_zeros(len(filters), 1, *sizes)
    spread[:, 0, ::dilation, ::dilation] = filters
    return _by_binomials(spread, dilation, _surrounded)[:, 0]


def correlation(filters, weights, dilation):
    """Weighted sums of the filters' correlations with themselves, smoothing included."""
    filters = _on_pixels(filters, dilation)
    shape = [2 * n - 1 for n in filters.shape[1:]]
    power = torch.view_as_real(torch.fft.rfft2(filters, s=shape)).square().sum(-1)
    sums = torch.einsum("ij,jkl->ikl", weights, power)
    return torch.fft.fftshift(torch.fft.irfft2(sums, s=shape), dim=(1, 2))


def row_squares(filters, dilation, image_shape):
    """The square sums of the rows of x ↦ w_j * x, of shape (n_filters, height, width).

    A row is the filter around a pixel, folded back at the borders. Squared, it is the filter times
    itself and, near the borders, its mirror images: of an odd or even filter, values of
    convolutions with itself.
    """
    filters = _on_pixels(filters, dilation)
    sides = zip(image_shape, filters.shape[1:], strict=True)
    down, across = (_lags(n, size).to(filters) for n, size in sides)
    vertical = _self_convolution(filters, (1,)).sum(2) @ down
    horizontal = _self_convolution(filters, (2,)).sum(1) @ across
    inside = filters.square().sum((1, 2))[:, None, None]
    corners = down.T @ _self_convolution(filters, (1, 2)) @ across
    return inside + vertical[:, :, None] + horizontal[:, None, :] + corners


def weighted_squares(terms):
    """Σ_j W_jᵀ diag(weights_j) W_j of shape (n_samples, n, n), where W_j x = w_j * x for signals x.

    The terms are filters w_j, their dilation, and weights of shape (n_samples, n_filters, n). Of
    signals that go on at both ends the sum is a band; it is folded back at the borders.
    """
    diagonals = [_upper_diagonals(*term) for term in terms]
    n_lags = max(part.shape[1] for part in diagonals)
    total = sum(F.pad(part, _centred(part.shape[1], n_lags)) for part in diagonals)
    total[:, 0] /= 2  # what is below is added as a transpose
    n_samples, _, n_all = total.shape
    upper = total.new_zeros(n_samples, n_all, n_all + n_lags)
    strides = upper.stride(0), 1, upper.stride(1) + 1  # along the diagonals
    upper.as_strided(total.shape, strides).copy_(total)
    reach = n_lags // 2
    n = n_all - 2 * reach
    for dim in (1, 2):
        for inside, outside in (reach, 0), (n, n + reach):
            upper.narrow(dim, inside, reach).add_(upper.narrow(dim, outside, reach).flip(dim))
        upper = upper.narrow(dim, reach, n)
    return upper + upper.transpose(1, 2)


def _upper_diagonals(filters, dilation, weights):
    """Those of the band, the main one first: of w_j w_j(· + lag) and the weights."""
    filters = _on_pixels(filters[:, None], dilation)[:, 0]
    size = filters.shape[1]
    shifted = F.pad(filters, (0, size - 1)).unfold(1, size, 1)
    products = (shifted * filters[:, None]).transpose(0, 1).flip(2)
    return F.conv1d(F.pad(weights, (size - 1, size - 1)), products)


def _centred(n_lags, n_most):
    """Padding of diagonals, to add them to those of longer filters."""
    extra = (n_most - n_lags) // 2
    return extra, extra, 0, n_most - n_lags


def _lags(n_pixels, size):
    """Where a filter around each pixel meets its mirror images, of shape (2 size − 1, n_pixels)."""
    lag = torch.arange(1 - size, size, device="cpu")[:, None]
    pixel = torch.arange(n_pixels, device="cpu")
    return (lag == 2 * pixel + 1) | (lag == 2 * (pixel - n_pixels) + 1)


def _self_convolution(filters, dims):
    """The filters' convolutions with themselves along these axes."""
    shape = [2 * filters.shape[dim] - 1 for dim in dims]
    spectrum = torch.fft.rfftn(filters, s=shape, dim=dims)
    return torch.fft.irfftn(spectrum.square(), s=shape, dim=dims)


def fitting_dilations(image_shape, kernel_size):
    """The dilations whose filters fit into the image."""
    return tuple(d for d in (1, 2, 4) if support(d, kernel_size) <= min(image_shape))


def first_filters(n_filters, shape, generator):
    """Cosine waves as filters, slow ones first, then noise; and their signs.

    A filter is odd (−1) or even (1), and none is constant. Those of images are sums of two products
    of waves, whose mirror images are the differences of the products.
    """
    waves = _waves if shape[0] == 1 else _products_of_waves
    found = waves(shape[1], n_filters)
    while len(found) < n_filters:
        sign = (-1) ** len(found)
        noise = torch.randn(shape, generator=generator, **INITIAL)
        noise = noise + sign * noise.flip(0, 1)
        noise = noise - noise.mean()
        found.append((sign, noise / noise.norm()))
    signs, filters = zip(*found, strict=True)
    return torch.stack(filters), torch.tensor(signs, **INITIAL)


def _cosines(size):
    """The waves of the cosine transform, of norm one."""
    number = torch.arange(size, **INITIAL)
    waves = torch.cos(math.pi / size * number[:, None] * (number + 0.5))
    return F.normalize(waves, dim=1)


def _waves(size, n_filters):
    """Sign and filter of the first waves but the constant, for signals."""
    waves = _cosines(size)
    return [((-1) ** i, waves[i][None]) for i in range(1, min(size, n_filters + 1))]


def _products_of_waves(size, n_filters):
    """Sign and filter of the first sums of two products of waves, for images."""
    waves = _cosines(size)

    def products(row, column):
        """Of waves that are even (0) or odd (1) along each axis, the slow ones first."""
        pairs = [(i, j) for i in range(row, size, 2) for j in range(column, size, 2) if i + j]
        return sorted((i * i + j * j, (i, j)) for i, j in pairs)

    found = []
    for sign, parities in (-1, ((0, 1), (1, 0))), (1, ((0, 0), (1, 1))):
        for several in zip_longest(*(products(*parity) for parity in parities)):
            frequencies, parts = zip(*filter(None, several), strict=True)
            found.append((sum(frequencies) / len(parts), sign, parts))
    found.sort(key=itemgetter(0))
    return [
        (sign, sum(torch.outer(waves[i], waves[j]) for i, j in parts) / math.sqrt(2))
        for _, sign, parts in found[:n_filters]
    ]

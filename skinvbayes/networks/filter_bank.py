"""The filters of one scale with their responses, applied to images piece by piece.

A piece is a strip of a large image, or several small images: little enough for the features of all
filters to stay in the cache. Pieces go to as many threads as the caller of torch allows. Where they
lie does not depend on the number of threads, nor for large images on the other images, so that the
results do not either.
"""

from typing import NamedTuple

import torch
from torch.autograd import Function
from torch.nn import functional as F

from ..numerics.chunks import slices
from ..numerics.threads import in_threads
from .image_filters import Adjoint, folded, mirrored, smoothed

__all__ = ["Scale"]

_PIECE_ENTRIES = 2**18  # of the features of a piece


class Scale(NamedTuple):
    """Filters w_j of one dilation, each with the parameters of its response

        ψ_j(h) = (ν_j + μ_j) h / √(1 + (β_j h)²) − μ_j h / √(1 + (γ_j h)²).

    Attributes
    ----------
    dilation : int
        Pixels from one weight of a filter to the next.
    filters : Tensor of shape (n_filters, 1, height, width)
        The w_j.
    total, falling, sharpness, width : Tensors of shape (n_filters, 1, 1)
        ν + μ, μ, β and γ.
    """

    dilation: int
    filters: torch.Tensor
    total: torch.Tensor
    falling: torch.Tensor
    sharpness: torch.Tensor
    width: torch.Tensor

    def to(self, dtype):
        """The same in another precision."""
        return Scale(self.dilation, *(part.to(dtype) for part in self[1:]))

    def value(self, x, shape):
        """Σ_j w_jᵀ * ψ_j(w_j * x), for rows x that are images of this height and width."""
        if torch.is_grad_enabled():
            return self.value_and_slopes(x, shape)[0]
        return self._through(x, shape, lambda h, piece: _values(h, *self[2:]))

    def value_and_slopes(self, x, shape):
        """The same, and the slopes ψ_j'(w_j * x), of shape (n_samples, n_filters, *shape)."""
        slopes = []

        def respond(h, piece):
            value, slope = _Response.apply(h, *self[2:])
            slopes.append((piece, slope))
            return value

        image = self._through(x, shape, respond)
        if len(slopes) == 1:
            return image, slopes[0][1]
        whole = x.new_empty(len(x), len(self.filters), *shape)
        for piece, slope in slopes:
            piece.of(whole).copy_(slope)
        return image, whole

    def product(self, v, slopes):
        """Σ_j w_jᵀ * (slope_j · (w_j * v)); slopes at one point serve for all rows."""
        slopes = slopes.expand(len(v), -1, -1, -1)

        def respond(h, piece):
            return h.mul_(piece.of(slopes))

        return self._through(v, slopes.shape[2:], respond)

    def _through(self, x, shape, respond):
        """Σ_j w_jᵀ * h_j where ``respond(w * x, piece)`` gives the h of each piece."""
        dilation = self.dilation
        smooth = smoothed(x.unflatten(1, shape)[:, None], dilation)
        extended = mirrored(smooth, self._reach)
        pieces = _pieces(len(x), len(self.filters), shape)

        def contribution(piece):
            h = F.conv2d(piece.of(extended, 2 * self._reach), self.filters, dilation=dilation)
            return Adjoint.apply(respond(h, piece), self.filters, dilation)

        parts = in_threads(contribution, pieces)
        if len(pieces) == 1:
            (image,) = parts
        else:
            image = torch.zeros_like(extended)
            for piece, part in zip(pieces, parts, strict=True):
                piece.of(image, 2 * self._reach).add_(part)
        return smoothed(folded(image, self._reach), dilation).flatten(1)

    @property
    def _reach(self):
        """Pixels that the filters look at on each side."""
        return self.dilation * (self.filters.shape[3] // 2)


class _Piece(NamedTuple):
    """Some images of a batch, or a strip of one: of its lines, or of a signal's samples."""

    images: slice
    axis: int
    lines: slice

    def of(self, images, margin=0):
        """The part of images, which may be longer than the piece by a margin."""
        start, end = self.lines.start, self.lines.stop
        return images[self.images].narrow(self.axis, start, end - start + margin)


def _pieces(n, n_filters, shape):
    """The pieces of n images of this height and width."""
    axis = 2 if shape[0] > 1 else 3
    length = shape[axis - 2]
    size = n_filters * shape[0] * shape[1]
    several = _PIECE_ENTRIES // size
    if several > 0:
        groups = slices(n, several)
        return [_Piece(slice(g.start, min(g.stop, n)), axis, slice(0, length)) for g in groups]
    strips = slices(length, _PIECE_ENTRIES * length // size)
    return [
        _Piece(slice(i, i + 1), axis, slice(s.start, min(s.stop, length)))
        for i in range(n)
        for s in strips
    ]


@torch.no_grad()
def _values(h, total, falling, sharpness, width):
    """ψ_j(h) alone, in few passes over the memory."""
    squares = h * h
    first = (squares * sharpness.square()).add_(1).rsqrt_().mul_(total)
    second = squares.mul_(width.square()).add_(1).rsqrt_().mul_(falling)
    return first.sub_(second).mul_(h)


class _Response(Function):
    """ψ_j(h) and its slope."""

    @staticmethod
    def forward(ctx, h, total, falling, sharpness, width):
        first = (h * sharpness).square_().add_(1).rsqrt_()
        second = (h * width).square_().add_(1).rsqrt_()
        gain, loss = first * total, second * falling
        value = (gain - loss).mul_(h)
        slope = gain.mul_(first).mul_(first).sub_(loss.mul_(second).mul_(second))
        ctx.save_for_backward(h, total, falling, sharpness, width, first, second, slope)
        return value, slope

    @staticmethod
    def backward(ctx, of_value, of_slope):
        h, total, falling, sharpness, width, first, second, slope = ctx.saved_tensors
        of_h, of_parameters = of_value * slope, []
        terms = (1, total, sharpness, first), (-1, falling, width, second)
        for sign, amount, rate, root in terms:
            cube = root**3
            # of amount · h · root and its slope, amount · root³
            curvature = 3 * of_slope * h * cube * root * root
            of_h = of_h - sign * amount * rate**2 * curvature
            by_amount = of_value * h * root + of_slope * cube
            by_rate = -amount * rate * h * (of_value * h * h * cube + curvature)
            parts = by_amount, by_rate
            of_parameters.append([sign * part.sum((0, 2, 3))[:, None, None] for part in parts])
        (of_total, of_sharpness), (of_falling, of_width) = of_parameters
        return of_h, of_total, of_falling, of_sharpness, of_width

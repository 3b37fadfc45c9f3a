"""Log-sum-exp units and their divergence as one operation, for training.

It computes what the gradient branch spells out, with the derivatives written down: automatic
differentiation passes over the rows of all units three times as often.
"""

import torch

__all__ = ["divergence_of_units", "units_and_divergence"]


def units_and_divergence(x, linear, k, shape, curvature=None):
    """``linear + Σ_j ±W_jᵀ p_j(x)``, and the divergence of the sum.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Points; no gradient is given for them.
    linear : Tensor of shape (n_samples, n_features)
        What is added to the units.
    k : Constants
        What the units are evaluated with.
    shape : tuple of two int
        Number of units, and of the pieces of each.
    curvature : Tensor of shape (n_units, n_pieces, n_pieces) or (n_units,), default=None
        The ±β W_jW_jᵀ; or, of two pieces, ±β ‖w_j1 − w_j2‖². Without it there is no divergence.

    Returns
    -------
    image : Tensor of shape (n_samples, n_features)
        The values.
    divergence : Tensor of shape (n_samples,) or None
        Σ_j ±β (Σ_k p_jk ‖w_jk‖² − ‖Σ_k p_jk w_jk‖²).
    """
    return _Units.apply(x, linear, k.inner, k.bias, k.outer, curvature, shape)


class _Units(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, linear, inner, bias, outer, curvature, shape):
        h = torch.addmm(bias[:, None], inner, x.T)  # sums over rows are slow, if short
        p = torch.softmax(h.unflatten(0, shape), dim=1)
        image = torch.addmm(linear, p.flatten(0, 1).T, outer)
        ctx.save_for_backward(x, inner, outer, curvature, p)
        return image, None if curvature is None else divergence_of_units(curvature, p)

    @staticmethod
    def backward(ctx, of_image, of_divergence):
        x, inner, outer, curvature, p = ctx.saved_tensors
        of_p = (outer @ of_image.T).view_as(p)
        of_curvature = None
        if curvature is not None:
            of_curvature = _add_derivatives(of_p, curvature, p, of_divergence)
        of_p -= (of_p * p).sum(1, keepdim=True)
        of_h = of_p.mul_(p).flatten(0, 1)
        of_outer = p.flatten(0, 1) @ of_image
        return None, of_image, of_h @ x, of_h.sum(1), of_outer, of_curvature, None


def divergence_of_units(curvature, p):
    """The divergence from the softmax p, of shape (n_units, n_pieces, n_samples)."""
    if curvature.ndim == 1:  # of two pieces
        return curvature @ (p[:, 0] * p[:, 1])
    squares = curvature.diagonal(dim1=1, dim2=2)[:, :, None]
    return ((squares - curvature @ p) * p).sum((0, 1))


def _add_derivatives(of_p, curvature, p, of_divergence):
    """Add those of the divergence in p; return those in the curvature."""
    if curvature.ndim == 1:
        first, second = p.unbind(1)
        of_product = torch.outer(curvature, of_divergence)
        of_p[:, 0].addcmul_(of_product, second)
        of_p[:, 1].addcmul_(of_product, first)
        return (first * second) @ of_divergence
    squares = curvature.diagonal(dim1=1, dim2=2)[:, :, None]
    of_p.addcmul_(torch.sub(squares, curvature @ p, alpha=2), of_divergence)
    weighted = p * of_divergence
    of_curvature = -weighted @ p.transpose(1, 2)
    of_curvature.diagonal(dim1=1, dim2=2).add_(weighted.sum(2))
    return of_curvature

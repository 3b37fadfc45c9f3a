"""The gradient branch and its divergence as one operation, for the inner loop of training.

It computes what :meth:`skinvbayes.gradient.GradientBlock.call_and_divergence` spells out, with the
derivatives written down: at the sizes of a mini-batch, half of a step goes into the book-keeping of
automatic differentiation.
"""

import torch

from .activations import softplus_with_slope_

__all__ = ["gradient_branch_and_divergence"]


def gradient_branch_and_divergence(x, slope, weight, bias, sharpness, sign, shift):
    """``S x + Wᵀ (± σ(β (W x + b))/β) + t`` and the units' share of its divergence.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Points; no gradient is given for them.
    slope : Tensor of shape (n_features, n_features) or ()
        S.
    weight : Tensor of shape (n_units, n_features)
        W.
    bias, sharpness, sign : Tensors of shape (n_units,)
        b, β and ±1.
    shift : Tensor of shape (n_features,)
        t.

    Returns
    -------
    image : Tensor of shape (n_samples, n_features)
        The values.
    divergence : Tensor of shape (n_samples,)
        ``Σ_j ± σ'(h_j) ‖w_j‖²``.
    """
    return _Fused.apply(x, slope, weight, bias, sharpness, sign, shift)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, slope, weight, bias, sharpness, sign, shift):
        inner = sharpness[:, None] * weight
        outer = (sign / sharpness)[:, None] * weight
        squares = (weight * weight).sum(1).mul_(sign)
        response, unit_slopes = softplus_with_slope_(torch.addmm(sharpness * bias, x, inner.T))
        linear = torch.addmm(shift, x, slope) if slope.ndim else torch.addcmul(shift, slope, x)
        ctx.save_for_backward(
            *(x, slope, weight, bias, sharpness, sign),
            *(inner, outer, squares, response, unit_slopes),
        )
        return linear.addmm_(response, outer), unit_slopes @ squares

    @staticmethod
    def backward(ctx, of_image, of_divergence):
        x, slope, weight, bias, sharpness, sign, *rest = ctx.saved_tensors
        inner, outer, squares, response, unit_slopes = rest
        of_slopes = torch.outer(of_divergence, squares)
        of_h = (1 - unit_slopes).mul_(of_slopes).addmm_(of_image, outer.T).mul_(unit_slopes)
        of_inner, of_offset = of_h.T @ x, of_h.sum(0)
        of_outer = response.T @ of_image
        of_squares = of_divergence @ unit_slopes
        of_weight = sharpness[:, None] * of_inner
        of_weight.addcmul_((sign / sharpness)[:, None], of_outer)
        of_weight.addcmul_((2 * sign * of_squares)[:, None], weight)
        by_inner, by_outer = (of_inner * inner).sum(1), (of_outer * outer).sum(1)
        of_sharpness = (by_inner - by_outer) / sharpness + of_offset * bias
        of_slope = x.T @ of_image if slope.ndim else (x * of_image).sum()
        of_bias = of_offset * sharpness
        return None, of_slope, of_weight, of_bias, of_sharpness, None, of_image.sum(0)

"""The gradient branch and its divergence as one operation, for the inner loop of training.

It computes what :meth:`skinvbayes.gradient.GradientBlock.call_and_divergence` spells out, with the
derivatives written down: at the sizes of a mini-batch, half of a step goes into the book-keeping of
automatic differentiation.
"""

import torch

from .activations import MAX_LOG_SHARPNESS, softplus_with_slope_

__all__ = ["gradient_branch_and_divergence"]


def gradient_branch_and_divergence(x, slope, weight, bias, log_sharpness, sign, shift, raised):
    """``S x + Wᵀ (± σ(β (W x + b))/β) + t`` and its divergence.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Points; no gradient is given for them.
    slope : Tensor of shape (n_features, n_features) or ()
        Its symmetric part, raised, is S.
    weight : Tensor of shape (n_units, n_features)
        W.
    bias, log_sharpness, sign : Tensors of shape (n_units,)
        b, log β and ±1.
    shift : Tensor of shape (n_features,)
        t.
    raised : tuple of Tensors of shapes (), of slope and of weight
        The multiple of the identity in S and its derivatives in slope and weight; or None.

    Returns
    -------
    image : Tensor of shape (n_samples, n_features)
        The values.
    divergence : Tensor of shape (n_samples,)
        ``tr S + Σ_j ± σ'(h_j) ‖w_j‖²``.
    """
    return _Fused.apply(x, slope, weight, bias, log_sharpness, sign, shift, raised)


class _Fused(torch.autograd.Function):
    """Weights are kept as (n_features, n_units), which products of few features are faster with."""

    @staticmethod
    def forward(ctx, x, slope, weight, bias, log_sharpness, sign, shift, raised):
        W, beta = weight.T.contiguous(), log_sharpness.clamp(max=MAX_LOG_SHARPNESS).exp_()
        inner, outer = W * beta, W * (sign / beta)
        squares = (W * W).sum(0).mul_(sign)
        response, unit_slopes = softplus_with_slope_(torch.addmm(beta * bias, x, inner))
        if slope.ndim:
            S = (slope + slope.T).mul_(0.5)
            if raised is not None:
                S.diagonal().add_(raised[0])
            image, trace = torch.addmm(shift, x, S), S.trace()
        else:
            S = slope if raised is None else slope + raised[0]
            image, trace = torch.addcmul(shift, S, x), S * x.shape[1]
        ctx.raised = raised
        ctx.save_for_backward(
            *(x, slope, W, bias, log_sharpness, beta, sign),
            *(inner, outer, squares, response, unit_slopes),
        )
        return image.addmm_(response, outer.T), torch.addmv(trace, unit_slopes, squares)

    @staticmethod
    def backward(ctx, of_image, of_divergence):
        x, slope, W, bias, log_sharpness, beta, sign, *rest = ctx.saved_tensors
        inner, outer, squares, response, unit_slopes = rest
        of_h = (1 - unit_slopes).mul_(squares).mul_(of_divergence[:, None])
        of_h.addmm_(of_image, outer).mul_(unit_slopes)
        of_inner, of_bias = x.T @ of_h, of_h.sum(0).mul_(beta)
        of_outer, of_squares = of_image.T @ response, of_divergence @ unit_slopes
        of_sharpness = (of_inner * inner).sub_(of_outer * outer).sum(0).addcmul_(of_bias, bias)
        of_sharpness.mul_(log_sharpness <= MAX_LOG_SHARPNESS)
        of_weight = of_inner.mul_(beta).addcmul_(of_outer, sign / beta)
        of_weight = of_weight.addcmul_(W, of_squares.mul_(2 * sign)).T
        of_trace = of_divergence.sum()
        if slope.ndim:
            of_slope = x.T @ of_image
            of_slope = (of_slope + of_slope.T).mul_(0.5)
            of_slope.diagonal().add_(of_trace)
        else:
            of_slope = torch.dot(x.flatten(), of_image.flatten()) + x.shape[1] * of_trace
        if ctx.raised is not None:
            of_raised = of_slope.trace() if slope.ndim else of_slope
            of_slope = torch.addcmul(of_slope, of_raised, ctx.raised[1])
            of_weight = torch.addcmul(of_weight, of_raised, ctx.raised[2])
        return None, of_slope, of_weight, of_bias, of_sharpness, None, of_image.sum(0), None

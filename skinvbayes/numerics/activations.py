"""Activation functions together with their slopes, at the cost of one of them.

The derivatives work in place: for a mini-batch, fresh memory costs more than the arithmetic.
"""

import torch

__all__ = [
    "slope_of_tanh",
    "tanh_",
    "tanh_with_slope",
]


def tanh_(h):
    """``tanh h``; without gradients it overwrites h and takes a third of the time.

    As 1 − 2 σ(−2h) it has an error of two units of rounding.
    """
    if torch.is_grad_enabled():
        return torch.tanh(h)
    h.mul_(-2).sigmoid_()
    return torch.add(h.new_ones(()), h, alpha=-2, out=h)


def slope_of_tanh(a):
    """``1 − a²``, the derivative where ``a = tanh h``."""
    return torch.addcmul(a.new_ones(()), a, a, value=-1)


def tanh_with_slope(h):
    """``a = tanh h``, and its derivative ``1 − a²``."""
    return _Tanh.apply(h)


class _Tanh(torch.autograd.Function):
    """(1 − a²)' = −2 a (1 − a²)."""

    @staticmethod
    def forward(ctx, h):
        a = tanh_(h.clone())
        slope = slope_of_tanh(a)
        ctx.save_for_backward(a, slope)
        return a, slope

    @staticmethod
    def backward(ctx, of_value, of_slope):
        a, slope = ctx.saved_tensors
        return (a * of_slope).mul_(-2).add_(of_value).mul_(slope)

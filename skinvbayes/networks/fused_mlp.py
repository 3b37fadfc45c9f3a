"""The perceptron and its divergence as one operation, for the inner loop of training.

It computes what ``call_and_divergence`` of the block spells out, with the derivatives written
down: at the sizes of a mini-batch, half of a step goes into the book-keeping of automatic
differentiation. Weights between features and units are kept as (n_features, n_units), which
products of few features are faster with.
"""

import torch

from ..numerics.activations import slope_of_tanh, tanh_
from ..numerics.symmetric import of_quotient

__all__ = ["mlp_branch_and_divergence"]


def mlp_branch_and_divergence(x, weights, biases, norms, log_scale, shift, lipschitz, n_exact):
    """``c (x − L W₃ tanh(W₂ tanh(W₁ x + b₁) + b₂)) + t`` and an estimate of its divergence.

    Parameters
    ----------
    x : Tensor of shape (n_samples, n_features)
        Points; no gradient is given for them.
    weights : list of Tensors of shapes (n_1, n_features), (n_2, n_1) and (n_features, n_2)
        The W_i are these, divided by their norms.
    biases : list of Tensors of shapes (n_1,) and (n_2,)
        The b_i.
    norms : list of tuples of a float and Tensors of shapes (n_rows,) and (n_columns,)
        What to divide by, and its derivative u vᵀ in two factors; None in place of a one.
    log_scale, shift : Tensors of shapes () and (n_features,)
        log c and t.
    lipschitz : float
        L.
    n_exact : int
        The number of rows whose divergence is exact.

    Returns
    -------
    image : Tensor of shape (n_samples, n_features)
        The values.
    divergence : Tensor of shape (n_samples,)
        ``c (n_features − L d₂ᵀ M d₁)`` with M = W₂ ∘ (W₁ W₃)ᵀ and the slopes d_i of the units.
        Its mean is unbiased for the mean if the exact rows are drawn at random.
    """
    return _MLP.apply(x, *weights, *biases, log_scale, shift, norms, lipschitz, n_exact)


class _MLP(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, W1, W2, W3, b1, b2, log_scale, shift, norms, lipschitz, n_exact):
        scaled = [W if n is None else W / n[0] for W, n in zip((W1, W2, W3), norms, strict=True)]
        first, second, last = scaled[0].T.contiguous(), scaled[1], scaled[2]
        c, coupling = log_scale.exp(), last.T @ first
        units_1 = tanh_(torch.addmm(b1, x, first))
        units_2 = tanh_(torch.addmm(b2, units_1, second.T))
        slopes_1, slopes_2 = slope_of_tanh(units_1), slope_of_tanh(units_2)
        outer = (-lipschitz * c) * last
        image = torch.addcmul(shift, c, x).addmm_(units_2, outer.T)
        trace = _Trace(second * coupling, slopes_1, slopes_2, min(n_exact, len(x)))
        divergence = c * (x.shape[1] - lipschitz * trace.value)
        ctx.norms, ctx.lipschitz, ctx.trace = norms, lipschitz, trace
        ctx.save_for_backward(
            *(x, first, second, last, c, coupling, outer),
            *(units_1, units_2, shift, image, divergence),
        )
        return image, divergence

    @staticmethod
    def backward(ctx, of_image, of_divergence):
        x, first, second, last, c, coupling, outer, *rest = ctx.saved_tensors
        units_1, units_2, shift, image, divergence = rest
        slopes_1, slopes_2 = ctx.trace.slopes_1, ctx.trace.slopes_2
        factor = -ctx.lipschitz * c
        of_M, of_slopes_1, of_slopes_2 = ctx.trace.derivatives(factor * of_divergence)
        of_coupling = of_M * second
        of_h2 = (of_image @ outer).addcmul_(of_slopes_2, units_2, value=-2).mul_(slopes_2)
        of_h1 = (of_h2 @ second).addcmul_(of_slopes_1, units_1, value=-2).mul_(slopes_1)
        of_first = (x.T @ of_h1).addmm_(last, of_coupling).T
        of_second = of_M.mul_(coupling).addmm_(of_h2.T, units_1)
        of_last = (of_image.T @ units_2).mul_(factor).addmm_(first, of_coupling.T)
        of_shift = of_image.sum(0)
        of_log_scale = torch.dot(of_image.flatten(), image.flatten()) - torch.dot(of_shift, shift)
        of_log_scale += torch.dot(of_divergence, divergence)
        scaled = (of_first, first.T), (of_second, second), (of_last, last)
        of_weights = (
            of_W if norm is None else of_quotient(of_W, W, *norm)
            for (of_W, W), norm in zip(scaled, ctx.norms, strict=True)
        )
        of_biases = of_h1.sum(0), of_h2.sum(0)
        return None, *of_weights, *of_biases, of_log_scale, of_shift, None, None, None


class _Trace:
    """``d₂ᵀ M d₁`` of every row, estimated, with its derivatives.

    It is linear around the averages of d₁ and d₂, for all rows; what that is off in the first rows
    is taken out of the mean.
    """

    def __init__(self, M, slopes_1, slopes_2, n_exact):
        self.M, self.slopes_1, self.slopes_2 = M, slopes_1, slopes_2
        self.few, self.share = slice(n_exact), len(slopes_1) / n_exact
        self.mean_1, self.mean_2 = slopes_1.mean(0), slopes_2.mean(0)
        self.of_1, self.of_2 = self.mean_2 @ M, M @ self.mean_1
        self.exact_of_1 = slopes_2[self.few] @ M
        linear = torch.addmv(-torch.dot(self.mean_2, self.of_2), slopes_2, self.of_2)
        self.value = linear.addmv_(slopes_1, self.of_1)
        self.value[self.few].lerp_((self.exact_of_1 * slopes_1[self.few]).sum(1), self.share)

    def derivatives(self, of_value):
        """In M, d₁ and d₂; the averages are held fixed, which changes nothing."""
        few_1, few_2 = self.slopes_1[self.few], self.slopes_2[self.few]
        of_exact = self.share * of_value[self.few, None]
        of_linear = of_value.clone()
        of_linear[self.few] -= of_exact[:, 0]
        along_1 = torch.addmv(-of_linear.sum() * self.mean_1, self.slopes_1.T, of_linear)
        of_M = (of_exact * few_2).T @ few_1
        of_M.addr_(of_linear @ self.slopes_2, self.mean_1).addr_(self.mean_2, along_1)
        of_slopes_1 = torch.outer(of_linear, self.of_1)
        of_slopes_2 = torch.outer(of_linear, self.of_2)
        of_slopes_1[self.few].addcmul_(of_exact, self.exact_of_1)
        of_slopes_2[self.few].addmm_(of_exact * few_1, self.M.T)
        return of_M, of_slopes_1, of_slopes_2

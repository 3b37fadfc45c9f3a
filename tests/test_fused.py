"""Derivatives written down by hand, against automatic differentiation of the formula."""

import pytest
import torch

from skinvbayes.networks.fused import _Trace


def formula(M, slopes_1, slopes_2, n_exact):
    """The linear part of all rows, its error in the first ones taken out of the mean."""
    mean_1, mean_2 = slopes_1.mean(0).detach(), slopes_2.mean(0).detach()
    linear = slopes_2 @ M @ mean_1 + mean_2 @ M @ slopes_1.T - mean_2 @ M @ mean_1
    error = torch.einsum("ni,ij,nj->n", slopes_2, M, slopes_1) - linear
    share = len(slopes_1) / n_exact * (torch.arange(len(slopes_1)) < n_exact)
    return linear + share * error


@pytest.mark.parametrize("n_exact", [1, 3, 10])
def test_estimated_trace(n_exact):
    generator = torch.Generator().manual_seed(0)
    shapes = (5, 4), (10, 4), (10, 5)  # M, and the slopes of both layers
    arguments = [
        torch.rand(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    ]
    weights = torch.randn(10, generator=generator, dtype=torch.float64)
    value = formula(*arguments, n_exact)
    with torch.no_grad():
        trace = _Trace(*arguments, n_exact)
        found = trace.derivatives(weights)
    torch.testing.assert_close(trace.value, value.detach())
    expected = torch.autograd.grad((weights * value).sum(), arguments)
    for derivative, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(derivative, exact)

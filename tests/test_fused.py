"""Derivatives written down by hand, against automatic differentiation of the formula."""

import numpy as np
import pytest
import torch

from helpers import shake
from skinvbayes.networks import IResNet
from skinvbayes.networks.fused_mlp import _Trace
from skinvbayes.operators import Operator
from skinvbayes.problem.tensor_operator import TensorOperator


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


@pytest.mark.parametrize("known", [False, True], ids=["learned", "known"])
@pytest.mark.parametrize("n_pieces", [2, 5])
def test_units(n_pieces, known):
    """Where a point asks for its gradient, automatic differentiation goes through the formulas."""
    generator = torch.Generator().manual_seed(0)
    network = IResNet(
        3,
        hidden_layer_sizes=(4,),
        block_options={"n_pieces": n_pieces, "n_subtracted": 2},
        known=TensorOperator(Operator(np.diag([1.0, 0.5, 0.2])), 1.0) if known else None,
        known_bounds=(0.2, 1.0) if known else None,
        generator=generator,
    ).double()
    shake(network, 0.5, generator)
    x, weights = (torch.randn(10, n, generator=generator).double() for n in (3, 4))

    def derivatives(x):
        image, divergence = network.call_and_divergence(x, len(x))
        columns = torch.cat([image, divergence[:, None]], 1)
        values = (weights * columns).sum(), (weights[:, :3] * network(x)).sum()
        return [columns, *(torch.cat([g.ravel() for g in gradient(v)]) for v in values)]

    def gradient(value):
        parameters = list(network.parameters())
        found = torch.autograd.grad(value, parameters, allow_unused=True)
        assert all(part is not None for part in found)
        return found

    for fast, exact in zip(derivatives(x), derivatives(x.requires_grad_()), strict=True):
        torch.testing.assert_close(fast, exact, rtol=1e-10, atol=1e-12)

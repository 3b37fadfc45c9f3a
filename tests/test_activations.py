"""Values and slopes together, against automatic differentiation of the plain functions."""

import pytest
import torch

from skinvbayes.numerics import activations


def test_value_slope_and_gradient():
    h = torch.linspace(-200, 200, 4001, dtype=torch.float64)[:, None].requires_grad_()
    value, slope = activations.tanh_with_slope(h)
    torch.testing.assert_close(value, torch.tanh(h), rtol=1e-12, atol=1e-12)
    (exact,) = torch.autograd.grad(torch.tanh(h).sum(), h, create_graph=True)
    torch.testing.assert_close(slope, exact, rtol=1e-12, atol=1e-12)
    probe = torch.randn(2, *h.shape, generator=torch.Generator().manual_seed(0)).double()
    (gradient,) = torch.autograd.grad((probe[0] * value + probe[1] * slope).sum(), h)
    plain = (probe[0] * torch.tanh(h) + probe[1] * exact).sum()
    (expected,) = torch.autograd.grad(plain, h)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_without_gradient(dtype):
    h = torch.linspace(-200, 200, 4001, dtype=dtype)[:, None]
    rounding = torch.finfo(dtype).eps
    with torch.no_grad():
        value = activations.tanh_(h.clone())
    exact = torch.tanh(h)
    torch.testing.assert_close(value, exact, rtol=0, atol=2 * rounding)
    slope = activations.slope_of_tanh(value)
    torch.testing.assert_close(slope, 1 - exact.square(), rtol=0, atol=4 * rounding)

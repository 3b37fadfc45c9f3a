"""The multiple of the identity that a bound demands, against its definition."""

import numpy as np
import pytest
import torch

from skinvbayes.networks.monotone import smallest_shift

RATIO, SMOOTHING = 0.05, 5e-3


def shift_of(lower, b, ratio=RATIO, smoothing=SMOOTHING):
    return smallest_shift(torch.as_tensor(lower), torch.as_tensor(b), ratio, smoothing)


@pytest.mark.parametrize("b", [0.5, 4.0, 40.0])
def test_smallest_shift_is_enough_and_little_more(b):
    lower = torch.tensor([0.1, 0.102, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor(b, dtype=torch.float64, requires_grad=True)
    raised = shift_of(lower, b)
    exact = max(0.0, (RATIO * b.item() - 0.1) / (1 - RATIO))
    assert exact <= raised <= exact + 2.5 * SMOOTHING
    assert torch.autograd.gradcheck(shift_of, (lower, b), atol=1e-9, rtol=1e-5)


@pytest.mark.parametrize("ratio", [5e-4, 0.05, 0.9])
@pytest.mark.parametrize("n", [1, 30])
@pytest.mark.parametrize("smoothing", [1e-4, 5e-3])
def test_the_bound_holds_for_every_spectrum(ratio, n, smoothing):
    """With it a over b is at least the ratio; the excess is a multiple of the smoothing."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        lower, b = rng.normal(size=n), 5 * rng.uniform()
        b += lower.max()
        raised = shift_of(lower, b, ratio, smoothing).item()
        assert raised >= 0
        excess = lower.min() + raised - ratio * (b + raised)
        assert excess >= -1e-12
        needed = max(0.0, (ratio * b - lower.min()) / (1 - ratio))
        smoothness = smoothing * (np.log(n) / (1 - ratio) + np.log(2))
        assert raised <= needed + smoothness + 1e-12


def test_a_spectrum_far_above_the_bound_is_left_alone():
    lower = torch.full((3,), 100.0, dtype=torch.float64, requires_grad=True)
    raised = shift_of(lower, 200.0)
    raised.backward()
    assert raised == 0 and not lower.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_spectra_give_finite_numbers(dtype):
    for lower in (-1e12, 0.0, 1e12):
        lower = torch.full((4,), lower, dtype=dtype, requires_grad=True)
        raised = shift_of(lower, torch.tensor(1e12, dtype=dtype))
        raised.backward()
        assert raised.isfinite() and lower.grad.isfinite().all()

"""The multiple of the identity that a bound demands, against eigenvalues and finite differences."""

import numpy as np
import pytest

from skinvbayes.networks.spectral_shift import SpectralShift, smallest_shift

RATIO, SMOOTHING = 0.05, 5e-3
SHAPES = [(1, 1), (2, 6), (6, 2), (12, 9)]  # features, units


def weights(n_features, n_units, dense, seed=0):
    """S and W that need a shift."""
    rng = np.random.default_rng(seed)
    slope = rng.normal(size=(n_features, n_features)) / 3 + np.eye(n_features)
    return slope if dense else np.array(0.7), rng.normal(size=(n_units, n_features))


def ends(slope, weight, n_down, known):
    """a and b from all eigenvalues."""
    S = (slope + slope.T) / 2 if slope.ndim else slope * np.eye(weight.shape[1])
    down, up = weight[:n_down], weight[n_down:]
    a = np.linalg.eigvalsh(S - down.T @ down)[0]
    return a + known[0], np.linalg.eigvalsh(S + up.T @ up)[-1] + known[1]


@pytest.mark.parametrize("b", [0.5, 4.0, 40.0])
def test_smallest_shift_is_enough_and_little_more(b):
    lower = np.array([0.1, 0.102, 0.5, 3.0])
    raised, of_lower, of_b = smallest_shift(lower, b, RATIO, SMOOTHING)
    exact = max(0.0, (RATIO * b - 0.1) / (1 - RATIO))
    assert exact <= raised <= exact + 2.5 * SMOOTHING
    for i, step in enumerate(1e-6 * np.eye(4)):
        values = [smallest_shift(lower + sign * step, b, RATIO, SMOOTHING)[0] for sign in (1, -1)]
        assert np.isclose(of_lower[i], (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-9)
    values = [smallest_shift(lower, b + sign * 1e-6, RATIO, SMOOTHING)[0] for sign in (1, -1)]
    assert np.isclose(of_b, (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dense", [True, False], ids=["matrix", "number"])
@pytest.mark.parametrize(("n_features", "n_units"), SHAPES)
def test_exact(n_features, n_units, dense):
    """With it the bound holds, not much more than that, and the derivatives are right."""
    known = (0.0, 0.0) if dense else (0.1, 0.4)
    slope, weight = weights(n_features, n_units, dense)
    n_down = n_units // 2
    shift = SpectralShift(RATIO, SMOOTHING, n_down)
    found = shift.exact(slope, weight, known)
    a, b = ends(slope, weight, n_down, known)
    if found is None:
        assert a > RATIO * b
        return
    raised, *derivatives = found
    excess = a + raised - RATIO * (b + raised)
    assert -1e-12 < excess < SMOOTHING * (np.log(n_features) + 1)
    for array, derivative in zip((slope, weight), derivatives, strict=True):
        direction = np.random.default_rng(1).normal(size=array.shape)
        values = []
        for length in (1e-6, -1e-6):
            moved = [slope, weight]
            moved[0 if array is slope else 1] = array + length * direction
            values.append(shift.exact(*moved, known)[0])
        difference = (values[0] - values[1]) / 2e-6
        assert np.isclose((derivative * direction).sum(), difference, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("dense", [True, False], ids=["matrix", "number"])
def test_followed_in_training(dense):
    """Exact in every fourth step; in between never above, and close."""
    slope, weight = weights(12, 30, dense)
    shift, rng = SpectralShift(RATIO, SMOOTHING, 15), np.random.default_rng(0)
    for step in range(12):
        exact = shift.exact(slope, weight, (0.0, 0.0))
        found = shift.followed(slope, weight, (0.0, 0.0))
        tolerance = 1e-12 if step % 4 == 0 else 1e-2 * exact[0]
        for part, exact_part in zip(found[:1], exact[:1], strict=True):
            assert exact_part - tolerance <= part <= exact_part + 1e-12
        slope = slope + 1e-3 * rng.normal(size=slope.shape)
        weight = weight + 1e-3 * rng.normal(size=weight.shape)


@pytest.mark.parametrize("dense", [True, False], ids=["matrix", "number"])
@pytest.mark.parametrize(("n_features", "n_units"), [*SHAPES[1:], (20, 40), (50, 24)])
def test_errors_in_between_are_of_second_order(n_features, n_units, dense):
    """And the derivatives are those of the nearest exact ones to first order."""
    slope, weight = weights(n_features, n_units, dense)
    weight[: n_units // 2] *= 3
    errors, rng = [], np.random.default_rng(0)
    changes = rng.normal(size=slope.shape), rng.normal(size=weight.shape)
    for length in (2e-4, 1e-4):
        shift = SpectralShift(RATIO, SMOOTHING, n_units // 2)
        shift.followed(slope, weight, (0.0, 0.0))
        moved = slope + length * changes[0], weight + length * changes[1]
        found = shift.followed(*moved, (0.0, 0.0))
        exact = shift.exact(*moved, (0.0, 0.0))
        errors.append(exact[0] - found[0])
        for part, exact_part in zip(found[1:], exact[1:], strict=True):
            assert np.abs(part - exact_part).max() < 0.05 * np.abs(exact_part).max()
    assert errors[1] > -1e-12
    assert errors[0] < 1e-10 or 3 < errors[0] / errors[1] < 5


def test_a_far_bound_is_left_alone_until_the_next_look():
    far, near = 100 * np.eye(3), 0.1 * np.eye(3)
    weight = np.ones((4, 3))
    shift = SpectralShift(RATIO, SMOOTHING, 2)
    found = [shift.followed(slope, weight, (0.0, 0.0)) for slope in (far, near, near, near, near)]
    assert found[:4] == 4 * [None]
    assert found[4][0] == shift.exact(near, weight, (0.0, 0.0))[0]

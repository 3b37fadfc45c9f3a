"""When the linear fit of y to x serves as the forward map, and when it becomes the operator."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skinvbayes import ReconstructionINN
from skinvbayes.datasets import (
    load_deblurring_digits,
    make_backward_heat,
    make_bimodal,
    make_saturating_sensor,
)
from skinvbayes.operators import estimate_operator
from skinvbayes.oracles import posterior_mean
from skinvbayes.problem.measurement import choose_operator, monotone_misfit

SKEW = np.array([[1.0, 0.8], [-0.6, 0.8]])
SPD = {
    "identity": np.ones,
    "ill-posed": lambda d: np.geomspace(1e-6, 1, d),
    "singular": lambda d: np.arange(d) % 2,
}


def misfit(X, Y):
    return monotone_misfit(X, Y, np.ones(len(X)))


def simulated(B, n, noise_level, seed):
    rng = np.random.RandomState(seed)
    X = rng.standard_normal((n, len(B))) + 5
    return X, X @ B.T + noise_level * rng.standard_normal(X.shape) - 3


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 150),
    st.integers(1, 30),
    st.sampled_from([0.0, 0.01, 0.5, 3.0]),
    st.sampled_from(sorted(SPD)),
    st.integers(0, 2**20),
)
def test_symmetric_maps_pass_with_any_noise(n, d, noise_level, spectrum, seed):
    axes = np.linalg.qr(np.random.RandomState(seed + 1).standard_normal((d, d)))[0]
    B = axes * SPD[spectrum](d) @ axes.T
    assert misfit(*simulated(B, n, noise_level, seed)) == 0


@pytest.mark.parametrize("n, d", [(4, 1), (4, 4), (6, 1), (9, 2), (15, 12), (40, 12)])
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_very_few_pairs_pass(n, d, slope):
    B = np.diag([slope] + [0.0] * (d - 1))
    found = [misfit(*simulated(B, n, 1.0, seed)) > 0 for seed in range(200)]
    assert sum(found) <= 1


@pytest.mark.parametrize("noise_level", [0.1, 0.5, 3.0])
def test_noise_that_is_correlated_or_unequal_passes(noise_level):
    for seed in range(20):
        rng = np.random.RandomState(seed)
        X = rng.standard_normal((60, 6)) * np.geomspace(0.1, 3, 6)
        noise = rng.standard_normal((60, 2)) @ rng.standard_normal((2, 6))
        assert misfit(X, X + noise_level * noise * np.geomspace(0.1, 2, 6)) == 0


@pytest.mark.parametrize("n_pairs", [20, 200, 2000])
@pytest.mark.parametrize("noise_level", [0.1, 0.3, 1.0])
def test_bimodal_signals_pass(n_pairs, noise_level):
    data = make_bimodal(n_pairs, noise_level=noise_level, random_state=0)
    assert misfit(data.X, data.Y) == 0
    skewed = data.Y + 0.3 * noise_level / np.sqrt(n_pairs) * data.X @ (SKEW - np.eye(2)).T
    assert monotone_misfit(data.X, skewed, np.full(n_pairs, 1e4)) == 0  # what a weight does not say


def test_images_and_profiles_pass():
    """Symmetric blurs, with fewer pairs than features and with more; signals in few directions."""
    digits = load_deblurring_digits()
    for n in (20, 64, 100, 1400):
        assert misfit(digits.X_train[:n], digits.Y_train[:n]) == 0
    heat = make_backward_heat(500, 1)
    assert misfit(heat.X_train, heat.Y_train) == 0


@pytest.mark.parametrize("options", [{}, {"noise_level": 0}, {"saturation": 0.05}, {"blur": 1.5}])
def test_nonlinear_monotone_maps_pass(options):
    """Their fit is not exactly symmetric, but this costs little beside what no linear map fits."""
    sensor = make_saturating_sensor(1000, 1, **options)
    assert misfit(sensor.X_train, sensor.Y_train) == 0
    fitted = estimate_operator(sensor.X_train, sensor.Y_train).to_dense()
    assert np.abs(fitted - fitted.T).max() > 1e-4


MAPS = {
    "skew": SKEW,
    "reversed": -np.eye(2),
    "shift": np.roll(np.eye(12), 1, axis=0),
    "derivative": np.eye(12) - np.roll(np.eye(12), 1, axis=0),
    "one slope of twelve is negative": np.diag([1.0] * 11 + [-0.3]),
}


@pytest.mark.parametrize("noise_level", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("name", MAPS)
def test_other_maps_are_found(name, noise_level):
    X, Y = simulated(MAPS[name], 500, noise_level, 0)
    found = misfit(X, Y)
    assert 0 < found <= 1
    assert found == pytest.approx(misfit(1e6 * X, 1e-3 * Y), rel=1e-6)
    assert found == pytest.approx(monotone_misfit(X, Y, np.full(500, 7.0)), rel=1e-9)


@pytest.mark.parametrize(
    "size, noise_level, serious", [(0.1, 0.05, 1), (0.2, 0.2, 1), (0.1, 0.4, 0)]
)
def test_what_counts_is_the_misfit_beside_the_noise(size, noise_level, serious):
    """The same map costs a third of the error at the lowest noise level, 1 % at the highest."""
    B = np.array([[1, size], [-size, 1]])
    data = make_bimodal(2000, operator=B, noise_level=noise_level, random_state=0)
    assert (misfit(data.X, data.Y) > 0) == serious


def test_only_the_span_of_few_signals_counts():
    """Outside it the least-squares map is zero, and the pairs say nothing about the true one."""
    rng = np.random.RandomState(0)
    basis = np.linalg.qr(rng.standard_normal((40, 4)))[0].T
    X = rng.standard_normal((30, 4)) @ basis
    outside = rng.standard_normal((40, 40)) @ (np.eye(40) - basis.T @ basis)
    assert misfit(X, X @ (np.eye(40) + outside).T) == 0
    assert misfit(X, X @ (np.eye(40) + outside).T - 2 * X) > 0


def test_the_fit_becomes_the_operator():
    X, Y = simulated(SKEW, 300, 0.1, 0)
    fitted, pairs = estimate_operator(X, Y), (X, Y, np.ones(300))
    with pytest.warns(UserWarning, match=r"misses \d+\.\d% of the variance.*operator=.estimate"):
        assert choose_operator(None, fitted, 2, 2, pairs=pairs) is fitted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_operator("estimate", fitted, 2, 2, pairs=pairs) is fitted
        assert choose_operator(None, fitted, 2, 2, pairs=(X, X, np.ones(300))) is None


def test_skew_maps_need_no_operator():
    data, new = (
        make_bimodal(2000, operator=SKEW, noise_level=0.2, random_state=seed) for seed in (0, 1)
    )
    with pytest.warns(UserWarning, match="not close to symmetric positive definite"):
        estimator = ReconstructionINN(max_iter=40, random_state=0).fit(data.X, data.Y)
    mean = posterior_mean(new.prior, new.Y, operator=SKEW, noise_level=0.2)
    exact = ((mean - new.X) ** 2).mean()
    assert ((estimator.predict(new.Y) - new.X) ** 2).mean() <= 1.02 * exact

"""The convolutional branch on signals: values, bounds, lengths not trained on, and accuracy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from scipy.sparse import eye_array
from sklearn.exceptions import ConvergenceWarning

from helpers import conv_network
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN

CASES = {
    "one scale": dict(image_shape=(9,), kernel_size=5, n_filters=6),
    "scales": dict(image_shape=(20,), kernel_size=3, n_filters=8, dilations=(1, 2, 4)),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def network(request):
    return conv_network(**request.param)


@pytest.fixture
def signals(network):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, network.n_features, generator=generator, dtype=torch.float64)


def test_value_is_of_correlations_with_mirrored_signals():
    block, rng = conv_network(**CASES["one scale"]).blocks[0], np.random.default_rng(0)
    x = rng.normal(size=(2, 9))
    (scale,) = block.constants().scales
    expected = np.zeros_like(x)
    for j, weights in enumerate(scale.filters[:, 0, 0].detach().numpy()):
        total, falling, beta, gamma = (float(part[j].detach()) for part in scale[2:])
        h = correlate1d(x, weights, mode="reflect")
        h = total * h / np.sqrt(1 + (beta * h) ** 2) - falling * h / np.sqrt(1 + (gamma * h) ** 2)
        matrix = correlate1d(np.eye(9), weights, mode="reflect")
        expected += h @ matrix.T
    with torch.no_grad():
        found = scale.value(torch.from_numpy(x), block.grid_shape)
    np.testing.assert_allclose(found, expected)


def test_jacobian_is_symmetric_within_its_bounds_and_its_trace_the_divergence(network, signals):
    block = network.blocks[0]
    plain = torch.stack(
        [torch.autograd.functional.jacobian(lambda v: block(v[None])[0], x) for x in signals]
    )
    torch.testing.assert_close(block.jacobian(signals), plain)
    torch.testing.assert_close(plain, plain.mT)
    divergence = block.call_and_divergence(signals, 1)[1]
    torch.testing.assert_close(divergence, plain.diagonal(dim1=1, dim2=2).sum(1))
    lower, upper = (float(bound.detach()) for bound in block.bounds())
    spectra = torch.linalg.eigvalsh(plain)
    assert lower <= spectra.min() and spectra.max() <= upper
    assert (upper - lower) / (upper + lower) <= 0.95 + 1e-6


def make_steps(n_samples, n, rng):
    """Piecewise-constant signals, and the same with noise of standard deviation 0.2."""
    jumps = rng.normal(size=(n_samples, n)) * (rng.random((n_samples, n)) < 0.08)
    X = rng.normal(size=(n_samples, 1)) + jumps.cumsum(1)
    return X, X + 0.2 * rng.normal(size=X.shape)


@pytest.fixture(scope="module")
def fitted():
    X, Y = make_steps(200, 48, np.random.default_rng(0))
    estimator = ReconstructionINN(
        residual="conv",
        operator=eye_array(48, format="csr"),
        image_shape=(48,),
        solver="adam",
        hidden_layer_sizes=(6,),
        max_iter=10,
        random_state=0,
    )
    with pytest.warns(ConvergenceWarning, match="still falling"):
        return estimator.fit(X, Y)


@pytest.mark.parametrize("n", [48, 75])
def test_steps_are_restored_better_than_by_the_best_linear_estimator(fitted, n):
    X, Y = make_steps(300, n, np.random.default_rng(1))
    if n != 48:
        fitted = fitted.adapt(image_shape=(n,), operator=eye_array(n, format="csr"))
    C, mean = np.cov(X.T), X.mean(0)
    linear = mean + (Y - mean) @ np.linalg.solve(C + 0.04 * np.eye(n), C)
    error = np.mean((fitted.predict(Y) - X) ** 2)
    assert error < 0.9 * np.mean((linear - X) ** 2)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
@pytest.mark.parametrize("n", [48, 75])
def test_intervals_are_as_long_as_errors_say(fitted, n, coverage):
    """Of other signals and lengths too; Gaussian ones are wrong by more for some coverage."""
    X, Y = make_steps(300, n, np.random.default_rng(1))
    if n != 48:
        fitted = fitted.adapt(image_shape=(n,), operator=eye_array(n, format="csr"))
    lower, upper = fitted.posterior_interval(Y, coverage=coverage)
    assert ((lower <= X) & (upper >= X)).mean() == pytest.approx(coverage, abs=0.03)


def test_intervals_of_the_divergence_loss_too():
    """Its standard deviations are those of a narrow maximum. Other noise is judged by nothing."""
    X, Y = make_steps(200, 48, np.random.default_rng(0))
    operator = eye_array(48, format="csr")
    options = {"residual": "conv", "image_shape": (48,), "max_iter": 10, "random_state": 0}
    estimator = DivergenceRegularizedINN(operator=operator, noise_level=0.2, **options).fit(X, Y)
    X, Y = make_steps(300, 48, np.random.default_rng(1))
    lower, upper = estimator.posterior_interval(Y)
    found = ((lower <= X) & (upper >= X)).mean()
    assert found == pytest.approx(0.9, abs=0.03)
    gaussian = (np.abs(X - estimator.predict(Y)) <= 1.645 * estimator.posterior_std(Y)).mean()
    assert abs(gaussian - 0.9) > abs(found - 0.9)
    other = estimator.adapt(noise_level=0.2)
    lower, upper = other.posterior_interval(Y)
    assert ((lower <= X) & (upper >= X)).mean() == pytest.approx(gaussian, abs=0.01)
    tempered = DivergenceRegularizedINN(0.1, operator=operator, noise_level=0.2, **options)
    assert tempered.set_params(max_iter=2).fit(X, Y).problem_.error_quantiles is None
    few = estimator.set_params(max_iter=2).fit(X[:99], Y[:99])  # do not tell
    assert few.problem_.error_quantiles is None


@pytest.mark.parametrize("n", [40, 61])
def test_certificate_holds_on_pairs_of_any_length(fitted, n):
    other = fitted.adapt(image_shape=(n,), operator=eye_array(n, format="csr"))
    network = other.network_
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(500, n)))
    v = torch.from_numpy(rng.normal(size=(500, n)) * 10.0 ** rng.uniform(-4, 1, (500, 1)))
    block = network.blocks[0].double()
    with torch.no_grad():
        change = block(x + v) - block(x)
        slopes = (change * v).sum(1) / v.square().sum(1)
        lower, upper = (float(bound.detach()) for bound in block.bounds())
    assert lower <= slopes.min() + 1e-9 and slopes.max() <= upper + 1e-9


def test_signals_and_images_do_not_share_filters(fitted):
    with pytest.raises(ValueError, match="Filters of images do not serve signals"):
        fitted.adapt(image_shape=(8, 8), operator=eye_array(64, format="csr"))


def test_wrong_shape_names_both_forms():
    estimator = DivergenceRegularizedINN(
        residual="conv", operator=eye_array(48, format="csr"), image_shape=(47,)
    )
    with pytest.raises(ValueError, match=r"image_shape=\(48,\) for signals"):
        estimator.fit(*make_steps(10, 48, np.random.default_rng(0)))

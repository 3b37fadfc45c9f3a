"""The convolutional branch on signals: values, bounds, lengths not trained on, and accuracy."""

import math
import pickle

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d, gaussian_filter1d
from scipy.sparse import eye_array
from sklearn.exceptions import ConvergenceWarning

from helpers import conv_network, rmse
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.datasets import make_ill_posed
from skinvbayes.inversion import invert
from skinvbayes.operators import as_operator
from skinvbayes.problem.tensor_operator import TensorOperator

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


def deconvolution(n):
    """AᵀA of a Gaussian blur, of norm one and with its lowest eigenvalue near zero."""
    blur = gaussian_filter1d(np.eye(n), 1.5, axis=0, mode="reflect")
    return TensorOperator(as_operator(blur.T @ blur), 1.0, rounded=False)


@pytest.mark.parametrize("size", [1.0, 1e-4], ids=["as large as the operator", "far smaller"])
def test_certificate_is_relative_to_the_operator(size):
    """a P ≼ Dφ ≼ b P, where L bounds how unequal the slopes of the prior's part alone are."""
    options = dict(CASES["scales"], known=deconvolution(20), known_bounds=(0.0, 1.0))
    network = conv_network(**options)
    block = network.blocks[0]
    with torch.no_grad():
        block.unit.mul_(size)
        block.log_steep.add_(math.log(size))
        block.log_falling.add_(math.log(size))
        a, b = block.bounds()
        generator = torch.Generator().manual_seed(3)
        x = 3 * torch.randn(20, 20, generator=generator, dtype=torch.float64)
        eye = torch.eye(20, dtype=torch.float64)
        P = (block.known(eye) + b * eye) / b
        root = torch.linalg.inv(torch.linalg.cholesky(P))
        spectra = torch.linalg.eigvalsh(root @ block.jacobian(x) @ root.T)
        assert a <= spectra.min() + 1e-12 and spectra.max() <= b + 1e-12
        assert b < 100 * size and (b - a) / (b + a) <= 0.95 + 1e-6
        f = torch.stack([block.residual(x), block.residual(x + 0.1 * x.flip(0))])
        lengths = ((f[1] - f[0]) @ torch.linalg.cholesky(P)).norm(dim=1)
        steps = (0.1 * x.flip(0) @ torch.linalg.cholesky(P)).norm(dim=1)
        assert (lengths <= 0.95 * steps + 1e-9).all()
        found = invert(network, block(x), tol=1e-10)
    assert found.converged.all()
    torch.testing.assert_close(found.x, x, rtol=0, atol=1e-5)


def test_jacobian_of_an_operator_and_filters_is_that_of_automatic_differentiation(network, signals):
    n = network.n_features
    case = next(c for c in CASES.values() if c["image_shape"] == (n,))
    block = conv_network(**case, known=deconvolution(n), known_bounds=(0.0, 1.0)).blocks[0]
    plain = torch.stack(
        [torch.autograd.functional.jacobian(lambda v: block(v[None])[0], x) for x in signals]
    )
    torch.testing.assert_close(block.jacobian(signals), plain)


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


@pytest.fixture(scope="module", params=["gravity", "phillips"])
def ill_posed(request):
    """Steps seen through an operator that is far from invertible, and filters fitted to them."""
    data = make_ill_posed(
        request.param, 300, 300, prior="piecewise_constant", n_features=32, random_state=1
    )
    estimator = ReconstructionINN(operator=data.operator, image_shape=(32,), **FILTERS)
    with pytest.warns(ConvergenceWarning, match="still falling"):
        return data, estimator.fit(data.X_train, data.Y_train)


FILTERS = dict(residual="conv", kernel_size=5, max_iter=10, batch_size=32, random_state=0)


def test_ill_posed_steps_are_restored_far_better_than_by_the_best_linear_estimator(ill_posed):
    """Before the certificate was relative to the operator the error was larger than that."""
    data, estimator = ill_posed
    A, C, X = data.operator, data.covariance, data.X_test
    gain = C @ A.T @ np.linalg.inv(A @ C @ A.T + data.noise_level**2 * np.eye(len(A)))
    linear = rmse(data.Y_test @ gain.T, X)
    assert rmse(estimator.predict(data.Y_test), X) < 0.95 * linear
    lower, upper = estimator.posterior_interval(data.Y_test)
    assert ((lower <= X) & (upper >= X)).mean() == pytest.approx(0.9, abs=0.03)


def test_missing_readings_of_ill_posed_steps_are_rows_left_out(ill_posed):
    data, _ = ill_posed
    estimator = DivergenceRegularizedINN(
        operator=data.operator, noise_level=data.noise_level, image_shape=(32,), **FILTERS
    ).fit(data.X_train, data.Y_train)
    Y = data.Y_test[:5].copy()
    Y[:, 3::7] = np.nan
    kept = ~np.isnan(Y[0])
    other = estimator.adapt(operator=data.operator[kept])
    assert estimator.problem_.measurement.offset is None  # filters have no constant of each reading
    expected = other.predict(Y[:, kept])
    np.testing.assert_allclose(estimator.predict(Y), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
@pytest.mark.parametrize("n", [48, 75])
def test_intervals_are_as_long_as_errors_say(fitted, n, coverage):
    """Of other signals and lengths too; Gaussian ones are wrong by more for some coverage."""
    X, Y = make_steps(300, n, np.random.default_rng(1))
    if n != 48:
        fitted = fitted.adapt(image_shape=(n,), operator=eye_array(n, format="csr"))
    lower, upper = fitted.posterior_interval(Y, coverage=coverage)
    assert ((lower <= X) & (upper >= X)).mean() == pytest.approx(coverage, abs=0.03)


def test_flat_parts_and_edges_are_covered_alike(fitted):
    """With one quantile for all of them: 96 % where the standard deviation is small, else 79 %."""
    X, Y = make_steps(400, 48, np.random.default_rng(1))
    lower, upper = fitted.posterior_interval(Y)
    inside, std = (lower <= X) & (upper >= X), fitted.posterior_std(Y)
    small, large = np.quantile(std, [1 / 3, 2 / 3])
    for third in (std <= small, (std > small) & (std <= large), std > large):
        assert inside[third].mean() == pytest.approx(0.9, abs=0.04)


def test_intervals_of_the_divergence_loss_too():
    """Of the posterior with as much of the prior as pairs say. Other noise is judged by nothing."""
    X, Y = make_steps(200, 48, np.random.default_rng(0))
    operator = eye_array(48, format="csr")
    options = {"residual": "conv", "image_shape": (48,), "max_iter": 10, "random_state": 0}
    estimator = DivergenceRegularizedINN(operator=operator, noise_level=0.2, **options).fit(X, Y)
    X, Y = make_steps(300, 48, np.random.default_rng(1))
    lower, upper = estimator.posterior_interval(Y)
    found = ((lower <= X) & (upper >= X)).mean()
    assert found == pytest.approx(0.9, abs=0.03)
    gaussian = (np.abs(X - estimator.predict(Y)) <= 1.645 * estimator.posterior_std(Y)).mean()
    assert estimator.problem_.error_quantiles is not None and gaussian != found
    other = estimator.adapt(noise_level=0.2)
    lower, upper = other.posterior_interval(Y)
    assert ((lower <= X) & (upper >= X)).mean() == pytest.approx(gaussian, abs=0.01)
    tempered = DivergenceRegularizedINN(0.1, operator=operator, noise_level=0.2, **options)
    assert tempered.set_params(max_iter=2).fit(X, Y).problem_.error_quantiles is None
    few = estimator.set_params(max_iter=2).fit(X[:99], Y[:99])  # do not tell
    assert few.problem_.error_quantiles is None


@pytest.mark.filterwarnings("ignore:The inversion of")
@pytest.mark.parametrize("level", [0.2, np.linspace(0.1, 0.3, 48)], ids=["white", "unequal"])
def test_the_prior_is_the_same_for_signals_of_another_size(level):
    """Also where the least eigenvalue of G is another one, which decides what is added to φ."""
    X, _ = make_steps(150, 48, np.random.default_rng(0))
    noise = level * np.random.default_rng(2).normal(size=X.shape)
    eye, t = eye_array(48, format="csr"), np.arange(48)
    options = {"residual": "conv", "image_shape": (48,), "max_iter": 5, "random_state": 0}
    estimator = DivergenceRegularizedINN(operator=eye, noise_level=level, **options)
    estimator.fit(X, X + noise)
    blur = np.exp(-0.5 * ((t[:, None] - t) / 1.5) ** 2) / 3.76
    known = {"operator": blur, "noise_level": np.linspace(0.3, 0.1, 48)}
    V = X[:20] @ blur.T + noise[:20, ::-1]
    expected = estimator.adapt(**known).predict(V)
    found = estimator.adapt(image_shape=(48,), **known)
    np.testing.assert_allclose(found.predict(V), expected, atol=1e-6)
    stored = pickle.loads(pickle.dumps(found))
    np.testing.assert_allclose(stored.predict(V), expected, atol=1e-6)
    longer = {"image_shape": (60,), "operator": eye_array(60, format="csr")}
    if np.ndim(level):
        with pytest.raises(ValueError, match="give noise_level or noise_covariance"):
            estimator.adapt(**longer)
    assert estimator.adapt(**longer, noise_level=0.2).predict(np.zeros((2, 60))).shape == (2, 60)


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

"""The convolutional branch: values and bounds against plain ones, and images of any size."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d, correlate2d
from scipy.sparse import eye_array
from scipy.sparse.linalg import aslinearoperator
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from helpers import conv_network
from skinvbayes import (
    ApproximationINN,
    DivergenceRegularizedINN,
    LogDetRegularizedINN,
    ReconstructionINN,
)
from skinvbayes.datasets.blur import GaussianBlur
from skinvbayes.inversion import implicit, implicit_inverse, invert, invertible
from skinvbayes.inversion.settings import SETTINGS
from skinvbayes.losses import ReconstructionLoss
from skinvbayes.networks.conv import ConvBlock
from skinvbayes.training.mean_loss import Objective

CASES = {
    "3×3": dict(image_shape=(6, 5), kernel_size=3, n_filters=4),
    "as large as the image": dict(image_shape=(5, 7), kernel_size=5, n_filters=20),
    "one filter": dict(image_shape=(5, 5), kernel_size=3, n_filters=1),
    "scales": dict(image_shape=(15, 16), kernel_size=3, n_filters=8, dilations=(1, 2, 4)),
}


@pytest.fixture(params=CASES.values(), ids=CASES)
def case(request):
    network = conv_network(**request.param)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(3, network.n_features, generator=generator, dtype=torch.float64)
    return network, x


def plain_jacobian(network, x):
    """By automatic differentiation, row by row."""

    def of_row(row):
        return network(row[None])[0]

    return torch.stack([torch.autograd.functional.jacobian(of_row, row) for row in x])


def effective(w, dilation):
    """The filter on the pixels: with gaps, and smoothed by binomials of the widths between."""
    spread = np.zeros(2 * (dilation * (len(w) - 1) + 1,))
    spread[::dilation, ::dilation] = w
    for step in (1, 2)[: dilation // 2]:
        binomial = np.zeros(2 * step + 1)
        binomial[::step] = 0.25, 0.5, 0.25
        spread = convolve2d(spread, np.outer(binomial, binomial))
    return spread


def transposed(h, w):
    """The adjoint of the correlation with a filter on a mirrored image."""
    reach = len(w) // 2
    places = np.pad(np.arange(h.size).reshape(h.shape), reach, mode="symmetric")
    return np.bincount(places.ravel(), convolve2d(h, w, mode="full").ravel()).reshape(h.shape)


def test_value_is_the_formula(case):
    """Against scipy's convolutions, filter by filter, with the response written out."""
    network, x = case
    block, k = network.blocks[0], network.blocks[0].constants()
    image = x[0].numpy().reshape(block.image_shape)
    expected = float(k.slope) * image + float(block.shift)
    nu, mu, beta, ratio = (v.detach().numpy() for v in block._shape_of_response())
    dilations = np.repeat(block.dilations, block.sizes)
    for j, w in enumerate(block._filters().detach().numpy()):
        w = effective(w, dilations[j])
        gamma = beta[j] / ratio[j]
        for mirrored in (w, w[:, ::-1]):
            h = correlate2d(image, mirrored, mode="same", boundary="symm")
            psi = (nu[j] + mu[j]) * h / np.sqrt(1 + (beta[j] * h) ** 2)
            psi -= mu[j] * h / np.sqrt(1 + (gamma * h) ** 2)
            expected = expected + transposed(psi, mirrored)
    np.testing.assert_allclose(network(x[:1])[0].detach(), expected.ravel(), rtol=1e-10, atol=1e-12)


def test_filters_are_blind_to_grey(case):
    network, _ = case
    assert network.blocks[0]._filters().sum((1, 2)).abs().max() < 1e-12


def test_derivatives_are_those_of_autograd(case):
    network, x = case
    exact = plain_jacobian(network, x)
    torch.testing.assert_close(exact, exact.transpose(1, 2))
    torch.testing.assert_close(network.jacobian(x), exact)
    image, divergence = network.call_and_divergence(x, len(x))
    torch.testing.assert_close(image, network(x))
    torch.testing.assert_close(divergence, exact.diagonal(dim1=1, dim2=2).sum(1))
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    product = network.adjoint_product(x)(v)
    torch.testing.assert_close(product, torch.einsum("nij,nj->ni", exact, v))


def test_parameter_gradients(case):
    """Against central differences."""
    network, x = case
    parameters = list(network.parameters())

    def value():
        image, divergence = network.call_and_divergence(x, len(x))
        return image.sin().sum() + 0.3 * divergence.square().sum()

    vector = torch.nn.utils.parameters_to_vector(parameters).detach()
    gradient = torch.nn.utils.parameters_to_vector(torch.autograd.grad(value(), parameters))
    generator = torch.Generator().manual_seed(4)
    direction = torch.randn(vector.shape, generator=generator, dtype=vector.dtype)
    values = []
    for step in (1e-6, -1e-6):
        torch.nn.utils.vector_to_parameters(vector + step * direction, parameters)
        values.append(float(value()))
    torch.nn.utils.vector_to_parameters(vector, parameters)
    difference = (values[0] - values[1]) / 2e-6
    assert float(gradient @ direction) == pytest.approx(difference, rel=1e-6)


@pytest.mark.parametrize("known", [None, (0.4, 1.0)])
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_bounds_hold_and_are_nearly_reached(options, known):
    """Images of one wave after the other, small and large: the spectrum stays within [a, b]."""
    options = {**options, "image_shape": (12, 11)}
    part = None if known is None else lambda x: 0.4 * x
    network = conv_network(**options, known=part, known_bounds=known)
    block = network.blocks[0]
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(6, network.n_features, generator=generator, dtype=torch.float64)
    x = x * torch.tensor([0.0, 0.1, 1.0, 3.0, 10.0, 100.0])[:, None]
    spectrum = torch.linalg.eigvalsh(network.jacobian(x)).detach()
    a, b = (bound.item() for bound in block.bounds())
    assert a <= spectrum.min() and spectrum.max() <= b
    assert spectrum[0].max() > 0.6 * b  # at zero all slopes are ν; the image is small
    assert block.lipschitz() <= 0.95


def test_lower_bound_is_nearly_reached():
    """A checkerboard on which the slope of the only filter is −μ at every pixel."""
    network = conv_network((16, 16), 3, 1)
    block = network.blocks[0]
    checks = (-1.0) ** torch.arange(16).double()
    board = torch.outer(checks, checks)
    with torch.no_grad():
        block.signs.fill_(1.0)
        block.filters.copy_(board[:3, :3])
        block.log_sharpness.fill_(np.log(1e4))
        block.log_ratio.fill_(np.log(1e6))
    lowest = torch.linalg.eigvalsh(network.jacobian(board.reshape(1, -1)))[0, 0]
    a, _ = block.bounds()
    response = block._largest_responses()[0]  # μ|ŵ|² of the filter and its mirror image
    assert a <= lowest <= a + 0.2 * response


def test_what_the_bound_allows_is_used():
    """Where more is asked for, a is no larger than L demands."""
    network = conv_network((9, 9), 5, 12, (1, 2), lipschitz=0.999)
    with torch.no_grad():
        network.blocks[0].slope.fill_(-1.0)
    assert 0.99895 < network.blocks[0].lipschitz() <= 0.999


@pytest.mark.parametrize("dilations", [(1,), (1, 2), (1, 2, 4)])
def test_bounds_cover_what_lies_between_the_grid(dilations):
    network = conv_network((9, 9), 5, 12, dilations)
    block = network.blocks[0]
    nu, mu, _, _ = block._shape_of_response()
    pairs = zip(block._filters().detach(), np.repeat(dilations, block.sizes), strict=True)
    kernels = [torch.from_numpy(effective(w.numpy(), d)) for w, d in pairs]
    fine = torch.stack(
        [
            sum(torch.fft.rfft2(v, s=(1000, 1000)).abs().square() for v in (w, w.flip(1)))
            for w in kernels
        ]
    )
    for weight, bound in zip((mu, nu), block._largest_responses(), strict=True):
        largest = torch.einsum("j,jkl->kl", weight, fine).max()
        assert largest <= bound <= 1.05 * largest


def test_bounds_do_not_depend_on_the_size():
    small, large = conv_network((9, 9), 3, 5), conv_network((20, 31), 3, 5)
    assert small.blocks[0].bounds() == large.blocks[0].bounds()


def test_inverse(case):
    network, x = case
    found = invert(network, network(x).detach(), tol=1e-12)
    assert found.converged.all()
    torch.testing.assert_close(found.x, x, rtol=1e-8, atol=1e-8)


def test_training_finds_what_little_noise_changes(case):
    """It starts at the truth, and must not stop there because the noise is small beside z."""
    network, x = case
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(6), dtype=x.dtype)
    z = network(x).detach() + 1e-4 * noise
    exact = invert(network, z, tol=1e-12).x
    left = implicit_inverse(network, z, x) - exact
    assert left.norm() < 0.1 * (exact - x).norm()


def test_training_goes_on_from_the_preimages_found_last(case):
    """In the second pass over the same pairs nothing is left to do, whatever their order."""
    network, x = case
    z = network(x).detach() + 0.1
    objective = Objective(ReconstructionLoss(), x, z, torch.ones_like(x[:, 0])).remembering()
    reversed_rows = torch.arange(len(x)).flip(0)
    first = objective.mean_loss(network)
    steps = []

    def counting(*args, **kwargs):
        found = invert(*args, **kwargs)
        steps.append(int(found.n_iter.max()))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(implicit, "invert", counting)
        halves = [objective.part(reversed_rows).part(half) for half in ([0], range(1, len(x)))]
        second = [part.mean_loss(network) for part in halves]
        cold = replace(objective, preimages=None)
        cold.mean_loss(network)
    assert steps[:2] == [0, 0] and steps[2] > 0
    torch.testing.assert_close((second[0] + (len(x) - 1) * second[1]) / len(x), first)
    assert torch.equal(objective.x, x)  # the signals themselves are not written over


def test_implicit_gradient(case, monkeypatch):
    """Of the reconstruction loss, against central differences of the solution."""
    strict = replace(SETTINGS, matrix_free_training=1e-7, matrix_free_adjoint=1e-7)
    monkeypatch.setattr(implicit, "SETTINGS", strict)  # in training they are loose
    network, x = case
    z = network(x).detach() + 0.1
    parameter = network.blocks[0].log_steep
    (gradient,) = torch.autograd.grad(implicit_inverse(network, z, x).sin().sum(), parameter)
    values = []
    for step in (1e-4, -2e-4):
        with torch.no_grad():
            parameter[0] += step
        values.append(invert(network, z, tol=1e-12).x.sin().sum())
    expected = float(values[0] - values[1]) / 2e-4
    assert float(gradient[0]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


# --------------------------------------------------------------------------------- the estimators


def blocks_of_grey(n, shape, rng):
    """Images of constant squares, and noisy ones."""
    squares = rng.randint(3, size=(n, *(-(-side // 4) for side in shape))) / 2
    X = squares.repeat(4, axis=1).repeat(4, axis=2)[:, : shape[0], : shape[1]].reshape(n, -1)
    return X, X + 0.25 * rng.standard_normal(X.shape)


OPTIONS = dict(residual="conv", kernel_size=3, noise_level=0.25, random_state=0, batch_size=8)


@pytest.fixture(scope="module")
def trained():
    rng = np.random.RandomState(0)
    X, Y = blocks_of_grey(120, (12, 12), rng)
    options = dict(OPTIONS, operator=eye_array(144), image_shape=(12, 12), learning_rate_init=0.02)
    losses = {"divergence": DivergenceRegularizedINN, "reconstruction": ReconstructionINN}
    return {name: cls(max_iter=8, **options).fit(X, Y) for name, cls in losses.items()}


def rmse(found, X):
    return np.sqrt(((found - X) ** 2).mean())


@pytest.mark.parametrize("name, largest", [("divergence", 0.21), ("reconstruction", 0.17)])
def test_whole_images_after_patches(trained, name, largest):
    rng = np.random.RandomState(1)
    X, Y = blocks_of_grey(3, (25, 33), rng)
    estimator = trained[name]
    before = pickle.dumps(estimator)
    whole = estimator.adapt(image_shape=(25, 33), operator=eye_array(25 * 33))
    assert rmse(whole.predict(Y), X) < largest  # the noise is 0.25
    np.testing.assert_allclose(whole.inverse_transform(whole.transform(X)), X, atol=1e-3)
    assert (whole.n_features_in_, whole.n_measurements_in_) == (825, 825)
    assert pickle.dumps(estimator) == before
    again = pickle.loads(pickle.dumps(whole))
    np.testing.assert_array_equal(again.predict(Y), whole.predict(Y))


def test_same_size_is_the_same(trained):
    X, Y = blocks_of_grey(2, (12, 12), np.random.RandomState(2))
    for estimator in trained.values():
        same = estimator.adapt(image_shape=(12, 12), operator=eye_array(144))
        np.testing.assert_allclose(same.predict(Y), estimator.predict(Y), atol=1e-9)


def test_another_operator_of_the_same_kind():
    """Trained on blurred patches, used for blurred images."""
    rng = np.random.RandomState(0)
    (X, _), (X_test, _) = blocks_of_grey(60, (12, 12), rng), blocks_of_grey(2, (24, 20), rng)
    shapes = (12, 12), (24, 20)
    blur, large = (2 * aslinearoperator(GaussianBlur(shape, 0.8)) for shape in shapes)
    Y = (blur @ X.T).T + 0.1 * rng.standard_normal(X.shape)
    Y_test = (large @ X_test.T).T + 0.1 * rng.standard_normal(X_test.shape)
    options = dict(OPTIONS, operator=blur, noise_level=0.1, image_shape=(12, 12), max_iter=8)
    options |= {"learning_rate_init": 0.02}
    estimator = ReconstructionINN(**options).fit(X, Y)
    found = estimator.adapt(image_shape=(24, 20), operator=large).predict(Y_test)
    assert rmse(found, X_test) < 0.8 * rmse(Y_test / 2, X_test)


def test_std_and_other_noise_levels(trained):
    X, Y = blocks_of_grey(2, (12, 12), np.random.RandomState(3))
    mean, std = trained["reconstruction"].predict(Y, return_std=True)
    assert (std > 0).all() and std.mean() < 0.25
    estimator = trained["divergence"]
    less, more = (estimator.predict(Y, noise_level=d) for d in (0.1, 0.4))
    roughness = [np.diff(found.reshape(2, 12, 12)).std() for found in (less, more)]
    assert roughness[0] > roughness[1]


@pytest.mark.parametrize("n_images", [1, 2])
def test_probes_of_an_image_share_its_slopes(trained, n_images, monkeypatch):
    """In single precision where it is large; they agree with matrices up to standard errors."""
    if n_images == 1:
        monkeypatch.setattr(invertible, "LARGE_ROW", 1)
    estimator, seen = trained["reconstruction"], []
    _, Y = blocks_of_grey(n_images, (12, 12), np.random.RandomState(3))
    dense = estimator.posterior_std(Y, method="dense")
    slopes = ConvBlock.call_and_slopes
    monkeypatch.setattr(ConvBlock, "call_and_slopes", lambda b, x: seen.append(x) or slopes(b, x))
    options = {"method": "probing", "n_probes": 32, "return_error": True}
    found, error = estimator.posterior_std(Y, **options)
    large = n_images == 1
    assert seen[-1].dtype == (torch.float32 if large else torch.float64)
    assert not large or len(seen[-1]) == 1
    assert 0.75 < np.sqrt(np.square(found - dense).mean() / np.square(error).mean()) < 1.3
    assert np.median(error / dense) < 0.1
    exact, none = estimator.posterior_std(Y, **options | {"n_probes": 144})
    np.testing.assert_allclose(exact, dense, rtol=1e-2)
    assert (none == 0).all()


def test_filters_learn_no_smoothed_prior(trained):
    """Covariances that were corrected for the smoothing would be negative at most pixels."""
    estimator = trained["divergence"]
    X, Y = blocks_of_grey(20, (12, 12), np.random.RandomState(4))
    mean, std = estimator.predict(Y, return_std=True)
    assert 0.8 < (np.abs(X - mean) < 1.645 * std).mean() < 0.97
    probed = estimator.posterior_std(Y, method="probing", n_probes=144)
    np.testing.assert_allclose(probed, std, rtol=1e-2)


def test_where_much_more_noise_leaves_no_monotone_map_it_is_said(trained):
    """The prior's part of the map has slopes below zero, which G makes up for at this weight."""
    estimator = trained["divergence"]
    _, Y = blocks_of_grey(2, (12, 12), np.random.RandomState(3))
    network = estimator._map(2.0).network
    u = torch.from_numpy(estimator.problem_.coordinates.from_signals(Y))
    exact = torch.linalg.eigvalsh(network.jacobian(u))[:, 0]
    found = network.lowest_slopes(u)
    assert (found >= exact - 1e-9).all() and ((found < 0) == (exact < 0)).all()
    assert (exact < 0).any() and not network.surely_monotone()
    assert estimator._map(0.1).network.surely_monotone()
    with pytest.warns(ConvergenceWarning, match="not monotone there for these measurements"):
        estimator.predict(Y, noise_level=2.0)


def test_reconstruction_is_trained_without_smoothing(trained):
    assert trained["divergence"].prior_bandwidth_ > 0.05
    assert trained["reconstruction"].prior_bandwidth_ == 0.0


BAD = {
    "no operator": (dict(operator=None), "needs the operator; for denoising"),
    "estimate": (dict(operator="estimate"), "needs the operator"),
    "no shape": (dict(image_shape=None), "needs image_shape=.* = 144"),
    "wrong shape": (dict(image_shape=(12, 13)), r"image_shape.* = 144.*\(12, 13\)"),
    "cube": (dict(image_shape=(12, 3, 4)), "image_shape"),
    "large kernel": (dict(kernel_size=13), "kernel_size=13"),
    "even kernel": (dict(kernel_size=4), "kernel_size must be odd.*got 4"),
    "smallest kernel": (dict(kernel_size=1), "kernel_size"),
    "blocks": (dict(n_blocks=2), "n_blocks must be 1"),
    "layers": (dict(hidden_layer_sizes=(4, 4)), "hidden_layer_sizes one number"),
}


@pytest.mark.parametrize("changes, message", BAD.values(), ids=BAD)
def test_bad_parameters(changes, message):
    X, Y = blocks_of_grey(10, (12, 12), np.random.RandomState(0))
    options = {**OPTIONS, "operator": eye_array(144), "image_shape": (12, 12), **changes}
    with pytest.raises(ValueError, match=message):
        ApproximationINN(max_iter=1, **options).fit(X, Y)


def test_few_filters_have_one_scale():
    X, Y = blocks_of_grey(10, (12, 12), np.random.RandomState(0))
    options = dict(OPTIONS, operator=eye_array(144), image_shape=(12, 12), max_iter=2)
    estimator = DivergenceRegularizedINN(hidden_layer_sizes=1, **options).fit(X, Y)
    assert estimator.predict(Y).shape == X.shape
    X, Y = blocks_of_grey(2, (20, 8), np.random.RandomState(1))
    assert estimator.adapt(image_shape=(20, 8), operator=eye_array(160)).predict(Y).shape == (
        2,
        160,
    )


def test_log_determinant_is_refused(monkeypatch):
    X, Y = blocks_of_grey(10, (12, 12), np.random.RandomState(0))
    options = dict(OPTIONS, operator=eye_array(144), image_shape=(12, 12), max_iter=4)
    monkeypatch.setattr(ConvBlock, "__init__", None)  # before any network is made
    with pytest.raises(ValueError, match="needs matrices"):
        LogDetRegularizedINN(**options).fit(X, Y)


def test_other_branches_keep_their_size():
    X, Y = blocks_of_grey(10, (4, 4), np.random.RandomState(0))
    estimator = DivergenceRegularizedINN(operator=eye_array(16), noise_level=0.25, max_iter=2)
    with pytest.raises(ValueError, match='Only residual="conv"'):
        estimator.fit(X, Y).adapt(image_shape=(8, 8), operator=eye_array(64))


def test_resizing_needs_a_fitting_operator(trained):
    with pytest.raises(ValueError, match="operator"):
        trained["divergence"].adapt(image_shape=(8, 8), operator=eye_array(63))


def test_images_must_hold_the_filters(trained):
    with pytest.raises(ValueError, match="no side below 7.*got \\(6, 9\\)"):
        trained["divergence"].adapt(image_shape=(6, 9), operator=eye_array(54))


def test_clone_and_parameters(trained):
    for estimator in trained.values():
        assert clone(estimator).get_params().keys() == estimator.get_params().keys()
        assert estimator.get_params()["image_shape"] == (12, 12)

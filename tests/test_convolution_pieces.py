"""Filters applied piece by piece, in single precision and in threads, give the same images."""

import threading

import numpy as np
import pytest
import torch
from scipy.sparse import eye_array

from helpers import conv_network
from skinvbayes import DivergenceRegularizedINN
from skinvbayes.inference.adapted import AdaptedNetwork
from skinvbayes.inference.trained_map import TrainedMap
from skinvbayes.inversion import invert, invertible, quasi_newton
from skinvbayes.inversion.chord import Equation
from skinvbayes.inversion.settings import SETTINGS
from skinvbayes.networks import conv, filter_bank, image_filters
from skinvbayes.numerics import chunks
from skinvbayes.numerics.threads import in_threads, single_thread

NETWORKS = {
    "images": dict(image_shape=(23, 15), kernel_size=3, n_filters=8, dilations=(1, 2, 4)),
    "signals": dict(image_shape=(40,), kernel_size=5, n_filters=6, dilations=(1, 2)),
}


def white(n, network, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, network.n_features, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 300, 2500], ids=["lines", "strips", "groups"])
@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_pieces_make_up_the_whole(options, size, monkeypatch):
    """Values, divergences and their gradients, without derivatives too, and products."""
    network = conv_network(**options)
    block, x, v = network.blocks[0], white(3, network), white(3, network, 3)

    def results():
        value, divergence = network.call_and_divergence(x, len(x))
        total = value.sin().sum() + divergence.square().sum()
        gradient = torch.autograd.grad(total, list(network.parameters()))
        with torch.no_grad():
            plain = network(x)
        product = block.product_from(block.call_and_slopes(x)[1])(v)
        return value, divergence, *gradient, plain, product

    whole = results()
    monkeypatch.setattr(filter_bank, "_PIECE_ENTRIES", size)
    torch.testing.assert_close(results(), whole)


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_small_images_are_smoothed_by_matrices(options, monkeypatch):
    """With the same values and gradients as by filters."""
    network = conv_network(**options)
    x = white(3, network)

    def results():
        value = network(x)
        return value, *torch.autograd.grad(value.sin().sum(), list(network.parameters()))

    by_matrices = results()
    monkeypatch.setattr(image_filters, "_SMALL", 0)
    torch.testing.assert_close(results(), by_matrices)


def test_filters_of_signals_are_not_applied_twice():
    """A filter of a signal is its own mirror image."""
    block = conv_network(**NETWORKS["signals"]).blocks[0]
    assert sum(len(scale.filters) for scale in block.constants().scales) == 6


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("large", [False, True])
def test_single_precision_does_most_of_an_inversion_of_large_images(options, large, monkeypatch):
    """And double precision all of that of small ones."""
    if large:
        monkeypatch.setattr(invertible, "LARGE_ROW", 1)
        monkeypatch.setattr(conv, "_SHORT", 0)
    network = conv_network(**options)
    x, block = white(2, network), type(network.blocks[0])
    z = network(x).detach()
    dtypes, forward, slopes = [], block.forward, block.call_and_slopes
    monkeypatch.setattr(block, "forward", lambda b, x: dtypes.append(x.dtype) or forward(b, x))
    monkeypatch.setattr(
        block, "call_and_slopes", lambda b, x: dtypes.append(x.dtype) or slopes(b, x)
    )
    found = invert(network, z)
    assert found.converged.all()
    error = torch.linalg.vector_norm(network(found.x) - z, dim=1)
    torch.testing.assert_close(found.residual, error, rtol=1e-6, atol=1e-12)
    if large:  # of both images, and the check above
        assert dtypes.count(torch.float64) - 1 <= 2 < dtypes.count(torch.float32)
    else:
        assert torch.float32 not in dtypes


def test_what_single_precision_cannot_reach_double_precision_does(monkeypatch):
    monkeypatch.setattr(invertible, "LARGE_ROW", 1)
    network = conv_network(**NETWORKS["images"])
    x = white(2, network)
    found = invert(network, network(x).detach(), tol=1e-12)
    assert found.converged.all()
    torch.testing.assert_close(found.x, x, rtol=1e-9, atol=1e-9)


def test_steps_that_lead_too_far_are_halved(monkeypatch):
    """Where filters are steep, full steps never come near the solution."""
    network = conv_network(**NETWORKS["images"] | {"lipschitz": 0.9999})
    with torch.no_grad():
        network.blocks[0].log_steep.add_(2.0)
    x = white(5, network).cumsum(1) / 10
    z = network(x).detach()
    threshold = 1e-6 * torch.linalg.vector_norm(z, dim=1)

    def n_left():
        block = network.blocks[0].frozen()
        residual = quasi_newton.descend(Equation(block, z, None, x, threshold), 200)[2]
        return int((residual > threshold).sum())

    assert n_left() == 0
    monkeypatch.setattr(quasi_newton, "leads_too_far", lambda step, *_: step[:, 0] > torch.inf)
    assert n_left() == 5


@pytest.fixture(scope="module")
def denoiser():
    """Fitted to patches, for images of 60×70 pixels; and three of these."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 144)).cumsum(1) / 4
    estimator = DivergenceRegularizedINN(
        residual="conv",
        operator=eye_array(144),
        noise_level=0.3,
        image_shape=(12, 12),
        kernel_size=3,
        hidden_layer_sizes=(4,),
        solver="adam",
        max_iter=2,
        random_state=0,
    )
    estimator.fit(X, X + 0.3 * rng.normal(size=X.shape))
    Y = rng.normal(size=(3, 4200)).cumsum(1) / 30 + 0.3 * rng.normal(size=(3, 4200))
    return estimator.adapt(image_shape=(60, 70), operator=eye_array(4200)), Y


@pytest.mark.parametrize("most_entries", [2**15, 2**22])
def test_threads_and_other_images_change_no_bit(denoiser, most_entries, monkeypatch):
    """Of images each of which is inverted by itself, or all at once; in single precision."""
    estimator, Y = denoiser
    monkeypatch.setattr(filter_bank, "_PIECE_ENTRIES", 2**12)
    monkeypatch.setattr(chunks, "MOST_ENTRIES", most_entries)
    monkeypatch.setattr(invertible, "LARGE_ROW", 1)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            found.append(estimator.predict(Y))
            assert torch.get_num_threads() == n_threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)
    alone = np.vstack([estimator.predict(row[None]) for row in Y])
    np.testing.assert_array_equal(alone, found[0])


def test_photos_are_inverted_as_exactly_as_their_noise_asks(denoiser):
    """Where the operator is well-conditioned; other measurements may need more, and get it."""
    estimator, Y = denoiser
    network, coordinates = estimator.network_, estimator.problem_.coordinates
    w, delta = torch.from_numpy(coordinates.from_targets(Y)), 0.3 / coordinates.scale
    for noise in delta, delta / 10:
        found = invert(network, w, noise=noise)
        assert found.converged.all()
        most = SETTINGS.noise_tolerance * noise * w.shape[1] ** 0.5
        assert ((0.2 * most < found.residual) & (found.residual <= most)).all()
        change = (found.x - invert(network, w).x).square().mean(dim=1).sqrt()
        assert (change < SETTINGS.noise_tolerance * noise).all()
    known = network.blocks[0].known
    for other, tolerance in (None, SETTINGS.noise_tolerance), (known, 0.0):
        adapted = AdaptedNetwork(network, known, 1.0, other)
        assert adapted.noise_tolerance == pytest.approx(tolerance)
    map_ = TrainedMap(network, coordinates, estimator.problem_.unit_epsilon)
    x = map_.inverse(Y, estimator.problem_.targets)[0]
    np.testing.assert_array_equal(
        x, coordinates.to_signals(invert(network, w, noise=delta).x.numpy())
    )


def test_the_preconditioner_damps_fast_waves_where_filters_are_steep():
    """Symmetric and positive definite, the more uneven the steeper they are; and no bias."""
    network = conv_network(**NETWORKS["images"])
    lowest = []
    for _ in range(3):
        block = network.blocks[0].frozen()
        P = block.precondition(torch.eye(network.n_features, dtype=torch.float64))
        torch.testing.assert_close(P, P.T)
        torch.testing.assert_close(P.sum(1), torch.ones_like(P[0]))
        lowest.append(float(torch.linalg.eigvalsh(P)[0]))
        with torch.no_grad():
            network.blocks[0].log_steep.add_(2.0)
    assert 1 >= lowest[0] > lowest[1] > lowest[2] > 0


def test_pieces_of_work_run_beside_each_other_and_stay_in_order():
    before, meet = torch.get_num_threads(), threading.Barrier(2)

    def work(piece):
        meet.wait(20)  # for the other worker
        return piece, threading.get_ident(), torch.get_num_threads(), torch.is_grad_enabled()

    try:
        torch.set_num_threads(2)
        n_alive = threading.active_count()
        with torch.no_grad(), single_thread():
            found = in_threads(work, [0, 1])
        assert threading.active_count() == n_alive
    finally:
        torch.set_num_threads(before)
    pieces, idents, n_threads, recording = zip(*found, strict=True)
    assert pieces == (0, 1) and len(set(idents)) == 2
    assert set(n_threads) == {1} and not any(recording)


def test_work_whose_derivatives_are_recorded_stays_in_its_thread():
    with single_thread(), torch.enable_grad():
        found = in_threads(lambda piece: threading.get_ident(), [0, 1])
    assert set(found) == {threading.get_ident()}
    assert in_threads(str, [0, 1]) == ["0", "1"]  # outside of any context

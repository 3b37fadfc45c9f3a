"""The weight of the prior of filters, which pairs tell."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from scipy.sparse import diags_array
from sklearn.exceptions import ConvergenceWarning

from helpers import conv_network
from skinvbayes import DivergenceRegularizedINN, ReconstructionINN
from skinvbayes.inversion import invert
from skinvbayes.operators import GramOperator
from skinvbayes.problem.tensor_operator import TensorOperator
from skinvbayes.training import prior_weight

N, LEVEL = 40, 0.05
BLUR = diags_array(np.full((7, N), 1 / 7), offsets=range(-3, 4), shape=(N, N)).tocsr()


def known_part(lowest):
    """A diagonal map with slopes from the lowest one to 1, for the images of a network."""
    slopes = np.linspace(lowest, 1, 48)
    return TensorOperator(GramOperator(diags_array(np.sqrt(slopes))), 1.0)


@pytest.mark.parametrize("lowest", [0.0, 0.5])
@pytest.mark.parametrize("factor", [0.9, 0.3, 1e-3])
@pytest.mark.parametrize("slope", [-2.0, 0.0, 2.0])
def test_only_what_was_learned_is_weighed(lowest, factor, slope):
    """It is φ − G exactly, with what L added to it, and the bounds hold."""
    known = known_part(lowest)
    network = conv_network((48,), 5, 6, known_bounds=(lowest, 1.0), known=known)
    (block,) = network.blocks
    with torch.no_grad():
        block.slope.fill_(slope)
    x = torch.randn(20, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = network(x) - known(x)
    block.weigh(factor)
    torch.testing.assert_close(network(x) - known(x), factor * before, rtol=1e-6, atol=1e-9)
    assert block.lipschitz() <= 0.95
    (low, high), spectra = block.bounds(), torch.linalg.eigvalsh(network.jacobian(x))
    assert spectra.min() >= low - 1e-9 and spectra.max() <= high + 1 - lowest + 1e-9


def test_more_weight_than_the_bound_allows_is_raised_to_it():
    network = conv_network((48,), 5, 6, known_bounds=(0.5, 1.0), known=known_part(0.5))
    (block,) = network.blocks
    block.weigh(50.0)
    assert torch.isfinite(block.slope) and block.lipschitz() <= 0.95


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    jumps = rng.normal(size=(300, N)) * (rng.random((300, N)) < 0.08)
    X = rng.normal(size=(300, 1)) + jumps.cumsum(1)
    return X, X @ BLUR.T + LEVEL * rng.normal(size=X.shape)


OPTIONS = {"residual": "conv", "image_shape": (N,), "operator": BLUR}
OPTIONS |= {"max_iter": 10, "random_state": 0}


@pytest.fixture(scope="module")
def fitted(pairs):
    return DivergenceRegularizedINN(**OPTIONS, noise_level=LEVEL).fit(*pairs)


def error(estimator, X, Y, **options):
    return np.sqrt(np.mean((estimator.predict(Y, **options) - X) ** 2))


def test_the_pairs_choose_the_weight(fitted, pairs):
    """No other weight is better on them, and the variance of the noise much worse."""
    assert 1e-3 * LEVEL**2 < fitted.epsilon_ < 0.8 * LEVEL**2
    best = error(fitted, *pairs)
    for factor in (0.7, 1.4):
        assert best < error(fitted.adapt(noise_level=factor * LEVEL), *pairs)
    bayesian = DivergenceRegularizedINN(LEVEL**2, **OPTIONS, noise_level=LEVEL).fit(*pairs)
    assert bayesian.epsilon_ == LEVEL**2
    assert bayesian.prior_bandwidth_ == pytest.approx(2 * fitted.prior_bandwidth_)
    assert best < 0.95 * error(bayesian, *pairs)


def test_other_noise_keeps_the_ratio(fitted, pairs):
    X, Y = pairs
    same = fitted.predict(Y, noise_level=LEVEL)
    np.testing.assert_allclose(same, fitted.predict(Y), atol=1e-9)
    other = fitted.adapt(noise_level=0.8 * LEVEL)
    assert other.epsilon_ == pytest.approx(0.64 * fitted.epsilon_)
    less = fitted.predict(Y, noise_level=0.8 * LEVEL)
    np.testing.assert_allclose(other.predict(Y), less, atol=1e-5)


def test_what_was_fitted_stays_fitted(fitted, pairs):
    """Whatever is asked for later, and after it was stored."""
    X, Y = pairs
    other = pickle.loads(pickle.dumps(fitted)).set_params(epsilon=LEVEL**2)
    found = (e.predict(Y, noise_level=0.5 * LEVEL) for e in (fitted, other))
    np.testing.assert_array_equal(*found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.posterior_std(Y[:2])


@pytest.mark.parametrize("n_before", [0, 6])
def test_an_interrupt_keeps_what_was_trained(n_before, pairs, monkeypatch):
    calls = []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) > n_before:
            raise KeyboardInterrupt
        return invert(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(prior_weight, "invert", interrupted)
        with pytest.warns(ConvergenceWarning, match="search for the weight of the prior"):
            estimator = DivergenceRegularizedINN(**OPTIONS, noise_level=LEVEL).fit(*pairs)
    weight = estimator.epsilon_ / LEVEL**2
    assert weight == pytest.approx(1.0) if n_before == 0 else 1e-3 < weight < 1.0
    assert np.isfinite(estimator.predict(pairs[1])).all()


def test_uncertainty_comes_without_a_caveat(fitted, pairs):
    X, Y = pairs
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lower, upper = fitted.posterior_interval(Y)
    assert ((lower <= X) & (upper >= X)).mean() == pytest.approx(0.9, abs=0.03)


def test_training_goes_on_with_the_weight(fitted, pairs):
    """And weighs again. A pass of partial_fit keeps what there is, and starts from δ²."""
    X, Y = pairs
    again = DivergenceRegularizedINN(**OPTIONS, noise_level=LEVEL, warm_start=True).fit(X, Y)
    first = again.epsilon_
    again.set_params(max_iter=3).fit(X, Y)
    assert 0.5 * first < again.epsilon_ < min(2 * first, LEVEL**2)
    passed = fitted.__class__(**OPTIONS, noise_level=LEVEL).partial_fit(X, Y)
    assert passed.epsilon_ == pytest.approx(LEVEL**2)
    assert passed.prior_bandwidth_ == pytest.approx(2 * fitted.prior_bandwidth_)
    weight = again.epsilon_
    assert again.partial_fit(X, Y).epsilon_ == weight


def test_the_reconstruction_loss_has_its_weight_from_the_start(pairs):
    estimator = ReconstructionINN(**OPTIONS, noise_level=LEVEL).set_params(max_iter=2).fit(*pairs)
    assert estimator.epsilon_ == pytest.approx(LEVEL**2)

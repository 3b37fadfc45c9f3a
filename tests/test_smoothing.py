"""The bandwidth that smooths a prior known through signals."""

import numpy as np
import pytest

from skinvbayes import DivergenceRegularizedINN
from skinvbayes.datasets import load_deblurring_digits, make_bimodal
from skinvbayes.networks.conv import ConvBlock
from skinvbayes.operators import as_operator
from skinvbayes.oracles import posterior_mean
from skinvbayes.priors import EmpiricalPrior
from skinvbayes.problem.smoothing import noise_bandwidth, repeats, signal_bandwidth

N = 2000


def bandwidth(X, noise_level, A=None):
    """The rule without a limit of the network's condition."""
    A = np.eye(X.shape[1]) if A is None else A
    G, weight = as_operator(A.T @ A), np.ones(len(X))
    problem = {"X": X, "weight": weight, "forward": G, "forward_norm": G.norm(), "information": G}
    rng = np.random.RandomState(0)
    return signal_bandwidth(
        **problem, noise_level=noise_level, max_condition=np.inf, random_state=rng
    )


def circle(rng, thickness=0.0):
    t = rng.uniform(0, 2 * np.pi, N)
    return np.column_stack([np.cos(t), np.sin(t)]) + thickness * rng.standard_normal((N, 2))


def sphere(rng):
    X = rng.standard_normal((N, 3))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


SINGULAR = {  # signals, and the largest bandwidth: half of the distance to neighbours, or of spread
    "signs": (lambda rng: rng.choice([-1.0, 1.0], (N, 2)), 1.0),
    "one sign": (lambda rng: rng.choice([-1.0, 1.0], (N, 1)), 1.0),
    "many signs": (lambda rng: rng.choice([-1.0, 1.0], (N, 64)), 1.0),
    "one-hot": (lambda rng: np.eye(10)[rng.randint(10, size=N)], np.sqrt(2 / 10)),
    "counts": (lambda rng: rng.poisson(3, (N, 2)).astype(float), 0.55),
    "many counts": (lambda rng: rng.poisson(3, (N, 10)).astype(float), 0.5),
    "few signals": (lambda rng: rng.standard_normal((50, 5))[rng.randint(50, size=N)], 1.0),
    "number and sign": (
        lambda rng: np.column_stack([rng.standard_normal(N), rng.choice([-1.0, 1.0], N)]),
        1.0,
    ),
    "circle": (circle, 0.18),
    "sphere": (sphere, 0.15),
    "tight clusters": (
        lambda rng: rng.choice([-1.0, 1.0], (N, 2)) + 0.002 * rng.standard_normal((N, 2)),
        0.26,
    ),
}


@pytest.mark.parametrize("noise_level", [0.05, 0.3, 0.8, 10.0])
@pytest.mark.parametrize("name", SINGULAR)
def test_signals_without_a_score_are_smoothed_by_half_of_the_noise(name, noise_level, rng):
    draw, most = SINGULAR[name]
    found = bandwidth(draw(rng), noise_level)
    assert found == pytest.approx(noise_level / 2) or noise_level / 2 > found > most / 4
    assert found <= most


@pytest.mark.parametrize("name", sorted(set(SINGULAR) - {"tight clusters"}))  # these have a score
def test_never_zero_even_without_noise(name, rng):
    assert 0 < bandwidth(SINGULAR[name][0](rng), 0.0) < 0.01


@pytest.mark.parametrize("name", ["signs", "counts", "circle", "many signs"])
def test_units(name, rng):
    """Signals in other units, and measurements in other units."""
    X = SINGULAR[name][0](rng)
    found = bandwidth(X, 0.3)
    assert bandwidth(10 * X, 0.3, np.eye(X.shape[1]) / 10) == pytest.approx(10 * found)
    assert bandwidth(X, 3.0, 10 * np.eye(X.shape[1])) == pytest.approx(found)


CONTINUOUS = {
    "normal": lambda rng: rng.standard_normal((N, 3)),
    "few normal": lambda rng: rng.standard_normal((800, 12)),
    "bimodal": lambda rng: make_bimodal(N, noise_level=0.2, random_state=0).X,
    "few bimodal": lambda rng: make_bimodal(300, noise_level=0.2, random_state=0).X,
    "uniform": lambda rng: rng.uniform(size=(N, 2)),
    "heavy tails": lambda rng: rng.standard_t(3, size=(N, 3)),
    "heavy tails, many": lambda rng: rng.laplace(size=(N, 8)),
    "positive": lambda rng: np.exp(rng.standard_normal((N, 3))),
    "few positive": lambda rng: np.exp(rng.standard_normal((400, 3))),
    "thick circle": lambda rng: circle(rng, 0.03),
    "correlated": lambda rng: rng.standard_normal((N, 4)) @ np.diag(np.geomspace(0.01, 1, 4)),
    "few skewed, in different units": lambda rng: (
        rng.gamma(2, size=(600, 8)) * np.geomspace(0.1, 10, 8)
    ),
}


@pytest.mark.parametrize("noise_level", [0.05, 0.5, 5.0])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_signals_that_fill_their_space_are_left_alone(name, noise_level, rng):
    assert bandwidth(CONTINUOUS[name](rng), noise_level) == 0


def test_signals_in_a_subspace_are_smoothed_little(rng):
    X = rng.standard_normal((N, 2))
    for signals in (X @ rng.standard_normal((2, 9)), np.column_stack([X, np.full(N, 3.0)])):
        assert 0 < bandwidth(signals, 0.3) < 0.1 * 0.3


def test_digits_have_the_distance_of_their_neighbours():
    digits = load_deblurring_digits()
    X, A = digits.X_train, digits.operator
    found = bandwidth(X, 0.15, A)
    assert 0.11 < found < 0.14
    assert bandwidth(np.repeat(X, 3, axis=0), 0.15, A) == pytest.approx(found, rel=0.02)


def test_repeats(rng):
    for name in ("signs", "one sign", "one-hot", "counts", "few signals"):
        assert repeats(SINGULAR[name][0](rng), np.ones(N))
    X = rng.standard_normal((N, 3))
    bootstrap = np.bincount(rng.randint(N, size=N), minlength=N)
    drawn = bootstrap > 0
    assert not repeats(X, np.ones(N))
    assert not repeats(X[drawn], bootstrap[drawn])
    assert not repeats(X, np.full(N, 10.0))
    assert not repeats(load_deblurring_digits().X_train, np.ones(1400))
    weight = np.where(np.arange(N) % 2, 1e-9, 1.0)  # half of the signals hardly count
    X[::2] = 1.0
    assert repeats(X, weight)
    assert not repeats(X, weight[::-1])


@pytest.mark.parametrize(
    "rule, share",
    [(ConvBlock.bandwidth_rule, 0.7), (ConvBlock.first_stage_bandwidth_rule, 0.5)],
)
def test_filters_take_a_share_of_the_noise_of_a_pixel(rule, share):
    for A in (np.eye(4), 5 * np.eye(4)):
        known = {"information": as_operator(A.T @ A), "noise_level": 0.2}
        assert rule(**known) == pytest.approx(share * 0.2 / A[0, 0])
    assert noise_bandwidth(information=as_operator(np.zeros((4, 4))), noise_level=0.2) == 0


@pytest.mark.parametrize("name, noise_level", [("signs", 0.8), ("circle", 0.3)])
def test_divergence_of_signals_without_a_score(name, noise_level, rng):
    """Within 15 % of the posterior mean, where without smoothing it is 60 to 110 % off."""
    X, X_new = (SINGULAR[name][0](rng) for _ in range(2))
    Y, Y_new = (part + noise_level * rng.standard_normal(part.shape) for part in (X, X_new))
    found = DivergenceRegularizedINN(random_state=0).fit(X, Y).predict(Y_new)
    exact = posterior_mean(EmpiricalPrior(X), Y_new, noise_level=noise_level)
    error, least = (np.sqrt(((part - X_new) ** 2).mean()) for part in (found, exact))
    assert error <= 1.15 * least

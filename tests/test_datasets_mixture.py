"""Random mixtures of Gaussians: components, operators, noise and seeds."""

import numpy as np
import pytest
from sklearn.utils import check_random_state

from skinvbayes.datasets import make_mixture
from skinvbayes.oracles import posterior_covariance, posterior_mean

SIGMAS = 5  # of statistical error: one false alarm in two million
MEASUREMENTS = {"identity": 8, "square": 8, "tall": 16, "wide": 4, "ill_conditioned": 8}


@pytest.mark.parametrize("operator", MEASUREMENTS)
def test_shapes_and_contents(operator):
    problem = make_mixture(30, 20, n_features=8, operator=operator)
    m = MEASUREMENTS[operator]
    assert (problem.X_train.shape, problem.X_test.shape) == ((30, 8), (20, 8))
    assert (problem.Y_train.shape, problem.Y_test.shape) == ((30, m), (20, m))
    if operator == "identity":
        assert problem.operator is None
    else:
        assert problem.operator.shape == (m, 8)
    assert operator in problem.DESCR


def test_defaults():
    problem = make_mixture()
    assert problem.X_train.shape == problem.Y_train.shape == (4000, 2)
    assert problem.X_test.shape == (1000, 2)


def test_mixtures_have_three_to_five_components_and_variances_between_0_02_and_1():
    priors = [make_mixture(1, 1, n_features=3, random_state=seed).prior for seed in range(30)]
    assert {len(prior.weights) for prior in priors} == {3, 4, 5}
    variances = np.concatenate([np.linalg.eigvalsh(prior.covariances) for prior in priors])
    assert 0.02 <= variances.min() < 0.025
    assert 0.8 < variances.max() <= 1
    assert np.median(variances) == pytest.approx(np.sqrt(0.02), rel=0.25)  # log-uniform
    means = np.concatenate([prior.means for prior in priors])
    assert means.std() == pytest.approx(1.5, rel=SIGMAS / np.sqrt(2 * means.size))
    off_diagonal = np.concatenate([prior.covariances[:, 0, 1] for prior in priors])
    assert np.abs(off_diagonal).mean() > 0.05


def test_the_ill_conditioned_operator_has_condition_100_and_norm_one():
    values = np.linalg.svd(
        make_mixture(1, 1, n_features=8, operator="ill_conditioned").operator, compute_uv=False
    )
    np.testing.assert_allclose(values, np.geomspace(1, 0.01, 8), rtol=1e-12)


@pytest.mark.parametrize("operator", ["identity", "tall", "wide"])
def test_noise_is_a_quarter_of_the_spread_of_the_measurements(operator):
    n = 20_000
    problem = make_mixture(n, 1, n_features=4, operator=operator, random_state=5)
    A = np.eye(4) if problem.operator is None else problem.operator
    clean = problem.X_train @ A.T
    squares = ((clean - clean.mean(axis=0)) ** 2).mean(axis=1)
    error = abs((4 * problem.noise_level) ** 2 - squares.mean())
    assert error <= SIGMAS * squares.std() / np.sqrt(n)
    noise = problem.Y_train - clean
    assert noise.std() == pytest.approx(problem.noise_level, rel=SIGMAS / np.sqrt(2 * noise.size))


def test_the_error_of_the_posterior_mean_is_the_posterior_covariance():
    problem = make_mixture(1, 4000, n_features=4, operator="tall", random_state=2)
    known = {"operator": problem.operator, "noise_level": problem.noise_level}
    squares = ((posterior_mean(problem.prior, problem.Y_test, **known) - problem.X_test) ** 2).sum(
        1
    )
    variances = posterior_covariance(problem.prior, problem.Y_test, **known)
    expected = np.trace(variances, axis1=1, axis2=2).mean()
    assert abs(squares.mean() - expected) <= SIGMAS * squares.std() / np.sqrt(4000)


def test_seed():
    stream = check_random_state(None).get_state()
    first, second, third = (
        make_mixture(10, 5, operator="square", random_state=seed)
        for seed in (3, np.random.RandomState(3), 4)
    )
    for part in ("X_train", "Y_train", "X_test", "Y_test", "operator"):
        assert np.array_equal(first[part], second[part])
        assert not np.array_equal(first[part], third[part])
    state = check_random_state(None).get_state()
    assert np.array_equal(stream[1], state[1])
    assert stream[2:] == state[2:]


def test_one_feature():
    assert make_mixture(5, 5, n_features=1, operator="wide").operator.shape == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"operator": "blur"}, "operator must be one of 'identity', 'square', .*; got 'blur'"),
        ({"operator": None}, "operator must be one of .*; got None"),
        ({"n_features": 0}, "n_features must be an integer of at least 1; got 0"),
        ({"relative_noise": "much"}, "relative_noise must be a number of at least 0; got 'much'"),
        ({"n_train": 0}, "n_train must be an integer of at least 1; got 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_mixture(**arguments)

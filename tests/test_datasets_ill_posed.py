"""Classical ill-posed problems: kernels, signals, noise and seeds."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erfc
from scipy.stats import kstest
from sklearn.utils import check_random_state

from skinvbayes.datasets import make_ill_posed
from skinvbayes.datasets.kernels import KERNELS, integral_operator
from skinvbayes.oracles import posterior_mean
from skinvbayes.problem.gaussian import linear_estimator

SIGMAS = 5  # of statistical error: one false alarm in two million
every_kind = pytest.mark.parametrize("kind", KERNELS)
every_prior = pytest.mark.parametrize("prior", ["smooth", "piecewise_constant"])


def cells(kind, n_cells):
    edges = np.linspace(*KERNELS[kind][1], n_cells + 1)
    return edges, (edges[1:] + edges[:-1]) / 2


# ---------------------------------------------------------------------------------------- kernels


def shaw(s, t):
    u = np.pi * (np.sin(s) + np.sin(t))
    return (np.cos(s) + np.cos(t)) ** 2 * (1.0 if u == 0 else np.sin(u) / u) ** 2


FORMULAS = {
    "gravity": lambda s, t: 0.25 * (0.25**2 + (s - t) ** 2) ** -1.5,
    "phillips": lambda s, t: (1 + np.cos(np.pi * (s - t) / 3)) * (abs(s - t) < 3),
    "heat": lambda s, t: (
        (s - t) ** -1.5 / (2 * np.sqrt(np.pi)) * np.exp(-0.25 / (s - t)) if t < s else 0.0
    ),
    "deriv2": lambda s, t: s * (t - 1) if s < t else t * (s - 1),
    "abel": lambda s, t: 2 * t / np.sqrt(t**2 - s**2) if t > s else 0.0,
}


@pytest.mark.parametrize("kind", FORMULAS)
def test_entries_are_integrals_of_the_kernel_over_cells(kind):
    edges, centres = cells(kind, 7)
    matrix = integral_operator(kind, 7)
    for i, s in enumerate(centres):
        for j in range(7):
            middle = np.clip([s - 3, s, s + 3], edges[j], edges[j + 1])  # where kernels have kinks
            parts = np.unique([edges[j], *middle, edges[j + 1]])
            expected = sum(
                quad(lambda t: FORMULAS[kind](s, t), a, b)[0]  # noqa: B023
                for a, b in zip(parts, parts[1:], strict=False)
            )
            assert matrix[i, j] == pytest.approx(expected, abs=1e-7)


def test_shaw_is_the_midpoint_rule():
    _, centres = cells("shaw", 7)
    expected = [[np.pi / 7 * shaw(s, t) for t in centres] for s in centres]
    np.testing.assert_allclose(integral_operator("shaw", 7), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["gravity", "shaw", "phillips", "deriv2"])
def test_self_adjoint_kernels_have_symmetric_matrices(kind):
    matrix = integral_operator(kind, 33)
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-13)


def test_heat_looks_into_the_past_and_abel_outwards():
    heat, abel = integral_operator("heat", 16), integral_operator("abel", 16)
    assert not np.triu(heat, 1).any()
    assert not np.tril(abel, -1).any()
    assert (np.diag(abel) > 0).all()


CONSTANTS = {  # integrals of the signal x = 1
    "gravity": lambda s: s / (0.25 * np.hypot(0.25, s)) + (1 - s) / (0.25 * np.hypot(0.25, 1 - s)),
    "heat": lambda s: erfc(0.5 / np.sqrt(s)),
    "deriv2": lambda s: s * (s - 1) / 2,
    "abel": lambda s: 2 * np.sqrt(1 - s**2),
}


@pytest.mark.parametrize("kind", CONSTANTS)
def test_the_integral_of_a_constant_is_exact(kind):
    _, s = cells(kind, 64)
    np.testing.assert_allclose(
        integral_operator(kind, 64).sum(axis=1), CONSTANTS[kind](s), rtol=1e-12
    )


SOLUTIONS = {  # signals with their integrals
    "phillips": (
        lambda t: np.where(np.abs(t) < 3, 1 + np.cos(np.pi * t / 3), 0),
        lambda s: (
            (6 - np.abs(s)) * (1 + np.cos(np.pi * s / 3) / 2)
            + 9 / (2 * np.pi) * np.sin(np.pi * np.abs(s) / 3)
        ),
    ),
    "deriv2": (lambda t: t**2, lambda s: (s**4 - s) / 12),
    "abel": (lambda t: np.maximum(1 - t**2, 0), lambda s: 4 / 3 * (1 - s**2) ** 1.5),
}


@pytest.mark.parametrize("kind", SOLUTIONS)
def test_known_solutions_are_met_to_second_order(kind):
    signal, integral = SOLUTIONS[kind]
    errors = []
    for n_cells in (50, 100):
        _, t = cells(kind, n_cells)
        errors.append(np.abs(integral_operator(kind, n_cells) @ signal(t) - integral(t)).max())
    assert errors[1] < 3e-3 * np.abs(integral(t)).max()
    assert errors[1] < 0.4 * errors[0]


def test_deriv2_has_the_singular_values_of_two_integrations():
    values = np.linalg.svd(integral_operator("deriv2", 200), compute_uv=False)
    np.testing.assert_allclose(values[:10], 1 / (np.pi * np.arange(1, 11)) ** 2, rtol=0.01)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("gravity", 1e15, np.inf),
        ("shaw", 1e15, np.inf),
        ("heat", 1e20, np.inf),
        ("phillips", 1e5, 1e6),
        ("deriv2", 1e3, 1e4),
        ("abel", 50, 200),
    ],
)
def test_condition_numbers_run_from_mild_to_hopeless(kind, low, high):
    assert low < np.linalg.cond(integral_operator(kind, 64)) < high


# ------------------------------------------------------------------------------- signals and pairs


@every_kind
@every_prior
def test_shapes_and_contents(kind, prior):
    problem = make_ill_posed(kind, 30, 20, prior=prior, n_features=12)
    assert problem.X_train.shape == problem.Y_train.shape == (30, 12)
    assert problem.X_test.shape == problem.Y_test.shape == (20, 12)
    assert problem.operator.shape == problem.covariance.shape == (12, 12)
    assert problem.image_shape == (12,)
    assert (problem.prior is None) == (prior == "piecewise_constant")
    assert repr(kind) in problem.DESCR


def test_defaults():
    problem = make_ill_posed("abel")
    assert problem.X_train.shape == (2000, 64)
    assert problem.X_test.shape == (200, 64)
    assert problem.prior.n_features == 64


@every_prior
def test_sample_covariance_is_the_exact_one(prior):
    n = 20_000
    problem = make_ill_posed("abel", n, 1, prior=prior, n_features=6, random_state=1)
    X = problem.X_train
    products = X[:, :, None] * X[:, None, :]
    error = np.abs(products.mean(axis=0) - problem.covariance)
    assert (error <= SIGMAS * products.std(axis=0) / np.sqrt(n)).all()
    assert (np.abs(X.mean(axis=0)) <= SIGMAS * X.std(axis=0) / np.sqrt(n)).all()
    np.testing.assert_allclose(np.diag(problem.covariance), 1, rtol=1e-7)


def test_smooth_signals_are_gaussian_processes_of_ten_length_scales():
    prior = make_ill_posed("gravity", 1, 1).prior
    assert not prior.means.any()
    np.testing.assert_allclose(prior.weights, 0.1)
    scales = np.sqrt(-0.5 / np.log(prior.covariances[:, 0, 1])) / 64
    np.testing.assert_allclose(scales, np.geomspace(0.04, 0.4, 10), rtol=1e-4)
    for scale, covariance in zip(scales, prior.covariances, strict=True):
        far = np.exp(-((20 / 64 / scale) ** 2) / 2)
        assert covariance[10, 30] == pytest.approx(far, rel=1e-2, abs=1e-12)


def test_piecewise_constant_signals_have_one_to_six_jumps_and_normal_heights():
    X = make_ill_posed("abel", 3000, 1, prior="piecewise_constant").X_train
    n_jumps = np.count_nonzero(np.diff(X), axis=1)
    assert n_jumps.min() == 0  # a jump outside the centres of the first and last cell
    assert n_jumps.max() == 6
    in_one_cell = 15 / 64  # at most, of the pairs of six jumps: these are seen as one
    assert 3.5 - in_one_cell - 3.5 / 64 - 0.2 < n_jumps.mean() < 3.5
    assert kstest(X[:, 32], "norm").pvalue > 1e-6


@every_prior
@pytest.mark.parametrize("relative_noise", [0.01, 0.5])
def test_noise_is_white_and_relative_to_the_measurements(prior, relative_noise):
    problem = make_ill_posed("phillips", 3000, 1, prior=prior, relative_noise=relative_noise)
    clean = problem.X_train @ problem.operator.T
    noise = problem.Y_train - clean
    mean_squares = (clean**2).mean(axis=1)
    expected = relative_noise**2 * mean_squares.mean()
    standard_error = relative_noise**2 * mean_squares.std() / np.sqrt(3000)
    assert abs(problem.noise_level**2 - expected) <= SIGMAS * standard_error
    assert noise.std() == pytest.approx(problem.noise_level, rel=SIGMAS / np.sqrt(2 * noise.size))
    correlation = np.corrcoef(noise.T) - np.eye(64)
    assert np.abs(correlation).max() <= (SIGMAS + 1) / np.sqrt(3000)


def test_without_noise_measurements_are_exact():
    problem = make_ill_posed("shaw", 20, 10, relative_noise=0)
    assert problem.noise_level == 0
    np.testing.assert_allclose(
        problem.Y_test, problem.X_test @ problem.operator.T, rtol=0, atol=1e-13
    )


def test_the_posterior_mean_of_abels_problem_is_better_than_any_linear_estimator():
    problem = make_ill_posed("abel", 1, 1000)
    known = problem.operator, problem.noise_level
    linear = linear_estimator(np.zeros(64), problem.covariance, *known)(problem.Y_test)
    exact = posterior_mean(problem.prior, problem.Y_test, operator=known[0], noise_level=known[1])
    errors = [np.sqrt(((x - problem.X_test) ** 2).mean()) for x in (exact, linear)]
    assert errors == pytest.approx([0.031, 0.044], rel=0.05)


@every_prior
def test_seed(prior):
    stream = check_random_state(None).get_state()
    first, second, third = (
        make_ill_posed("heat", 10, 5, prior=prior, random_state=seed)
        for seed in (3, np.random.RandomState(3), 4)
    )
    for part in ("X_train", "Y_train", "X_test", "Y_test"):
        assert np.array_equal(first[part], second[part])
        assert not np.array_equal(first[part], third[part])
    state = check_random_state(None).get_state()
    assert np.array_equal(stream[1], state[1])
    assert stream[2:] == state[2:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "foxgood"}, "kind must be one of 'gravity', 'shaw', .*'abel'; got 'foxgood'"),
        ({"kind": ["abel"]}, r"kind must be one of .*; got \['abel'\]"),
        ({"prior": "rough"}, "prior must be one of 'smooth', 'piecewise_constant'; got 'rough'"),
        ({"n_features": 1}, "n_features must be an integer of at least 2; got 1"),
        ({"relative_noise": -0.1}, "relative_noise must be a number of at least 0; got -0.1"),
        ({"relative_noise": np.nan}, "relative_noise must be a number of at least 0; got nan"),
        ({"n_train": 0}, "n_train must be an integer of at least 1; got 0"),
        ({"n_test": 2.5}, "n_test must be an integer of at least 1; got 2.5"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_ill_posed(**{"kind": "abel"} | arguments)

"""What all problems with training and test pairs have in common."""

import pickle
from copy import deepcopy
from functools import partial
from math import prod

import numpy as np
import pytest
from sklearn.utils import check_random_state

from skinvbayes.datasets import (
    load_deblurring_digits,
    load_photos,
    make_backward_heat,
    make_bimodal,
    make_saturating_sensor,
    make_tomography,
)
from skinvbayes.operators import as_operator, check_adjoint

SIGMAS = 5  # of statistical error: one false alarm in two million
PARTS = ("X_train", "Y_train", "X_test", "Y_test")
PROBLEMS = {
    "digits": load_deblurring_digits,
    "photos": partial(load_photos, n_patches=60, patch_size=16, test_size=24),
    "blurred photos": partial(load_photos, n_patches=60, patch_size=16, test_size=24, blur=1.2),
    "tomography": partial(make_tomography, 60, 30, image_size=24, n_angles=10),
    "rod": partial(make_backward_heat, 60, 30),
    "plate": partial(make_backward_heat, 60, 30, shape=(12, 15)),
    "sensor": partial(make_saturating_sensor, 60, 30),
}
SIMULATED = (make_backward_heat, make_saturating_sensor, make_tomography)


@pytest.fixture(params=PROBLEMS)
def make(request):
    if "photos" in request.param:
        pytest.importorskip("skimage")
    return PROBLEMS[request.param]


def forwards(problem):
    """The noiseless forward map of the training signals and that of the test signals."""
    operator = problem.operator
    for own in (operator, problem.get("operator_test", operator)):
        yield problem.get("forward", lambda X: X) if own is None else as_operator(own).forward


def operators(problem):
    return [problem[key] for key in ("operator", "operator_test") if problem.get(key) is not None]


def test_shapes_and_contents(make):
    problem = make(noise_level=0.3)
    for part in PARTS:
        assert problem[part].ndim == 2
        assert problem[part].dtype == np.float64
    for part in ("train", "test"):
        assert len(problem["X_" + part]) == len(problem["Y_" + part])
    sizes = (problem.Y_train.shape[1], problem.X_train.shape[1])
    shape = sizes[1:] * 2 if problem.operator is None else problem.operator.shape
    assert shape == sizes
    assert prod(problem.image_shape) == sizes[1]
    assert problem.noise_level == 0.3
    assert problem.DESCR


def test_without_noise_measurements_are_exact(make):
    problem = make(noise_level=0)
    for part, forward in zip(("train", "test"), forwards(problem), strict=True):
        clean = forward(problem["X_" + part])
        np.testing.assert_allclose(problem["Y_" + part], clean, rtol=0, atol=1e-13)


@pytest.mark.parametrize("noise_level", [0.05, 0.6])
def test_noise_is_white_and_of_its_level(make, noise_level):
    problem = make(noise_level=noise_level)
    for part, forward in zip(("train", "test"), forwards(problem), strict=True):
        noise = (problem["Y_" + part] - forward(problem["X_" + part])) / noise_level
        error = SIGMAS / np.sqrt(noise.size)
        assert abs(noise.mean()) <= error
        assert abs(noise.std() - 1) <= error / np.sqrt(2)
        assert abs((noise[:, 1:] * noise[:, :-1]).mean()) <= error


def test_operators_have_their_adjoint_and_norm_one(make):
    for operator in operators(make()):
        check_adjoint(operator, random_state=0, rtol=1e-12)
        assert as_operator(operator).norm() == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize("copy", [deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_problems_can_be_copied_and_pickled(make, copy):
    problem = make()
    again = copy(problem)
    for part in PARTS:
        assert np.array_equal(problem[part], again[part])
    for one, other, part in zip(forwards(problem), forwards(again), ("train", "test"), strict=True):
        assert np.array_equal(one(problem["X_" + part]), other(problem["X_" + part]))


def test_seed(make):
    stream = check_random_state(None).get_state()
    first, second, third = (make(random_state=seed) for seed in (3, np.random.RandomState(3), 4))
    for part in PARTS:
        assert np.array_equal(first[part], second[part])
    for part in ("Y_train", "Y_test"):
        assert not np.array_equal(first[part], third[part])
    state = check_random_state(None).get_state()
    assert np.array_equal(stream[1], state[1])
    assert stream[2:] == state[2:]


def test_no_test_signal_was_trained_on(make):
    problem = make()
    train, test = ({row.tobytes() for row in problem["X_" + part]} for part in ("train", "test"))
    assert not train & test


@pytest.mark.parametrize(
    "noise_level, told",
    [
        (-0.1, r"not be negative; got -0\.1"),
        (np.nan, "be finite; got 1 NaN or infinite of 1"),
        (np.inf, "be finite; got 1 NaN or infinite of 1"),
        ("loud", "be made of real numbers; got 'loud'"),
    ],
)
def test_noise_level_must_not_be_negative(request, make, noise_level, told):
    if "photos" in request.node.callspec.params["make"]:  # which have one level
        told = f"be a number of at least 0; got {noise_level!r}"
    with pytest.raises(ValueError, match=f"noise_level must {told}"):
        make(noise_level=noise_level)


OTHER_NOISE = {
    "digits": load_deblurring_digits,
    "tomography": partial(make_tomography, 200, 30, image_size=16, n_angles=6),
    "rod": partial(make_backward_heat, 600, 30, shape=(20,)),
    "sensor": partial(make_saturating_sensor, 600, 30, n_pixels=20),
    "bimodal": lambda **noise: make_bimodal(600, operator=np.ones((5, 2)), **noise),
}


@pytest.mark.parametrize("kind", ["unequal", "correlated"])
@pytest.mark.parametrize("make", OTHER_NOISE.values(), ids=OTHER_NOISE)
def test_noise_that_is_not_white(make, kind):
    """An array of levels, or a covariance in place of them, for all sets of pairs."""
    ending = "" if "X" in make() else "_train"
    m = make()["Y" + ending].shape[1]
    std = np.linspace(0.1, 1.0, m)
    covariance = np.diag(std**2)
    if kind == "correlated":
        covariance = np.outer(std, std) * 0.6 ** np.abs(np.subtract.outer(range(m), range(m)))
    known = {"noise_level": std} if kind == "unequal" else {"noise_covariance": covariance}
    problem, clean = (make(random_state=0, **noise) for noise in (known, {"noise_level": 0}))
    np.testing.assert_array_equal(problem["X" + ending], clean["X" + ending])
    noise = problem["Y" + ending] - clean["Y" + ending]
    n, variances = len(noise), np.outer(std, std) ** 2
    error = SIGMAS * np.sqrt((variances + covariance**2) / n)
    assert (np.abs(noise.T @ noise / n - covariance) <= error).all()
    if kind == "unequal":
        np.testing.assert_array_equal(problem.noise_level, std)
        assert "noise_covariance" not in problem
    else:
        assert problem.noise_level == pytest.approx(np.sqrt(np.mean(std**2)))
        np.testing.assert_array_equal(problem.noise_covariance, covariance)
    with pytest.raises(ValueError, match=rf"noise_level has shape \(3,\), but there are {m} meas"):
        make(noise_level=[0.1, 0.2, 0.3])


@pytest.mark.parametrize("simulate", SIMULATED)
def test_numbers_of_pairs(simulate):
    problem = simulate(7, 4)
    assert len(problem.X_train) == len(problem.Y_train) == 7
    assert len(problem.X_test) == len(problem.Y_test) == 4
    with pytest.raises(ValueError, match="n_train must be an integer of at least 1; got 0"):
        simulate(0)
    with pytest.raises(ValueError, match=r"n_test must be an integer of at least 1; got 2\.5"):
        simulate(n_test=2.5)

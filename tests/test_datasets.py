"""The two inverse problems: their signals, operators, noise and seeds."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from sklearn.utils import check_random_state

from skinvbayes.datasets import bimodal_prior, load_deblurring_digits, make_bimodal

SIGMAS = 5  # of statistical error: one false alarm in two million
TALL = np.array([[1.0, 0.4], [0.0, 0.8], [0.3, -0.5]])
WIDE = np.array([[0.8, -0.6]])
SHEAR = np.array([[1.0, 0.5], [0.0, 1.0]])
OPERATORS = {"identity": None, "tall": TALL, "wide": WIDE, "square": SHEAR}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=list(OPERATORS))


def dense(operator):
    return np.eye(2) if operator is None else operator


# ---------------------------------------------------------------------------------------- bimodal


@every_operator
def test_bimodal_shapes_and_contents(operator):
    problem = make_bimodal(30, operator=operator, noise_level=0.2, random_state=0)
    assert problem.X.shape == (30, 2)
    assert problem.Y.shape == (30, len(dense(operator)))
    assert problem.operator is operator
    assert problem.noise_level == 0.2
    assert problem.prior.n_features == 2
    assert problem.DESCR


def test_bimodal_defaults():
    problem = make_bimodal(random_state=0)
    assert problem.X.shape == problem.Y.shape == (4000, 2)
    assert problem.noise_level == 0.15
    noise = problem.Y - problem.X
    assert abs(noise.std() - 0.15) <= SIGMAS * 0.15 / np.sqrt(2 * noise.size)


def test_bimodal_prior_is_as_documented():
    prior = make_bimodal(1).prior
    for actual in (prior, bimodal_prior()):
        assert np.array_equal(actual.weights, [0.5, 0.5])
        assert np.array_equal(sorted(actual.means.tolist()), [[-1.0, -0.5], [1.0, 0.5]])
        expected = np.broadcast_to(0.16 * np.eye(2), (2, 2, 2))
        np.testing.assert_allclose(actual.covariances, expected, rtol=1e-15)


def test_bimodal_signals_come_from_the_prior():
    n = 50_000
    X = make_bimodal(n, random_state=0).X
    side = np.sign(X @ [1.0, 0.5])  # the modes are 1.12 = 2.8 standard deviations off the border
    products = X[:, :, None] * X[:, None, :]
    expected = 0.16 * np.eye(2) + np.outer([1.0, 0.5], [1.0, 0.5])
    assert abs(side.mean()) <= SIGMAS / np.sqrt(n)
    assert (np.abs(X.mean(axis=0)) <= SIGMAS * X.std(axis=0) / np.sqrt(n)).all()
    error = np.abs(products.mean(axis=0) - expected)
    assert (error <= SIGMAS * products.std(axis=0) / np.sqrt(n)).all()


@every_operator
@pytest.mark.parametrize("noise_level", [0.05, 1.0])
def test_bimodal_regression_recovers_operator_and_noise(operator, noise_level):
    A, n = dense(operator), 20_000
    X, Y = (
        make_bimodal(n, operator=operator, noise_level=noise_level, random_state=0)[part]
        for part in "XY"
    )
    design = np.column_stack([X, np.ones(n)])
    coefficients = np.linalg.lstsq(design, Y, rcond=None)[0]
    standard_error = noise_level * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))[:, None]
    expected = np.vstack([A.T, np.zeros(len(A))])
    assert (np.abs(coefficients - expected) <= SIGMAS * standard_error).all()
    noise = Y - X @ A.T
    covariance = noise.T @ noise / n
    on_diagonal = noise_level**2 * np.eye(len(A))
    error = np.abs(covariance - on_diagonal)
    assert (error <= SIGMAS * noise_level**2 * np.sqrt((1 + np.eye(len(A))) / n)).all()


@every_operator
def test_bimodal_without_noise_is_exact(operator):
    problem = make_bimodal(30, operator=operator, noise_level=0, random_state=0)
    if operator is None:
        assert np.array_equal(problem.Y, problem.X)
    np.testing.assert_allclose(problem.Y, problem.X @ dense(operator).T, rtol=0, atol=1e-14)


@every_operator
def test_bimodal_seed(operator):
    stream = check_random_state(None).get_state()
    first, second, third = (
        make_bimodal(30, operator=operator, random_state=seed)
        for seed in (3, np.random.RandomState(3), 4)
    )
    for part in "XY":
        assert np.array_equal(first[part], second[part])
        assert not np.array_equal(first[part], third[part])
    state = check_random_state(None).get_state()
    assert np.array_equal(stream[1], state[1])
    assert stream[2:] == state[2:]


def test_bimodal_leaves_the_operator_alone():
    A = TALL.copy()
    make_bimodal(30, operator=A, random_state=0)
    assert np.array_equal(A, TALL)


@pytest.mark.parametrize("make", [make_bimodal, load_deblurring_digits])
@pytest.mark.parametrize(
    "noise_level, told",
    [(-0.1, r"not be negative; got -0\.1"), (np.nan, "be finite; got 1 NaN or infinite of 1")],
)
def test_noise_level_must_not_be_negative(make, noise_level, told):
    with pytest.raises(ValueError, match=f"noise_level must {told}"):
        make(noise_level=noise_level)


@pytest.mark.parametrize(("operator", "error"), [("blur", TypeError), (np.ones(2), ValueError)])
def test_bimodal_operator_must_be_one(operator, error):
    with pytest.raises(error, match="operator must be a matrix"):
        make_bimodal(10, operator=operator)


# ----------------------------------------------------------------------------------------- digits


@pytest.fixture(scope="module")
def digits():
    return load_deblurring_digits()


def test_digits_shapes_and_contents(digits):
    assert digits.X_train.shape == digits.Y_train.shape == (1400, 64)
    assert digits.X_test.shape == digits.Y_test.shape == (397, 64)
    assert digits.operator.shape == (64, 64)
    assert digits.image_shape == (8, 8)
    assert digits.noise_level == 0.15
    assert digits.DESCR


def test_digits_operator_has_norm_one(digits):
    assert np.linalg.norm(digits.operator, 2) == pytest.approx(1, rel=1e-13)


def test_digits_operator_is_a_gaussian_blur_up_to_one_factor(digits):
    images = digits.X_test[:20]
    blurred = np.array(
        [gaussian_filter(x.reshape(8, 8), sigma=0.7, mode="constant").ravel() for x in images]
    )
    factor = (images[0] @ digits.operator.T).sum() / blurred[0].sum()
    np.testing.assert_allclose(images @ digits.operator.T, factor * blurred, rtol=0, atol=1e-14)
    assert 1 <= factor < 1.2  # the zero border takes light off, the norm gives it back


def test_digits_split_is_fixed_and_noise_follows_the_seed(digits):
    again, other = load_deblurring_digits(random_state=0), load_deblurring_digits(random_state=1)
    for part in ("train", "test"):
        for problem in (again, other):
            assert np.array_equal(digits["X_" + part], problem["X_" + part])
        assert np.array_equal(digits["Y_" + part], again["Y_" + part])
        assert (digits["Y_" + part] != other["Y_" + part]).all()


@pytest.mark.parametrize("noise_level", [0.15, 0.6])
@pytest.mark.parametrize("part", ["train", "test"])
def test_digits_noise(noise_level, part):
    digits = load_deblurring_digits(noise_level=noise_level)
    noise = digits["Y_" + part] - digits["X_" + part] @ digits.operator.T
    # the smaller part has 25,408 entries: a standard error of 0.44 %
    assert noise.std() == pytest.approx(noise_level, rel=0.02)
    assert abs(noise.mean()) <= SIGMAS * noise_level / np.sqrt(noise.size)
    assert digits.noise_level == noise_level


def test_digits_without_noise_are_exact():
    digits = load_deblurring_digits(noise_level=0)
    for part in ("train", "test"):
        expected = digits["X_" + part] @ digits.operator.T
        np.testing.assert_allclose(digits["Y_" + part], expected, rtol=0, atol=1e-14)


def test_digits_are_split_and_none_is_lost(digits):
    train, test = ([row.tobytes() for row in X] for X in (digits.X_train, digits.X_test))
    everything = [row.tobytes() for row in load_digits().data / 16]
    assert sorted(train + test) == sorted(everything)
    assert not set(train) & set(test)


def test_digits_leave_the_global_stream_alone():
    stream = check_random_state(None).get_state()
    load_deblurring_digits()
    state = check_random_state(None).get_state()
    assert np.array_equal(stream[1], state[1])
    assert stream[2:] == state[2:]

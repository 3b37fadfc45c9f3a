"""The noise as it is given: white, unequal or correlated."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array, issparse

from noises import COVARIANCE, GIVEN
from skinvbayes.noise.model import NoiseModel
from skinvbayes.noise.outliers import outliers


@pytest.mark.parametrize("kind", GIVEN)
def test_whitened_noise_is_white_of_the_same_mean_variance(kind):
    noise = NoiseModel.given(**GIVEN[kind], n_measurements=3)
    assert noise.kind == kind
    covariance = noise.covariance
    W = noise.whitened_matrix(np.eye(3))
    np.testing.assert_allclose(noise.level**2, covariance.trace() / 3)
    np.testing.assert_allclose(noise.std, np.sqrt(covariance.diagonal()))
    np.testing.assert_allclose(W, W.T, atol=1e-14)
    np.testing.assert_allclose(W @ covariance @ W.T, noise.level**2 * np.eye(3), atol=1e-14)
    Y = np.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose(noise.whiten(Y), Y @ W)


def test_white_noise_is_left_alone():
    noise = NoiseModel.given(0.3, n_measurements=3)
    Y, A = np.ones((4, 3)), np.ones((3, 2))
    assert noise.whiten(Y) is Y
    assert noise.whitened_matrix(A) is A
    assert noise.level == 0.3
    np.testing.assert_array_equal(noise.whitener, np.ones(3))


@pytest.mark.parametrize("kind", GIVEN)
def test_sparse_operators(kind, rng):
    noise = NoiseModel.given(**GIVEN[kind], n_measurements=3)
    A = rng.standard_normal((3, 5))
    whitened = noise.whitened_matrix(csr_array(A))
    assert issparse(whitened) == (kind != "correlated")
    dense = whitened.toarray() if issparse(whitened) else whitened
    np.testing.assert_allclose(dense, noise.whitened_matrix(A))


@pytest.mark.parametrize(
    "given, kind",
    [
        ({"noise_level": [2.0, 2.0]}, "white"),
        ({"noise_covariance": 4 * np.eye(2)}, "white"),
        ({"noise_covariance": np.diag([4.0, 1.0])}, "unequal"),
    ],
)
def test_the_simplest_kind_is_taken(given, kind):
    noise = NoiseModel.given(**given, n_measurements=2)
    assert noise.kind == kind
    if kind == "white":
        assert noise.level == 2.0


def test_many_unequal_measurements_make_no_matrix(rng):
    m = 200_000
    noise = NoiseModel.given(rng.uniform(1, 2, m), n_measurements=m)
    assert noise.whitener.shape == (m,)
    assert noise.whiten(np.ones((2, m))).shape == (2, m)


def test_levels_of_very_different_units():
    std = np.array([1e9, 1.0, 1e-6])
    correlations = COVARIANCE / np.sqrt(np.outer(COVARIANCE.diagonal(), COVARIANCE.diagonal()))
    noise = NoiseModel.given(noise_covariance=correlations * np.outer(std, std), n_measurements=3)
    W = noise.whitener
    product = (W * std) @ correlations @ (W * std).T
    np.testing.assert_allclose(product / noise.level**2, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("kind", GIVEN)
def test_restricted_to_some_measurements(kind):
    noise = NoiseModel.given(**GIVEN[kind], n_measurements=3)
    part = noise.restricted(np.array([True, False, True]))
    np.testing.assert_allclose(part.covariance, noise.covariance[::2, ::2])
    assert part.n_measurements == 2


@pytest.mark.parametrize("kind", GIVEN)
def test_models_are_frozen_and_can_be_stored(kind):
    noise = NoiseModel.given(**GIVEN[kind], n_measurements=3)
    again = pickle.loads(pickle.dumps(noise))
    np.testing.assert_array_equal(again.covariance, noise.covariance)
    with pytest.raises(AttributeError):
        noise.level = 1.0


def test_arguments_are_copied():
    levels, covariance = np.array([1.0, 2.0, 3.0]), COVARIANCE.copy()
    by_levels = NoiseModel.given(levels, n_measurements=3)
    by_covariance = NoiseModel.given(noise_covariance=covariance, n_measurements=3)
    levels[:] = covariance[:] = 7
    np.testing.assert_allclose(by_levels.std, [1, 2, 3])
    np.testing.assert_allclose(by_covariance.covariance, COVARIANCE)


INDEFINITE = np.array([[1.0, 2.0], [2.0, 1.0]])


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "either noise_level or noise_covariance; got neither"),
        ({"noise_level": 1.0, "noise_covariance": np.eye(2)}, "got both"),
        ({"noise_level": -0.5}, "must not be negative; got -0.5"),
        ({"noise_level": np.nan}, "noise_level must be finite; got 1 NaN or infinite of 1"),
        ({"noise_level": [1.0, np.inf]}, "noise_level must be finite; got 1 NaN or infinite of 2"),
        ({"noise_level": [1.0, 0.0]}, "positive for every measurement; got 0 for measurement 1"),
        ({"noise_level": [-1.0, 2.0]}, "got -1 for measurement 0"),
        ({"noise_level": [1.0, 1.0, 1.0]}, r"shape \(3,\), but there are 2 .* shape \(2,\)"),
        ({"noise_level": np.eye(2)}, r"noise_level has shape \(2, 2\)"),
        ({"noise_level": "loud"}, "made of real numbers; got 'loud'"),
        ({"noise_level": [1.0, [2.0]]}, "made of real numbers; got"),
        ({"noise_level": np.array([1j, 1.0])}, "made of real numbers; got"),
        ({"noise_covariance": np.eye(3)}, r"shape \(3, 3\), .* shape \(2, 2\) is needed"),
        ({"noise_covariance": [1.0, 2.0]}, r"shape \(2,\), .* Give levels as noise_level"),
        ({"noise_covariance": [[1, np.nan], [0, 1]]}, "noise_covariance must be finite"),
        ({"noise_covariance": [[1, 0.5], [0.2, 1]]}, "symmetric; .* up to 0.3"),
        ({"noise_covariance": [[1, 0], [0, 0]]}, "diagonal is 0 for measurement 1"),
        ({"noise_covariance": INDEFINITE}, "eigenvalues of its correlations go from -1 to 3"),
        ({"noise_covariance": np.ones((2, 2))}, "positive definite"),
    ],
)
def test_what_cannot_be_used_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        NoiseModel.given(**given, n_measurements=2)


def test_a_level_of_zero():
    noise = NoiseModel.given(0.0, n_measurements=2)
    assert noise.kind == "white" and noise.level == 0
    assert not outliers(np.ones((3, 2)), noise).any()

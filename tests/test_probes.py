"""Diagonals of matrices from their products with random signs."""

import numpy as np
import pytest

from skinvbayes.inference.probes import Probes


def estimate(matrix, n_probes, grid_shape=None, seed=0):
    probes = Probes(n_probes, len(matrix), grid_shape)
    v = probes.draw(np.random.RandomState(seed))
    assert v.shape == (probes.number, len(matrix))
    (found,), (error,) = probes.diagonal(v, (v @ matrix)[None])
    return found, error, probes.number


def neighbours(shape, reach):
    """A matrix of random entries between pixels that are at most so far apart along every side."""
    places = np.indices(shape).reshape(len(shape), -1).T
    near = np.abs(places[:, None] - places).max(axis=2) <= reach
    return np.random.RandomState(1).standard_normal(near.shape) * near


@pytest.mark.parametrize(("shape", "n_probes", "reach"), [((11,), 10, 4), ((7, 9), 18, 2)])
def test_pixels_nearby_do_not_disturb_each_other(shape, n_probes, reach):
    """On a grid what is nearer than the period has no share in the error."""
    matrix = neighbours(shape, reach)
    found, error, number = estimate(matrix, n_probes, shape)
    assert number == n_probes
    np.testing.assert_allclose(found, matrix.diagonal(), atol=1e-12)
    np.testing.assert_allclose(error, 0, atol=1e-12)
    found, _, _ = estimate(matrix, n_probes)
    assert np.abs(found - matrix.diagonal()).max() > 0.1


@pytest.mark.parametrize("grid_shape", [None, (8, 8), (64,)])
@pytest.mark.parametrize("n_probes", [8, 33])
def test_the_error_is_told(grid_shape, n_probes):
    matrix = np.random.RandomState(2).standard_normal((64, 64)) + 40 * np.eye(64)
    runs = [estimate(matrix, n_probes, grid_shape, seed) for seed in range(200)]
    off = np.array([found - matrix.diagonal() for found, _, _ in runs])
    errors = np.array([error for _, error, _ in runs])
    assert max(number for *_, number in runs) <= n_probes
    np.testing.assert_allclose(np.square(off).mean(), np.square(errors).mean(), rtol=0.05)
    if grid_shape is not None:
        assert (np.abs(off) > 5 * errors).mean() < 0.01


def test_as_many_probes_as_pixels_are_exact():
    matrix = np.random.RandomState(3).standard_normal((12, 12))
    found, error, number = estimate(matrix, 30, (3, 4))
    assert number == 12 and (error == 0).all()
    np.testing.assert_allclose(found, matrix.diagonal(), rtol=1e-12)


def test_default_numbers():
    assert Probes("auto", 4096).number == 64
    assert Probes("auto", 4096, (64, 64)).number == Probes("auto", 4096, (4096,)).number == 18
    assert Probes(2, 4096, (64, 64)).number == 2


@pytest.mark.parametrize("n_probes", [1, 2.5, "many", None])
def test_other_numbers_are_refused(n_probes):
    with pytest.raises(ValueError, match='n_probes must be "auto" or an integer of at least 2'):
        Probes(n_probes, 10)

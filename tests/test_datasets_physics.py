"""Tomography, backward heat and the saturating sensor: their forward maps and signals."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import approx_fprime

from skinvbayes.datasets import make_backward_heat, make_saturating_sensor, make_tomography
from skinvbayes.datasets.heat import HeatFlow, laplacian
from skinvbayes.datasets.tomography import radon_matrix
from skinvbayes.operators import as_operator

# ------------------------------------------------------------------------------------- tomography


@pytest.fixture(scope="module")
def tomography():
    return make_tomography(20, 10, image_size=48, n_angles=60, noise_level=0)


def test_tomography_defaults():
    problem = make_tomography(2, 2)
    assert problem.image_shape == (64, 64)
    assert problem.sinogram_shape == (64, 30)
    assert problem.operator.format == "csr"
    assert problem.noise_level == 0.01
    np.testing.assert_allclose(problem.angles, np.arange(0, 180, 6))


def test_phantoms_are_flat_pieces_inside_the_disc(tomography):
    row, column = np.indices((48, 48)) - 24
    outside = (row**2 + column**2 > 24**2).ravel()
    for phantom in tomography.X_train:
        assert phantom.min() == 0
        assert 0.3 <= phantom.max() <= 1
        assert not phantom[outside].any()
        assert 2 <= len(np.unique(phantom)) < 100


@pytest.mark.parametrize("image_size", [32, 33])
def test_radon_agrees_with_scikit_image(image_size):
    radon = pytest.importorskip("skimage.transform").radon
    angles = np.linspace(0, 180, 13, endpoint=False)
    X = make_tomography(1, 4, image_size=image_size).X_test
    for x in X:
        sinogram = radon_matrix(image_size, angles) @ x
        expected = radon(x.reshape(image_size, image_size), theta=angles, circle=True)
        np.testing.assert_allclose(sinogram.reshape(expected.shape), expected, rtol=0, atol=1e-10)


def test_a_disc_has_the_chords_of_a_circle():
    radius, beam = 20, np.arange(64) - 32
    disc = (np.add.outer(beam**2, beam**2) < radius**2).ravel()
    sinogram = (radon_matrix(64, [0.0, 20.0, 45.0, 90.0]) @ disc).reshape(64, 4)
    chords = 2 * np.sqrt(np.maximum(radius**2 - beam**2, 0))
    inside = np.abs(beam) < radius - 2  # at its border the disc of pixels is ragged
    assert np.abs(sinogram - chords[:, None])[inside].max() < 2


def test_every_projection_has_the_mass_of_the_phantom(tomography):
    Y = tomography.scale * tomography.Y_test
    masses = Y.reshape(-1, *tomography.sinogram_shape).sum(axis=1)
    expected = tomography.X_test.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(masses, np.broadcast_to(expected, masses.shape), rtol=0.02)


def test_filtered_back_projection_reconstructs(tomography):
    iradon = pytest.importorskip("skimage.transform").iradon
    for x, y in zip(tomography.X_test, tomography.Y_test, strict=True):
        sinogram = tomography.scale * y.reshape(tomography.sinogram_shape)
        error = iradon(sinogram, theta=tomography.angles).ravel() - x
        assert error.std() < 0.25 * x.std()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 4}, "image_size must be an integer of at least 8; got 4"),
        ({"n_angles": 0}, "n_angles must be an integer of at least 1; got 0"),
    ],
)
def test_tomography_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_tomography(**arguments)


# ------------------------------------------------------------------------------------------- heat


def test_heat_defaults():
    problem = make_backward_heat(2, 2)
    assert problem.image_shape == (64,)
    assert problem.noise_level == 0.02
    assert problem.operator.time == 2e-3


@pytest.mark.parametrize("shape", [(20,), (5, 7)])
def test_heat_converges_to_the_matrix_exponential_with_the_first_order(shape):
    exact = expm(2e-3 * laplacian(shape).toarray())
    coarse, fine = (
        np.linalg.norm(as_operator(HeatFlow(shape, 2e-3, n_steps)).to_dense() - exact, 2)
        for n_steps in (100, 200)
    )
    assert fine < 2e-3
    assert coarse / fine == pytest.approx(2, rel=0.02)


def test_heat_damps_cosines_by_their_frequency():
    shape, time, n_steps = (6, 9), 0.01, 4
    flow = as_operator(HeatFlow(shape, time, n_steps))
    for frequencies in np.ndindex(shape):
        half_angles = [np.pi * k / (2 * n) for k, n in zip(frequencies, shape, strict=True)]
        mode = np.outer(
            *(np.cos(a * (2 * np.arange(n) + 1)) for a, n in zip(half_angles, shape, strict=True))
        ).reshape(1, -1)
        rate = sum((2 * n * np.sin(a)) ** 2 for a, n in zip(half_angles, shape, strict=True))
        expected = mode / (1 + time / n_steps * rate) ** n_steps
        np.testing.assert_allclose(flow.forward(mode), expected, rtol=0, atol=1e-12)


def test_heat_is_positive_definite_and_keeps_its_amount(rng):
    flow = as_operator(HeatFlow((6, 9), 2e-3))
    matrix = flow.to_dense()
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-14)
    assert np.linalg.eigvalsh(matrix)[0] > 0
    np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=0, atol=1e-13)
    np.testing.assert_allclose(matrix @ np.arange(54), flow.forward([range(54)])[0], rtol=1e-13)


@pytest.mark.parametrize("shape", [(64,), (20, 24)])
def test_temperatures_are_not_gaussian(shape):
    X = make_backward_heat(500, 1, shape=shape).X_train
    assert X.min() >= 0
    assert X.max() <= 4
    steps = np.abs(np.diff(X.reshape(500, *shape), axis=-1))
    assert (steps**4).mean() > 10 * (steps**2).mean() ** 2  # of Gaussians 3: here are jumps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": 64}, "shape must be a tuple of one or two integers; got 64"),
        ({"shape": (4, 4, 4)}, "shape must be a tuple of one or two integers; got"),
        ({"shape": (1,)}, "each entry of shape must be an integer of at least 2; got 1"),
        ({"time": 1e300}, "time=1e[+]300 .* give less"),
        ({"time": 0}, "time must be a positive number; got 0"),
        ({"time": "late"}, "time must be a positive number; got 'late'"),
    ],
)
def test_heat_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_backward_heat(**arguments)


# ----------------------------------------------------------------------------------------- sensor


def test_sensor_defaults():
    problem = make_saturating_sensor()
    assert problem.X_train.shape == problem.Y_train.shape == (2000, 64)
    assert problem.X_test.shape == problem.Y_test.shape == (200, 64)
    assert problem.operator is None
    assert problem.noise_level == 0.02
    assert "beyond the paper's theory" in problem.DESCR


@pytest.mark.parametrize("blur", [0, 0.6, 1.0])
def test_sensor_has_a_symmetric_positive_definite_jacobian(blur):
    problem = make_saturating_sensor(1, 5, n_pixels=16, blur=blur)
    for x in problem.X_test:
        jacobian = approx_fprime(x, lambda x: problem.forward(x[None])[0], 1e-6)
        np.testing.assert_allclose(jacobian, jacobian.T, rtol=0, atol=1e-5)
        spectrum = np.linalg.eigvalsh((jacobian + jacobian.T) / 2)
        # no less than the square of the blur's smallest value times the slope of the response
        slope = 1 / np.sqrt(1 + (x.max() / 0.5) ** 2)
        assert spectrum[0] >= slope * np.exp(-((blur * np.pi) ** 2)) - 1e-5
        assert spectrum[-1] <= 1 + 1e-5


def test_sensor_is_linear_in_faint_light_and_logarithmic_in_bright():
    problem = make_saturating_sensor(1, 5, blur=1.5)
    faint = problem.forward(1e-4 * problem.X_test) / 1e-4
    expected = gaussian_filter1d(problem.X_test, 1.5 * np.sqrt(2), mode="wrap", truncate=8)
    np.testing.assert_allclose(faint, expected, rtol=0, atol=1e-4)
    bright = np.full((1, 64), 1e4)
    np.testing.assert_allclose(problem.forward(bright), 0.5 * np.log(4e4), rtol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_pixels": 1}, "n_pixels must be an integer of at least 2; got 1"),
        ({"blur": np.nan}, "blur must be a number of at least 0; got nan"),
        ({"saturation": 0.0}, r"saturation must be a positive number; got 0\.0"),
    ],
)
def test_sensor_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_saturating_sensor(**arguments)

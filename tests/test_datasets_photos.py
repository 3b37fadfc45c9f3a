"""The photos: where the patches come from, the blur, and that nothing is downloaded."""

import socket
import sys

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter
from scipy.sparse import eye_array
from sklearn.datasets import load_sample_image

from skinvbayes.datasets import load_photos
from skinvbayes.datasets.blur import GaussianBlur
from skinvbayes.operators import as_operator

GREY = np.array([0.2125, 0.7154, 0.0721]) / 255  # of ITU-R BT.709 light
SKLEARN = ("china", "flower")


def whole_photo(name):
    """A photo in grey through the public loaders of its package."""
    if name in SKLEARN:
        return load_sample_image(name + ".jpg") @ GREY
    data = pytest.importorskip("skimage.data")
    photo = data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(data, name)()
    return photo @ GREY if photo.ndim == 3 else photo / 255


def symmetries(patch):
    """The eight positions of a square."""
    for turns in range(4):
        yield np.rot90(patch, turns)
        yield np.rot90(patch.T, turns)


def occurs_in(patch, photo):
    windows = sliding_window_view(photo, patch.shape)
    candidates = windows[np.abs(windows[:, :, 0, 0] - patch[0, 0]) < 1e-12]
    return (np.abs(candidates - patch) < 1e-12).all(axis=(1, 2)).any()


@pytest.fixture(scope="module")
def photos():
    pytest.importorskip("skimage")
    return load_photos(n_patches=40, patch_size=12, random_state=0)


def test_defaults():
    pytest.importorskip("skimage")
    problem = load_photos()
    assert problem.X_train.shape == problem.Y_train.shape == (4000, 32**2)
    assert problem.X_test.shape == problem.Y_test.shape == (5, 256**2)
    assert problem.operator.shape == (32**2, 32**2)
    assert (problem.operator_test != eye_array(256**2)).nnz == 0
    assert problem.noise_level == 25 / 255
    assert 0 <= problem.X_train.min() < 0.05 < 0.95 < problem.X_train.max() <= 1
    assert 0 <= problem.X_test.min() < 0.05 < 0.95 < problem.X_test.max() <= 1


def test_no_photo_is_in_both_parts(photos):
    train, test = photos.photo_names.train, photos.photo_names.test
    assert len(set(train)) == len(train) == 6
    assert len(set(test)) == len(test) == len(photos.photos_test) == 5
    assert not set(train) & set(test)


def test_test_photos_are_cropped_around_the_centre(photos):
    assert np.array_equal(photos.photos_test.reshape(5, -1), photos.X_test)
    for name, crop in zip(photos.photo_names.test, photos.photos_test, strict=True):
        photo = whole_photo(name)
        row, column = ((side - 256) // 2 for side in photo.shape)
        expected = photo[row : row + 256, column : column + 256]
        np.testing.assert_allclose(crop, expected, rtol=0, atol=1e-12)


def test_patches_are_parts_of_the_training_photos_in_all_positions(photos):
    whole = {name: whole_photo(name) for name in photos.photo_names.train}
    origins, positions = set(), set()
    for patch in photos.X_train.reshape(-1, *photos.image_shape):
        found = {
            (name, position)
            for name, photo in whole.items()
            for position, turned in enumerate(symmetries(patch))
            if occurs_in(turned, photo)
        }
        assert found
        if len(found) == 1:  # not a patch without structure
            origins |= {name for name, _ in found}
            positions |= {position for _, position in found}
    assert origins == set(whole)
    assert positions == set(range(8))


@pytest.mark.parametrize("shape", [(24,), (25,), (16, 21), (15, 20)])
def test_blur_is_a_periodic_gaussian_filter(shape, rng):
    images = rng.uniform(size=(3, *shape))
    blurred = as_operator(GaussianBlur(shape, 1.7)).forward(images.reshape(3, -1))
    # at this width the spectrum beyond the highest frequency is below 1e-6
    expected = [gaussian_filter(image, 1.7, mode="wrap", truncate=8) for image in images]
    np.testing.assert_allclose(blurred.reshape(images.shape), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.3, 0.8])
def test_blur_is_symmetric_and_positive_definite(sigma):
    matrix = as_operator(GaussianBlur((7, 6), sigma)).to_dense()
    np.testing.assert_allclose(matrix, matrix.T, rtol=0, atol=1e-15)
    smallest = np.exp(-((sigma * np.pi) ** 2) * (1 + (6 / 7) ** 2) / 2)  # the highest frequency
    assert np.linalg.eigvalsh(matrix)[0] == pytest.approx(smallest, rel=1e-10)


def test_whole_photos_are_blurred_like_patches(photos):
    blurred = load_photos(n_patches=40, patch_size=12, blur=2.0, noise_level=0)
    assert np.array_equal(blurred.X_train, photos.X_train)
    for photo, measured in zip(blurred.photos_test, blurred.Y_test, strict=True):
        expected = gaussian_filter(photo, 2.0, mode="wrap", truncate=8)
        np.testing.assert_allclose(measured.reshape(256, 256), expected, rtol=0, atol=1e-8)


def test_nothing_is_downloaded(monkeypatch):
    pytest.importorskip("skimage")

    def refuse(*args, **kwargs):
        raise AssertionError("load_photos reached for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_photos(n_patches=1)


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match=r'pip install "skinvbayes\[images\]"'):
        load_photos()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blur": -1.0}, r"blur must be a number of at least 0; got -1\.0"),
        ({"n_patches": 0}, "n_patches must be an integer of at least 1; got 0"),
        ({"patch_size": 301}, "patch_size must be an integer of at least 1 and at most 300; got"),
        ({"test_size": 428}, "test_size must be an integer of at least 1 and at most 427; got"),
        ({"test_size": 64.0}, "test_size must be an integer"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_photos(**arguments)


def test_the_largest_sizes_fit():
    pytest.importorskip("skimage")
    problem = load_photos(n_patches=30, patch_size=300, test_size=427)
    assert problem.X_train.shape == (30, 300**2)
    assert problem.X_test.shape == (5, 427**2)

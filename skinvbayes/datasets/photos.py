"""Grey photos, noisy and blurred: patches to train, whole photos to test."""

from math import prod
from pathlib import Path

import numpy as np
from scipy.sparse import eye_array
from sklearn.datasets import load_sample_image
from sklearn.utils import Bunch, check_random_state

from ..numerics.types import RandomState
from .blur import GaussianBlur
from .pairs import check_integer, check_number, forward_of, make_problem, train_and_test

__all__ = ["load_photos"]

_TRAIN = ("chelsea.png", "china.jpg", "coffee.png", "coins.png", "flower.jpg", "grass.png")
_TEST = ("astronaut.png", "camera.png", "moon.png", "motorcycle_left.png", "rocket.jpg")
_OF_SKLEARN = ("china.jpg", "flower.jpg")
_LARGEST_PATCH, _LARGEST_TEST = 300, 427  # the shortest sides among the photos
_DESCRIPTION = (
    "Sample photos of scikit-learn ({}) and scikit-image (all others) in grey, blurred by a "
    "Gaussian of {:g} pixels, with noise."
)


def load_photos(
    *,
    noise_level: float = 25 / 255,
    blur: float = 0.0,
    patch_size: int = 32,
    n_patches: int = 4000,
    test_size: int = 256,
    random_state: RandomState = 0,
) -> Bunch:
    """Denoising or deblurring of grey photos: patches of six to train, five others to test.

    The photos come with scikit-image: ``pip install "skinvbayes[images]"``.

    Parameters
    ----------
    noise_level : float, default=25/255
        Standard deviation δ of the noise, where white is 1 and black is 0.
    blur : float, default=0.0
        Standard deviation of the Gaussian blur in pixels; 0 for none.
    patch_size : int, default=32
        Pixels along each side of the training patches, at most 300.
    n_patches : int, default=4000
        Number of patches, from random places in random photos, randomly rotated and mirrored.
    test_size : int, default=256
        Pixels along each side of the test photos, at most 427; they are cropped around the centre.
    random_state : int, RandomState instance or None, default=0
        Source of patches and noise. The test photos are always the same.

    Returns
    -------
    problem : Bunch
        ``X_train`` (n_patches, patch_size²) and ``X_test`` (5, test_size²) with values in [0, 1],
        ``Y_train``, ``Y_test``, ``operator`` for patches and ``operator_test`` for photos
        (self-adjoint LinearOperators of norm one with periodic boundary, or sparse identities),
        ``noise_level``, ``image_shape`` of a patch, ``photos_test`` (5, test_size, test_size),
        ``photo_names`` (``train`` and ``test``) and ``DESCR``.

    Raises
    ------
    ImportError
        If scikit-image is missing.

    Examples
    --------
    >>> from skinvbayes.datasets import load_photos
    >>> photos = load_photos(n_patches=10, blur=1.0)
    >>> photos.X_train.shape, photos.photos_test.shape
    ((10, 1024), (5, 256, 256))
    """
    check_number("blur", blur)
    check_number("noise_level", noise_level)
    rng = check_random_state(random_state)
    patches = _training_patches(n_patches, patch_size, rng)
    return _problem(patches, _test_photos(test_size), 2 * (patch_size,), blur, noise_level, rng)


def _problem(patches, photos, image_shape, blur, noise_level, rng):
    """Patches, rows of images of this shape, and photos to test; both blurred, with noise."""
    operator, operator_test = (_blurring(shape, blur) for shape in (image_shape, photos.shape[1:]))
    signals = patches, photos.reshape(len(photos), -1)
    return make_problem(
        train_and_test(signals, forward_of(operator), forward_of(operator_test)),
        *(noise_level, rng),
        operator=operator,
        operator_test=operator_test,
        image_shape=image_shape,
        photos_test=photos,
        photo_names=Bunch(train=_stems(_TRAIN), test=_stems(_TEST)),
        DESCR=_DESCRIPTION.format(", ".join(_stems(_OF_SKLEARN)), blur),
    )


def _training_patches(n_patches, size, rng):
    check_integer("n_patches", n_patches, 1)
    check_integer("patch_size", size, 1, _LARGEST_PATCH)
    photos = [_grey_photo(file) for file in _TRAIN]
    return np.stack([_random_patch(photos, size, rng).ravel() for _ in range(n_patches)])


def _test_photos(size):
    check_integer("test_size", size, 1, _LARGEST_TEST)
    return np.stack([_centre(_grey_photo(file), size) for file in _TEST])


def _grey_photo(file):
    try:
        import skimage
        from skimage.color import rgb2gray
        from skimage.io import imread
        from skimage.util import img_as_float
    except ImportError as error:
        raise ImportError(
            'load_photos takes its photos from scikit-image: pip install "skinvbayes[images]".'
        ) from error
    if file in _OF_SKLEARN:
        return rgb2gray(load_sample_image(file))
    # by path, since skimage.data may download
    photo = imread(Path(skimage.__file__).parent / "data" / file)
    return rgb2gray(photo) if photo.ndim == 3 else img_as_float(photo)


def _blurring(image_shape, blur):
    return GaussianBlur(image_shape, blur) if blur else eye_array(prod(image_shape), format="csr")


def _random_patch(photos, size, rng):
    """A square of a random photo, in one of its eight positions (rotated, mirrored)."""
    photo = photos[rng.randint(len(photos))]
    row, column = (rng.randint(side - size + 1) for side in photo.shape)
    patch = np.rot90(photo[row : row + size, column : column + size], rng.randint(4))
    return patch.T if rng.randint(2) else patch


def _centre(photo, size):
    row, column = ((side - size) // 2 for side in photo.shape)
    return photo[row : row + size, column : column + size]


def _stems(files):
    return [Path(file).stem for file in files]

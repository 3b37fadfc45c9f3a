"""Sparse-view tomography: sections of a body from few projections."""

from functools import partial
from itertools import product

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from sklearn.utils import Bunch, check_random_state

from ..numerics.types import RandomState
from ..operators import as_operator
from .pairs import check_integer, draw_signals, forward_of, make_problem, train_and_test

__all__ = ["make_tomography", "radon_matrix", "random_phantoms"]

_DESCRIPTION = (
    "Simulated: phantoms of random ellipses with {0}×{0} pixels, their line integrals along "
    "parallel beams from {1} angles, with noise."
)
# of an ellipse: smallest and largest semi-axis, lowest and highest intensity
_BODY, _DETAIL = (0.6, 0.9, 0.3, 0.7), (0.05, 0.35, -0.5, 0.5)
_ELLIPSES = np.transpose([_BODY] + 6 * [_DETAIL])


def make_tomography(
    n_train: int = 2000,
    n_test: int = 100,
    *,
    image_size: int = 64,
    n_angles: int = 30,
    noise_level: ArrayLike = 0.01,
    noise_covariance: ArrayLike | None = None,
    random_state: RandomState = 0,
) -> Bunch:
    """Random phantoms of ellipses, seen by parallel beams from a few angles.

    ``scale * y.reshape(sinogram_shape)`` is a sinogram for ``iradon(sinogram, theta=angles)`` of
    scikit-image.

    Parameters
    ----------
    n_train, n_test : int, default=2000 and 100
        Number of pairs to train and to test.
    image_size, n_angles : int, default=64 and 30
        Pixels along each side of a phantom and detectors; angles, evenly over the half circle.
    noise_level : float or array-like of shape (n_measurements,), default=0.01
        Standard deviation δ of the noise of measurements from 0 to about 1; one for all or each.
    noise_covariance : array-like of shape (n_measurements, n_measurements), default=None
        Covariance of the noise, in place of ``noise_level``.
    random_state : int, RandomState instance or None, default=0
        Source of phantoms and noise.

    Returns
    -------
    problem : Bunch
        ``X_train`` (n_train, image_size²) with values in [0, 1] and zero outside the disc,
        ``Y_train`` (n_train, image_size · n_angles), ``X_test``, ``Y_test``, ``operator``, a CSR
        array of spectral norm one, ``scale`` (the norm of the line integrals, in pixels, that it
        was divided by), ``angles`` in degrees, ``sinogram_shape``, ``image_shape``,
        ``noise_level`` and ``DESCR``.

    Examples
    --------
    >>> from skinvbayes.datasets import make_tomography
    >>> problem = make_tomography(10, 5, image_size=32, n_angles=12)
    >>> problem.X_train.shape, problem.Y_train.shape, problem.sinogram_shape
    ((10, 1024), (10, 384), (32, 12))
    """
    check_integer("image_size", image_size, 8)
    check_integer("n_angles", n_angles, 1)
    rng = check_random_state(random_state)
    angles = np.linspace(0, 180, n_angles, endpoint=False)
    operator, scale = _scan(image_size, angles)
    sample = partial(random_phantoms, image_size=image_size, rng=rng)
    return make_problem(
        train_and_test(draw_signals(sample, n_train, n_test), forward_of(operator)),
        *(noise_level, rng, noise_covariance),
        operator=operator,
        scale=scale,
        angles=angles,
        sinogram_shape=(image_size, n_angles),
        image_shape=(image_size, image_size),
        DESCR=_DESCRIPTION.format(image_size, n_angles),
    )


def _scan(image_size, angles):
    """Line integrals as an operator of norm one, and the norm that they were divided by."""
    radon = radon_matrix(image_size, angles)
    scale = as_operator(radon).norm()
    return radon / scale, scale


def radon_matrix(image_size: int, angles):
    """Line integrals along parallel beams, with the image interpolated linearly along each.

    Parameters
    ----------
    image_size : int
        Pixels along each side of the image, and number of parallel beams.
    angles : ndarray of shape (n_angles,)
        Angles in degrees.

    Returns
    -------
    radon : CSR array of shape (image_size · n_angles, image_size²)
        From a flattened image to its flattened sinogram (image_size, n_angles), in pixels: what
        :func:`skimage.transform.radon` computes of an image that is zero outside the disc.
    """
    centre = image_size // 2
    offsets = np.arange(image_size) - centre
    beam, theta, along = np.meshgrid(offsets, np.deg2rad(angles), offsets, indexing="ij")
    row = centre - np.sin(theta) * beam + np.cos(theta) * along
    column = centre + np.cos(theta) * beam + np.sin(theta) * along
    entries = []
    for shift in product((0, 1), repeat=2):  # the four pixels around each point of a ray
        i, j = np.floor(row).astype(int) + shift[0], np.floor(column).astype(int) + shift[1]
        weight = (1 - np.abs(row - i)) * (1 - np.abs(column - j))
        weight *= (i >= 0) & (i < image_size) & (j >= 0) & (j < image_size)
        hit = weight.nonzero()
        ray = np.ravel_multi_index(hit[:2], weight.shape[:2])
        entries.append((weight[hit], ray, (i * image_size + j)[hit]))
    weights, rays, pixels = (np.concatenate(part) for part in zip(*entries, strict=True))
    return coo_array((weights, (rays, pixels)), (image_size * len(angles), image_size**2)).tocsr()


def random_phantoms(n_samples: int, image_size: int, rng):
    """A large random ellipse with six small ones of more or less intensity, inside the disc.

    Parameters
    ----------
    n_samples, image_size : int
        Number of phantoms, and of pixels along each of their sides.
    rng : RandomState instance
        Source of the ellipses.

    Returns
    -------
    X : ndarray of shape (n_samples, image_size²)
        Flattened phantoms with values in [0, 1].
    """
    return np.stack([_random_phantom(image_size, rng).ravel() for _ in range(n_samples)])


def _random_phantom(image_size, rng):
    smallest, largest, darkest, brightest = _ELLIPSES
    semiaxes = rng.uniform(smallest, largest, (2, len(smallest)))
    distance = rng.uniform(0, 0.95 - semiaxes.max(axis=0))  # the disc has radius one
    direction, tilt = rng.uniform(0, 2 * np.pi, semiaxes.shape)
    parameters = (distance * np.cos(direction), distance * np.sin(direction), tilt, *semiaxes)
    x, y, tilt, a, b = (values[:, None, None] for values in parameters)
    axis = np.arange(image_size) / (image_size // 2) - 1
    row, column = axis[:, None] - y, axis - x
    u = np.cos(tilt) / a * column + np.sin(tilt) / a * row
    v = np.cos(tilt) / b * row - np.sin(tilt) / b * column
    intensities = rng.uniform(darkest, brightest)
    return np.tensordot(intensities, u**2 + v**2 < 1, axes=1).clip(0, 1)

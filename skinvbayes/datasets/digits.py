"""Handwritten digits, blurred and noisy."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from sklearn.utils import Bunch, check_random_state

from ..numerics.types import RandomState
from .pairs import forward_of, make_problem, train_and_test

__all__ = ["load_deblurring_digits"]

_N_TRAIN = 1400


def load_deblurring_digits(
    *,
    noise_level: ArrayLike = 0.15,
    noise_covariance: ArrayLike | None = None,
    random_state: RandomState = 0,
) -> Bunch:
    """Blurred, noisy handwritten digits of 8×8 pixels: 1,400 to train, 397 to test.

    Parameters
    ----------
    noise_level : float or array-like of shape (n_measurements,), default=0.15
        Standard deviation δ of the Gaussian noise, one for all measurements or one for each, where
        white is 1 and black is 0.
    noise_covariance : array-like of shape (n_measurements, n_measurements), default=None
        Covariance of the noise, in place of ``noise_level``.
    random_state : int, RandomState instance or None, default=0
        Source of the noise. The split of the digits is always the same.

    Returns
    -------
    problem : Bunch
        ``X_train`` (1400, 64), ``Y_train``, ``X_test`` (397, 64), ``Y_test``, ``operator``
        (64, 64) of spectral norm one, ``noise_level``, ``image_shape`` and ``DESCR``.

    Examples
    --------
    >>> from skinvbayes.datasets import load_deblurring_digits
    >>> load_deblurring_digits().X_test.shape
    (397, 64)
    """
    X = load_digits().data / 16
    X = X[np.random.RandomState(0).permutation(len(X))]
    pixels = np.eye(64).reshape(64, 8, 8)
    blurred = [gaussian_filter(pixel, sigma=0.7, mode="constant").ravel() for pixel in pixels]
    operator = np.array(blurred).T
    operator /= np.linalg.norm(operator, 2)
    return make_problem(
        train_and_test((X[:_N_TRAIN], X[_N_TRAIN:]), forward_of(operator)),
        *(noise_level, check_random_state(random_state), noise_covariance),
        operator=operator,
        image_shape=(8, 8),
        DESCR="scikit-learn's load_digits / 16, blurred by a Gaussian of 0.7 pixels, with noise.",
    )

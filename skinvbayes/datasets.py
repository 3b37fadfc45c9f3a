"""Inverse problems to learn on: pairs of signals and measurements, with what made them."""

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from sklearn.utils import Bunch, check_random_state

from .operators import as_operator
from .priors import GaussianMixturePrior

__all__ = ["bimodal_prior", "load_deblurring_digits", "make_bimodal"]

_N_TRAIN_DIGITS = 1400


def bimodal_prior():
    """Two Gaussians in the plane: weights ½, means ±(1, ½), standard deviation 0.4."""
    return GaussianMixturePrior([[1.0, 0.5], [-1.0, -0.5]], 0.4**2)


def make_bimodal(n_samples=4000, *, operator=None, noise_level=0.15, random_state=None):
    """The two-dimensional problem with two modes, whose Bayesian estimators are known.

    Parameters
    ----------
    n_samples : int, default=4000
        Number of pairs.
    operator : array-like of shape (n_measurements, 2), default=None
        The operator ``A``; the identity by default.
    noise_level : float, default=0.15
        Standard deviation δ of the white Gaussian noise.
    random_state : int, RandomState instance or None, default=None
        Source of signals and noise.

    Returns
    -------
    problem : Bunch
        ``X`` (n_samples, 2), ``Y`` (n_samples, n_measurements), ``operator`` (as given),
        ``noise_level``, ``prior`` and ``DESCR``.

    Examples
    --------
    >>> from skinvbayes.datasets import make_bimodal
    >>> problem = make_bimodal(10, operator=[[1, 0], [0, 1], [1, 1]], random_state=0)
    >>> problem.X.shape, problem.Y.shape
    ((10, 2), (10, 3))
    """
    rng = check_random_state(random_state)
    prior = bimodal_prior()
    X = prior.sample(n_samples, rng)
    clean = X if operator is None else as_operator(operator).forward(X)
    return Bunch(
        X=X,
        Y=_add_noise(clean, noise_level, rng),
        operator=operator,
        noise_level=noise_level,
        prior=prior,
        DESCR="Simulated: " + bimodal_prior.__doc__,
    )


def load_deblurring_digits(*, noise_level=0.15, random_state=0):
    """Blurred, noisy handwritten digits of 8×8 pixels: 1,400 to train, 397 to test.

    Parameters
    ----------
    noise_level : float, default=0.15
        Standard deviation δ of the noise, where white is 1 and black is 0.
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
    Y = _add_noise(X @ operator.T, noise_level, check_random_state(random_state))
    train, test = slice(None, _N_TRAIN_DIGITS), slice(_N_TRAIN_DIGITS, None)
    return Bunch(
        X_train=X[train],
        Y_train=Y[train],
        X_test=X[test],
        Y_test=Y[test],
        operator=operator,
        noise_level=noise_level,
        image_shape=(8, 8),
        DESCR="scikit-learn's load_digits / 16, blurred by a Gaussian of 0.7 pixels, with noise.",
    )


def _add_noise(clean, noise_level, rng):
    if not noise_level >= 0:
        raise ValueError(f"noise_level must be a number of at least 0; got {noise_level!r}.")
    return clean + noise_level * rng.standard_normal(clean.shape)

"""What all problems share: the Bunch they come in, measurements with noise, checked arguments."""

from math import inf
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch

from ..operators import as_operator

__all__ = [
    "add_noise",
    "check_integer",
    "check_number",
    "draw_signals",
    "forward_of",
    "make_problem",
    "split_problem",
]


def draw_signals(sample, n_train, n_test):
    """Signals to train and to test, from ``sample(n_samples)``."""
    check_integer("n_train", n_train, 1)
    check_integer("n_test", n_test, 1)
    return np.split(sample(n_train + n_test), [n_train])


def make_problem(*, operator, noise_level, DESCR, **contents):
    """What every data set returns, a Bunch.

    It holds ``operator`` (the linear operator A; None for y = x + noise, or where the measurements
    are not linear), ``noise_level`` (standard deviation δ of the noise) and ``DESCR``. The pairs
    are ``X`` and ``Y``, or ``X_train``, ``Y_train``, ``X_test`` and ``Y_test``. Whatever else
    belongs to a problem, such as ``prior`` or ``image_shape``, is among the ``contents``.
    """
    return Bunch(operator=operator, noise_level=noise_level, DESCR=DESCR, **contents)


def split_problem(X_train, X_test, forward, noise_level, rng, /, *, forward_test=None, **contents):
    """A problem with training and test pairs, whose measurements are ``forward(X)`` and noise."""
    return make_problem(
        X_train=X_train,
        Y_train=add_noise(forward(X_train), noise_level, rng),
        X_test=X_test,
        Y_test=add_noise((forward_test or forward)(X_test), noise_level, rng),
        noise_level=noise_level,
        **contents,
    )


def forward_of(operator):
    """The map ``x ↦ A x`` of rows; the identity where there is no operator."""
    return (lambda X: X) if operator is None else as_operator(operator).forward


def add_noise(clean, noise_level, rng):
    """Measurements with white Gaussian noise of standard deviation ``noise_level``."""
    check_number("noise_level", noise_level)
    return clean + noise_level * rng.standard_normal(clean.shape)


def check_number(name, value, *, positive=False):
    """Raise a ValueError unless the value is a finite number of at least, or above, zero."""
    if not (isinstance(value, Real) and 0 <= value < inf and (value > 0 or not positive)):
        expected = "a positive number" if positive else "a number of at least 0"
        raise ValueError(f"{name} must be {expected}; got {value!r}.")


def check_integer(name, value, minimum, maximum=inf):
    """Raise a ValueError unless the value is an integer from ``minimum`` to ``maximum``."""
    if not (isinstance(value, Integral) and minimum <= value <= maximum):
        upper = f" and at most {maximum}" if maximum < inf else ""
        raise ValueError(f"{name} must be an integer of at least {minimum}{upper}; got {value!r}.")

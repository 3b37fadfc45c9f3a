"""What all problems share: the Bunch that they return, the noise, and checks of arguments."""

from math import inf
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch

from ..noise.model import NoiseModel
from ..operators import as_operator

__all__ = [
    "check_integer",
    "check_number",
    "check_option",
    "draw_signals",
    "forward_of",
    "make_linear_problem",
    "make_problem",
    "train_and_test",
]


def draw_signals(sample, n_train, n_test):
    """Draw signals with ``sample(n_samples)`` and split them into training and test signals."""
    check_integer("n_train", n_train, 1)
    check_integer("n_test", n_test, 1)
    return np.split(sample(n_train + n_test), [n_train])


def make_problem(
    samples, noise_level, rng, noise_covariance=None, /, *, operator, DESCR, **contents
):
    """Measure signals, and collect what every public problem returns.

    Parameters
    ----------
    samples : dict of str to tuple of (ndarray, callable)
        Signals X and the map that measures them without noise, by the ending of their names:
        ``""`` for a single set of pairs, ``"_train"`` and ``"_test"`` for two sets.
    noise_level : float or array-like of shape (n_measurements,)
        Standard deviation δ of the Gaussian noise, one for all measurements or one for each.
    rng : RandomState instance
        Source of the noise, drawn for one set after the other.
    noise_covariance : array-like of shape (n_measurements, n_measurements), default=None
        Covariance of the noise, in place of ``noise_level``.
    operator : array, sparse array, LinearOperator or None
        What the ``operator`` parameter of an estimator takes for this problem.
    DESCR : str
        Where the signals come from and how they are measured.
    **contents : dict
        What this problem alone has.

    Returns
    -------
    problem : Bunch
        The keys that :mod:`skinvbayes.datasets` describes, and ``contents``.
    """
    pairs = {}
    for ending, (X, forward) in samples.items():
        pairs["X" + ending] = X
        clean = forward(X)
        noise = _noise(noise_level, noise_covariance, clean.shape[1])
        pairs["Y" + ending] = clean + noise.drawn(len(clean), rng)
    if noise_covariance is not None:
        contents = {"noise_covariance": noise.covariance} | contents
        noise_level = noise.level
    return Bunch(**pairs, operator=operator, noise_level=noise_level, **contents, DESCR=DESCR)


def _noise(noise_level, noise_covariance, n_measurements):
    """The noise, checked."""
    level = noise_level if noise_covariance is None else None
    return NoiseModel.given(level, noise_covariance, n_measurements=n_measurements)


def make_linear_problem(
    sample, n_train, n_test, rng, /, *, operator, noise_level, noise_covariance=None, **contents
):
    """The problem of :func:`make_problem` with pairs to train and to test, ``y = A x + noise``.

    Signals are drawn with ``sample(n_samples)``.
    """
    samples = train_and_test(draw_signals(sample, n_train, n_test), forward_of(operator))
    return make_problem(samples, noise_level, rng, noise_covariance, operator=operator, **contents)


def train_and_test(signals, forward, forward_test=None):
    """The ``samples`` of :func:`make_problem` for signals to train and signals to test."""
    X_train, X_test = signals
    return {"_train": (X_train, forward), "_test": (X_test, forward_test or forward)}


def forward_of(operator):
    """The map ``x ↦ A x`` of rows; without an operator, the identity."""
    return (lambda X: X) if operator is None else as_operator(operator).forward


def check_number(name, value, *, positive=False):
    """Raise a ValueError unless the value is finite and at least zero, or above if ``positive``."""
    if not (isinstance(value, Real) and 0 <= value < inf and (value > 0 or not positive)):
        expected = "a positive number" if positive else "a number of at least 0"
        raise ValueError(f"{name} must be {expected}; got {value!r}.")


def check_integer(name, value, minimum, maximum=inf):
    """Raise a ValueError unless the value is an integer from ``minimum`` to ``maximum``."""
    if not (isinstance(value, Integral) and minimum <= value <= maximum):
        upper = f" and at most {maximum}" if maximum < inf else ""
        raise ValueError(f"{name} must be an integer of at least {minimum}{upper}; got {value!r}.")


def check_option(name, value, options):
    """Raise a ValueError that lists the options unless the value is one of them."""
    if not (isinstance(value, str) and value in options):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}.")

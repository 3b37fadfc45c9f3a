"""Classical ill-posed problems: integral equations of the first kind on an interval."""

from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from ..numerics.types import Array, RandomState
from ..priors import GaussianMixturePrior
from .kernels import KERNELS, integral_operator
from .pairs import check_integer, check_number, check_option, make_linear_problem

__all__ = ["make_ill_posed"]

_LENGTH_SCALES = np.geomspace(0.04, 0.4, 10)  # of smooth signals, in lengths of the interval
_NUGGET = 1e-8  # added to the variance one of smooth signals: their covariances are singular
_N_JUMPS = range(1, 7)  # of piecewise constant signals, equally probable


def make_ill_posed(
    kind: str,
    n_train: int = 2000,
    n_test: int = 200,
    *,
    prior: Any = "smooth",
    n_features: int = 64,
    relative_noise: float = 0.01,
    random_state: RandomState = 0,
) -> Bunch:
    """A classical ill-posed problem: a signal on an interval, from its integrals with a kernel.

    Parameters
    ----------
    kind : {"gravity", "shaw", "phillips", "heat", "deriv2", "abel"}
        The integral equation, of [1]_ and, for Abel's transform of radial signals, of [2]_.
    n_train, n_test : int, default=2000 and 200
        Number of pairs to train and to test.
    prior : {"smooth", "piecewise_constant"}, default="smooth"
        "smooth" are Gaussian processes of variance one, each with one of ten length scales between
        0.04 and 0.4 of the interval. "piecewise_constant" are signals with one to six jumps at
        random places and standard normal heights between them.
    n_features : int, default=64
        Number of cells of the interval, and of measurements.
    relative_noise : float, default=0.01
        Standard deviation δ of the white Gaussian noise, over the root mean square of ``A x``.
    random_state : int, RandomState instance or None, default=0
        Source of signals and noise.

    Returns
    -------
    problem : Bunch
        ``X_train`` (n_train, n_features), ``Y_train``, ``X_test`` (n_test, n_features), ``Y_test``,
        ``operator`` (n_features, n_features), ``noise_level``, ``image_shape`` (n_features,),
        ``covariance`` (n_features, n_features) of the signals, whose mean is zero, ``prior``, the
        GaussianMixturePrior of smooth signals and otherwise None, and ``DESCR``.

    References
    ----------
    .. [1] P. C. Hansen (1994), "Regularization Tools", Numerical Algorithms.
    .. [2] C. J. Dasch (1992), "One-dimensional tomography", Applied Optics.

    Examples
    --------
    >>> from skinvbayes.datasets import make_ill_posed
    >>> problem = make_ill_posed("abel", 10, 5)
    >>> problem.X_train.shape, problem.Y_test.shape, problem.operator.shape
    ((10, 64), (5, 64), (64, 64))
    """
    rng = check_random_state(random_state)
    A, signals, noise_level = _measured(kind, prior, n_features, relative_noise)
    return make_linear_problem(
        *(partial(signals.sample, random_state=rng), n_train, n_test, rng),
        **{"operator": A, "noise_level": noise_level, "image_shape": (n_features,)},
        covariance=signals.covariance,
        prior=signals.prior,
        DESCR=f"Simulated: {signals.name}, seen through the equation {kind!r}, with noise.",
    )


def _measured(kind, prior, n_features, relative_noise):
    """Operator, signals and noise level of :func:`make_ill_posed`, its arguments checked."""
    check_option("kind", kind, KERNELS)
    check_option("prior", prior, _SIGNALS)
    check_integer("n_features", n_features, 2)
    check_number("relative_noise", relative_noise)
    A = integral_operator(kind, n_features)
    signals = _SIGNALS[prior]((np.arange(n_features) + 0.5) / n_features)
    mean_square = np.trace(A @ signals.covariance @ A.T) / n_features
    return A, signals, float(relative_noise * np.sqrt(mean_square))


class SmoothSignals:
    """Gaussian processes of variance one, each of a random length scale."""

    name = "Gaussian processes of random length scale"

    def __init__(self, centres):
        distance = centres[:, None] - centres
        covariances = np.exp(-((distance / _LENGTH_SCALES[:, None, None]) ** 2) / 2)
        covariances += _NUGGET * np.eye(len(centres))
        self.prior = GaussianMixturePrior(np.zeros((len(covariances), len(centres))), covariances)
        self.covariance = covariances.mean(axis=0)

    def sample(self, n_samples: int, random_state: np.random.RandomState) -> Array:
        return self.prior.sample(n_samples, random_state)


class PiecewiseConstantSignals:
    """Signals with one to six jumps at random places, and standard normal heights between them."""

    name = "piecewise constant signals with random jumps"
    prior = None

    def __init__(self, centres):
        self.centres = centres
        # two cells have the same height if no jump is between them, and independent ones otherwise
        distance = np.abs(centres[:, None] - centres)
        self.covariance = np.mean([(1 - distance) ** n for n in _N_JUMPS], axis=0)

    def sample(self, n_samples: int, random_state: np.random.RandomState) -> Array:
        n_jumps = random_state.choice(_N_JUMPS, n_samples)
        places = random_state.uniform(size=(n_samples, max(_N_JUMPS)))
        heights = random_state.standard_normal((n_samples, max(_N_JUMPS) + 1))
        exists = np.arange(max(_N_JUMPS)) < n_jumps[:, None]
        before = exists[:, :, None] & (places[:, :, None] < self.centres)
        return np.take_along_axis(heights, before.sum(axis=1), axis=1)


_SIGNALS = {"smooth": SmoothSignals, "piecewise_constant": PiecewiseConstantSignals}

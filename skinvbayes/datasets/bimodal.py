"""Two modes in the plane."""

from typing import Any

from numpy.typing import ArrayLike
from sklearn.utils import Bunch, check_random_state

from ..numerics.types import RandomState
from ..priors import GaussianMixturePrior
from .pairs import forward_of, make_problem

__all__ = ["bimodal_prior", "make_bimodal"]


def bimodal_prior() -> GaussianMixturePrior:
    """Two Gaussians in the plane: weights ½, means ±(1, ½), standard deviation 0.4.

    Examples
    --------
    >>> from skinvbayes.datasets import bimodal_prior
    >>> bimodal_prior().sample(3, random_state=0).shape
    (3, 2)
    """
    return GaussianMixturePrior([[1.0, 0.5], [-1.0, -0.5]], 0.4**2)


def make_bimodal(
    n_samples: int = 4000,
    *,
    operator: Any = None,
    noise_level: ArrayLike = 0.15,
    noise_covariance: ArrayLike | None = None,
    random_state: RandomState = None,
) -> Bunch:
    """The two-dimensional problem with two modes, whose Bayesian estimators are known.

    Parameters
    ----------
    n_samples : int, default=4000
        Number of pairs.
    operator : array-like of shape (n_measurements, 2), default=None
        The operator ``A``; the identity by default.
    noise_level : float or array-like of shape (n_measurements,), default=0.15
        Standard deviation δ of the Gaussian noise, one for all measurements or one for each.
    noise_covariance : array-like of shape (n_measurements, n_measurements), default=None
        Covariance of the noise, in place of ``noise_level``.
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
    return make_problem(
        {"": (X, forward_of(operator))},
        *(noise_level, rng, noise_covariance),
        operator=operator,
        prior=prior,
        DESCR="Simulated: " + str(bimodal_prior.__doc__).splitlines()[0],
    )

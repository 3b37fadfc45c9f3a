"""Random mixtures of Gaussians, whose Bayesian estimators are known."""

from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import Bunch, check_random_state

from ..numerics.types import RandomState
from ..priors import GaussianMixturePrior
from .pairs import check_integer, check_number, check_option, make_linear_problem

__all__ = ["make_mixture"]

_CONDITION = 100


def make_mixture(
    n_train: int = 4000,
    n_test: int = 1000,
    *,
    n_features: int = 2,
    operator: Any = "identity",
    relative_noise: float = 0.25,
    random_state: RandomState = 0,
) -> Bunch:
    """Signals from a random mixture of Gaussians with full covariances, seen through an operator.

    The mixture has three to five components: weights from a Dirichlet distribution of
    concentration 5, means from 1.5 N(0, I), and covariances of random axes with variances
    log-uniform between 0.02 and 1.

    Parameters
    ----------
    n_train, n_test : int, default=4000 and 1000
        Number of pairs to train and to test.
    n_features : int, default=2
        Number of features d of a signal.
    operator : {"identity", "square", "tall", "wide", "ill_conditioned"}, default="identity"
        The operator A. "square", "tall" and "wide" have d, 2 d and d/2 measurements and Gaussian
        entries of variance one over the number of measurements. "ill_conditioned" is square with
        random singular vectors and singular values in geometric progression from 1 to 1/100.
    relative_noise : float, default=0.25
        Standard deviation δ of the white Gaussian noise, over that of ``A x`` (the root of the mean
        variance of its entries).
    random_state : int, RandomState instance or None, default=0
        Source of the mixture, the operator, the signals and the noise.

    Returns
    -------
    problem : Bunch
        ``X_train`` (n_train, n_features), ``Y_train`` (n_train, n_measurements), ``X_test``,
        ``Y_test``, ``operator`` (n_measurements, n_features), or None for the identity,
        ``noise_level``, ``prior``, a GaussianMixturePrior, and ``DESCR``.

    Examples
    --------
    >>> from skinvbayes.datasets import make_mixture
    >>> problem = make_mixture(10, 5, n_features=8, operator="tall")
    >>> problem.X_train.shape, problem.Y_test.shape, problem.prior.covariances.shape[1:]
    ((10, 8), (5, 16), (8, 8))
    """
    check_integer("n_features", n_features, 1)
    check_option("operator", operator, _OPERATORS)
    check_number("relative_noise", relative_noise)
    rng = check_random_state(random_state)
    prior = random_mixture(n_features, rng)
    A = _OPERATORS[operator](n_features, rng)
    sample = partial(prior.sample, random_state=rng)
    return make_linear_problem(
        *(sample, n_train, n_test, rng),
        operator=A,
        noise_level=relative_noise * _spread(prior, A),
        prior=prior,
        DESCR=f"Simulated: a random mixture of Gaussians, operator {operator!r}, with noise.",
    )


def random_mixture(n_features: int, rng):
    """A mixture of three to five Gaussians as :func:`make_mixture` describes it."""
    n_components = rng.randint(3, 6)
    weights = rng.dirichlet(np.full(n_components, 5.0))
    means = 1.5 * rng.standard_normal((n_components, n_features))
    variances = np.exp(rng.uniform(np.log(0.02), 0, (n_components, n_features)))
    axes = np.stack([_orthogonal(n_features, rng) for _ in range(n_components)])
    covariances = (axes * variances[:, None]) @ axes.transpose(0, 2, 1)
    return GaussianMixturePrior(means, covariances, weights)


def _spread(prior, A):
    """Root of the mean variance of the entries of ``A x``."""
    deviations = prior.means - prior.weights @ prior.means
    covariance = np.einsum("k,kij->ij", prior.weights, prior.covariances)
    covariance += np.einsum("k,ki,kj->ij", prior.weights, deviations, deviations)
    A = np.eye(prior.n_features) if A is None else A
    return float(np.sqrt(np.trace(A @ covariance @ A.T) / len(A)))


def _orthogonal(n, rng):
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def _gaussian(n_measurements, n_features, rng):
    return rng.standard_normal((n_measurements, n_features)) / np.sqrt(n_measurements)


def _ill_conditioned(n, rng):
    return (_orthogonal(n, rng) * np.geomspace(1, 1 / _CONDITION, n)) @ _orthogonal(n, rng)


_OPERATORS = {  # functions of the number of features and the source of randomness
    "identity": lambda n, rng: None,
    "square": lambda n, rng: _gaussian(n, n, rng),
    "tall": lambda n, rng: _gaussian(2 * n, n, rng),
    "wide": lambda n, rng: _gaussian(max(n // 2, 1), n, rng),
    "ill_conditioned": _ill_conditioned,
}

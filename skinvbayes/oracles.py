"""Exact Bayesian estimators for known priors, with which trained networks are compared.

The measurement model is ``y = A x + n``, ``n ~ N(0, Σ)``, with ``Σ = δ² I`` for a number δ. Other
noise is made white first. Nothing here depends on a network or a loss.
"""

import numbers
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp, softmax
from sklearn.utils.validation import check_array

from .noise.model import NoiseModel
from .numerics import chunks
from .numerics.checks import check_has
from .numerics.modes import own_modes
from .numerics.types import Array
from .operators import as_operator
from .operators.real import refuse_complex_data
from .priors import EmpiricalPrior, GaussianMixturePrior

__all__ = [
    "map_estimate",
    "measurement_distribution",
    "posterior",
    "posterior_covariance",
    "posterior_mean",
]


@own_modes()
def posterior_mean(
    prior: Any,
    Y: ArrayLike,
    *,
    operator: Any = None,
    noise_level: ArrayLike | None = None,
    noise_covariance: ArrayLike | None = None,
) -> Array:
    """Posterior mean ``E[x | y]``.

    It is in closed form for a Gaussian mixture. For an empirical prior it is the mean of the
    samples, weighted by their likelihood; the weights are computed in log space.

    Parameters
    ----------
    prior : GaussianMixturePrior or EmpiricalPrior
        Distribution of the signals.
    Y : array-like of shape (n_samples, n_measurements) or (n_samples,)
        Measurements.
    operator : array-like, sparse matrix or LinearOperator of shape \
            (n_measurements, n_features), default=None
        The operator ``A``; the identity by default.
    noise_level : float or array-like of shape (n_measurements,), default=None
        Standard deviation ``δ > 0`` of the noise, of all measurements or of each.
    noise_covariance : array-like of shape (n_measurements, n_measurements), default=None
        The covariance ``Σ`` of the noise. One of the two is needed.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Posterior means.

    Examples
    --------
    For a Gaussian prior the posterior mean is linear in the measurement:

    >>> from skinvbayes.oracles import posterior_mean
    >>> from skinvbayes.priors import GaussianMixturePrior
    >>> prior = GaussianMixturePrior([[0.0]], 4.0)
    >>> posterior_mean(prior, [[5.0]], noise_level=1.0).round(12)
    array([[4.]])
    """
    Y, A, noise_level = _white_problem(prior, Y, operator, noise_level, noise_covariance)
    if isinstance(prior, EmpiricalPrior):
        predicted = prior.samples @ A.T
        centre = predicted.mean(axis=0)  # small numbers lose fewer digits when they are squared
        predicted, Y = predicted - centre, Y - centre
        parts = chunks.slices(len(Y), chunks.chunk_size(len(predicted)))
        return np.vstack(
            [_importance_weights(Y[p], predicted, noise_level) @ prior.samples for p in parts]
        )
    _require_mixture(prior)
    weights, means, _ = _mixture_posterior(prior, Y, A, noise_level)
    return np.einsum("nk,nkd->nd", weights, means)


@own_modes()
def posterior_covariance(
    prior: Any,
    Y: ArrayLike,
    *,
    operator: Any = None,
    noise_level: ArrayLike | None = None,
    noise_covariance: ArrayLike | None = None,
) -> Array:
    """Posterior covariance ``Cov[x | y]`` under a Gaussian mixture prior, in closed form.

    Parameters
    ----------
    prior : GaussianMixturePrior
        Distribution of the signals.
    Y, operator, noise_level, noise_covariance
        As in :func:`posterior_mean`.

    Returns
    -------
    covariance : ndarray of shape (n_samples, n_features, n_features)
        Posterior covariances.

    Examples
    --------
    >>> from skinvbayes.oracles import posterior_covariance
    >>> from skinvbayes.priors import GaussianMixturePrior
    >>> prior = GaussianMixturePrior([[0.0]], 4.0)
    >>> posterior_covariance(prior, [[5.0]], noise_level=1.0).round(12)
    array([[[0.8]]])
    """
    known = {"operator": operator, "noise_level": noise_level, "noise_covariance": noise_covariance}
    weights, means, covariances = posterior(prior, Y, **known)
    spread = means - np.einsum("nk,nkd->nd", weights, means)[:, None]
    within = np.einsum("nk,kij->nij", weights, covariances)
    return within + np.einsum("nk,nki,nkj->nij", weights, spread, spread)


@own_modes()
def posterior(
    prior: Any,
    Y: ArrayLike,
    *,
    operator: Any = None,
    noise_level: ArrayLike | None = None,
    noise_covariance: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    """Posterior of a Gaussian mixture prior: for each measurement a Gaussian mixture.

    Parameters
    ----------
    prior : GaussianMixturePrior
        Distribution of the signals.
    Y, operator, noise_level, noise_covariance
        As in :func:`posterior_mean`.

    Returns
    -------
    weights : ndarray of shape (n_samples, n_components)
        Posterior weights of the components.
    means : ndarray of shape (n_samples, n_components, n_features)
        Posterior means of the components.
    covariances : ndarray of shape (n_components, n_features, n_features)
        Posterior covariances of the components; they do not depend on the measurement.

    Examples
    --------
    >>> from skinvbayes.oracles import posterior
    >>> from skinvbayes.priors import GaussianMixturePrior
    >>> prior = GaussianMixturePrior([[-1.0], [1.0]], 1.0)
    >>> weights, means, covariances = posterior(prior, [[0.0]], noise_level=1.0)
    >>> weights.round(12), means.round(12).ravel(), covariances.round(12).ravel()
    (array([[0.5, 0.5]]), array([-0.5,  0.5]), array([0.5, 0.5]))
    """
    Y, A, noise_level = _white_problem(prior, Y, operator, noise_level, noise_covariance)
    _require_mixture(prior)
    return _mixture_posterior(prior, Y, A, noise_level)


@own_modes()
def measurement_distribution(
    prior: Any,
    *,
    operator: Any = None,
    noise_level: ArrayLike | None = None,
    noise_covariance: ArrayLike | None = None,
) -> GaussianMixturePrior:
    """Distribution of the measurements under a Gaussian mixture prior: a Gaussian mixture too.

    With its score Tweedie's formula gives the posterior mean without an integral,
    ``E[A x | y] = y + δ² ∇log p(y)``.

    Parameters
    ----------
    prior : GaussianMixturePrior
        Distribution of the signals.
    operator, noise_level, noise_covariance
        As in :func:`posterior_mean`.

    Returns
    -------
    distribution : GaussianMixturePrior
        Distribution of ``y = A x + n``.

    References
    ----------
    B. Efron (2011), "Tweedie's formula and selection bias", Journal of the American Statistical
    Association.

    Examples
    --------
    >>> from skinvbayes.oracles import measurement_distribution, posterior_mean
    >>> from skinvbayes.priors import GaussianMixturePrior
    >>> prior = GaussianMixturePrior([[0.0], [3.0]], 4.0)
    >>> distribution = measurement_distribution(prior, noise_level=1.0)
    >>> tweedie = 5.0 + 1.0**2 * distribution.score([[5.0]])
    >>> bool(abs(tweedie - posterior_mean(prior, [[5.0]], noise_level=1.0)) < 1e-12)
    True
    """
    _require_mixture(prior)
    m = _n_measurements(prior, operator)
    A = _matrix(prior, m, operator)
    noise = _noise(noise_level, noise_covariance, m)
    covariances = A @ prior.covariances @ A.T + noise.covariance
    return GaussianMixturePrior(prior.means @ A.T, covariances, prior.weights)


@own_modes()
def map_estimate(
    prior: Any,
    Y: ArrayLike,
    *,
    operator: Any = None,
    noise_level: ArrayLike | None = None,
    noise_covariance: ArrayLike | None = None,
    max_iter: int = 200,
    tol: float = 1e-12,
) -> Array:
    """Maximum a posteriori estimate, ``argmax log p(x) − ‖A x − y‖² / (2 δ²)``.

    The posterior is a Gaussian mixture, and all its modes lie on its ridgeline. The search starts
    from the posterior mean and from the corners, edges and centre of the ridgeline. From each start
    it takes steps of expectation-maximisation, which never lower the posterior density, and then
    Newton steps. The end point of the highest density is the estimate.

    Parameters
    ----------
    prior : GaussianMixturePrior
        Distribution of the signals.
    Y, operator, noise_level, noise_covariance
        As in :func:`posterior_mean`.
    max_iter : int, default=200
        Largest number of steps of expectation maximisation from each start.
    tol : float, default=1e-12
        The iteration stops when no entry of the estimates moves by more than ``tol`` times the
        largest entry.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        MAP estimates.

    References
    ----------
    S. Ray and B. G. Lindsay (2005), "The topography of multivariate normal mixtures", Annals of
    Statistics.

    Examples
    --------
    >>> from skinvbayes.oracles import map_estimate
    >>> from skinvbayes.priors import GaussianMixturePrior
    >>> prior = GaussianMixturePrior([[0.0]], 4.0)
    >>> map_estimate(prior, [[5.0]], noise_level=1.0).round(9)
    array([[4.]])
    """
    Y, A, noise_level = _white_problem(prior, Y, operator, noise_level, noise_covariance)
    _require_mixture(prior)
    weights, means, _ = _mixture_posterior(prior, Y, A, noise_level)
    mean = np.einsum("nk,nkd->nd", weights, means)
    starts = [mean, *_ridgeline(prior, Y, A, noise_level)]
    ends = [_ascend(prior, start, Y, A, noise_level, max_iter, tol) for start in starts]
    density = [_log_posterior(prior, end, Y, A, noise_level) for end in ends]
    return np.stack(ends)[np.argmax(density, axis=0), np.arange(len(Y))]


def _mixture_posterior(prior, Y, A, noise_level):
    """Weights, means and covariances of the posterior, by a Kalman update of each component."""
    m = len(A)
    innovation = Y[:, None] - prior.means @ A.T
    joint, means, covariances = [], [], []
    for k, (weight, covariance) in enumerate(zip(prior.weights, prior.covariances, strict=True)):
        marginal = A @ covariance @ A.T + noise_level**2 * np.eye(m)
        gain = np.linalg.solve(marginal, A @ covariance).T
        residual = innovation[:, k]
        mahalanobis = np.einsum("ni,ni->n", residual, np.linalg.solve(marginal, residual.T).T)
        with np.errstate(divide="ignore"):
            joint.append(np.log(weight) - 0.5 * (mahalanobis + np.linalg.slogdet(marginal)[1]))
        means.append(prior.means[k] + residual @ gain.T)
        covariances.append(covariance - gain @ A @ covariance)
    return softmax(np.stack(joint, axis=1), axis=1), np.stack(means, axis=1), np.array(covariances)


def _importance_weights(Y, predicted, noise_level):
    """``w_ij ∝ exp(−‖y_i − A x_j‖² / (2 δ²))``, normalised over the samples ``j``."""
    squared = (Y**2).sum(1)[:, None] - 2 * Y @ predicted.T + (predicted**2).sum(1)
    log_weights = -0.5 * squared / noise_level**2
    return np.exp(log_weights - logsumexp(log_weights, axis=1, keepdims=True))


def _ridgeline(prior, Y, A, noise_level):
    """The corners of the ridgeline, the midpoints of its edges, and its centre, for every y."""
    corners = np.eye(len(prior.weights))
    edges = [(first + second) / 2 for first, second in combinations(corners, 2)]
    for share in [*corners, *edges, corners.mean(axis=0)]:
        yield _blend(prior, np.broadcast_to(share, (len(Y), len(share))), Y, A, noise_level)


def _blend(prior, share, Y, A, noise_level):
    """The maximiser of the posterior if log p were the mean of the components' log densities.

    ``share`` of shape (n_samples, n_components) holds the weights of that mean.
    """
    precisions = np.linalg.inv(prior.covariances)
    matrix = A.T @ A / noise_level**2 + np.einsum("nk,kij->nij", share, precisions)
    target = Y @ A / noise_level**2 + np.einsum("nk,kij,kj->ni", share, precisions, prior.means)
    return np.linalg.solve(matrix, target[:, :, None])[:, :, 0]


def _ascend(prior, X, Y, A, noise_level, max_iter, tol):
    """Climb from X towards a local maximum of the posterior density."""
    fidelity = A.T @ A / noise_level**2
    data = Y @ A / noise_level**2
    for _ in range(max_iter):
        responsibility = softmax(prior._joint_log_density(X)[0], axis=1)
        previous, X = X, _blend(prior, responsibility, Y, A, noise_level)
        if np.abs(X - previous).max() <= tol * np.abs(X).max():
            return X
    for _ in range(10):
        gradient = prior.score(X) + data - X @ fidelity
        curvature = fidelity - prior.hessian(X)
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        accept = _log_posterior(prior, X + step, Y, A, noise_level) >= _log_posterior(
            prior, X, Y, A, noise_level
        )
        X = X + accept[:, None] * step
    return X


def _log_posterior(prior, X, Y, A, noise_level):
    """``log p(x) − ‖A x − y‖² / (2 δ²)`` for every row."""
    return prior.log_density(X) - 0.5 * ((X @ A.T - Y) ** 2).sum(1) / noise_level**2


def _white_problem(prior, Y, operator, noise_level, noise_covariance) -> tuple[Array, Array, float]:
    """Measurements with white noise, their operator, and the noise level."""
    Y = measurement_rows(prior, Y, operator)
    A = _matrix(prior, Y.shape[1], operator)
    noise = _noise(noise_level, noise_covariance, Y.shape[1])
    return noise.whiten(Y), noise.whitened_matrix(A), noise.level


def measurement_rows(prior: Any, Y: ArrayLike, operator: Any) -> Array:
    """Measurements of shape (n_samples, n_measurements); (n_samples,) is one for each signal."""
    check_has(prior, "prior", "n_features")
    refuse_complex_data(Y, "Y")
    several = _n_measurements(prior, operator) > 1
    Y = check_array(Y, dtype=np.float64, ensure_2d=several, input_name="Y")
    return Y.reshape(len(Y), -1)


def _n_measurements(prior, operator):
    return prior.n_features if operator is None else as_operator(operator).shape[0]


def _matrix(prior, n_measurements, operator):
    """The operator as a matrix of the shape that is needed."""
    check_has(prior, "prior", "n_features")
    A = np.eye(prior.n_features) if operator is None else as_operator(operator).to_dense()
    if A.shape != (n_measurements, prior.n_features):
        raise ValueError(
            f"The operator has shape {A.shape}, but Y has {n_measurements} measurements and the "
            f"prior {prior.n_features} features: a shape of {(n_measurements, prior.n_features)} "
            "is needed."
        )
    return A


def _noise(noise_level, noise_covariance, n_measurements):
    """The noise, which must not be zero."""
    if isinstance(noise_level, numbers.Real) and not 0 < noise_level < np.inf:
        raise ValueError(f"noise_level must be a positive number; got {noise_level!r}.")
    return NoiseModel.given(noise_level, noise_covariance, n_measurements=n_measurements)


def _require_mixture(prior):
    if not isinstance(prior, GaussianMixturePrior):
        raise TypeError(
            f"A GaussianMixturePrior is needed, got {type(prior).__name__}. For given signals "
            "(EmpiricalPrior) only the posterior mean can be computed."
        )

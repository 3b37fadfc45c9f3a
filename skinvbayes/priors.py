"""Priors: distributions of signals with samples, log density and score.

A prior does not depend on operators, noise or networks. :mod:`skinvbayes.oracles` computes
posterior means, MAP estimates and posterior covariances from it.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import cho_solve, cholesky
from scipy.spatial.distance import cdist
from scipy.special import logsumexp, softmax
from sklearn.neighbors import KernelDensity
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array

from .numerics.checks import check_count
from .numerics.modes import OwnModes, own_modes
from .numerics.sklearn_compat import check_sample_weight
from .numerics.types import Array, RandomState

__all__ = [
    "EmpiricalPrior",
    "GaussianMixturePrior",
    "KernelDensityPrior",
    "principal_axes",
]

_MOST_AXES = 2000
_CHUNK_ENTRIES = 2**22  # entries of the largest table of squared distances


class GaussianMixturePrior(OwnModes):
    """Mixture of Gaussians with any means and covariances.

    Parameters
    ----------
    means : array-like of shape (n_components, n_features)
        Means of the components.
    covariances : float or array-like of shape (n_features, n_features) or \
            (n_components, n_features, n_features)
        Symmetric positive definite covariances: a variance shared by all coordinates and
        components, one matrix shared by all components, or one matrix each.
    weights : array-like of shape (n_components,), default=None
        Non-negative weights, normalised to sum to one. By default all are equal.

    Examples
    --------
    >>> from skinvbayes.priors import GaussianMixturePrior
    >>> prior = GaussianMixturePrior([[1.0, 0.5], [-1.0, -0.5]], 0.16)
    >>> prior.sample(3, random_state=0).shape
    (3, 2)
    >>> prior.score([[0.0, 0.0]]).round(12) + 0.0
    array([[0., 0.]])
    """

    @own_modes()
    def __init__(self, means: ArrayLike, covariances: ArrayLike, weights: ArrayLike | None = None):
        self.means: Array = check_array(means, dtype=np.float64, copy=True, input_name="means")
        n_components, n_features = self.means.shape
        self.covariances = _as_covariances(covariances, n_components, n_features)
        weights = np.ones(n_components) if weights is None else np.asarray(weights, float)
        total = weights.sum()
        if weights.shape != (n_components,) or weights.min() < 0 or not 0 < total < np.inf:
            raise ValueError(
                f"weights must be {n_components} non-negative numbers with a positive sum, one "
                f"for each component; got {weights!r}."
            )
        self.weights = weights / total
        self._cholesky = np.array([cholesky(c, lower=True) for c in self.covariances])

    @property
    def n_features(self) -> int:
        """Number of coordinates of a signal."""
        return self.means.shape[1]

    def sample(self, n_samples: int, random_state: RandomState = None) -> Array:
        """Draw signals.

        Parameters
        ----------
        n_samples : int
            Number of signals.
        random_state : int, RandomState instance or None, default=None
            Source of randomness.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Signals.
        """
        n_samples, rng = check_count(n_samples, "n_samples"), check_random_state(random_state)
        component = rng.choice(len(self.weights), size=n_samples, p=self.weights)
        white = rng.standard_normal((n_samples, self.n_features))
        return self.means[component] + np.einsum("nij,nj->ni", self._cholesky[component], white)

    def log_density(self, X: ArrayLike) -> Array:
        """Logarithm of the density at each signal.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            ``log p(x)``, in nats.
        """
        with np.errstate(under="ignore"):  # weights may be too small for a number
            return logsumexp(self._joint_log_density(X)[0], axis=1)

    def score(self, X: ArrayLike) -> Array:
        """Gradient of the log density, ``∇log p(x)``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        score : ndarray of shape (n_samples, n_features)
            Score, in inverse units of the signals.
        """
        joint, pull = self._joint_log_density(X)
        with np.errstate(under="ignore"):  # weights may be too small for a number
            return np.einsum("nk,nkd->nd", softmax(joint, axis=1), pull)

    def hessian(self, X: ArrayLike) -> Array:
        """Second derivative of the log density.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        hessian : ndarray of shape (n_samples, n_features, n_features)
            ``∇²log p(x)``.
        """
        joint, pull = self._joint_log_density(X)
        precisions = np.linalg.inv(self.covariances)
        with np.errstate(under="ignore"):  # weights may be too small for a number
            responsibility = softmax(joint, axis=1)
            score = np.einsum("nk,nkd->nd", responsibility, pull)
            second = np.einsum("nk,nki,nkj->nij", responsibility, pull, pull)
            second -= np.einsum("nk,kij->nij", responsibility, precisions)
            return second - score[:, :, None] * score[:, None, :]

    def _joint_log_density(self, X):
        """``log w_k N(x; μ_k, Σ_k)`` and ``Σ_k⁻¹(μ_k − x)`` for all samples and components."""
        X = _check_signals(X, self.n_features)
        offset = self.means[None] - X[:, None]
        pull = np.stack(
            [cho_solve((L, True), offset[:, k].T).T for k, L in enumerate(self._cholesky)], axis=1
        )
        log_det = 2 * np.log(np.diagonal(self._cholesky, axis1=1, axis2=2)).sum(axis=1)
        with np.errstate(divide="ignore"):  # a component of weight zero has log weight −inf
            log_weight = np.log(self.weights)
        constant = log_weight - 0.5 * (log_det + self.n_features * np.log(2 * np.pi))
        return constant - 0.5 * np.einsum("nkd,nkd->nk", offset, pull), pull


class EmpiricalPrior(OwnModes):
    """The uniform distribution over given signals, for problems known only through samples.

    It has no density, and therefore neither ``log_density`` nor ``score``;
    :class:`KernelDensityPrior` has both. Its posterior mean is a finite sum
    (:func:`skinvbayes.oracles.posterior_mean`).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Signals.

    Examples
    --------
    >>> from skinvbayes.oracles import posterior_mean
    >>> from skinvbayes.priors import EmpiricalPrior
    >>> prior = EmpiricalPrior([[0.0], [1.0]])
    >>> posterior_mean(prior, [[0.5]], noise_level=0.1)
    array([[0.5]])
    """

    @own_modes()
    def __init__(self, X: ArrayLike):
        self.samples = check_array(X, dtype=np.float64, copy=True, input_name="X")

    @property
    def n_features(self) -> int:
        """Number of coordinates of a signal."""
        return self.samples.shape[1]

    def sample(self, n_samples: int, random_state: RandomState = None) -> Array:
        """Draw signals with replacement.

        Parameters
        ----------
        n_samples : int
            Number of signals.
        random_state : int, RandomState instance or None, default=None
            Source of randomness.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Signals.
        """
        n_samples, rng = check_count(n_samples, "n_samples"), check_random_state(random_state)
        return self.samples[rng.randint(len(self.samples), size=n_samples)]


class KernelDensityPrior(OwnModes):
    """A kernel density estimate from given signals: a prior with a density and a score.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Signals.
    bandwidth : float or {"scott", "silverman"}, default="scott"
        Standard deviation of the Gaussian kernel, in the units of X, or the rule that chooses it,
        as in :class:`sklearn.neighbors.KernelDensity`. The rules are meant for signals of unit
        variance.

    Attributes
    ----------
    density : KernelDensity
        The fitted density of scikit-learn.

    Examples
    --------
    >>> from skinvbayes.priors import KernelDensityPrior
    >>> prior = KernelDensityPrior([[0.0], [1.0]], bandwidth=0.5)
    >>> prior.score([[0.5], [1.5]]).round(12) + 0.0
    array([[ 0.        ],
           [-2.07194484]])
    """

    @own_modes()
    def __init__(self, X: ArrayLike, bandwidth: float | str = "scott"):
        self.samples = check_array(X, dtype=np.float64, copy=True, input_name="X")
        self.density = KernelDensity(bandwidth=bandwidth).fit(self.samples)

    @property
    def n_features(self) -> int:
        """Number of coordinates of a signal."""
        return self.samples.shape[1]

    @property
    def bandwidth(self) -> float:
        """Standard deviation of the kernel."""
        return float(self.density.bandwidth_)

    def sample(self, n_samples: int, random_state: RandomState = None) -> Array:
        """Draw signals.

        Parameters
        ----------
        n_samples : int
            Number of signals.
        random_state : int, RandomState instance or None, default=None
            Source of randomness.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Signals.
        """
        n_samples = check_count(n_samples, "n_samples")
        return self.density.sample(n_samples, random_state=random_state)

    def log_density(self, X: ArrayLike) -> Array:
        """Logarithm of the density at each signal, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            ``log p(x)``.
        """
        with np.errstate(under="ignore"):  # weights may be too small for a number
            return self.density.score_samples(_check_signals(X, self.n_features))

    def score(self, X: ArrayLike) -> Array:
        """Gradient of the log density: the mean shift over the squared bandwidth.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Signals.

        Returns
        -------
        score : ndarray of shape (n_samples, n_features)
            ``∇log p(x) = (Σ_j w_j(x) x_j − x) / b²`` with the kernel's weights ``w_j``, in inverse
            units of the signals.

        References
        ----------
        K. Fukunaga and L. Hostetler (1975), "The estimation of the gradient of a density function,
        with applications in pattern recognition", IEEE Transactions on Information Theory.
        """
        X = _check_signals(X, self.n_features)
        step = max(1, _CHUNK_ENTRIES // len(self.samples))
        chunks = (X[i : i + step] for i in range(0, len(X), step))
        return np.vstack([self._mean_shift(chunk) for chunk in chunks]) / self.bandwidth**2

    def _mean_shift(self, X):
        squared = cdist(X, self.samples, "sqeuclidean")
        with np.errstate(under="ignore"):  # weights may be too small for a number
            return softmax(-0.5 * squared / self.bandwidth**2, axis=1) @ self.samples - X


@own_modes()
def principal_axes(X: ArrayLike, weight: ArrayLike | None = None) -> tuple[Array, Array]:
    """Variances and principal axes of signals, the largest variance last.

    Of more than 2,000 signals with more than 2,000 features, every k-th signal is used.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Signals.
    weight : array-like of shape (n_samples,), default=None
        How often each counts; once by default.

    Returns
    -------
    variances : ndarray of shape (n_axes,)
        The variances; ``n_axes`` is n_features, or the number of signals if that is less.
    axes : ndarray of shape (n_axes, n_features)
        Vectors of length one; zero vectors where there are too few signals for an axis.

    Examples
    --------
    >>> from skinvbayes.priors import principal_axes
    >>> variances, axes = principal_axes([[0.0, 0.0], [0.0, 2.0]])
    >>> variances
    array([0., 1.])
    """
    X = check_array(X, dtype=[np.float64, np.float32], input_name="X", ensure_min_features=0)
    weight = check_sample_weight(weight, X)
    if min(X.shape) > _MOST_AXES:
        step = -(-len(X) // _MOST_AXES)
        X, weight = X[::step], weight[::step]
    if not weight.any():
        raise ValueError("weight is zero for every signal that counts; one must be positive.")
    mean = np.average(X, axis=0, weights=weight)
    deviations = np.sqrt(weight / weight.sum())[:, None] * (X - mean)
    if len(X) >= X.shape[1]:
        variances, axes = np.linalg.eigh(deviations.T @ deviations)
        return variances, axes.T
    variances, coefficients = np.linalg.eigh(deviations @ deviations.T)
    axes = coefficients.T @ deviations
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    vanishing = variances[:, None] <= np.finfo(float).eps * len(X) * variances[-1]
    return variances, np.where(vanishing, 0.0, axes / np.where(vanishing, 1.0, lengths))


def _check_signals(X, n_features):
    X = check_array(X, dtype=np.float64, input_name="X")
    if X.shape[1] != n_features:
        raise ValueError(f"X has {X.shape[1]} features, but this prior is over {n_features}.")
    return X


def _as_covariances(covariances, n_components, n_features):
    covariances = np.asarray(covariances, dtype=np.float64)
    if covariances.ndim == 0:
        covariances = covariances * np.eye(n_features)
    shape = (n_components, n_features, n_features)
    if covariances.shape not in (shape, shape[1:]):
        raise ValueError(
            f"covariances must be a number, a matrix of shape {shape[1:]} or an array of shape "
            f"{shape}, to fit the means; got shape {covariances.shape}."
        )
    if not np.isfinite(covariances).all():
        raise ValueError("covariances must be finite, symmetric and positive definite.")
    covariances = np.broadcast_to(covariances, shape).copy()
    tolerance = 1e-8 * np.abs(covariances).max()
    symmetric = np.allclose(covariances, covariances.transpose(0, 2, 1), rtol=0, atol=tolerance)
    if not symmetric or np.linalg.eigvalsh(covariances).min() <= 0:
        raise ValueError("covariances must be finite, symmetric and positive definite.")
    return covariances

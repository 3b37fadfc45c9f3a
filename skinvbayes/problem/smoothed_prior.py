"""A prior that is smoothed by cluster covariances, and its posterior mean in closed form.

Training on n signals reconstructs those n signals. The smoothed bootstrap puts a Gaussian kernel
on each of them. For a Gaussian mixture with the means c_k and the covariances Q_k, signal u_j of
cluster k gets the kernel N(m_j, S_k) with

    m_j = c_k + √(1 − h²) (u_j − c_k),  S_k = h² Q_k,

which keeps the mean and the covariance of each cluster. h = 0 gives the signals themselves, h = 1
the mixture, with one kernel for each cluster; one cluster and h = 1 give the linear minimum mean
square error (LMMSE) estimator.

The measurement is w = G̃ u + noise of covariance ε G̃. Given the kernel,

    E[u | w, j] = m_j + K_k (w − G̃ m_j),  K_k = S_k (G̃ S_k + ε)⁻¹,

and the kernels have the posterior probabilities softmax((v_j·w + ½ w·K_k w)/ε + b_j), where
v_j = m_j − K_k G̃ m_j. Noise of another covariance N is brought to this form: the statistic
t = ε G̃ᵀN⁻¹ w holds all that w tells of u, and its forward map is ε G̃ᵀN⁻¹G̃.

References
----------
B. W. Silverman and G. A. Young (1987), "The bootstrap: to smooth or not to smooth?", Biometrika.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import softmax
from sklearn.utils import check_random_state

from ..numerics.chunks import chunk_size, slices
from .moments import covariance_of
from .prior_choice import choose
from .weighted_mixture import WeightedMixture

__all__ = ["SmoothedPrior"]

_LEAST_EPSILON = 1e-10  # relative to the variance of a clean w
_TILT = 0.3  # τ, relative to the noise of a direction that is measured well
_LEAST_NOISE = 1e-10  # eigenvalue of a noise covariance, relative to the largest


@dataclass(frozen=True)
class SmoothedPrior:
    """Gaussian kernels, and the measurement through which they are seen.

    Attributes
    ----------
    means : ndarray of shape (n_kernels, n_features)
        The m_j.
    labels : ndarray of shape (n_kernels,)
        The cluster k of each kernel.
    weights : ndarray of shape (n_kernels,)
        Probabilities of the kernels, with the sum one.
    covariances : ndarray of shape (n_clusters, n_features, n_features)
        The S_k.
    bandwidth : float
        The h, from 0 to 1.
    forward : ndarray of shape (n_features, n_features)
        The G̃; it may be singular.
    epsilon : float
        The ε, positive.
    noise : ndarray of shape (n_features, n_features) or None
        Covariance N of the noise of w; None for ε G̃.
    """

    means: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    covariances: np.ndarray
    bandwidth: float
    forward: np.ndarray
    epsilon: float
    noise: np.ndarray | None = None

    @classmethod
    def fit(cls, u, weight, *, forward, epsilon, n_clusters, bandwidth, random_state, noise=None):
        """Fit the clusters to signals and put kernels on the signals.

        Parameters
        ----------
        u : ndarray of shape (n_samples, n_features)
            Signals.
        weight : ndarray of shape (n_samples,)
            How often each counts; numbers of repetitions.
        forward : ndarray of shape (n_features, n_features)
            The G̃, symmetric positive semidefinite; any matrix where ``noise`` is given.
        epsilon : float
            The ε, positive; a very small one is raised.
        n_clusters : int
            Largest number of clusters.
        bandwidth : float
            The h, from 0 to 1.
        random_state : int
            Seed of k-means and of the labels.
        noise : ndarray of shape (n_features, n_features), default=None
            Covariance of the noise of w; None for ε G̃.

        Returns
        -------
        prior : SmoothedPrior
        """
        u, weight = u[weight > 0], weight[weight > 0]
        mixture = WeightedMixture.fit(u, weight, n_clusters if bandwidth else 1, random_state)
        measurement = _measurement(u, weight, forward, epsilon, noise)
        return cls.around(mixture, u, weight, bandwidth, random_state, measurement)

    @classmethod
    def chosen(cls, u, weight, *, forward, epsilon, random_state, noise=None):
        """Choose the clusters and the bandwidth by the error on held-out signals, then fit.

        Parameters
        ----------
        u, weight, forward, epsilon, random_state, noise
            As in :meth:`fit`.

        Returns
        -------
        prior : SmoothedPrior
            The linear estimator unless another prior is better by a standard error.
        """
        u, weight = u[weight > 0], weight[weight > 0]
        measurement = _measurement(u, weight, forward, epsilon, noise)
        mixture, bandwidth = choose(cls, u, weight, measurement, random_state)
        mixture = mixture.refined(u, weight)
        return cls.around(mixture, u, weight, bandwidth, random_state, measurement)

    @classmethod
    def around(cls, mixture, u, weight, bandwidth, random_state, measurement):
        """The prior of a mixture that is fitted already."""
        covariances = bandwidth**2 * mixture.covariances
        if bandwidth == 1:
            labels = np.arange(len(mixture.shares))
            means, weights = mixture.means, mixture.shares
        else:
            labels = mixture.drawn_labels(u, check_random_state(random_state))
            centres = mixture.means[labels]
            means = centres + np.sqrt(1 - bandwidth**2) * (u - centres)
            weights = weight / weight.sum()
        return cls(means, labels, weights, covariances, float(bandwidth), **measurement)

    def widened(self, jitter):
        """The prior of the same signals with jitter: the covariances of the kernels grow by M Mᵀ.

        Parameters
        ----------
        jitter : ndarray of shape (n_features, n_features) or float
            The M.

        Returns
        -------
        prior : SmoothedPrior
        """
        jitter = jitter * np.eye(self.means.shape[1]) if np.ndim(jitter) == 0 else jitter
        return replace(self, covariances=self.covariances + jitter @ jitter.T)

    @property
    def is_linear(self):
        """Whether the posterior mean is the linear estimator: one cluster and h = 1."""
        return self.bandwidth == 1 and len(self.means) == 1

    @property
    def is_mixture(self):
        """Whether there is one kernel for each of several clusters."""
        return self.bandwidth == 1 and len(self.means) > 1

    @property
    def mixture(self):
        """The mixture that this is; None where there are more kernels than clusters."""
        if not self.is_mixture:
            return None
        return WeightedMixture(self.weights, self.means, self.covariances)

    # ------------------------------------------------------------------- the posterior mean

    def posterior_mean(self, w):
        """E[u | w] under all kernels.

        Parameters
        ----------
        w : ndarray of shape (n_samples, n_features)
            Measurements.

        Returns
        -------
        u : ndarray of shape (n_samples, n_features)
        """
        size = chunk_size(len(self.means) + len(self.slopes) * w.shape[1])
        return np.concatenate(
            [self._mean(w[rows] @ self.statistic.T) for rows in slices(len(w), size)]
        )

    def _mean(self, t):
        moved = np.einsum("nd,kde->kne", t, self.slopes, optimize=True)  # K_k t
        quadratic = 0.5 * np.einsum("kne,ne->nk", moved, t) / self.epsilon
        logits = t @ self.pulls.T + self.biases + quadratic[:, self.labels]
        probability = softmax(logits, axis=1)
        share = probability @ np.eye(len(self.slopes))[self.labels]
        return self.epsilon * probability @ self.pulls + np.einsum("nk,kne->ne", share, moved)

    @cached_property
    def statistic(self):
        """The matrix of w ↦ t."""
        if self.noise is None:
            return np.eye(len(self.forward))
        return self.epsilon * self.forward.T @ _pseudo_inverse(self.noise)

    @cached_property
    def information(self):
        """The forward map of t, symmetric positive semidefinite."""
        G = self.statistic @ self.forward
        return (G + G.T) / 2

    @cached_property
    def slopes(self):
        """K_k for the statistic t, of shape (n_clusters, n_features, n_features)."""
        K = self._resolvents @ self.covariances
        return (K + K.transpose(0, 2, 1)) / 2

    @cached_property
    def pulls(self):
        """v_j/ε, of shape (n_kernels, n_features)."""
        pulls = np.empty_like(self.means)
        for k, resolvent in enumerate(self._resolvents):
            pulls[self.labels == k] = self.means[self.labels == k] @ resolvent.T
        return pulls

    @cached_property
    def biases(self):
        """b_j, of shape (n_kernels,)."""
        eye = np.eye(len(self.information))
        logdet = np.linalg.slogdet(eye + self.covariances @ self.information / self.epsilon)[1]
        energy = np.sum((self.means @ self.information) * self.pulls, axis=1)
        with np.errstate(divide="ignore"):  # a kernel of weight zero has log weight −inf
            return np.log(self.weights) - 0.5 * (energy + logdet[self.labels])

    @cached_property
    def _resolvents(self):
        """(S_k G̃ + ε)⁻¹."""
        return np.linalg.inv(
            self.covariances @ self.information + self.epsilon * np.eye(len(self.information))
        )

    # ------------------------------------------------------------------ what training draws

    @property
    def images(self):
        """G̃ m_j, of shape (n_kernels, n_features)."""
        return self.means @ self.forward.T

    @property
    def gains(self):
        """K_k for w, of shape (n_clusters, n_features, n_features)."""
        return self.slopes @ self.statistic

    @property
    def covariance_roots(self):
        """Symmetric roots of the S_k."""
        return _root(self.covariances)

    @property
    def precisions(self):
        """The S_k⁻¹, where the S_k are positive definite."""
        return np.linalg.inv(self.covariances)

    @property
    def measurement_covariances(self):
        """The covariances G̃ S_k G̃ᵀ + N of w given a kernel."""
        noise = self.epsilon * self.forward if self.noise is None else self.noise
        return self.forward @ self.covariances @ self.forward.T + noise

    @property
    def measurement_roots(self):
        """Their symmetric roots."""
        return _root(self.measurement_covariances)

    @property
    def tilted_roots(self):
        """The same with ε (τ² − G̃)₊ added: w then varies in the null space of G̃ too.

        No measurement has w there, but the posterior covariance is ε times the slope of E[u | w],
        whose formula holds for every w: w + εη is what one measures if the prior is tilted by
        exp(η·u). A potential of E[u | w] that is learned for w in the range of G̃ alone may have
        any slope across it, and a steep one is hard to train.
        """
        if self.noise is not None:
            return self.measurement_roots
        values, axes = np.linalg.eigh((self.forward + self.forward.T) / 2)
        added = self.epsilon * (axes * (_TILT**2 - values).clip(0)) @ axes.T
        return _root(self.measurement_covariances + added)

    def unexplained(self, rng, n_draws=4000):
        """The mean of ‖u − t‖² over signals and the targets t that training has for them.

        A target is the posterior mean given the kernel, or under all kernels where there is one
        for each cluster; the means of the kernels then add to the variances within them.

        Parameters
        ----------
        rng : RandomState
            Source of the draws that average over the latter.
        n_draws : int, default=4000
            Their number.

        Returns
        -------
        unexplained : float
        """
        explained = self.gains @ self.forward @ self.covariances
        within = np.trace(self.covariances - explained, axis1=1, axis2=2)
        mean = float(self.weights @ within[self.labels])
        if not self.is_mixture:
            return mean
        rows = rng.choice(len(self.means), n_draws, p=self.weights / self.weights.sum())
        white = rng.standard_normal((n_draws, self.means.shape[1]))
        e = np.einsum("nd,nde->ne", white, self.measurement_roots[rows])
        own = self.means[rows] + np.einsum("ned,nd->ne", self.gains[rows], e)
        between = self.posterior_mean(self.images[rows] + e) - own
        return mean + float(np.sum(between**2, axis=1).mean())

    def drawn(self, u, rng):
        """Measurements of signals with fresh noise."""
        noise = self.epsilon * self.forward if self.noise is None else self.noise
        return u @ self.forward.T + rng.standard_normal(u.shape) @ _root(noise)


def _measurement(u, weight, forward, epsilon, noise):
    """The arguments of the measurement, with ε raised where it is too small for float64."""
    covariance = covariance_of(u, weight)
    energy = np.sum(forward * covariance) / len(forward)
    epsilon = max(epsilon, _LEAST_EPSILON * abs(energy), np.finfo(float).tiny)
    return {"forward": forward, "epsilon": epsilon, "noise": noise}


def _root(matrices):
    """The symmetric positive semidefinite roots."""
    matrices = (matrices + np.swapaxes(matrices, -1, -2)) / 2
    values, axes = np.linalg.eigh(matrices)
    return (axes * np.sqrt(values.clip(0))[..., None, :]) @ np.swapaxes(axes, -1, -2)


def _pseudo_inverse(noise):
    """N⁻¹, with the eigenvalues raised that are almost zero."""
    values, axes = np.linalg.eigh((noise + noise.T) / 2)
    return (axes / values.clip(max(_LEAST_NOISE * values[-1], np.finfo(float).tiny))) @ axes.T

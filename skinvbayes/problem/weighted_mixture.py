"""Gaussian mixtures fitted to weighted signals, with covariances that few signals can support.

The expectation–maximisation algorithm of :class:`sklearn.mixture.GaussianMixture`, which takes no
sample weights. The covariance of a cluster of N signals is drawn towards the pooled one, as if
the prior knew the pooled covariance from d signals: Q = (N Q̂ + d Q_pooled)/(N + d).
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import logsumexp
from sklearn.cluster import KMeans

__all__ = ["WeightedMixture"]

_FLATTEST = 1e-8  # variance within clusters, relative to the mean variance of a feature
_MOST_STEPS = 40
_TOLERANCE = 1e-4  # least gain of the mean log-likelihood in one step


class WeightedMixture(NamedTuple):
    """A mixture of ``len(shares)`` Gaussians."""

    shares: np.ndarray  # of shape (n_clusters,), with the sum one
    means: np.ndarray  # of shape (n_clusters, n_features)
    covariances: np.ndarray  # of shape (n_clusters, n_features, n_features)

    @classmethod
    def fit(cls, u, weight, n_clusters, random_state, max_iter=_MOST_STEPS):
        """Start at k-means and improve the likelihood.

        Parameters
        ----------
        u : ndarray of shape (n_samples, n_features)
            Signals.
        weight : ndarray of shape (n_samples,)
            How often each counts.
        n_clusters : int
            Largest number of Gaussians.
        random_state : int
            Seed of k-means.
        max_iter : int
            Largest number of steps.

        Returns
        -------
        mixture : WeightedMixture
            For one cluster the sample mean and the sample covariance.
        """
        if n_clusters > 1:  # counting distinct rows is slow
            n_clusters = min(n_clusters, len(np.unique(u, axis=0)))
        if n_clusters == 1:
            return cls._of_labels(u, weight, np.ones((len(u), 1)), floor=0.0)
        start = KMeans(n_clusters, n_init=2, random_state=random_state)
        responsibilities = np.eye(n_clusters)[start.fit_predict(u, sample_weight=weight)]
        variance = np.average((u - np.average(u, axis=0, weights=weight)) ** 2, 0, weight).mean()
        floor = _FLATTEST * variance + np.finfo(float).tiny
        likelihood = -np.inf
        for _ in range(max_iter):
            mixture = cls._of_labels(u, weight, responsibilities, floor)
            joint = mixture.joint_log_density(u)
            total = logsumexp(joint, axis=1)
            responsibilities = np.exp(joint - total[:, None])
            previous, likelihood = likelihood, np.average(total, weights=weight)
            if likelihood - previous < _TOLERANCE:
                break
        return mixture

    @classmethod
    def _of_labels(cls, u, weight, responsibilities, floor):
        """The mixture with the most likely parameters, from the shares of each signal."""
        n_features = u.shape[1]
        counted = weight[:, None] * responsibilities
        counts = counted.sum(axis=0)
        means = counted.T @ u / np.maximum(counts, np.finfo(float).tiny)[:, None]
        scatter = np.array([_scatter(u - c, q) for c, q in zip(means, counted.T, strict=True)])
        pooled = scatter.sum(axis=0) / counts.sum()
        covariances = (scatter + n_features * pooled) / (counts + n_features)[:, None, None]
        return cls(counts / counts.sum(), means, covariances + floor * np.eye(n_features))

    def joint_log_density(self, u):
        """``log(π_k N(u; c_k, Q_k))``, of shape (n_samples, n_clusters), up to a constant."""
        logs = [_log_density(u - c, Q) for c, Q in zip(self.means, self.covariances, strict=True)]
        return np.log(np.maximum(self.shares, np.finfo(float).tiny)) + np.column_stack(logs)

    def drawn_labels(self, u, rng):
        """One cluster for each signal, drawn from the posterior probabilities of the clusters."""
        if len(self.shares) == 1:
            return np.zeros(len(u), dtype=int)
        joint = self.joint_log_density(u)
        probability = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        below = probability.cumsum(axis=1) < rng.uniform(size=(len(u), 1))
        return below.sum(axis=1).clip(max=len(self.shares) - 1)


def _scatter(deviations, weight):
    """Σ_j q_j d_j d_jᵀ."""
    scaled = np.sqrt(weight)[:, None] * deviations
    return scaled.T @ scaled


def _log_density(deviations, covariance):
    """The log density of a centred Gaussian, up to a constant."""
    root = cholesky(covariance, lower=True, check_finite=False)
    white = solve_triangular(root, deviations.T, lower=True, check_finite=False)
    return -0.5 * np.sum(white**2, axis=0) - np.log(np.diag(root)).sum()

"""Gaussian mixtures fitted to weighted signals, with covariances that few signals can support.

The expectation–maximisation algorithm of :class:`sklearn.mixture.GaussianMixture`, which takes no
sample weights. The covariance of a cluster of N signals is drawn towards the pooled one, as if
the prior knew the pooled covariance from d signals: Q = (N Q̂ + d Q_pooled)/(N + d).
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import logsumexp
from sklearn.cluster import KMeans

__all__ = ["WeightedMixture"]

_FLATTEST = 1e-8  # variance within clusters, relative to the mean variance of a feature
_MOST_STEPS = 40
_N_STARTS = 2
_TOLERANCE = 1e-4  # least gain of the mean log-likelihood in one step


@dataclass(frozen=True)
class WeightedMixture:
    """A mixture of ``len(shares)`` Gaussians.

    Attributes
    ----------
    shares : ndarray of shape (n_clusters,)
        Their probabilities, with the sum one.
    means : ndarray of shape (n_clusters, n_features)
        Their means.
    covariances : ndarray of shape (n_clusters, n_features, n_features)
        Their covariances.
    """

    shares: np.ndarray
    means: np.ndarray
    covariances: np.ndarray

    @classmethod
    def fit(cls, u, weight, n_clusters, random_state, max_iter=_MOST_STEPS):
        """Start at k-means a few times, improve the likelihood, and keep the most likely mixture.

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
        eye, rng, found = np.eye(n_clusters), np.random.RandomState(random_state), []
        for _ in range(_N_STARTS):
            labels = KMeans(n_clusters, n_init=1, random_state=rng).fit_predict(u, None, weight)
            found.append(cls._improved(u, weight, eye[labels], max_iter))
        return max(found, key=lambda pair: pair[1])[0]

    def refined(self, u, weight):
        """The mixture after more steps with these signals, and as many clusters."""
        if len(self.shares) == 1:
            return self.fit(u, weight, 1, 0)
        return self._improved(u, weight, self.responsibilities(u)[0], _MOST_STEPS)[0]

    @classmethod
    def _improved(cls, u, weight, responsibilities, max_iter):
        """The mixture after steps that raise the likelihood, and its mean log-likelihood."""
        variance = np.average((u - np.average(u, axis=0, weights=weight)) ** 2, 0, weight).mean()
        floor, likelihood = _FLATTEST * variance + np.finfo(float).tiny, -np.inf
        for _ in range(max_iter):
            mixture = cls._of_labels(u, weight, responsibilities, floor)
            responsibilities, log_density = mixture.responsibilities(u)
            previous, likelihood = likelihood, np.average(log_density, weights=weight)
            if likelihood - previous < _TOLERANCE:
                break
        return mixture, likelihood

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

    def responsibilities(self, u):
        """The posterior probabilities of the clusters, and the log density up to a constant."""
        logs = [_log_density(u - c, Q) for c, Q in zip(self.means, self.covariances, strict=True)]
        joint = np.log(np.maximum(self.shares, np.finfo(float).tiny)) + np.column_stack(logs)
        log_density = logsumexp(joint, axis=1)
        return np.exp(joint - log_density[:, None]), log_density

    def log_density(self, u):
        """log p(u) up to a constant, of shape (n_samples,)."""
        return self.responsibilities(u)[1]

    def conditional_means(self, information, w):
        """The posterior means under each of the Gaussians.

        Parameters
        ----------
        information : ndarray of shape (n_samples, n_features, n_features)
            The G of the log-likelihoods w·u − ½ u·G u.
        w : ndarray of shape (n_samples, n_features)
            What was measured.

        Yields
        ------
        u : ndarray of shape (n_samples, n_features)
            c + S (G S + 1)⁻¹ (w − G c), for the mean c and the covariance S of a Gaussian.
        """
        eye = np.eye(w.shape[1])
        for c, S in zip(self.means, self.covariances, strict=True):
            missing = w - information @ c
            yield c + np.linalg.solve(information @ S + eye, missing[:, :, None])[:, :, 0] @ S

    def bic(self, u, weight):
        """The Bayesian information criterion, up to a constant: the lower, the better."""
        n_features = u.shape[1]
        n_parameters = len(self.shares) * (1 + n_features + n_features * (n_features + 1) / 2)
        n = weight.sum()
        likelihood = weight @ self.log_density(u)
        return n_parameters * np.log(n) - 2 * likelihood

    def drawn_labels(self, u, rng):
        """One cluster for each signal, drawn from the posterior probabilities of the clusters."""
        if len(self.shares) == 1:
            return np.zeros(len(u), dtype=int)
        below = self.responsibilities(u)[0].cumsum(axis=1) < rng.uniform(size=(len(u), 1))
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

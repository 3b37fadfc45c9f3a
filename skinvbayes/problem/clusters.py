"""The posterior mean of signals that come in clusters, in closed form.

For a Gaussian mixture of components with the means c_k, the weights π_k and one common covariance
Q, seen through G̃ with noise of covariance ε G̃, the posterior mean given w is

    E[u | w] = K w + Σ_k p_k(w) v_k,  K = (G̃ + ε Q⁻¹)⁻¹,  v_k = (I − K G̃) c_k,

with p = softmax((v_k·w + b_k)/ε): one log-sum-exp unit. With one cluster it is the linear minimum
mean square error (LMMSE) estimator.
"""

from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans

__all__ = ["ClusterPosterior"]

_SIGNALS_PER_CLUSTER = 8  # at least
_FLATTEST = 1e-9  # variance within clusters, relative to the largest


class ClusterPosterior(NamedTuple):
    """The posterior mean ``slope w + weightᵀ softmax(sharpness (weight w + bias))``."""

    slope: np.ndarray  # K, of shape (n_features, n_features)
    weight: np.ndarray  # the v_k, of shape (n_clusters, n_features)
    bias: np.ndarray  # the b_k, of shape (n_clusters,)
    sharpness: float  # 1/ε

    @classmethod
    def from_signals(cls, u, weight, *, forward, epsilon, n_clusters, random_state):
        """Fit clusters to signals by k-means.

        Parameters
        ----------
        u : ndarray of shape (n_samples, n_features)
            Signals.
        weight : ndarray of shape (n_samples,)
            How often each counts.
        forward : ndarray of shape (n_features, n_features)
            The G̃, symmetric positive semidefinite.
        epsilon : float
            The ε, positive.
        n_clusters : int
            Largest number of clusters.
        random_state : int
            Seed of k-means.
        """
        most = max(len(u) // _SIGNALS_PER_CLUSTER, 1), len(np.unique(u, axis=0))
        n_clusters = min(n_clusters, *most)
        means = KMeans(n_clusters, n_init=2, random_state=random_state)
        labels = means.fit_predict(u, sample_weight=weight)
        centres, share = means.cluster_centers_, np.bincount(labels, weight) / weight.sum()
        deviations = u - centres[labels]
        Q = (weight * deviations.T) @ deviations / weight.sum()
        Q += _FLATTEST * np.trace(Q) * np.eye(len(Q)) + np.finfo(float).eps * np.eye(len(Q))
        inverse = np.linalg.inv(Q @ forward + epsilon * np.eye(len(Q)))
        slope = inverse @ Q
        weights = epsilon * centres @ inverse.T
        bias = epsilon * np.log(share) - 0.5 * np.sum((centres @ forward) * weights, axis=1)
        return cls((slope + slope.T) / 2, weights, bias, 1 / epsilon)

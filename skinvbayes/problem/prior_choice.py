"""How many clusters and which bandwidth smooth a prior best: no network is trained for it.

The posterior mean of a smoothed prior is in closed form, so its error on held-out signals, with
fresh noise, says which prior training should draw from.
"""

import numpy as np
from sklearn.utils import check_random_state

from .weighted_mixture import WeightedMixture

__all__ = ["choose"]

_CLUSTERS = (1, 2, 3, 4, 5, 6, 8, 12, 16)
_BANDWIDTHS = (0.85, 0.7, 0.5, 0.3, 0.15, 0.0)
_WORTHWHILE = 2e-3  # share of the error by which another prior has to be better
_CLUSTER_FAILURES, _BANDWIDTH_FAILURES = 3, 2  # in a row, after which no more are tried
_FEWEST_SIGNALS = 10  # for which anything but the linear estimator is tried, and in a cluster
_HELD_OUT = 800  # most held-out signals of a fold
_ONE_FOLD = 1000  # signals from which on one fold is enough
_MOST_SIGNALS, _FEWEST_SUBSAMPLED = 5000, 2000
_MOST_ENTRIES = 2**22  # signals × features² of a subsample
_MOST_WORK = 2**30  # signals × features² × clusters of the largest mixture
_MOST_STEPS = 15  # of the fit of a mixture


def choose(prior_class, u, weight, measurement, random_state):
    """The mixture and the bandwidth with the lowest error on held-out signals.

    Parameters
    ----------
    prior_class : type
        :class:`~skinvbayes.problem.smoothed_prior.SmoothedPrior`.
    u : ndarray of shape (n_samples, n_features)
        Signals.
    weight : ndarray of shape (n_samples,)
        How often each counts, positive.
    measurement : dict
        The arguments ``forward``, ``epsilon`` and ``noise`` of the prior.
    random_state : int
        Seed of all that is drawn.

    Returns
    -------
    mixture : WeightedMixture
        Clusters of some of the signals. Their number is chosen first, with the bandwidth one. A
        larger number must be better by a standard error, from two clusters on by two unless the
        Bayesian information criterion (BIC) prefers it; or more likely by the BIC and not surely
        worse: of clusters that overlap the likelihood tells more.
    bandwidth : float
        The largest, unless a smaller one is better by a standard error; then the next smaller
        one, since a network that is trained on the draws smooths once more.
    """
    if len(u) < _FEWEST_SIGNALS:
        return WeightedMixture.fit(u, weight, 1, random_state), 1.0
    rng = check_random_state(random_state)
    most = min(_MOST_SIGNALS, max(_FEWEST_SUBSAMPLED, _MOST_ENTRIES // u.shape[1] ** 2))
    rows = rng.permutation(len(u))[:most]
    comparison = _Comparison(prior_class, u[rows], weight[rows], measurement, rng)
    most = min(len(rows) // _FEWEST_SIGNALS, _MOST_WORK // (len(rows) * u.shape[1] ** 2))
    clusters = [(n, 1.0) for n in _CLUSTERS[1:] if n <= most]
    n, _ = comparison.winner((1, 1.0), clusters, _CLUSTER_FAILURES)
    if n > 1:  # else the linear estimator is good enough
        n = comparison.likeliest(n, [other for other, _ in clusters if other > n])
    smaller = [(n, h) for h in _BANDWIDTHS]
    _, bandwidth = comparison.winner((n, 1.0), smaller, _BANDWIDTH_FAILURES)
    if bandwidth < 1:
        bandwidth = max((h for h in _BANDWIDTHS if h < bandwidth), default=0.0)
    return comparison.folds[0].mixture(n, comparison.random_state), bandwidth


class _Comparison:
    """The errors of priors on the same held-out signals with the same noise."""

    def __init__(self, prior_class, u, weight, measurement, rng):
        self.prior_class, self.measurement = prior_class, measurement
        self.random_state = rng.randint(2**31 - 1)
        n_held_out = min(max(len(u) // 5, min(20, len(u) // 3)), _HELD_OUT)
        self.n_copies = max(1, _HELD_OUT // n_held_out)
        folds = slice(0, 1 if len(u) >= _ONE_FOLD else 3)
        held_out = [slice(i * n_held_out, (i + 1) * n_held_out) for i in range(3)[folds]]
        self.folds = [_Fold(u, weight, rows) for rows in held_out]
        linear = prior_class.fit(u, weight, **measurement, **self._settings(1, 1.0))
        for fold in self.folds:
            fold.w = linear.drawn(fold.truth.repeat(self.n_copies, axis=0), rng)
        self.weight = np.concatenate([fold.truth_weight for fold in self.folds])
        self.known = {}

    def _settings(self, n_clusters, bandwidth):
        return {
            "n_clusters": n_clusters,
            "bandwidth": bandwidth,
            "random_state": self.random_state,
        }

    def winner(self, best, candidates, most_failures):
        """The last of the candidates that is surely better than the best before it."""
        n_failures = 0
        for candidate in candidates:
            if self.is_better(candidate, best):
                best, n_failures = candidate, 0
            else:
                n_failures += 1
            if n_failures == most_failures:
                break
        return best

    def likeliest(self, n, larger):
        """The last of ascending numbers of clusters that is more likely, and not surely worse."""
        for other in larger:
            loss = self.errors(other, 1.0) - self.errors(n, 1.0)
            if not self._is_likelier(other, n) or self._is_surely_positive(loss):
                break
            n = other
        return n

    def is_better(self, candidate, best):
        """Whether the mean error falls by more than its standard error, and enough to count."""
        errors = self.errors(*best)
        gain = errors - self.errors(*candidate)
        worthwhile = gain @ self.weight > _WORTHWHILE * (errors @ self.weight)
        if not worthwhile:
            return False
        n, before = candidate[0], best[0]
        doubtful = 1 < before < n and not self._is_likelier(n, before)
        return self._is_surely_positive(gain, 2 if doubtful else 1)

    def _is_surely_positive(self, gain, n_errors=1):
        """Whether the mean of a gain is positive by more than so many standard errors."""
        mean = np.average(gain, weights=self.weight)
        return mean > n_errors * np.linalg.norm(self.weight * (gain - mean)) / self.weight.sum()

    def _is_likelier(self, n_clusters, before):
        """Whether the Bayesian information criterion of the first fold prefers so many clusters."""
        fold = self.folds[0]
        mixtures = (fold.mixture(n, self.random_state) for n in (n_clusters, before))
        new, old = (mixture.bic(fold.u, fold.weight) for mixture in mixtures)
        return new < old

    def errors(self, n_clusters, bandwidth):
        """The mean squared error of each held-out signal."""
        key = n_clusters, bandwidth
        if key not in self.known:
            self.known[key] = np.concatenate([self._of_fold(fold, *key) for fold in self.folds])
        return self.known[key]

    def _of_fold(self, fold, n_clusters, bandwidth):
        mixture = fold.mixture(n_clusters, self.random_state)
        prior = self.prior_class.around(
            mixture, fold.u, fold.weight, bandwidth, self.random_state, self.measurement
        )
        estimate = prior.posterior_mean(fold.w).reshape(len(fold.truth), self.n_copies, -1)
        return np.sum((estimate - fold.truth[:, None]) ** 2, axis=2).mean(axis=1)


class _Fold:
    """Held-out signals, and the others with the mixtures fitted to them."""

    def __init__(self, u, weight, held_out):
        self.truth, self.truth_weight = u[held_out], weight[held_out]
        self.u, self.weight = (np.delete(rows, held_out, axis=0) for rows in (u, weight))
        self.mixtures = {}

    def mixture(self, n_clusters, random_state):
        if n_clusters not in self.mixtures:
            self.mixtures[n_clusters] = WeightedMixture.fit(
                self.u, self.weight, n_clusters, random_state, max_iter=_MOST_STEPS
            )
        return self.mixtures[n_clusters]

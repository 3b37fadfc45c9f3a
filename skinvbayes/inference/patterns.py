"""Posteriors for rows of which different measurements are missing."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_random_state

from .posterior import N_PROBES, Posterior

__all__ = ["PatternedPosterior"]


@dataclass
class PatternedPosterior:
    """As a :class:`Posterior`, with its methods, for several groups of rows.

    Attributes
    ----------
    parts : list of tuple (rows, Posterior)
        The rows of each group, and their posterior.
    """

    parts: list[tuple[np.ndarray, Posterior]]

    @property
    def mean(self):
        """The reconstructions, of shape (n_samples, n_features)."""
        return self._joined(lambda part: part.mean)

    def covariance(self):
        """Covariances of the errors, of shape (n_samples, n_features, n_features)."""
        return self._joined(lambda part: part.covariance())

    def std(self, method="auto", n_probes=N_PROBES, random_state=0):
        """Standard deviations of the errors, and the standard errors of these."""
        found = self._joined(lambda part: np.stack(part.std(method, n_probes, random_state), 1))
        return found[:, 0], found[:, 1]

    def interval(self, coverage):
        """Ends of the intervals that hold each coordinate with a probability."""
        found = self._joined(lambda part: np.stack(part.interval(coverage), 1))
        return found[:, 0], found[:, 1]

    def sample(self, n_samples=1, random_state=None, method="auto"):
        """Draw signals."""
        rng = check_random_state(random_state)
        return self._joined(lambda part: part.sample(n_samples, rng, method))

    def _joined(self, function):
        found = [(rows, function(part)) for rows, part in self.parts]
        first = found[0][1]
        result = np.empty((sum(len(rows) for rows, _ in found), *first.shape[1:]), first.dtype)
        for rows, values in found:
            result[rows] = values
        return result

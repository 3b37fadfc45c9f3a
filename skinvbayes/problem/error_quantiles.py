"""Quantiles of errors over their standard deviations: how long intervals have to be."""

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["ERROR_LEVELS", "ErrorQuantiles"]

ERROR_LEVELS = 201  # of the quantiles
_LEVELS = np.linspace(0, 1, ERROR_LEVELS)
_FEWEST_SIGNALS = 20  # for each of the groups


@dataclass(frozen=True)
class ErrorQuantiles:
    """Quantiles of the ratios ``|error|/std``, where std is small and where it is large.

    A posterior that is too wide where signals are smooth and too narrow at their edges covers both
    as promised only if its intervals are lengthened by what depends on its standard deviation.

    Attributes
    ----------
    std : ndarray of shape (n_groups,)
        Typical standard deviations of groups of equal size, ascending.
    ratios : ndarray of shape (n_groups, ERROR_LEVELS)
        The quantiles in each group, at equally spaced levels from 0 to 1.
    """

    std: np.ndarray
    ratios: np.ndarray

    @classmethod
    def of(cls, errors, std, n_signals, n_groups=1):
        """Those of errors of signals that training has not learned by heart.

        Parameters
        ----------
        errors, std : ndarrays of shape (n_errors,)
            Errors, of any sign, and their positive standard deviations.
        n_signals : int
            Number of the signals that they are of. Each quantile is that of a level higher by its
            1/n-th part, as in conformal prediction, so that few signals make intervals longer.
        n_groups : int, default=1
            Largest number of groups; fewer serve few signals, or equal standard deviations.

        Returns
        -------
        quantiles : ErrorQuantiles
        """
        levels = (_LEVELS * (1 + 1 / n_signals)).clip(max=1)
        n_groups = min(max(n_signals // _FEWEST_SIGNALS, 1), n_groups)
        edges = np.quantile(std, np.linspace(0, 1, n_groups + 1)[1:-1])
        group = np.searchsorted(edges, std)
        rows = [group == k for k in np.unique(group)]
        ratios = np.abs(errors) / std
        return cls(
            np.array([np.exp(np.log(std[some]).mean()) for some in rows]),
            np.array([np.quantile(ratios[some], levels) for some in rows]),
        )

    def middle(self, other):
        """The quantiles half way to those of another one, in their logarithm."""
        return replace(self, ratios=np.sqrt(self.ratios * other.ratios))

    @property
    def size(self):
        """The root mean square of the ratios, 1 for errors as large as promised."""
        return float(np.sqrt(np.mean(self.ratios**2)))

    def factor(self, coverage, std=None):
        """Half the length of an interval, in standard deviations.

        Parameters
        ----------
        coverage : float
            The probability that it holds the truth, between 0 and 1.
        std : ndarray, default=None
            The standard deviations; by default the mean factor of the groups is returned.

        Returns
        -------
        factor : ndarray of the shape of ``std``, or float
        """
        factors = np.array([np.interp(coverage, _LEVELS, ratios) for ratios in self.ratios])
        if std is None:
            return factors.mean()
        with np.errstate(divide="ignore"):
            return np.interp(np.log(std), np.log(self.std), factors)

"""Where the search for a nonlinear reconstruction starts: a linear estimate, and likely signals.

Signals are drawn from the Gaussian distribution with the mean and covariance of the training
signals, and measured by F without noise. A least-squares fit of these measurements, with its own
error as further noise, gives the linear minimum mean square error estimate of a measurement; the
signals that explain it best are other starts, for maps that are not one-to-one.
"""

from dataclasses import dataclass

import numpy as np

from .gauss_newton import solve_definite

__all__ = ["StartingPoints"]

_DRAWN = 1000  # signals, and at least two for each feature
_FEW_FEATURES = 16  # up to which some of the signals are near any other one
_STARTS, _STARTS_OF_MANY = 8, 2  # drawn signals to start from, of few and of many features


@dataclass
class StartingPoints:
    """Signals u of zero mean, what is measured of them, and a linear fit of that.

    Attributes
    ----------
    drawn : ndarray of shape (n_drawn, n_features)
        The signals.
    measured : ndarray of shape (n_drawn, n_measurements)
        Their measurements without noise, which would have variance one.
    variances : ndarray of shape (n_features,)
        The diagonal covariance of the signals.
    """

    drawn: np.ndarray
    measured: np.ndarray
    variances: np.ndarray

    @classmethod
    def draw(cls, variances, measure):
        """Draw the signals, always the same ones, and measure them."""
        n = max(_DRAWN, 2 * len(variances))
        white = np.random.RandomState(0).standard_normal((n, len(variances)))
        drawn = white * np.sqrt(variances)
        measured = measure(drawn)
        finite = np.isfinite(measured).all(axis=1)
        return cls(drawn[finite], measured[finite], variances)

    def __post_init__(self):
        self.mean = self.measured.mean(axis=0)
        centred = np.column_stack([np.ones(len(self.drawn)), self.drawn])
        fitted = np.linalg.lstsq(centred, self.measured, rcond=None)[0]
        self.constant, self.slopes = fitted[0], fitted[1:].T
        error = self.measured - centred @ fitted
        self.noise = 1 + (error**2).mean(axis=0)

    @property
    def n_starts(self):
        """How many starts every row has."""
        few = self.drawn.shape[1] <= _FEW_FEATURES
        return 1 + min(_STARTS if few else _STARTS_OF_MANY, len(self.drawn))

    def of(self, Y):
        """The starts for every row, of shape (n_starts, n_samples, n_features).

        Parameters
        ----------
        Y : ndarray of shape (n_samples, n_measurements)
            Measurements with noise of variance one; NaN where one is missing.
        """
        kept = ~np.isnan(Y)
        Y = np.where(kept, Y, 0.0)
        return np.concatenate([self._linear(Y, kept)[None], self._likely(Y, kept)])

    def _linear(self, Y, kept):
        """The linear estimate of every row, of shape (n_samples, n_features)."""
        weights = kept / self.noise
        information = np.einsum("nk,ki,kj->nij", weights, self.slopes, self.slopes, optimize=True)
        precision = information + np.diag(1 / self.variances)
        return solve_definite(precision, (weights * (Y - self.constant)) @ self.slopes)[0]

    def _likely(self, Y, kept):
        """The drawn signals that explain each row best: (n_starts − 1, n_samples, n_features)."""
        misfit = kept @ (self.measured**2).T - 2 * (kept * Y) @ self.measured.T
        misfit += (self.drawn**2 / self.variances).sum(axis=1)
        best = np.argsort(misfit, axis=1, kind="stable")[:, : self.n_starts - 1]
        return self.drawn[best].transpose(1, 0, 2)

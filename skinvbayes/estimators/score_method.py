"""The estimators' score."""

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ..inference.posterior import Posterior
from ..numerics.modes import OwnModes
from ..numerics.progress import reporting
from .lazy import chunkwise, is_lazy, row_of_zeros
from .r2 import variance_weighted_r2
from .validation import can_measure, check_measurements, check_pairs, check_ready, check_signals

__all__ = ["ScoreMethod"]


class ScoreMethod(OwnModes):
    """The method ``score``.

    The class that inherits it defines ``_checked_posterior(Y)`` and ``_reads_missing``.
    """

    _checked_posterior: Callable[..., Posterior]
    _reads_missing: bool

    def score(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Variance-weighted R² of the reconstruction ``predict(y)`` against the signals X.

        With dask arrays it is computed at once, in one pass over the chunks.

        Parameters
        ----------
        X : array-like or dask array of shape (n_samples, n_features)
            True signals.
        y : array-like or dask array of shape (n_samples, n_measurements), default=None
            Measurements, with one for each signal also of shape (n_samples,). None, where operator
            and noise are given, draws them: always the same ones for the same signals, of dask
            arrays for the same chunks.
        sample_weight : array-like or dask array of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        score : float
            1 for perfect reconstruction, 0 for that of the mean signal.
        """
        check_ready(self)
        with reporting(self):
            if y is None and can_measure(self):
                found = self._found_of_drawn(X)
            elif is_lazy(X) or is_lazy(y):
                rows = [None if part is None else row_of_zeros(part) for part in (X, y)]
                check_pairs(self, *rows, reset=False)
                found = self._found(y)
            else:
                X, Y = check_pairs(self, X, y, reset=False, allow_missing=self._reads_missing)
                found = self._checked_posterior(Y).mean
        return variance_weighted_r2(X, found, sample_weight)

    @chunkwise
    def _found(self, y):
        """Reconstructions from measurements, which may be of shape (n_samples,)."""
        Y = check_measurements(self, y, allow_missing=self._reads_missing)
        return self._checked_posterior(Y).mean

    @chunkwise
    def _found_of_drawn(self, X):
        """Reconstructions from measurements that are drawn; the signals are the seed of the noise.

        The noise then repeats, and differs from chunk to chunk.
        """
        X = check_signals(self, X)
        rng = np.random.RandomState(zlib.crc32(np.ascontiguousarray(X)))
        return self._checked_posterior(self.problem_.measurement.drawn(X, rng)).mean

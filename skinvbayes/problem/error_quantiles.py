"""Quantiles of errors over their standard deviations: how long intervals have to be."""

import numpy as np

__all__ = ["ERROR_LEVELS", "quantiles_of"]

ERROR_LEVELS = 201  # of the quantiles


def quantiles_of(ratios, n_signals):
    """Quantiles of the sizes of errors.

    Parameters
    ----------
    ratios : ndarray
        Absolute errors over their standard deviations.
    n_signals : int
        Number of the signals that they are of.

    Returns
    -------
    quantiles : ndarray of shape (ERROR_LEVELS,)
        At equally spaced levels from 0 to 1. Each is that of a level higher by its 1/n-th part, as
        in conformal prediction, so that few signals make intervals longer.
    """
    levels = np.linspace(0, 1, ERROR_LEVELS) * (1 + 1 / n_signals)
    return np.quantile(ratios, levels.clip(max=1))

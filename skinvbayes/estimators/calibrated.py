"""How long the intervals of filters have to be: what errors on signals of the training say.

A few filters hardly learn signals by heart, so that errors on those are like errors on others. The
posterior is not quite that of the signals, and its standard deviations are too small or too large.
It takes a hundred signals to tell by how much.
"""

import warnings
from dataclasses import replace

import numpy as np

from ..networks.iresnet import branch_of
from ..problem.error_quantiles import ErrorQuantiles

__all__ = ["calibrated_problem"]

_FEWEST, _MOST = 100, 256  # signals whose errors are looked at
_MOST_FEATURES = 2**18  # of all of them
_GROUPS = 8  # of standard deviations


def calibrated_problem(estimator, X):
    """The problem of a fitted estimator, with the quantiles of its errors.

    Parameters
    ----------
    estimator : BaseINN
        The estimator.
    X : ndarray of shape (n_samples, n_features)
        Signals of its training; the measurements are drawn.

    Returns
    -------
    problem : InverseProblem
        The problem as it is where nothing is to be gained: where a branch may have learned signals
        by heart, signals are too few or too large, or epsilon is not the variance of the noise.
    """
    problem = estimator.problem_
    by_heart = branch_of(estimator.network_.config["residual"]).learns_by_heart
    n = min(len(X), _MOST, _MOST_FEATURES // X.shape[1])
    if by_heart or n < _FEWEST or problem.noise_level == 0 or estimator._caveat(None):
        return problem
    X = X[np.linspace(0, len(X) - 1, n).astype(int)]
    posterior = estimator._checked_posterior(problem.measurement.drawn(X, np.random.RandomState(0)))
    with warnings.catch_warnings():  # these are no measurements of the user's
        warnings.simplefilter("ignore")
        std = posterior.std()[0]
    errors, std = (posterior.mean - X)[std > 0], std[std > 0]
    if not std.size or not np.isfinite(errors / std).all():  # of a training that went wrong
        return problem
    return replace(problem, error_quantiles=ErrorQuantiles.of(errors, std, len(X), _GROUPS))

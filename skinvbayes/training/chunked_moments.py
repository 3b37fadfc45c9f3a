"""What all pairs in chunks say about the problem, in one pass over the chunks."""

import numpy as np

from ..numerics.warn import warn_caller
from ..problem.moments import Moments, moment_sums

__all__ = ["moments_of"]


def moments_of(chunks, problem):
    """Means and covariances of all pairs.

    Parameters
    ----------
    chunks : PairChunks
        The pairs.
    problem : InverseProblem
        The problem that some of the pairs pose: with it, missing measurements are completed, and
        readings that cannot be Gaussian replaced.

    Returns
    -------
    moments : Moments

    Warns
    -----
    UserWarning
        If there are such readings, with their number.
    """
    shared = chunks.shared(problem)
    (origin,) = chunks.results(_first_pair, [0], shared)
    n_replaced, *sums = chunks.sums(_sums, shared, origin)
    if n_replaced:
        warn_caller(
            f"Of the measurements of all {chunks.totals.n_samples} pairs, {n_replaced} readings "
            f"cannot be Gaussian noise of standard deviation {problem.noise_level:.3g}: they are "
            "replaced by what the signals explain. Leave them out, or give a larger noise_level "
            "if they are right."
        )
    return Moments.from_sums(sums, origin)


def _first_pair(pairs, index, problem):
    X, Y, _ = _completed(pairs.rows(slice(1)), index, problem)
    return np.hstack([X[0], Y[0]])


def _sums(pairs, index, problem, origin):
    complete, n_replaced = _completed(pairs, index, problem), 0
    if pairs.Y.shape == complete.Y.shape:
        linear = problem.measurement.linearized(pairs.X, pairs.Y)
        n_replaced = int(np.count_nonzero((linear != complete.Y) & ~np.isnan(linear)))
    return n_replaced, *moment_sums(*complete, origin)


def _completed(pairs, index, problem):
    return problem.completed(pairs, np.random.RandomState([index]))

"""What all pairs in chunks say about the problem, in one pass over the chunks."""

import numpy as np

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
    """
    shared = chunks.shared(problem)
    (origin,) = chunks.results(_first_pair, [0], shared)
    return Moments.from_sums(chunks.sums(_sums, shared, origin), origin)


def _first_pair(pairs, index, problem):
    X, Y, _ = _completed(pairs.rows(slice(1)), index, problem)
    return np.hstack([X[0], Y[0]])


def _sums(pairs, index, problem, origin):
    return moment_sums(*_completed(pairs, index, problem), origin)


def _completed(pairs, index, problem):
    return problem.completed(pairs, np.random.RandomState([index]))

"""The smoothed prior of a problem, from pairs: what training may draw in place of the pairs."""

from ..numerics.tensors import as_tensor
from ..problem.smoothed_prior import SmoothedPrior

__all__ = ["chosen_prior", "refitted_prior"]


def chosen_prior(problem, pairs, rng):
    """The smoothed prior of pairs, in the coordinates of a problem.

    Parameters
    ----------
    problem : InverseProblem
        The problem, in natural coordinates.
    pairs : Pairs
        The pairs.
    rng : RandomState
        Source of the seed.

    Returns
    -------
    prior : SmoothedPrior or None
        None where nothing between the pairs themselves and the linear estimator is better.
    """
    seed = rng.randint(2**31 - 1)
    if problem.noise_level == 0:
        return None
    u, measurement = _measurement(problem, pairs)
    prior = SmoothedPrior.chosen(u, pairs.weight, random_state=seed, **measurement)
    return None if prior.is_linear or prior.bandwidth == 0 else prior


def refitted_prior(prior, problem, pairs):
    """A prior of as many clusters and the same bandwidth, for other pairs.

    Parameters
    ----------
    prior : SmoothedPrior
        What was chosen.
    problem, pairs
        As in :func:`chosen_prior`.

    Returns
    -------
    prior : SmoothedPrior
    """
    u, measurement = _measurement(problem, pairs)
    n_clusters, bandwidth = len(prior.covariances), prior.bandwidth
    return SmoothedPrior.fit(
        u, pairs.weight, n_clusters=n_clusters, bandwidth=bandwidth, random_state=0, **measurement
    )


def _measurement(problem, pairs):
    """The signals u, and how they are measured: the arguments of a smoothed prior."""
    u, root = problem.coordinates.from_signals(pairs.X), problem.unit_noise
    return u, {
        "forward": problem.unit_forward.matrix(as_tensor(u)).numpy(),
        "epsilon": problem.unit_epsilon,
        "noise": root @ root.T if problem.operator is None else None,
    }

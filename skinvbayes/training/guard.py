"""Never worse than the linear estimator: pairs decide how much of what was learned counts.

In natural coordinates the identity is the linear minimum mean square error (LMMSE) estimator. The
map (1 − τ) ψ + τ I lies between a trained ψ, for τ = 0, and that estimator, for τ = 1, and its
inverse is nowhere steeper than 1/τ. Pairs choose the τ with the least error of the reconstruction:
a network that has learned its training signals by heart gives way to the linear estimator, and an
inverse that is too steep between two modes becomes less so.
"""

import copy

import numpy as np

from ..inversion import invert
from ..numerics.tensors import as_tensor

__all__ = [
    "best_share",
    "blend",
    "blended",
    "linear_errors",
    "prior_errors",
    "reconstruction_errors",
    "surely_positive",
]

_SHARES = 0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0
_MOST_ROWS = 2000


def blend(network, share):
    """Replace ψ, or the inverse where that is given, by (1 − τ) ψ + τ I; in place."""
    if share > 0:
        _map(network).blocks[0].blend(share)


def best_share(network, problem, X, Z, *, worthwhile_gain=0.0):
    """The τ with which signals are reconstructed best.

    Parameters
    ----------
    network : IResNet or ExplicitInverse
        The trained network, in the natural coordinates of the problem; it stays as it is.
    problem : InverseProblem
        The problem.
    X : ndarray of shape (n_samples, n_features)
        Signals.
    Z : ndarray of shape (n_copies, n_samples, n_features)
        Targets of each, with as many draws of noise.
    worthwhile_gain : float, default=0.0
        See :class:`skinvbayes.losses.Loss`.

    Returns
    -------
    share : float
        The τ. It is zero unless another one is better by one standard error and by a gain that is
        worthwhile, or the linear estimator at least as good.
    """
    errors = reconstruction_errors(network, problem, X, Z, _SHARES[:-1])
    errors = np.vstack([errors, linear_errors(problem, X, Z)])
    means = np.where(np.isfinite(errors).all(axis=1), errors.mean(axis=1), np.inf)
    best = int(np.argmin(means))
    gain = errors[0] - errors[best]
    worthwhile = surely_positive(gain) and gain.mean() > worthwhile_gain * means[0]
    if worthwhile or not np.isfinite(means[0]) or means[-1] <= means[0]:
        return _SHARES[best]
    return 0.0


def reconstruction_errors(network, problem, X, Z, shares):
    """Squared errors of the reconstructions of each signal, averaged over its targets.

    Parameters
    ----------
    network, problem, X, Z
        As in :func:`best_share`; of many signals every k-th, since pairs may be sorted.
    shares : sequence of floats
        Some τ.

    Returns
    -------
    errors : ndarray of shape (n_shares, n_samples)
    """
    maps = [blended(network, share) for share in shares]

    def reconstruct(w):
        w = as_tensor(w).to(network.device)
        x = None  # the next blend is inverted from where the last one ended
        for map_ in maps:
            x = invert(map_, w, start=x).x
            yield x.cpu().numpy()

    return _errors(reconstruct, problem, X, Z)


def linear_errors(problem, X, Z):
    """The same for the linear estimator, the identity in the coordinates of a problem."""
    return _errors(lambda w: [w], problem, X, Z)[0]


def prior_errors(prior, problem, X, Z):
    """The same for the posterior mean of a smoothed prior."""
    return _errors(lambda w: [prior.posterior_mean(w)], problem, X, Z)[0]


def surely_positive(gains, n_errors=1):
    """Whether a mean is positive by more than so many standard errors."""
    return gains.mean() > n_errors * gains.std() / np.sqrt(len(gains))


def _errors(reconstruct, problem, X, Z):
    """The squared errors of some reconstructions in the coordinates of a problem."""
    coordinates, step = problem.coordinates, -(-len(X) // _MOST_ROWS)
    X, Z = X[::step], Z[:, ::step]
    w = coordinates.from_targets(np.concatenate(Z))
    found = (coordinates.to_signals(u).reshape(Z.shape) for u in reconstruct(w))
    return np.stack([((x - X) ** 2).sum(axis=2).mean(axis=0) for x in found])


def blended(network, share):
    """A copy of a network, blended."""
    other = copy.deepcopy(network)
    blend(other, share)
    return other


def _map(network):
    """What is parametrised: the map, or its inverse."""
    return network if network.explicit_inverse is None else network.explicit_inverse

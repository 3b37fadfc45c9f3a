"""Never worse than the linear estimator: pairs decide how much of what was learned counts.

In natural coordinates the identity is the linear minimum mean square error (LMMSE) estimator. The
map (1 − τ) ψ + τ I lies between a trained ψ, for τ = 0, and that estimator, for τ = 1, and its
inverse is nowhere steeper than 1/τ. Pairs choose the τ with the least error of the reconstruction:
a network that has learned its training signals by heart gives way to the linear estimator, and an
inverse that is too steep between two modes becomes less so.
"""

import copy

import numpy as np
import torch

from ..inversion import invert

__all__ = ["best_share", "blend", "mean_error"]

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
    errors = np.array([_errors(network, problem, X, Z, τ) for τ in _SHARES])
    means = np.where(np.isfinite(errors).all(axis=1), errors.mean(axis=1), np.inf)
    best = int(np.argmin(means))
    gain = errors[0] - errors[best]
    sure = gain.mean() > max(gain.std() / np.sqrt(len(gain)), worthwhile_gain * means[0])
    if sure or not np.isfinite(means[0]) or means[-1] <= means[0]:
        return _SHARES[best]
    return 0.0


def mean_error(network, problem, X, Z, share):
    """The mean square error of the reconstructions with a share of the linear estimator."""
    return _errors(network, problem, X, Z, share).mean()


def _errors(network, problem, X, Z, share):
    """Squared errors of the reconstructions of each signal, averaged over its targets."""
    coordinates, found = problem.coordinates, []
    X, Z = X[:_MOST_ROWS], Z[:, :_MOST_ROWS]
    for targets in Z:
        w = torch.from_numpy(coordinates.from_targets(targets)).to(network.device)
        u = w if share == 1 else _inverse(network, w, share)
        error = coordinates.to_signals(u.cpu().numpy()) - X
        found.append((error**2).sum(axis=1))
    return np.mean(found, axis=0)


@torch.no_grad()
def _inverse(network, w, share):
    """The inverse of the blended map; of one that is given, the blended inverse."""
    blended = copy.deepcopy(network)
    blend(blended, share)
    return invert(blended, w).x


def _map(network):
    """What is parametrised: the map, or its inverse."""
    return network if network.explicit_inverse is None else network.explicit_inverse

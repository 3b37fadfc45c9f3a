"""How much to smooth a prior that is known through samples: rules for its bandwidth.

A rule takes what is known of the problem, by name, and gives the standard deviation of a Gaussian
kernel in the units of the signals. Each branch of the networks names the rule that suits it.
"""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

from .gaussian import gaussian_slopes, principal_axes

__all__ = ["neighbour_bandwidth", "noise_bandwidth", "signal_bandwidth"]


def signal_bandwidth(*, X, weight, forward, forward_norm, noise_level, max_condition, random_state):
    """The larger of what samples ask for (neighbours) and what flat directions ask for.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Signals.
    weight : ndarray of shape (n_samples,)
        How often each counts.
    forward : Operator of shape (n_features, n_features)
        The forward map G.
    forward_norm : float
        Its norm.
    noise_level : float
        Standard deviation δ of the noise.
    max_condition : float
        Largest ratio of slopes that the network can hold.
    random_state : RandomState instance
        Source of the queries to neighbours.

    Returns
    -------
    bandwidth : float
        Standard deviation of the kernel, in the units of X.
    """
    signals = np.unique(X, axis=0)
    return max(
        neighbour_bandwidth(signals, random_state=random_state),
        _flatness_bandwidth(X, weight, forward, forward_norm, noise_level**2, max_condition),
    )


def noise_bandwidth(*, forward, noise_level, **_):
    """Half of the noise of a feature, of which a measurement tells ``tr AᵀA/d`` on average.

    For filters, which few images determine, but whose score edges and flat parts make steep.
    """
    information = forward.trace() / forward.shape[0]
    return 0.5 * noise_level / np.sqrt(information) if information > 0 else 0.0


def _flatness_bandwidth(X, weight, forward, norm, epsilon, max_condition):
    """The smoothing that flat signals need: 0 where the network can hold G + ε Cov⁻¹.

    A prior that hardly varies in some direction has a steep score there. A network that cannot hold
    both this slope and the smallest one would give up the latter, though it matters more.
    """
    variances, slopes = gaussian_slopes(X, weight, forward, epsilon)
    smallest = max(slopes[0], slopes[-1] * 1e-12)
    if slopes[-1] <= max_condition / 2 * smallest:
        return 0.0
    steepest = max(max_condition / 10 * smallest, norm)
    return float(np.sqrt(max(epsilon / steepest - variances[0], 0.0)))


def neighbour_bandwidth(X, *, n_queries=500, random_state=None):
    """Bandwidth of the kernel that smooths a prior known through samples.

    It is zero where the signals fill their space: where there are many of them for each second
    moment, or where neighbours are about as far apart as for a Gaussian of the same covariance.
    Else it is a nearest neighbour's distance for each coordinate.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Signals, at least two.
    n_queries : int, default=500
        Number of signals whose neighbours are looked up.
    random_state : int, RandomState instance or None, default=None
        Source of the queries and of the Gaussian sample.

    Returns
    -------
    bandwidth : float
        Standard deviation of the kernel, in the units of X.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.problem.smoothing import neighbour_bandwidth
    >>> t = np.linspace(0, 6, 400)
    >>> curve = np.column_stack([np.cos(k * t) for k in range(10)])
    >>> neighbour_bandwidth(curve, random_state=0) > 0
    True
    >>> neighbour_bandwidth(np.random.RandomState(0).randn(400, 10), random_state=0)
    0.0
    """
    rng = check_random_state(random_state)
    X = np.asarray(X)
    n, d = X.shape
    if n >= 10 * d**2:
        return 0.0
    centred = X - X.mean(axis=0)
    variances = principal_axes(X)[0].clip(0)
    surrogate = rng.standard_normal((n, len(variances))) * np.sqrt(variances)
    rows = rng.permutation(n)[:n_queries]
    distance, expected = _neighbour_distance(centred, rows), _neighbour_distance(surrogate, rows)
    return 0.0 if distance > 0.9 * expected else float(distance / np.sqrt(d))


def _neighbour_distance(X, rows):
    """Root mean square distance of some rows to their nearest neighbours."""
    distance = NearestNeighbors(n_neighbors=2).fit(X).kneighbors(X[rows])[0][:, 1]
    return np.sqrt((distance**2).mean())

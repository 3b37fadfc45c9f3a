"""How much to smooth a prior that is known through samples: rules for its bandwidth.

A rule takes keyword arguments that describe the problem and returns the standard deviation of a
Gaussian kernel in the units of the signals. Each branch of the networks names the rule it uses.
"""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

from ..priors import principal_axes
from .gaussian import gaussian_slopes

__all__ = ["neighbour_bandwidth", "noise_bandwidth", "signal_bandwidth"]


def signal_bandwidth(*, X, weight, forward, forward_norm, noise_level, max_condition, random_state):
    """The larger of the bandwidths for few signals and for directions of little variance.

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
    """Half of the noise of a feature, δ over the root of the mean diagonal entry of AᵀA.

    This is for filters: few images determine them, but edges and flat parts make their score steep.
    """
    information = forward.trace() / forward.shape[0]
    return 0.5 * noise_level / np.sqrt(information) if information > 0 else 0.0


def _flatness_bandwidth(X, weight, forward, norm, epsilon, max_condition):
    """The bandwidth for directions of little variance: 0 if the network can represent G + ε C⁻¹.

    The score is steep in such directions. A network that cannot have this slope and the smallest
    one at the same time would be wrong about the smallest one, which matters more.
    """
    variances, slopes = gaussian_slopes(X, weight, forward, epsilon)
    smallest = max(slopes[0], slopes[-1] * 1e-12)
    if slopes[-1] <= max_condition / 2 * smallest:
        return 0.0
    steepest = max(max_condition / 10 * smallest, norm)
    return float(np.sqrt(max(epsilon / steepest - variances[0], 0.0)))


def neighbour_bandwidth(X, *, n_queries=500, random_state=None):
    """Bandwidth of the kernel that smooths a prior known through samples.

    It is zero where the signals fill their space: where there are ten or more for each second
    moment, or where neighbours are about as far apart as for a Gaussian of the same covariance.
    Otherwise it is a nearest neighbour's distance for each coordinate.

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

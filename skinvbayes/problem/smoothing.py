"""How much to smooth a prior that is known through samples: rules for its bandwidth.

A rule takes keyword arguments that describe the problem and returns the standard deviation of a
Gaussian kernel in the units of the signals. Each branch of the networks names the rule it uses.
"""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils import check_random_state

from ..numerics.types import Array, RandomState
from ..operators import Operator
from ..priors import principal_axes
from .gaussian import gaussian_slopes

__all__ = [
    "neighbour_bandwidth",
    "noise_bandwidth",
    "noise_of_a_feature",
    "repeats",
    "signal_bandwidth",
]

_NOISE_SHARE = 0.5  # of the noise in a signal: least error for ±1, rare and counted signals
_SPREAD_SHARE = 0.25  # of the root mean variance of the features: the most for thin signals
_DEGENERATE_SHARE = 0.03  # of the noise, for signals in a subspace: the score's slope is 1,000
_DEGENERATE = 1e-10  # variance along an axis, relative to the largest, of signals in a subspace
_LEAST = 1e-3  # bandwidth of signals without noise, relative to their gaps
_CLOSE = 0.9  # distance of neighbours, relative to that of Gaussian signals, of few signals
_THIN = 0.8  # dimension, relative to that of Gaussian signals, of signals on a curve or surface
_TIGHT = 0.1  # width of tight clusters, relative to the noise and to the spread of all signals


def signal_bandwidth(
    *,
    X: Array,
    weight: Array,
    forward: Operator,
    forward_norm: float,
    noise_level: float,
    max_condition: float,
    information: Operator,
    random_state: RandomState,
) -> float:
    """The bandwidth for few, discrete, thin or flat signals; 0 for those that fill their space.

    Where the score does not exist (signals that repeat or take few values, that lie on a curve or
    in tight clusters), it is half of the noise of a feature, but no more than neighbours are apart.

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
    information : Operator of shape (n_features, n_features)
        AᵀA, in the original problem GᵀG.
    random_state : RandomState instance
        Source of the queries to neighbours.

    Returns
    -------
    bandwidth : float
        Standard deviation of the kernel, in the units of X.
    """
    signals, noise = np.unique(X, axis=0), noise_of_a_feature(information, noise_level)
    return max(
        _gap_bandwidth(X, weight, signals, noise, random_state),
        _degenerate_bandwidth(X, weight, noise),
        _flatness_bandwidth(X, weight, forward, forward_norm, noise_level**2, max_condition),
    )


def noise_bandwidth(*, information, noise_level, share=0.7, **_):
    """A share of the noise of a feature.

    This is for filters: few images determine them, but edges and flat parts make their score steep.
    With the default, the MAP estimate of the divergence loss has the least error of photos, signals
    and tomography; where pairs weigh the prior afterwards, less smoothing is better.
    """
    noise = noise_of_a_feature(information, noise_level)
    return share * noise if np.isfinite(noise) else 0.0


def noise_of_a_feature(information, noise_level):
    """The noise in the units of the signals, δ over the root of the mean diagonal entry of AᵀA."""
    mean = information.trace() / information.shape[0]
    return noise_level / np.sqrt(mean) if mean > 0 else np.inf


def repeats(X, weight):
    """Whether signals repeat, so that they are the distribution itself and not a sample of one.

    They do if the effective number of distinct signals is at most half of the effective number of
    pairs. The signals of bootstrapped pairs do not repeat, since equal pairs count as one.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Signals of distinct pairs.
    weight : ndarray of shape (n_samples,)
        How often each pair counts.

    Returns
    -------
    repeats : bool

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes.problem.smoothing import repeats
    >>> signs = np.random.RandomState(0).choice([-1.0, 1.0], (100, 2))
    >>> repeats(signs, np.ones(100))
    True
    """
    distinct = np.unique(X, axis=0, return_inverse=True)[1].ravel()
    return bool(2 * _effective_number(np.bincount(distinct, weight)) <= _effective_number(weight))


def _effective_number(weight):
    """Kish's effective sample size, (Σ w)² / Σ w²."""
    return weight.sum() ** 2 / (weight**2).sum()


def _gap_bandwidth(X, weight, signals, noise, random_state):
    """The bandwidth that closes the gaps between signals, as far as the noise hides them."""
    few = neighbour_bandwidth(signals, random_state=random_state)
    gap = _gap_between_signals(signals) if repeats(X, weight) else _gap_between_values(signals)
    if few == gap == 0 and _are_thin(signals, noise):
        gap = _SPREAD_SHARE * np.sqrt(signals.var(axis=0).mean())
    return few if gap < few else float(min(gap, max(_NOISE_SHARE * noise, _LEAST * gap)))


def _gap_between_signals(signals):
    """The bandwidth that fills the space between nearest neighbours."""
    rows = np.random.RandomState(0).permutation(len(signals))[:500]
    return _per_coordinate(_neighbour_distance(signals, rows), signals.shape[1])


def _gap_between_values(signals):
    """Half of the typical step between the values of features that take few; 0 without such."""
    steps = [np.diff(np.unique(feature)) for feature in signals.T]
    steps = [np.median(step) for step in steps if 0 < len(step) < len(signals) / 2]
    return float(np.median(steps) / 2) if steps else 0.0


def _are_thin(signals, noise):
    """Whether signals lie on a curve, on a surface or in tight clusters.

    A Gaussian sample of the same covariance is the measure: of the intrinsic dimension, which the
    distances to the nearest five neighbours tell, and of the width, which the first one tells.

    References
    ----------
    E. Levina and P. Bickel (2004), "Maximum likelihood estimation of intrinsic dimension",
    Advances in Neural Information Processing Systems.
    """
    rng = np.random.RandomState(0)
    if len(signals) < 50:  # too few to tell
        return False
    rows = rng.permutation(len(signals))[:1000]
    distances = _neighbour_distances(signals, rows, 5)
    expected = _neighbour_distances(_gaussian_sample(signals, rng), rows, 5)
    dimension, full = (1 / np.log(d[:, 4:] / d[:, :4]).mean() for d in (distances, expected))
    width = np.median(distances[:, 0]) / np.median(expected[:, 0])
    spread = np.sqrt(signals.var(axis=0).mean())
    return dimension < _THIN * full or width < _TIGHT * min(1, noise / spread)


def _degenerate_bandwidth(X, weight, noise):
    """A small part of the noise for signals in a subspace, whose score does not exist across it."""
    variances = principal_axes(X, weight)[0]
    degenerate = len(variances) == X.shape[1] and variances[0] <= _DEGENERATE * variances[-1]
    spread = np.sqrt(variances.clip(0).mean())
    return _DEGENERATE_SHARE * min(max(noise, _LEAST * spread), spread) if degenerate else 0.0


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
    moment, or where neighbours are about as far apart as for a Gaussian of the same covariance, be
    it in the units of X or of the standard deviations: where one feature counts, any skewed signals
    are closer. Otherwise it is a nearest neighbour's distance for each coordinate, or half of the
    distance if that is less: two kernels merge there.

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
    distance = _distance_if_close(X - X.mean(axis=0), n_queries, rng)
    deviations = X.std(axis=0)
    scaled = X[:, deviations > 0] / deviations[deviations > 0]
    if not (distance and _distance_if_close(scaled, n_queries, np.random.RandomState(0))):
        return 0.0
    return _per_coordinate(distance, d)


def _distance_if_close(X, n_queries, rng):
    """That of some rows to their nearest neighbours; 0 where Gaussian ones are hardly farther."""
    surrogate = _gaussian_sample(X, rng)
    rows = rng.permutation(len(X))[:n_queries]
    distance = _neighbour_distance(X, rows)
    return distance if distance <= _CLOSE * _neighbour_distance(surrogate, rows) else 0.0


def _per_coordinate(distance, n_features):
    """The standard deviation of jitter that is as long as a distance, at most half the distance."""
    return float(distance / max(np.sqrt(n_features), 2))


def _gaussian_sample(X, rng):
    """As many Gaussian signals of the same variances, in the principal axes."""
    variances = principal_axes(X)[0].clip(0)
    return rng.standard_normal((len(X), len(variances))) * np.sqrt(variances)


def _neighbour_distance(X, rows):
    """Root mean square distance of some rows to their nearest neighbours."""
    return np.sqrt((_neighbour_distances(X, rows, 1) ** 2).mean())


def _neighbour_distances(X, rows, n_neighbors):
    """Distances of some rows to their nearest neighbours, ascending."""
    search = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(X)
    return search.kneighbors(X[rows])[0][:, 1:]

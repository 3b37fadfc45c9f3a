"""How much the prior of filters counts: pairs tell its weight.

The mode of a posterior is drawn to where a prior of edges and flat parts is steepest, its mean much
less, and filters know such a prior only as far as they can represent it. So the weight of the
penalty is ε = w δ², with the w up to one for which pairs are reconstructed best, as regularisation
parameters are chosen. The network that was trained for δ² serves: what was learned is φ − G, and
G + w (φ − G) is the map for w.

References
----------
A. Goujon, S. Neumayer and M. Unser (2024), "Learning weakly convex regularizers for convergent
image-reconstruction algorithms", SIAM Journal on Imaging Sciences: the weight of learned filters is
tuned on validation images.
"""

import copy
import math

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning

from ..inversion import invert
from ..numerics.tensors import as_tensor
from ..numerics.warn import warn_caller
from .interrupts import is_one_of_many

__all__ = ["reweigh", "weigh_prior"]

_LEAST = 1e-3  # weight
_ENTRIES, _FEWEST = 2**15, 80  # of the signals that are reconstructed, and of signals
_CLOSE = 0.05  # to the best weight, in its logarithm


def weigh_prior(trained, pairs):
    """Give the prior the weight for which pairs are reconstructed best, in place.

    Parameters
    ----------
    trained : Trained
        What training gave, for the normal equation and filters.
    pairs : Pairs
        Pairs of the training; filters hardly learn them by heart.

    Raises
    ------
    KeyboardInterrupt
        Where joblib runs this as one of many; elsewhere it is a ConvergenceWarning.
    """
    error = _ErrorOfWeight(trained, pairs.sample(max(_ENTRIES // pairs.X.shape[1], _FEWEST)))
    bounds, options = (math.log(_LEAST), 0.0), {"xatol": _CLOSE}
    try:
        error(0.0)
        minimize_scalar(error, bounds=bounds, method="bounded", options=options)
    except KeyboardInterrupt:
        if is_one_of_many():
            raise
        warn_caller(
            "The search for the weight of the prior was interrupted; the best one so far counts.",
            ConvergenceWarning,
        )
    _, log_weight = min(error.found, default=(np.inf, 0.0))
    reweigh(trained, math.exp(log_weight))


def reweigh(trained, weight):
    """Give the prior this weight, in place of that which it has; in place."""
    if weight != trained.prior_weight:
        factor = weight / trained.prior_weight
        trained.network.blocks[0].weigh(factor)
        trained.epsilon, trained.prior_weight = trained.epsilon * factor, weight


class _ErrorOfWeight:
    """The mean squared error of reconstructions, as a function of log w; it remembers them all."""

    def __init__(self, trained, pairs):
        self.trained, self.pairs, self.found = trained, pairs, []
        problem = trained.problem
        w = as_tensor(problem.coordinates.from_targets(problem.targets(pairs.Y)))
        self.w, self.u = w.to(trained.network.device), None  # u: where the next inversion starts

    def __call__(self, log_weight):
        other = copy.deepcopy(self.trained.network)
        other.blocks[0].weigh(math.exp(log_weight) / self.trained.prior_weight)
        self.u = invert(other, self.w, start=self.u).x
        signals = self.trained.problem.coordinates.to_signals(self.u.cpu().numpy())
        errors = np.square(signals - self.pairs.X).mean(axis=1)
        error = float(np.average(errors, weights=self.pairs.weight))
        self.found.append((error if np.isfinite(error) else np.inf, log_weight))
        return self.found[-1][0]

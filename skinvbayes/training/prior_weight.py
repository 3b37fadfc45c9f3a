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

from ..inversion import invert
from ..numerics.tensors import as_tensor

__all__ = ["weigh_prior", "weighed"]

_LEAST = 1e-3  # weight
_ENTRIES = 2**17  # of the signals that are reconstructed
_CLOSE = 0.05  # to the best weight, in its logarithm


def weigh_prior(trained, pairs):
    """Give the prior the weight for which pairs are reconstructed best, in place.

    Parameters
    ----------
    trained : Trained
        What training gave, for the normal equation and filters.
    pairs : Pairs
        Pairs of the training; filters hardly learn them by heart.
    """
    problem, network = trained.problem, trained.network
    X, Y, weight = pairs.sample(max(_ENTRIES // pairs.X.shape[1], 1))
    w = as_tensor(problem.coordinates.from_targets(problem.targets(Y))).to(network.device)
    present = trained.epsilon / problem.noise_level**2
    u = None  # where the next inversion starts

    def error(log_weight):
        nonlocal u
        u = invert(weighed(network, math.exp(log_weight) / present), w, start=u).x
        errors = problem.coordinates.to_signals(u.cpu().numpy()) - X
        mean = np.average(np.square(errors).mean(axis=1), weights=weight)
        return mean if np.isfinite(mean) else np.inf

    bounds, options = (math.log(_LEAST), 0.0), {"xatol": _CLOSE}
    found = minimize_scalar(error, bounds=bounds, method="bounded", options=options)
    factor = math.exp(found.x) / present
    network.blocks[0].weigh(factor)
    trained.epsilon *= factor


def weighed(network, factor):
    """A copy of a network of one block, with a prior of so many times the weight."""
    other = copy.deepcopy(network)
    other.blocks[0].weigh(factor)
    return other

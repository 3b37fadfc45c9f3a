"""The variance of what the measurements say nothing about.

The posterior covariance is ε Dψ(w), with the posterior mean ψ as a function of w. Where G̃ is
singular, w has no part in its null space, so that the reconstruction loss leaves the slope of ψ
there undetermined. On average it has to be E[r rᵀ]/ε, with the error r = u − ψ(w).
"""

import torch

from .objective import objective_of

__all__ = ["calibrate", "calibrate_null_space"]

_NULL = 1e-8  # entry of the diagonal G̃, between 0 and 1, that counts as zero
_MOST_ROWS = 4000


def calibrate(specification, trained, pairs, prior=None):
    """Let the average errors of the training signals set what no measurement can; in place.

    What has learned from draws of a mixture knows it already.
    """
    problem, network = trained.problem, trained.network
    learned = prior is not None and prior.is_mixture
    if learned or network.explicit_inverse is None or problem.operator is None:
        return
    drawn = objective_of(specification, trained, specification.loss, pairs, "lbfgs")
    drawn = drawn.drawn(trained.continuation.generator)
    forward = problem.unit_forward.matrix(drawn.x)
    calibrate_null_space(network, drawn.x, drawn.z, forward, problem.unit_epsilon)


def calibrate_null_space(network, u, w, forward, epsilon):
    """Give the inverse of a network the right average slope in the null space of G̃; in place.

    Parameters
    ----------
    network : ExplicitInverse
        A trained network of one block, in natural coordinates.
    u, w : Tensors of shape (n_samples, n_features)
        Signals, and targets with noise.
    forward : Tensor of shape (n_features, n_features)
        The G̃, diagonal.
    epsilon : float
        The variance of the noise in these coordinates.
    """
    null = torch.nonzero(forward.diagonal() <= _NULL)[:, 0]
    if not len(null) or epsilon == 0:
        return
    (block,) = network.explicit_inverse.blocks
    u, w = u[:_MOST_ROWS], w[:_MOST_ROWS]
    with torch.no_grad():
        error = (u - block(w))[:, null]
        slope = block.mean_jacobian(w)[null[:, None], null]
        change = torch.zeros_like(forward)
        change[null[:, None], null] = error.T @ error / (epsilon * len(error)) - slope
        block.add_slope(change)

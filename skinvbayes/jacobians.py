"""Derivatives of maps of R^d: Jacobian, divergence and log|det|, exact or stochastic.

These work on any differentiable torch function of one argument, a batch of shape
(n_samples, n_features) whose rows do not interact. Maps with closed forms overrule them (see
:mod:`skinvbayes.networks`) and are tested against them.
"""

import torch
from torch.func import jacrev, vjp, vmap

__all__ = ["divergence", "hutchinson_divergence", "jacobian", "logabsdet"]


def jacobian(function, x):
    """Jacobian by automatic differentiation.

    Parameters
    ----------
    function : callable
        Map of (n_samples, n_features) to the same shape, row by row.
    x : Tensor of shape (n_samples, n_features)
        Points.

    Returns
    -------
    jacobian : Tensor of shape (n_samples, n_features, n_features)
        ``D function(x)`` at every point; differentiable in the parameters of the function.
    """
    return vmap(jacrev(lambda row: function(row[None])[0]))(x)


def divergence(function, x):
    """Divergence ``tr D function(x)`` by automatic differentiation, of shape (n_samples,)."""
    return jacobian(function, x).diagonal(dim1=1, dim2=2).sum(-1)


def logabsdet(jacobian):
    """``log|det J|`` of a batch of matrices, of shape (n_samples,).

    Parameters
    ----------
    jacobian : Tensor of shape (n_samples, n_features, n_features)
        Invertible matrices.
    """
    return torch.linalg.slogdet(jacobian)[1]


def hutchinson_divergence(function, x, *, n_probes=1, generator=None):
    """Unbiased estimate of the divergence from random signs ``v``: the mean of ``vᵀ J v``.

    Parameters
    ----------
    function : callable
        Map of (n_samples, n_features) to the same shape, row by row.
    x : Tensor of shape (n_samples, n_features)
        Points.
    n_probes : int, default=1
        Number of probes for every point; the variance falls with its inverse.
    generator : torch.Generator, default=None
        Source of the signs. None draws from torch's global stream.

    Returns
    -------
    divergence : Tensor of shape (n_samples,)
        The estimate; differentiable in the parameters of the function.

    References
    ----------
    M. F. Hutchinson (1989), "A stochastic estimator of the trace of the influence matrix for
    Laplacian smoothing splines", Communications in Statistics.
    """
    pull_back = vjp(function, x)[1]
    total = 0
    for _ in range(n_probes):
        sign = torch.randint(0, 2, x.shape, generator=generator, device=x.device).to(x.dtype)
        sign = 2 * sign - 1
        total = total + (pull_back(sign)[0] * sign).sum(1)
    return total / n_probes

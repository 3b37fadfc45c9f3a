"""Derivatives of maps of R^d: Jacobian, divergence and log|det|, exact or stochastic.

These work on any differentiable torch function of one argument, a batch of shape
(n_samples, n_features) whose rows do not interact. Maps with closed forms overrule them (see
:mod:`skinvbayes.networks`) and are tested against them.
"""

import torch
from torch.func import jacrev, vjp, vmap
from torch.nn import functional as F

from .tensors import identity_like
from .threads import single_thread

__all__ = [
    "corrected_estimate",
    "divergence",
    "hutchinson_divergence",
    "jacobian",
    "logabsdet",
    "solve",
]


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
    function = _with_constants(function)
    return vmap(jacrev(lambda row: function(row[None])[0]))(x)


def _with_constants(function):
    """The function, with what depends only on the parameters of its network computed once."""
    network = getattr(function, "__self__", function)
    if not hasattr(network, "frozen"):
        return function
    frozen = network.frozen(gradient=True)
    return frozen if network is function else getattr(frozen, function.__name__)


def divergence(function, x):
    """Divergence ``tr D function(x)`` by automatic differentiation, of shape (n_samples,)."""
    return jacobian(function, x).diagonal(dim1=1, dim2=2).sum(-1)


def logabsdet(jacobian, *, positive_definite=False):
    """``log|det J|`` of a batch of matrices, of shape (n_samples,).

    Parameters
    ----------
    jacobian : Tensor of shape (n_samples, n_features, n_features)
        Invertible matrices.
    positive_definite : bool, default=False
        Whether they are known to be symmetric positive definite, which is cheaper.
    """
    if jacobian.shape[1] == 2:
        return _determinant(*jacobian.flatten(1).unbind(1)).abs().log()
    return _LogAbsDet.apply(jacobian, positive_definite)


def solve(jacobian, vectors):
    """``J⁻¹ v`` for every row.

    Parameters
    ----------
    jacobian : Tensor of shape (n_samples, n_features, n_features)
        Invertible matrices.
    vectors : Tensor of shape (n_samples, n_features)
        Right-hand sides.
    """
    if jacobian.shape[1] == 2:  # Cramer's rule
        (a, b, c, d), (first, second) = jacobian.flatten(1).unbind(1), vectors.unbind(1)
        upper = torch.addcmul(d * first, b, second, value=-1)
        lower = torch.addcmul(a * second, c, first, value=-1)
        return torch.stack((upper, lower), dim=1) / _determinant(a, b, c, d)[:, None]
    with single_thread():
        return torch.linalg.solve(jacobian, vectors)


def _determinant(a, b, c, d):
    return torch.addcmul(a * d, b, c, value=-1)


class _LogAbsDet(torch.autograd.Function):
    """With the gradient ``J⁻ᵀ`` from the same factorisation."""

    @staticmethod
    def forward(ctx, matrices, positive_definite):
        with single_thread():
            factorize = _cholesky if positive_definite else _lu
            diagonal, inverse = factorize(matrices, ctx.needs_input_grad[0])
        ctx.save_for_backward(inverse)
        return diagonal.abs().log().sum(1)

    @staticmethod
    def backward(ctx, gradient):
        (inverse,) = ctx.saved_tensors
        return gradient[:, None, None] * inverse.transpose(1, 2), None


def _cholesky(matrices, invert):
    """Numbers whose product is the determinant, and the inverses if ``invert``."""
    factors = torch.linalg.cholesky(matrices)
    inverse = torch.cholesky_inverse(factors) if invert else None
    return factors.diagonal(dim1=1, dim2=2).square(), inverse


def _lu(matrices, invert):
    factors, pivots = torch.linalg.lu_factor(matrices)
    identity = identity_like(matrices.shape[1], matrices).expand_as(matrices)
    # from the right, which is almost twice as fast for small matrices
    inverse = torch.linalg.lu_solve(factors, pivots, identity, left=False) if invert else None
    return factors.diagonal(dim1=1, dim2=2), inverse


def corrected_estimate(exact, approximation):
    """An estimate for all rows that is unbiased in the mean if the first ones are drawn at random.

    Parameters
    ----------
    exact : Tensor of shape (n_exact,)
        Exact values for the first rows.
    approximation : Tensor of shape (n_samples,)
        Approximate values for all rows.
    """
    n, n_exact = len(approximation), len(exact)
    error = n / n_exact * (exact - approximation[:n_exact])
    return approximation + F.pad(error, (0, n - n_exact))


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
    pull_back = vjp(_with_constants(function), x)[1]
    total = 0
    for _ in range(n_probes):
        sign = torch.randint(0, 2, x.shape, generator=generator, device=x.device).to(x.dtype)
        sign = 2 * sign - 1
        total = total + (pull_back(sign)[0] * sign).sum(1)
    return total / n_probes

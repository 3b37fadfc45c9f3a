"""The forward map, recovered from a regularised network."""

from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..estimators.validation import check_pairs
from ..losses import ApproximationLoss, DivergenceLoss, LogDetLoss, ReconstructionLoss
from ..numerics.modes import own_modes
from ..numerics.types import Array
from .fitted import forward_of, loss_of, signals_of, unknown_estimator, without_names
from .optimum import optimal_prior_term

__all__ = ["recovered_forward", "recovered_operator"]


@own_modes()
def recovered_forward(estimator: Any, X: ArrayLike, prior: Any) -> Array:
    """The forward map with the prior's term taken out, ``φ(x) + t(x)``.

    At the optimum of each loss this is G x. Its distance from G x shows how accurately a
    regularised network has learned the operator.

    Parameters
    ----------
    estimator : fitted estimator
        One of the four estimators.
    X : array-like of shape (n_samples, n_features)
        Signals.
    prior : object
        As in :func:`optimal_prior_term`.

    Returns
    -------
    Z : ndarray of shape (n_samples, n_features)
        The recovered forward map of the signals, in the units of z.

    Examples
    --------
    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.diagnostics import recovered_forward
    >>> data = make_bimodal(2000, noise_level=0.15, random_state=0)
    >>> estimator = DivergenceRegularizedINN(max_iter=60, random_state=0).fit(data.X, data.Y)
    >>> recovered = recovered_forward(estimator, data.X, data.prior)  # G is the identity
    >>> bool(abs(recovered - data.X).mean() < 0.1 * abs(data.X).mean())
    True
    """
    X, estimator = signals_of(estimator, X), without_names(estimator)
    return forward_of(estimator, X) + optimal_prior_term(estimator, X, prior)


@own_modes()
def recovered_operator(estimator: Any, X: ArrayLike, Y: ArrayLike) -> Array:
    """The matrix G of the forward map, recovered from the network without knowing the prior.

    By Stein's identity, ``E[∇log p(x) (x − x̄)ᵀ] = −I`` for every density p. At the optimum
    φ(x) = G x − t(x), covariances of signals, measurements and φ(x) therefore give G:

    ============== =========================================================================
    approximation  ``Cov(φ(x), x) Cov(x)⁻¹``
    reconstruction ``Cov(z) (Cov(x̂, z) + δ² I)⁻¹``, x̂ = φ⁻¹(z); without an operator
                   ``(Cov(z) − δ² I) Cov(x̂, z)⁻¹``
    logdet         ``(Cov(φ(x)) − ε I) Cov(x, φ(x))⁻¹``
    divergence     ``(Cov(φ(x), x) − ε I) Cov(x)⁻¹``
    ============== =========================================================================

    Parameters
    ----------
    estimator : fitted estimator
        One of the four estimators.
    X : array-like of shape (n_samples, n_features)
        Signals, drawn from the prior.
    Y : array-like of shape (n_samples, n_measurements) or (n_samples,)
        Measurements; used for the reconstruction loss only.

    Returns
    -------
    G : ndarray of shape (n_features, n_features)
        The recovered matrix: ``AᵀA``, or A without an operator.

    References
    ----------
    C. Stein (1981), "Estimation of the mean of a multivariate normal distribution", Annals of
    Statistics.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.diagnostics import recovered_operator
    >>> A = np.array([[1.0, 0.3], [0.0, 0.5]])
    >>> data = make_bimodal(4000, operator=A, noise_level=0.1, random_state=0)
    >>> estimator = DivergenceRegularizedINN(operator=A, max_iter=60, random_state=0)
    >>> estimator = estimator.fit(data.X, data.Y)
    >>> bool(abs(recovered_operator(estimator, data.X, data.Y) - A.T @ A).max() < 0.02)
    True
    """
    loss = loss_of(estimator)
    X, Y = (part.astype(np.float64) for part in check_pairs(estimator, X, Y, reset=False))
    return _recovered_operator(loss, without_names(estimator), X, Y)


@singledispatch
def _recovered_operator(loss, estimator, X, Y):
    raise unknown_estimator(estimator)


@_recovered_operator.register
def _(loss: ApproximationLoss, estimator, X, Y):
    return _covariance(forward_of(estimator, X), X) @ np.linalg.pinv(_covariance(X, X))


@_recovered_operator.register
def _(loss: ReconstructionLoss, estimator, X, Y):
    Z = estimator.problem_.targets(Y)
    variance, mixed = _covariance(Z, Z), _covariance(estimator.predict(Y), Z)
    noise = estimator.noise_level_**2 * np.eye(X.shape[1])
    if estimator.operator_ is None:
        return (variance - noise) @ np.linalg.pinv(mixed)
    return variance @ np.linalg.pinv(mixed + noise)


@_recovered_operator.register
def _(loss: LogDetLoss, estimator, X, Y):
    Z = forward_of(estimator, X)
    prior = estimator.epsilon_ * loss.inverse_metric(estimator.problem_)
    return (_covariance(Z, Z) - prior) @ np.linalg.pinv(_covariance(X, Z))


@_recovered_operator.register
def _(loss: DivergenceLoss, estimator, X, Y):
    prior = estimator.epsilon_ * np.eye(X.shape[1])
    mixed = _covariance(forward_of(estimator, X), X)
    return (mixed - prior) @ np.linalg.pinv(_covariance(X, X))


def _covariance(first, second):
    return (first - first.mean(axis=0)).T @ (second - second.mean(axis=0)) / len(first)

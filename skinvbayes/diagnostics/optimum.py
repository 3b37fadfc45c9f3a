"""How far a trained network is from the optimum of its loss."""

from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..estimators.validation import check_measurements
from ..inference.trained_map import TrainedMap
from ..losses import ApproximationLoss, DivergenceLoss, LogDetLoss, ReconstructionLoss
from ..numerics.checks import check_has
from ..numerics.modes import own_modes
from ..numerics.types import Array
from ..oracles import posterior_mean
from .fitted import forward_of, loss_of, signals_of, unknown_estimator, without_names

__all__ = ["optimal_prior_term", "pushforward_score", "score_error", "stationarity"]


@own_modes()
def optimal_prior_term(estimator: Any, X: ArrayLike, prior: Any) -> Array:
    """The term t(x) by which the loss's optimum φ(x) = G x − t(x) differs from the forward map.

    ============== =====================================================================
    approximation  0
    reconstruction G E[x | z] − z at z = φ(x) (of white noise, by Tweedie: δ² ∇log p(z))
    logdet         ε M⁻¹ ∇log q(φ(x)), with q the density of φ(X) and M the loss's metric
    divergence     ε ∇log p(x)
    ============== =====================================================================

    Compare it with :meth:`skinvbayes.estimators.BaseINN.prior_term`, which is what was learned.

    Parameters
    ----------
    estimator : fitted estimator
        One of the four estimators.
    X : array-like of shape (n_samples, n_features)
        Signals.
    prior : object
        Distribution of the signals: with a method ``score`` for the two regularised losses, one
        that :func:`skinvbayes.oracles.posterior_mean` takes for the reconstruction loss. If the
        estimator smooths the prior (``prior_bandwidth_`` > 0), give the smoothed prior.

    Returns
    -------
    prior_term : ndarray of shape (n_samples, n_features)
        The term, in the units of z.

    Raises
    ------
    TypeError
        If the estimator is none of the four.

    Examples
    --------
    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.diagnostics import optimal_prior_term
    >>> data = make_bimodal(4000, noise_level=0.15, random_state=0)
    >>> estimator = DivergenceRegularizedINN(max_iter=60, random_state=0).fit(data.X, data.Y)
    >>> theory = optimal_prior_term(estimator, data.X, data.prior)
    >>> bool(abs(estimator.prior_term(data.X) - theory).mean() < 0.15 * abs(theory).mean())
    True
    """
    loss, X = loss_of(estimator), signals_of(estimator, X)
    return _prior_term(loss, without_names(estimator), X, prior)


@own_modes()
def stationarity(estimator: Any, Y: ArrayLike, prior: Any) -> Array:
    """Relative residual of the first-order condition, ``‖G x̂ − z − t(x̂)‖ / ‖z‖``.

    At the reconstruction x̂ = φ⁻¹(z) the optimum of each loss satisfies ``G x̂ − z = t(x̂)``, with t
    of :func:`optimal_prior_term`. For the divergence loss and ε = δ² that is the condition of the
    MAP estimate, ``AᵀA x̂ − z − δ² ∇log p(x̂) = 0``; for the log-determinant loss
    ``G x̂ − z − ε M⁻¹ ∇log q(z) = 0``, for M = I Tweedie's formula with q in place of the density of
    z.

    A value of 0.01 means that the residual is one per cent of the size of z.

    Parameters
    ----------
    estimator : fitted estimator
        One of the four estimators.
    Y : array-like of shape (n_samples, n_measurements) or (n_samples,)
        Measurements.
    prior : object
        As in :func:`optimal_prior_term`.

    Returns
    -------
    residual : ndarray of shape (n_samples,)
        The relative residuals.

    Examples
    --------
    >>> import numpy as np
    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.diagnostics import stationarity
    >>> data = make_bimodal(2000, noise_level=0.3, random_state=0)
    >>> estimator = DivergenceRegularizedINN(max_iter=60, random_state=0).fit(data.X, data.Y)
    >>> bool(np.median(stationarity(estimator, data.Y, data.prior)) < 0.05)
    True
    """
    Y = check_measurements(estimator, Y).astype(np.float64)
    Z, estimator = estimator.problem_.targets(Y), without_names(estimator)
    X = estimator.predict(Y)
    residual = estimator.problem_.forward_targets(X) - Z - optimal_prior_term(estimator, X, prior)
    return np.linalg.norm(residual, axis=1) / np.linalg.norm(Z, axis=1)


@own_modes()
def pushforward_score(estimator: Any, X: ArrayLike, prior: Any) -> Array:
    """Score ``∇log q`` of the density q of φ(X), at φ(x), by change of variables.

    ``log q(φ(x)) = log p(x) − log|det Dφ(x)|``, whose gradient is
    ``∇log q(φ(x)) = Dφ(x)⁻ᵀ (∇log p(x) − ∇log|det Dφ(x)|)``.

    Parameters
    ----------
    estimator : fitted estimator
        One of the four estimators.
    X : array-like of shape (n_samples, n_features)
        Signals.
    prior : object
        Distribution of the signals, with a method ``score``.

    Returns
    -------
    score : ndarray of shape (n_samples, n_features)
        The score, in inverse units of z.

    Examples
    --------
    >>> from skinvbayes import ApproximationINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.diagnostics import pushforward_score
    >>> data = make_bimodal(2000, noise_level=0.1, random_state=0)
    >>> estimator = ApproximationINN(random_state=0).fit(data.X, data.Y)
    >>> score = pushforward_score(estimator, data.X[:10], data.prior)  # φ is close to the identity
    >>> bool(abs(score - data.prior.score(data.X[:10])).max() < 0.5)
    True
    """
    X, _ = signals_of(estimator, X), check_has(prior, "prior", "score")
    J = without_names(estimator).jacobian(X)
    problem = estimator.problem_
    trained = TrainedMap(estimator.network_, problem.coordinates, problem.unit_epsilon)
    gradient = prior.score(X) - trained.logabsdet_gradient(X)
    return np.linalg.solve(J.transpose(0, 2, 1), gradient[:, :, None])[:, :, 0]


@own_modes()
def score_error(estimator: Any, X: ArrayLike, prior: Any) -> float:
    """Relative L² error of the learned prior score, ``(Σ‖ŝ(x) − s(x)‖² / Σ‖s(x)‖²)^½``.

    ŝ is :meth:`DivergenceRegularizedINN.prior_score` and s the score of the prior. A value of 0.1
    means that the root mean square error of ŝ is ten per cent of that of s. The score of a
    :class:`skinvbayes.priors.KernelDensityPrior` is itself an estimate, whose error counts too.

    Parameters
    ----------
    estimator : fitted DivergenceRegularizedINN
        The estimator.
    X : array-like of shape (n_samples, n_features)
        Signals, drawn from the prior.
    prior : object
        Distribution of the signals, with a method ``score``.

    Returns
    -------
    error : float
        The relative error.

    Examples
    --------
    >>> from skinvbayes import DivergenceRegularizedINN
    >>> from skinvbayes.datasets import make_bimodal
    >>> from skinvbayes.diagnostics import score_error
    >>> data = make_bimodal(2000, noise_level=0.15, random_state=0)
    >>> estimator = DivergenceRegularizedINN(max_iter=60, random_state=0).fit(data.X, data.Y)
    >>> score_error(estimator, data.X, data.prior) < 0.3
    True
    """
    X, _ = signals_of(estimator, X), check_has(prior, "prior", "score")
    check_has(estimator, "estimator", "prior_score")
    learned, score = without_names(estimator).prior_score(X), prior.score(X)
    return float(np.linalg.norm(learned - score) / np.linalg.norm(score))


@singledispatch
def _prior_term(loss, estimator, X, prior):
    raise unknown_estimator(estimator)


@_prior_term.register
def _(loss: ApproximationLoss, estimator, X, prior):
    return np.zeros(np.shape(X))


@_prior_term.register
def _(loss: ReconstructionLoss, estimator, X, prior):
    Z = forward_of(estimator, X)
    problem = estimator.problem_
    if problem.operator is None:
        A, Y = problem.forward, Z - problem.forward_targets(np.zeros((1, Z.shape[1])))
    else:  # any y with Aᵀ y = z has this posterior
        A = problem.operator.to_dense()
        Y = Z @ np.linalg.pinv(A)
    mean = posterior_mean(prior, Y, operator=A, noise_level=problem.noise_level)
    return problem.forward_targets(mean) - Z


@_prior_term.register
def _(loss: LogDetLoss, estimator, X, prior):
    score = pushforward_score(estimator, X, prior)
    return estimator.epsilon_ * score @ loss.inverse_metric(estimator.problem_)


@_prior_term.register
def _(loss: DivergenceLoss, estimator, X, prior):
    check_has(prior, "prior", "score")
    return estimator.epsilon_ * prior.score(X)

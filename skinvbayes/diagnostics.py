"""What the theory promises of a trained network, as numbers.

Each of the four losses has an optimum φ(x) = G x − t(x), with a term t that depends on the
prior. The functions here compare the t that was learned with the one of the theory, for a prior
known in closed form or through samples, and check the two identities on which the theory rests.

References
----------
N. Heilenkötter (2025), "How Regularization Terms Make Invertible Neural Networks Bayesian Point
Estimators", arXiv:2510.26704.
"""

import copy
from functools import singledispatch

import numpy as np

from .estimators.validation import check_measurements, check_pairs, check_signals
from .inference.trained_map import TrainedMap
from .losses import ApproximationLoss, DivergenceLoss, LogDetLoss, ReconstructionLoss
from .numerics.checks import check_has
from .numerics.modes import own_modes
from .operators import as_operator
from .oracles import measurement_distribution, measurement_rows, posterior, posterior_mean

__all__ = [
    "optimal_prior_term",
    "pushforward_score",
    "recovered_forward",
    "recovered_operator",
    "score_error",
    "stationarity",
    "sufficiency_gap",
    "tweedie_gap",
]


@own_modes()
def optimal_prior_term(estimator, X, prior):
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
    >>> estimator = DivergenceRegularizedINN(random_state=0).fit(data.X, data.Y)
    >>> theory = optimal_prior_term(estimator, data.X, data.prior)
    >>> bool(abs(estimator.prior_term(data.X) - theory).mean() < 0.15 * abs(theory).mean())
    True
    """
    loss, X = _loss_of(estimator), _signals(estimator, X)
    return _prior_term(loss, _without_names(estimator), X, prior)


@own_modes()
def stationarity(estimator, Y, prior):
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
    >>> estimator = DivergenceRegularizedINN(random_state=0).fit(data.X, data.Y)
    >>> bool(np.median(stationarity(estimator, data.Y, data.prior)) < 0.05)
    True
    """
    Y = check_measurements(estimator, Y).astype(np.float64)
    Z, estimator = estimator.problem_.targets(Y), _without_names(estimator)
    X = estimator.predict(Y)
    residual = estimator.problem_.forward_targets(X) - Z - optimal_prior_term(estimator, X, prior)
    return np.linalg.norm(residual, axis=1) / np.linalg.norm(Z, axis=1)


@own_modes()
def pushforward_score(estimator, X, prior):
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
    """
    X, _ = _signals(estimator, X), check_has(prior, "prior", "score")
    J = _without_names(estimator).jacobian(X)
    trained = TrainedMap(estimator.network_, estimator.problem_.coordinates)
    gradient = prior.score(X) - trained.logabsdet_gradient(X)
    return np.linalg.solve(J.transpose(0, 2, 1), gradient[:, :, None])[:, :, 0]


@own_modes()
def score_error(estimator, X, prior):
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
    """
    X, _ = _signals(estimator, X), check_has(prior, "prior", "score")
    check_has(estimator, "estimator", "prior_score")
    learned, score = _without_names(estimator).prior_score(X), prior.score(X)
    return float(np.linalg.norm(learned - score) / np.linalg.norm(score))


@own_modes()
def recovered_forward(estimator, X, prior):
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
    """
    X, estimator = _signals(estimator, X), _without_names(estimator)
    return _forward(estimator, X) + optimal_prior_term(estimator, X, prior)


@own_modes()
def recovered_operator(estimator, X, Y):
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
    >>> estimator = DivergenceRegularizedINN(operator=A, random_state=0).fit(data.X, data.Y)
    >>> bool(abs(recovered_operator(estimator, data.X, data.Y) - A.T @ A).max() < 0.02)
    True
    """
    loss = _loss_of(estimator)
    X, Y = (part.astype(np.float64) for part in check_pairs(estimator, X, Y, reset=False))
    return _recovered_operator(loss, _without_names(estimator), X, Y)


@own_modes()
def tweedie_gap(prior, Y, *, operator=None, noise_level):
    """The residual of Tweedie's formula, ``‖A E[x|y] − y − δ² ∇log p(y)‖``.

    Both sides are computed in closed form, so that the residual is a rounding error.

    Parameters
    ----------
    prior : GaussianMixturePrior
        Distribution of the signals.
    Y : array-like of shape (n_samples, n_measurements) or (n_samples,)
        Measurements.
    operator : array-like, sparse matrix or LinearOperator of shape \
            (n_measurements, n_features), default=None
        The operator ``A``; the identity by default.
    noise_level : float
        Standard deviation ``δ > 0`` of the noise.

    Returns
    -------
    gap : ndarray of shape (n_samples,)
        The difference, in the units of y.

    References
    ----------
    B. Efron (2011), "Tweedie's formula and selection bias", Journal of the American Statistical
    Association.

    Examples
    --------
    >>> from skinvbayes.datasets import bimodal_prior
    >>> from skinvbayes.diagnostics import tweedie_gap
    >>> gap = tweedie_gap(bimodal_prior(), [[0.3, -1.0, 2.0]], operator=[[1, 0], [1, 1], [0, 2]],
    ...                   noise_level=0.5)
    >>> bool(gap.max() < 1e-12)
    True
    """
    Y = measurement_rows(prior, Y, operator)
    known = {"operator": operator, "noise_level": noise_level}
    mean = posterior_mean(prior, Y, **known)
    predicted = mean if operator is None else as_operator(operator).forward(mean)
    tweedie = Y + noise_level**2 * measurement_distribution(prior, **known).score(Y)
    return np.linalg.norm(predicted - tweedie, axis=1)


@own_modes()
def sufficiency_gap(prior, Y, *, operator, noise_level):
    """The difference of ``p(x | y)`` and ``p(x | Aᵀ y)``, which are equal by Lemma 1 of the paper.

    z = Aᵀ y is a sufficient statistic: the normal equation loses no information on x. The posterior
    given z is computed from ``Σ⁻¹ Vᵀ z``, whose noise is white, with A = U Σ Vᵀ.

    Parameters
    ----------
    prior, Y, operator, noise_level
        As in :func:`tweedie_gap`.

    Returns
    -------
    gap : ndarray of shape (n_samples,)
        Largest difference of the weights and means of the two posteriors, which are Gaussian
        mixtures.

    Examples
    --------
    >>> from skinvbayes.datasets import bimodal_prior
    >>> from skinvbayes.diagnostics import sufficiency_gap
    >>> gap = sufficiency_gap(bimodal_prior(), [[0.3, -1.0, 2.0]],
    ...                       operator=[[1, 0], [1, 1], [0, 2]], noise_level=0.5)
    >>> bool(gap.max() < 1e-12)
    True
    """
    A, Y = as_operator(operator).to_dense(), measurement_rows(prior, Y, operator)
    Z = Y @ A
    _, singular, axes = np.linalg.svd(A, full_matrices=False)
    kept = singular > 1e-12 * singular[0]
    singular, axes = singular[kept], axes[kept]
    white, reduced = Z @ axes.T / singular, singular[:, None] * axes
    from_y = posterior(prior, Y, operator=operator, noise_level=noise_level)
    from_z = posterior(prior, white, operator=reduced, noise_level=noise_level)
    weights, means = (np.abs(a - b) for a, b in zip(from_y[:2], from_z[:2], strict=True))
    return np.maximum(weights.max(axis=1), means.max(axis=(1, 2)))


def _loss_of(estimator):
    """The loss that an estimator was trained with, on which its optimum depends."""
    if not hasattr(estimator, "loss"):
        raise _unknown(estimator)
    return estimator.loss()


@singledispatch
def _prior_term(loss, estimator, X, prior):
    raise _unknown(estimator)


@_prior_term.register
def _(loss: ApproximationLoss, estimator, X, prior):
    return np.zeros(np.shape(X))


@_prior_term.register
def _(loss: ReconstructionLoss, estimator, X, prior):
    Z = _forward(estimator, X)
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


@singledispatch
def _recovered_operator(loss, estimator, X, Y):
    raise _unknown(estimator)


@_recovered_operator.register
def _(loss: ApproximationLoss, estimator, X, Y):
    return _covariance(_forward(estimator, X), X) @ np.linalg.pinv(_covariance(X, X))


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
    Z = _forward(estimator, X)
    prior = estimator.epsilon_ * loss.inverse_metric(estimator.problem_)
    return (_covariance(Z, Z) - prior) @ np.linalg.pinv(_covariance(X, Z))


@_recovered_operator.register
def _(loss: DivergenceLoss, estimator, X, Y):
    prior = estimator.epsilon_ * np.eye(X.shape[1])
    mixed = _covariance(_forward(estimator, X), X)
    return (mixed - prior) @ np.linalg.pinv(_covariance(X, X))


def _signals(estimator, X):
    """Checked signals in double precision."""
    return check_signals(estimator, X).astype(np.float64)


def _forward(estimator, X):
    """φ(x) as an array, whatever ``set_output`` makes ``transform`` return."""
    return np.ascontiguousarray(estimator.transform(X))


def _covariance(first, second):
    return (first - first.mean(axis=0)).T @ (second - second.mean(axis=0)) / len(first)


def _without_names(estimator):
    """The same estimator for arrays, which have no names."""
    nameless = copy.copy(estimator)
    for names in ("feature_names_in_", "measurement_names_in_"):
        vars(nameless).pop(names, None)
    return nameless


def _unknown(estimator):
    return TypeError(
        f"estimator must be fitted with one of the four losses; got {type(estimator).__name__}. Of "
        "a Reconstructor give estimator_, of a search best_estimator_, of a Pipeline the last step."
    )

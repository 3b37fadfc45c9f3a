"""The identities on which the theory rests, checked for a prior in closed form."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..numerics.modes import own_modes
from ..numerics.types import Array
from ..operators import as_operator
from ..oracles import measurement_distribution, measurement_rows, posterior, posterior_mean

__all__ = ["sufficiency_gap", "tweedie_gap"]


@own_modes()
def tweedie_gap(prior: Any, Y: ArrayLike, *, operator: Any = None, noise_level: float) -> Array:
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
def sufficiency_gap(prior: Any, Y: ArrayLike, *, operator: Any, noise_level: float) -> Array:
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

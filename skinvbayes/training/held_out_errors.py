"""How long an interval has to be: what errors of held-out signals say about standard deviations.

The posterior standard deviations are those of Gaussian errors. Where signals jump, most errors are
much smaller than that and a few are larger, so that Gaussian quantiles make intervals too long.
These are quantiles of all errors together: the whole training spreads the standard deviations more
than the trial does, and has smaller errors, so that groups of them would cover up to 94 %.
"""

import numpy as np
from sklearn.model_selection import GroupKFold, KFold

from ..numerics.tensors import as_tensor
from ..numerics.warn import warn_caller
from ..problem.error_quantiles import ErrorQuantiles

__all__ = ["error_quantiles", "linear_error_quantiles"]

_MOST_ROWS = 1000
_MOST_ENTRIES = 2**23  # of all Jacobians
_FOLDS, _MOST_PAIRS = 5, 4000
_TOO_LARGE = 1.5  # errors over their standard deviations, root mean square


def error_quantiles(network, problem, X, Z):
    """Quantiles of errors over their standard deviations.

    Parameters
    ----------
    network : ExplicitInverse
        A network trained without a bandwidth, in the coordinates of the problem.
    problem : InverseProblem
        The problem.
    X : ndarray of shape (n_samples, n_features)
        Signals that training has not seen.
    Z : ndarray of shape (n_copies, n_samples, n_features)
        Targets of each, with as many draws of noise.

    Returns
    -------
    quantiles : ErrorQuantiles
    """
    n_rows = min(_MOST_ROWS, max(_MOST_ENTRIES // X.shape[1] ** 2, 1))
    signals = np.concatenate([X] * len(Z))[:n_rows]
    coordinates = problem.coordinates
    w = as_tensor(coordinates.from_targets(np.concatenate(Z)[:n_rows])).to(network.device)
    inverse = network.explicit_inverse.frozen()
    error = coordinates.to_signals(inverse(w).detach().cpu().numpy()) - signals
    basis = coordinates.basis * coordinates.scale
    slopes = basis @ inverse.jacobian(w).detach().cpu().numpy()
    variance = problem.unit_epsilon * np.einsum("nij,ij->ni", slopes, basis)
    varies = variance > 0
    return ErrorQuantiles.of(error[varies], np.sqrt(variance[varies]), len(X))


def linear_error_quantiles(specification, problem, pairs, groups=None):
    """The same for the linear estimator: every pair is judged by that of the other folds.

    Of fewer pairs than features a sample covariance says too little, and standard deviations are
    too small by factors: that is told.

    Parameters
    ----------
    specification : TrainingSpecification
        Says how a problem is renewed.
    problem : InverseProblem
        The problem, without a bandwidth.
    pairs : Pairs
        The pairs.
    groups : ndarray of int of shape (n_samples,), default=None
        Pairs of one group stay in one fold.

    Returns
    -------
    quantiles : ErrorQuantiles or None
        None for a single group, or where nothing varies.
    """
    if groups is None:
        pairs = pairs.sample(_MOST_PAIRS)
    n_groups = len(pairs.X) if groups is None else len(np.unique(groups))
    n_folds = min(_FOLDS, n_groups)
    if n_folds < 2:
        return None
    folds = KFold(n_folds, shuffle=True, random_state=0) if groups is None else GroupKFold(n_folds)
    errors, deviations = np.empty_like(pairs.X), np.empty_like(pairs.X)
    for kept, held in folds.split(pairs.X, groups=groups):
        fold, (X, Y, _) = specification.renewed(problem, pairs.rows(kept)), pairs.rows(held)
        c = fold.coordinates
        errors[held] = c.to_signals(c.from_targets(fold.targets(Y))) - X
        deviations[held] = np.sqrt(fold.unit_epsilon * ((c.scale * c.basis) ** 2).sum(axis=1))
    varies = deviations > 0
    if not varies.any():
        return None
    errors, deviations = errors[varies], deviations[varies]
    size = np.sqrt(np.mean((errors / deviations) ** 2))
    if size > _TOO_LARGE:
        warn_caller(
            f"Errors of held-out pairs are {size:.2g} times as large as their standard deviations: "
            f"{len(pairs.X)} pairs tell too little about {pairs.X.shape[1]} features. "
            "posterior_interval allows for that; posterior_std, posterior_covariance and "
            "sample_posterior do not. More pairs help."
        )
    return ErrorQuantiles.of(errors, deviations, n_groups)

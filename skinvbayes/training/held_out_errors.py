"""How long an interval has to be: what errors of held-out signals say about standard deviations.

The posterior standard deviations are those of Gaussian errors. Where signals jump, most errors are
much smaller than that and a few are larger, so that Gaussian quantiles make intervals too long; of
few pairs, and where a prior was learned by heart, all errors may be larger by factors. These are
quantiles of all errors together: the whole training spreads the standard deviations more than the
trial does, and has smaller errors, so that groups of them would cover up to 94 %.
"""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import GroupKFold, KFold

from ..inversion import invert
from ..numerics.tensors import as_tensor
from ..numerics.warn import warn_caller
from ..problem.error_model import ErrorModel
from ..problem.error_quantiles import ErrorQuantiles

__all__ = [
    "HeldOutErrors",
    "error_quantiles",
    "held_out_errors",
    "linear_error_quantiles",
    "warn_of_small_deviations",
]

_MOST_ROWS = 1000
_MOST_ENTRIES = 2**23  # of all Jacobians
_FOLDS, _MOST_PAIRS = 5, 4000
_TOO_LARGE = 1.5  # errors over their standard deviations, root mean square


class HeldOutErrors(NamedTuple):
    """Errors of signals X that a training has not seen, with their standard deviations.

    Z are their targets, with several draws of noise.
    """

    errors: np.ndarray
    deviations: np.ndarray
    X: np.ndarray
    Z: np.ndarray


@torch.no_grad()
def held_out_errors(network, problem, bandwidth, X, Z):
    """The errors of the reconstructions of held-out signals.

    Parameters
    ----------
    network : IResNet or ExplicitInverse
        A trained network, in the coordinates of the problem.
    problem : InverseProblem
        The problem.
    bandwidth : float
        That of its training, in the user's units.
    X : ndarray of shape (n_samples, n_features)
        Signals that training has not seen.
    Z : ndarray of shape (n_copies, n_samples, n_features)
        Targets of each, with as many draws of noise.

    Returns
    -------
    errors : HeldOutErrors
    """
    n_rows = min(_MOST_ROWS, max(_MOST_ENTRIES // X.shape[1] ** 2, 1))
    signals, coordinates = np.concatenate([X] * len(Z))[:n_rows], problem.coordinates
    w = as_tensor(coordinates.from_targets(np.concatenate(Z)[:n_rows])).to(network.device)
    network, inverse = network.frozen(), network.explicit_inverse
    u = invert(network, w).x
    if inverse is not None and bandwidth == 0:  # whose slopes may be singular
        basis = coordinates.basis * coordinates.scale
        slopes = basis @ inverse.frozen().jacobian(w).cpu().numpy()
        variance = problem.unit_epsilon * np.einsum("nij,ij->ni", slopes, basis)
    else:
        jacobian = coordinates.to_jacobian(network.jacobian_at_image(u, w).cpu().numpy())
        covariance, _ = ErrorModel.of(problem, bandwidth).covariance(jacobian)
        variance = np.diagonal(covariance, axis1=1, axis2=2)
    error = coordinates.to_signals(u.cpu().numpy()) - signals
    return HeldOutErrors(error.ravel(), np.sqrt(variance.clip(0)).ravel(), X, Z)


def error_quantiles(held_out, trained):
    """Quantiles of errors over standard deviations, for what was trained after some trials.

    An explicit inverse learns the errors themselves: the trials' serve it. What learns a prior can
    learn its signals by heart, and takes them for more certain than others. Its errors of unseen
    signals lie between those of the trials, which were shorter, and its own of the same signals,
    which it has seen: in the middle of the quantiles of both, over its own standard deviations.

    Parameters
    ----------
    held_out : sequence of HeldOutErrors
        Of the trials.
    trained : Trained
        What was trained on all signals.

    Returns
    -------
    quantiles : ErrorQuantiles or None
        None without trials, or where nothing varies.
    """
    if not held_out:
        return None
    network, problem = trained.network, trained.problem
    n_signals = sum(len(part.X) for part in held_out)
    errors = [part.errors for part in held_out]
    if network.explicit_inverse is not None:
        return _quantiles(errors, [part.deviations for part in held_out], n_signals)
    bandwidth = problem.bandwidth if trained.bandwidth > 0 else 0.0
    seen = [held_out_errors(network, problem, bandwidth, part.X, part.Z) for part in held_out]
    deviations = [part.deviations for part in seen]
    unseen = _quantiles(errors, deviations, n_signals)
    learned = _quantiles([part.errors for part in seen], deviations, n_signals)
    return None if unseen is None or learned is None else unseen.middle(learned)


def _quantiles(errors, deviations, n_signals):
    """Of all ratios of errors of several signals; None where nothing varies."""
    errors, deviations = (np.concatenate(parts, axis=None) for parts in (errors, deviations))
    varies = deviations > 0
    errors, deviations = errors[varies], deviations[varies]
    if not errors.size or not np.isfinite(errors / deviations).all():
        return None
    return ErrorQuantiles.of(errors, deviations, n_signals)


def linear_error_quantiles(specification, problem, pairs, groups=None):
    """Quantiles for the linear estimator: every pair is judged by that of the other folds.

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
        None for a single group, where nothing varies, or where a fold leaves a single signal.
    """
    if groups is None:
        pairs = pairs.sample(_MOST_PAIRS)
    n_groups = len(pairs.X) if groups is None else len(np.unique(groups))
    n_folds = min(_FOLDS, n_groups)
    if n_folds < 2:
        return None
    folds = KFold(n_folds, shuffle=True, random_state=0) if groups is None else GroupKFold(n_folds)
    errors, deviations = np.empty_like(pairs.X), np.empty_like(pairs.X)
    parts = list(folds.split(pairs.X, groups=groups))
    if any(np.ptp(pairs.X[kept], axis=0).max() == 0 for kept, _ in parts):
        return None
    for kept, held in parts:
        fold, (X, Y, _) = specification.renewed(problem, pairs.rows(kept)), pairs.rows(held)
        c = fold.coordinates
        errors[held] = c.to_signals(c.from_targets(fold.targets(Y))) - X
        deviations[held] = np.sqrt(fold.unit_epsilon * ((c.scale * c.basis) ** 2).sum(axis=1))
    return _quantiles(errors, deviations, n_groups)


def warn_of_small_deviations(quantiles, pairs):
    """Tell where errors are much larger than standard deviations, as of few pairs."""
    size = 1.0 if quantiles is None else quantiles.size
    if size > _TOO_LARGE:
        warn_caller(
            f"Errors of held-out pairs are {size:.2g} times as large as their standard deviations: "
            f"{len(pairs.X)} pairs tell too little about {pairs.X.shape[1]} features. "
            "posterior_interval allows for that; posterior_std, posterior_covariance and "
            "sample_posterior do not. More pairs help."
        )

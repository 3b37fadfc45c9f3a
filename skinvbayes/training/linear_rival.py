"""Whether a training is worse than the linear estimator, where no trial could tell beforehand.

The linear minimum mean square error (LMMSE) estimator needs no matrix of features × features: with
the deviations U of n signals from their mean x̄, so that C = UᵀU/n,

    x̄ + C (G C + ε I)⁻¹ (z − z̄) = x̄ + Uᵀ (U G Uᵀ + n ε I)⁻¹ U (z − z̄).
"""

import numpy as np
from scipy.linalg import solve

from ..numerics.warn import warn_caller
from .guard import reconstruction_errors, surely_positive

__all__ = ["linear_reconstructions", "warn_if_worse"]

_FEWEST_PAIRS, _FOLDS = 20, 5
_MOST_SIGNALS, _MOST_JUDGES = 1000, 40  # of a fold, that make up C and that are reconstructed
_WORSE = 1.02  # times the mean squared error of the linear estimator


def warn_if_worse(trained, pairs):
    """Warn where the network reconstructs its own training pairs worse than the LMMSE estimator.

    That estimator is made of some of the pairs of other folds, and has not seen those that judge.

    Parameters
    ----------
    trained : Trained
        What training gave, for the normal equation.
    pairs : Pairs
        Pairs of the training.
    """
    if len(pairs.X) < _FEWEST_PAIRS:
        return
    problem, fold = trained.problem, np.arange(len(pairs.X)) % _FOLDS
    errors, linear = [], []
    for k in range(_FOLDS):
        others = pairs.rows(fold != k).sample(_MOST_SIGNALS)
        judges = pairs.rows(fold == k).sample(_MOST_JUDGES)
        Z = problem.targets(judges.Y)
        errors.extend(reconstruction_errors(trained.network, problem, judges.X, Z[None], [0.0]))
        linear.append(np.sum((linear_reconstructions(problem, others, Z) - judges.X) ** 2, axis=1))
    errors, linear = np.concatenate(errors), np.concatenate(linear)
    if errors.mean() <= _WORSE * linear.mean() or not surely_positive(errors - linear):
        return
    ratio = np.sqrt(errors.mean() / linear.mean())
    warn_caller(
        f"The network reconstructs {len(errors)} of its training pairs with {ratio:.3g} times the "
        "root mean square error of the best linear filter (LMMSE) of other pairs. Raise max_iter, "
        'or take the default, one block of residual="gradient" without early_stopping, which up '
        "to 1,000 features is never worse than that filter."
    )


def linear_reconstructions(problem, pairs, Z):
    """The LMMSE estimates of signals from targets, with the mean and covariance of some pairs."""
    mean, center = pairs.X.mean(axis=0), problem.targets(pairs.Y).mean(axis=0)
    U = pairs.X - mean
    K = U @ problem.forward.forward(U).T
    ridge = len(U) * problem.noise_level**2 * np.eye(len(U))
    return mean + solve(K + ridge, U @ (Z - center).T, assume_a="pos").T @ U
